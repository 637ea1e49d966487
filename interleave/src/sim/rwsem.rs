//! Reader-writer semaphore with the kernel's queueing: a reader that comes behind a waiting writer waits, so a
//! recursive reader can deadlock.

use super::locks::tried_object;
use crate::engine::exec::{tries, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use model::Errno;
use model::platform::RwSem;
use std::cell::{Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// `struct rw_semaphore`.
pub struct SimRwSem<T> {
    object: ObjectId,
    may_be_tried: bool,
    value: RefCell<T>,
}

/// Held for read until dropped.
pub struct SimReadGuard<'a, T> {
    value: Ref<'a, T>,
    lock: &'a SimRwSem<T>,
}

/// Held for write until dropped.
pub struct SimWriteGuard<'a, T> {
    /// None only while it is downgraded.
    value: Option<RefMut<'a, T>>,
    lock: &'a SimRwSem<T>,
}

impl<T: 'static> RwSem<T> for SimRwSem<T> {
    type ReadGuard<'a> = SimReadGuard<'a, T>;
    type WriteGuard<'a> = SimWriteGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        let object = with(|exec| {
            let object = exec.add_object(name, 0);
            exec.objects[object as usize].rwsem = true;
            object
        });
        Ok(SimRwSem { object, may_be_tried: false, value: RefCell::new(value) })
    }

    #[track_caller]
    fn read(&self) -> SimReadGuard<'_, T> {
        visible(Op::new(Kind::ReadLock, self.object), Location::caller());
        SimReadGuard { value: self.value.borrow(), lock: self }
    }

    #[track_caller]
    fn write(&self) -> SimWriteGuard<'_, T> {
        let place = Location::caller();
        visible(Op::new(Kind::WriteQueue, self.object), place);
        visible(Op::new(Kind::WriteLock, self.object), place);
        SimWriteGuard { value: Some(self.value.borrow_mut()), lock: self }
    }

    #[track_caller]
    fn downgrade<'a>(mut guard: SimWriteGuard<'a, T>) -> SimReadGuard<'a, T>
    where
        Self: 'a,
    {
        let lock = guard.lock;
        lock.unlocks(Kind::Unlock);
        guard.value = None;
        with(|exec| exec.downgrade(lock.object));
        SimReadGuard { value: lock.value.borrow(), lock }
    }
}

impl<T: 'static> SimRwSem<T> {
    /// A rwsem that may be tried.
    pub fn new_tried(name: &'static str, value: T) -> Self {
        let object = tried_object(name);
        with(|exec| exec.objects[object as usize].rwsem = true);
        SimRwSem { object, may_be_tried: true, value: RefCell::new(value) }
    }

    /// `down_read_trylock`: None when a writer has it or waits for it. Only for one made with
    /// [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_read(&self) -> Option<SimReadGuard<'_, T>> {
        assert!(self.may_be_tried, "a lock that is tried is made with new_tried");
        tries(Op::new(Kind::TryRead, self.object), Location::caller())
            .then(|| SimReadGuard { value: self.value.borrow(), lock: self })
    }

    /// `down_write_trylock`: None when anybody has it or a writer waits for it. Only for one made with
    /// [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_write(&self) -> Option<SimWriteGuard<'_, T>> {
        assert!(self.may_be_tried, "a lock that is tried is made with new_tried");
        tries(Op::new(Kind::TryLock, self.object), Location::caller())
            .then(|| SimWriteGuard { value: Some(self.value.borrow_mut()), lock: self })
    }
}

impl<T> SimRwSem<T> {
    /// The release of a lock that may be tried is an event.
    fn unlocks(&self, kind: Kind) {
        if self.may_be_tried {
            visible(Op::new(kind, self.object), Location::caller());
        }
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
        with(|exec| exec.release(self.lock.object, false));
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
            self.lock.unlocks(Kind::Unlock);
            self.value = None;
            with(|exec| exec.release(self.lock.object, true));
        }
    }
}
