//! Makes a failing scenario small: what of it does the race need?
//!
//! A scenario found in the wild has threads, operations and pages that have nothing to do with what falls. Here they are
//! left out, one after the other, as long as the same invariant falls: `leave_out` and `sizes` propose, `search`
//! looks for a failing execution of what they propose, and keeps it when it is smaller by [`Measure`]. A smaller scenario
//! never costs more context switches. `control` keeps a proposal from falling for a reason of its own.
//!
//! | file | trade |
//! |---|---|
//! | `measure` | how big a failing scenario is |
//! | `leave_out`, `sizes` | smaller scenarios |
//! | `search` | a failing execution of one |
//! | `control` | whether what the scenario expects still makes sense |
//!
//! Bounded by executions, not by time: the same scenario gives the same result everywhere.

mod control;
mod leave_out;
mod measure;
mod search;
mod sizes;

pub use measure::Measure;

use crate::lang::{Answer, Design, Explore, Place, Scenario, Verdict, parse};
use crate::run::limits;
use crate::world::ScenarioProgram;
use interleave::{Failure, Timeline};
use model::platform::Plant;
use search::Search;
use std::sync::atomic::AtomicBool;

/// Executions that making a scenario small may spend.
pub const MINIMISE_BUDGET: u64 = 300_000;

/// What the name of a reduced scenario ends with.
const SUFFIX: &str = "-min";

/// A scenario that fails, and how.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The design that falls.
    pub design: Design,
    /// Bugs switched on beside the scenario's own.
    pub plants: &'a [Plant],
    /// How it was searched; the limits decide what an execution is.
    pub explore: &'a Explore,
    /// How it falls; best shrunk already.
    pub failure: &'a Failure,
}

/// A failing scenario made small.
#[derive(Clone, Debug)]
pub struct Minimal {
    /// The scenario; its source is its own text, its plants are all that are switched on.
    pub scenario: Scenario,
    /// How it falls.
    pub failure: Failure,
    /// The execution, event by event.
    pub timeline: Timeline,
    /// How big it was.
    pub before: Measure,
    /// How big it is.
    pub after: Measure,
    /// Whether nothing that was proposed makes it smaller; otherwise the budget was spent or somebody asked to stop.
    pub finished: bool,
    /// Executions spent.
    pub executions: u64,
}

/// A smaller scenario.
#[derive(Clone, Debug)]
struct Candidate {
    scenario: Scenario,
    /// For each thread and wave of the bigger one, its number here, if it is left.
    actors: Vec<Option<u8>>,
}

/// What can be made smaller, the biggest steps first.
const PROPOSALS: &[fn(&Scenario) -> Vec<Candidate>] = &[
    leave_out::expectations,
    leave_out::actors,
    leave_out::gpus,
    leave_out::regions,
    leave_out::preparation,
    leave_out::operations,
    sizes::scaled,
    sizes::cut,
    leave_out::properties,
    leave_out::details_of_operations,
];

/// Makes the scenario of `task` smaller until nothing that is proposed works any more, `budget` executions are spent, or
/// `stop` is set; what was reached until then is the result. `tell` hears how many executions are spent.
pub fn minimise(task: &Task<'_>, budget: u64, stop: Option<&AtomicBool>, tell: &mut dyn FnMut(u64)) -> Minimal {
    let scenario = prepared(task);
    let before = Measure::of(&scenario, task.failure.context_switches);
    let mut search = Search::new(task, scenario, budget, stop);
    let mut finished = false;
    while !finished && !search.is_over() {
        let mut changed = false;
        for propose in PROPOSALS {
            // What is proposed next to what was just taken comes to stand at its place.
            let mut at = 0;
            while let Some(candidate) = propose(search.scenario()).into_iter().nth(at) {
                if search.is_over() {
                    break;
                }
                match search.take(&candidate) {
                    true => changed = true,
                    false => at += 1,
                }
                tell(search.executions());
            }
        }
        changed |= search.shrink();
        finished = !changed && !search.is_over();
    }
    let executions = search.executions();
    let (scenario, failure) = search.into_best();
    let program = ScenarioProgram::new(&scenario, task.design);
    let config = limits(&scenario.explore, &scenario.plants);
    let timeline = interleave::replay(&program, &config, &failure.schedule).expect("a schedule that ran fits");
    assert_eq!(timeline.violation.as_ref(), Some(&failure.violation), "the same execution falls the same way");
    let after = Measure::of(&scenario, failure.context_switches);
    Minimal { scenario, failure, timeline, before, after, finished, executions }
}

/// The scenario as it begins to shrink: with everything in its text that decides an execution, and one verdict.
fn prepared(task: &Task<'_>) -> Scenario {
    let mut s = task.scenario.clone();
    if !s.name.ends_with(SUFFIX) {
        s.about = format!("{} (Reduced from {}.)", s.about, s.name);
        s.name += SUFFIX;
    }
    s.plants.extend(task.plants.iter().filter(|plant| !task.scenario.plants.contains(plant)));
    s.explore = task.explore.clone();
    let answer = Answer::Violates(vec![task.failure.violation.invariant]);
    s.verdicts = vec![Verdict { design: task.design, answer, at: Place::default() }];
    written(&s).expect("a scenario with its verdict said otherwise is one")
}

/// `s` as it reads when it is written. None: it is not a scenario, or not this one.
fn written(s: &Scenario) -> Option<Scenario> {
    parse(&format!("{}.kdl", s.name), &s.to_kdl()).ok().filter(|again| again == s)
}
