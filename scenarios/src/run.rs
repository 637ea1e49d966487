//! Puts one scenario to one design: explore, shrink, record; and the way back, from a trace to its timeline.

use crate::lang::{Answer, Design, Explore, Scenario, StrategyHint, parse};
use crate::minimise::{MINIMISE_BUDGET, Minimal, Task, minimise};
use crate::token::Token;
use crate::world::ScenarioProgram;
use interleave::lab::Invariant;
use interleave::lockdep::LockReport;
use interleave::search::{Crew, explore_split};
use interleave::trace::{TraceError, TraceFile};
use interleave::{
    Bound, Cached, Config, Coverage, DoesNotFit, End, Failure, Limits, Outcome, Program, Progress, Schedule, Shrunk,
    Stats, Strategy, Timeline,
};
use model::platform::Plant;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::rc::Rc;
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
    /// Whether a scenario that falls is to be made smaller.
    pub minimise: bool,
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
    /// Whether no execution with fewer context switches violates the invariant; otherwise nobody knows.
    pub is_fewest: bool,
    /// What `svmlab replay` takes.
    pub trace: TraceFile,
    /// The same in a word, for those who have the scenario.
    pub token: Token,
    /// What is left of the scenario when everything is left out that the violation does not need; if that was asked for.
    pub minimal: Option<Minimised>,
}

/// A scenario made small, with what is needed to see it fall again.
pub struct Minimised {
    /// The scenario and its failure.
    pub minimal: Minimal,
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
    /// Failures that each actor may meet.
    #[serde(default)]
    pub failures: Option<u32>,
    /// Limit on events.
    pub events: u32,
}

/// A scenario put to a design, with everything that decides the search.
pub struct Question<'a> {
    scenario: &'a Scenario,
    design: Design,
    /// The scenario's own first.
    plants: Vec<Plant>,
    asked: Explore,
    minimise: bool,
    /// Executions that shrinking may spend.
    shrink: u64,
}

/// Version and build of svmlab, as `svmlab --version` says it. The build is a hash over the sources of everything that
/// decides a search (see `build.rs`), so that a change that nobody numbered counts as one.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("SVMLAB_BUILD"), ")");

/// The part of a checkpoint or a shard's report that says what is searched. Two searches with the same one are the same
/// search, event by event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SearchHeader {
    /// [`VERSION`]: another one may explore in another order.
    pub svmlab: String,
    /// Name of the scenario.
    pub scenario: String,
    /// The whole scenario file.
    pub text: String,
    /// Name of the design.
    pub design: String,
    /// Names of the bugs switched on.
    pub plants: Vec<String>,
    /// Bound on preemptions.
    pub preemptions: Option<u32>,
    /// Limit on executions.
    pub executions: Option<u64>,
    /// Free timer expiries.
    pub timers: Option<u32>,
    /// Free retries.
    pub retries: Option<u32>,
    /// Failures that each actor may meet.
    pub failures: Option<u32>,
    /// Limit on events.
    pub events: u32,
}

impl<'a> Question<'a> {
    /// `scenario` put to `design`.
    pub fn new(scenario: &'a Scenario, design: Design, options: &CheckOptions) -> Self {
        let plants = scenario.plants.iter().chain(&options.plants).copied().collect();
        Question {
            scenario,
            design,
            plants,
            asked: merged(&scenario.explore, options),
            minimise: options.minimise,
            shrink: SHRINK_BUDGET,
        }
    }

    /// The question of a report, put to the scenario in it.
    ///
    /// # Errors
    /// It names a design or a plant that does not exist.
    pub fn again(scenario: &'a Scenario, header: &SearchHeader) -> Result<Self, String> {
        let design = Design::named(&header.design).ok_or_else(|| format!("no design is called {:?}", header.design))?;
        let asked = Explore {
            preemptions: header.preemptions,
            executions: header.executions,
            timers: header.timers,
            retries: header.retries,
            failures: header.failures,
            events: Some(header.events),
            ..Explore::default()
        };
        Ok(Question {
            scenario,
            design,
            plants: plants_named(&header.plants)?,
            asked,
            minimise: false,
            shrink: SHRINK_BUDGET,
        })
    }

    /// The same with so many executions for shrinking.
    pub fn shrink_within(self, shrink: u64) -> Self {
        Question { shrink, ..self }
    }

    /// How to search.
    pub fn search(&self) -> Config {
        let mut search = limits(&self.asked, &self.plants);
        search.strategy = strategy(&self.asked);
        search.limits.executions = self.asked.executions;
        search
    }

