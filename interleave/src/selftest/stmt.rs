//! The statements that random programs are made of: declared here, and nowhere else but in [`super::run`].

use super::dice::Dice;
use std::fmt;

/// Mutexes 0 and 1; rwsems 0 and 1.
pub(super) const LOCKS: u8 = 2;
/// Work items: 0 and 1 on an unbound queue, 2 and 3 on an ordered one.
pub(super) const ITEMS: u8 = 4;

/// One statement of a random program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stmt {
    /// `mutex_lock`.
    Lock(u8),
    /// `spin_lock`.
    Spin,
    /// `down_read`.
    Read(u8),
    /// `down_write`.
    Write(u8),
    /// Makes a write lock that is held a read lock.
    Downgrade(u8),
    /// Releases the how-manyth lock that is held.
    Release(u8),
    /// `mutex_lock`, of the mutex that may be tried.
    LockTried,
    /// `mutex_trylock` of it, released at once.
    TryLock,
    /// `down_read`, of the rwsem that may be tried.
    ReadTried,
    /// `down_write` of it.
    WriteTried,
    /// `down_read_trylock` of it, released at once.
    TryRead,
    /// `down_write_trylock` of it, released at once.
    TryWrite,
    /// `srcu_read_lock`, until it is released.
    RcuRead,
    /// `synchronize_srcu`, unless the actor itself reads.
    Synchronize,
    /// Reads an atomic.
    Load(u8),
    /// Swaps an atomic for a value that no other place writes.
    Store(u8),
    /// `atomic_inc_return`.
    Increment(u8),
    /// The next statement, unless it is about locks, happens only if the atomic has this parity.
    OnlyIf(u8, bool),
    /// `READ_ONCE` of a shared word.
    ReadOnce,
    /// `WRITE_ONCE` of it.
    WriteOnce,
    /// Reads the gate.
    GateLoad,
    /// Sets the gate.
    GateStore(u8),
    /// Adds one to the gate.
    GateAdd,
    /// Sleeps until the gate has the value.
    WaitUntil(u8),
    /// Sleeps until the gate has another value.
    WaitWhile(u8),
    /// Sleeps until the gate is not 0, and takes one off it, as `wait_for_completion` does.
    Take,
    /// `try_wait_for_completion`.
    TryTake,
    /// Spins until the gate is even or odd, as a reader of a sequence counter does.
    SpinUntil(bool),
    /// Loads the gate until it has the value, going round a retry loop.
    RetryUntil(u8),
    /// Looks at the elements from the first to the last through a cache.
    Look(u8, u8),
    /// Changes these elements in memory.
    Change(u8, u8),
    /// Drops their copies from the cache.
    Invalidate(u8, u8),
    /// Queues a work item.
    Queue(u8),
    /// `flush_work`.
    Flush(u8),
    /// `cancel_work_sync`.
    Cancel(u8),
    /// `flush_workqueue`, of the ordered one or the other.
    FlushQueue(bool),
    /// `destroy_workqueue`.
    DestroyQueue(bool),
    /// One of so many things happens. If it is not the ordinary one, the next statement is left out, unless it is about
    /// locks.
    Choose(u8),
    /// Allocates an array. If that fails, the next statement is left out, unless it is about locks.
    Allocate,
    /// Reads memory that nothing protects: a data race with a write.
    PlainRead,
    /// Writes it.
    PlainWrite,
}

/// Statements that are about the same things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Group {
    Locks,
    Tries,
    Rcu,
    Words,
    Gates,
    Spans,
    Work,
    Chance,
    Plain,
}

/// How a statement is drawn; None when it does not fit where it would stand.
type Draw = fn(&mut Dice) -> Option<Stmt>;

