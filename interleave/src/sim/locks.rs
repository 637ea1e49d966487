//! Mutex and spinlock. A release is no scheduling point: it rides with what came before, which is sound because
//! nothing here ever tries a lock without waiting.

use crate::engine::exec::{Mode, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use model::Errno;
use model::platform::{Mutex, SpinLock};
use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// `struct mutex`.
pub struct SimMutex<T> {
    object: ObjectId,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimMutexGuard<'a, T> {
    value: RefMut<'a, T>,
    object: ObjectId,
}

impl<T: 'static> Mutex<T> for SimMutex<T> {
    type Guard<'a> = SimMutexGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SimMutex { object: with(|exec| exec.add_object(name, 0)), value: RefCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SimMutexGuard<'_, T> {
        visible(Op::new(Kind::Lock, self.object), Location::caller());
        SimMutexGuard { value: self.value.borrow_mut(), object: self.object }
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
        with(|exec| exec.release(self.object, true));
    }
}

/// `spinlock_t`: its holder is in atomic context.
pub struct SimSpinLock<T> {
    object: ObjectId,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimSpinLockGuard<'a, T> {
    value: RefMut<'a, T>,
    object: ObjectId,
}

impl<T: 'static> SpinLock<T> for SimSpinLock<T> {
    type Guard<'a> = SimSpinLockGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SimSpinLock { object: with(|exec| exec.add_object(name, 0)), value: RefCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SimSpinLockGuard<'_, T> {
        visible(Op::new(Kind::SpinLock, self.object), Location::caller());
        SimSpinLockGuard { value: self.value.borrow_mut(), object: self.object }
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
            exec.release(self.object, true);
        });
    }
}
