//! Makes a failing execution simple: fewest context switches first, then fewest events.
//!
//! A schedule is a list of blocks: an actor, and how many events it goes for. A candidate is run roughly (what does not
//! fit is passed over, what is not said goes on without preemption), and is kept when the same invariant falls with
//! less. What comes out has really failed; nothing is inferred.

use crate::explore::{Config, End, Failure, Program, Schedule, Strategy, explore, run_roughly};
use std::cmp::Ordering;

/// The simplest failure of the same invariant that `budget` executions find, starting from `failure`.
pub fn shrink(program: &dyn Program, config: &Config, failure: &Failure, budget: u64) -> Failure {
    let mut search = Shrink { program, config, best: failure.clone(), left: budget };
    // Few preemptions often mean few switches, and are quickly enumerated.
    for bound in 0..=1 {
        search.bounded(bound, budget / 4);
    }
    while search.left > 0 {
        let before = (search.best.context_switches, search.best.events);
        search.shorten();
        search.drop_blocks();
        search.merge_blocks();
        search.trim_blocks();
        if (search.best.context_switches, search.best.events) == before {
            break;
        }
    }
    search.best
}

struct Shrink<'a> {
    program: &'a dyn Program,
    config: &'a Config,
    best: Failure,
    left: u64,
}

type Blocks = Vec<(u8, usize)>;

fn blocks(choices: &[u8]) -> Blocks {
    let mut blocks: Blocks = Vec::new();
    for &actor in choices {
        match blocks.last_mut() {
            Some((last, count)) if *last == actor => *count += 1,
            _ => blocks.push((actor, 1)),
        }
    }
    blocks
}

fn choices(blocks: &[(u8, usize)]) -> Vec<u8> {
    blocks.iter().flat_map(|&(actor, count)| std::iter::repeat_n(actor, count)).collect()
}

impl Shrink<'_> {
    fn is_simpler(&self, other: &Failure) -> bool {
        let measure = |f: &Failure| (f.context_switches, f.events);
        other.violation.invariant == self.best.violation.invariant
            && measure(other).cmp(&measure(&self.best)) == Ordering::Less
    }

    fn consider(&mut self, choices: Vec<u8>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let values = self.best.schedule.values.clone();
        match run_roughly(self.program, self.config, Schedule { choices, values }) {
            Some(found) if self.is_simpler(&found) => {
                self.best = found;
                true
            }
            _ => false,
        }
    }

    fn bounded(&mut self, bound: u32, most: u64) {
        let mut config = self.config.clone();
        config.strategy = Strategy::Exhaustive { preemptions: Some(bound), reduction: false };
        config.limits.executions = Some(most.min(self.left));
        (config.keep_going, config.count_distinct) = (false, false);
        let outcome = explore(self.program, &config, None, None);
        self.left -= outcome.stats.executions.min(self.left);
        if outcome.end == End::Violated
            && let Some(found) = outcome.failure
            && self.is_simpler(&found)
        {
            self.best = found;
        }
    }

    /// The shortest beginning that, gone on with without preemption, still fails.
    fn shorten(&mut self) {
        let all = blocks(&self.best.schedule.choices);
        for keep in 0..all.len() {
            if self.consider(choices(&all[..keep])) {
                break;
            }
        }
    }

    /// Leaves out one block; what its actor did happens later, or not at all.
    fn drop_blocks(&mut self) {
        let mut at = 0;
        loop {
            let mut all = blocks(&self.best.schedule.choices);
            if at >= all.len() || self.left == 0 {
                return;
            }
            all.remove(at);
            if !self.consider(choices(&all)) {
                at += 1;
            }
        }
    }

    /// Moves a block to where its actor went before, or will go next.
    fn merge_blocks(&mut self) {
        let mut at = 0;
        loop {
            let all = blocks(&self.best.schedule.choices);
            if at >= all.len() || self.left == 0 {
                return;
            }
            let (actor, count) = all[at];
            let earlier = (0..at).rev().find(|&i| all[i].0 == actor);
            let later = (at + 1..all.len()).find(|&i| all[i].0 == actor);
            let moved = [earlier, later].into_iter().flatten().any(|to| {
                let mut candidate = all.clone();
                candidate[to].1 += count;
                candidate.remove(at);
                self.consider(choices(&candidate))
            });
            if !moved {
                at += 1;
            }
        }
    }

    /// Ends a block one event earlier.
    fn trim_blocks(&mut self) {
        let mut at = 0;
        loop {
            let mut all = blocks(&self.best.schedule.choices);
            if at >= all.len() || self.left == 0 {
                return;
            }
            all[at].1 -= 1;
            if !self.consider(choices(&all)) {
                at += 1;
            }
        }
    }
}
