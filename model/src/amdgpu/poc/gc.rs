//! The GC worker: processes munmapped pieces of ranges. Spec amdgpu-svm 4.7.

use super::super::Svm;
use super::queue::{QueueOp, Which};
use crate::Errno;
use crate::framework::DriverLocked;
use crate::note;
use crate::platform::{DelayedWork, Platform};
use crate::units::Pages;

impl<P: Platform> Svm<P> {
    /// The worker of `gc_wq`.
    pub(crate) fn poc_gc_work(&self) {
        while let Some(item) = self.dequeue(Which::Gc) {
            note!(P::Kernel, "GC: item {}, unmap={} restore={}", item.pages, item.ops.unmap, item.ops.restore);
            let mut ret = Ok(());
            if item.ops.unmap {
                ret = self.process_unmap_interval(item.pages, !self.xnack_enabled);
            }
            if item.ops.restore {
                if !self.xnack_enabled && ret.is_ok() {
                    // Nothing to restore any more, but somebody has to resume the queues.
                    self.restore_work.queue(super::super::RESTORE_DELAY_MS);
                } else {
                    self.enqueue(item.range, item.pages, QueueOp::Restore);
                }
            }
            self.put_if_dequeued(item.range);
        }
    }

    /// `process_unmap_interval`: takes SL. The result of clearing the attributes is ignored (race R22).
    fn process_unmap_interval(&self, pages: Pages, rebuild: bool) -> Result<(), Errno> {
        let sl = self.lock_svm();
        let locked = DriverLocked::by::<P>(&sl);
        let cleared = self.lock_attrs().clear_pages(pages);
        match cleared {
            Ok(()) => note!(P::Kernel, "attr tree: {} cleared", pages),
            Err(e) => note!(P::Kernel, "attr tree: clearing {} failed with {e}, ignored", pages),
        }
        if !self.interval_has_range(locked, pages) {
            return Ok(());
        }
        let ret = self.rebuild_locked(locked, pages, rebuild);
        if let Err(e) = ret {
            note!(P::Kernel, "GC: rebuild failed with {e}");
        }
        ret
    }
}
