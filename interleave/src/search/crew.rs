//! The threads that explore the parts of a search.
//!
//! One thread more keeps the clock: it says when it is time to hand in how far one is, saves it, and tells the reader.
//! The clock decides nothing about what is explored.

use super::checkpoint::Checkpoint;
use super::segment::{Segment, Tally};
use super::tree::{Id, Survey, Tree};
use crate::engine::exec::{Exec, with};
use crate::engine::part::Escape;
use crate::explore::{Config, End, Ended, Outcome, Program, Strategy, chooser, explore, failure_of, prepare, run_once};
use crate::lockdep::Lessons;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often the clock looks around.
const TICK: Duration = Duration::from_millis(50);
/// How often parts hand in how far they are.
const HAND_IN: Duration = Duration::from_millis(200);

/// Who is told something.
pub type Told<'a, T> = &'a mut (dyn FnMut(&T) + 'a);

/// Who explores, and who is told.
pub struct Crew<'a> {
    /// Threads that explore.
    pub threads: usize,
    /// Ends the search when set; looked at after each execution.
    pub stop: Option<&'a AtomicBool>,
    /// Where to go on instead of at the beginning.
    pub resume: Option<Checkpoint>,
    /// Is given the state of the search this often, and at its end.
    pub save: Option<(Duration, Told<'a, Checkpoint>)>,
    /// Is told how far the search is this often.
    pub watch: Option<(Duration, Told<'a, Survey>)>,
    /// Splits at every opportunity, whether or not anybody is idle. For tests: the result is the same.
    pub eager: bool,
}

impl Default for Crew<'_> {
    fn default() -> Self {
        Crew { threads: 1, stop: None, resume: None, save: None, watch: None, eager: false }
    }
}

/// What the threads share.
struct Shared<'a> {
    config: &'a Config,
    stop: Option<&'a AtomicBool>,
    /// Whether parts may be split at all: a limit on executions counts in depth-first order.
    split: bool,
    eager: bool,
    state: Mutex<State>,
    /// There is a part to run, or nothing to wait for any more.
    work: Condvar,
    /// The search is over, or somebody has left.
    news: Condvar,
    /// Somebody has nothing to do.
    hungry: AtomicBool,
    /// Goes up when it is time to hand in.
    round: AtomicU64,
}

struct State {
    tree: Tree,
    idle: usize,
    /// Threads that have not left.
    here: usize,
    limit: bool,
    /// Everybody goes home.
    over: bool,
}

/// Whether a search has parts: what it explores next depends on the path it is on and on nothing else. A cache knows of
/// everything before, and a bound on preemptions has one for its reduction.
pub fn can_be_split(strategy: &Strategy) -> bool {
    match strategy {
        Strategy::Exhaustive { preemptions, reduction } => preemptions.is_none() || !reduction,
        _ => false,
    }
}

/// Searches like [`explore`], with the same outcome, by as many threads as `crew` has. Each of them makes its own
/// program. Strategies that have no parts ([`can_be_split`]) run on one thread and are neither saved nor resumed; so does a
/// search with a limit on executions, but for the saving.
pub fn explore_split(program: &(dyn Fn() -> Box<dyn Program> + Sync), config: &Config, crew: Crew<'_>) -> Outcome {
    if !can_be_split(&config.strategy) {
        return explore(program().as_ref(), config, crew.stop, None);
    }
    let tree = match crew.resume {
        Some(checkpoint) => checkpoint.into_tree(),
        None => Tree::new(Segment::whole()),
    };
    run(program, config, tree, Crew { resume: None, ..crew }).0
}

/// Explores what is left of `tree`. With what it wants tried outside, once it is done, and what it has learned about
/// locks.
pub(super) fn run(
    program: &(dyn Fn() -> Box<dyn Program> + Sync),
    config: &Config,
    mut tree: Tree,
    mut crew: Crew<'_>,
) -> (Outcome, Vec<Escape>, Lessons) {
    let split = config.limits.executions.is_none();
    let threads = if split { crew.threads.max(1) } else { 1 };
    tree.wake();
    let over = tree.result().is_some();
    let shared = Shared {
        config,
        stop: crew.stop,
        split,
        eager: crew.eager,
        state: Mutex::new(State { tree, idle: 0, here: threads, limit: false, over }),
        work: Condvar::new(),
        news: Condvar::new(),
        hungry: AtomicBool::new(false),
        round: AtomicU64::new(0),
    };
    let trouble = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let _leaving = Leaving(&shared);
                    prepare(config, chooser(&config.strategy));
                    with(|exec| exec.lockdep.begin_search(config.lockdep));
                    work(program().as_ref(), &shared);
                })
            })
            .collect();
        keep_the_clock(&shared, &mut crew);
        workers.into_iter().filter_map(|worker| worker.join().err()).next()
    });
    if let Some(payload) = trouble {
        resume_unwind(payload);
    }
    let state = shared.state.into_inner().unwrap_or_else(|e| e.into_inner());
    if let Some((_, save)) = &mut crew.save {
        save(&Checkpoint::of(&state.tree));
    }
    let found = state.tree.so_far();
    let stats = found.stats();
    let end = match state.tree.result() {
        _ if state.limit => End::LimitReached,
        None => End::Interrupted,
        Some(tally) if tally.fatal => End::Violated,
        Some(_) => End::Exhausted,
    };
    tracing::debug!(executions = stats.executions, events = stats.events, ?end, threads, "search ended");
    let classes = found.classes.into_iter().collect();
    let predicted = found.lessons.predict();
    let failure = found.failure;
    (Outcome { stats, end, failure, predicted, classes, ..Outcome::default() }, found.escapes, found.lessons)
}

/// Says that a thread has left, also when it panics.
struct Leaving<'a, 'b>(&'a Shared<'b>);

