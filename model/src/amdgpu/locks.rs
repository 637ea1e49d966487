//! The lock hierarchy of the driver, and the names the rest of the code uses for its locks.
//!
//! Answers to the locking comment a reviewer looks for at the top of `amdgpu_svm.c`. Spec amdgpu-svm 5, drm-gpusvm 2.
//!
//! | short | lock | kind | protects |
//! |---|---|---|---|
//! | SL | `svm_lock` | rwsem, always taken for write | driver lock of drm_gpusvm: notifier and range trees, mapping |
//! | AL | `attr_tree.lock` | mutex | the attribute tree |
//! | MM-R | `mmap_lock` for read | of the mm | VMAs; taken and dropped inside the framework |
//! | RESV | the root page directory's reservation | drm_exec | page-table updates that may allocate |
//! | NL | `notifier_lock` | rwsem of drm_gpusvm | pages and flags of ranges against the MMU notifier |
//! | EL | the VM's eviction lock | inside `update_range` | page tables against TTM |
//! | GL | `gc_lock`, in `poc-v8` `work_lock` | spinlock, not in `hardened` | worker queues and the queue fields of ranges |
//!
//! Outer to inner:
//!
//! 1. SL -> AL. The ioctl of `poc-v1` takes AL, drops it, then takes SL (races R13, R15); nobody takes SL under AL.
//!    RESET_ATTR of `poc-v8` takes AL alone.
//! 2. SL -> MM-R, inside the framework; SL -> mmap_lock for write once, inside the first registration of an interval
//!    notifier. So nobody takes SL while holding mmap_lock.
//! 3. SL -> RESV -> NL-R -> EL. RESV comes after page collection, because mmap_lock is outside of reservations.
//! 4. MMU notifier: {mmap_lock, rmap locks, reclaim} -> NL-W -> {EL, KFD's locks, GL, TLB flush}. The callback takes
//!    neither SL, AL, RESV nor mmap_lock, and does not allocate with reclaim.
//! 5. `poc-v1`'s restore completion: NL-R -> GL. GL is a leaf everywhere.
//! 6. `hardened`'s completion: SL -> NL-R -> KFD's locks, the same order as the notifier's NL-W -> KFD's locks.
//! 7. `poc-v8`: SL -> MM-R, also by the driver itself, to look at VMAs and to migrate; RESV -> MM-R, against 3, when device
//!    pages of a range are brought back by a change of attributes (bug L5). Evicting VRAM runs under SL and MM-R of whoever
//!    allocates, and takes NL through the notifiers.
//! 8. SL -> wait for running MMU notifier callbacks (unregistering an interval). Callbacks never wait for SL.
//!
//! Flushing a worker waits for somebody who takes SL, so it is done with no lock held.
//!
//! What is protected by NL without being inside of it (`hardened`'s queues, its stop state, a range's mapped state) is
//! *written* by the notifier under NL-W, or by the driver under SL and NL-R together, and *read* under NL in either
//! mode: two writers always exclude each other, and the reader always excludes the notifier.

use super::{AttrMutex, Design, Svm};
use crate::attr::AttrTree;
use crate::platform::{KRwSem, Mutex, Objects, Platform, RwSem};

/// SL held: the driver lock of drm_gpusvm, for write.
pub(crate) type SvmGuard<'a, P> = <KRwSem<P, ()> as RwSem<()>>::WriteGuard<'a>;

/// AL held.
pub(crate) type AttrGuard<'a, P> = <AttrMutex<P> as Mutex<AttrTree<<P as Platform>::Kernel>>>::Guard<'a>;

impl<P: Platform> Svm<P> {
    /// Takes AL. Sleeps. The tree must exist: in `poc-v1` fini frees it under the hands of who is still here (race R35),
    /// and its mutex with it, so it is looked at again when the mutex is ours.
    #[track_caller]
    pub(crate) fn lock_attrs(&self) -> AttrGuard<'_, P> {
        let guard = self.attr_trees.get(self.attr_tree).lock();
        self.attr_trees.get(self.attr_tree);
        guard
    }

    /// Takes SL. Sleeps; nothing but the caller's own work may be held (see the module documentation).
    #[track_caller]
    pub(crate) fn lock_svm(&self) -> SvmGuard<'_, P> {
        self.svm_lock.write()
    }

    /// Which design runs.
    pub fn design(&self) -> Design {
        self.design
    }
}
