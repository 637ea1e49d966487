//! What the simulators need beyond the kernel's own primitives: scheduling points on their own state, words to wait
//! on, and a way to say that an invariant fell.

use model::platform::Kernel;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A [`Kernel`] inside which interleavings are chosen by us.
pub trait Lab: Kernel {
    /// An object whose accesses are scheduling points.
    type Visible: Visible;
    /// A word that actors can wait on.
    type Gate: Gate;

    /// The event that is happening now. Keep it beside a fact, to be able to name the event that made it so.
    fn stamp() -> Stamp;
    /// An invariant fell. Ends this execution and does not return.
    #[track_caller]
    fn fail(violation: Violation) -> !;
    /// One of `alternatives`, 0 being the ordinary one: what the environment decides and the program cannot foresee (an
    /// allocation fails, a timeout comes). The search explores all of them. Independent of everything else.
    #[track_caller]
    fn choose(alternatives: u8) -> u8;
    /// Whether something that may fail does: [`choose`](Self::choose) as long as the running actor may still meet a
    /// failure ([`Config::failures`](crate::Config::failures)).
    #[track_caller]
    fn fails() -> bool;
    /// Whether the running actor is in atomic context (holds a spinlock) and so must not sleep.
    fn in_atomic() -> bool;
    /// The running actor's program is at the place its author numbered `place`. For who looks at the recorded execution;
    /// no step.
    fn mark(_place: u32) {}

    // What follows tells the lock-order validator what it cannot see; a back end without one does nothing.

