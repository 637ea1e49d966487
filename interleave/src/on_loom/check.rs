//! Running a model under loom, and what came of it.

use super::Loom;
use super::context::{self, Accusation};
use super::stack::roomy;
use super::workers;
use crate::lab::Invariant;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location, PanicHookInfo};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};

/// Threads that loom runs at most, the first actor's included.
pub const MAX_THREADS: usize = loom::MAX_THREADS;

/// What a lockless word shows ([`Shared`](super::Shared)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Memory {
    /// Any value that coherence allows: what a weakly ordered machine may do.
    #[default]
    Weak,
    /// The newest value, as the controlled scheduler has it. What falls under weak memory and not here needs it.
    Sequential,
}

/// How much of a model to explore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoomBounds {
    /// Preemptions in one execution, or all. With a bound, "holds" means only that no violation was met.
    pub preemptions: Option<u8>,
    /// Executions before giving up.
    pub executions: Option<u64>,
    /// Scheduling points in one execution before giving up: loom's only guard against one without end.
    pub branches: usize,
    /// What lockless words show.
    pub memory: Memory,
}

impl Default for LoomBounds {
    /// The clocks of loom are 16 bits wide and go up by more than one at a scheduling point.
    fn default() -> Self {
        LoomBounds { preemptions: None, executions: None, branches: 10_000, memory: Memory::Weak }
    }
}

/// What came of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoomOutcome {
    /// No execution violates anything.
    Holds {
        /// Executions explored.
        executions: u64,
    },
    /// An execution violates an invariant.
    Violated {
        /// "I8: deadlock: ...".
        message: String,
        /// Executions explored, the failing one included.
        executions: u64,
    },
    /// A limit of loom or of the bounds was reached; nothing is known.
    Unfinished {
        /// What kind of limit.
        halt: Halt,
        /// Which limit.
        reason: String,
        /// Executions explored.
        executions: u64,
    },
}

/// Why a search ended before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Halt {
    /// The executions asked for were spent.
    Budget,
    /// Somebody asked it to stop.
    Stopped,
    /// Loom cannot run the program.
    Loom,
}

impl LoomOutcome {
    /// Whether everything was explored and holds.
    pub fn holds(&self) -> bool {
        matches!(self, LoomOutcome::Holds { .. })
    }

    /// The invariant that fell.
    pub fn invariant(&self) -> Option<Invariant> {
        let LoomOutcome::Violated { message, .. } = self else { return None };
        let (name, _) = message.split_once(':')?;
        Invariant::ALL.into_iter().find(|i| i.to_string() == name)
    }

    /// Executions explored.
    pub fn executions(&self) -> u64 {
        match self {
            LoomOutcome::Holds { executions }
            | LoomOutcome::Violated { executions, .. }
            | LoomOutcome::Unfinished { executions, .. } => *executions,
        }
    }
}

impl fmt::Display for LoomOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoomOutcome::Holds { executions } => write!(f, "holds in {executions} executions"),
            LoomOutcome::Violated { message, executions } => write!(f, "{message} (execution {executions})"),
            LoomOutcome::Unfinished { reason, executions, .. } => {
                write!(f, "unfinished after {executions} executions: {reason}")
            }
        }
    }
}

impl Loom {
    /// Explores the interleavings of `model`, which is run once for each. Set up, spawn (best through
    /// [`Loom::actors`]), join, look. All Loom primitives it uses must be made inside.
    pub fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) -> LoomOutcome {
        let preemptions = preemptions.map(|p| u8::try_from(p).unwrap_or(u8::MAX));
        Loom::check_within(LoomBounds { preemptions, ..LoomBounds::default() }, model)
    }

    /// [`Loom::check`] within bounds of choice.
    pub fn check_within(bounds: LoomBounds, model: impl Fn() + Send + Sync + 'static) -> LoomOutcome {
        Loom::check_watched(bounds, Arc::default(), |_| (), model)
    }

    /// [`Loom::check_within`], given up before the next execution once `stop` is set. `progress` gets the number of
    /// executions before each.
    pub fn check_watched(
        bounds: LoomBounds,
        stop: Arc<AtomicBool>,
        progress: impl Fn(u64) + Send + Sync + 'static,
        model: impl Fn() + Send + Sync + 'static,
    ) -> LoomOutcome {
        let executions = Arc::new(AtomicU64::new(0));
        let count = executions.clone();
        let mut builder = loom::model::Builder::new();
        // All of it said here: the environment must not decide what is explored.
        builder.max_threads = loom::MAX_THREADS;
        builder.max_branches = bounds.branches;
        builder.max_permutations = None;
        builder.max_duration = None;
        builder.preemption_bound = bounds.preemptions.map(usize::from);
        builder.checkpoint_file = None;
        builder.expect_explicit_explore = false;
        builder.location = true;
        builder.log = false;
        let first = listening(|| {
            builder.check(move || {
                let so_far = count.load(Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    panic::panic_any(Leave(Halt::Stopped));
                }
                if bounds.executions.is_some_and(|limit| so_far >= limit) {
                    panic::panic_any(Leave(Halt::Budget));
                }
                progress(so_far);
                count.fetch_add(1, Ordering::Relaxed);
                context::begin(bounds.memory);
                roomy(&model);
            });
        });
        context::end();
        let executions = executions.load(Ordering::Relaxed);
        match first {
            None => LoomOutcome::Holds { executions },
            Some(heard) => heard.judge(executions),
        }
    }
}

/// Thrown to leave loom's search.
struct Leave(Halt);

