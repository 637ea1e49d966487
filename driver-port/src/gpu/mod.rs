//! The software GPU: page table, TLB, queues, retry faults, and the waves that access memory through all of these.
//!
//! It behaves as `sim-gpu` does, on a real kernel's locks and pages. It is written on the model's [`Kernel`] traits and one
//! more, [`Board`]: the few things a GPU needs that the driver does not (pages touched through bus addresses, a word that
//! one can wait for with a time limit). So it can be held against the same claims outside of a kernel.
//!
//! | module | answers to |
//! |---|---|
//! | [`board`] | bus, memory and wait queues, as [`Board`] |
//! | [`pte`] | `AMDGPU_PTE_*` and the address in one word |
//! | [`page_table`] | PDE0 and PTB of `amdgpu_vm_pt.c`: huge leaves, tables linked late |
//! | [`tlb`] | a TLB that does not see page-table writes |
//! | [`queues`] | one process's queues on one GPU: `qcm_process_device`, dqm lock |
//! | [`kfd`] | `kgd2kfd_quiesce_mm`, `kgd2kfd_resume_mm`: one process, all its GPUs |
//! | [`retry`], [`filter`] | `amdgpu_ih.c`, `amdgpu_gmc_filter_faults` |
//! | [`vm`] | `amdgpu_vm.c`: update_range, update_pdes, flush, root reservation |
//! | [`wave`] | loads, stores and atomics of a shader, and their faults |
//! | [`inject`] | failures that hardware and allocators may produce |
//! | [`costs`] | what was asked of the GPU |
//!
//! # What is locked by what
//!
//! | state | lock |
//! |---|---|
//! | which updates are allowed | `eviction_lock`, a mutex without reclaim inside |
//! | tables and entries | spinlock "gpu page table", for as long as one block takes |
//! | cached translations | spinlock "gpu tlb" |
//! | an access in flight | rwsem "gpu accesses in flight", held for read; who stops or flushes takes it for write |
//! | rings, CAM, filter, clock of retry faults | spinlock "retry fault rings" |
//! | `qpd->evicted` | mutex "dqm_lock" |
//! | processes and their devices | spinlock "kfd_processes" |
//!
//! Nothing is allocated under a lock that the notifier takes, so none of it can wait for reclaim.
//!
//! # What differs from sim-gpu
//!
//! - Judging is not its business. An access through a stale entry reads what the page holds now, whoever has it: wrong
//!   data, poison or a report of KASAN are the evidence.
//! - The TLB has a size ([`tlb::SMALL`], [`tlb::HUGE`]), and translations push each other out.
//! - The rings have a size ([`retry::RING`]): a fault that finds no room is raised again later.
//! - A stop or a flush waits for *all* accesses in flight and holds up those that come meanwhile, instead of a counter.
//! - Every wait of a wave ends when its task is killed or its time is over.
//! - Bus addresses are what `dma_map_page` gives, so they come back after an unmap, and pages mapped one after the other
//!   are neighbours on the bus when they are in memory.
//! - Updates are done when `update_range` returns; there is no copy engine and no VRAM.

pub mod board;
pub mod costs;
pub mod filter;
pub mod inject;
pub mod kfd;
mod model_gpu;
pub mod page_table;
pub mod pte;
pub mod queues;
pub mod retry;
pub mod tlb;
pub mod vm;
pub mod wave;

pub use board::{Access, Board, MmIdentity, WaitWord};
pub use costs::GpuCosts;
pub use inject::{Injected, Point};
pub use kfd::Kfd;
pub use pte::Pte;
pub use retry::{FaultVerdict, RetryConfig};
pub use vm::{GpuConfig, Inner, SwGpu};
pub use wave::{FaultKind, Limit, Outcome};

#[cfg(doc)]
use model::platform::Kernel;
