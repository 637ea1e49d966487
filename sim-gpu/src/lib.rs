//! A simulated GPU, as far as shared virtual memory can tell: page table, TLB, DMA mappings, queues and the waves that
//! access memory through all of these.
//!
//! Everything is generic over [`Lab`](interleave::lab::Lab), so the same GPU runs in the deterministic simulator and
//! under loom. The driver sees a [`GpuVm`] through [`model::platform::Gpu`]; waves call [`GpuVm::access`]; checks use
//! the peeks, which are no scheduling points.
//!
//! | module | answers to |
//! |---|---|
//! | [`properties`] | what the hardware is: a few GPUs by name |
//! | [`iommu`] | `dma_map_page`, `dma_unmap_page`: bus addresses that are never used twice |
//! | [`page_table`] | the PDE0 and PTB levels of `amdgpu_vm_pt.c`, huge leaves and late PDEs included |
//! | [`tlb`] | a TLB that does not see page-table writes |
//! | [`queues`] | the queues of one process on one GPU: `qcm_process_device` and its dqm lock |
//! | [`kfd`] | `kgd2kfd_quiesce_mm`, `kgd2kfd_resume_mm`: one process, all its devices |
//! | [`vm`] | `amdgpu_vm.c`: update_range, update_pdes, flush_compute_tlb, the root reservation |
//! | [`wave`] | loads and stores of the shader, and the faults they get |
//! | [`inspect`] | what a checker may look at, without scheduling points |
//! | [`costs`] | what was asked of the GPU |
//! | [`inject`] | failures that hardware and allocators may produce |
//!
//! # What orders what
//!
//! Every state that actors share is behind exactly one object of the lab, so that a partial-order reduction sees each
//! conflict:
//!
//! | state | object |
//! |---|---|
//! | PTEs, PDEs, TLB entries | `Visible` "gpu page table", by page |
//! | DMA mappings | `Visible` "dma mappings", by frame |
//! | contents and lives of frames | `Visible` "memory" of [`sim_mm::Memory`], by frame |
//! | queues stopped, accesses in flight | `Gate`s of [`queues`] |
//! | "a flush is due" | `Atomic` "tlb_seq" |
//! | which updates are allowed at all | `Mutex` "eviction_lock" |
//!
//! One GPU access is five scheduling points: enter, translate, bus, data, leave.

pub mod costs;
mod frames;
pub mod inject;
pub mod inspect;
pub mod iommu;
pub mod kfd;
pub mod page_table;
mod platform;
pub mod properties;
pub mod queues;
mod sparse;
pub mod tlb;
pub mod vm;
pub mod wave;

pub use costs::GpuCosts;
pub use inspect::{Reach, Via};
pub use kfd::Kfd;
pub use page_table::Pte;
pub use vm::{GpuConfig, GpuVm};
pub use wave::{Access, FaultKind, GpuFault};
