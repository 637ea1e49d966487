//! `kmem_cache` of one object type.

use crate::ffi::{self, RawCache};
use crate::gate::{self, Kind};
use crate::log;
use core::marker::PhantomData;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use model::Errno;
use model::platform::{self, Handle, Objects};

/// A share in the `kmem_cache` of this name and object size. There is one such for the whole module; it is created by who
/// asks first and destroyed when the module goes.
///
/// A handle is the object's address, so looking at a freed object is what it is in C: undetected, unless the kernel's
/// own debugging (KASAN, slub_debug) is on.
///
/// # Invariants
/// `raw` is a cache for objects of `T`'s size and alignment.
pub struct Cache<T> {
    raw: NonNull<RawCache>,
    /// Objects that were allocated through this share and not freed.
    live: AtomicU64,
    name: &'static str,
    of: PhantomData<T>,
}

// SAFETY: the kernel's allocator may be called by any task; objects are reached as the model says.
unsafe impl<T> Send for Cache<T> {}
// SAFETY: the same.
unsafe impl<T> Sync for Cache<T> {}

impl<T> Cache<T> {
    fn object(handle: Handle<T>) -> *mut T {
        handle.to_bits() as *mut T
    }
}

impl<T: 'static> Objects<T> for Cache<T> {
    #[track_caller]
    fn get(&self, handle: Handle<T>) -> &T {
        gate::point(Kind::Get, Location::caller());
        // SAFETY: a handle comes from alloc and is used until free: the model counts its objects, and the simulator
        // checks that it does. Where a design does not (the postings' races), this is the same use after free.
        unsafe { &*Self::object(handle) }
    }
}

impl<T: 'static> platform::Cache<T> for Cache<T> {
    fn new(name: &'static str) -> Result<Self, Errno> {
        // An object without size has an address as well.
        let size = size_of::<T>().max(1) as u32;
        // SAFETY: pointer and length are of a live string.
        let raw = unsafe { ffi::svmlab_c_cache_get(name.as_ptr(), name.len(), size, align_of::<T>() as u32) };
        let raw = NonNull::new(raw).ok_or(Errno::ENOMEM)?;
        Ok(Cache { raw, live: AtomicU64::new(0), name, of: PhantomData })
    }

    #[track_caller]
    fn alloc_or(&self, value: T, undo: impl FnOnce(&T)) -> Result<Handle<T>, Errno> {
        gate::point(Kind::Alloc, Location::caller());
        // SAFETY: `raw` is a cache.
        let Some(object) = NonNull::new(unsafe { ffi::svmlab_c_cache_alloc(self.raw.as_ptr()) }) else {
            undo(&value);
            return Err(Errno::ENOMEM);
        };
        // SAFETY: it is ours, and of T's size and alignment.
        unsafe { object.cast::<T>().write(value) };
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok(Handle::from_bits(object.as_ptr() as u64))
    }

    #[track_caller]
    fn free(&self, handle: Handle<T>) {
        gate::point(Kind::Free, Location::caller());
        let object = Self::object(handle);
        // SAFETY: as in get; nobody uses the object after this, which drops and frees it.
        unsafe {
            object.drop_in_place();
            ffi::svmlab_c_cache_free(self.raw.as_ptr(), object.cast());
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Drop for Cache<T> {
    fn drop(&mut self) {
        let left = self.live.load(Ordering::Relaxed);
        if left != 0 {
            log::note(format_args!("{left} objects of {} are left for ever", self.name));
        }
    }
}
