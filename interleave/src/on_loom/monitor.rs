//! `wait_event` on a few words: look, change and wake all, sleep until.
//!
//! Each look or change is one scheduling point; sleeping and waking are none. Leaner than a condition variable of loom,
//! whose wait and notify would be scheduling points of their own, and without its order of waking.

use super::context::{self, Mode};
use super::lock::still_held;
use loom::sync::{Mutex, MutexGuard};
use loom::thread::Thread;
use std::cell::RefCell;

/// State that threads can wait on.
#[derive(Debug)]
pub(super) struct Monitor<S> {
    name: &'static str,
    carrier: Mutex<()>,
    state: RefCell<S>,
    sleepers: RefCell<Vec<Thread>>,
}

impl<S> Monitor<S> {
    pub(super) fn new(name: &'static str, state: S) -> Self {
        Monitor { name, carrier: Mutex::new(()), state: RefCell::new(state), sleepers: RefCell::new(Vec::new()) }
    }

    #[track_caller]
    fn enter(&self) -> Option<MutexGuard<'_, ()>> {
        context::event();
        (!context::sequential()).then(|| self.carrier.lock().expect("loom never poisons"))
    }

    /// One step that wakes nobody.
    #[track_caller]
    pub(super) fn look<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        let _carrier = self.enter();
        f(&mut self.state.borrow_mut())
    }

    /// One step, after which all sleepers look again.
    #[track_caller]
    pub(super) fn change<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        let result = self.look(f);
        for sleeper in self.sleepers.take() {
            sleeper.unpark();
        }
        result
    }

    /// Sleeps until `f` gives something. Each attempt is one step, and what it changes wakes nobody.
    #[track_caller]
    pub(super) fn wait<R>(&self, mode: Mode, name: &'static str, mut f: impl FnMut(&mut S) -> Option<R>) -> R {
        let _record = context::waiting(name, mode);
        loop {
            if let Some(result) = self.look(&mut f) {
                return result;
            }
            if context::sequential() {
                still_held(self.name);
            }
            // Nobody runs between the look and the sleep, so no wake-up is lost.
            self.sleepers.borrow_mut().push(loom::thread::current());
            loom::thread::park();
        }
    }

    /// The state, without a scheduling point.
    pub(super) fn peek<R>(&self, f: impl FnOnce(&S) -> R) -> R {
        f(&self.state.borrow())
    }

    /// The state, unless it is being changed. For the panic hook: never panics.
    pub(super) fn peek_if_free<R>(&self, f: impl FnOnce(&S) -> R) -> Option<R> {
        Some(f(&*self.state.try_borrow().ok()?))
    }
}
