//! The kernel's primitives on loom: a second opinion on the same model, weak memory included.
//!
//! [`Loom`] implements [`Kernel`] and [`Lab`] on the types of the `loom` crate. The driver model runs on it unchanged,
//! inside [`Loom::check`], which explores its interleavings and, for the lockless words, the stale values that a
//! weakly ordered machine may show. Nothing here works outside of an execution of loom.
//!
//! | file | answers to |
//! |---|---|
//! | `check` | running a model under loom, and what came of it |
//! | `actors` | threads of a program, and what is looked at when all have ended |
//! | `context` | what one execution keeps: who holds and waits for what (`held_locks`, hung-task reports) |
//! | `lock` | `struct mutex`, `spinlock_t` |
//! | `rwsem` | `struct rw_semaphore` |
//! | `atomic` | `atomic64_t`, `READ_ONCE`/`WRITE_ONCE`, scheduling points without a lock |
//! | `plain` | fields whose lock lives elsewhere, race checked |
//! | `cache` | `kmem_cache` |
//! | `frozen` | a list that only grows, so that references into it stay good |
//! | `stack` | room for what runs on a thread of loom |
//! | `monitor` | `wait_event` on a few words |
//! | `gate` | the lab's word to wait on |
//! | `work` | `workqueue.c` |
//! | `workers` | `kworker`s |
//!
//! # What loom cannot do, and what is done about it
//!
//! - **At most five threads**, the first one included. Workers get what the actors leave ([`Loom::actors_and_workers`]).
//!   An item without a thread runs on the stack of who flushes it, or in sequence when all have ended; a deadlock in
//!   which such an item is left over is no verdict.
//! - **The search forgets.** Loom remembers one last access of each object. When thread B loads a word and then stores
//!   to it, B's own load hides the earlier load of thread A, and the order "B stores, then A loads" is never tried.
//!   All scheduling points here are therefore of the one kind whose last access is always the right one to remember
//!   (a lock, or a read-modify-write), and a lockless load is preceded by one.
//! - **A bound on preemptions loses more than it says** (loom refuses free switches as well once the bound is reached):
//!   a bounded check that holds has seen no violation, it has not proved that none exists within the bound.
//! - **Releasing is no scheduling point**, which is sound because nothing here can observe that a lock is free without
//!   acquiring it (there is no `trylock`).
//! - Loom weakens sequentially consistent accesses to acquire and release. The fully ordered atomics are
//!   read-modify-write operations throughout, which loom does keep in one order.
//! - Timers have no time: a delayed work item expires when a worker, [`Loom::run_pending`] or a flush gets to it.
//! - **No livelock of several**: an execution with too many scheduling points is given up without a verdict, because it
//!   may just be long. One thread that retries for ever while nobody else can run is seen, and is a violation of I6.

mod actors;
mod atomic;
mod cache;
mod check;
mod context;
mod frozen;
mod gate;
mod lock;
mod monitor;
mod plain;
mod rwsem;
mod stack;
mod work;
mod workers;

pub use actors::Actor;
pub use atomic::{Atomic, Shared, Visible};
pub use cache::Cache;
pub use check::{Halt, LoomBounds, LoomOutcome, MAX_THREADS, Memory};
pub use gate::Gate;
pub use lock::{LockGuard, Mutex, SpinLock};
pub use plain::Plain;
pub use rwsem::{ReadGuard, RwSem, WriteGuard};
pub use work::{DelayedWork, Work, WorkQueue};

use crate::lab::{Invariant, Lab, Stamp, Violation};
use model::Errno;
use model::platform::{Kernel, Plant, QueueKind};
use std::cell::RefCell;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The kernel on loom. Usable only inside [`Loom::check`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loom;

/// Retries of one thread in one execution that have no effect; later ones yield, as in the controlled scheduler.
const FREE_RETRIES: u32 = 3;

/// Retries at rest that are no progress any more.
const RETRIES_AT_REST: u32 = 1000;
/// The same while the actors run, in a row and with nobody else who can do anything.
const RETRIES_ALONE: u32 = 100;

thread_local! {
    static PLANTED: RefCell<Vec<Plant>> = const { RefCell::new(Vec::new()) };
}

impl Loom {
    /// Switches these planted bugs on, and all others off, for the checks that follow on this OS thread.
    pub fn plant(bugs: &[Plant]) {
        PLANTED.with(|p| *p.borrow_mut() = bugs.to_vec());
    }
}

impl Kernel for Loom {
    type Mutex<T: 'static> = Mutex<T>;
    type SpinLock<T: 'static> = SpinLock<T>;
    type RwSem<T: 'static> = RwSem<T>;
    type Atomic = Atomic;
    type Shared<T: Copy + PartialEq + fmt::Debug + 'static> = Shared<T>;
    type Plain<T: 'static> = Plain<T>;
    type Cache<T: 'static> = Cache<T>;
    type Array<T: Copy + 'static> = Vec<T>;
    type WorkQueue = WorkQueue;
    type Work = Work;
    type DelayedWork = DelayedWork;
    type Completion = crate::sync::Completion<Loom>;
    type NoReclaim = ();

    /// Never fails; allocation failure is explored by the controlled scheduler.
    fn alloc_array<T: Copy + 'static>(len: usize, fill: T) -> Result<Vec<T>, Errno> {
        context::might_sleep("kvmalloc");
        Ok(vec![fill; len])
    }

    fn alloc_workqueue(name: &'static str, kind: QueueKind) -> Result<WorkQueue, Errno> {
        Ok(WorkQueue::new(name, kind))
    }

    fn noreclaim() {}

    fn current_task() -> u64 {
        let mut hasher = DefaultHasher::new();
        context::this_thread().hash(&mut hasher);
        hasher.finish() | 1
    }

    /// Always 0: a clock would be one more thing to explore, and timers expire by choice here.
    fn now_ms() -> u64 {
        0
    }

    fn retry_point(why: &'static str) {
        let retries = context::count_retry(why);
        let endless = if context::sequential() {
            retries > RETRIES_AT_REST
        } else {
            retries > FREE_RETRIES && context::yield_to_others() > RETRIES_ALONE
        };
        if endless {
            let what = format!("no progress: {} retries {why}, and nobody else can run", context::this_name());
            Loom::fail(Violation::new(Invariant::I6, what, None));
        }
    }

    fn planted(which: Plant) -> bool {
        PLANTED.with(|p| p.borrow().contains(&which))
    }

    fn warn(what: fmt::Arguments<'_>) {
        Loom::fail(Violation::new(Invariant::I9, format!("WARN_ON: {what}"), None));
    }
}

impl Lab for Loom {
    type Visible = Visible;
    type Gate = Gate;

    /// Counts the operations of the running execution.
    fn stamp() -> Stamp {
        context::stamp()
    }

    /// Panics with "I4: what"; [`Loom::check`] turns it into [`LoomOutcome::Violated`].
    fn fail(violation: Violation) -> ! {
        panic!("{}: {}", violation.invariant, violation.what);
    }

    /// Always the ordinary one: loom has no choices but those of the schedule.
    fn choose(_alternatives: u8) -> u8 {
        0
    }

    fn fails() -> bool {
        false
    }

    fn in_atomic() -> bool {
        context::in_atomic()
    }
}
