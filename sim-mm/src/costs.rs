//! What an address space was asked for: how designs of a driver are compared. Counting is no scheduling point and decides
//! nothing.

use std::cell::Cell;

/// How often each thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MmCosts {
    /// Interval notifiers inserted.
    pub notifiers: u64,
    /// Interval notifiers removed.
    pub removals: u64,
    /// Invalidations announced while there were interval notifiers.
    pub events: u64,
    /// Driver callbacks that ran.
    pub callbacks: u64,
    /// Calls of `hmm_range_fault`.
    pub hmm_calls: u64,
    /// Pages that those looked at.
    pub hmm_pages: u64,
}

/// [`MmCosts`] while they grow.
#[derive(Default)]
pub(crate) struct Tally(Cell<MmCosts>);

impl Tally {
    pub(crate) fn add(&self, change: impl FnOnce(&mut MmCosts)) {
        let mut costs = self.0.get();
        change(&mut costs);
        self.0.set(costs);
    }

    pub(crate) fn so_far(&self) -> MmCosts {
        self.0.get()
    }
}
