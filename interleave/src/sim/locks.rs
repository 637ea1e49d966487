//! Mutex and spinlock. A release is no scheduling point: it rides with what came before, which is sound because
//! nothing here ever tries a lock without waiting.

use crate::engine::exec::{Mode, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use crate::lockdep::{ClassId, How, Sort, Wait};
use model::Errno;
use model::platform::{Mutex, SpinLock};
use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// `struct mutex`.
pub struct SimMutex<T> {
    object: ObjectId,
    class: ClassId,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimMutexGuard<'a, T> {
    value: RefMut<'a, T>,
    object: ObjectId,
    class: ClassId,
}

impl<T: 'static> Mutex<T> for SimMutex<T> {
    type Guard<'a> = SimMutexGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        let (object, class) = with(|exec| (exec.add_object(name, 0), exec.lock_class(Sort::Lock, name)));
        Ok(SimMutex { object, class, value: RefCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SimMutexGuard<'_, T> {
        self.lock_at(Location::caller())
    }
}

impl<T: 'static> SimMutex<T> {
    /// `mutex_lock_nested`: inside another lock of its class, by a rule that `subclass`, from 1, stands for.
    #[track_caller]
    pub fn lock_nested(&self, subclass: u8) -> SimMutexGuard<'_, T> {
        let place = Location::caller();
        super::nested(subclass, || self.lock_at(place))
    }

    fn lock_at(&self, place: &'static Location<'static>) -> SimMutexGuard<'_, T> {
        let class = with(|exec| exec.lock_taken(self.class, How::Write, Wait::May, place));
        visible(Op::new(Kind::Lock, self.object), place);
        SimMutexGuard { value: self.value.borrow_mut(), object: self.object, class }
    }
}

impl<T> Deref for SimMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
impl<T> DerefMut for SimMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
impl<T> Drop for SimMutexGuard<'_, T> {
    fn drop(&mut self) {
        with(|exec| {
            exec.lock_released(self.class, How::Write);
            exec.release(self.object, true);
        });
    }
}

/// `spinlock_t`: its holder is in atomic context.
pub struct SimSpinLock<T> {
    object: ObjectId,
    class: ClassId,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimSpinLockGuard<'a, T> {
    value: RefMut<'a, T>,
    object: ObjectId,
    class: ClassId,
}

impl<T: 'static> SpinLock<T> for SimSpinLock<T> {
    type Guard<'a> = SimSpinLockGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        let (object, class) = with(|exec| (exec.add_object(name, 0), exec.lock_class(Sort::Lock, name)));
        Ok(SimSpinLock { object, class, value: RefCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SimSpinLockGuard<'_, T> {
        self.lock_at(Location::caller())
    }
}

impl<T: 'static> SimSpinLock<T> {
    /// `spin_lock_nested`: inside another lock of its class, by a rule that `subclass`, from 1, stands for.
    #[track_caller]
    pub fn lock_nested(&self, subclass: u8) -> SimSpinLockGuard<'_, T> {
        let place = Location::caller();
        super::nested(subclass, || self.lock_at(place))
    }

    fn lock_at(&self, place: &'static Location<'static>) -> SimSpinLockGuard<'_, T> {
        let class = with(|exec| exec.lock_taken(self.class, How::Write, Wait::May, place));
        visible(Op::new(Kind::SpinLock, self.object), place);
        SimSpinLockGuard { value: self.value.borrow_mut(), object: self.object, class }
    }
}

impl<T> Deref for SimSpinLockGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
impl<T> DerefMut for SimSpinLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
impl<T> Drop for SimSpinLockGuard<'_, T> {
    fn drop(&mut self) {
        with(|exec| {
            if exec.mode == Mode::Running {
                let depth = &mut exec.atomic_depth[exec.current as usize];
                *depth = depth.saturating_sub(1);
            }
            exec.lock_released(self.class, How::Write);
            exec.release(self.object, true);
        });
    }
}
