//! Actors as stackful coroutines on one OS thread. The one module of the engine that needs `unsafe`.

#![allow(unsafe_code)]

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of stack for one actor. Pages that are not touched cost nothing.
const STACK_BYTES: usize = 256 << 10;

thread_local! {
    static RUNNING: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// One actor, suspended, or not begun, or finished.
pub(crate) struct Actor {
    coroutine: Option<Coroutine<(), (), (), DefaultStack>>,
}

/// How [`Actor::resume`] came back.
pub(crate) enum Resumed {
    /// The actor called [`suspend`].
    Suspended,
    /// The body returned.
    Finished,
    /// The body panicked with this payload.
    Panicked(Box<dyn std::any::Any + Send>),
}

impl Actor {
    /// An actor that will run `body` when first resumed.
    pub(crate) fn new(body: impl FnOnce() + 'static) -> Self {
        let stack = STACKS
            .with(|pool| pool.borrow_mut().pop())
            .unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("address space for an actor's stack"));
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            RUNNING.set(yielder);
            body();
        });
        Actor { coroutine: Some(coroutine) }
    }

    /// Runs the actor until it suspends or ends.
    pub(crate) fn resume(&mut self) -> Resumed {
        let Some(coroutine) = &mut self.coroutine else { return Resumed::Finished };
        match catch_unwind(AssertUnwindSafe(|| coroutine.resume(()))) {
            Ok(CoroutineResult::Yield(())) => Resumed::Suspended,
            Ok(CoroutineResult::Return(())) => {
                self.recycle();
                Resumed::Finished
            }
            Err(payload) => {
                self.recycle();
                Resumed::Panicked(payload)
            }
        }
    }

    /// Unwinds a suspended actor, so that what its stack holds is dropped.
    pub(crate) fn abandon(&mut self) {
        if let Some(coroutine) = &mut self.coroutine {
            coroutine.force_unwind();
            self.recycle();
        }
    }

    fn recycle(&mut self) {
        if let Some(coroutine) = self.coroutine.take()
            && coroutine.done()
        {
            STACKS.with(|pool| pool.borrow_mut().push(coroutine.into_stack()));
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Leaves the running actor; returns when it is resumed. Unwinds when the actor is abandoned.
pub(crate) fn suspend() {
    let yielder = RUNNING.get();
    assert!(!yielder.is_null(), "only an actor can be suspended");
    // SAFETY: RUNNING is set by the coroutine that runs, at its start and below after each resumption, to its own
    // yielder, which lives as long as the coroutine's body; and only code called by that body gets here.
    unsafe { (*yielder).suspend(()) };
    RUNNING.set(yielder);
}
