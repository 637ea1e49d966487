//! Interval notifiers: who is called for what, and what the sequence says.

use super::mm::{Mapping, current, unmap};
use super::thread::{Flag, beside, grace};
use super::work::registered;
use super::{Failure, Outcome, Test, ensure, made};
use crate::kernel::SpinLock;
use crate::mm::{LinuxMm, Sub};
use crate::registry::Client;
use core::cell::Cell;
use model::Errno;
use model::platform::{self, ClientId, EventKind, Mm, MmuEvent, NotifierEntry, WorkFunc};
use model::units::Bytes;

pub(super) const TESTS: &[Test] = &[
    Test { name: "a notifier is told of an unmap in its interval, and of no other", run: told },
    Test { name: "a notifier is told what, where, and whether it may sleep", run: event },
    Test { name: "the subscription is published before the first callback, and gets its cookie back", run: publish },
    Test { name: "an interval that is empty or wraps is refused", run: refused },
    Test { name: "a notifier can be inserted by who holds mmap_lock for write", run: locked },
    Test { name: "a removed notifier is not called", run: removed },
    Test { name: "removing a notifier waits for a callback that runs", run: remove_waits },
    Test { name: "read_retry tells an invalidation since read_begin, and only then", run: retry },
    Test { name: "read_begin waits while the interval is being invalidated", run: begin_waits },
];

/// What callbacks were told.
#[derive(Clone, Copy, Default)]
struct Told {
    times: u32,
    last: Option<(u64, MmuEvent)>,
}

/// An instance that writes down what it is told, sets the sequence as a driver does, and lets `during` run in each
/// callback.
pub(super) struct Listener<F> {
    pub(super) mm: LinuxMm,
    told: SpinLock<Told>,
    sub: SpinLock<Option<Sub>>,
    during: F,
}

impl<F: Fn()> Client for Listener<F> {
    fn mmu_invalidate(&self, cookie: u64, event: &MmuEvent, seq: u64) -> bool {
        let mut told = platform::SpinLock::lock(&self.told);
        if let Some(sub) = *platform::SpinLock::lock(&self.sub) {
            self.mm.interval_set_seq(sub, seq);
        }
        told.times += 1;
        told.last = Some((cookie, *event));
        drop(told);
        (self.during)();
        true
    }
    unsafe fn invalidate(&self, _: u64, _: &MmuEvent) {}
    fn work(&self, _: WorkFunc) {}
}

impl<F: Fn()> Listener<F> {
    pub(super) fn new(during: F) -> Result<Self, Failure> {
        Ok(Listener {
            mm: current()?,
            told: made(platform::SpinLock::new("selftest_told", Told::default()))?,
            sub: made(platform::SpinLock::new("selftest_sub", None))?,
            during,
        })
    }

    fn told(&self) -> Told {
        *platform::SpinLock::lock(&self.told)
    }

    pub(super) fn insert(&self, client: ClientId, cookie: u64, bytes: Bytes) -> Result<Inserted<'_>, Errno> {
        let entry = NotifierEntry { client, cookie };
        let publish = |sub| *platform::SpinLock::lock(&self.sub) = Some(sub);
        self.mm.interval_insert(entry, bytes, publish).map(|sub| Inserted { mm: &self.mm, sub: Cell::new(Some(sub)) })
    }
}

/// A subscription, removed when it goes.
pub(super) struct Inserted<'a> {
    mm: &'a LinuxMm,
    sub: Cell<Option<Sub>>,
}

impl Inserted<'_> {
    pub(super) fn sub(&self) -> Result<Sub, Failure> {
        made(self.sub.get().ok_or(Errno::ENOENT))
    }
}

impl Drop for Inserted<'_> {
    fn drop(&mut self) {
        if let Some(sub) = self.sub.take() {
            self.mm.interval_remove(sub);
        }
    }
}

