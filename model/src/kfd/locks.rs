//! The lock hierarchy, and the guards that stand for it in signatures. Spec kfd-svm 2.
//!
//! | short | lock | kind | protects |
//! |---|---|---|---|
//! | PI | `process_info->lock` | mutex | SET_ATTR and restore against each other |
//! | MM | `mmap_lock` | of the mm, W or R | VMAs; W also the set of ranges, because notifiers are inserted under it |
//! | SV | `svms->lock` | mutex | tree and list of ranges; mapping |
//! | MG | `prange->migrate_mutex` | mutex | migration and mapping of one range |
//! | RESV | root page directories | drm_exec | page tables |
//! | PR | `prange->lock`, with `memalloc_noreclaim` | mutex | the range against the MMU notifier: bounds, children, svm_bo |
//! | CH | `prange->lock` of a child | the same, nested | the child |
//! | DL | `deferred_list_lock` | spinlock | what waits for the deferred work |
//! | BL | `svm_bo->list_lock` | spinlock | which ranges a buffer object serves |
//!
//! Outer to inner: PI -> MM -> SV -> MG -> RESV -> PR -> CH; DL and BL are leaves. The notifier callback takes PR alone (and
//! CH, DL, KFD's own locks inside it). The CPU fault callback comes with MM for read and takes SV, MG. The worker that
//! empties a buffer object takes MM for read and MG, not SV.
//!
//! Fields that several paths of the original read or write without a lock in common are [`Kernel::Shared`] here: bounds, attributes, the words of children lists, `mapped_to_gpu`, `actual_loc`, `vram_pages`, `svm_bo`. DMA
//! arrays are [`Kernel::Plain`]: who splits a range frees the array, and somebody who writes it then without
//! the lock of the splitter is a data race that is worth a report.

use super::Svms;
use super::range::Range;
use crate::platform::{KMutex, Kernel, Mutex, Platform};

/// PI.
pub(crate) type ProcessInfoGuard<'a, P> = <KMutex<P, ()> as Mutex<()>>::Guard<'a>;
/// MG.
pub(crate) type MigrateGuard<'a, P> = <KMutex<P, ()> as Mutex<()>>::Guard<'a>;

/// SV is held.
pub(crate) struct SvmsLocked<'a, P: Platform> {
    _guard: Option<<KMutex<P, ()> as Mutex<()>>::Guard<'a>>,
}

impl<P: Platform> SvmsLocked<'_, P> {
    /// For who is the last one that knows the process.
    pub(super) fn nobody_else() -> Self {
        SvmsLocked { _guard: None }
    }
}

/// PR is held: `svm_range_lock`. Fields drop in order, reclaim comes back first.
pub(crate) struct RangeLocked<'a, P: Platform> {
    _noreclaim: <P::Kernel as Kernel>::NoReclaim,
    _guard: <KMutex<P, ()> as Mutex<()>>::Guard<'a>,
}

impl<P: Platform> Svms<P> {
    /// PI.
    #[track_caller]
    pub(super) fn lock_process_info(&self) -> ProcessInfoGuard<'_, P> {
        self.process_info.lock()
    }

    /// SV. MM is held in either mode.
    #[track_caller]
    pub(super) fn lock_svms(&self) -> SvmsLocked<'_, P> {
        SvmsLocked { _guard: Some(self.lock.lock()) }
    }
}

impl<P: Platform> Range<P> {
    /// `svm_range_lock`: PR, and no reclaim below it.
    #[track_caller]
    pub(super) fn lock(&self) -> RangeLocked<'_, P> {
        let guard = self.lock.lock();
        RangeLocked { _noreclaim: P::Kernel::noreclaim(), _guard: guard }
    }

    /// CH: this is a child of a range whose PR is held.
    #[track_caller]
    pub(super) fn lock_child<'a>(&'a self, _parent: &RangeLocked<'_, P>) -> <KMutex<P, ()> as Mutex<()>>::Guard<'a> {
        self.lock.lock_nested(1)
    }

    /// MG.
    #[track_caller]
    pub(super) fn lock_migration(&self) -> MigrateGuard<'_, P> {
        self.migrate_mutex.lock()
    }
}