    /// `lock_map_acquire`: from now on the running actor is inside `map`, as if it were a lock.
    #[track_caller]
    fn acquire_map(_map: &'static str, _hold: Hold) {}
    /// `lock_map_release`, with the same `hold`.
    fn release_map(_map: &'static str, _hold: Hold) {}
    /// `lock_sync`: the running actor is about to wait until nobody is inside `map`. Say it also when there is nothing to
    /// wait for this time.
    #[track_caller]
    fn wait_map(_map: &'static str) {}
    /// Locks taken by `f` have this nesting subclass (`mutex_lock_nested`): it is known why they cannot make a cycle with
    /// others of their class.
    fn nested<R>(_subclass: u8, f: impl FnOnce() -> R) -> R {
        f()
    }
    /// `f` is direct reclaim or its daemon: inside `fs_reclaim`, and its own allocations do not reclaim.
    #[track_caller]
    fn reclaim<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}

/// The pseudo lock of mmu notifier callbacks, `__mmu_notifier_invalidate_range_start_map`. An allocation that may reclaim
/// may wait for it.
pub const NOTIFIER_MAP: &str = "mmu_notifier_invalidate_range_start";

/// How an actor is inside a map, for the lock-order validator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Nobody else is (`lock_map_acquire`).
    Exclusive,
    /// Others may be, unless somebody waits for it (`down_read`).
    Read,
    /// Others may be, whoever waits for it (`srcu_read_lock`).
    Recursive,
    /// It has begun something that others wait for. To begin waits for nobody.
    Begin,
}

/// State outside of any lock whose accesses are scheduling points: page tables, memory, the bus. Two accesses are
/// dependent when their spans overlap and their kinds conflict: write with anything but invalidate, read with
/// invalidate. Call before touching the state.
pub trait Visible: Sized {
    /// `name` is for timelines.
    fn new(name: &'static str) -> Self;
    /// Looks at `span`.
    #[track_caller]
    fn read(&self, span: Span);
    /// Changes `span`.
    #[track_caller]
    fn write(&self, span: Span);
    /// Drops cached copies of `span` (a TLB flush): conflicts with reads, which fill the cache, not with writes.
    #[track_caller]
    fn invalidate(&self, span: Span);
}

/// An inclusive interval of whatever the object is indexed by (pages, frames).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// First element.
    pub first: u64,
    /// Last element, inclusive.
    pub last: u64,
}

impl Span {
    /// Everything.
    pub const ALL: Span = Span { first: 0, last: u64::MAX };
    /// One element.
    pub const fn one(at: u64) -> Self {
        Span { first: at, last: at }
    }
    /// `first..=last`.
    pub const fn new(first: u64, last: u64) -> Self {
        Span { first, last }
    }
}

/// A word that actors can wait on. The word is the gate's own; waiting sleeps.
pub trait Gate: Sized {
    /// `name` is for timelines and for the wait-for graph.
    fn new(name: &'static str, value: u64) -> Self;
    /// The value, without a scheduling point: only when a lock already orders it.
    fn peek(&self) -> u64;
    /// Reads the value; a scheduling point.
    #[track_caller]
    fn load(&self) -> u64;
    /// Sets the value and wakes; a scheduling point.
    #[track_caller]
    fn store(&self, value: u64);
    /// Adds and wakes; returns the new value. A scheduling point.
    #[track_caller]
    fn add(&self, delta: i64) -> u64;
    /// Sleeps until the value differs from `value`; returns it.
    #[track_caller]
    fn wait_while(&self, value: u64) -> u64;
    /// Sleeps until the value equals `value`.
    #[track_caller]
    fn wait_until(&self, value: u64);
    /// Spins, which is allowed in atomic context, until the bits `mask` of the value are `value`; returns it.
    #[track_caller]
    fn spin_until(&self, mask: u64, value: u64) -> u64;
    /// Sleeps until the value is not 0, and takes one off it.
    #[track_caller]
    fn take(&self);
    /// Takes one off the value unless it is 0; whether it did.
    #[track_caller]
    fn try_take(&self) -> bool;
}

/// A point in the running execution: the number of an event, from 1; 0 is the setup. Orders events of one execution
/// only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Stamp(pub u32);

/// The invariants, I1 to I12.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Invariant {
    /// Once the callback returned, no GPU access reaches the old pages.
    I1,
    /// A valid entry names the page the CPU named, with no more rights.
    I2,
    /// A page is freed only when nothing reaches it.
    I3,
    /// No access to a freed object.
    I4,
    /// Counters balance.
    I5,
    /// Nothing queued is lost, every fault is answered, no retry without progress.
    I6,
    /// No-retry mode: queues run only while every accessible interval is mapped.
    I7,
    /// No lock cycle, no self-deadlock, no sleeping where it is forbidden.
    I8,
    /// Trees and lists are well formed; no data race.
    I9,
    /// The newest write survives.
    I10,
    /// Verdicts are right.
    I11,
    /// After close nothing runs.
    I12,
}

impl Invariant {
    /// All of them, in order.
    pub const ALL: [Invariant; 12] = {
        use Invariant::*;
        [I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12]
    };
    /// The sentence that must hold.
    pub const fn sentence(self) -> &'static str {
        match self {
            Invariant::I1 => "once the callback for an interval has returned, no GPU access reaches the old pages",
            Invariant::I2 => {
                "a valid GPU entry names the page the CPU named, with no more rights than VMA and attributes allow"
            }
            Invariant::I3 => "a page is freed only when no entry, TLB or DMA mapping reaches it",
            Invariant::I4 => "no access to a freed object",
            Invariant::I5 => "counters balance: quiesce and resume, evictions, references",
            Invariant::I6 => "everything queued is processed, every fault is answered, no retry without progress",
            Invariant::I7 => "in no-retry mode queues run only while every accessible interval is mapped",
            Invariant::I8 => "no lock cycle, no self-deadlock, no sleeping where it is forbidden",
            Invariant::I9 => "trees and lists are well formed, one owner at a time, no data race",
            Invariant::I10 => "the newest write survives, no uninitialised content is exposed",
            Invariant::I11 => "verdicts are right: legal at issue is never fatal, illegal is never mapped",
            Invariant::I12 => "after close nothing runs and nothing refers back",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An invariant that fell, and how: the fact that stood and the event that contradicts it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// One line: what is wrong, with the objects named. Must not contain addresses of the host or anything else that
    /// differs between two replays.
    pub what: String,
    /// The earlier of the two events that contradict each other; the later one is the event during which it was seen.
    pub earlier: Option<Stamp>,
}

impl Violation {
    /// A violation seen now, contradicting an event at `earlier`.
    pub fn new(invariant: Invariant, what: impl Into<String>, earlier: Option<Stamp>) -> Self {
        Violation { invariant, what: what.into(), earlier }
    }
}
