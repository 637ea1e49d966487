//! Mutex and spinlock. A release is no scheduling point: it rides with what came before, which is sound because nobody
//! can see that a lock is free without acquiring it. Where somebody tries a lock it can be seen, so a lock that may be
//! tried has to say so when it is made, and its releases are scheduling points.

use crate::engine::exec::{Mode, tries, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use crate::lockdep::{ClassId, How, Sort, Wait};
use model::Errno;
use model::platform::{Mutex, SpinLock};
use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// What a lock is to the engine, whatever it protects.
#[derive(Clone, Copy)]
pub(super) struct Lock {
    pub(super) object: ObjectId,
    pub(super) class: ClassId,
    may_be_tried: bool,
}

impl Lock {
    pub(super) fn new(name: &'static str, may_be_tried: bool) -> Self {
        with(|exec| {
            let object = exec.add_object(name, 0);
            exec.objects[object as usize].may_be_tried = may_be_tried;
            Lock { object, class: exec.lock_class(Sort::Lock, name), may_be_tried }
        })
    }

    /// Is about to do `kind`, and may have to wait for it; the class with the nesting it is taken in.
    pub(super) fn taken(self, how: How, place: &'static Location<'static>) -> ClassId {
        with(|exec| exec.lock_taken(self.class, how, Wait::May, place))
    }

    /// Tries; the class when it succeeds.
    pub(super) fn tries(self, kind: Kind, how: How, place: &'static Location<'static>) -> Option<ClassId> {
        assert!(self.may_be_tried, "a lock that is tried is made with new_tried");
        tries(Op::new(kind, self.object), place)
            .then(|| with(|exec| exec.lock_taken(self.class, how, Wait::Never, place)))
    }

    /// Is about to be released: an event where somebody may try.
    pub(super) fn unlocks(self, kind: Kind) {
        if self.may_be_tried {
            visible(Op::new(kind, self.object), Location::caller());
        }
    }
}

/// `struct mutex`.
pub struct SimMutex<T> {
    lock: Lock,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimMutexGuard<'a, T> {
    value: RefMut<'a, T>,
    lock: Lock,
    class: ClassId,
}

impl<T: 'static> Mutex<T> for SimMutex<T> {
    type Guard<'a> = SimMutexGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SimMutex { lock: Lock::new(name, false), value: RefCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SimMutexGuard<'_, T> {
        self.lock_at(Location::caller())
    }

    #[track_caller]
    fn lock_nested(&self, subclass: u8) -> SimMutexGuard<'_, T> {
        let place = Location::caller();
        super::nested(subclass, || self.lock_at(place))
    }
}

impl<T: 'static> SimMutex<T> {
    /// A mutex that may be tried.
    pub fn new_tried(name: &'static str, value: T) -> Self {
        SimMutex { lock: Lock::new(name, true), value: RefCell::new(value) }
    }

    /// `mutex_trylock`: None when somebody else has it. Only for one made with [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_lock(&self) -> Option<SimMutexGuard<'_, T>> {
        let class = self.lock.tries(Kind::TryLock, How::Write, Location::caller())?;
        Some(SimMutexGuard { value: self.value.borrow_mut(), lock: self.lock, class })
    }

    fn lock_at(&self, place: &'static Location<'static>) -> SimMutexGuard<'_, T> {
        let class = self.lock.taken(How::Write, place);
        visible(Op::new(Kind::Lock, self.lock.object), place);
        SimMutexGuard { value: self.value.borrow_mut(), lock: self.lock, class }
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
        self.lock.unlocks(Kind::Unlock);
        with(|exec| {
            exec.lock_released(self.class, How::Write);
            exec.release(self.lock.object, true);
        });
    }
}

/// `spinlock_t`: its holder is in atomic context.
pub struct SimSpinLock<T> {
    lock: Lock,
    value: RefCell<T>,
}

/// Held until dropped.
pub struct SimSpinLockGuard<'a, T> {
    value: RefMut<'a, T>,
    lock: Lock,
    class: ClassId,
}

impl<T: 'static> SpinLock<T> for SimSpinLock<T> {
    type Guard<'a> = SimSpinLockGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(SimSpinLock { lock: Lock::new(name, false), value: RefCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SimSpinLockGuard<'_, T> {
        self.lock_at(Location::caller())
    }
}

impl<T: 'static> SimSpinLock<T> {
    /// A spinlock that may be tried.
    pub fn new_tried(name: &'static str, value: T) -> Self {
        SimSpinLock { lock: Lock::new(name, true), value: RefCell::new(value) }
    }

    /// `spin_trylock`: None when somebody else has it. Only for one made with [`new_tried`](Self::new_tried).
    #[track_caller]
    pub fn try_lock(&self) -> Option<SimSpinLockGuard<'_, T>> {
        let class = self.lock.tries(Kind::TryLock, How::Write, Location::caller())?;
        with(|exec| {
            if exec.mode == Mode::Running {
                exec.atomic_depth[exec.current as usize] += 1;
            }
        });
        Some(SimSpinLockGuard { value: self.value.borrow_mut(), lock: self.lock, class })
    }

    /// `spin_lock_nested`: inside another lock of its class, by a rule that `subclass`, from 1, stands for.
    #[track_caller]
    pub fn lock_nested(&self, subclass: u8) -> SimSpinLockGuard<'_, T> {
        let place = Location::caller();
        super::nested(subclass, || self.lock_at(place))
    }

    fn lock_at(&self, place: &'static Location<'static>) -> SimSpinLockGuard<'_, T> {
        let class = self.lock.taken(How::Write, place);
        visible(Op::new(Kind::SpinLock, self.lock.object), place);
        SimSpinLockGuard { value: self.value.borrow_mut(), lock: self.lock, class }
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
        self.lock.unlocks(Kind::Unlock);
        with(|exec| {
            if exec.mode == Mode::Running {
                let depth = &mut exec.atomic_depth[exec.current as usize];
                *depth = depth.saturating_sub(1);
            }
            exec.lock_released(self.class, How::Write);
            exec.release(self.lock.object, true);
        });
    }
}
