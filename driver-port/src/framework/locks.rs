//! The notifier lock, which is a `struct drm_gpusvm`'s own.

use crate::ffi::gpusvm::{self as ffi, RawGpuSvm};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// Held for read until dropped.
pub struct NotifierReadGuard<'a> {
    svm: NonNull<RawGpuSvm>,
    /// A rwsem is released by the task that took it.
    of: PhantomData<(&'a (), *mut ())>,
}

impl NotifierReadGuard<'_> {
    /// `drm_gpusvm_notifier_lock`.
    ///
    /// # Safety
    /// `svm` is live for as long as the guard is.
    pub(super) unsafe fn lock(svm: NonNull<RawGpuSvm>) -> Self {
        // SAFETY: promised by the caller.
        unsafe { ffi::svmlab_c_gpusvm_lock(svm.as_ptr()) }
        NotifierReadGuard { svm, of: PhantomData }
    }
}

impl Drop for NotifierReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: the instance is live by the promise of `lock`, and this task took its lock for read.
        unsafe { ffi::svmlab_c_gpusvm_unlock(self.svm.as_ptr()) }
    }
}

/// Held for write, by the kernel, around the callback in which there is one of these.
pub struct InCallback<'a> {
    of: PhantomData<(&'a (), *mut ())>,
}

impl InCallback<'_> {
    /// The running task is in the `invalidate` op, and stays in it while there is what this returns.
    pub(super) fn new() -> Self {
        InCallback { of: PhantomData }
    }
}