/// A listener on pages 2 and 3 of six, for `test`.
fn listening<F: Fn()>(during: F, test: impl FnOnce(&Listener<F>, &Inserted<'_>, &Mapping) -> Outcome) -> Outcome {
    let mapping = Mapping::new(6, true)?;
    let listener = Listener::new(during)?;
    registered(&listener, |client| {
        let inserted = made(listener.insert(client, 0xc00c1e, Bytes::new(mapping.page(2), mapping.page(4))))?;
        test(&listener, &inserted, &mapping)
    })?
}

fn told() -> Outcome {
    listening(
        || (),
        |listener, _, mapping| {
            ensure!(unmap(mapping.page(1), 1) && unmap(mapping.page(4), 1), "cannot be unmapped");
            ensure!(listener.told().times == 0, "told {} times of its neighbours", listener.told().times);
            ensure!(unmap(mapping.page(3), 1), "cannot be unmapped");
            ensure!(listener.told().times == 1, "told {} times of one unmap", listener.told().times);
            Ok(())
        },
    )
}

fn event() -> Outcome {
    listening(
        || (),
        |listener, _, mapping| {
            ensure!(unmap(mapping.page(3), 3), "cannot be unmapped");
            let Some((_, event)) = listener.told().last else { return made(Err(Errno::ENOENT)) };
            let whole = Bytes::new(mapping.page(3), mapping.page(6));
            ensure!(event.kind == EventKind::Unmap, "an unmap is {}", event.kind.name());
            ensure!(event.bytes == whole, "an unmap of {whole} is of {}", event.bytes);
            ensure!(event.blockable, "an unmap is not blockable");
            Ok(())
        },
    )
}

fn publish() -> Outcome {
    listening(
        || (),
        |listener, inserted, mapping| {
            let published = *platform::SpinLock::lock(&listener.sub);
            ensure!(published == Some(inserted.sub()?), "published: {published:?}");
            ensure!(unmap(mapping.page(2), 1), "cannot be unmapped");
            let cookie = listener.told().last.map(|(cookie, _)| cookie);
            ensure!(cookie == Some(0xc00c1e), "the cookie is {cookie:x?}");
            Ok(())
        },
    )
}

fn refused() -> Outcome {
    let listener = Listener::new(|| ())?;
    registered(&listener, |client| {
        for bytes in [Bytes::new(0x10000, 0x10000), Bytes::new(0x10000, 0x8000)] {
            let refused = listener.insert(client, 0, bytes).err();
            ensure!(refused == Some(Errno::EOVERFLOW), "{bytes}: {refused:?}");
        }
        Ok(())
    })?
}

fn locked() -> Outcome {
    let mapping = Mapping::new(1, true)?;
    let listener = Listener::new(|| ())?;
    registered(&listener, |client| {
        let guard = listener.mm.mmap_write_lock();
        let entry = NotifierEntry { client, cookie: 1 };
        let sub = listener.mm.interval_insert_locked(&guard, entry, mapping.bytes, |sub| {
            *platform::SpinLock::lock(&listener.sub) = Some(sub);
        });
        drop(guard);
        let _inserted = Inserted { mm: &listener.mm, sub: Cell::new(Some(made(sub)?)) };
        ensure!(unmap(mapping.page(0), 1), "cannot be unmapped");
        ensure!(listener.told().times == 1, "told {} times", listener.told().times);
        Ok(())
    })?
}

fn removed() -> Outcome {
    listening(
        || (),
        |listener, inserted, mapping| {
            listener.mm.interval_remove(inserted.sub()?);
            inserted.sub.set(None);
            ensure!(unmap(mapping.page(2), 1), "cannot be unmapped");
            ensure!(listener.told().times == 0, "told {} times", listener.told().times);
            Ok(())
        },
    )
}

fn remove_waits() -> Outcome {
    let (inside, over) = (Flag::new(), Flag::new());
    let during = || {
        inside.set();
        grace();
        over.set();
    };
    listening(during, |listener, inserted, mapping| {
        let sub = inserted.sub()?;
        let page = mapping.page(2);
        let (came, waited) = beside(
            || {
                unmap(page, 1);
            },
            || {
                let came = inside.wait();
                listener.mm.interval_remove(sub);
                inserted.sub.set(None);
                (came, over.is_set())
            },
        )?;
        ensure!(came, "the callback never ran");
        ensure!(waited, "the removal returned while the callback ran");
        Ok(())
    })
}

fn retry() -> Outcome {
    listening(
        || (),
        |listener, inserted, mapping| {
            let (mm, sub) = (&listener.mm, inserted.sub()?);
            let before = mm.read_begin(sub);
            let quiet = mm.read_retry(sub, before);
            ensure!(unmap(mapping.page(5), 1), "cannot be unmapped");
            let elsewhere = mm.read_retry(sub, before);
            ensure!(unmap(mapping.page(3), 1), "cannot be unmapped");
            let collided = mm.read_retry(sub, before);
            let after = mm.read_begin(sub);
            let again = mm.read_retry(sub, after);
            ensure!(!quiet, "it tells one although there was none");
            ensure!(!elsewhere, "it tells one of another interval");
            ensure!(collided, "it does not tell one");
            ensure!(!again, "it still tells one after the next read_begin");
            Ok(())
        },
    )
}

fn begin_waits() -> Outcome {
    let (inside, go) = (Flag::new(), Flag::new());
    let (coming, begun) = (Flag::new(), Flag::new());
    let during = || {
        inside.set();
        go.wait();
    };
    listening(during, |listener, inserted, mapping| {
        let (mm, sub, page) = (&listener.mm, inserted.sub()?, mapping.page(2));
        let before = mm.read_begin(sub);
        let reader = || {
            coming.set();
            mm.read_begin(sub);
            begun.set();
        };
        let (came, collided, too_early) = beside(
            || {
                unmap(page, 1);
            },
            || {
                let came = inside.wait();
                let collided = mm.read_retry(sub, before);
                let too_early = beside(reader, || {
                    coming.wait();
                    grace();
                    let too_early = begun.is_set();
                    go.set();
                    too_early
                });
                go.set();
                (came, collided, too_early)
            },
        )?;
        ensure!(came, "the callback never ran");
        ensure!(collided, "read_retry does not tell an invalidation that is under way");
        ensure!(!too_early?, "read_begin returned while the interval was being invalidated");
        ensure!(begun.is_set(), "read_begin never returned");
        Ok(())
    })
}
