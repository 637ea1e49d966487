//! Where the MMU notifier enters the driver. Spec drm-gpusvm 12, amdgpu-svm 4.5.

use super::range::SvmRange;
use super::{Design, Svm};
use crate::framework::{NotifierHandle, NotifierWrite};
use crate::gpusvm::Ported;
use crate::platform::{Atomic, Kernel, MmuEvent, Plant, Platform};

impl<P: Ported> Svm<P> {
    /// An interval notifier of this instance was hit: `cookie` is what it was registered with, `seq` the sequence of
    /// the invalidation. Called in whatever context changes the mm, with whatever that holds; takes NL for write.
    /// False: the event must not block and the callback would have.
    pub fn mmu_invalidate(&self, cookie: u64, event: &MmuEvent, seq: u64) -> bool {
        if !event.blockable && P::Kernel::planted(Plant::HmmNonblockUnwind) {
            self.poc.evicted_ranges.inc_return();
        }
        self.gpusvm.notifier_invalidate(cookie, event, seq, |nl, notifier| self.invalidate(nl, notifier, event))
    }
}

impl<P: Platform> Svm<P> {
    /// The `invalidate` op of the framework: `event` hits `notifier`, which is one of this instance's. The framework holds
    /// NL for write and has set the notifier's sequence number. Waits for page table updates, allocates nothing that enters
    /// reclaim, takes no lock under which somebody does.
    pub fn invalidate(&self, nl: &NotifierWrite<'_, P>, notifier: NotifierHandle<P, SvmRange<P>>, event: &MmuEvent) {
        match self.design {
            Design::PocV1 => self.poc_invalidate(nl, notifier, event),
            Design::Hardened => self.hardened_invalidate(nl, notifier, event),
            Design::PocV8 => self.v8_invalidate(nl, notifier, event),
        }
    }

    /// The worker of `gc_wq`. Nothing held.
    pub fn gc_work(&self) {
        match self.design {
            Design::PocV1 => self.poc_gc_work(),
            Design::Hardened => self.hardened_work(),
            Design::PocV8 => self.v8_gc_work(),
        }
    }

    /// The worker of `restore_wq`. Nothing held. `poc-v8` has none.
    pub fn restore_work(&self) {
        match self.design {
            Design::PocV1 => self.poc_restore_work(),
            Design::Hardened => self.hardened_work(),
            Design::PocV8 => {}
        }
    }
}
