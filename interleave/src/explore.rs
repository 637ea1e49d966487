//! Programs, and the search over their executions.

use crate::coverage::{Counter, Coverage};
use crate::engine::clock::Actors;
use crate::engine::coroutine::{Actor, Resumed};
use crate::engine::exec::{Exec, Fallen, Mode, Next, Planted, with};
use crate::engine::frame::Frame;
use crate::engine::op::{Kind, Op};
use crate::engine::part::Part;
use crate::engine::record::{Recorder, Timeline};
use crate::engine::strategy::{Bound, Bounded, Cache, Cached, Chooser};
use crate::lab::{Invariant, Violation};
use crate::lockdep::LockReport;
use crate::panics::{self, Quiet};
use crate::sim::set_work_runner;
use model::platform::{ClientId, Plant, WorkFunc};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Something to explore: setup, actors, final check. Must be deterministic but for what the scheduler chooses.
pub trait Program {
    /// Builds the world and says who runs. Called once for each execution, in sequential context: every operation goes
    /// through at once; one that would have to wait panics.
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution>;
}

/// One execution, started.
pub trait Execution {
    /// The final check, in sequential context: all actors have ended and nothing is left to run. Says what is wrong
    /// with [`Lab::fail`](crate::lab::Lab::fail).
    fn at_rest(&self);
}

/// Who runs in an execution.
pub struct Launch {
    actors: Crew,
}

/// The coroutines of an execution, by actor.
type Crew = Vec<Option<Actor>>;

thread_local! {
    /// An empty crew whose memory is used again.
    static CREW: Cell<Crew> = const { Cell::new(Vec::new()) };
}

impl Launch {
    /// A thread of the program.
    pub fn actor(&mut self, name: &str, body: impl FnOnce() + 'static) {
        with(|exec| exec.add_actor(name, false));
        self.actors.push(Some(Actor::new(body)));
    }
    /// What a work item runs.
    pub fn on_work(&mut self, run: impl Fn(ClientId, WorkFunc) + 'static) {
        set_work_runner(Some(std::rc::Rc::new(run)));
    }
}

/// How to search.
#[derive(Clone, Debug)]
pub struct Config {
    /// In which order, and how much.
    pub strategy: Strategy,
    /// When to give up.
    pub limits: Limits,
    /// Bugs switched on.
    pub planted: Vec<Plant>,
    /// How many expiries of each timer may happen at any moment; later ones only when nothing else can run.
    pub free_timers: u32,
    /// How many rounds of its retry loops each actor may do at any moment; later ones only when nothing else can run.
    pub free_retries: u32,
    /// How many failures each actor may meet: allocations that fail, waits that time out or wake for no reason.
    pub failures: u32,
    /// Whether to count distinct executions by their happens-before order ([`Stats::distinct`]).
    pub count_distinct: bool,
    /// Whether a random search says how much it has seen ([`Outcome::coverage`]); a search that is not random knows.
    pub coverage: bool,
    /// Most prefixes or schedules that a search keeps to know them again, some 20 bytes each ([`Outcome::cached`],
    /// [`Outcome::coverage`]).
    pub most_states: usize,
    /// Whether to go on after a violation, and count them ([`Stats::violations`]).
    pub keep_going: bool,
    /// Whether to look out for deadlocks that no execution has ([`Outcome::predicted`]).
    pub lockdep: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            strategy: Strategy::Exhaustive { preemptions: None, reduction: true },
            limits: Limits::default(),
            planted: Vec::new(),
            free_timers: 2,
            free_retries: 3,
            failures: 0,
            count_distinct: false,
            coverage: true,
            // As many as a table of 2^23 holds: at most 150 MB.
            most_states: 7 << 20,
            keep_going: false,
            lockdep: true,
        }
    }
}

/// See [`Config`].
#[derive(Clone, Debug)]
pub enum Strategy {
    /// Every interleaving, or with `preemptions` every one that has at most so many of them. A preemption is that another
    /// actor goes on although the one that runs could.
    Exhaustive {
        /// The bound.
        preemptions: Option<u32>,
        /// Whether interleavings that differ only in the order of independent operations are left out: by partial-order
        /// reduction; under a bound, where that would not be sound, by [`Strategy::Cached`]'s way.
        reduction: bool,
    },
    /// Every interleaving; where the search comes to a prefix equivalent to one that it has gone on from, it does not go
    /// on ([`Outcome::cached`]). Needs memory, and is seldom better than the reduction.
    Cached,
    /// Every interleaving with no preemption, then those with at most one, and so on: the first failure found is one with
    /// the fewest preemptions. Ends when no interleaving has more ([`Outcome::bound`]).
    FewestPreemptions {
        /// The last bound; None for no last one.
        most: Option<u32>,
    },
    /// A uniform choice at each step.
    Random {
        /// Where the generator starts.
        seed: u64,
    },
    /// Probabilistic concurrency testing.
    Pct {
        /// Where the generator starts.
        seed: u64,
        /// Depth of the bug looked for.
        depth: u32,
    },
    /// Partial order sampling.
    Pos {
        /// Where the generator starts.
        seed: u64,
    },
}

