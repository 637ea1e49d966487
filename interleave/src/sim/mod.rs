//! The controlled back end: the kernel's primitives, every visible operation a choice of the scheduler.
//!
//! Outside of executions (unit tests), in setup and in final checks everything is sequential: an operation that would
//! have to wait panics, `flush` runs what is pending inline.

mod array;
mod atomic;
mod cache;
mod context;
mod gate;
mod locks;
mod plain;
mod rcu;
mod rwsem;
mod visible;
mod work;

pub use array::Array;
pub use atomic::{SimAtomic, SimShared};
pub use cache::SimCache;
pub use context::{SimIrqsOff, SimNoReclaim};
pub use gate::SimGate;
pub use locks::{SimMutex, SimMutexGuard, SimSpinLock, SimSpinLockGuard};
pub use plain::SimPlain;
pub use rcu::{SimRcu, SimRcuGuard};
pub use rwsem::{SimReadGuard, SimRwSem, SimWriteGuard};
pub use visible::SimVisible;
pub use work::{SimDelayedWork, SimWork, SimWorkQueue};

pub(crate) use context::nested;
pub(crate) use work::{run_item, set_work_runner};

use crate::engine::exec::{Mode, choose, fail, fails, visible, with};
use crate::engine::op::{Kind, NO_OBJECT, Op};
use crate::lab::{Hold, Invariant, Lab, Stamp, Violation};
use model::Errno;
use model::platform::{Kernel, Plant, QueueKind};
use std::fmt;
use std::panic::Location;

/// The controlled back end.
pub struct Sim;

impl Kernel for Sim {
    type Mutex<T: 'static> = SimMutex<T>;
    type SpinLock<T: 'static> = SimSpinLock<T>;
    type RwSem<T: 'static> = SimRwSem<T>;
    type Atomic = SimAtomic;
    type Shared<T: Copy + PartialEq + fmt::Debug + 'static> = SimShared<T>;
    type Plain<T: 'static> = SimPlain<T>;
    type Cache<T: 'static> = SimCache<T>;
    type Array<T: Copy + 'static> = Array<T>;
    type WorkQueue = SimWorkQueue;
    type Work = SimWork;
    type DelayedWork = SimDelayedWork;
    type Completion = crate::sync::Completion<Sim>;
    type NoReclaim = SimNoReclaim;

    #[track_caller]
    fn alloc_array<T: Copy + 'static>(len: usize, fill: T) -> Result<Array<T>, Errno> {
        might_alloc("an array", Location::caller());
        if fails(Location::caller()) {
            return Err(Errno::ENOMEM);
        }
        Ok(Array::new(len, fill))
    }

    #[track_caller]
    fn alloc_workqueue(name: &'static str, kind: QueueKind) -> Result<SimWorkQueue, Errno> {
        if fails(Location::caller()) {
            return Err(Errno::ENOMEM);
        }
        Ok(SimWorkQueue::new(name, kind))
    }

    fn noreclaim() -> SimNoReclaim {
        SimNoReclaim::new()
    }

    fn current_task() -> u64 {
        with(|exec| u64::from(exec.current)) + 1
    }

    fn now_ms() -> u64 {
        with(|exec| exec.look_at_time())
    }

    #[track_caller]
    fn retry_point(why: &'static str) {
        if with(|exec| exec.count_retry(why)) {
            visible(Op::new(Kind::Retry, NO_OBJECT), Location::caller());
        }
    }

    fn noting() -> bool {
        with(|exec| exec.recorder.is_some() && exec.mode == Mode::Running)
    }

    fn aside(begins: bool) {
        with(|exec| exec.aside = begins);
    }

    fn note(what: fmt::Arguments<'_>) {
        let text = what.to_string();
        with(|exec| {
            let actor = exec.current;
            if let Some(recorder) = &mut exec.recorder {
                recorder.note(actor, text);
            }
        });
    }

    fn planted(which: Plant) -> bool {
        with(|exec| exec.is_planted(which))
    }

    #[track_caller]
    fn warn(what: fmt::Arguments<'_>) {
        fail(Violation::new(Invariant::I9, format!("WARN_ON: {what}"), None));
    }
}

impl Sim {
    /// Waits until nothing else can run, work items with their timers and retry loops included. In sequential context: runs
    /// what is pending. For programs that are run in turn ([`run_in_turn`](crate::run_in_turn)); a search has no use for it.
    #[track_caller]
    pub fn rest() {
        match with(|exec| exec.mode) {
            Mode::Sequential => Sim::run_pending(),
            _ => visible(Op::new(Kind::Rest, NO_OBJECT), Location::caller()),
        }
    }
}

/// `might_alloc(GFP_KERNEL)`: it sleeps, and may reclaim.
fn might_alloc(what: &str, place: &'static Location<'static>) {
    let why = with(|exec| {
        let atomic = exec.in_atomic();
        if !atomic {
            exec.might_reclaim(place);
        }
        atomic.then(|| exec.why_atomic(exec.current))
    });
    if let Some(why) = why {
        let what = match why {
            "while it holds a spinlock" => format!("{what} is allocated with GFP_KERNEL while a spinlock is held"),
            why => format!("{what} is allocated with GFP_KERNEL {why}"),
        };
        fail(Violation::new(Invariant::I8, what, None));
    }
}

impl Lab for Sim {
    type Visible = SimVisible;
    type Gate = SimGate;

    fn stamp() -> Stamp {
        with(|exec| exec.stamp())
    }

    fn mark(place: u32) {
        with(|exec| {
            let actor = exec.current;
            if let Some(recorder) = &mut exec.recorder {
                recorder.mark(actor, place);
            }
        });
    }

    #[track_caller]
    fn fail(violation: Violation) -> ! {
        fail(violation)
    }

    #[track_caller]
    fn choose(alternatives: u8) -> u8 {
        choose(alternatives, Location::caller())
    }

    #[track_caller]
    fn fails() -> bool {
        fails(Location::caller())
    }

    fn in_atomic() -> bool {
        with(|exec| exec.in_atomic())
    }

    #[track_caller]
    fn acquire_map(map: &'static str, hold: Hold) {
        context::acquire_map(map, hold, Location::caller());
    }

    fn release_map(map: &'static str, hold: Hold) {
        context::release_map(map, hold);
    }

    #[track_caller]
    fn wait_map(map: &'static str) {
        context::wait_map(map, Location::caller());
    }

    fn nested<R>(subclass: u8, f: impl FnOnce() -> R) -> R {
        nested(subclass, f)
    }

    #[track_caller]
    fn reclaim<R>(f: impl FnOnce() -> R) -> R {
        context::reclaim(f, Location::caller())
    }
}