/// A panic, and what was the case when it began: by the time it is caught, the guards of its thread are gone.
struct Heard {
    message: String,
    place: Option<String>,
    leave: Option<Halt>,
    waiting: String,
    retrying: String,
    names: Vec<(String, String)>,
    accusation: Option<Accusation>,
    unserved: Vec<String>,
    /// Whether loom itself panicked, not what runs on it.
    in_loom: bool,
}

impl Heard {
    fn new(payload: &dyn Any, place: Option<&Location<'_>>) -> Self {
        let text = (payload.downcast_ref::<String>().map(String::as_str)).or(payload.downcast_ref::<&str>().copied());
        Heard {
            message: text.unwrap_or("a panic without a message").trim().to_owned(),
            place: place.map(|at| format!("{}:{}", portable(at.file()), at.line())),
            in_loom: place.is_some_and(|at| in_loom(at.file())),
            leave: payload.downcast_ref::<Leave>().map(|leave| leave.0),
            waiting: context::wait_for_graph(),
            retrying: context::retriers(),
            names: context::thread_names(),
            accusation: context::accusation(),
            unserved: workers::unserved(),
        }
    }

    /// Loom's report of a data race on one line, with the names of our threads for its numbers.
    fn race(&self, report: &str) -> String {
        let lines: Vec<&str> = report.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        self.names.iter().fold(lines.join("; "), |text, (number, name)| text.replace(number, name))
    }

    /// Loom says everything by panicking. These are its words.
    fn judge(self, executions: u64) -> LoomOutcome {
        let violated = |message| LoomOutcome::Violated { message, executions };
        let unfinished = |halt, reason| LoomOutcome::Unfinished { halt, reason, executions };
        let cannot = |reason| unfinished(Halt::Loom, reason);
        let message = &*self.message;
        if let Some(halt) = self.leave {
            unfinished(
                halt,
                match halt {
                    Halt::Stopped => "interrupted".to_owned(),
                    _ => "the bound on executions is reached".to_owned(),
                },
            )
        } else if message.starts_with("Model exceeded maximum number of branches") {
            let retrying = if self.retrying.is_empty() { "nobody says that it retries" } else { &self.retrying };
            cannot(format!("an execution has too many scheduling points, endless or just long; {retrying}"))
        } else if message.contains("self.threads.len() < self.max") {
            cannot(format!("loom runs at most {MAX_THREADS} threads"))
        } else if message.contains("Is the model fully deterministic?") {
            cannot("the program did something else when it was run again".to_owned())
        } else if message.starts_with("deadlock;") && !self.unserved.is_empty() {
            let left = self.unserved.join(", ");
            cannot(format!("all threads wait, and {left} is left to run but has no thread of its own"))
        } else if message.starts_with("I6: no progress") && !self.unserved.is_empty() {
            let left = self.unserved.join(", ");
            cannot(format!("{message}; but {left} is left to run and has no thread of its own"))
        } else if message.starts_with("deadlock;") {
            let waiting = if self.waiting.is_empty() { message } else { &self.waiting };
            violated(format!("I8: deadlock: {waiting}"))
        } else if let Some(race) = message.strip_prefix("Causality violation: ") {
            let race = self.race(race);
            violated(match self.accusation {
                Some(Accusation { invariant, verb, name, index, at }) => {
                    format!("{invariant}: {verb} {name}#{index} at {at} is ordered with nothing: {race}")
                }
                None => format!("I9: data race: {race}"),
            })
        } else if Invariant::ALL.iter().any(|i| message.starts_with(&format!("{i}: "))) {
            violated(message.to_owned())
        } else if self.in_loom {
            // Whatever else loom stumbles over is about loom. What it says about the program was taken care of above.
            let place = self.place.unwrap_or_default();
            cannot(format!("loom gave up: {message} at {place}"))
        } else {
            let place = self.place.map(|place| format!(" at {place}")).unwrap_or_default();
            violated(format!("I9: panic: {message}{place}"))
        }
    }
}

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    static FIRST: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Runs `f`, quietly; returns its first panic.
fn listening(f: impl FnOnce()) -> Option<Heard> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !LISTENING.get() || !hear(info) {
                before(info)
            }
        }));
    });
    FIRST.set(None);
    LISTENING.set(true);
    let caught = panic::catch_unwind(AssertUnwindSafe(f));
    LISTENING.set(false);
    let payload = caught.err()?;
    // Another OS thread may have had its own hook in place for a moment.
    FIRST.take().or_else(|| Some(Heard::new(&*payload, None)))
}

/// The hook's part: keeps the first panic. Others follow from it.
fn hear(info: &PanicHookInfo<'_>) -> bool {
    FIRST.with(|first| {
        if let Ok(mut first) = first.try_borrow_mut()
            && first.is_none()
        {
            *first = Some(Heard::new(info.payload(), info.location()));
        }
    });
    true
}

/// Whether a source file is loom's, or of the coroutines it is made of, wherever cargo keeps them.
fn in_loom(file: &str) -> bool {
    let of = |part: &str, name| part.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    file.split(['/', '\\']).any(|part| of(part, "loom") || of(part, "generator"))
}

/// A source path that is the same on every machine: those outside of the workspace begin with where they are kept.
fn portable(file: &str) -> &str {
    if !file.starts_with('/') {
        return file;
    }
    let crate_and_below = file.match_indices('/').rev().nth(2);
    crate_and_below.map_or(file, |(at, _)| &file[at + 1..])
}
