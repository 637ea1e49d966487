//! `kvmalloc` arrays.

use std::ops::{Deref, DerefMut};

/// Freed on drop.
pub struct Array<T>(Box<[T]>);

impl<T: Copy> Array<T> {
    pub(super) fn new(len: usize, fill: T) -> Self {
        Array(vec![fill; len].into_boxed_slice())
    }
}
impl<T> Deref for Array<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}
impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
