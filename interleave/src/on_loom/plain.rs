//! Fields whose lock lives in another object. Loom's cell beside the value says when two accesses race.

use super::context;
use loom::cell::UnsafeCell;
use model::platform;
use std::cell::RefCell;

/// Data whose lock lives elsewhere; a data race on it is a violation of I9.
#[derive(Debug)]
pub struct Plain<T> {
    /// Touched, never looked into: it only carries the clocks.
    clock: UnsafeCell<()>,
    value: RefCell<T>,
}

impl<T: 'static> platform::Plain<T> for Plain<T> {
    fn new(value: T) -> Self {
        Plain { clock: UnsafeCell::new(()), value: RefCell::new(value) }
    }

    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        context::event();
        self.clock.with(|_| ());
        f(&self.value.borrow())
    }

    fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        context::event();
        self.clock.with_mut(|_| ());
        f(&mut self.value.borrow_mut())
    }
}
