//! `struct rw_semaphore`: a reader behind a queued writer waits, and a writer can become a reader.
//!
//! Loom's own `RwLock` knows neither. This one is made of loom mutexes that are held:
//!
//! - The **door**. A writer locks it and keeps it until it releases. A reader locks it and lets go at once. So readers
//!   and other writers wait at the door while a writer holds the semaphore, and also while a writer is queued.
//! - One **slot** for each read hold, locked by its reader from before the door until it releases. A writer that has
//!   the door locks the slots of all readers that passed it since the last writer, one after the other: that is
//!   waiting for them to leave, and it takes over what they did in happens-before.
//!
//! Each acquisition is one step that conflicts with others (the door). The slots add none: a reader locks its slot
//! before it passes the door, so the door orders the two lockings of a slot. Releasing and downgrading unlock something
//! and are no scheduling points at all. That is sound: who gets the semaphore when is a function of the order in which
//! the acquisitions passed the door.

use super::context::{self, LockId, Mode, Record};
use super::frozen::Frozen;
use super::lock::still_held;
use loom::sync::{Mutex, MutexGuard};
use model::Errno;
use model::platform;
use std::cell::{Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};

/// `struct rw_semaphore`.
#[derive(Debug)]
pub struct RwSem<T> {
    id: LockId,
    door: Mutex<()>,
    slots: Frozen<Mutex<()>>,
    /// The slots whose readers passed the door since the last writer. A slot whose reader still waits for the door
    /// must not be among them: the writer behind the door would wait for it, and it for the writer.
    passed: RefCell<Vec<u32>>,
    data: RefCell<T>,
}

impl<T> RwSem<T> {
    /// A new slot, locked. Slots are not used twice: the old and the new locking would look like a conflict.
    fn take_slot(&self) -> (u32, MutexGuard<'_, ()>) {
        let index = self.slots.push(Mutex::new(()));
        (index, locked(&self.slots[index]))
    }
}

fn locked(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().expect("loom never poisons")
}

impl<T: 'static> platform::RwSem<T> for RwSem<T> {
    type ReadGuard<'a> = ReadGuard<'a, T>;
    type WriteGuard<'a> = WriteGuard<'a, T>;

    /// Never fails.
    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(RwSem {
            id: LockId::new(name),
            door: Mutex::new(()),
            slots: Frozen::new(),
            passed: RefCell::new(Vec::new()),
            data: RefCell::new(value),
        })
    }

    fn read(&self) -> ReadGuard<'_, T> {
        let record = context::acquiring(self.id, Mode::Read);
        let slot = (!context::sequential()).then(|| {
            let (index, slot) = self.take_slot();
            let door = locked(&self.door);
            self.passed.borrow_mut().push(index);
            drop(door);
            slot
        });
        record.granted();
        let Ok(data) = self.data.try_borrow() else { still_held(self.id.name) };
        ReadGuard { data, _slot: slot, _record: record }
    }

    fn write(&self) -> WriteGuard<'_, T> {
        let record = context::acquiring(self.id, Mode::Write);
        let door = (!context::sequential()).then(|| {
            let door = locked(&self.door);
            let readers = self.passed.take();
            for index in readers {
                drop(locked(&self.slots[index]));
            }
            door
        });
        record.granted();
        let Ok(data) = self.data.try_borrow_mut() else { still_held(self.id.name) };
        WriteGuard { data, sem: self, door, record }
    }

    fn downgrade<'a>(guard: WriteGuard<'a, T>) -> ReadGuard<'a, T>
    where
        Self: 'a,
    {
        context::event();
        let WriteGuard { data, sem, door, record } = guard;
        // The door stays shut until the slot is ours: no writer comes in between.
        let slot = door.as_ref().map(|_| {
            let (index, slot) = sem.take_slot();
            sem.passed.borrow_mut().push(index);
            slot
        });
        drop(data);
        drop(door);
        record.downgraded();
        ReadGuard { data: sem.data.borrow(), _slot: slot, _record: record }
    }
}

/// Holds an [`RwSem`] for read until dropped.
#[derive(Debug)]
pub struct ReadGuard<'a, T> {
    // Fields drop in this order: the data must be free before the next holder may come.
    data: Ref<'a, T>,
    _slot: Option<MutexGuard<'a, ()>>,
    _record: Record,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}

/// Holds an [`RwSem`] for write until dropped.
#[derive(Debug)]
pub struct WriteGuard<'a, T> {
    // As in `ReadGuard`.
    data: RefMut<'a, T>,
    sem: &'a RwSem<T>,
    door: Option<MutexGuard<'a, ()>>,
    record: Record,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}
impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}
