//! `struct rw_semaphore` around its data.

use crate::ffi::{self, RawRwSem};
use crate::gate::{self, Kind};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::ptr::NonNull;
use model::Errno;
use model::platform;

/// A reader-writer semaphore; a reader behind a waiting writer waits.
///
/// # Invariants
/// `raw` is an initialised rwsem of ours; whoever reads `value` holds it, and whoever changes it holds it for write.
pub struct RwSem<T> {
    raw: NonNull<RawRwSem>,
    value: UnsafeCell<T>,
}

impl<T> RwSem<T> {
    /// The `struct rw_semaphore`, there as long as `self` is.
    pub(crate) fn as_raw(&self) -> *mut RawRwSem {
        self.raw.as_ptr()
    }
}

// SAFETY: the value travels between tasks with the semaphore.
unsafe impl<T: Send> Send for RwSem<T> {}
// SAFETY: readers share the value, writers have it alone.
unsafe impl<T: Send + Sync> Sync for RwSem<T> {}

/// Held for read until dropped.
pub struct ReadGuard<'a, T> {
    sem: &'a RwSem<T>,
    /// A rwsem is released by the task that took it.
    not_send: PhantomData<*mut ()>,
}

/// Held for write until dropped.
pub struct WriteGuard<'a, T> {
    sem: &'a RwSem<T>,
    /// A rwsem is released by the task that took it.
    not_send: PhantomData<*mut ()>,
}

impl<T: 'static> platform::RwSem<T> for RwSem<T> {
    type ReadGuard<'a> = ReadGuard<'a, T>;
    type WriteGuard<'a> = WriteGuard<'a, T>;

    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        // SAFETY: pointer and length are of a live string.
        let raw = NonNull::new(unsafe { ffi::svmlab_c_rwsem_new(name.as_ptr(), name.len()) });
        Ok(RwSem { raw: raw.ok_or(Errno::ENOMEM)?, value: UnsafeCell::new(value) })
    }

    #[track_caller]
    fn read(&self) -> ReadGuard<'_, T> {
        gate::point(Kind::ReadLock, Location::caller());
        // SAFETY: `raw` is an initialised rwsem.
        unsafe { ffi::svmlab_c_rwsem_down_read(self.raw.as_ptr()) }
        ReadGuard { sem: self, not_send: PhantomData }
    }

    #[track_caller]
    fn write(&self) -> WriteGuard<'_, T> {
        gate::point(Kind::WriteLock, Location::caller());
        // SAFETY: `raw` is an initialised rwsem.
        unsafe { ffi::svmlab_c_rwsem_down_write(self.raw.as_ptr()) }
        WriteGuard { sem: self, not_send: PhantomData }
    }

    #[track_caller]
    fn downgrade<'a>(guard: WriteGuard<'a, T>) -> ReadGuard<'a, T>
    where
        Self: 'a,
    {
        gate::point(Kind::Downgrade, Location::caller());
        let sem = guard.sem;
        mem::forget(guard);
        // SAFETY: this task holds it for write, and the guard that would have released that is gone.
        unsafe { ffi::svmlab_c_rwsem_downgrade(sem.raw.as_ptr()) }
        ReadGuard { sem, not_send: PhantomData }
    }
}

impl<T> Drop for RwSem<T> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and with no guard left it is not held.
        unsafe { ffi::svmlab_c_rwsem_free(self.raw.as_ptr()) }
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: it is held for read.
        unsafe { &*self.sem.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this task holds it for read.
        unsafe { ffi::svmlab_c_rwsem_up_read(self.sem.raw.as_ptr()) }
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: it is held for write.
        unsafe { &*self.sem.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: it is held for write, and `self` is borrowed exclusively.
        unsafe { &mut *self.sem.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this task holds it for write.
        unsafe { ffi::svmlab_c_rwsem_up_write(self.sem.raw.as_ptr()) }
    }
}
