//! Something that happens once: `wait_var_event` on a word.
//!
//! Not `struct completion`: the model makes a completion without an allocation and then moves it into its object, and that
//! structure holds a list head that points to itself. The kernel's variable events wait on any word's address.

use crate::ffi;
use crate::gate::{self, Kind};
use core::panic::Location;
use core::sync::atomic::{AtomicU32, Ordering};
use model::platform;

/// Not done, then done.
pub struct Completion {
    done: AtomicU32,
}

impl platform::Completion for Completion {
    fn new(_name: &'static str) -> Self {
        Completion { done: AtomicU32::new(0) }
    }

    #[track_caller]
    fn complete_all(&self) {
        gate::point(Kind::Store, Location::caller());
        // SAFETY: the word lives for the call, and only its address is used once it is set.
        unsafe { ffi::svmlab_c_set_done(self.done.as_ptr()) }
    }

    #[track_caller]
    fn is_done(&self) -> bool {
        gate::point(Kind::Load, Location::caller());
        self.done.load(Ordering::Acquire) != 0
    }

    #[track_caller]
    fn wait(&self) {
        gate::point(Kind::Wait, Location::caller());
        // SAFETY: the word lives for the call.
        unsafe { ffi::svmlab_c_wait_done(self.done.as_ptr()) }
    }
}
