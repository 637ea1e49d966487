//! Close and fini. Spec amdgpu-svm 7.4.
//!
//! Not clean on purpose: "exiting" makes the notifier look away while the notifiers are still registered and the PTEs still
//! there, and it is not looked at again under any lock by those who passed it.

use super::super::Svm;
use crate::framework::{DriverLocked, Instance};
use crate::platform::{Atomic, Platform, RetryFaults, Work, WorkQueue};

impl<P: Platform> Svm<P> {
    /// `amdgpu_svm_close`: no new work, then waits for the GC and for the faults that are in the rings.
    pub(crate) fn v8_close(&self) {
        if self.v8().exiting.swap(1) == 1 {
            return;
        }
        self.v8_sync_work();
        self.gpu.drain_retry_faults();
    }

    /// `amdgpu_svm_fini` after close. PTEs stay: the VM is going away.
    pub(crate) fn v8_fini(&self) {
        {
            let sl = self.lock_svm();
            self.gpusvm.fini(DriverLocked::by::<P>(&sl));
        }
        self.lock_attrs().destroy();
        // gc_fini, clean_queue
        self.gc_work.flush();
        while let Some(item) = self.v8_dequeue() {
            self.v8_put_if_dequeued(item.range);
        }
        self.restore_wq.destroy();
        self.gc_wq.destroy();
    }
}