    /// What is searched.
    pub fn program(&self) -> ScenarioProgram {
        ScenarioProgram::new(self.scenario, self.design)
    }

    /// Whom it is put to.
    pub fn design(&self) -> Design {
        self.design
    }

    /// Bugs that are switched on, the scenario's own first.
    pub fn plants(&self) -> &[Plant] {
        &self.plants
    }

    /// What names the search.
    pub fn header(&self) -> SearchHeader {
        SearchHeader {
            svmlab: VERSION.to_owned(),
            scenario: self.scenario.name.clone(),
            text: self.scenario.source.text.to_string(),
            design: self.design.name().to_owned(),
            plants: self.plants.iter().map(|p| p.name().to_owned()).collect(),
            preemptions: self.asked.preemptions,
            executions: self.asked.executions,
            timers: self.asked.timers,
            retries: self.asked.retries,
            failures: self.asked.failures,
            events: self.asked.events.unwrap_or(EVENTS_PER_EXECUTION),
        }
    }

    /// What a search of this came to, its failure made simple. `tell` hears of the executions that takes.
    pub fn answer(&self, outcome: Outcome, stop: Option<&AtomicBool>, tell: &mut dyn FnMut(&Stats)) -> CheckResult {
        let Outcome { stats, end, failure, predicted, bound, cached, coverage, .. } = outcome;
        let rounds = self.asked.strategy == StrategyHint::FewestPreemptions;
        let reached = Reached { rounds, bound, cached, coverage };
        let verdict = match (failure, end) {
            (Some(found), _) => CheckVerdict::Violated(Box::new(self.finding(&found, &stats, stop, tell))),
            (None, end) if !predicted.is_empty() => CheckVerdict::Predicted { exhausted: end == End::Exhausted },
            (None, End::Interrupted) => CheckVerdict::Interrupted,
            (None, end) => CheckVerdict::Holds { exhausted: end == End::Exhausted },
        };
        // A bound beyond which there is nothing bounds nothing.
        let preemptions = bound.filter(|bound| !bound.complete).map(|bound| bound.preemptions);
        CheckResult { verdict, predicted, stats, preemptions, reached }
    }

    /// For each dependency of a predicted deadlock, the execution in which it was seen, up to the moment before the inner
    /// lock is taken: what `svmlab replay` takes.
    pub fn witnesses(&self, report: &LockReport) -> Vec<TraceFile> {
        let Question { scenario, design, plants, asked, .. } = self;
        let (program, base) = (self.program(), limits(asked, plants));
        let header = json(&header(scenario, *design, plants, asked));
        let trace = |schedule: &Schedule| {
            let timeline =
                interleave::replay_until(&program, &base, schedule).expect("what was seen can be seen again");
            TraceFile {
                header: header.clone(),
                violation: report.violation(),
                events: schedule.choices.len() as u32,
                event_hash: timeline.event_hash,
                schedule: schedule.clone(),
            }
        };
        report.dependencies.iter().map(|dependency| trace(&dependency.schedule)).collect()
    }

    fn finding(
        &self,
        found: &Failure,
        stats: &Stats,
        stop: Option<&AtomicBool>,
        tell: &mut dyn FnMut(&Stats),
    ) -> Finding {
        let Question { scenario, design, plants, asked, .. } = self;
        let (program, base) = (self.program(), limits(asked, plants));
        let Shrunk { failure, is_fewest, .. } = interleave::shrink_until(&program, &base, found, self.shrink, stop);
        let timeline = interleave::replay(&program, &base, &failure.schedule).expect("a shrunk schedule fits");
        let header = header(scenario, *design, plants, asked);
        let trace = TraceFile::new(json(&header), &failure);
        let own = &plants[scenario.plants.len()..];
        let task = Task { scenario, design: *design, plants: own, explore: asked, failure: &failure };
        let minimal = self.minimise.then(|| {
            minimised(&task, stop, &mut |executions| {
                tell(&Stats { executions: stats.executions + executions, ..*stats });
            })
        });
        let token = Token::new(scenario, &header, &trace);
        let switches_before_shrinking = found.context_switches;
        Finding { failure, switches_before_shrinking, timeline, is_fewest, trace, token, minimal }
    }
}

/// Searches `scenario` under `design` until something falls, everything is covered, or `stop` is set.
pub fn check_scenario(
    scenario: &Scenario,
    design: Design,
    options: &CheckOptions,
    stop: &Arc<AtomicBool>,
    progress: Option<Progress>,
) -> CheckResult {
    let question = Question::new(scenario, design, options);
    // the search and the minimisation after it tell the same listener
    let listener = progress.map(|listener| Rc::new(RefCell::new(listener)));
    let shared = listener.clone().map(|l| Box::new(move |stats: &Stats| (l.borrow_mut())(stats)) as Progress);
    let outcome = interleave::explore(&question.program(), &question.search(), Some(stop), shared);
    question.answer(outcome, Some(stop), &mut |stats| {
        if let Some(listener) = &listener {
            (listener.borrow_mut())(stats);
        }
    })
}

