//! A process that is forked while the scenario runs.

use interleave::lab::{Gate, Lab};
use sim_mm::AddressSpace;
use std::cell::OnceCell;

/// A child: its threads wait for it to be born.
pub(super) struct Child<L: Lab> {
    pub(super) name: String,
    space: OnceCell<AddressSpace<L>>,
    forked: L::Gate,
}

impl<L: Lab> Child<L> {
    pub(super) fn new(name: &str) -> Self {
        Child { name: name.to_owned(), space: OnceCell::new(), forked: L::Gate::new("forked", 0) }
    }

    /// fork has returned. Once.
    #[track_caller]
    pub(super) fn born(&self, space: AddressSpace<L>) {
        assert!(self.space.set(space).is_ok(), "the names of children are unique");
        self.forked.store(1);
    }

    /// Waits for that.
    #[track_caller]
    pub(super) fn wait(&self) -> AddressSpace<L> {
        self.forked.wait_until(1);
        self.space.get().expect("it is set before the gate opens").clone()
    }
}
