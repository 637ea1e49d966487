//! `struct mutex` around its data.

use crate::ffi::{self, RawMutex};
use crate::gate::{self, Kind};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::ptr::NonNull;
use model::Errno;
use model::platform;

/// A sleeping lock. The `struct mutex` is in memory of its own: it must not move, and its size is the configuration's.
///
/// # Invariants
/// `raw` is an initialised mutex of ours, and whoever uses `value` holds it.
pub struct Mutex<T> {
    raw: NonNull<RawMutex>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one task at a time, and travels between tasks with the lock.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: the same.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// Held until dropped.
pub struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    /// A mutex is released by the task that took it.
    not_send: PhantomData<*mut ()>,
}

impl<T> Mutex<T> {
    fn lock_at(&self, subclass: u8, place: &'static Location<'static>) -> MutexGuard<'_, T> {
        gate::point(Kind::Lock, place);
        // SAFETY: `raw` is an initialised mutex.
        unsafe { ffi::svmlab_c_mutex_lock(self.raw.as_ptr(), u32::from(subclass)) }
        MutexGuard { lock: self, not_send: PhantomData }
    }
}

impl<T: 'static> platform::Mutex<T> for Mutex<T> {
    type Guard<'a> = MutexGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        // SAFETY: pointer and length are of a live string.
        let raw = NonNull::new(unsafe { ffi::svmlab_c_mutex_new(name.as_ptr(), name.len()) });
        Ok(Mutex { raw: raw.ok_or(Errno::ENOMEM)?, value: UnsafeCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> MutexGuard<'_, T> {
        self.lock_at(0, Location::caller())
    }

    #[track_caller]
    fn lock_nested(&self, subclass: u8) -> MutexGuard<'_, T> {
        self.lock_at(subclass, Location::caller())
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and with no guard left it is not held.
        unsafe { ffi::svmlab_c_mutex_free(self.raw.as_ptr()) }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mutex is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the mutex is held, and `self` is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this task took it.
        unsafe { ffi::svmlab_c_mutex_unlock(self.lock.raw.as_ptr()) }
    }
}
