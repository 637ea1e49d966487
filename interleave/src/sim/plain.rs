//! Data whose lock lives elsewhere: no scheduling point, but every access is checked for data races with vector clocks.

use crate::engine::exec::{Exec, Mode, fail, short, with};
use crate::lab::{Invariant, Stamp, Violation};
use model::platform::Plain;
use std::cell::{Cell, RefCell};
use std::panic::Location;

/// See [`Plain`].
pub struct SimPlain<T> {
    value: RefCell<T>,
    last: Cell<Last>,
    /// Who has read since, each actor once: mostly it is one.
    reader: Cell<Option<Reader>>,
    others: RefCell<Vec<Reader>>,
}

/// The last write.
#[derive(Clone, Copy)]
struct Last {
    /// None: the setup.
    actor: Option<u8>,
    number: u16,
    stamp: Stamp,
    place: Option<&'static Location<'static>>,
}

/// A read since the last write.
#[derive(Clone, Copy)]
struct Reader {
    actor: u8,
    /// Of the actor, then.
    number: u16,
    stamp: Stamp,
    place: &'static Location<'static>,
}

impl<T> SimPlain<T> {
    /// The race this access is part of.
    fn race(&self, exec: &Exec, write: bool, place: &'static Location<'static>) -> Option<Violation> {
        if exec.mode != Mode::Running {
            return None;
        }
        let actor = exec.current;
        let clock = &exec.clocks[actor as usize];
        let tell = |other: u8, what: &str, stamp: Stamp, at: &Location<'_>| {
            let mine = if write { "writes" } else { "reads" };
            let what = format!(
                "data race: {} {mine} at {}:{}, {} {what} at {}:{}, and no lock orders the two",
                exec.names()[actor as usize],
                short(place.file()),
                place.line(),
                exec.names()[other as usize],
                short(at.file()),
                at.line(),
            );
            Some(Violation::new(Invariant::I9, what, Some(stamp)))
        };
        let last = self.last.get();
        if let (Some(other), Some(at)) = (last.actor, last.place)
            && other != actor
            && clock.lane(other) < last.number
        {
            return tell(other, "wrote", last.stamp, at);
        }
        let mine = Reader { actor, number: exec.moment(actor), stamp: exec.stamp(), place };
        if write {
            if let Some(first) = self.reader.take() {
                let mut others = self.others.borrow_mut();
                let unordered = |r: &&Reader| r.actor != actor && clock.lane(r.actor) < r.number;
                let race = std::iter::once(&first).chain(others.iter()).find(unordered);
                if let Some(r) = race {
                    return tell(r.actor, "read", r.stamp, r.place);
                }
                others.clear();
            }
            self.last.set(Last { actor: Some(actor), number: mine.number, stamp: mine.stamp, place: Some(place) });
        } else {
            match self.reader.get() {
                Some(first) if first.actor != actor => {
                    let mut others = self.others.borrow_mut();
                    match others.iter_mut().find(|r| r.actor == actor) {
                        Some(other) => *other = mine,
                        None => others.push(mine),
                    }
                }
                _ => self.reader.set(Some(mine)),
            }
        }
        None
    }

    fn check(&self, write: bool, place: &'static Location<'static>) {
        if let Some(violation) = with(|exec| self.race(exec, write, place)) {
            fail(violation);
        }
    }
}

impl<T: 'static> Plain<T> for SimPlain<T> {
    fn new(value: T) -> Self {
        let last = Last { actor: None, number: 0, stamp: Stamp(0), place: None };
        let plain = SimPlain {
            value: RefCell::new(value),
            last: Cell::new(last),
            reader: Cell::new(None),
            others: RefCell::default(),
        };
        // Who creates it has written it.
        with(|exec| {
            if exec.mode == Mode::Running {
                let actor = exec.current;
                let number = exec.moment(actor);
                let place = Some(exec.places[actor as usize]);
                plain.last.set(Last { actor: Some(actor), number, stamp: exec.stamp(), place });
            }
        });
        plain
    }
    #[track_caller]
    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.check(false, Location::caller());
        f(&self.value.borrow())
    }
    #[track_caller]
    fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.check(true, Location::caller());
        f(&mut self.value.borrow_mut())
    }
    #[track_caller]
    fn get(&self) -> T
    where
        T: Copy,
    {
        self.check(false, Location::caller());
        *self.value.borrow()
    }
    #[track_caller]
    fn set(&self, value: T) {
        self.check(true, Location::caller());
        *self.value.borrow_mut() = value;
    }
}
