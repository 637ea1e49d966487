//! One search by one engine, and what it came to.

use crate::checkers::{Counts, full, lean, loom::OfLoom, shuttle::OfShuttle, take_counts};
use crate::micro::Shape;
use cpu_time::ThreadTime;
use interleave::{Config, End, Limits, Program, Strategy};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When to give up.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// By the wall clock; looked at now and then.
    pub(crate) time: Duration,
    pub(crate) executions: Option<u64>,
}

/// Why a search ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Everything was covered, and nothing is wrong.
    Exhausted,
    /// The bug was met.
    Found,
    /// The budget was spent.
    Stopped,
}

/// What a search came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) executions: u64,
    /// Visible operations: events of our engine; what [`Counts`] says for the others.
    pub(crate) operations: u64,
    /// Time of this thread on a CPU, the kernel's part included: others are at work on this machine too.
    pub(crate) time: Duration,
    pub(crate) ended: Ended,
}

/// The form in which the others get the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Full,
    Lean,
}

/// How shuttle searches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shuttle {
    Dfs,
    Random { seed: u64 },
    Pct { seed: u64, depth: usize },
}

/// Our engine.
pub(crate) fn ours(program: &dyn Program, strategy: Strategy, budget: Budget) -> Sample {
    let limits = Limits { executions: budget.executions, ..Limits::default() };
    // Neither of the others predicts deadlocks or estimates coverage.
    let config = Config { strategy, limits, lockdep: false, coverage: false, ..Config::default() };
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, begun) = (stop.clone(), Instant::now());
    let watch = move |_: &_| flag.store(begun.elapsed() >= budget.time, Relaxed);
    let clock = ThreadTime::now();
    let outcome = interleave::explore(program, &config, Some(&stop), Some(Box::new(watch)));
    let time = clock.elapsed();
    let ended = match outcome.end {
        End::Exhausted => Ended::Exhausted,
        End::Violated => Ended::Found,
        End::LimitReached | End::Interrupted => Ended::Stopped,
    };
    Sample { executions: outcome.stats.executions, operations: outcome.stats.events, time, ended }
}

/// Distinct schedules, as our engine counts them when asked to.
pub(crate) fn distinct(program: &dyn Program) -> u64 {
    let config = Config { count_distinct: true, ..Config::default() };
    interleave::explore(program, &config, None, None).stats.distinct
}

/// loom. Nothing is left to the environment.
pub(crate) fn loom(shape: Shape, form: Form, preemptions: Option<usize>, budget: Budget) -> Sample {
    let mut builder = loom::model::Builder::new();
    builder.max_threads = loom::MAX_THREADS;
    builder.max_branches = 10_000;
    builder.preemption_bound = preemptions;
    builder.checkpoint_file = None;
    builder.location = false;
    builder.log = false;
    builder.expect_explicit_explore = false;
    builder.max_duration = Some(budget.time);
    // loom counts from 1, and stops before the execution of that number.
    builder.max_permutations = budget.executions.map(|most| most as usize + 1);
    builder.checkpoint_interval = if budget.executions.is_some() { 1 } else { 64 };
    let begun = Instant::now();
    timed(budget, begun, || match form {
        Form::Full => builder.check(move || full::<OfLoom>(shape)),
        Form::Lean => builder.check(move || lean::<OfLoom>(shape)),
    })
}

/// Whether loom has threads enough.
pub(crate) fn loom_can(shape: Shape, form: Form) -> bool {
    let actors = 1 + shape.faults + usize::from(shape.collector);
    actors + usize::from(form == Form::Full) <= loom::MAX_THREADS
}

/// shuttle, on the model in its usual form.
pub(crate) fn shuttle(shape: Shape, how: Shuttle, budget: Budget) -> Sample {
    let most = budget.executions.map(|most| most as usize);
    let many = most.unwrap_or(usize::MAX);
    let scheduler: Box<dyn Scheduler + Send> = match how {
        Shuttle::Dfs => Box::new(DfsScheduler::new(most, false)),
        Shuttle::Random { seed } => Box::new(RandomScheduler::new_from_seed(seed, many)),
        Shuttle::Pct { seed, depth } => Box::new(PctScheduler::new_from_seed(seed, depth, many)),
    };
    let mut config = shuttle::Config::new();
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    config.max_time = Some(budget.time);
    let begun = Instant::now();
    timed(budget, begun, || {
        shuttle::Runner::new(Kept(ManuallyDrop::new(scheduler)), config).run(move || full::<OfShuttle>(shape));
    })
}

/// A scheduler that is never dropped: shuttle's random ones print their seed when they are, after a failure.
struct Kept(ManuallyDrop<Box<dyn Scheduler + Send>>);

impl Scheduler for Kept {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }
    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        self.0.next_task(runnable, current, yields)
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics of models off the terminal; a panic of the benchmark itself is still told.
///
/// loom ends its threads by panics, a great many of them. shuttle, the first time it runs, puts a hook of its own in
/// front of all others, which would tell each of them: it gets its first time here, and its hook is thrown away.
pub(crate) fn hush() {
    shuttle::check_dfs(|| (), Some(1));
    drop(std::panic::take_hook());
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            tell(info);
        }
    }));
}

/// Runs a checker that says "bug" by a panic.
fn timed(budget: Budget, begun: Instant, check: impl FnOnce()) -> Sample {
    take_counts();
    QUIET.set(true);
    let clock = ThreadTime::now();
    let result = catch_unwind(AssertUnwindSafe(check));
    let time = clock.elapsed();
    QUIET.set(false);
    let Counts { executions, operations } = take_counts();
    let ended = if let Err(payload) = result {
        let said = payload.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(said.contains(crate::micro::STALE), "not the bug looked for: {said:?}");
        Ended::Found
    } else if begun.elapsed() >= budget.time || budget.executions.is_some_and(|most| executions >= most) {
        Ended::Stopped
    } else {
        Ended::Exhausted
    };
    Sample { executions, operations, time, ended }
}
