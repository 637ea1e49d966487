//! Init, release, fini, and the process's reference count. Spec kfd-svm 1, 13.

use super::Svms;
use super::gpus::MAX_GPUS;
use super::locks::SvmsLocked;
use crate::Errno;
use crate::list::List;
use crate::note;
use crate::platform::{
    Atomic, Cache, ClientId, DelayedWork, KShared, Kernel, Mm, Mutex, Plant, Platform, QueueKind, RetryFaults, Shared,
    SpinLock, Vram, Work, WorkFunc, WorkQueue,
};
use crate::tree::IntervalTree;

/// Module parameter `default_svm_granularity` is cut to this (log2 pages).
const MAX_DEFAULT_GRANULARITY: u8 = 0x1b;

/// What a process is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SvmsConfig {
    /// What the platform calls back with.
    pub client: ClientId,
    /// How many GPUs.
    pub gpus: usize,
    /// Their ids in the UAPI, by index; not 0, not `u32::MAX`.
    pub gpu_ids: [u32; MAX_GPUS],
    /// Whether GPU faults are retried.
    pub xnack: bool,
    /// log2 pages, cut to 0x1b.
    pub default_granularity: u8,
}

impl SvmsConfig {
    /// Ids are given from 1 upwards.
    pub const fn new(client: ClientId, gpus: usize, xnack: bool) -> Self {
        SvmsConfig { client, gpus, gpu_ids: [1, 2, 3, 4, 5, 6, 7, 8], xnack, default_granularity: 9 }
    }
}

impl<P: Platform> Svms<P> {
    /// `svm_range_list_init` and what of `create_process` it needs, for the address space of whoever calls. The caller
    /// publishes the result, and only then may call it.
    ///
    /// # Errors
    /// `EINVAL` (number of GPUs, or an id that means something else or is there twice), `ENOMEM`.
    pub fn init(config: SvmsConfig, mm: P::Mm, gpus: &[P::Gpu]) -> Result<Self, Errno> {
        if gpus.len() != config.gpus || gpus.len() > MAX_GPUS {
            return Err(Errno::EINVAL);
        }
        let ids = &config.gpu_ids[..config.gpus];
        let usable = |(at, id): (usize, &u32)| *id != 0 && *id != u32::MAX && !ids[..at].contains(id);
        if !ids.iter().enumerate().all(usable) {
            return Err(Errno::EINVAL);
        }
        let granularity = config.default_granularity.min(MAX_DEFAULT_GRANULARITY);
        let events = P::Kernel::alloc_workqueue("events", QueueKind::Unbound)?;
        let process_wq = P::Kernel::alloc_workqueue("kfd_process_wq", QueueKind::Unbound)?;
        let svms: Self = Svms {
            config: SvmsConfig { default_granularity: granularity, ..config },
            gpus: core::array::from_fn(|index| gpus.get(index).cloned()),
            max_range_pages: gpus.iter().map(max_range_pages::<P>).min().unwrap_or(1 << 9),
            refcount: Atomic::new("kfd_process.ref", 1),
            listed: KShared::<P, _>::new("kfd_processes_table", true),
            process_info: Mutex::new("process_info.lock", ())?,
            lock: Mutex::new("svms.lock", ())?,
            ranges: Cache::new("svm_range")?,
            objects: IntervalTree::new(),
            list: List::new(),
            deferred: SpinLock::new("deferred_list_lock", List::new())?,
            deferred_work: events.work(config.client, WorkFunc::Deferred)?,
            restore_work: events.delayed_work(config.client, WorkFunc::Restore)?,
            evicted_ranges: Atomic::new("svms.evicted_ranges", 0),
            drain_pagefaults: Atomic::new("svms.drain_pagefaults", 0),
            checkpoint: core::array::from_fn(|_| KShared::<P, _>::new("svms.checkpoint_ts", None)),
            faulting_task: KShared::<P, _>::new("svms.faulting_task", 0),
            queue_stops: Atomic::new("unbalanced stops", 0),
            bos: Cache::new("svm_range_bo")?,
            bo_list: SpinLock::new("svm_bo list", List::new())?,
            evict_bo_work: events.work(config.client, WorkFunc::EvictBo)?,
            release_bo_work: events.work(config.client, WorkFunc::ReleaseBo)?,
            release_work: process_wq.work(config.client, WorkFunc::ReleaseProcess)?,
            _events: events,
            _process_wq: process_wq,
            mm,
        };
        svms.mm.mmgrab();
        note!(P::Kernel, "kfd process: {} GPUs, XNACK {}", config.gpus, if config.xnack { "on" } else { "off" });
        Ok(svms)
    }

