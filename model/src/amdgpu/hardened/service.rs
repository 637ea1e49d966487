//! The work: what the notifier and SET_ATTR have queued. One routine for both workers, SET_ATTR and close.
//!
//! For each queued range: destroy it if it was unmapped (even in part), then map whatever of its bounds is due. When
//! nothing is left, resume the queues, in the same section of NL in which the queue was seen empty.

use super::super::range::Handle;
use super::super::{RESTORE_DELAY_MS, Svm};
use super::map::{Pass, Purpose};
use super::{Queued, Unfinished};
use crate::framework::{DriverLocked, Instance};
use crate::note;
use crate::platform::{DelayedWork, Kernel, Plain, Plant, Platform};

impl<P: Platform> Svm<P> {
    /// The worker of both workqueues.
    pub(crate) fn hardened_work(&self) {
        let sl = self.lock_svm();
        self.service(DriverLocked::by::<P>(&sl));
    }

    /// Works until nothing is pending, or what is pending waits for another try. SL held, NL not.
    pub(super) fn service(&self, locked: DriverLocked<'_>) {
        let mut failed: Option<(Handle<P>, Unfinished)> = None;
        let mut first = true;
        loop {
            let mut nl = self.gpusvm.notifier_lock();
            if first {
                self.retry_now(locked, &nl);
                first = false;
            }
            let mut put = None;
            if let Some((handle, why)) = failed.take() {
                if !self.push_retry(locked, &nl, handle) {
                    put = Some(handle);
                }
                if why == Unfinished::MmGone {
                    self.hardened.gate.with_mut(|g| g.mm_gone = true);
                }
            }
            let gate = self.hardened.gate.get();
            let next = if gate.mm_gone { None } else { self.pop(locked, &nl) };
            if next.is_none() && !gate.mm_gone {
                if self.hardened.retry.is_empty() || P::Kernel::planted(Plant::ResumeEarly) {
                    // A notifier that evicts from here on waits for NL, and stops the queues again.
                    if gate.stopped {
                        note!(P::Kernel, "nothing pending, resuming");
                    }
                    if P::Kernel::planted(Plant::KfdUserptrResumeVsEvict) {
                        drop(nl);
                        nl = self.gpusvm.notifier_lock();
                    }
                    self.resume_queues(locked, &nl);
                } else if !gate.closing {
                    note!(P::Kernel, "not all could be mapped, again in {RESTORE_DELAY_MS} ms");
                    self.restore_work.queue(RESTORE_DELAY_MS);
                }
            }
            drop(nl);
            if let Some(handle) = put {
                self.gpusvm.range_put(handle);
            }
            let Some(handle) = next else {
                return;
            };
            match self.service_range(locked, handle) {
                Ok(()) => {
                    if P::Kernel::planted(Plant::RequeueLost) {
                        let _nl = self.gpusvm.notifier_lock();
                        self.gpusvm.range(handle).driver.state.with_mut(|s| s.queued = Queued::No);
                    }
                    self.gpusvm.range_put(handle);
                }
                Err(why) => failed = Some((handle, why)),
            }
        }
    }

    /// One range off the queue.
    fn service_range(&self, locked: DriverLocked<'_>, handle: Handle<P>) -> Result<(), Unfinished> {
        let range = self.gpusvm.range(handle);
        let bytes = range.bytes();
        if !range.driver.owned.with(|o| o.removed) {
            let flags = range.flags();
            if flags.unmapped || flags.partial_unmap {
                self.retire(locked, handle, false)?;
            }
        }
        let mut pass = Pass::new(Purpose::Rebuild, bytes.pages());
        let done = self.map_pass(locked, &mut pass);
        match (done, pass.refused) {
            (Err(why), _) => note!(P::Kernel, "rebuild of {bytes}: {:?}", why),
            (Ok(()), Some(e)) => note!(P::Kernel, "rebuild of {bytes}: {e} for a part that stays unmapped"),
            (Ok(()), None) => note!(P::Kernel, "rebuild of {bytes}: done"),
        }
        done
    }
}
