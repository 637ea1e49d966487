//! Makes a failing execution simple: fewest context switches first, then fewest events.
//!
//! A schedule is a list of blocks: an actor, and how many events it goes for. A candidate is run roughly (what does not
//! fit is passed over, what is not said goes on without preemption), and is kept when the same invariant falls with
//! less. Small changes can end where no single one leads further; so every execution with fewer switches is looked at
//! too, from none upwards, as far as the budget reaches ([`fewest`]). What comes out has really failed; nothing is
//! inferred.

mod attempt;
mod fewest;

use crate::explore::{Config, Failure, Program, Schedule, Strategy, explore};
use attempt::attempt;
use fewest::Fewest;
use std::sync::atomic::{AtomicBool, Ordering};

/// A failure made simple.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The simplest failure found.
    pub failure: Failure,
    /// Whether every execution with fewer context switches was looked at: then there is none that violates the invariant.
    pub is_fewest: bool,
    /// Executions spent.
    pub executions: u64,
}

/// The simplest failure of the same invariant that `budget` executions find, starting from `failure`.
pub fn shrink(program: &dyn Program, config: &Config, failure: &Failure, budget: u64) -> Failure {
    shrink_until(program, config, failure, budget, None).failure
}

/// The same, ended early when `stop` is set; and whether it is known that no execution has fewer context switches.
pub fn shrink_until(
    program: &dyn Program,
    config: &Config,
    failure: &Failure,
    budget: u64,
    stop: Option<&AtomicBool>,
) -> Shrunk {
    let mut search = Shrink { program, config, best: failure.clone(), left: budget, stop };
    // Few preemptions often mean few switches, and are quickly enumerated.
    for bound in 0..=1 {
        search.bounded(bound, budget / 4);
    }
    search.change_a_little();
    // What is simple now is rarely far off; this says whether there is anything below.
    let mut switches = 0;
    let fewest_of_these_choices = loop {
        if switches >= search.best.context_switches {
            break true;
        }
        let invariant = search.best.violation.invariant;
        let values = search.best.schedule.values.clone();
        match fewest::fewest(program, config, invariant, (switches, &values), &mut search.left, stop) {
            Fewest::Found(found) => {
                search.best = *found;
                search.change_a_little();
                break true;
            }
            Fewest::None => switches += 1,
            Fewest::GaveUp => break false,
        }
    };
    // Where the environment chose too, only its choices in this failure were looked at.
    let is_fewest = fewest_of_these_choices && search.best.schedule.values.is_empty();
    Shrunk { failure: search.best, is_fewest, executions: budget - search.left }
}

/// Runs `wanted` as far as it fits `program`, then without preemption. The failure, if it fails. For schedules of a
/// program that has changed a little since.
pub fn run_alike(program: &dyn Program, config: &Config, wanted: Schedule) -> Option<Failure> {
    attempt(program, config, wanted).failure
}

struct Shrink<'a> {
    program: &'a dyn Program,
    config: &'a Config,
    best: Failure,
    left: u64,
    stop: Option<&'a AtomicBool>,
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
    /// Changes the schedule until no single change makes it simpler.
    fn change_a_little(&mut self) {
        loop {
            let before = (self.best.context_switches, self.best.events);
            self.shorten();
            self.drop_blocks();
            self.merge_blocks();
            self.trim_blocks();
            if (self.best.context_switches, self.best.events) == before || self.is_over() {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn is_simpler(&self, other: &Failure) -> bool {
        let measure = |f: &Failure| (f.context_switches, f.events);
        other.violation.invariant == self.best.violation.invariant && measure(other) < measure(&self.best)
    }

    fn consider(&mut self, choices: Vec<u8>) -> bool {
        if self.is_over() {
            return false;
        }
        self.left -= 1;
        let wanted = Schedule { choices, values: self.best.schedule.values.clone() };
        match attempt(self.program, self.config, wanted).failure {
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
        if self.is_over() {
            return;
        }
        let outcome = explore(self.program, &config, self.stop, None);
        self.left -= outcome.stats.executions.min(self.left);
        if let Some(found) = outcome.failure
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
            if at >= all.len() || self.is_over() {
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
            if at >= all.len() || self.is_over() {
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
            if at >= all.len() || self.is_over() {
                return;
            }
            all[at].1 -= 1;
            if !self.consider(choices(&all)) {
                at += 1;
            }
        }
    }
}