    /// `kfd_lookup_process_by_mm`, `_by_pasid`: whether the process is in the table; with a reference then.
    pub(super) fn lookup_process(&self) -> bool {
        let late = P::Kernel::planted(Plant::PutBeforeGet);
        self.listed.read_once() && if late { self.refcount.inc_return() > 0 } else { self.refcount.inc_unless_zero() }
    }

    /// `kfd_unref_process`: the last one has `WorkFunc::ReleaseProcess` run. Any context.
    pub(super) fn put(&self) {
        if self.refcount.dec_return() == 0 {
            self.release_work.queue();
        }
    }

    /// `kfd_process_notifier_release`: exit_mmap begins (or the last file is closed). Out of the table: what comes later finds
    /// no process. Then `destroy_queues`, which is the platform's, and only when they are gone the reference of the table:
    /// nothing may take DMA mappings from under a wave. Idempotent, but not against itself.
    pub fn process_release(&self, destroy_queues: impl FnOnce()) {
        if !self.listed.read_once() {
            return;
        }
        self.listed.write_once(false);
        note!(P::Kernel, "kfd process leaves the table");
        if P::Kernel::planted(Plant::KfdRestoreFlushInRelease) {
            self.restore_work.cancel_sync();
        }
        destroy_queues();
        self.put();
    }

    /// `svm_range_list_fini`, on the work item `WorkFunc::ReleaseProcess`. Nothing held.
    pub fn fini(&self) {
        self.restore_work.cancel_sync();
        self.deferred_work.flush();
        self.drain_pagefaults.inc_return();
        self.drain_retry_faults();
        // Nobody else is left; the original takes no lock either.
        let svms = SvmsLocked::nobody_else();
        while let Some(range) = self.list.front() {
            self.unlink(&svms, range);
            if P::Kernel::planted(Plant::Mlx5DyingSkipsRelease) && self.op(range) == super::WorkOp::UnmapRange {
                continue;
            }
            self.remove_notifier(range);
            self.range_free(range, true);
        }
        while P::Kernel::planted(Plant::UvmSpaceGonePagesStay)
            && let Some(bo) = { self.bo_list.lock().front() }
        {
            self.bo_release(bo);
        }
        self.mm.mmdrop();
        note!(P::Kernel, "kfd process is gone");
    }

    /// `svm_range_drain_retry_fault`.
    fn drain_retry_faults(&self) {
        loop {
            let drain = self.drain_pagefaults.load();
            if drain == 0 {
                return;
            }
            for (_, gpu) in self.gpus_of(self.supported()) {
                if !gpu.in_reset() {
                    gpu.drain_retry_faults();
                }
            }
            if self.drain_pagefaults.cmpxchg(drain, 0) == drain {
                return;
            }
            P::Kernel::retry_point("svm_range_drain_retry_fault: asked for again");
        }
    }
}

/// `svm_range_set_max_pages` for one GPU: a 32nd of VRAM, from 2 MiB to 1 GiB, a power of two.
fn max_range_pages<P: Platform>(gpu: &P::Gpu) -> u64 {
    let pages = (gpu.vram_size() >> 17).clamp(1 << 9, 1 << 18);
    1 << pages.ilog2()
}
