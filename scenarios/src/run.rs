//! Puts one scenario to one design: explore, shrink, record; and the way back, from a trace to its timeline.

use crate::lang::{Answer, Design, Explore, Scenario, StrategyHint, parse};
use crate::world::ScenarioProgram;
use interleave::lab::Invariant;
use interleave::lockdep::LockReport;
use interleave::trace::{TraceError, TraceFile};
use interleave::{Bound, Cached, Config, Coverage, End, Failure, Limits, Outcome, Progress, Stats, Strategy, Timeline};
use model::platform::Plant;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Events after which an execution counts as endless, unless the scenario says otherwise.
pub const EVENTS_PER_EXECUTION: u32 = 20_000;
/// Executions that shrinking may spend.
pub const SHRINK_BUDGET: u64 = 20_000;

/// What the user asks for beyond what the scenario says.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// Overrides the scenario's search where set.
    pub explore: Explore,
    /// Whether `explore.strategy` is the user's word.
    pub strategy_given: bool,
    /// Bugs to switch on, beside the scenario's own.
    pub plants: Vec<Plant>,
}

/// What came of one scenario under one design.
pub struct CheckResult {
    /// The answer.
    pub verdict: CheckVerdict,
    /// Deadlocks that the order of locks predicts, whatever else was found.
    pub predicted: Vec<LockReport>,
    /// How much was explored to get it.
    pub stats: Stats,
    /// The bound on preemptions, if the search had one.
    pub preemptions: Option<u32>,
    /// What is known of what was covered.
    pub reached: Reached,
}

/// See [`CheckResult`].
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Reached {
    /// Whether the bound on preemptions was raised round by round.
    pub rounds: bool,
    /// What the bound on preemptions came to.
    pub bound: Option<Bound>,
    /// What was kept to know beginnings of interleavings again.
    pub cached: Option<Cached>,
    /// What a random search has seen.
    pub coverage: Option<Coverage>,
}

/// See [`CheckResult`].
pub enum CheckVerdict {
    /// No violation was found.
    Holds {
        /// Whether every interleaving was covered, within the bound on preemptions if there is one
        /// ([`CheckResult::preemptions`]).
        exhausted: bool,
    },
    /// An invariant falls.
    Violated(Box<Finding>),
    /// No execution violates anything, but a deadlock is predicted ([`CheckResult::predicted`]): I8.
    Predicted {
        /// Whether every interleaving was covered: then this scenario does not get there.
        exhausted: bool,
    },
    /// Ctrl-C before anything was found.
    Interrupted,
}

impl CheckVerdict {
    /// Whether this is what the scenario says the design answers. A search that was not exhausted does not refute "holds".
    pub fn is_expected(&self, expected: &Answer) -> bool {
        match (self, expected) {
            (CheckVerdict::Holds { .. }, Answer::Holds) => true,
            (CheckVerdict::Violated(finding), Answer::Violates(list)) => {
                list.contains(&finding.failure.violation.invariant)
            }
            (CheckVerdict::Predicted { .. }, Answer::Violates(list)) => list.contains(&Invariant::I8),
            _ => false,
        }
    }
}

/// A violation with everything needed to believe it and to see it again.
pub struct Finding {
    /// What fell, and the schedule that makes it fall; shrunk.
    pub failure: Failure,
    /// Context switches of the execution in which it was first found.
    pub switches_before_shrinking: u32,
    /// The execution, event by event.
    pub timeline: Timeline,
    /// What `svmlab replay` takes.
    pub trace: TraceFile,
}

/// The part of a trace file that says what was run. Everything that decides an execution is in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceHeader {
    /// Name of the scenario.
    pub scenario: String,
    /// Path it was read from, for messages.
    pub path: String,
    /// The whole scenario file.
    pub text: String,
    /// Name of the design.
    pub design: String,
    /// Names of the bugs switched on.
    pub plants: Vec<String>,
    /// Free timer expiries.
    pub timers: Option<u32>,
    /// Free retries.
    pub retries: Option<u32>,
    /// Limit on events.
    pub events: u32,
}

