//! Data whose lock lives elsewhere: no scheduling point, but every access is checked for data races with vector clocks.

use crate::engine::clock::MAX_ACTORS;
use crate::engine::exec::{Exec, Mode, fail, short, with};
use crate::lab::{Invariant, Stamp, Violation};
use model::platform::Plain;
use std::cell::{Cell, RefCell};
use std::panic::Location;

/// See [`Plain`].
pub struct SimPlain<T> {
    value: RefCell<T>,
    last: Cell<Last>,
    readers: RefCell<Readers>,
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

/// Reads since the last write: for each actor its number then, and where.
#[derive(Default)]
struct Readers {
    numbers: [u16; MAX_ACTORS],
    any: bool,
    places: Vec<(u8, Stamp, &'static Location<'static>)>,
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
        let mut readers = self.readers.borrow_mut();
        if write {
            if readers.any {
                for &(other, stamp, at) in &readers.places {
                    if other != actor && clock.lane(other) < readers.numbers[other as usize] {
                        return tell(other, "read", stamp, at);
                    }
                }
                *readers = Readers::default();
            }
            let number = exec.moment(actor);
            self.last.set(Last { actor: Some(actor), number, stamp: exec.stamp(), place: Some(place) });
        } else {
            readers.any = true;
            readers.numbers[actor as usize] = exec.moment(actor);
            match readers.places.iter_mut().find(|(who, ..)| *who == actor) {
                Some(entry) => *entry = (actor, exec.stamp(), place),
                None => readers.places.push((actor, exec.stamp(), place)),
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
        let plain = SimPlain { value: RefCell::new(value), last: Cell::new(last), readers: RefCell::default() };
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
