//! The queue of ranges with pending work.
//!
//! A range is on at most one of the two lists, and its membership owns one reference. Whoever takes a range off gets
//! that reference. The notifier puts ranges on under NL-W; the driver puts them on and takes them off under SL and
//! NL-R. The holder of SL is the only one that works, so "being processed" needs no state: a range that is hit while it
//! is being worked on is put on the list again, with a reference of its own.

use super::super::Svm;
use super::super::range::Handle;
use super::Queued;
use crate::framework::{DriverLocked, Instance, NotifierHeld, NotifierRead};
use crate::note;
use crate::platform::{Kernel, Plain, Plant, Platform};

impl<P: Platform> Svm<P> {
    /// Puts a range on a list, unless it is on one already. NL held for write, or for read under SL.
    pub(super) fn push(&self, _held: NotifierHeld<'_>, handle: Handle<P>, to: Queued, why: &str) {
        let list = match to {
            Queued::No => return,
            Queued::Pending => &self.hardened.pending,
            Queued::Retry => &self.hardened.retry,
        };
        let range = self.gpusvm.range(handle);
        if range.driver.state.with(|s| s.queued) != Queued::No {
            return;
        }
        self.gpusvm.range_get(handle);
        range.driver.state.with_mut(|s| s.queued = to);
        list.push_back(self.gpusvm.range_cache(), handle);
        note!(P::Kernel, "range {} queued: {why}", range.bytes());
    }

    /// Takes the next pending range off, with its reference.
    pub(super) fn pop(&self, _locked: DriverLocked<'_>, _nl: &NotifierRead<'_, P>) -> Option<Handle<P>> {
        let handle = self.hardened.pending.pop_front(self.gpusvm.range_cache())?;
        if !P::Kernel::planted(Plant::RequeueLost) {
            self.gpusvm.range(handle).driver.state.with_mut(|s| s.queued = Queued::No);
        }
        Some(handle)
    }

    /// Puts a range whose work failed on the retry list, handing over the reference the caller got from
    /// [`Svm::pop`]. False, and the reference stays the caller's, when the range is on a list again already.
    pub(super) fn push_retry(&self, _locked: DriverLocked<'_>, _nl: &NotifierRead<'_, P>, handle: Handle<P>) -> bool {
        let state = &self.gpusvm.range(handle).driver.state;
        if state.with(|s| s.queued) != Queued::No {
            return false;
        }
        state.with_mut(|s| s.queued = Queued::Retry);
        self.hardened.retry.push_back(self.gpusvm.range_cache(), handle);
        true
    }

    /// Moves all that waits for another try to the pending list.
    pub(super) fn retry_now(&self, _locked: DriverLocked<'_>, _nl: &NotifierRead<'_, P>) {
        let cache = self.gpusvm.range_cache();
        while let Some(handle) = self.hardened.retry.pop_front(cache) {
            self.gpusvm.range(handle).driver.state.with_mut(|s| s.queued = Queued::Pending);
            self.hardened.pending.push_back(cache, handle);
        }
    }
}
