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
}

impl Kind {
    /// Whether the operation leaves its object as it was: two of these on one object are independent.
    #[inline]
    pub(crate) const fn is_read(self) -> bool {
        matches!(self, Kind::ReadLock | Kind::Load | Kind::WaitWhile | Kind::WaitUntil | Kind::Read)
    }
    /// Whether the object is indexed by spans.
    #[inline]
    pub(crate) const fn has_span(self) -> bool {
        matches!(self, Kind::Read | Kind::Write | Kind::Invalidate)
    }
    /// Whether every earlier operation on its object happens before it: no need to look further back.
    #[inline]
    pub(crate) const fn orders_all(self) -> bool {
        matches!(self, Kind::Lock | Kind::SpinLock | Kind::Store)
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
                | Kind::Flush
                | Kind::CancelEnd
        )
    }
}

/// A visible operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) object: ObjectId,
    /// For span kinds, where; for waits, `first` is the word compared with.
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
    pub(crate) const fn with_arg(kind: Kind, object: ObjectId, arg: u64) -> Op {
        Op { kind, object, span: Span::one(arg) }
    }
    pub(crate) const fn arg(&self) -> u64 {
        self.span.first
    }
}

/// Whether the order of the two can matter. Symmetric.
#[inline]
pub(crate) fn dependent(a: &Op, b: &Op) -> bool {
    if a.object != b.object || a.object == NO_OBJECT || (a.kind.is_read() && b.kind.is_read()) {
        return false;
    }
    match (a.kind, b.kind) {
        (Kind::Flush, _) | (_, Kind::Flush) => false,
        (Kind::CancelEnd, other) | (other, Kind::CancelEnd) => matches!(other, Kind::Queue),
        // Instances are counted when they are queued; that they start or are cancelled changes nothing.
        (Kind::Instance, other) | (other, Kind::Instance) => matches!(other, Kind::Queue),
        // A queued writer keeps readers out, so taking the lock and reading are never both possible: the order that
        // matters is that of the reader and the queueing.
        (Kind::ReadLock, Kind::WriteLock) | (Kind::WriteLock, Kind::ReadLock) => false,
        (Kind::WriteQueue, Kind::WriteLock) | (Kind::WriteLock, Kind::WriteQueue) => false,
        // Queueing only counts up; which of two writers goes first is decided when they take the lock.
        (Kind::WriteQueue, Kind::WriteQueue) => false,
        // A flush drops copies; a write changes the original.
        (Kind::Invalidate, Kind::Write) | (Kind::Write, Kind::Invalidate) | (Kind::Invalidate, Kind::Invalidate) => {
            false
        }
        _ if a.kind.has_span() => a.span.first <= b.span.last && b.span.first <= a.span.last,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 19] = [
        Kind::Lock,
        Kind::SpinLock,
        Kind::ReadLock,
        Kind::WriteQueue,
        Kind::WriteLock,
        Kind::Load,
        Kind::Store,
        Kind::WaitWhile,
        Kind::WaitUntil,
        Kind::Read,
        Kind::Write,
        Kind::Invalidate,
        Kind::Queue,
        Kind::Unqueue,
        Kind::Instance,
        Kind::Flush,
        Kind::CancelEnd,
        Kind::WorkStart,
        Kind::Retry,
    ];

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
