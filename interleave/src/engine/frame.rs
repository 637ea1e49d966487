//! One event of the path being explored, with what the search still has to do there.

use super::clock::{Actors, Clock};
use super::op::{Kind, Op};
use serde::{Deserialize, Serialize};

/// See the module documentation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
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
    /// The same in the order in which they were wanted, four bits each. The order decides who is asleep for whom, so that
    /// a search that is split explores the same tree as one that is not.
    queue: u64,
    /// How many there are in `queue`, and which of them goes on the current path.
    queued: u8,
    at: u8,
    /// What a [`Kind::Choose`] came to.
    pub(crate) value: u8,
    /// Who was tried here, the current one excluded.
    pub(crate) done: Actors,
    /// Whether it took an instance of a work item off its queue.
    pub(crate) unqueued: bool,
    /// A last resort: a barrier that no race crosses.
    pub(crate) late: bool,
    /// Preempting switches up to here.
    pub(crate) preemptions: u16,
    /// The word of its object just before.
    pub(crate) word: u64,
    /// For each in `queue`, who went next on the way to what it was wanted for.
    plans: Vec<Vec<u8>>,
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
            queue: 0,
            queued: 0,
            at: 0,
            value: 0,
            done: 0,
            unqueued: false,
            late: false,
            preemptions: 0,
            word: 0,
            plans: Vec::new(),
            class: 0,
        }
    }
}

impl Frame {
    /// A place that the search comes to for the first time; `actor` goes first.
    pub(crate) fn begin(&mut self, enabled: Actors, sleep: Actors, actor: u8) {
        self.enabled = enabled;
        self.sleep = sleep;
        self.wanted = 1 << actor;
        (self.queue, self.queued, self.at) = (u64::from(actor), 1, 0);
        self.plans.clear();
        self.plans.push(Vec::new());
        self.done = 0;
        self.value = 0;
        self.late = false;
    }

    /// `actor` has to be tried here too.
    pub(crate) fn want(&mut self, actor: u8, plan: Vec<u8>) {
        if self.wanted & (1 << actor) == 0 {
            self.wanted |= 1 << actor;
            self.queue |= u64::from(actor) << (4 * self.queued);
            self.queued += 1;
            self.plans.push(plan);
        }
    }

    /// All of `actors` have to be tried here.
    pub(crate) fn want_all(&mut self, mut actors: Actors) {
        while actors != 0 {
            self.want(actors.trailing_zeros() as u8, Vec::new());
            actors &= actors - 1;
        }
    }

    /// Who goes after this, if possible.
    pub(crate) fn plan(&self) -> &[u8] {
        if self.value == 0 { self.plans.get(self.at as usize).map_or(&[], Vec::as_slice) } else { &[] }
    }

    /// What was begun with is explored: goes on to the next value or the next actor. False when there is none.
    pub(crate) fn advance(&mut self) -> bool {
        if self.op.kind == Kind::Choose && u64::from(self.value) + 1 < self.op.arg() {
            self.value += 1;
            return true;
        }
        self.done |= 1 << self.actor;
        self.value = 0;
        self.at += 1;
        if self.at < self.queued {
            self.actor = (self.queue >> (4 * self.at)) as u8 & 15;
        }
        self.at < self.queued
    }

    /// Whether an execution that starts with one of `initials` here is explored anyway.
    #[inline]
    pub(crate) fn covers(&self, initials: Actors) -> bool {
        initials & (self.wanted | self.sleep | self.done) != 0
    }

    /// How many actors are wanted here beyond the current one, and not tried yet.
    pub(crate) fn untried(&self) -> u8 {
        self.queued.saturating_sub(self.at + 1)
    }

    /// The place with the current actor (0) or the `nth` after it going, for a part of the search that has to try no
    /// other.
    pub(crate) fn only(&self, nth: u8) -> Frame {
        let mut only = self.clone();
        if nth > 0 {
            only.skip(nth);
        }
        only.queued = only.at + 1;
        only
    }

    /// Goes on to the `nth` actor after the current one; all between count as tried.
    pub(crate) fn skip(&mut self, nth: u8) {
        for _ in 0..nth {
            // what the current actor does here is somebody else's to explore, all values of a choice included
            self.op = Op::DONE;
            self.advance();
        }
    }

    /// How much of what is known to be wanted here is behind the current one, from 0 to 1, and how much the current one
    /// is. Nothing but an estimate: more may be wanted yet.
    pub(crate) fn shares(&self) -> (f64, f64) {
        let values = if self.op.kind == Kind::Choose { self.op.arg() as f64 } else { 1.0 };
        let whole = f64::from(self.queued.max(1)) * values;
        ((f64::from(self.at) * values + f64::from(self.value)) / whole, 1.0 / whole)
    }
}
