//! A word to wait on.

use crate::engine::exec::{Mode, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use crate::lab::Gate;
use std::panic::Location;

/// See [`Gate`].
pub struct SimGate {
    object: ObjectId,
}

impl SimGate {
    fn set(&self, value: u64) {
        with(|exec| {
            if exec.mode != Mode::Ending {
                exec.objects[self.object as usize].word = value;
                exec.changed(self.object);
            }
        });
    }
}

impl Gate for SimGate {
    fn new(name: &'static str, value: u64) -> Self {
        SimGate { object: with(|exec| exec.add_object(name, value)) }
    }
    fn peek(&self) -> u64 {
        with(|exec| exec.objects[self.object as usize].word)
    }
    #[track_caller]
    fn load(&self) -> u64 {
        visible(Op::new(Kind::Load, self.object), Location::caller());
        self.peek()
    }
    #[track_caller]
    fn store(&self, value: u64) {
        visible(Op::new(Kind::Store, self.object), Location::caller());
        self.set(value);
    }
    #[track_caller]
    fn add(&self, delta: i64) -> u64 {
        visible(Op::new(Kind::Store, self.object), Location::caller());
        let value = self.peek().wrapping_add_signed(delta);
        self.set(value);
        value
    }
    #[track_caller]
    fn wait_while(&self, value: u64) -> u64 {
        visible(Op::wait(Kind::WaitWhile, self.object, value, u64::MAX), Location::caller());
        self.peek()
    }
    #[track_caller]
    fn wait_until(&self, value: u64) {
        visible(Op::wait(Kind::WaitUntil, self.object, value, u64::MAX), Location::caller());
    }
    #[track_caller]
    fn spin_until(&self, mask: u64, value: u64) -> u64 {
        visible(Op::wait(Kind::SpinUntil, self.object, value, mask), Location::caller());
        self.peek()
    }
    #[track_caller]
    fn take(&self) {
        visible(Op::new(Kind::Take, self.object), Location::caller());
        self.set(self.peek().wrapping_sub(1));
    }
    #[track_caller]
    fn try_take(&self) -> bool {
        visible(Op::new(Kind::Store, self.object), Location::caller());
        let word = self.peek();
        self.set(word.saturating_sub(1));
        word != 0
    }
}
