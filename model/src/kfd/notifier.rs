//! Where the MMU notifier enters: `svm_range_cpu_invalidate_pagetables`. Spec kfd-svm 4; the step numbers are the spec's.

use super::Svms;
use super::range::Handle;
use crate::note;
use crate::platform::{EventKind, Kernel, Mm, MmuEvent, Plain, Plant, Platform};

impl<P: Platform> Svms<P> {
    /// The interval notifier of a range was hit: `cookie` is what it was registered with. Any context; takes PR, also
    /// when the event must not block: there is no such check, so the answer is always true.
    pub fn mmu_invalidate(&self, cookie: u64, event: &MmuEvent, seq: u64) -> bool {
        // 1.
        if event.kind == EventKind::Release {
            return true;
        }
        let handle = Handle::<P>::from_bits(cookie);
        let range = self.range(handle);
        let Some((sub, listens)) = range.notifier.get() else { return true };
        // 2.
        let mut pages = event.bytes.clip(&listens.bytes()).pages();
        if P::Kernel::planted(Plant::RangeEndOffByOne) && pages.count() > 1 {
            pages.last -= 1;
        }
        // 3. Blocks, whatever the event says.
        let locked = range.lock();
        let user = P::Kernel::planted(Plant::KfdMmputInNotifier) && self.mm.mmget_not_zero();
        // 4.
        if !P::Kernel::planted(Plant::NoSetSeq) {
            self.mm.interval_set_seq(sub, seq);
        }
        let own = range.pages();
        note!(P::Kernel, "{} of {pages} in range {own}", event.kind.name());
        // 5.
        match event.kind {
            EventKind::Clear if P::Kernel::planted(Plant::ClearAsUnmap) => self.unmap_from_cpu(&locked, handle, pages),
            EventKind::Unmap => self.unmap_from_cpu(&locked, handle, pages),
            _ => self.evict(&locked, handle, pages),
        }
        drop(locked);
        if user {
            self.mm.mmput();
        }
        // 6.
        true
    }
}
