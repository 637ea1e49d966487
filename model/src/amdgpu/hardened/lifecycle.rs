//! The fault entry, close and fini.
//!
//! "Closing" is said under NL, so that no notifier is between its look at it and the work it queues. From then on
//! callbacks clear and unmap as before, and stop the queues if they have to, but queue no work. They end when fini has
//! unregistered them.

use super::super::Svm;
use super::map::{Pass, Purpose};
use super::{Queued, RangeState};
use crate::Errno;
use crate::framework::{DriverLocked, Instance, TreeAccess};
use crate::note;
use crate::platform::{DelayedWork, Kernel, Plain, Plant, Platform, PteFlags, Work, WorkQueue};
use crate::units::{Bytes, Pages};

impl<P: Platform> Svm<P> {
    /// A retry fault on `page`. See [`Svm::handle_fault`].
    pub(crate) fn hardened_fault(&self, page: u64, write: bool) -> Result<(), Errno> {
        if !self.xnack_enabled {
            return Err(Errno::EOPNOTSUPP);
        }
        let sl = self.lock_svm();
        let locked = DriverLocked::by::<P>(&sl);
        if self.is_closing(locked) {
            return Err(Errno::EAGAIN);
        }
        let pages = Pages::new(page, page);
        let mut pass = Pass::new(Purpose::Fault, pages);
        let mapped = self.map_pass(locked, &mut pass).map_err(|why| why.errno());
        let allowed = self.fault_allowed(locked, pages.bytes(), write);
        self.service(locked);
        match (mapped, pass.refused) {
            (Err(e), _) | (Ok(()), Some(e)) => Err(e),
            (Ok(()), None) => allowed,
        }
    }

    /// Whether what is mapped at the page satisfies the fault. Unmapped again already: the GPU asks again. A hole, or a
    /// write to what may only be read: refused, so that it does not ask for ever.
    fn fault_allowed(&self, locked: DriverLocked<'_>, page: Bytes, write: bool) -> Result<(), Errno> {
        let access = TreeAccess::Driver(locked);
        let range = self
            .gpusvm
            .first_notifier(locked, page)
            .and_then(|notifier| self.gpusvm.first_range(notifier, page, access))
            .ok_or(Errno::EFAULT)?;
        let nl = self.gpusvm.notifier_lock();
        let RangeState { mapped, pte_flags, .. } = self.gpusvm.range(range).driver.state.get();
        drop(nl);
        if write && mapped && pte_flags != PteFlags::NONE && !pte_flags.has(PteFlags::WRITEABLE) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Close: no new work, then what is pending is done here, so that no stopped queue is left behind.
    pub(crate) fn hardened_close(&self) {
        let idle = P::Kernel::planted(Plant::Mlx5CheckBeforeGrace) && {
            let _sl = self.lock_svm();
            let _nl = self.gpusvm.notifier_lock();
            self.hardened.pending.is_empty()
        };
        {
            let sl = self.lock_svm();
            let locked = DriverLocked::by::<P>(&sl);
            if self.is_closing(locked) {
                return;
            }
            {
                let _al = self.lock_attrs();
                self.hardened.closed.set(true);
            }
            if P::Kernel::planted(Plant::CloseCancelOrder) {
                self.restore_work.cancel_sync();
                self.gc_work.cancel_sync();
            }
            let nl = self.gpusvm.notifier_lock();
            self.hardened.gate.with_mut(|g| g.closing = !P::Kernel::planted(Plant::XeGcRequeueAfterClose));
            drop(nl);
        }
        if !idle && !P::Kernel::planted(Plant::CloseCancelOrder) {
            if !P::Kernel::planted(Plant::Mlx5FlushMissesDeferred) {
                self.restore_work.cancel_sync();
            }
            self.gc_work.cancel_sync();
        }
        let sl = self.lock_svm();
        self.service(DriverLocked::by::<P>(&sl));
    }

    /// Fini, after close: attributes, ranges and notifiers, queue references, our stop, workqueues; in that
    /// order.
    pub(crate) fn hardened_fini(&self) {
        {
            let sl = self.lock_svm();
            let locked = DriverLocked::by::<P>(&sl);
            // Nothing is promised from here on.
            self.lock_attrs().destroy();
            // The framework's own fini unregisters a notifier before it unmaps the DMA of its ranges, so that an
            // munmap between the two frees frames that are still mapped. Here the ranges go first, each in the right
            // order, and the last one of a notifier unregisters it.
            if let Err(why) = self.retire_overlaps(locked, Bytes::new(0, u64::MAX), false) {
                // The page tables are evicted: the GPU does not walk them, and the VM is going away.
                note!(P::Kernel, "fini: some PTEs are not cleared: {}", why.errno());
            }
            self.gpusvm.fini(locked);
            self.drop_queues(locked);
        }
        self.restore_wq.destroy();
        self.gc_wq.destroy();
    }

    /// Drops the references of the queues and undoes our stop.
    fn drop_queues(&self, locked: DriverLocked<'_>) {
        let nl = self.gpusvm.notifier_lock();
        let cache = self.gpusvm.range_cache();
        for list in [&self.hardened.pending, &self.hardened.retry] {
            while let Some(handle) = list.pop_front(cache) {
                self.gpusvm.range(handle).driver.state.with_mut(|s| s.queued = Queued::No);
                self.gpusvm.range_put(handle);
            }
        }
        self.resume_queues(locked, &nl);
    }
}
