//! Data whose lock lives in another object.

use crate::gate::{self, Kind};
use core::cell::UnsafeCell;
use core::panic::Location;
use model::platform;

/// Plain memory. That the lock which the field's documentation names is held, is the model's promise; the simulator
/// checks it on every access, and here KCSAN does.
pub struct Plain<T>(UnsafeCell<T>);

// SAFETY: an access holds the lock that the field's documentation names, so two tasks do not have it at once.
unsafe impl<T: Send> Sync for Plain<T> {}

impl<T: 'static> platform::Plain<T> for Plain<T> {
    fn new(value: T) -> Self {
        Plain(UnsafeCell::new(value))
    }

    #[track_caller]
    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        gate::point(Kind::Plain, Location::caller());
        // SAFETY: nobody changes it meanwhile: others are kept out by the lock, and `f` does not come back here for
        // the same datum.
        f(unsafe { &*self.0.get() })
    }

    #[track_caller]
    fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        gate::point(Kind::Plain, Location::caller());
        // SAFETY: nobody else has it meanwhile: others are kept out by the lock, and `f` does not come back here for
        // the same datum.
        f(unsafe { &mut *self.0.get() })
    }
}