/// Every statement but [`Stmt::Release`], which the generator places itself: its group, its weight there, and how it is
/// drawn.
pub(super) const DRAWN: &[(Group, u64, Draw)] = &[
    (Group::Locks, 4, |d| Some(Stmt::Lock(d.of(LOCKS)))),
    (Group::Locks, 4, |d| Some(Stmt::Read(d.of(LOCKS)))),
    (Group::Locks, 4, |d| Some(Stmt::Write(d.of(LOCKS)))),
    (Group::Locks, 2, |d| Some(Stmt::Downgrade(d.of(LOCKS)))),
    (Group::Locks, 2, |_| Some(Stmt::Spin)),
    (Group::Tries, 2, |_| Some(Stmt::LockTried)),
    (Group::Tries, 2, |_| Some(Stmt::TryLock)),
    (Group::Tries, 1, |_| Some(Stmt::ReadTried)),
    (Group::Tries, 2, |_| Some(Stmt::WriteTried)),
    (Group::Tries, 2, |_| Some(Stmt::TryRead)),
    (Group::Tries, 1, |_| Some(Stmt::TryWrite)),
    (Group::Rcu, 3, |_| Some(Stmt::RcuRead)),
    (Group::Rcu, 2, |_| Some(Stmt::Synchronize)),
    (Group::Words, 2, |d| Some(Stmt::Load(d.of(2)))),
    (Group::Words, 1, |d| Some(Stmt::Store(d.of(2)))),
    (Group::Words, 1, |d| Some(Stmt::Increment(d.of(2)))),
    (Group::Words, 1, |d| Some(Stmt::OnlyIf(d.of(2), d.coin()))),
    (Group::Words, 1, |_| Some(Stmt::ReadOnce)),
    (Group::Words, 1, |_| Some(Stmt::WriteOnce)),
    (Group::Gates, 1, |_| Some(Stmt::GateLoad)),
    (Group::Gates, 2, |d| Some(Stmt::GateStore(d.of(2)))),
    (Group::Gates, 2, |_| Some(Stmt::GateAdd)),
    (Group::Gates, 2, |d| Some(Stmt::WaitUntil(d.of(2)))),
    (Group::Gates, 1, |d| Some(Stmt::WaitWhile(d.of(2)))),
    (Group::Gates, 2, |_| Some(Stmt::Take)),
    (Group::Gates, 1, |_| Some(Stmt::TryTake)),
    (Group::Gates, 1, |d| Some(Stmt::SpinUntil(d.coin()))),
    (Group::Gates, 1, |d| Some(Stmt::RetryUntil(d.of(2)))),
    (Group::Spans, 1, |d| Some(span(d, Stmt::Look))),
    (Group::Spans, 1, |d| Some(span(d, Stmt::Change))),
    (Group::Spans, 1, |d| Some(span(d, Stmt::Invalidate))),
    (Group::Work, 4, |d| d.item().map(Stmt::Queue)),
    (Group::Work, 3, |d| d.item().map(Stmt::Flush)),
    (Group::Work, 3, |d| d.item().map(Stmt::Cancel)),
    (Group::Work, 1, |d| d.in_thread().then(|| Stmt::FlushQueue(d.coin()))),
    (Group::Chance, 1, |d| Some(Stmt::Choose(2 + d.of(2)))),
    (Group::Chance, 2, |_| Some(Stmt::Allocate)),
    (Group::Plain, 3, |_| Some(Stmt::PlainRead)),
    (Group::Plain, 3, |_| Some(Stmt::PlainWrite)),
    (Group::Plain, 1, |d| d.in_thread().then(|| Stmt::DestroyQueue(d.coin()))),
];

fn span(dice: &mut Dice, make: fn(u8, u8) -> Stmt) -> Stmt {
    let first = dice.of(3);
    make(first, first + dice.of(3 - first))
}

