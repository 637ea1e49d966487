//! `kvmalloc` arrays.

use crate::ffi;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;
use model::Errno;

/// An array, freed on drop, which must not be in atomic context.
///
/// # Invariants
/// `items` are `len` initialised elements in memory of `kvmalloc`, or `len` elements of no size at all.
pub struct Array<T> {
    items: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its elements.
unsafe impl<T: Send> Send for Array<T> {}
// SAFETY: it owns its elements.
unsafe impl<T: Sync> Sync for Array<T> {}

impl<T: Copy> Array<T> {
    /// What kvmalloc aligns to at least.
    const ALIGNED: () = assert!(align_of::<T>() <= 8);

    pub(super) fn new(len: usize, fill: T) -> Result<Self, Errno> {
        const { Self::ALIGNED };
        let bytes = len.checked_mul(size_of::<T>()).ok_or(Errno::ENOMEM)?;
        if bytes == 0 {
            return Ok(Array { items: NonNull::dangling(), len });
        }
        // SAFETY: any size may be asked for.
        let items = NonNull::new(unsafe { ffi::svmlab_c_kvmalloc(bytes) }).ok_or(Errno::ENOMEM)?.cast::<T>();
        for i in 0..len {
            // SAFETY: there is room for `len` of them, aligned.
            unsafe { items.add(i).write(fill) };
        }
        Ok(Array { items, len })
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements, ours.
        unsafe { slice::from_raw_parts(self.items.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `len` initialised elements, ours, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.items.as_ptr(), self.len) }
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        if self.len * size_of::<T>() != 0 {
            // SAFETY: it came from kvmalloc; the elements are Copy and need no drop.
            unsafe { ffi::svmlab_c_kvfree(self.items.as_ptr().cast()) }
        }
    }
}
