//! Waiting for the workers, and ending them. Spec amdgpu-svm 4.8.

use super::super::Svm;
use super::queue::Which;
use crate::platform::{Atomic, DelayedWork, Platform, Work, WorkQueue};

impl<P: Platform> Svm<P> {
    /// `range_flush`. Nothing held.
    pub(super) fn range_flush(&self) {
        self.gc_work.flush();
        self.restore_work.flush();
        self.gc_work.flush();
    }

    /// `range_sync_work`. Nothing held.
    pub(crate) fn range_sync_work(&self) {
        self.range_flush();
        self.gc_wq.flush();
        self.restore_wq.flush();
    }

    /// `amdgpu_svm_close`.
    pub(crate) fn poc_close(&self) {
        if self.poc.exiting.swap(1) == 1 {
            return;
        }
        self.range_sync_work();
    }

    /// `work_fini`.
    pub(crate) fn work_fini(&self) {
        self.restore_work.cancel_sync();
        self.gc_work.flush();
        for which in [Which::Gc, Which::Restore] {
            while let Some(item) = self.dequeue(which) {
                self.put_if_dequeued(item.range);
            }
        }
        self.poc.evicted_ranges.store(0);
        if self.poc.kfd_queues_quiesced.load() != 0 {
            self.end_restore();
        }
        self.restore_wq.destroy();
        self.gc_wq.destroy();
    }
}
