//! One event of the path being explored, with what the search still has to do there.

use super::clock::{Actors, Clock};
use super::op::Op;

/// See the module documentation.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Who goes here on the current path.
    pub(crate) actor: u8,
    /// Its number among the actor's events.
    pub(crate) index: u16,
    pub(crate) op: Op,
    /// What happened before, this event included.
    pub(crate) clock: Clock,
    /// Event index + 1 of the previous event on the same object.
    pub(crate) previous: u32,
    /// Who could have gone here.
    pub(crate) enabled: Actors,
    /// Whose turn here is not worth a look: covered by a sibling.
    pub(crate) sleep: Actors,
    /// Who has to be tried here.
    pub(crate) wanted: Actors,
    /// Who was tried here, the current one excluded.
    pub(crate) done: Actors,
    /// Whether it took an instance of a work item off its queue.
    pub(crate) unqueued: bool,
    /// A last resort: a barrier that no race crosses.
    pub(crate) late: bool,
    /// Preempting switches up to here.
    pub(crate) preemptions: u16,
    /// Sum over the events up to here that names the happens-before class.
    pub(crate) class: u64,
}

impl Default for Frame {
    fn default() -> Self {
        Frame {
            actor: 0,
            index: 0,
            op: Op::DONE,
            clock: Clock::ZERO,
            previous: 0,
            enabled: 0,
            sleep: 0,
            wanted: 0,
            done: 0,
            unqueued: false,
            late: false,
            preemptions: 0,
            class: 0,
        }
    }
}

impl Frame {
    /// A place that the search comes to for the first time.
    pub(crate) fn begin(&mut self, enabled: Actors, sleep: Actors, wanted: Actors) {
        self.enabled = enabled;
        self.sleep = sleep;
        self.wanted = wanted;
        self.done = 0;
        self.late = false;
    }
}