/// See [`Config`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Executions; None for no limit (random strategies then never end unless stopped).
    pub executions: Option<u64>,
    /// Events after which an execution counts as endless (I6); at most 30 000.
    pub events_per_execution: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { executions: None, events_per_execution: 20_000 }
    }
}

/// How much was explored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Executions, those cut short included.
    pub executions: u64,
    /// Executions cut short because a sibling covers them.
    pub cut: u64,
    /// Visible operations, replayed ones included.
    pub events: u64,
    /// Races looked at by the reduction.
    pub races: u64,
    /// Events of the longest execution.
    pub longest: u32,
    /// Distinct executions by happens-before order, when counted.
    pub distinct: u64,
    /// Executions that violated something, when the search goes on after the first.
    pub violations: u64,
}

/// Why a search ended.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum End {
    /// Everything was covered, within the bound on preemptions if there was one.
    #[default]
    Exhausted,
    /// An invariant fell.
    Violated,
    /// A limit was reached.
    LimitReached,
    /// The stop flag was set.
    Interrupted,
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How much was explored.
    pub stats: Stats,
    /// Why it ended.
    pub end: End,
    /// The first violation.
    pub failure: Option<Failure>,
    /// Deadlocks predicted from the order in which all executions together took their locks, in the order in which they
    /// were seen. They do not end a search: no execution has them, and one that does may yet come, or provably not.
    pub predicted: Vec<LockReport>,
    /// What the bound on preemptions came to, if there was one.
    pub bound: Option<Bound>,
    /// What was kept to know prefixes again, if anything.
    pub cached: Option<Cached>,
    /// How much of what there is a random search has seen.
    pub coverage: Option<Coverage>,
    /// The happens-before classes seen, sorted, when counted; with whether each was a violation.
    pub classes: Vec<(u64, bool)>,
    /// For each of them, the fewest preemptions with which it was seen.
    pub preemptions: Vec<u16>,
    /// Bugs whose place some execution came by, planted or not. A search in parts does not tell.
    pub asked: Vec<Plant>,
}

/// A violation and the schedule that leads to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What fell.
    pub violation: Violation,
    /// Who goes, event by event.
    pub schedule: Schedule,
    /// Events until it fell.
    pub events: u32,
    /// How often another actor went on.
    pub context_switches: u32,
    /// Hash over the events.
    pub event_hash: u64,
}

/// The actor of each event of an execution.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// Actor numbers.
    pub choices: Vec<u8>,
    /// What the program's own choices ([`Lab::choose`](crate::lab::Lab::choose)) came to, in their order.
    #[serde(default)]
    pub values: Vec<u8>,
}

impl Schedule {
    /// That of the execution whose events are `path`.
    pub(crate) fn of(path: &[Frame]) -> Self {
        Schedule {
            choices: path.iter().map(|frame| frame.actor).collect(),
            values: path.iter().filter(|frame| frame.op.kind == Kind::Choose).map(|frame| frame.value).collect(),
        }
    }
    /// How often another actor goes on.
    pub fn context_switches(&self) -> u32 {
        self.choices.windows(2).filter(|pair| pair[0] != pair[1]).count() as u32
    }
}

/// A schedule asks for something the program cannot do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoesNotFit {
    /// The event at which it does not.
    pub event: usize,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the schedule does not fit the program: at event {} the actor it names cannot run", self.event)
    }
}
impl std::error::Error for DoesNotFit {}

/// How one execution ended.
pub(crate) enum Ended {
    /// At rest, and the final check passed.
    Well,
    /// Cut short.
    Cut,
    /// With a violation.
    Badly(Violation),
}

/// Most events of an execution: a clock counts two for each event of an actor at most, its own and a release.
const MOST_EVENTS: u32 = 30_000;

