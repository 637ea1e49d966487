//! Contexts: reclaim, interrupts, and what the lock-order validator is told in so many words.

use super::Sim;
use crate::engine::exec::with;
use crate::lab::Hold;
use crate::lockdep::{How, Sort, Wait};
use std::panic::Location;

type Place = &'static Location<'static>;

/// `memalloc_noreclaim_save`: until it is dropped, allocations of the actor that made it do not reclaim.
#[must_use = "reclaim is allowed again when it is dropped"]
pub struct SimNoReclaim(());

impl SimNoReclaim {
    pub(super) fn new() -> Self {
        with(|exec| exec.noreclaim(true));
        SimNoReclaim(())
    }
}
impl Drop for SimNoReclaim {
    fn drop(&mut self) {
        with(|exec| exec.noreclaim(false));
    }
}

/// `local_irq_save`: until it is dropped, interrupts of the actor that made it are off, and it must not sleep.
#[must_use = "interrupts are on again when it is dropped"]
pub struct SimIrqsOff(Place);

impl Drop for SimIrqsOff {
    fn drop(&mut self) {
        with(|exec| exec.irqs_back(self.0));
    }
}

impl Sim {
    /// `f` is an interrupt handler of the running actor. It must not sleep, and does not nest in what the actor holds:
    /// the validator knows that it may come wherever interrupts are on. What it interrupts does not run meanwhile, so a
    /// lock that the actor has must not be taken by `f`, as in the kernel.
    ///
    /// # Panics
    /// Interrupts are off.
    pub fn hardirq<R>(f: impl FnOnce() -> R) -> R {
        let floor = with(|exec| exec.handler_begins());
        let result = f();
        if let Some(floor) = floor {
            with(|exec| exec.handler_ends(floor));
        }
        result
    }

    /// `local_irq_save`; restored when the result is dropped.
    #[track_caller]
    pub fn irq_save() -> SimIrqsOff {
        with(|exec| exec.irqs_off());
        SimIrqsOff(Location::caller())
    }
}

/// Locks taken by `f` have this subclass.
pub(crate) fn nested<R>(subclass: u8, f: impl FnOnce() -> R) -> R {
    let before = with(|exec| exec.lock_subclass(subclass));
    let result = f();
    with(|exec| exec.lock_subclass(before));
    result
}

const fn how(hold: Hold) -> (How, Wait) {
    match hold {
        Hold::Exclusive => (How::Write, Wait::May),
        Hold::Read => (How::Read, Wait::May),
        Hold::Recursive => (How::Recursive, Wait::May),
        Hold::Begin => (How::Recursive, Wait::Never),
    }
}

pub(super) fn acquire_map(map: &'static str, hold: Hold, place: Place) {
    with(|exec| {
        let class = exec.lock_class(Sort::Map, map);
        match how(hold) {
            (_, Wait::Never) => exec.map_begun(class, place),
            (how, wait) => {
                exec.lock_taken(class, how, wait, place);
            }
        }
    });
}

pub(super) fn release_map(map: &'static str, hold: Hold) {
    with(|exec| {
        let class = exec.lock_class(Sort::Map, map);
        exec.lock_released(class, how(hold).0);
    });
}

pub(super) fn wait_map(map: &'static str, place: Place) {
    with(|exec| {
        let class = exec.lock_class(Sort::Map, map);
        exec.lock_synced(class, place);
    });
}

pub(super) fn reclaim<R>(f: impl FnOnce() -> R, place: Place) -> R {
    let class = with(|exec| {
        let class = exec.lock_class(Sort::Map, crate::lockdep::FS_RECLAIM);
        exec.lock_taken(class, How::Write, Wait::May, place);
        exec.noreclaim(true);
        class
    });
    let result = f();
    with(|exec| {
        exec.noreclaim(false);
        exec.lock_released(class, How::Write);
    });
    result
}
