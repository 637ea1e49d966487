//! A failing execution of a smaller scenario, and the smallest scenario so far.

use super::control::Control;
use super::{Candidate, Measure, Task, written};
use crate::lang::{Design, Explore, Scenario};
use crate::run::{SHRINK_BUDGET, limits};
use crate::world::ScenarioProgram;
use interleave::lab::Invariant;
use interleave::{Config, Failure, Schedule, Strategy, explore, run_alike, shrink_until};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Searches of a candidate, after the old schedule has been tried: each for so many executions, until one finds something.
const SEARCHES: &[(Strategy, u64)] = &[
    (Strategy::Exhaustive { preemptions: Some(0), reduction: false }, 200),
    (Strategy::Exhaustive { preemptions: Some(1), reduction: false }, 300),
    (Strategy::Exhaustive { preemptions: Some(2), reduction: false }, 300),
    (Strategy::Pct { seed: 1, depth: 2 }, 100),
    (Strategy::Pct { seed: 2, depth: 3 }, 100),
    (Strategy::Random { seed: 1 }, 100),
    (Strategy::Random { seed: 2 }, 100),
];
/// Executions to bring a failure that costs too many context switches down to what the best one costs.
const SHRINK_A_CANDIDATE: u64 = 1_000;
/// Executions in which a search without hints must find the violation, for the hints to be left out.
const WITHOUT_HINTS: u64 = 10_000;

