//! The deferred work: what callbacks changed becomes the set of ranges.
//!
//! Answers to `svm_range_deferred_list_work`, `svm_range_handle_list_op`. Spec kfd-svm 5.1.

use super::Svms;
use super::locks::SvmsLocked;
use super::mmap::WriteGuard;
use super::range::{Deferred, Handle, Range, WorkOp};
use crate::list::{List, ListNode};
use crate::note;
use crate::platform::{Kernel, Mm, Plain, Plant, Platform, SpinLock};

impl<P: Platform> Svms<P> {
    /// The work item `WorkFunc::Deferred`. Nothing held. Takes MM for write once a range.
    pub fn deferred_work(&self) {
        let _outer = P::Kernel::planted(Plant::KfdIoctlMutexVsFlush).then(|| self.lock_process_info());
        if P::Kernel::planted(Plant::KfdDeferredMmRef) && !self.mm.mmget_not_zero() {
            return;
        }
        loop {
            // Only looked at: a callback may change the op, but not queue it again, until it is unlinked below.
            let Some(handle) = self.deferred.lock().front() else { break };
            let mmap = self.mm.mmap_write_lock();
            self.deferred.lock().remove(&self.ranges, handle);
            {
                let svms = self.lock_svms();
                {
                    let range = self.range(handle);
                    let _migration = range.lock_migration();
                    if range.node.get() != range.pages() {
                        self.leave_tree(handle);
                    }
                    while let Some(child) = self.pop_child(handle) {
                        self.handle_list_op(&svms, &mmap, child);
                    }
                }
                self.handle_list_op(&svms, &mmap, handle);
            }
            drop(mmap);
            if !P::Kernel::planted(Plant::KfdDeferredMmRef) {
                self.put_list_work();
            }
        }
        if P::Kernel::planted(Plant::KfdDeferredMmRef) {
            self.put_list_work();
        }
    }

    /// `svm_range_handle_list_op`.
    fn handle_list_op(&self, svms: &SvmsLocked<'_, P>, mmap: &WriteGuard<'_, P>, handle: Handle<P>) {
        let op = self.op(handle);
        let own = self.range(handle).pages();
        note!(P::Kernel, "deferred: {op:?} {own}");
        match op {
            WorkOp::Null => {}
            WorkOp::UnmapRange => {
                self.unlink(svms, handle);
                self.remove_notifier(handle);
                self.range_free(handle, true);
            }
            WorkOp::UpdateRangeNotifier => self.update_notifier_and_tree(mmap, handle),
            WorkOp::AddRange => {
                self.add_to_svms(svms, handle);
                self.add_notifier_locked(mmap, handle);
            }
        }
    }

    /// Whether the range is on the deferred list. DL is held.
    pub(super) fn on_deferred_list(&self, _held: &List<P::Kernel, Range<P>, Deferred>, handle: Handle<P>) -> bool {
        <Range<P> as ListNode<P::Kernel, Deferred>>::link(self.range(handle)).with(|link| link.is_linked())
    }
}
