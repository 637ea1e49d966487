//! Stopping and resuming KFD's queues, balanced.
//!
//! KFD nests stops and the caller must balance them (spec amdgpu-svm, appendix B). `stopped` says that KFD has counted
//! one of ours, and it changes together with the call, under NL. So a notifier that comes later finds either stopped
//! queues, or running ones that it stops itself; there is nothing in between.

use super::super::Svm;
use crate::Errno;
use crate::framework::{DriverLocked, NotifierHeld, NotifierRead};
use crate::note;
use crate::platform::{Gpu, Kernel, Plain, Plant, Platform};

impl<P: Platform> Svm<P> {
    /// Stops the queues unless we have. NL held for write, or for read under SL. `ESRCH`: the process has no queues,
    /// and nothing was counted; the next event asks again, because it may have some then. `EIO`: the hardware hangs,
    /// but KFD counted the stop, so it has to be undone. Safety of memory does not depend on it: PTEs are cleared in
    /// any case.
    pub(super) fn stop_queues(&self, _held: NotifierHeld<'_>) {
        if self.hardened.gate.with(|g| g.stopped) && !P::Kernel::planted(Plant::DoubleQuiesceSingleResume) {
            return;
        }
        let counted = match self.gpu.quiesce_mm(self.mm()) {
            Ok(()) => true,
            Err(e) => {
                note!(P::Kernel, "quiesce failed with {e}");
                e == Errno::EIO
            }
        };
        self.hardened.gate.with_mut(|g| g.stopped = counted);
    }

    /// Undoes our stop, if there is one. Under SL and NL-R; the caller has made sure that nothing is pending, or that
    /// nothing is promised any more. KFD counts down even when it reports an error.
    pub(super) fn resume_queues(&self, _locked: DriverLocked<'_>, _nl: &NotifierRead<'_, P>) {
        if !self.hardened.gate.with(|g| g.stopped) {
            return;
        }
        if let Err(e) = self.gpu.resume_mm(self.mm()) {
            note!(P::Kernel, "resume failed with {e}");
        }
        self.hardened.gate.with_mut(|g| g.stopped = false);
    }
}