pub(super) struct Search<'a> {
    design: Design,
    invariant: Invariant,
    control: Control,
    scenario: Scenario,
    failure: Failure,
    /// Texts that were searched to no avail: only the schedule, which changes, is tried on them again.
    searched: BTreeSet<String>,
    /// Texts that no schedule makes right.
    refused: BTreeSet<String>,
    budget: u64,
    left: u64,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Search<'a> {
    pub(super) fn new(task: &Task<'_>, scenario: Scenario, budget: u64, stop: Option<&'a AtomicBool>) -> Self {
        let mut left = budget;
        let control = Control::new(task, &scenario, &mut left);
        Search {
            design: task.design,
            invariant: task.failure.violation.invariant,
            control,
            scenario,
            failure: task.failure.clone(),
            searched: BTreeSet::new(),
            refused: BTreeSet::new(),
            budget,
            left,
            stop,
        }
    }

    /// The smallest scenario so far.
    pub(super) fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The smallest scenario, and how it falls.
    pub(super) fn into_best(self) -> (Scenario, Failure) {
        (self.scenario, self.failure)
    }

    /// Executions spent.
    pub(super) fn executions(&self) -> u64 {
        self.budget - self.left
    }

    /// Whether the budget is spent, or somebody asked to stop.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0 || self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Takes `candidate` for the best, if it is a scenario, smaller, and falls for the same reason.
    pub(super) fn take(&mut self, candidate: &Candidate) -> bool {
        let Some(scenario) = written(&candidate.scenario) else { return false };
        let switches = self.failure.context_switches;
        let (now, then) = (Measure::of(&self.scenario, switches), Measure::of(&scenario, switches));
        let text = &*scenario.source.text;
        if then >= now || !then.is_within(&now) || self.refused.contains(text) {
            return false;
        }
        let Some(failure) = self.find(&scenario, candidate) else {
            self.searched.insert(text.to_owned());
            return false;
        };
        if !self.control.agrees(&scenario, &mut self.left) || !self.is_found_without(&scenario) {
            self.refused.insert(text.to_owned());
            return false;
        }
        self.scenario = scenario;
        self.failure = failure;
        true
    }

    /// Makes the schedule simpler; whether that was possible.
    pub(super) fn shrink(&mut self) -> bool {
        let before = (self.failure.context_switches, self.failure.events);
        let (program, config) = self.program(&self.scenario);
        let budget = self.left.min(SHRINK_BUDGET);
        let shrunk = shrink_until(&program, &config, &self.failure, budget, self.stop);
        self.left -= shrunk.executions.min(self.left);
        self.failure = shrunk.failure;
        (self.failure.context_switches, self.failure.events) != before
    }

    fn program(&self, scenario: &Scenario) -> (ScenarioProgram, Config) {
        (ScenarioProgram::new(scenario, self.design), limits(&scenario.explore, &scenario.plants))
    }

    /// A failure of `scenario` for the same invariant, with no more context switches.
    fn find(&mut self, scenario: &Scenario, candidate: &Candidate) -> Option<Failure> {
        let (program, config) = self.program(scenario);
        self.left = self.left.saturating_sub(1);
        let alike = run_alike(&program, &config, self.renumbered(candidate));
        if let Some(found) = alike.and_then(|found| self.simple_enough(&program, &config, found)) {
            return Some(found);
        }
        if self.searched.contains(&*scenario.source.text) {
            return None;
        }
        for (strategy, executions) in SEARCHES {
            if self.is_over() {
                return None;
            }
            let mut search = Config { strategy: strategy.clone(), ..config.clone() };
            search.limits.executions = Some((*executions).min(self.left));
            let outcome = explore(&program, &search, self.stop, None);
            self.left -= outcome.stats.executions.min(self.left);
            if let Some(found) = outcome.failure.and_then(|found| self.simple_enough(&program, &config, found)) {
                return Some(found);
            }
        }
        None
    }

    fn simple_enough(&mut self, program: &ScenarioProgram, config: &Config, found: Failure) -> Option<Failure> {
        let most = self.failure.context_switches;
        if found.violation.invariant != self.invariant {
            return None;
        }
        if found.context_switches <= most {
            return Some(found);
        }
        let shrunk = shrink_until(program, config, &found, SHRINK_A_CANDIDATE.min(self.left), self.stop);
        self.left -= shrunk.executions.min(self.left);
        Some(shrunk.failure).filter(|found| found.context_switches <= most)
    }

    /// The schedule of the best failure with the numbers that actors have in `candidate`: threads, waves, workers.
    fn renumbered(&self, candidate: &Candidate) -> Schedule {
        let (old, new) = (candidate.actors.len() as u8, candidate.scenario.actors().count() as u8);
        let number = |actor: &u8| match candidate.actors.get(usize::from(*actor)) {
            Some(number) => *number,
            None => Some(actor - old + new),
        };
        let Schedule { choices, values } = &self.failure.schedule;
        Schedule { choices: choices.iter().filter_map(number).collect(), values: values.clone() }
    }

    /// Whoever puts the result to the design must find the violation again: hints how to search are left out only when
    /// it is found without.
    fn is_found_without(&mut self, scenario: &Scenario) -> bool {
        let how = |e: &Explore| (e.strategy, e.preemptions, e.executions);
        if how(&scenario.explore) == how(&self.scenario.explore) {
            return true;
        }
        let (program, mut config) = self.program(scenario);
        config.limits.executions = Some(WITHOUT_HINTS.min(self.left));
        config.strategy = crate::run::strategy(&scenario.explore);
        let outcome = explore(&program, &config, self.stop, None);
        self.left -= outcome.stats.executions.min(self.left);
        outcome.failure.is_some_and(|found| found.violation.invariant == self.invariant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load_corpus;
    use crate::run::{CheckOptions, CheckVerdict, check_scenario};

    #[test]
    fn a_failure_of_another_invariant_is_none() {
        let corpus = load_corpus().expect("the corpus parses");
        let scenario = corpus.iter().find(|s| s.name == "two-set-attrs").expect("in the corpus");
        let design = Design::PocV1;
        let CheckVerdict::Violated(found) =
            check_scenario(scenario, design, &CheckOptions::default(), &Default::default(), None).verdict
        else {
            panic!("something falls")
        };
        let (failure, explore) = (&found.failure, &scenario.explore);
        let task = Task { scenario, design, plants: &[], explore, failure };
        let mut search = Search::new(&task, scenario.clone(), 1_000, None);
        let (program, config) = search.program(scenario);
        assert_eq!(search.simple_enough(&program, &config, failure.clone()).as_ref(), Some(failure));
        let mut other = failure.clone();
        other.violation.invariant = Invariant::I12;
        assert_eq!(search.simple_enough(&program, &config, other), None);
    }
}
