//! The restore worker: maps evicted intervals again, then resumes the queues. Spec amdgpu-svm 4.7.
//!
//! An item that fails goes back to the list that the same pass drains (race R3: a hot loop), and `exiting` is looked
//! at only at entry.

use super::super::{RESTORE_DELAY_MS, Svm};
use super::queue::Which;
use crate::framework::{DriverLocked, Instance};
use crate::note;
use crate::platform::{Atomic, DelayedWork, Kernel, Platform, SpinLock};

impl<P: Platform> Svm<P> {
    /// The worker of `restore_wq`.
    pub(crate) fn poc_restore_work(&self) {
        if self.poc.exiting.load() != 0 {
            return;
        }
        let record = self.poc.evicted_ranges.load();
        if record == 0 {
            return; // whatever is queued stays on the list
        }
        let mut need_resched = false;
        while let Some(item) = self.dequeue(Which::Restore) {
            let ret = {
                let sl = self.lock_svm();
                self.map_attr_ranges(DriverLocked::by::<P>(&sl), item.pages)
            };
            if let Err(e) = ret {
                note!(P::Kernel, "restore: mapping {} failed with {e}", item.pages);
                {
                    let queues = self.poc.gc_lock.lock();
                    self.requeue_restore_locked(&queues, item.range, item.pages);
                }
                need_resched = true;
            } else {
                note!(P::Kernel, "restore: {} mapped again", item.pages);
            }
            self.put_if_dequeued(item.range);
            if ret.is_err() {
                P::Kernel::retry_point("restore worker: the item went back to the list being drained");
            }
        }
        let has_pending = self.poc.gc_lock.lock().has_pending();
        if !need_resched && !has_pending {
            let nl = self.gpusvm.notifier_lock();
            let has_pending = self.poc.gc_lock.lock().has_pending();
            if !has_pending && self.poc.evicted_ranges.cmpxchg(record, 0) == record {
                note!(P::Kernel, "cmpxchg evicted {record}->0, resuming");
                drop(nl);
                // Between here and the resume a notifier may evict again: it counts 0 -> 1, finds the queues marked
                // stopped already, and this resumes them.
                self.end_restore();
                return;
            }
        }
        note!(P::Kernel, "restore: not done (record {record}), again in {RESTORE_DELAY_MS} ms");
        self.restore_work.queue(RESTORE_DELAY_MS);
    }
}
