//! Puts one scenario to one design: explore, shrink, record; and the way back, from a trace to its timeline.

use crate::lang::{Answer, Design, Explore, Scenario, StrategyHint, parse};
use crate::world::ScenarioProgram;
use interleave::search::{Crew, explore_split};
use interleave::trace::{TraceError, TraceFile};
use interleave::{Config, End, Failure, Limits, Outcome, Program, Progress, Stats, Strategy, Timeline};
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
    /// How much was explored to get it.
    pub stats: Stats,
    /// The bound on preemptions, if the search had one.
    pub preemptions: Option<u32>,
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

/// A scenario put to a design, with everything that decides the search.
pub struct Question<'a> {
    scenario: &'a Scenario,
    design: Design,
    plants: Vec<Plant>,
    asked: Explore,
}

/// The part of a checkpoint or a shard's report that says what is searched. Two searches with the same one are the same
/// search, event by event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SearchHeader {
    /// Version of svmlab: another one may explore in another order.
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
    /// Limit on events.
    pub events: u32,
}

impl<'a> Question<'a> {
    /// `scenario` put to `design`.
    pub fn new(scenario: &'a Scenario, design: Design, options: &CheckOptions) -> Self {
        let plants = scenario.plants.iter().chain(&options.plants).copied().collect();
        Question { scenario, design, plants, asked: merged(&scenario.explore, options) }
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
            events: Some(header.events),
            ..Explore::default()
        };
        Ok(Question { scenario, design, plants: plants_named(&header.plants)?, asked })
    }

    /// How to search.
    pub fn search(&self) -> Config {
        let mut search = config(&self.asked, &self.plants);
        search.strategy = match self.asked.strategy {
            StrategyHint::Exhaustive => Strategy::Exhaustive { preemptions: self.asked.preemptions, reduction: true },
            StrategyHint::Random { seed } => Strategy::Random { seed },
            StrategyHint::Pct { seed, depth } => Strategy::Pct { seed, depth },
        };
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
            svmlab: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: self.scenario.name.clone(),
            text: self.scenario.source.text.to_string(),
            design: self.design.name().to_owned(),
            plants: self.plants.iter().map(|p| p.name().to_owned()).collect(),
            preemptions: self.asked.preemptions,
            executions: self.asked.executions,
            timers: self.asked.timers,
            retries: self.asked.retries,
            events: self.asked.events.unwrap_or(EVENTS_PER_EXECUTION),
        }
    }

    /// What a search of this came to, its failure made simple.
    pub fn answer(&self, outcome: Outcome) -> CheckResult {
        let Outcome { stats, end, failure, .. } = outcome;
        let verdict = match (failure, end) {
            (Some(found), _) => {
                let (program, base) = (self.program(), config(&self.asked, &self.plants));
                let switches = found.context_switches;
                let failure = interleave::shrink(&program, &base, &found, SHRINK_BUDGET);
                let timeline = interleave::replay(&program, &base, &failure.schedule).expect("a shrunk schedule fits");
                let trace = TraceFile::new(header(self.scenario, self.design, &self.plants, &self.asked), &failure);
                let finding = Finding { failure, switches_before_shrinking: switches, timeline, trace };
                CheckVerdict::Violated(Box::new(finding))
            }
            (None, End::Interrupted) => CheckVerdict::Interrupted,
            (None, end) => CheckVerdict::Holds { exhausted: end == End::Exhausted },
        };
        CheckResult { verdict, stats, preemptions: self.asked.preemptions }
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
    question.answer(interleave::explore(&question.program(), &question.search(), Some(stop), progress))
}

/// The same by a crew: over threads, saved now and then, from where it was saved.
pub fn check_by_crew(question: &Question<'_>, crew: Crew<'_>) -> CheckResult {
    let program = || Box::new(question.program()) as Box<dyn Program>;
    question.answer(explore_split(&program, &question.search(), crew))
}

fn plants_named(names: &[String]) -> Result<Vec<Plant>, String> {
    let named = |name: &String| {
        let found = Plant::ALL.iter().copied().find(|p| p.name() == name);
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
