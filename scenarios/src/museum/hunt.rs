//! One planted bug, looked for.

use super::ground::{Ground, Spot, falls, question, search};
use crate::lang::StrategyHint;
use crate::run::{CheckResult, CheckVerdict, Finding, Question};
use interleave::lab::Invariant;
use interleave::trace::TraceFile;
use interleave::{End, Stats};
use model::platform::Plant;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A pass over all spots that come by the place of a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round {
    /// Executions of each.
    pub executions: u64,
    /// Failures that each actor may meet.
    pub failures: u32,
    /// How.
    pub strategy: StrategyHint,
}

/// How long a bug is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The passes.
    pub rounds: &'static [Round],
    /// Events in all of them together, after which a bug is missed.
    pub events: u64,
    /// Executions to shrink what was found.
    pub shrink: u64,
    /// Other spots to look at when what was found takes more context switches than it should.
    pub others: usize,
}

/// The budget that is the same for all.
pub const BUDGET: Budget = Budget {
    rounds: &[
        Round { executions: 4, failures: 0, strategy: StrategyHint::FewestPreemptions },
        Round { executions: 120, failures: 0, strategy: StrategyHint::Exhaustive },
        Round { executions: 60, failures: 0, strategy: StrategyHint::Pos { seed: 1 } },
        Round { executions: 120, failures: 1, strategy: StrategyHint::FewestPreemptions },
        Round { executions: 300, failures: 0, strategy: StrategyHint::FewestPreemptions },
        Round { executions: 300, failures: 0, strategy: StrategyHint::Pos { seed: 2 } },
        Round { executions: 3000, failures: 0, strategy: StrategyHint::Exhaustive },
    ],
    events: 20_000_000,
    shrink: 3000,
    others: 12,
};

/// What was found.
pub struct Catch {
    /// Which spot of the ground.
    pub spot: usize,
    /// What fell.
    pub invariant: Invariant,
    /// In words.
    pub what: String,
    /// Context switches, shrunk; None: a deadlock was predicted, and no execution has it.
    pub context_switches: Option<u32>,
    /// What `svmlab replay` takes.
    pub trace: TraceFile,
    /// The whole finding, where an execution has it.
    pub finding: Option<Box<Finding>>,
}

/// What came of looking for one bug.
pub struct Hunt {
    /// The bug.
    pub plant: Plant,
    /// The find.
    pub catch: Option<Catch>,
    /// Spots that come by its place.
    pub spots: usize,
    /// Executions until the find, or all.
    pub executions: u64,
    /// Events of them.
    pub events: u64,
    /// How long they took.
    pub took: Duration,
    /// Whether it was stopped.
    pub interrupted: bool,
}

/// Looks for `plant`.
pub fn hunt(ground: &Ground, plant: Plant, budget: &Budget, stop: &AtomicBool) -> Hunt {
    let designs: Vec<&str> = plant.mutant().designs.split(' ').collect();
    let there = |spot: &Spot| designs.contains(&spot.design.name()) && spot.asked.contains(&plant);
    let spots: Vec<usize> = (0..ground.spots.len()).filter(|&nth| there(&ground.spots[nth])).collect();
    let mut hunt = Hunt {
        plant,
        catch: None,
        spots: spots.len(),
        executions: 0,
        events: 0,
        took: Duration::ZERO,
        interrupted: false,
    };
    let mut finished = vec![false; spots.len()];
    // What falls without the bug when something fails may well hold when nothing does.
    let (mut dirty, mut dirty_failing) = (vec![false; spots.len()], vec![false; spots.len()]);
    let enough = |switches: u32| 2 * switches <= 3 * plant.mutant().context_switches();
    let mut others = 0;
    for round in budget.rounds {
        let dirty = if round.failures > 0 { &mut dirty_failing } else { &mut dirty };
        for (at, &nth) in spots.iter().enumerate() {
            if (finished[at] && round.failures == 0) || dirty[at] {
                continue;
            }
            match &hunt.catch {
                None if hunt.events > budget.events => return hunt,
                Some(catch) if catch.context_switches.is_none_or(enough) || others == budget.others => return hunt,
                Some(_) => others += 1,
                None => {}
            }
            let spot = &ground.spots[nth];
            let question = question(ground.scenario(spot), spot.design, &[plant], round).shrink_within(budget.shrink);
            let began = Instant::now();
            let outcome = search(&question, stop);
            if hunt.catch.is_none() {
                hunt.took += began.elapsed();
                hunt.executions += outcome.stats.executions;
                hunt.events += outcome.stats.events;
            }
            if stop.load(Ordering::SeqCst) && !falls(&outcome) {
                hunt.interrupted = hunt.catch.is_none();
                return hunt;
            }
            finished[at] |= outcome.end == End::Exhausted && round.failures == 0;
            if !falls(&outcome) {
                continue;
            }
            if !ground.is_clean(nth, round, stop) {
                dirty[at] = true;
                continue;
            }
            let caught = caught(nth, question.answer(outcome, Some(stop), &mut |_: &Stats| ()), &question);
            if falls_anyway(ground, nth, round, &caught) {
                dirty[at] = true;
                continue;
            }
            let better = |old: &Catch| match (caught.context_switches, old.context_switches) {
                (Some(new), Some(old)) => new < old,
                _ => false,
            };
            if hunt.catch.as_ref().is_none_or(better) {
                hunt.catch = Some(caught);
            }
        }
    }
    hunt
}

/// Whether the design falls in the same interleaving without the bug: rare races of its own are not seen by
/// [`Ground::is_clean`].
fn falls_anyway(ground: &Ground, nth: usize, round: &Round, caught: &Catch) -> bool {
    let spot = &ground.spots[nth];
    let asked = question(ground.scenario(spot), spot.design, &[], round);
    let again = interleave::replay(&asked.program(), &asked.search(), &caught.trace.schedule);
    again.is_ok_and(|timeline| timeline.violation.is_some())
}

fn caught(nth: usize, result: CheckResult, question: &Question<'_>) -> Catch {
    match result.verdict {
        CheckVerdict::Violated(finding) => Catch {
            spot: nth,
            invariant: finding.failure.violation.invariant,
            what: finding.failure.violation.what.clone(),
            context_switches: Some(finding.failure.context_switches),
            trace: finding.trace.clone(),
            finding: Some(finding),
        },
        _ => {
            let report = &result.predicted[0];
            Catch {
                spot: nth,
                invariant: Invariant::I8,
                what: format!("predicted: {}", report.cycle()),
                context_switches: None,
                trace: question.witnesses(report).remove(0),
                finding: None,
            }
        }
    }
}