impl Drop for Leaving<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.here -= 1;
        if std::thread::panicking() {
            state.over = true;
        }
        self.0.work.notify_all();
        self.0.news.notify_all();
    }
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        // a thread that panicked has left the tree as it was
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// A part to run; waits for one. None when there is nothing left to do.
    fn next(&self) -> Option<(Id, Segment, std::sync::Arc<AtomicBool>)> {
        let mut state = self.lock();
        loop {
            if state.over || self.stopped() {
                return None;
            }
            if let Some(part) = state.tree.take() {
                self.hungry.store(state.idle > 0 && !state.tree.has_ready(), Ordering::Relaxed);
                return Some(part);
            }
            state.idle += 1;
            self.hungry.store(true, Ordering::Relaxed);
            state = self.work.wait(state).unwrap_or_else(|e| e.into_inner());
            state.idle -= 1;
        }
    }

    fn finish(&self, id: Id, tally: Tally) {
        let mut state = self.lock();
        state.tree.finish(id, tally);
        state.over |= state.tree.result().is_some();
        self.work.notify_all();
        self.news.notify_all();
    }
}

fn keep_the_clock(shared: &Shared<'_>, crew: &mut Crew<'_>) {
    let mut handed_in = Instant::now();
    let (mut saved, mut told) = (handed_in, handed_in);
    let mut state = shared.lock();
    while state.here > 0 {
        let (now, _) = shared.news.wait_timeout(state, TICK).unwrap_or_else(|e| e.into_inner());
        state = now;
        if shared.stopped() {
            // whoever waits for work has to see it
            shared.work.notify_all();
        }
        if handed_in.elapsed() >= HAND_IN {
            handed_in = Instant::now();
            shared.round.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((pace, save)) = &mut crew.save
            && saved.elapsed() >= *pace
        {
            saved = Instant::now();
            let checkpoint = Checkpoint::of(&state.tree);
            drop(state);
            save(&checkpoint);
            state = shared.lock();
        }
        if let Some((pace, watch)) = &mut crew.watch
            && told.elapsed() >= *pace
        {
            told = Instant::now();
            let survey = state.tree.survey();
            drop(state);
            watch(&survey);
            state = shared.lock();
        }
    }
}

/// What a thread does.
fn work(program: &dyn Program, shared: &Shared<'_>) {
    while let Some((id, mut segment, dropped)) = shared.next() {
        load(&mut segment);
        let mut round = shared.round.load(Ordering::Relaxed);
        loop {
            one_execution(program, shared.config, &mut segment.tally);
            if segment.tally.fatal || !with(Exec::backtrack) {
                hand_over(&mut segment.tally);
                shared.finish(id, segment.tally);
                break;
            }
            if dropped.load(Ordering::Relaxed) {
                break;
            }
            let most = shared.config.limits.executions;
            let limit = most.is_some_and(|most| segment.tally.stats.executions >= most);
            if limit || shared.stopped() {
                unload(&mut segment);
                let mut state = shared.lock();
                state.tree.hand_in(id, segment);
                state.limit |= limit && !shared.stopped();
                state.over = true;
                shared.work.notify_all();
                return;
            }
            if shared.split && (shared.eager || shared.hungry.load(Ordering::Relaxed)) {
                unload(&mut segment);
                if let Some(fork) = segment.fork() {
                    let mut state = shared.lock();
                    state.tree.split(id, fork);
                    shared.hungry.store(false, Ordering::Relaxed);
                    shared.work.notify_all();
                    break;
                }
                load(&mut segment);
            }
            let now = shared.round.load(Ordering::Relaxed);
            if now != round {
                round = now;
                unload(&mut segment);
                shared.lock().tree.hand_in(id, segment.clone());
                load(&mut segment);
            }
        }
    }
}

/// The part becomes what this thread explores.
fn load(segment: &mut Segment) {
    with(|exec| {
        exec.frames = std::mem::take(&mut segment.frames);
        exec.replayed = exec.frames.len();
        exec.follow_plan();
        exec.part.own = segment.own;
        exec.part.stop = segment.stop;
        exec.part.escapes = std::mem::take(&mut segment.tally.escapes);
        exec.lockdep.begin_part(std::mem::take(&mut segment.tally.lessons));
    });
}

/// The other way round.
fn unload(segment: &mut Segment) {
    with(|exec| {
        exec.frames.truncate(exec.replayed);
        segment.frames = std::mem::take(&mut exec.frames);
    });
    hand_over(&mut segment.tally);
}

/// What the executions of the part have left in this thread goes to where it is kept.
fn hand_over(tally: &mut Tally) {
    with(|exec| {
        tally.escapes = std::mem::take(&mut exec.part.escapes);
        tally.lessons = exec.lockdep.take_lessons();
    });
}

fn one_execution(program: &dyn Program, config: &Config, tally: &mut Tally) {
    with(|exec| exec.races = 0);
    let ended = run_once(program);
    let (depth, races, class) = with(|exec| {
        (exec.depth as u32, exec.races, exec.depth.checked_sub(1).map_or(0, |last| exec.frames[last].class))
    });
    tally.stats.executions += 1;
    tally.stats.events += u64::from(depth);
    tally.stats.races += races;
    tally.stats.longest = tally.stats.longest.max(depth);
    let badly = matches!(ended, Ended::Badly(_));
    match ended {
        Ended::Cut => {
            tally.stats.cut += 1;
            return;
        }
        Ended::Well => {}
        Ended::Badly(violation) => {
            tally.stats.violations += 1;
            if tally.failure.is_none() {
                tally.failure = Some(with(|exec| failure_of(exec, violation)));
            }
            tally.fatal = !config.keep_going;
        }
    }
    if config.count_distinct {
        tally.classes.insert((class, badly));
    }
}
