//! Reader-writer semaphore with the kernel's queueing: a reader that comes behind a waiting writer waits, so a
//! recursive reader can deadlock.

use super::locks::Lock;
use crate::engine::exec::{visible, with};
use crate::engine::op::{Kind, Op};
use crate::lockdep::{ClassId, How, Wait};
use model::Errno;
use model::platform::RwSem;
use std::cell::{Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// `struct rw_semaphore`.
pub struct SimRwSem<T> {
    lock: Lock,
    value: RefCell<T>,
}

/// Held for read until dropped.
pub struct SimReadGuard<'a, T> {
    value: Ref<'a, T>,
    lock: Lock,
    class: ClassId,
}

/// Held for write until dropped.
pub struct SimWriteGuard<'a, T> {
    /// None only while it is downgraded.
    value: Option<RefMut<'a, T>>,
    sem: &'a SimRwSem<T>,
    class: ClassId,
}

impl<T: 'static> RwSem<T> for SimRwSem<T> {
    type ReadGuard<'a> = SimReadGuard<'a, T>;
    type WriteGuard<'a> = SimWriteGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SimRwSem::with_lock(Lock::new(name, false), value))
    }

    #[track_caller]
    fn read(&self) -> SimReadGuard<'_, T> {
        self.read_at(Location::caller())
    }

    #[track_caller]
    fn write(&self) -> SimWriteGuard<'_, T> {
        self.write_at(Location::caller())
    }

    #[track_caller]
    fn downgrade<'a>(mut guard: SimWriteGuard<'a, T>) -> SimReadGuard<'a, T>
    where
        Self: 'a,
    {
        let (sem, class, place) = (guard.sem, guard.class, Location::caller());
        sem.lock.unlocks(Kind::Unlock);
        guard.value = None;
        with(|exec| {
            exec.lock_released(class, How::Write);
            exec.downgrade(sem.lock.object);
            exec.lock_taken(class, How::Read, Wait::Never, place);
        });
        SimReadGuard { value: sem.value.borrow(), lock: sem.lock, class }
    }
}

impl<T: 'static> SimRwSem<T> {
    fn with_lock(lock: Lock, value: T) -> Self {
        with(|exec| exec.objects[lock.object as usize].rwsem = true);
        SimRwSem { lock, value: RefCell::new(value) }
    }

    /// A rwsem that may be tried.
    pub fn new_tried(name: &'static str, value: T) -> Self {
        SimRwSem::with_lock(Lock::new(name, true), value)
    }

    /// `down_read_trylock`: None when a writer has it or waits for it. Only for one made with
    /// [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_read(&self) -> Option<SimReadGuard<'_, T>> {
        let class = self.lock.tries(Kind::TryRead, How::Read, Location::caller())?;
        Some(SimReadGuard { value: self.value.borrow(), lock: self.lock, class })
    }

    /// `down_write_trylock`: None when anybody has it or a writer waits for it. Only for one made with
    /// [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_write(&self) -> Option<SimWriteGuard<'_, T>> {
        let class = self.lock.tries(Kind::TryLock, How::Write, Location::caller())?;
        Some(SimWriteGuard { value: Some(self.value.borrow_mut()), sem: self, class })
    }

    /// `down_read_nested`: inside another lock of its class, by a rule that `subclass`, from 1, stands for.
    #[track_caller]
    pub fn read_nested(&self, subclass: u8) -> SimReadGuard<'_, T> {
        let place = Location::caller();
        super::nested(subclass, || self.read_at(place))
    }

    /// `down_write_nested`.
    #[track_caller]
    pub fn write_nested(&self, subclass: u8) -> SimWriteGuard<'_, T> {
        let place = Location::caller();
        super::nested(subclass, || self.write_at(place))
    }

    fn read_at(&self, place: &'static Location<'static>) -> SimReadGuard<'_, T> {
        let class = self.lock.taken(How::Read, place);
        visible(Op::new(Kind::ReadLock, self.lock.object), place);
        SimReadGuard { value: self.value.borrow(), lock: self.lock, class }
    }

    fn write_at(&self, place: &'static Location<'static>) -> SimWriteGuard<'_, T> {
        let class = self.lock.taken(How::Write, place);
        visible(Op::new(Kind::WriteQueue, self.lock.object), place);
        visible(Op::new(Kind::WriteLock, self.lock.object), place);
        SimWriteGuard { value: Some(self.value.borrow_mut()), sem: self, class }
    }
}

impl<T> Deref for SimReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
impl<T> Drop for SimReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.unlocks(Kind::UnlockRead);
        with(|exec| {
            exec.lock_released(self.class, How::Read);
            exec.release(self.lock.object, false);
        });
    }
}

impl<T> Deref for SimWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_deref().expect("held")
    }
}
impl<T> DerefMut for SimWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_deref_mut().expect("held")
    }
}
impl<T> Drop for SimWriteGuard<'_, T> {
    fn drop(&mut self) {
        if self.value.is_some() {
            self.sem.lock.unlocks(Kind::Unlock);
            self.value = None;
            with(|exec| {
                exec.lock_released(self.class, How::Write);
                exec.release(self.sem.lock.object, true);
            });
        }
    }
}