pub(crate) fn prepare(config: &Config, chooser: Chooser) {
    with(|exec| {
        exec.frames.clear();
        exec.replayed = 0;
        exec.races = 0;
        exec.part = Part::default();
        exec.plan.clear();
        exec.chooser = chooser;
        exec.bounded = Bounded::default();
        exec.recorder = None;
        exec.planted = Planted::default();
        exec.asked = Planted::default();
        for plant in &config.planted {
            exec.planted[plant.number() / 64] |= 1 << (plant.number() % 64);
        }
        exec.free_timers = config.free_timers;
        exec.free_retries = config.free_retries;
        exec.failures = config.failures;
        exec.max_events = config.limits.events_per_execution.min(MOST_EVENTS);
        exec.count_classes = config.count_distinct;
        exec.lockdep.begin_search(false);
    });
}

/// What makes the choices of a search.
pub(crate) fn chooser(strategy: &Strategy) -> Chooser {
    match *strategy {
        Strategy::Exhaustive { preemptions, reduction } => {
            Chooser::Exhaustive { reduce: reduction && preemptions.is_none(), bound: preemptions.map(as_bound) }
        }
        Strategy::Cached => Chooser::Exhaustive { reduce: false, bound: None },
        Strategy::FewestPreemptions { .. } => Chooser::Exhaustive { reduce: false, bound: Some(0) },
        Strategy::Random { seed } => Chooser::random(seed),
        Strategy::Pct { seed, depth } => Chooser::pct(seed, depth),
        Strategy::Pos { seed } => Chooser::pos(seed),
    }
}

/// Is told now and then how far a search is.
pub type Progress = Box<dyn FnMut(&Stats)>;

/// Searches `program`. `stop` is looked at after each execution; `progress` is told now and then.
pub fn explore(
    program: &dyn Program,
    config: &Config,
    stop: Option<&AtomicBool>,
    mut progress: Option<Progress>,
) -> Outcome {
    let chooser = chooser(&config.strategy);
    let exhaustive = matches!(chooser, Chooser::Exhaustive { .. });
    let mut counter = counter(config);
    prepare(config, chooser);
    with(|exec| {
        exec.bounded = bounded(config);
        exec.count_classes |= counter.is_some() || exec.bounded.cache.is_some();
    });
    // Only a search learns: one execution, run again, has but a part of what was learned.
    with(|exec| exec.lockdep.begin_search(config.lockdep));
    let mut stats = Stats::default();
    let mut classes: HashMap<(u64, bool), u16> = HashMap::new();
    let mut failure = None;
    let end = loop {
        with(|exec| {
            let longest = stats.longest;
            exec.chooser.begin(longest);
            if !exhaustive {
                exec.replayed = 0;
            }
        });
        let ended = run_once(program);
        let (depth, races, (class, preemptions)) = with(|exec| {
            let last = exec.depth.checked_sub(1).map(|last| &exec.frames[last]);
            (exec.depth as u32, exec.races, last.map_or((0, 0), |last| (last.class, last.preemptions)))
        });
        let mut note = |violated| {
            let fewest = classes.entry((class, violated)).or_insert(preemptions);
            *fewest = preemptions.min(*fewest);
        };
        if let Some(counter) = &mut counter {
            with(|exec| counter.count(exec));
        }
        stats.executions += 1;
        stats.events += u64::from(depth);
        stats.races = races;
        stats.longest = stats.longest.max(depth);
        match ended {
            Ended::Cut => stats.cut += 1,
            Ended::Well => {
                if config.count_distinct {
                    note(false);
                }
            }
            Ended::Badly(violation) => {
                stats.violations += 1;
                if config.count_distinct {
                    note(true);
                }
                if failure.is_none() {
                    failure = Some(with(|exec| failure_of(exec, violation)));
                }
                if !config.keep_going {
                    break End::Violated;
                }
            }
        }
        stats.distinct = counter.as_ref().map_or(classes.len() as u64, Counter::distinct);
        if stats.executions.is_multiple_of(256)
            && let Some(progress) = &mut progress
        {
            progress(&stats);
        }
        if exhaustive && !with(Exec::next_path) {
            break End::Exhausted;
        }
        if stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            break End::Interrupted;
        }
        if config.limits.executions.is_some_and(|most| stats.executions >= most) {
            break End::LimitReached;
        }
    };
    stats.distinct = match &counter {
        Some(counter) if !config.count_distinct => counter.distinct(),
        _ => classes.len() as u64,
    };
    let mut classes: Vec<((u64, bool), u16)> = classes.into_iter().collect();
    classes.sort_unstable();
    let (classes, preemptions) = classes.into_iter().unzip();
    tracing::debug!(executions = stats.executions, events = stats.events, ?end, "search ended");
    let predicted = with(|exec| exec.lockdep.take_lessons()).predict();
    let (bound, cached) = with(|exec| {
        let bounded = std::mem::take(&mut exec.bounded);
        (exec.bound(&bounded, end == End::Exhausted), bounded.cache.map(|cache| cache.kept()))
    });
    let coverage = counter.map(|counter| counter.coverage());
    let asked = with(|exec| exec.asked);
    let asked = |plant: &&Plant| asked[plant.number() / 64] & (1 << (plant.number() % 64)) != 0;
    let asked = Plant::ALL.iter().filter(asked).copied().collect();
    Outcome { stats, end, failure, predicted, bound, cached, coverage, classes, preemptions, asked }
}