/// Searches `scenario` under `design` until something falls, everything is covered, or `stop` is set.
pub fn check_scenario(
    scenario: &Scenario,
    design: Design,
    options: &CheckOptions,
    stop: &Arc<AtomicBool>,
    progress: Option<Progress>,
) -> CheckResult {
    let program = ScenarioProgram::new(scenario, design);
    let plants: Vec<Plant> = scenario.plants.iter().chain(&options.plants).copied().collect();
    let asked = merged(&scenario.explore, options);
    let base = config(&asked, &plants);
    let mut search = base.clone();
    search.strategy = match asked.strategy {
        StrategyHint::Exhaustive => Strategy::Exhaustive { preemptions: asked.preemptions, reduction: true },
        // Under a bound that is what reduction is.
        StrategyHint::Cached if asked.preemptions.is_none() => Strategy::Cached,
        StrategyHint::Cached => Strategy::Exhaustive { preemptions: asked.preemptions, reduction: true },
        StrategyHint::FewestPreemptions => Strategy::FewestPreemptions { most: asked.preemptions },
        StrategyHint::Pos { seed } => Strategy::Pos { seed },
        StrategyHint::Random { seed } => Strategy::Random { seed },
        StrategyHint::Pct { seed, depth } => Strategy::Pct { seed, depth },
    };
    search.limits.executions = asked.executions;
    let Outcome { stats, end, failure, predicted, bound, cached, coverage, .. } =
        interleave::explore(&program, &search, Some(stop), progress);
    let rounds = asked.strategy == StrategyHint::FewestPreemptions;
    let reached = Reached { rounds, bound, cached, coverage };
    let verdict = match (failure, end) {
        (Some(found), _) => {
            let switches = found.context_switches;
            let failure = interleave::shrink(&program, &base, &found, SHRINK_BUDGET);
            let timeline = interleave::replay(&program, &base, &failure.schedule).expect("a shrunk schedule fits");
            let trace = TraceFile::new(header(scenario, design, &plants, &asked), &failure);
            CheckVerdict::Violated(Box::new(Finding { failure, switches_before_shrinking: switches, timeline, trace }))
        }
        (None, end) if !predicted.is_empty() => CheckVerdict::Predicted { exhausted: end == End::Exhausted },
        (None, End::Interrupted) => CheckVerdict::Interrupted,
        (None, end) => CheckVerdict::Holds { exhausted: end == End::Exhausted },
    };
    // A bound beyond which there is nothing bounds nothing.
    let preemptions = bound.filter(|bound| !bound.complete).map(|bound| bound.preemptions);
    CheckResult { verdict, predicted, stats, preemptions, reached }
}

/// Runs the execution that a trace file describes, and checks that it is the same, event by event.
///
/// # Errors
/// The trace names a design or plant that does not exist, its scenario does not parse, the schedule does not fit, or
/// the execution differs from the recorded one.
pub fn replay_trace(trace: &TraceFile) -> Result<(Scenario, Design, Timeline), TraceError> {
    let header: TraceHeader =
        serde_json::from_value(trace.header.clone()).map_err(|e| TraceError::new(2, format!("the header: {e}")))?;
    let design = Design::named(&header.design)
        .ok_or_else(|| TraceError::new(2, format!("no design is called {:?}", header.design)))?;
    let plants = header
        .plants
        .iter()
        .map(|name| {
            Plant::ALL
                .iter()
                .copied()
                .find(|p| p.name() == name)
                .ok_or_else(|| TraceError::new(2, format!("no planted bug is called {name:?}")))
        })
        .collect::<Result<Vec<Plant>, TraceError>>()?;
    let scenario = parse(&header.path, &header.text)
        .map_err(|_| TraceError::new(2, "the scenario inside does not parse with this version"))?;
    let asked =
        Explore { timers: header.timers, retries: header.retries, events: Some(header.events), ..Explore::default() };
    let program = ScenarioProgram::new(&scenario, design);
    let timeline = interleave::replay(&program, &config(&asked, &plants), &trace.schedule)
        .map_err(|e| TraceError::new(3, e.to_string()))?;
    if timeline.event_hash != trace.event_hash {
        let what = format!(
            "the execution differs from the recorded one: event hash {:016x}, recorded {:016x}",
            timeline.event_hash, trace.event_hash
        );
        return Err(TraceError::new(3, what));
    }
    Ok((scenario, design, timeline))
}

fn merged(scenario: &Explore, options: &CheckOptions) -> Explore {
    let user = &options.explore;
    Explore {
        strategy: if options.strategy_given { user.strategy } else { scenario.strategy },
        preemptions: user.preemptions.or(scenario.preemptions),
        executions: user.executions.or(scenario.executions),
        events: user.events.or(scenario.events),
        timers: user.timers.or(scenario.timers),
        retries: user.retries.or(scenario.retries),
    }
}

fn config(asked: &Explore, plants: &[Plant]) -> Config {
    let mut config = Config { planted: plants.to_vec(), ..Config::default() };
    config.limits = Limits { executions: None, events_per_execution: asked.events.unwrap_or(EVENTS_PER_EXECUTION) };
    config.free_timers = asked.timers.unwrap_or(config.free_timers);
    config.free_retries = asked.retries.unwrap_or(config.free_retries);
    config
}

fn header(scenario: &Scenario, design: Design, plants: &[Plant], asked: &Explore) -> serde_json::Value {
    serde_json::to_value(TraceHeader {
        scenario: scenario.name.clone(),
        path: scenario.source.path.clone(),
        text: scenario.source.text.to_string(),
        design: design.name().into(),
        plants: plants.iter().map(|p| p.name().into()).collect(),
        timers: asked.timers,
        retries: asked.retries,
        events: asked.events.unwrap_or(EVENTS_PER_EXECUTION),
    })
    .expect("plain data serialises")
}
