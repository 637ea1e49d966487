//! Where the MMU notifier enters: `svm_range_cpu_invalidate_pagetables`. Spec kfd-svm 4; the step numbers are the spec's.

use super::Svms;
use super::range::Handle;
use crate::note;
use crate::platform::{EventKind, Mm, MmuEvent, Plain, Platform};

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
        let pages = event.bytes.clip(&listens.bytes()).pages();
        // 3. Blocks, whatever the event says.
        let locked = range.lock();
        // 4.
        self.mm.interval_set_seq(sub, seq);
        let own = range.pages();
        note!(P::Kernel, "{} of {pages} in range {own}", event.kind.name());
        // 5.
        match event.kind {
            EventKind::Unmap => self.unmap_from_cpu(&locked, handle, pages),
            _ => self.evict(&locked, handle, pages),
        }
        // 6.
        true
    }
}
