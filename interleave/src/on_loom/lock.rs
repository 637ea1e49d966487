//! `struct mutex` and `spinlock_t`: one scheduling point, at the acquisition.

use super::Loom;
use super::context::{self, LockId, Mode, Record};
use crate::lab::{Invariant, Lab, Violation};
use model::Errno;
use model::platform;
use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};

/// What both locks are made of. The data lies beside loom's lock, not in it, because at rest nobody schedules any more
/// and loom is left out.
#[derive(Debug)]
struct Lock<T> {
    id: LockId,
    carrier: loom::sync::Mutex<()>,
    data: RefCell<T>,
}

impl<T> Lock<T> {
    fn new(name: &'static str, value: T) -> Self {
        Lock { id: LockId::new(name), carrier: loom::sync::Mutex::new(()), data: RefCell::new(value) }
    }

    #[track_caller]
    fn lock(&self, mode: Mode) -> LockGuard<'_, T> {
        let record = context::acquiring(self.id, mode);
        let carrier = (!context::sequential()).then(|| self.carrier.lock().expect("loom never poisons"));
        record.granted();
        let Ok(data) = self.data.try_borrow_mut() else { still_held(self.id.name) };
        LockGuard { data, _carrier: carrier, _record: record }
    }
}

/// A lock that is wanted at rest and not free will never be free.
#[track_caller]
pub(super) fn still_held(name: &str) -> ! {
    Loom::fail(Violation::new(Invariant::I8, format!("{name} is still held when everything has ended"), None));
}

/// Holds a [`Mutex`] or a [`SpinLock`] until dropped.
#[derive(Debug)]
pub struct LockGuard<'a, T> {
    // Fields drop in this order: the data must be free before the next holder may come.
    data: RefMut<'a, T>,
    _carrier: Option<loom::sync::MutexGuard<'a, ()>>,
    _record: Record,
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}
impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

/// `struct mutex`.
#[derive(Debug)]
pub struct Mutex<T>(Lock<T>);

impl<T: 'static> platform::Mutex<T> for Mutex<T> {
    type Guard<'a> = LockGuard<'a, T>;

    /// Never fails.
    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(Mutex(Lock::new(name, value)))
    }

    fn lock(&self) -> LockGuard<'_, T> {
        self.0.lock(Mode::Mutex)
    }
}

/// `spinlock_t`. While it is held, whatever may sleep is a violation of I8.
#[derive(Debug)]
pub struct SpinLock<T>(Lock<T>);

impl<T: 'static> platform::SpinLock<T> for SpinLock<T> {
    type Guard<'a> = LockGuard<'a, T>;

    /// Never fails.
    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SpinLock(Lock::new(name, value)))
    }

    fn lock(&self) -> LockGuard<'_, T> {
        self.0.lock(Mode::Spin)
    }
}
