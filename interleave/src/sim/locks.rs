//! Mutex and spinlock. A release is no scheduling point: it rides with what came before, which is sound because nobody
//! can see that a lock is free without acquiring it. Where somebody tries a lock it can be seen, so a lock that may be
//! tried has to say so when it is made, and its releases are scheduling points.

use crate::engine::exec::{Mode, tries, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use model::Errno;
use model::platform::{Mutex, SpinLock};
use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// `struct mutex`.
pub struct SimMutex<T> {
    object: ObjectId,
    may_be_tried: bool,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimMutexGuard<'a, T> {
    value: RefMut<'a, T>,
    object: ObjectId,
    may_be_tried: bool,
}

impl<T: 'static> Mutex<T> for SimMutex<T> {
    type Guard<'a> = SimMutexGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SimMutex { object: with(|exec| exec.add_object(name, 0)), may_be_tried: false, value: RefCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SimMutexGuard<'_, T> {
        visible(Op::new(Kind::Lock, self.object), Location::caller());
        SimMutexGuard { value: self.value.borrow_mut(), object: self.object, may_be_tried: self.may_be_tried }
    }
}

impl<T: 'static> SimMutex<T> {
    /// A mutex that may be tried.
    pub fn new_tried(name: &'static str, value: T) -> Self {
        SimMutex { object: tried_object(name), may_be_tried: true, value: RefCell::new(value) }
    }

    /// `mutex_trylock`: None when somebody else has it. Only for one made with [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_lock(&self) -> Option<SimMutexGuard<'_, T>> {
        assert!(self.may_be_tried, "a lock that is tried is made with new_tried");
        tries(Op::new(Kind::TryLock, self.object), Location::caller()).then(|| SimMutexGuard {
            value: self.value.borrow_mut(),
            object: self.object,
            may_be_tried: self.may_be_tried,
        })
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
        if self.may_be_tried {
            visible(Op::new(Kind::Unlock, self.object), Location::caller());
        }
        with(|exec| exec.release(self.object, true));
    }
}

/// `spinlock_t`: its holder is in atomic context.
pub struct SimSpinLock<T> {
    object: ObjectId,
    may_be_tried: bool,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimSpinLockGuard<'a, T> {
    value: RefMut<'a, T>,
    object: ObjectId,
    may_be_tried: bool,
}

impl<T: 'static> SpinLock<T> for SimSpinLock<T> {
    type Guard<'a> = SimSpinLockGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SimSpinLock {
            object: with(|exec| exec.add_object(name, 0)),
            may_be_tried: false,
            value: RefCell::new(value),
        })
    }

    #[track_caller]
    fn lock(&self) -> SimSpinLockGuard<'_, T> {
        visible(Op::new(Kind::SpinLock, self.object), Location::caller());
        SimSpinLockGuard { value: self.value.borrow_mut(), object: self.object, may_be_tried: self.may_be_tried }
    }
}

impl<T: 'static> SimSpinLock<T> {
    /// A spinlock that may be tried.
    pub fn new_tried(name: &'static str, value: T) -> Self {
        SimSpinLock { object: tried_object(name), may_be_tried: true, value: RefCell::new(value) }
    }

    /// `spin_trylock`: None when somebody else has it. Only for one made with [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_lock(&self) -> Option<SimSpinLockGuard<'_, T>> {
        assert!(self.may_be_tried, "a lock that is tried is made with new_tried");
        if !tries(Op::new(Kind::TryLock, self.object), Location::caller()) {
            return None;
        }
        with(|exec| {
            if exec.mode == Mode::Running {
                exec.atomic_depth[exec.current as usize] += 1;
            }
        });
        Some(SimSpinLockGuard { value: self.value.borrow_mut(), object: self.object, may_be_tried: self.may_be_tried })
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
        if self.may_be_tried {
            visible(Op::new(Kind::Unlock, self.object), Location::caller());
        }
        with(|exec| {
            if exec.mode == Mode::Running {
                let depth = &mut exec.atomic_depth[exec.current as usize];
                *depth = depth.saturating_sub(1);
            }
            exec.release(self.object, true);
        });
    }
}

/// A lock that may be tried.
pub(super) fn tried_object(name: &'static str) -> ObjectId {
    with(|exec| {
        let object = exec.add_object(name, 0);
        exec.objects[object as usize].may_be_tried = true;
        object
    })
}
