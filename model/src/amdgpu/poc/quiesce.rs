//! Stopping and resuming KFD's queues. Spec amdgpu-svm 4.6.
//!
//! A failed stop is remembered as "not stopped" and the notifier goes on as if it had worked (race R5):
//! `evicted_ranges` is not zero any more, so later callbacks do not try again either.

use super::super::Svm;
use crate::note;
use crate::platform::{Atomic, Gpu, Platform};

impl<P: Platform> Svm<P> {
    /// `begin_restore`, in the notifier under NL-W: only the transition 0 -> 1 stops the queues.
    pub(super) fn begin_restore(&self) {
        let evicted = self.poc.evicted_ranges.inc_return();
        note!(P::Kernel, "evicted {}->{}", evicted - 1, evicted);
        if evicted == 1 {
            self.begin_compute();
        }
    }

    /// `begin_compute`.
    fn begin_compute(&self) {
        if self.poc.kfd_queues_quiesced.cmpxchg(0, 1) != 0 {
            note!(P::Kernel, "cmpxchg quiesced 0->1 fails: the queues count as stopped, and are not stopped again");
            return;
        }
        if let Err(e) = self.gpu.quiesce_mm(self.mm()) {
            self.poc.kfd_queues_quiesced.store(0);
            note!(P::Kernel, "quiesce failed with {e}; the notifier goes on");
        }
    }

    /// `end_restore` -> `end_compute`. Errors are traced only.
    pub(super) fn end_restore(&self) {
        if self.poc.kfd_queues_quiesced.cmpxchg(1, 0) != 1 {
            return;
        }
        if let Err(e) = self.gpu.resume_mm(self.mm()) {
            note!(P::Kernel, "resume failed with {e}");
        }
    }
}
