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
//! | [`retry`] | `amdgpu_ih.c`, `amdgpu_gmc.c`: retry fault rings, their handler, checkpoint and drain |
//! | `filter` | `amdgpu_gmc_filter_faults` |
//! | [`vram`] | TTM's VRAM manager, eviction, `drm_pagemap_ops.device_map` |
//! | [`sdma`] | SDMA behind `drm_sched`: copies, and if so configured page-table updates, that run later |
//! | [`vm`] | `amdgpu_vm.c`: update_range, update_pdes, flush_compute_tlb, the root reservation |
//! | [`wave`] | loads and stores of the shader, and the faults they get |
//! | [`inspect`] | what a checker may look at, without scheduling points |
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
//! | DMA mappings, device mappings | `Visible` "dma mappings", by frame |
//! | contents and lives of frames | `Visible` "memory" of [`sim_mm::Memory`], by frame |
//! | queues stopped, accesses in flight | `Gate`s of [`queues`] |
//! | "a flush is due" | `Atomic` "tlb_seq" |
//! | which updates are allowed at all | `Mutex` "eviction_lock" |
//! | retry fault rings, the retry CAM, the fault filter and the clock | `Visible` "retry fault rings": 0 CAM, 1 ih1 or ih, 2 ih_soft |
//! | whether a retry fault is answered | `Gate` of the fault |
//! | "a reset is going on" | `Shared` "in_gpu_reset" |
//! | which VRAM is given out | `SpinLock` "vram_mgr_lock" |
//! | jobs queued on the copy engine | its work item |
//! | whether a job is done | `Gate` of its fence |
//!
//! One GPU access is five scheduling points: enter, translate, bus, data, leave. One that retries is six before it sleeps
//! (two for the fault, and with a retry CAM a seventh), and the handler's are two or, with a CAM, three around the hook.
//!
//! What waits for the copy engine waits for a fence; nothing else orders its jobs with anything. So with
//! [`GpuConfig`]`::sdma_updates` an update that was issued is in the page table only after
//! [`GpuVm::wait_fence`], and without it at once.
//!
//! # Who runs what
//!
//! Retry faults and the copy engine are work items, so whoever builds a world passes
//! [`WorkFunc::FaultInterrupt`](model::platform::WorkFunc) and `CopyEngine` of the client that has the number of the
//! GPU's domain to [`GpuVm::run_work`]. A GPU that is configured without them has no such items, and executions are those
//! that they were.

mod filter;
mod frames;
pub mod inject;
pub mod inspect;
pub mod iommu;
pub mod kfd;
pub mod page_table;
mod platform;
pub mod properties;
pub mod queues;
pub mod retry;
pub mod sdma;
mod sparse;
pub mod tlb;
pub mod vm;
pub mod vram;
pub mod wave;

pub use inspect::{Reach, Via};
pub use kfd::Kfd;
pub use page_table::Pte;
pub use retry::{FaultVerdict, RetryConfig};
pub use vm::{GpuConfig, GpuVm};
pub use vram::VramConfig;
pub use wave::{Access, FaultKind, GpuFault};
