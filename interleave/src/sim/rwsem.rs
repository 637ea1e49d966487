//! Reader-writer semaphore with the kernel's queueing: a reader that comes behind a waiting writer waits, so a
//! recursive reader can deadlock.

use crate::engine::exec::{visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use crate::lockdep::{ClassId, How, Sort, Wait};
use model::Errno;
use model::platform::RwSem;
use std::cell::{Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// `struct rw_semaphore`.
pub struct SimRwSem<T> {
    object: ObjectId,
    class: ClassId,
    value: RefCell<T>,
}

/// Held for read until dropped.
pub struct SimReadGuard<'a, T> {
    value: Ref<'a, T>,
    object: ObjectId,
    class: ClassId,
}

/// Held for write until dropped.
pub struct SimWriteGuard<'a, T> {
    /// None only while it is downgraded.
    value: Option<RefMut<'a, T>>,
    lock: &'a SimRwSem<T>,
    class: ClassId,
}

impl<T: 'static> RwSem<T> for SimRwSem<T> {
    type ReadGuard<'a> = SimReadGuard<'a, T>;
    type WriteGuard<'a> = SimWriteGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        let (object, class) = with(|exec| {
            let object = exec.add_object(name, 0);
            exec.objects[object as usize].rwsem = true;
            (object, exec.lock_class(Sort::Lock, name))
        });
        Ok(SimRwSem { object, class, value: RefCell::new(value) })
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
        guard.value = None;
        let (lock, class, place) = (guard.lock, guard.class, Location::caller());
        with(|exec| {
            exec.lock_released(class, How::Write);
            exec.downgrade(lock.object);
            exec.lock_taken(class, How::Read, Wait::Never, place);
        });
        SimReadGuard { value: lock.value.borrow(), object: lock.object, class }
    }
}

impl<T: 'static> SimRwSem<T> {
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
        let class = with(|exec| exec.lock_taken(self.class, How::Read, Wait::May, place));
        visible(Op::new(Kind::ReadLock, self.object), place);
        SimReadGuard { value: self.value.borrow(), object: self.object, class }
    }

    fn write_at(&self, place: &'static Location<'static>) -> SimWriteGuard<'_, T> {
        let class = with(|exec| exec.lock_taken(self.class, How::Write, Wait::May, place));
        visible(Op::new(Kind::WriteQueue, self.object), place);
        visible(Op::new(Kind::WriteLock, self.object), place);
        SimWriteGuard { value: Some(self.value.borrow_mut()), lock: self, class }
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
        with(|exec| {
            exec.lock_released(self.class, How::Read);
            exec.release(self.object, false);
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
        if self.value.take().is_some() {
            with(|exec| {
                exec.lock_released(self.class, How::Write);
                exec.release(self.lock.object, true);
            });
        }
    }
}
