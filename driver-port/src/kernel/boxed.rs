//! One object in memory of its own.

use crate::ffi;
use core::ops::Deref;
use core::ptr::NonNull;
use model::Errno;

/// An object that does not move until it is dropped, which must not be in atomic context.
///
/// # Invariants
/// `object` is initialised, and in memory of `kvmalloc` that is ours.
pub struct Boxed<T> {
    object: NonNull<T>,
}

// SAFETY: it owns its object.
unsafe impl<T: Send> Send for Boxed<T> {}
// SAFETY: it owns its object.
unsafe impl<T: Sync> Sync for Boxed<T> {}

impl<T> Boxed<T> {
    /// What kvmalloc aligns to at least.
    const FITS: () = assert!(align_of::<T>() <= 8 && size_of::<T>() > 0);

    /// Moves `object` there. Sleeps.
    ///
    /// # Errors
    /// `ENOMEM`, and `object` is dropped.
    pub fn new(object: T) -> Result<Self, Errno> {
        const { Self::FITS };
        // SAFETY: any size may be asked for.
        let memory = NonNull::new(unsafe { ffi::svmlab_c_kvmalloc(size_of::<T>()) }).ok_or(Errno::ENOMEM)?.cast::<T>();
        // SAFETY: it is ours, big enough and aligned.
        unsafe { memory.write(object) };
        Ok(Boxed { object: memory })
    }

    /// Gives it away, to [`Boxed::from_raw`] some day.
    pub fn into_raw(self) -> NonNull<T> {
        core::mem::ManuallyDrop::new(self).object
    }

    /// Takes it back.
    ///
    /// # Safety
    /// `object` comes from [`Boxed::into_raw`], once, and nobody else uses it any more except through what this returns.
    pub unsafe fn from_raw(object: NonNull<T>) -> Self {
        Boxed { object }
    }
}

impl<T> Deref for Boxed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: initialised and ours; it is never borrowed mutably.
        unsafe { self.object.as_ref() }
    }
}

impl<T> Drop for Boxed<T> {
    fn drop(&mut self) {
        // SAFETY: initialised and ours, and not used after this.
        unsafe {
            self.object.drop_in_place();
            ffi::svmlab_c_kvfree(self.object.as_ptr().cast());
        }
    }
}
