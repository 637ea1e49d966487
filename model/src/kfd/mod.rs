//! The older design: `kfd_svm.c`, `kfd_migrate.c`, as of Linux 7.2, odd behaviours included. The yardstick.
//!
//! One [`Svms`] belongs to one KFD process and serves all its GPUs: a range knows by bitmap which of them may access it.
//! Each range has an interval notifier of its own with exactly its interval. A partial unmap *splits* the range inside
//! the callback; what that changes in the set of ranges is done later, by a worker that holds mmap_lock for write. With
//! XNACK off an invalidation leaves the GPU page tables alone and stops every queue of the process, and a worker maps
//! all that was hit again before they run. Source: spec kfd-svm; section numbers in this module are its own.
//!
//! Nothing here uses [`crate::gpusvm`]. The platform owns the [`Svms`] and calls it; nothing is held where the table does
//! not say otherwise:
//!
//! | the platform calls | when |
//! |---|---|
//! | [`Svms::init`] | the process opens KFD |
//! | [`Svms::ioctl`] | user space calls `AMDKFD_IOC_SVM` |
//! | [`Svms::queue_buffer_get`], [`Svms::queue_buffer_put`] | a user queue is created, destroyed, with its save area in SVM |
//! | [`Svms::mmu_invalidate`] | an mmu interval notifier of this client fires, in whatever context |
//! | [`Svms::deferred_work`], [`Svms::restore_work`], [`Svms::evict_bo_work`], [`Svms::release_bo_work`] | a work item of this client runs: `WorkFunc::{Deferred, Restore, EvictBo, ReleaseBo}` |
//! | [`Svms::handle_fault`] | a retry fault of a GPU names the process; an error means: write a no-retry PTE |
//! | [`Svms::migrate_to_ram`] | a CPU access meets a device page of ours; mmap_lock is held for read |
//! | [`Svms::folio_free`] | the last reference of a device page of ours is gone; any context |
//! | [`Svms::evict_vram`] | TTM wants a buffer object of ours out of VRAM, inside somebody's allocation |
//! | [`Svms::process_release`] | the mmu notifier's release: exit_mmap begins; the queues are the platform's to destroy |
//! | [`Svms::fini`] | the work item `WorkFunc::ReleaseProcess` of this client runs |
//!
//! The workqueues are the system's and are never destroyed: buffer objects outlive [`Svms::fini`] when device pages do.
//!
//! # What differs from the kernel, and why
//! - Page numbers are the unit inside, inclusive at both ends, as in the kernel; `start` and `last` are one word here, so
//!   no reader sees a new one with an old one.
//! - One [`PteUpdate`](crate::platform::PteUpdate) covers bus addresses that follow each other, the kernel's takes an array; so
//!   *writing* a scattered range takes more calls here. Clearing takes the same number.
//! - The work items of buffer objects (`eviction_work`, `release_work`) are two for all, not two for each.
//! - TTM's wait for the eviction fence is a flush of that work item, inside [`Svms::evict_vram`].
//! - Our tree of ranges takes no overlaps, so ranges leave it before their parts come in, all under `svms->lock`.
//! - Memory accounting for system memory, smi events and CRIU are left out; so is the hidden half of `kfd_process`.

mod add;
mod attrs;
mod bo;
mod children;
mod cpu_fault;
mod deferred;
mod dma;
mod evict;
mod evict_bo;
mod fault;
mod get_attr;
mod gpus;
pub mod inspect;
mod ioctl;
mod lifecycle;
pub mod locks;
mod map;
mod migrate;
mod mmap;
mod notifier;
pub mod pte;
mod queue;
mod range;
mod registry;
mod restore;
mod set_attr;
mod split;
mod unmap;

pub use attrs::{Attrs, LOCATION_SYSMEM, LOCATION_UNDEFINED};
pub use gpus::{GpuSet, MAX_GPUS};
pub use ioctl::{KFD_IOCTL_SVM_OP_GET_ATTR, KFD_IOCTL_SVM_OP_SET_ATTR, MAX_ATTRS};
pub use lifecycle::SvmsConfig;
pub use range::WorkOp;

use crate::list::List;
use crate::platform::{FaultTime, KAtomic, KCache, KMutex, KShared, KSpinLock, Kernel, Platform};
use crate::tree::IntervalTree;
use bo::Bo;
use range::{All, Deferred, Range};

/// How long the restore work waits, in milliseconds (`AMDGPU_SVM_RANGE_RESTORE_DELAY_MS`).
pub const RESTORE_DELAY_MS: u64 = 1;
/// For how long after a mapping a fault on the same range is a duplicate, in milliseconds
/// (`AMDGPU_SVM_RANGE_RETRY_FAULT_PENDING`).
pub const RETRY_FAULT_PENDING_MS: u64 = 2;

/// `struct svm_range_list` with the parts of `struct kfd_process` that it needs. Spec kfd-svm 1.
pub struct Svms<P: Platform> {
    /// Constant: what init was given.
    config: SvmsConfig,
    /// Constant. `None` from `config.gpus` upwards.
    gpus: [Option<P::Gpu>; MAX_GPUS],
    /// Constant. `mmgrab`bed for as long as the process lives.
    mm: P::Mm,
    /// Constant: `max_svm_range_pages`.
    max_range_pages: u64,

    /// `kfd_process.ref`: one for being in the table.
    refcount: KAtomic<P>,
    /// Whether the process is in the table (`kfd_processes_table`).
    listed: KShared<P, bool>,

    /// `process_info->lock`.
    process_info: KMutex<P, ()>,
    /// `svms->lock`.
    lock: KMutex<P, ()>,
    ranges: KCache<P, Range<P>>,
    /// `svms->objects`. Under `lock`.
    objects: IntervalTree<P::Kernel, Range<P>>,
    /// `svms->list`, in the order of insertion. Under `lock`.
    list: List<P::Kernel, Range<P>, All>,

    /// `deferred_list_lock` around `deferred_range_list`. A leaf.
    deferred: KSpinLock<P, List<P::Kernel, Range<P>, Deferred>>,
    deferred_work: <P::Kernel as Kernel>::Work,
    restore_work: <P::Kernel as Kernel>::DelayedWork,
    /// Callbacks that evicted, since the queues last ran.
    evicted_ranges: KAtomic<P>,
    drain_pagefaults: KAtomic<P>,
    /// By GPU: faults stamped up to this are stale. Written by callbacks, lockless.
    checkpoint: [KShared<P, Option<FaultTime>>; MAX_GPUS],
    /// [`Kernel::current_task`] of who is inside `hmm_range_fault`, 0: nobody. Lockless.
    faulting_task: KShared<P, u64>,

    /// Stops of the queues for which nobody schedules a resume (section 12). For inspection only.
    queue_stops: KAtomic<P>,

    bos: KCache<P, Bo<P>>,
    /// Every buffer object there is. A leaf, except that releases are queued inside.
    bo_list: KSpinLock<P, List<P::Kernel, Bo<P>>>,
    evict_bo_work: <P::Kernel as Kernel>::Work,
    release_bo_work: <P::Kernel as Kernel>::Work,
    release_work: <P::Kernel as Kernel>::Work,
    _events: <P::Kernel as Kernel>::WorkQueue,
    _process_wq: <P::Kernel as Kernel>::WorkQueue,
}

impl<P: Platform> Svms<P> {
    /// Whether the GPUs retry faults for this process.
    pub fn xnack_enabled(&self) -> bool {
        self.config.xnack
    }

    /// How many GPUs there are.
    pub fn gpu_count(&self) -> usize {
        self.config.gpus
    }
}
