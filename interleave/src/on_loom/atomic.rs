//! Words without a lock: `atomic64_t`, `READ_ONCE`/`WRITE_ONCE`, and bare scheduling points.
//!
//! All rest on [`Turn`], because loom's search is incomplete for loads (see the [module](super)).

use super::Loom;
use super::context;
use crate::lab::{self, Invariant, Lab, Span, Violation};
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use model::platform;
use std::cell::{Cell, RefCell};
use std::fmt::Debug;

/// A scheduling point that conflicts with every other one on the same object, and orders nothing in happens-before.
///
/// It is a compare-and-exchange that fails: loom takes it for a write when it looks for conflicts, but nothing is
/// stored, so no later access has a second value to read and no clock is passed on.
#[derive(Debug)]
struct Turn(AtomicU64);

impl Turn {
    #[track_caller]
    fn new() -> Self {
        Turn(AtomicU64::new(0))
    }

    #[track_caller]
    fn take(&self) {
        context::event();
        if !context::sequential() {
            let taken = self.0.compare_exchange(1, 1, Relaxed, Relaxed);
            debug_assert!(taken.is_err(), "nothing is ever stored");
        }
    }
}

/// `atomic64_t` and krefs. Every access is one step, and all are in one order, as the kernel's fully ordered
/// operations are. A load synchronises with what it reads but does not publish; all others do both.
#[derive(Debug)]
pub struct Atomic {
    name: &'static str,
    /// Carries conflicts and clocks; its value means nothing.
    order: AtomicU64,
    /// No thread runs between the access to `order` and the one to the value, so each pair is one atomic step.
    value: Cell<u64>,
}

impl Atomic {
    #[track_caller]
    fn step(&self, ordering: loom::sync::atomic::Ordering) -> u64 {
        context::event();
        if !context::sequential() {
            self.order.fetch_add(1, ordering);
        }
        self.value.get()
    }
}

impl platform::Atomic for Atomic {
    fn new(name: &'static str, value: u64) -> Self {
        Atomic { name, order: AtomicU64::new(0), value: Cell::new(value) }
    }

    fn load(&self) -> u64 {
        self.step(Acquire)
    }

    fn store(&self, value: u64) {
        self.step(AcqRel);
        self.value.set(value);
    }

    fn swap(&self, value: u64) -> u64 {
        let old = self.step(AcqRel);
        self.value.set(value);
        old
    }

    fn cmpxchg(&self, old: u64, new: u64) -> u64 {
        let found = self.step(AcqRel);
        if found == old {
            self.value.set(new);
        }
        found
    }

    fn inc_return(&self) -> u64 {
        let new = self.step(AcqRel).wrapping_add(1);
        self.value.set(new);
        new
    }

    fn dec_return(&self) -> u64 {
        let Some(new) = self.step(AcqRel).checked_sub(1) else {
            let by = std::panic::Location::caller();
            Loom::fail(Violation::new(Invariant::I5, format!("{} decremented below zero at {by}", self.name), None));
        };
        self.value.set(new);
        new
    }

    fn inc_unless_zero(&self) -> bool {
        let old = self.step(AcqRel);
        if old != 0 {
            self.value.set(old.wrapping_add(1));
        }
        old != 0
    }
}

/// A word accessed with `READ_ONCE` and `WRITE_ONCE` only. Weak memory is real here: a read may return any value that
/// coherence allows, and neither side orders anything else. With [`Memory::Sequential`](super::Memory::Sequential) a read
/// returns the newest value; it still orders nothing, so a data race that the word does not forbid is one all the same.
#[derive(Debug)]
pub struct Shared<T> {
    turn: Turn,
    /// Index into `history` of the newest value, which loom may show late.
    newest: AtomicU64,
    /// Every value there has been. Loom keeps words, not values of any type.
    history: RefCell<Vec<T>>,
}

impl<T: Copy + PartialEq + Debug + 'static> platform::Shared<T> for Shared<T> {
    fn new(_name: &'static str, value: T) -> Self {
        Shared { turn: Turn::new(), newest: AtomicU64::new(0), history: RefCell::new(vec![value]) }
    }

    fn read_once(&self) -> T {
        self.turn.take();
        let newest = self.history.borrow().len() - 1;
        let index = if context::newest_only() { newest } else { self.newest.load(Relaxed) as usize };
        self.history.borrow()[index]
    }

    fn write_once(&self, value: T) {
        self.turn.take();
        let index = {
            let mut history = self.history.borrow_mut();
            history.push(value);
            history.len() - 1
        };
        if !context::newest_only() {
            self.newest.store(index as u64, Relaxed);
        }
    }
}

/// State outside of any lock. All accesses to one object conflict, whatever their spans and kinds are, so that at least
/// what the controlled scheduler tells apart is explored. Orders nothing in happens-before: memory is not a lock.
#[derive(Debug)]
pub struct Visible(Turn);

impl lab::Visible for Visible {
    fn new(_name: &'static str) -> Self {
        Visible(Turn::new())
    }
    fn read(&self, _span: Span) {
        self.0.take();
    }
    fn write(&self, _span: Span) {
        self.0.take();
    }
    fn invalidate(&self, _span: Span) {
        self.0.take();
    }
}
