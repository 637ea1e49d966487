//! Atomic words and lockless words. Sequentially consistent; every access is a scheduling point.

use crate::engine::exec::{fail, unwinding, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use crate::lab::{Invariant, Violation};
use model::platform::{Atomic, Shared};
use std::cell::Cell;
use std::fmt;
use std::panic::Location;

/// `atomic64_t`, also krefs.
pub struct SimAtomic {
    object: ObjectId,
    name: &'static str,
    value: Cell<u64>,
}

impl SimAtomic {
    #[track_caller]
    fn access(&self, kind: Kind) {
        visible(Op::new(kind, self.object), Location::caller());
    }
}

impl Atomic for SimAtomic {
    fn new(name: &'static str, value: u64) -> Self {
        SimAtomic { object: with(|exec| exec.add_object(name, 0)), name, value: Cell::new(value) }
    }
    #[track_caller]
    fn load(&self) -> u64 {
        self.access(Kind::Load);
        self.value.get()
    }
    #[track_caller]
    fn store(&self, value: u64) {
        self.access(Kind::Store);
        self.value.set(value);
    }
    #[track_caller]
    fn swap(&self, value: u64) -> u64 {
        self.access(Kind::Store);
        self.value.replace(value)
    }
    #[track_caller]
    fn cmpxchg(&self, old: u64, new: u64) -> u64 {
        self.access(Kind::Store);
        let found = self.value.get();
        if found == old {
            self.value.set(new);
        }
        found
    }
    #[track_caller]
    fn inc_return(&self) -> u64 {
        self.access(Kind::Store);
        self.value.set(self.value.get().wrapping_add(1));
        self.value.get()
    }
    #[track_caller]
    fn dec_return(&self) -> u64 {
        self.access(Kind::Store);
        match self.value.get().checked_sub(1) {
            Some(value) => {
                self.value.set(value);
                value
            }
            None if unwinding() => 0,
            None => fail(Violation::new(Invariant::I5, format!("{} goes below zero", self.name), None)),
        }
    }
    #[track_caller]
    fn inc_unless_zero(&self) -> bool {
        self.access(Kind::Store);
        let value = self.value.get();
        if value != 0 {
            self.value.set(value + 1);
        }
        value != 0
    }
}

/// A lockless word.
pub struct SimShared<T> {
    object: ObjectId,
    value: Cell<T>,
}

impl<T: Copy + PartialEq + fmt::Debug + 'static> Shared<T> for SimShared<T> {
    fn new(name: &'static str, value: T) -> Self {
        SimShared { object: with(|exec| exec.add_object(name, 0)), value: Cell::new(value) }
    }
    #[track_caller]
    fn read_once(&self) -> T {
        visible(Op::new(Kind::Load, self.object), Location::caller());
        self.value.get()
    }
    #[track_caller]
    fn write_once(&self, value: T) {
        visible(Op::new(Kind::Store, self.object), Location::caller());
        self.value.set(value);
    }
}
