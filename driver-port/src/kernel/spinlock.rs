//! `spinlock_t` around its data.

use crate::ffi::{self, RawSpinLock};
use crate::gate::{self, Kind};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::ptr::NonNull;
use model::Errno;
use model::platform;

/// A spinning lock, interrupts left as they are; its holder must not sleep.
///
/// # Invariants
/// `raw` is an initialised spinlock of ours, and whoever uses `value` holds it.
pub struct SpinLock<T> {
    raw: NonNull<RawSpinLock>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one task at a time, and travels between tasks with the lock.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: the same.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// Held until dropped.
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    /// A spinlock is released by the task that took it.
    not_send: PhantomData<*mut ()>,
}

impl<T: 'static> platform::SpinLock<T> for SpinLock<T> {
    type Guard<'a> = SpinGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        // SAFETY: pointer and length are of a live string.
        let raw = NonNull::new(unsafe { ffi::svmlab_c_spin_new(name.as_ptr(), name.len()) });
        Ok(SpinLock { raw: raw.ok_or(Errno::ENOMEM)?, value: UnsafeCell::new(value) })
    }

    #[track_caller]
    fn lock(&self) -> SpinGuard<'_, T> {
        gate::point(Kind::SpinLock, Location::caller());
        // SAFETY: `raw` is an initialised spinlock.
        unsafe { ffi::svmlab_c_spin_lock(self.raw.as_ptr()) }
        SpinGuard { lock: self, not_send: PhantomData }
    }
}

impl<T> Drop for SpinLock<T> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and with no guard left it is not held.
        unsafe { ffi::svmlab_c_spin_free(self.raw.as_ptr()) }
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the spinlock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the spinlock is held, and `self` is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this task took it.
        unsafe { ffi::svmlab_c_spin_unlock(self.lock.raw.as_ptr()) }
    }
}
