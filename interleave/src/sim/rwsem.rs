//! Reader-writer semaphore with the kernel's queueing: a reader that comes behind a waiting writer waits, so a
//! recursive reader can deadlock.

use crate::engine::exec::{visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use model::Errno;
use model::platform::RwSem;
use std::cell::{Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// `struct rw_semaphore`.
pub struct SimRwSem<T> {
    object: ObjectId,
    value: RefCell<T>,
}

/// Held for read until dropped.
pub struct SimReadGuard<'a, T> {
    value: Ref<'a, T>,
    object: ObjectId,
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
        Ok(SimRwSem { object, value: RefCell::new(value) })
    }

    #[track_caller]
    fn read(&self) -> SimReadGuard<'_, T> {
        visible(Op::new(Kind::ReadLock, self.object), Location::caller());
        SimReadGuard { value: self.value.borrow(), object: self.object }
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
        guard.value = None;
        let lock = guard.lock;
        with(|exec| exec.downgrade(lock.object));
        SimReadGuard { value: lock.value.borrow(), object: lock.object }
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
        with(|exec| exec.release(self.object, false));
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
        if self.value.take().is_some() {
            with(|exec| exec.release(self.lock.object, true));
        }
    }
}