fn as_bound(preemptions: u32) -> u16 {
    preemptions.min(u32::from(u16::MAX)) as u16
}

/// What a search with a bound or a cache begins with.
fn bounded(config: &Config) -> Bounded {
    let (rounds, caches) = match config.strategy {
        Strategy::FewestPreemptions { most } => (Some(most.map_or(u16::MAX, as_bound)), true),
        Strategy::Exhaustive { preemptions, reduction } => (None, preemptions.is_some() && reduction),
        Strategy::Cached => (None, true),
        _ => (None, false),
    };
    Bounded::new(rounds, caches.then(|| Box::new(Cache::new(config.most_states))))
}

/// What counts the executions of a random search.
fn counter(config: &Config) -> Option<Counter> {
    let depth = match config.strategy {
        Strategy::Random { .. } | Strategy::Pos { .. } => None,
        Strategy::Pct { depth, .. } => Some(depth),
        _ => return None,
    };
    config.coverage.then(|| Counter::new(config.most_states, depth))
}

/// Runs `schedule` with everything written down.
///
/// # Errors
/// The schedule asks for an actor that cannot run.
pub fn replay(program: &dyn Program, config: &Config, schedule: &Schedule) -> Result<Timeline, DoesNotFit> {
    run_exactly(program, config, schedule, false)
}

/// Runs `schedule`, the beginning of an execution, and stops where it ends: what a
/// [`Dependency`](crate::lockdep::Dependency) was seen in.
///
/// # Errors
/// The schedule asks for an actor that cannot run.
pub fn replay_until(program: &dyn Program, config: &Config, schedule: &Schedule) -> Result<Timeline, DoesNotFit> {
    run_exactly(program, config, schedule, true)
}

fn run_exactly(
    program: &dyn Program,
    config: &Config,
    schedule: &Schedule,
    may_stop: bool,
) -> Result<Timeline, DoesNotFit> {
    let (wanted, values) = (schedule.choices.clone(), schedule.values.clone());
    let (ended, timeline) = write_down(program, config, Chooser::Exactly { wanted, values, chosen: 0 });
    let (depth, chosen) = with(|exec| {
        let chose = exec.frames[..exec.depth].iter().filter(|frame| frame.op.kind == Kind::Choose).count();
        (exec.depth, chose)
    });
    match ended {
        Ended::Well | Ended::Badly(_) if chosen != schedule.values.len() => Err(DoesNotFit { event: depth }),
        Ended::Cut if may_stop && depth == schedule.choices.len() => Ok(timeline),
        Ended::Cut => Err(DoesNotFit { event: depth }),
        _ if depth < schedule.choices.len() => Err(DoesNotFit { event: depth }),
        Ended::Badly(violation) => Ok(Timeline { violation: Some(violation), ..timeline }),
        Ended::Well => Ok(timeline),
    }
}

/// One execution with everything written down, and none of it a search: an actor goes on as long as it can, then the first
/// that can. With [`Sim::rest`](crate::Sim::rest) a program says where all others are to come to their end.
pub fn run_in_turn(program: &dyn Program, config: &Config) -> Timeline {
    match write_down(program, config, Chooser::First) {
        (Ended::Badly(violation), timeline) => Timeline { violation: Some(violation), ..timeline },
        (Ended::Well | Ended::Cut, timeline) => timeline,
    }
}

