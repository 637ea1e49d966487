//! The garbage collector: removes ranges that an munmap hit, whole. Attributes stay, and nothing is rebuilt: the GPU faults
//! again on what is left. Spec amdgpu-svm 7.4.
//!
//! PTEs are not its trade: the notifier has cleared those of the munmapped part, and the others stay (race R27).

use super::super::Svm;
use crate::framework::{DriverLocked, Instance};
use crate::note;
use crate::platform::{Kernel, Platform};

impl<P: Platform> Svm<P> {
    /// The worker of `gc_wq`.
    pub(crate) fn v8_gc_work(&self) {
        let sl = self.lock_svm();
        self.v8_garbage_collector(DriverLocked::by::<P>(&sl));
    }

    /// `garbage_collector`: the whole list. Also run by the fault handler. SL held.
    pub(super) fn v8_garbage_collector(&self, locked: DriverLocked<'_>) {
        while let Some(item) = self.v8_dequeue() {
            if !item.unmap {
                P::Kernel::warn(format_args!(
                    "GC: range {} has no UNMAP pending",
                    self.gpusvm.range(item.range).bytes()
                ));
            }
            note!(
                P::Kernel,
                "GC: range {} is removed, {} of it were unmapped",
                self.gpusvm.range(item.range).bytes(),
                item.pages
            );
            self.gpusvm.range_remove(locked, item.range);
            self.v8_put_if_dequeued(item.range);
        }
    }
}
