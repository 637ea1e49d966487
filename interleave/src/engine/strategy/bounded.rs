//! The bound on preemptions, one after the other (iterative context bounding, Musuvathi, Qadeer, PLDI 2007).
//!
//! A round is everything with at most so many preemptions. The next begins from the start with one more, so it does
//! again what the rounds before it did; that is counted. A round in which the bound kept nobody from going, but after
//! prefixes that were gone on from with fewer preemptions, is everything there is.

use super::Chooser;
use super::cache::Cache;
use crate::engine::clock::mix;
use crate::engine::exec::{Exec, Mode};
use serde::Serialize;

/// What the bound on preemptions came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Bound {
    /// The bound, or that of the last round.
    pub preemptions: u32,
    /// Whether everything was covered, and not only within the bound: whatever has more preemptions is equivalent to
    /// something that has not.
    pub complete: bool,
    /// Executions within the bound of an earlier round, and so done again.
    pub again: u64,
}

/// The state of a search with a bound, a cache, or both.
#[derive(Debug, Default)]
pub(crate) struct Bounded {
    /// Whether the bound has kept somebody from going in this round.
    pub(in crate::engine) held_back: bool,
    /// The last bound of a search by rounds; None for no rounds.
    rounds: Option<u16>,
    again: u64,
    pub(crate) cache: Option<Box<Cache>>,
    /// Sum over the looks at virtual time in the running execution: what they showed is no matter of dependent events.
    pub(in crate::engine) times: u64,
}

impl Bounded {
    /// `rounds`: the last bound of a search by rounds.
    pub(crate) fn new(rounds: Option<u16>, cache: Option<Box<Cache>>) -> Self {
        Bounded { rounds, cache, ..Bounded::default() }
    }
}

impl Exec {
    /// Virtual time in milliseconds, as the running actor sees it.
    pub(crate) fn look_at_time(&mut self) -> u64 {
        if self.mode == Mode::Running && self.bounded.cache.is_some() {
            let when = u64::from(self.moment(self.current)) << 8 | u64::from(self.current);
            self.bounded.times = self.bounded.times.wrapping_add(mix(mix(0, when), self.now_ms));
        }
        self.now_ms
    }

    /// Finds the next path of an exhaustive search, in this round or the next; false when there is none.
    pub(crate) fn next_path(&mut self) -> bool {
        let Chooser::Exhaustive { bound: Some(bound), .. } = self.chooser else { return self.backtrack() };
        if let Some(last) = self.depth.checked_sub(1) {
            let within_an_earlier_round = self.bounded.rounds.is_some() && self.frames[last].preemptions < bound;
            self.bounded.again += u64::from(within_an_earlier_round);
        }
        if self.backtrack() {
            return true;
        }
        let more = self.bounded.held_back && self.bounded.rounds.is_some_and(|last| bound < last);
        if more {
            tracing::debug!(preemptions = bound, "round ended");
            self.bounded.held_back = false;
            if let Some(cache) = &mut self.bounded.cache {
                cache.clear();
            }
            self.replayed = 0;
            self.chooser = Chooser::Exhaustive { reduce: false, bound: Some(bound + 1) };
        }
        more
    }

    /// What the bound came to, if there is one. `exhausted`: the search went to its end.
    pub(crate) fn bound(&self, bounded: &Bounded, exhausted: bool) -> Option<Bound> {
        let Chooser::Exhaustive { bound: Some(bound), .. } = self.chooser else { return None };
        let complete = exhausted && !bounded.held_back;
        Some(Bound { preemptions: bound.into(), complete, again: bounded.again })
    }
}
