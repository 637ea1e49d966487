//! Visible operations and when two of them depend on each other.
//!
//! This table is the heart of the reduction: two neighbouring operations that are independent here may be swapped
//! without anybody noticing, so only one of the two orders is explored. An entry too few loses schedules; an entry too
//! many costs executions.

use crate::lab::Span;
use serde::{Deserialize, Serialize};

/// Index of an object in the running execution.
pub(crate) type ObjectId = u32;

/// The object of operations that touch none.
pub(crate) const NO_OBJECT: ObjectId = u32::MAX;

/// What an operation does to its object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The actor has finished. Never enabled.
    Done,
    /// The actor has not begun. Always enabled, depends on nothing.
    Begin,
    /// Acquire a mutex.
    Lock,
    /// Acquire a spinlock.
    SpinLock,
    /// Acquire a rwsem for read; waits for a holder for write and behind queued writers.
    ReadLock,
    /// Queue for writing: from here on new readers wait.
    WriteQueue,
    /// The queued writer takes the rwsem.
    WriteLock,
    /// Read an atomic, a lockless word or a gate.
    Load,
    /// Write or read-modify-write one.
    Store,
    /// Sleep until a gate's word differs from `arg`.
    WaitWhile,
    /// Sleep until a gate's word equals `arg`.
    WaitUntil,
    /// Look at a span of visible state.
    Read,
    /// Change a span of visible state.
    Write,
    /// Drop cached copies of a span of visible state.
    Invalidate,
    /// Queue a work item.
    Queue,
    /// Cancel a work item, cut its timer short, or close the door of its queue.
    Unqueue,
    /// Ask which instance of a work item (without a timer) was queued last.
    Instance,
    /// Sleep until instance `arg` of a work item, and all before it, are neither pending nor running. Once that is so it
    /// stays so, whatever is queued later; therefore it is independent of everything.
    Flush,
    /// The same at the end of `cancel_work_sync`, from which on the item may be queued again.
    CancelEnd,
    /// A worker takes up its item.
    WorkStart,
    /// A retry loop that has used up its free rounds.
    Retry,
    /// One of `arg` things happens, and it is not the scheduler's kind of choice: an allocation fails or not, a timeout
    /// comes or not. Depends on nothing; all values are explored.
    Choose,
    /// Acquire a mutex, a spinlock, or a rwsem for write, if that is possible at once.
    TryLock,
    /// Acquire a rwsem for read, if that is possible at once.
    TryRead,
    /// Release a lock that may be tried. The release of any other lock is no event: nobody can see it but by acquiring.
    Unlock,
    /// The same of a rwsem that was held for read.
    UnlockRead,
    /// Sleep until a gate's word is not 0, and take one off it.
    Take,
    /// Spin until the bits `span.last` of a gate's word are `arg`.
    SpinUntil,
    /// Begin a read-side critical section of RCU.
    RcuRead,
    /// Begin to wait for the sections that have begun.
    GraceBegin,
    /// Sleep until those have ended. Once they have, they stay so; therefore it is independent of everything.
    GraceEnd,
    /// Wait until nothing else can run, not even as a last resort.
    Rest,
}

impl Kind {
    /// Whether the operation leaves its object as it was: two of these on one object are independent.
    #[inline]
    pub(crate) const fn is_read(self) -> bool {
        use Kind::*;
        matches!(self, ReadLock | TryRead | Load | WaitWhile | WaitUntil | SpinUntil | Read | RcuRead)
    }
    /// Whether the object is indexed by spans.
    #[inline]
    pub(crate) const fn has_span(self) -> bool {
        matches!(self, Kind::Read | Kind::Write | Kind::Invalidate)
    }
    /// Whether every earlier operation on its object happens before it: no need to look further back.
    #[inline]
    pub(crate) const fn orders_all(self) -> bool {
        matches!(self, Kind::Lock | Kind::SpinLock | Kind::Store | Kind::Take)
    }
    /// Whether the object is a work item.
    pub(crate) const fn is_work(self) -> bool {
        use Kind::*;
        matches!(self, Queue | Unqueue | Instance | Flush | CancelEnd | WorkStart)
    }
    /// Whether the operation may put the actor to sleep, which atomic context forbids.
    pub(crate) const fn may_sleep(self) -> bool {
        matches!(
            self,
            Kind::Lock
                | Kind::ReadLock
                | Kind::WriteQueue
                | Kind::WriteLock
                | Kind::WaitWhile
                | Kind::WaitUntil
                | Kind::Take
                | Kind::GraceBegin
                | Kind::GraceEnd
                | Kind::Flush
                | Kind::CancelEnd
                | Kind::Rest
        )
    }
}