impl Stmt {
    /// Whether it takes a lock, which is held until [`Stmt::Release`] or the end.
    pub(super) fn takes(self) -> bool {
        use Stmt::*;
        matches!(self, Lock(_) | Spin | Read(_) | Write(_) | LockTried | ReadTried | WriteTried | RcuRead)
    }
    /// Whether atomic context forbids it.
    pub(super) fn sleeps(self) -> bool {
        use Stmt::*;
        matches!(self, Lock(_) | Read(_) | Write(_) | WaitUntil(_) | WaitWhile(_) | RetryUntil(_) | Allocate)
            || matches!(self, LockTried | ReadTried | WriteTried | Synchronize | Take)
            || matches!(self, Flush(_) | Cancel(_) | FlushQueue(_) | DestroyQueue(_))
    }
    /// Whether it changes which locks are held.
    pub(super) fn is_lock(self) -> bool {
        self.takes() || matches!(self, Stmt::Downgrade(_) | Stmt::Release(_))
    }
    /// Whether there have to be work items.
    pub(super) fn is_work(self) -> bool {
        use Stmt::*;
        matches!(self, Queue(_) | Flush(_) | Cancel(_) | FlushQueue(_) | DestroyQueue(_))
    }
}

impl fmt::Display for Stmt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Stmt::*;
        let queue = |ordered: bool| if ordered { "ordered_wq" } else { "unbound_wq" };
        match *self {
            Lock(i) => write!(f, "mutex_lock(mutex{i})"),
            Spin => write!(f, "spin_lock(spin)"),
            Read(i) => write!(f, "down_read(rwsem{i})"),
            Write(i) => write!(f, "down_write(rwsem{i})"),
            Downgrade(i) => write!(f, "downgrade_write(rwsem{i})"),
            Release(i) => write!(f, "release held lock {i}"),
            LockTried => write!(f, "mutex_lock(tried)"),
            TryLock => write!(f, "mutex_trylock(tried)"),
            ReadTried => write!(f, "down_read(tried_rwsem)"),
            WriteTried => write!(f, "down_write(tried_rwsem)"),
            TryRead => write!(f, "down_read_trylock(tried_rwsem)"),
            TryWrite => write!(f, "down_write_trylock(tried_rwsem)"),
            RcuRead => write!(f, "srcu_read_lock(srcu)"),
            Synchronize => write!(f, "synchronize_srcu(srcu)"),
            Load(i) => write!(f, "atomic_read(atomic{i})"),
            Store(i) => write!(f, "atomic_xchg(atomic{i})"),
            Increment(i) => write!(f, "atomic_inc_return(atomic{i})"),
            OnlyIf(i, odd) => write!(f, "if atomic{i} is {}:", if odd { "odd" } else { "even" }),
            ReadOnce => write!(f, "READ_ONCE(word)"),
            WriteOnce => write!(f, "WRITE_ONCE(word)"),
            GateLoad => write!(f, "load gate"),
            GateStore(value) => write!(f, "gate = {value}"),
            GateAdd => write!(f, "gate += 1"),
            WaitUntil(value) => write!(f, "wait until gate is {value}"),
            WaitWhile(value) => write!(f, "wait while gate is {value}"),
            Take => write!(f, "take one off the gate"),
            TryTake => write!(f, "take one off the gate if it is not 0"),
            SpinUntil(odd) => write!(f, "spin until gate is {}", if odd { "odd" } else { "even" }),
            RetryUntil(value) => write!(f, "retry until gate is {value}"),
            Look(first, last) => write!(f, "look at {first}..={last}"),
            Change(first, last) => write!(f, "change {first}..={last}"),
            Invalidate(first, last) => write!(f, "invalidate {first}..={last}"),
            Queue(i) => write!(f, "queue_work(item{i})"),
            Flush(i) => write!(f, "flush_work(item{i})"),
            Cancel(i) => write!(f, "cancel_work_sync(item{i})"),
            FlushQueue(ordered) => write!(f, "flush_workqueue({})", queue(ordered)),
            DestroyQueue(ordered) => write!(f, "destroy_workqueue({})", queue(ordered)),
            Choose(n) => write!(f, "if choice of {n} is 0:"),
            Allocate => write!(f, "if kvmalloc() works:"),
            PlainRead => write!(f, "read plain"),
            PlainWrite => write!(f, "write plain"),
        }
    }
}