/// One execution, and its timeline but for how it ended.
fn write_down(program: &dyn Program, config: &Config, chooser: Chooser) -> (Ended, Timeline) {
    prepare(config, chooser);
    with(|exec| exec.recorder = Some(Recorder::default()));
    let ended = run_once(program);
    let timeline = with(|exec| {
        let recorder = exec.recorder.take().unwrap_or_default();
        Timeline {
            actors: exec.names().to_vec(),
            steps: recorder.steps,
            marks: recorder.marks,
            violation: None,
            event_hash: exec.event_hash(),
        }
    });
    (ended, timeline)
}

/// Runs `wanted` as far as it fits, then without preemption. The failure, if it fails.
pub(crate) fn run_roughly(program: &dyn Program, config: &Config, wanted: Schedule) -> Option<Failure> {
    let Schedule { choices: wanted, values } = wanted;
    prepare(config, Chooser::Roughly { wanted, at: 0, values, chosen: 0 });
    match run_once(program) {
        Ended::Badly(violation) => Some(with(|exec| failure_of(exec, violation))),
        Ended::Well | Ended::Cut => None,
    }
}

pub(crate) fn failure_of(exec: &Exec, violation: Violation) -> Failure {
    let schedule = Schedule::of(&exec.frames[..exec.depth]);
    Failure {
        violation,
        events: exec.depth as u32,
        context_switches: schedule.context_switches(),
        event_hash: exec.event_hash(),
        schedule,
    }
}

/// One execution from setup to final check.
pub(crate) fn run_once(program: &dyn Program) -> Ended {
    let _quiet = Quiet::new();
    with(Exec::reset);
    let mut launch = Launch { actors: CREW.take() };
    let started = catch_unwind(AssertUnwindSafe(|| program.start(&mut launch)));
    let execution = match started {
        Ok(execution) => execution,
        Err(payload) => {
            drop(launch);
            finish();
            return Ended::Badly(violation_of(payload.as_ref()));
        }
    };
    let mut actors = launch.actors;
    with(|exec| {
        exec.add_workers();
        exec.mode = Mode::Running;
    });
    let mut next = with(Exec::pick);
    while let Next::Run(actor) = next {
        if actors.len() <= actor as usize {
            actors.resize_with(actor as usize + 1, || None);
        }
        // A worker gets its coroutine for one run of its item at a time: what is idle has nothing to unwind.
        let coroutine = actors[actor as usize].get_or_insert_with(|| Actor::new(work));
        next = match coroutine.resume() {
            Resumed::Suspended => with(|exec| exec.next),
            Resumed::Finished => {
                actors[actor as usize] = None;
                with(|exec| {
                    exec.finished(actor);
                    exec.pick()
                })
            }
            Resumed::Panicked(payload) => {
                let violation = violation_of(payload.as_ref());
                with(|exec| {
                    exec.comes(actor, Op::DONE);
                    exec.set_violation(violation);
                });
                Next::Failed
            }
        };
    }
    let violation = with(|exec| {
        exec.mode = Mode::Ending;
        exec.violation.take()
    });
    actors.clear();
    CREW.set(actors);
    let ended = match next {
        Next::Failed => Ended::Badly(violation.expect("a failed execution says why")),
        Next::Cut => Ended::Cut,
        _ => {
            with(|exec| {
                exec.mode = Mode::Sequential;
                exec.current = crate::engine::object::NOBODY;
            });
            match catch_unwind(AssertUnwindSafe(|| execution.at_rest())) {
                Ok(()) => Ended::Well,
                Err(payload) => Ended::Badly(violation_of(payload.as_ref())),
            }
        }
    };
    with(|exec| exec.mode = Mode::Ending);
    drop(execution);
    finish();
    ended
}

fn finish() {
    set_work_runner(None);
    with(|exec| {
        exec.at_once_left = None;
        exec.mode = Mode::Sequential;
        exec.current = crate::engine::object::NOBODY;
    });
}

fn violation_of(payload: &(dyn Any + Send)) -> Violation {
    match payload.downcast_ref::<Fallen>() {
        Some(Fallen(violation)) => violation.clone(),
        None => Violation::new(Invariant::I9, panics::describe(payload), None),
    }
}

/// The body of a worker for one run of its item; the start has happened when it is resumed.
fn work() {
    let (id, client, func) = with(|exec| {
        let actor = exec.current;
        let id = exec.items.iter().position(|item| item.actor == actor).expect("every worker has an item");
        (id, exec.items[id].client, exec.items[id].func)
    });
    crate::sim::run_item(client, func);
    with(|exec| exec.end_item(id));
}

/// So that sets of actors are always wide enough.
const _: () = assert!(crate::engine::clock::MAX_ACTORS <= Actors::BITS as usize);