/// The same by a crew: over threads, saved now and then, from where it was saved.
pub fn check_by_crew(question: &Question<'_>, crew: Crew<'_>) -> CheckResult {
    let program = || Box::new(question.program()) as Box<dyn Program>;
    let stop = crew.stop;
    question.answer(explore_split(&program, &question.search(), crew), stop, &mut |_| ())
}

/// Makes the scenario of a finding smaller; `tell` hears how many executions that took so far.
fn minimised(task: &Task<'_>, stop: Option<&AtomicBool>, tell: &mut dyn FnMut(u64)) -> Minimised {
    let minimal = minimise(task, MINIMISE_BUDGET, stop, tell);
    let small = &minimal.scenario;
    let header = header(small, task.design, &small.plants, &small.explore);
    Minimised { trace: TraceFile::new(json(&header), &minimal.failure), minimal }
}

fn plants_named(names: &[String]) -> Result<Vec<Plant>, String> {
    let named = |name: &String| {
        let found = Plant::named(name);
        found.ok_or_else(|| format!("no planted bug is called {name:?}"))
    };
    names.iter().map(named).collect()
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
    let plants = plants_named(&header.plants).map_err(|what| TraceError::new(2, what))?;
    let scenario = parse(&header.path, &header.text)
        .map_err(|_| TraceError::new(2, "the scenario inside does not parse with this version"))?;
    let asked = Explore {
        timers: header.timers,
        retries: header.retries,
        failures: header.failures,
        events: Some(header.events),
        ..Explore::default()
    };
    let program = ScenarioProgram::new(&scenario, design);
    let (limits, schedule) = (limits(&asked, &plants), &trace.schedule);
    let timeline = match interleave::replay(&program, &limits, schedule) {
        // It stops in the middle, as one that shows where a predicted deadlock comes from does.
        Err(DoesNotFit { event }) if event == schedule.choices.len() => {
            interleave::replay_until(&program, &limits, schedule)
        }
        whole => whole,
    };
    let timeline = timeline.map_err(|e| TraceError::new(3, e.to_string()))?;
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
        failures: user.failures.or(scenario.failures),
    }
}

/// The search that is asked for.
pub(crate) fn strategy(asked: &Explore) -> Strategy {
    match asked.strategy {
        StrategyHint::Exhaustive => Strategy::Exhaustive { preemptions: asked.preemptions, reduction: true },
        // Under a bound that is what reduction is.
        StrategyHint::Cached if asked.preemptions.is_none() => Strategy::Cached,
        StrategyHint::Cached => Strategy::Exhaustive { preemptions: asked.preemptions, reduction: true },
        StrategyHint::FewestPreemptions => Strategy::FewestPreemptions { most: asked.preemptions },
        StrategyHint::Pos { seed } => Strategy::Pos { seed },
        StrategyHint::Random { seed } => Strategy::Random { seed },
        StrategyHint::Pct { seed, depth } => Strategy::Pct { seed, depth },
    }
}

/// What decides an execution besides scenario, design and schedule.
pub(crate) fn limits(asked: &Explore, plants: &[Plant]) -> Config {
    let mut config = Config { planted: plants.to_vec(), ..Config::default() };
    config.limits = Limits { executions: None, events_per_execution: asked.events.unwrap_or(EVENTS_PER_EXECUTION) };
    config.free_timers = asked.timers.unwrap_or(config.free_timers);
    config.free_retries = asked.retries.unwrap_or(config.free_retries);
    config.failures = asked.failures.unwrap_or(config.failures);
    config
}

fn header(scenario: &Scenario, design: Design, plants: &[Plant], asked: &Explore) -> TraceHeader {
    TraceHeader {
        scenario: scenario.name.clone(),
        path: scenario.source.path.clone(),
        text: scenario.source.text.to_string(),
        design: design.name().into(),
        plants: plants.iter().map(|p| p.name().into()).collect(),
        timers: asked.timers,
        retries: asked.retries,
        failures: asked.failures,
        events: asked.events.unwrap_or(EVENTS_PER_EXECUTION),
    }
}

fn json(header: &TraceHeader) -> serde_json::Value {
    serde_json::to_value(header).expect("plain data serialises")
}
