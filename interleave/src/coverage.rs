//! How much of what there is a random search has seen, as far as that can be known.
//!
//! Executions that differ only in the order of independent operations are one schedule, and schedules seen are counted as
//! such. How likely the next execution is to be a schedule not seen yet is estimated as Good and Turing did: by the
//! share of executions whose schedule was seen exactly once. It is an estimate, of that walk: a schedule that the walk
//! hardly ever takes hardly shows in it. What probabilistic concurrency testing guarantees is no estimate.

use crate::engine::exec::Exec;
use crate::engine::op::Kind;
use crate::engine::strategy::ByHash;
use serde::Serialize;
use std::collections::hash_map::Entry;

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Coverage {
    /// Executions that were counted: all, or those until there were more schedules than may be kept.
    pub counted: u64,
    /// Distinct schedules among them.
    pub distinct: u64,
    /// How many of those were seen exactly once.
    pub seen_once: u64,
    /// Estimated probability that one more execution is a schedule not seen yet.
    pub unseen: f64,
    /// Whether there were more schedules than may be kept ([`Config::most_states`](crate::Config::most_states)), so that
    /// counting stopped.
    pub full: bool,
    /// What probabilistic concurrency testing guarantees.
    pub guarantee: Option<Guarantee>,
}

/// The probability with which a search by probabilistic concurrency testing meets any given bug of the depth it looks
/// for, in executions not longer than the longest seen: at least 1 / (actors * events^(depth - 1)) each. None is given
/// when the program made choices of its own ([`Lab::choose`](crate::lab::Lab::choose)): the guarantee knows nothing of
/// them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Guarantee {
    /// Actors, workers included.
    pub actors: u32,
    /// Events of the longest execution.
    pub events: u32,
    /// Depth of the bug: events that have to come in an order.
    pub depth: u32,
    /// Executions that count: those made since the length of the longest is known.
    pub executions: u64,
    /// Probability in each of them, at least.
    pub each: f64,
    /// Probability in at least one of them, at least.
    pub reached: f64,
}

impl Guarantee {
    fn new(actors: u32, events: u32, depth: u32, executions: u64) -> Self {
        let others = f64::from(depth.max(1) - 1);
        let each = 1.0 / (f64::from(actors.max(1)) * f64::from(events.max(1)).powf(others));
        // Not (1 - each)^executions: 1 - each is 1 when each is small enough.
        let reached = if each < 1.0 { -(executions as f64 * (-each).ln_1p()).exp_m1() } else { 1.0 };
        Guarantee { actors, events, depth, executions, each, reached }
    }
}

/// Counts executions of a random search.
#[derive(Debug)]
pub(crate) struct Counter {
    /// By schedule, whether it was seen more than once.
    seen: ByHash<bool>,
    most: usize,
    full: bool,
    counted: u64,
    once: u64,
    /// Of a search by probabilistic concurrency testing, the depth.
    depth: Option<u32>,
    actors: u32,
    /// What the search takes as the length of an execution, and executions since it does so.
    events: u32,
    since: u64,
    chose: bool,
}

impl Counter {
    /// `depth`: of a search by probabilistic concurrency testing.
    pub(crate) fn new(most: usize, depth: Option<u32>) -> Self {
        let events = crate::engine::strategy::SHORTEST;
        Counter {
            seen: ByHash::default(),
            most,
            full: false,
            counted: 0,
            once: 0,
            depth,
            actors: 0,
            events,
            since: 0,
            chose: false,
        }
    }

    /// An execution has ended.
    pub(crate) fn count(&mut self, exec: &Exec) {
        let path = &exec.frames[..exec.depth];
        self.count_class(path.last().map_or(0, |last| last.class));
        if self.depth.is_some() {
            self.chose |= path.iter().any(|frame| frame.op.kind == Kind::Choose);
            let (actors, events) = (exec.actors as u32, exec.depth as u32);
            // This execution was made for the length before it; longer ones had no drops where this one goes on.
            self.since += 1;
            if events > self.events || actors > self.actors {
                self.since = if events > self.events { 0 } else { self.since };
                self.events = self.events.max(events);
                self.actors = self.actors.max(actors);
            }
        }
    }

    fn count_class(&mut self, class: u64) {
        if self.full {
            return;
        }
        let room = self.seen.len() < self.most;
        match self.seen.entry(class) {
            Entry::Occupied(mut seen) => self.once -= u64::from(!seen.insert(true)),
            Entry::Vacant(new) if room => {
                new.insert(false);
                self.once += 1;
            }
            Entry::Vacant(_) => {
                self.full = true;
                return;
            }
        }
        self.counted += 1;
    }

    pub(crate) fn distinct(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(crate) fn coverage(&self) -> Coverage {
        let guarantee = self.depth.filter(|_| !self.chose);
        Coverage {
            counted: self.counted,
            distinct: self.distinct(),
            seen_once: self.once,
            unseen: if self.counted == 0 { 1.0 } else { self.once as f64 / self.counted as f64 },
            full: self.full,
            guarantee: guarantee.map(|depth| Guarantee::new(self.actors, self.events, depth, self.since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_the_share_of_what_was_seen_once() {
        let mut counter = Counter::new(10, None);
        [1, 2, 2, 3, 3, 3, 4].into_iter().for_each(|class| counter.count_class(class));
        let coverage = counter.coverage();
        assert_eq!((coverage.counted, coverage.distinct, coverage.seen_once), (7, 4, 2));
        assert_eq!((coverage.unseen, coverage.full, coverage.guarantee), (2.0 / 7.0, false, None));
    }

    #[test]
    fn a_counter_that_is_full_stops_and_says_so() {
        let mut counter = Counter::new(2, None);
        [1, 2, 1, 3, 1, 2].into_iter().for_each(|class| counter.count_class(class));
        let coverage = counter.coverage();
        assert!(coverage.full);
        assert_eq!((coverage.counted, coverage.distinct, coverage.seen_once), (3, 2, 1));
    }

    #[test]
    fn the_guarantee_is_the_formula_and_does_not_drown_in_rounding() {
        let one = Guarantee::new(4, 10, 3, 1);
        assert_eq!(one.each, 1.0 / 400.0);
        assert!((one.reached - one.each).abs() < 1e-15);
        let many = Guarantee::new(4, 10, 3, 400);
        assert!((many.reached - (1.0 - (1.0f64 - 1.0 / 400.0).powi(400))).abs() < 1e-12);
        let tiny = Guarantee::new(16, 30_000, 6, 10);
        assert!(tiny.reached > 0.0 && (tiny.reached / (10.0 * tiny.each) - 1.0).abs() < 1e-9);
        assert_eq!(Guarantee::new(1, 10, 1, 1).reached, 1.0);
    }
}
