//! The lab's word to wait on: `wait_event` and `wake_up_all` around a counter.

use super::Loom;
use super::context::Mode;
use super::monitor::Monitor;
use crate::lab::{self, Invariant, Lab, Violation};

/// A word that threads can wait on.
#[derive(Debug)]
pub struct Gate {
    name: &'static str,
    word: Monitor<u64>,
}

impl lab::Gate for Gate {
    fn new(name: &'static str, value: u64) -> Self {
        Gate { name, word: Monitor::new(name, value) }
    }

    fn peek(&self) -> u64 {
        self.word.peek(|word| *word)
    }

    fn load(&self) -> u64 {
        self.word.look(|word| *word)
    }

    fn store(&self, value: u64) {
        self.word.change(|word| *word = value);
    }

    fn add(&self, delta: i64) -> u64 {
        let sum = self.word.change(|word| {
            let sum = word.checked_add_signed(delta)?;
            *word = sum;
            Some(sum)
        });
        sum.unwrap_or_else(|| {
            Loom::fail(Violation::new(Invariant::I5, format!("{} went below zero by {delta}", self.name), None))
        })
    }

    fn wait_while(&self, value: u64) -> u64 {
        self.word.wait(Mode::Gate, self.name, |word| (*word != value).then_some(*word))
    }

    fn wait_until(&self, value: u64) {
        self.word.wait(Mode::Gate, self.name, |word| (*word == value).then_some(()));
    }

    fn spin_until(&self, mask: u64, value: u64) -> u64 {
        self.word.wait(Mode::Gate, self.name, |word| (*word & mask == value).then_some(*word))
    }

    fn take(&self) {
        self.word.wait(Mode::Gate, self.name, |word| word.checked_sub(1).map(|less| *word = less));
    }

    fn try_take(&self) -> bool {
        self.word.change(|word| word.checked_sub(1).map(|less| *word = less)).is_some()
    }
}
