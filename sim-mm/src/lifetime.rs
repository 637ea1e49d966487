//! Who keeps the address space alive, and how it ends.
//!
//! Answers to `mmgrab`/`mmdrop`/`mmget_not_zero`/`mmput` and `exit_mmap` (spec mm-events 4.3, 4.4). The counts are kept
//! by hand: a put too many underflows, which the lab reports as I5; a use after the last `mmdrop` is I4.

use crate::device::{AsyncPutFn, ReleaseFn};
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
        assert!(!self.inner.options.immortal, "an immortal process cannot exit");
        note!(L, "process exits");
        self.put_user();
    }

    #[track_caller]
    pub(crate) fn grab(&self) {
        self.check_alive();
        if !self.inner.options.immortal {
            self.inner.mm_count.inc_return();
        }
        self.inner.change_counts(0, 1);
    }

    #[track_caller]
    pub(crate) fn drop_grab(&self) {
        self.check_balance(self.inner.counts.get().1, "mmdrop");
        self.check_alive();
        if !self.inner.options.immortal {
            self.inner.mm_count.dec_return();
        }
        self.inner.change_counts(0, -1);
        if self.inner.counts.get().1 == 0 {
            self.inner.freed_at.set(Some(L::stamp()));
            note!(L, "{self:?}: struct freed");
        }
    }

    #[track_caller]
    pub(crate) fn get_user_not_zero(&self) -> bool {
        self.check_alive();
        let got = self.inner.options.immortal || self.inner.mm_users.inc_unless_zero();
        if got {
            self.inner.change_counts(1, 0);
        }
        got
    }

    #[track_caller]
    pub(crate) fn put_user(&self) {
        might_sleep::<L>("mmput");
        if self.put_user_is_last("mmput") {
            self.finish_async_put();
        }
    }

    /// `mmput_async`: what the last put has to do is done by who [`AddressSpace::on_async_put`] asks. Any context, unless
    /// nobody was named: then it is done here.
    #[track_caller]
    pub(crate) fn put_user_async(&self) {
        if self.put_user_is_last("mmput_async") {
            let call = self.inner.async_put.borrow().clone();
            match call {
                Some(call) => call(),
                None => {
                    might_sleep::<L>("mmput_async with nobody to leave exit_mmap to");
                    self.finish_async_put();
                }
            }
        }
    }

    /// Sets who sees to it that [`AddressSpace::finish_async_put`] is called (`schedule_work`). Once.
    pub fn on_async_put(&self, call: AsyncPutFn) {
        let old = self.inner.async_put.borrow_mut().replace(call);
        assert!(old.is_none(), "the asynchronous put is set once");
    }

    /// Sets whom `exit_mmap` tells first of all, after the interval notifiers. Once.
    pub fn on_release(&self, call: ReleaseFn) {
        let old = self.inner.release.borrow_mut().replace(call);
        assert!(old.is_none(), "the release hook is set once");
    }

    /// `mmput_async_fn`: the work that the last `mmput_async` queued. Sleeps.
    #[track_caller]
    pub fn finish_async_put(&self) {
        self.inner.exit_mmap();
        self.drop_grab();
    }

    /// Drops a user; whether it was the last one, so that `exit_mmap` is due.
    #[track_caller]
    fn put_user_is_last(&self, what: &str) -> bool {
        let users = self.inner.counts.get().0;
        // An immortal process keeps its own reference, so the last one is not the caller's.
        self.check_balance(if self.inner.options.immortal { users - 1 } else { users }, what);
        self.check_alive();
        if !self.inner.options.immortal {
            self.inner.mm_users.dec_return();
        }
        self.inner.change_counts(-1, 0);
        self.inner.counts.get().0 == 0
    }

    #[track_caller]
    fn check_balance(&self, count: u64, what: &str) {
        if count == 0 {
            L::fail(Violation::new(Invariant::I5, format!("{what} of {self:?} without a reference"), None));
        }
    }
}

impl<L: Lab> Inner<L> {
    fn change_counts(&self, users: i64, count: i64) {
        let (old_users, old_count) = self.counts.get();
        self.counts.set((
            old_users.checked_add_signed(users).expect("the balance was checked"),
            old_count.checked_add_signed(count).expect("the balance was checked"),
        ));
    }

    /// `atomic_read(&mm->mm_users)`.
    #[track_caller]
    pub(crate) fn has_users(&self) -> bool {
        self.options.immortal || self.mm_users.load() != 0
    }

    /// `exit_mmap`: RELEASE without locks, and the hook; UNMAP of everything under mmap_lock for read, VMAs still in the tree; then,
    /// under mmap_lock for write, page tables, pages and VMAs go. Subscriptions stay registered.
    #[track_caller]
    fn exit_mmap(&self) {
        note!(L, "exit_mmap");
        self.notifiers.release();
        let release = self.release.borrow().clone();
        if let Some(release) = release {
            release();
        }
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
