//! `kmem_cache`: objects with stable addresses, use after free detected.
//!
//! A freed object stays where it is until the cache goes, and its slot is not given out again, so `get` is safe code
//! and a stale handle always finds its tombstone. Freeing also races with looking: when nothing orders the two, that is
//! a use after free in some execution, and it is reported in the first execution that contains both.

use super::Loom;
use super::context::{self, Accusation};
use super::frozen::Frozen;
use crate::lab::{Invariant, Lab, Stamp, Violation};
use loom::cell::UnsafeCell;
use model::Errno;
use model::platform::{self, Handle, Objects};
use std::cell::Cell;
use std::fmt;
use std::panic::Location;

/// Slots are used once, so there is one generation. Not 0, to tell a handle from zeroed memory.
const GENERATION: u32 = 1;

/// `kmem_cache`.
pub struct Cache<T> {
    name: &'static str,
    slots: Frozen<Slot<T>>,
}

struct Slot<T> {
    /// Where and when it was freed.
    freed: Cell<Option<(&'static Location<'static>, Stamp)>>,
    /// Carries the clocks of looking (read) and freeing (write).
    clock: UnsafeCell<()>,
    value: T,
}

impl<T> Cache<T> {
    /// The slot, if its object is there.
    fn slot(&self, handle: Handle<T>, verb: &str, at: &'static Location<'static>) -> &Slot<T> {
        context::event();
        let name = self.name;
        let Some(slot) = self.slots.get(handle.index).filter(|_| handle.generation == GENERATION) else {
            let what = format!("{verb} {name}{handle:?} at {at}, which never was");
            Loom::fail(Violation::new(Invariant::I4, what, None));
        };
        if let Some((freed, stamp)) = slot.freed.get() {
            let what = format!("{verb} {name}{handle:?} at {at}, which was freed at {freed}");
            Loom::fail(Violation::new(Invariant::I4, what, Some(stamp)));
        }
        slot
    }
}

impl<T: 'static> Objects<T> for Cache<T> {
    fn get(&self, handle: Handle<T>) -> &T {
        let at = Location::caller();
        let slot = self.slot(handle, "access to", at);
        let invariant = Invariant::I4;
        let race = Accusation { invariant, verb: "access to", name: self.name, index: handle.index, at };
        race.during(|| slot.clock.with(|_| ()));
        &slot.value
    }
}

impl<T: 'static> platform::Cache<T> for Cache<T> {
    /// Never fails.
    fn new(name: &'static str) -> Result<Self, Errno> {
        Ok(Cache { name, slots: Frozen::new() })
    }

    /// Never fails. May sleep.
    fn alloc_or(&self, value: T, _: impl FnOnce(&T)) -> Result<Handle<T>, Errno> {
        context::event();
        context::might_sleep("kmem_cache_alloc");
        let slot = Slot { freed: Cell::new(None), clock: UnsafeCell::new(()), value };
        Ok(Handle::from_parts(self.slots.push(slot), GENERATION))
    }

    fn free(&self, handle: Handle<T>) {
        let at = Location::caller();
        let slot = self.slot(handle, "free of", at);
        let invariant = Invariant::I4;
        let race = Accusation { invariant, verb: "free of", name: self.name, index: handle.index, at };
        race.during(|| slot.clock.with_mut(|_| ()));
        slot.freed.set(Some((at, context::stamp())));
    }
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} {:?})", self.name, self.slots)
    }
}