/// A visible operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) object: ObjectId,
    /// For span kinds, where; for waits on a word, `first` is what its bits `last` are compared with.
    pub(crate) span: Span,
}

impl Op {
    pub(crate) const DONE: Op = Op::new(Kind::Done, NO_OBJECT);
    pub(crate) const BEGIN: Op = Op::new(Kind::Begin, NO_OBJECT);

    pub(crate) const fn new(kind: Kind, object: ObjectId) -> Op {
        Op { kind, object, span: Span::ALL }
    }
    pub(crate) const fn with_span(kind: Kind, object: ObjectId, span: Span) -> Op {
        Op { kind, object, span }
    }
    /// A wait on the bits `mask` of a gate's word.
    pub(crate) const fn wait(kind: Kind, object: ObjectId, value: u64, mask: u64) -> Op {
        Op { kind, object, span: Span::new(value, mask) }
    }
    pub(crate) const fn with_arg(kind: Kind, object: ObjectId, arg: u64) -> Op {
        Op { kind, object, span: Span::one(arg) }
    }
    /// Equality without a branch for each field.
    #[inline]
    pub(crate) fn is(&self, other: &Op) -> bool {
        let spans = (self.span.first ^ other.span.first) | (self.span.last ^ other.span.last);
        let what = (self.kind as u32 ^ other.kind as u32) | (self.object ^ other.object);
        spans | u64::from(what) == 0
    }
    pub(crate) const fn arg(&self) -> u64 {
        self.span.first
    }
}

/// Whether the order of the two can matter. Symmetric.
#[inline]
pub(crate) fn dependent(a: &Op, b: &Op) -> bool {
    a.object == b.object && a.object != NO_OBJECT && dependent_here(a, b)
}

/// The same of two operations on one object.
#[inline]
pub(crate) fn dependent_here(a: &Op, b: &Op) -> bool {
    match TABLE[a.kind as usize][b.kind as usize] {
        Depends::No => false,
        Depends::Yes => true,
        Depends::WhereTheyMeet => a.span.first <= b.span.last && b.span.first <= a.span.last,
    }
}

/// An entry of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Depends {
    No,
    Yes,
    /// When their spans overlap.
    WhereTheyMeet,
}

/// By kind and kind, of two operations on one object.
static TABLE: [[Depends; KINDS.len()]; KINDS.len()] = {
    let mut table = [[Depends::No; KINDS.len()]; KINDS.len()];
    let mut a = 0;
    while a < KINDS.len() {
        let mut b = 0;
        while b < KINDS.len() {
            table[a][b] = entry(KINDS[a], KINDS[b]);
            b += 1;
        }
        a += 1;
    }
    table
};

