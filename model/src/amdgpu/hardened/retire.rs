//! Taking ranges off the GPU, and destroying them.
//!
//! The order is always: stop the queues (if they could miss the mapping), clear the PTEs of the whole range, flush the
//! TLB, and only then unmap DMA and unlink.

use super::super::Svm;
use super::super::range::{Handle, SvmRange};
use super::{Queued, RangeState, Unfinished};
use crate::Errno;
use crate::attr::Flags;
use crate::framework::{DriverLocked, Instance, NotifierHandle, NotifierHeld, TreeAccess};
use crate::note;
use crate::platform::{Gpu, Plain, Platform, PteFlags};
use crate::units::Bytes;

impl<P: Platform> Svm<P> {
    /// Whether what is mapped this way must stay mapped, because nothing would bring it back in time.
    pub(super) fn is_eager(&self, flags: Flags) -> bool {
        !self.xnack_enabled || flags.has(Flags::GPU_ALWAYS_MAPPED)
    }

    /// Clears the PTEs of the whole range, if it may have some. The TLB is the caller's. Existing leaves only, so no
    /// reservation. NL held for write, or for read under SL. Returns whether there was something to clear.
    ///
    /// # Errors
    /// `EBUSY`: the page tables are being evicted. The range counts as mapped still.
    pub(super) fn zap(&self, held: NotifierHeld<'_>, handle: Handle<P>) -> Result<bool, Errno> {
        let range = self.gpusvm.range(handle);
        if !range.driver.state.with(|s| s.mapped) {
            return Ok(false);
        }
        let cleared = match self.gpu_unmap_unlocked(held, range.bytes()) {
            // An unplugged GPU reads no page tables.
            Err(Errno::ENODEV) => Ok(()),
            other => other,
        };
        range.driver.state.with_mut(|s| {
            s.pte_flags = PteFlags::NONE;
            s.mapped = cleared.is_err();
        });
        cleared.map(|()| true)
    }

    /// Takes one range off the GPU on the driver's own account, with the queues stopped if somebody may count on it.
    /// DMA stays mapped. `then` runs in the same section of NL. SL held, NL not.
    ///
    /// # Errors
    /// Its PTEs could not be cleared: the queues are stopped, and it is queued for another try.
    pub(super) fn unmap_gpu(
        &self,
        _locked: DriverLocked<'_>,
        handle: Handle<P>,
        then: impl FnOnce(NotifierHeld<'_>),
    ) -> Result<(), Unfinished> {
        let state = &self.gpusvm.range(handle).driver.state;
        let nl = self.gpusvm.notifier_lock();
        let RangeState { mapped, attr_flags, .. } = state.get();
        if mapped && self.is_eager(attr_flags) {
            self.stop_queues(nl.held());
        }
        match self.zap(nl.held(), handle) {
            Ok(true) => self.gpu.flush_tlb(),
            Ok(false) => {}
            Err(e) => {
                // Whatever the mode: nobody may use the old pages while the entries stay.
                self.stop_queues(nl.held());
                self.push(nl.held(), handle, Queued::Retry, "its PTEs could not be cleared");
                return Err(Unfinished::Later(e));
            }
        }
        then(nl.held());
        Ok(())
    }

    /// Destroys a range. `rebuild`: what it covered is queued, to be mapped again where that is due.
    ///
    /// # Errors
    /// Its PTEs could not be cleared: it is queued, and still there.
    pub(super) fn retire(&self, locked: DriverLocked<'_>, handle: Handle<P>, rebuild: bool) -> Result<(), Unfinished> {
        let range = self.gpusvm.range(handle);
        self.unmap_gpu(locked, handle, |held| {
            if rebuild {
                self.push(held, handle, Queued::Pending, "destroyed, to be rebuilt");
            }
        })?;
        note!(P::Kernel, "range {} retired", range.bytes());
        range.driver.owned.with_mut(|o| o.removed = true);
        self.gpusvm.range_remove(locked, handle);
        Ok(())
    }

    /// Destroys every range that overlaps `bytes`. Those that stick out, and with `rebuild` all of them, are queued for
    /// rebuilding. SL held, NL not.
    ///
    /// # Errors
    /// As [`Svm::retire`], the first; the others have been destroyed all the same.
    pub(super) fn retire_overlaps(
        &self,
        locked: DriverLocked<'_>,
        bytes: Bytes,
        rebuild: bool,
    ) -> Result<(), Unfinished> {
        let access = TreeAccess::Driver(locked);
        let mut result = Ok(());
        let mut next_notifier: Option<NotifierHandle<P, SvmRange<P>>> = self.gpusvm.first_notifier(locked, bytes);
        while let Some(notifier) = next_notifier {
            // Retiring the last range frees the notifier, so look ahead.
            next_notifier = self.gpusvm.next_notifier(locked, notifier, bytes.end);
            let mut next = self.gpusvm.first_range(notifier, bytes, access);
            while let Some(handle) = next {
                next = self.gpusvm.next_range(handle, bytes.end, access);
                let sticks_out = !bytes.covers(&self.gpusvm.range(handle).bytes());
                result = result.and(self.retire(locked, handle, rebuild || sticks_out));
            }
        }
        result
    }
}
