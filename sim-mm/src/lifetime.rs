//! Who keeps the address space alive, and how it ends.
//!
//! Answers to `mmgrab`/`mmdrop`/`mmget_not_zero`/`mmput` and `exit_mmap` (spec mm-events 4.3, 4.4). The counts are kept
//! by hand: a put too many underflows, which the lab reports as I5; a use after the last `mmdrop` is I4.

use crate::interval::{event, might_sleep};
use crate::pagetable::Gather;
use crate::space::{AddressSpace, Inner};
use interleave::lab::{Invariant, Lab, Span, Violation, Visible};
use model::note;
use model::platform::{Atomic, EventKind, RwSem};
use model::units::Bytes;

impl<L: Lab> AddressSpace<L> {
    /// The process ends: its `mmput`.
    #[track_caller]
    pub fn exit(&self) {
        note!(L, "process exits");
        self.put_user();
    }

    #[track_caller]
    pub(crate) fn grab(&self) {
        self.check_alive();
        let now = self.inner.mm_count.inc_return();
        let (users, _) = self.inner.counts.get();
        self.inner.counts.set((users, now));
    }

    #[track_caller]
    pub(crate) fn drop_grab(&self) {
        self.check_balance(self.inner.counts.get().1, "mmdrop");
        self.check_alive();
        let left = self.inner.mm_count.dec_return();
        let (users, _) = self.inner.counts.get();
        self.inner.counts.set((users, left));
        if left == 0 {
            self.inner.freed_at.set(Some(L::stamp()));
            note!(L, "{self:?}: struct freed");
        }
    }

    #[track_caller]
    pub(crate) fn get_user_not_zero(&self) -> bool {
        self.check_alive();
        let got = self.inner.mm_users.inc_unless_zero();
        if got {
            let (users, count) = self.inner.counts.get();
            self.inner.counts.set((users + 1, count));
        }
        got
    }

    #[track_caller]
    pub(crate) fn put_user(&self) {
        might_sleep::<L>("mmput");
        self.check_balance(self.inner.counts.get().0, "mmput");
        self.check_alive();
        let left = self.inner.mm_users.dec_return();
        let (_, count) = self.inner.counts.get();
        self.inner.counts.set((left, count));
        if left == 0 {
            self.inner.exit_mmap();
            self.drop_grab();
        }
    }

    #[track_caller]
    fn check_balance(&self, count: u64, what: &str) {
        if count == 0 {
            L::fail(Violation::new(Invariant::I5, format!("{what} of {self:?} without a reference"), None));
        }
    }
}

impl<L: Lab> Inner<L> {
    /// `exit_mmap`: RELEASE without locks; UNMAP of everything under mmap_lock for read, VMAs still in the tree; then,
    /// under mmap_lock for write, page tables, pages and VMAs go. Subscriptions stay registered.
    #[track_caller]
    fn exit_mmap(&self) {
        note!(L, "exit_mmap");
        self.notifiers.release();
        let everything = Bytes::new(0, u64::MAX);
        let mut gather = Gather::default();
        {
            let _held = self.mmap_lock.read();
            let any = self.vmas.borrow().any(everything);
            if any {
                let unmap = self.notifiers.start(event(EventKind::Unmap, everything)).expect("blockable");
                self.zap(everything.pages(), &mut gather);
                self.notifiers.end(unmap);
            }
        }
        let _held = self.mmap_lock.write();
        self.tree_accesses.write(Span::ALL);
        for vma in self.vmas.borrow().overlapping(everything) {
            vma.detached.set(true);
        }
        self.free_tables(everything.pages());
        self.free_pages(gather);
        let gone = self.vmas.borrow().overlapping(everything);
        for vma in gone {
            self.vmas.borrow_mut().erase(vma.bytes().start);
        }
        note!(L, "exit_mmap: VMAs gone");
    }
}