/// How the table is made: one rule after the other, the first that fits counts.
const fn entry(a: Kind, b: Kind) -> Depends {
    use Depends::{No, WhereTheyMeet, Yes};
    match (a, b) {
        // Nobody else's business.
        (Kind::Done | Kind::Begin | Kind::Retry | Kind::Choose | Kind::Rest, _) => No,
        (_, Kind::Done | Kind::Begin | Kind::Retry | Kind::Choose | Kind::Rest) => No,
        _ if a.is_read() && b.is_read() => No,
        (Kind::Flush | Kind::GraceEnd, _) | (_, Kind::Flush | Kind::GraceEnd) => No,
        (Kind::CancelEnd, Kind::Queue) | (Kind::Queue, Kind::CancelEnd) => Yes,
        (Kind::CancelEnd, _) | (_, Kind::CancelEnd) => No,
        // Instances are counted when they are queued; that they start or are cancelled changes nothing.
        (Kind::Instance, Kind::Queue) | (Kind::Queue, Kind::Instance) => Yes,
        (Kind::Instance, _) | (_, Kind::Instance) => No,
        // A queued writer keeps readers out, so taking the lock and reading are never both possible: the order that
        // matters is that of the reader and the queueing.
        (Kind::ReadLock, Kind::WriteLock) | (Kind::WriteLock, Kind::ReadLock) => No,
        (Kind::WriteQueue, Kind::WriteLock) | (Kind::WriteLock, Kind::WriteQueue) => No,
        // Queueing only counts up; which of two writers goes first is decided when they take the lock.
        (Kind::WriteQueue, Kind::WriteQueue) => No,
        // To try fails behind a queued writer and behind a holder alike.
        (Kind::TryLock | Kind::TryRead, Kind::WriteLock) | (Kind::WriteLock, Kind::TryLock | Kind::TryRead) => No,
        // Another reader neither helps nor hinders.
        (Kind::TryRead, Kind::UnlockRead) | (Kind::UnlockRead, Kind::TryRead) => No,
        (Kind::TryLock | Kind::TryRead, _) | (_, Kind::TryLock | Kind::TryRead) => Yes,
        // Only who tries sees a release; who waits comes after it in any case.
        (Kind::Unlock | Kind::UnlockRead, _) | (_, Kind::Unlock | Kind::UnlockRead) => No,
        // Which sections have begun is all that a grace period asks for.
        (Kind::GraceBegin, Kind::GraceBegin) => No,
        // A flush drops copies; a write changes the original.
        (Kind::Invalidate, Kind::Write) | (Kind::Write, Kind::Invalidate) | (Kind::Invalidate, Kind::Invalidate) => No,
        _ if a.has_span() => WhereTheyMeet,
        _ => Yes,
    }
}

/// All kinds, in declaration order.
pub(super) const KINDS: [Kind; 32] = {
    use Kind::*;
    [
        Done, Begin, Lock, SpinLock, ReadLock, WriteQueue, WriteLock, Load, Store, WaitWhile, WaitUntil, Read, Write,
        Invalidate, Queue, Unqueue, Instance, Flush, CancelEnd, WorkStart, Retry, Choose, TryLock, TryRead, Unlock,
        UnlockRead, Take, SpinUntil, RcuRead, GraceBegin, GraceEnd, Rest,
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_where_the_table_looks_for_them() {
        for (i, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
        }
    }

    #[test]
    fn dependence_is_symmetric_and_needs_a_common_object() {
        for a in KINDS {
            for b in KINDS {
                let (x, y) = (Op::new(a, 1), Op::new(b, 1));
                assert_eq!(dependent(&x, &y), dependent(&y, &x), "{a:?} {b:?}");
                assert!(!dependent(&x, &Op::new(b, 2)));
            }
        }
    }

    #[test]
    fn spans_that_do_not_meet_are_independent() {
        let at = |kind, first, last| Op::with_span(kind, 1, Span::new(first, last));
        assert!(dependent(&at(Kind::Write, 0, 9), &at(Kind::Read, 9, 12)));
        assert!(!dependent(&at(Kind::Write, 0, 9), &at(Kind::Read, 10, 12)));
        assert!(dependent(&at(Kind::Invalidate, 0, 9), &at(Kind::Read, 3, 3)));
        assert!(!dependent(&at(Kind::Invalidate, 0, 9), &at(Kind::Write, 3, 3)));
    }
}
