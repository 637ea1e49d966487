//! Synchronisation objects of the running execution, and when an operation on one can go ahead.

use super::clock::{Actors, Clock};
use super::op::{KINDS, Kind, Op};

/// No actor: free, or the setup.
pub(crate) const NOBODY: u8 = u8::MAX;

/// The state of an object as far as scheduling sees it.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    /// Whether it is a rwsem.
    pub(crate) rwsem: bool,
    /// Whether it is a lock that may be tried: its releases are events.
    pub(crate) may_be_tried: bool,
    /// Stable name in any interleaving: who created it, and as its how manyth.
    pub(crate) canonical: u64,
    /// Holder of a mutex or spinlock, or writer of a rwsem.
    pub(crate) owner: u8,
    /// Read holders, as counts (an actor may hold twice) and as a set.
    pub(crate) readers: u32,
    pub(crate) reader_set: Actors,
    /// Writers that queued and wait.
    pub(crate) queued_writers: u32,
    /// A gate's word.
    pub(crate) word: u64,
    /// What later operations are ordered after; see [`Past`].
    pub(crate) past: [Clock; 4],
    /// Event index + 1 of the last operation on it; 0 when there is none.
    pub(crate) last: u32,
    /// Whose pending operation is on it, once there are choices.
    pub(crate) waiting: Actors,
}

/// What is remembered of the operations on an object, each a join of clocks.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Past {
    /// Of all operations that change it, and of the releases of a lock held exclusively.
    Written,
    /// Of all operations that only look; of a rwsem, of the releases of readers; of a work item, of the ends of cancels
    /// and of looks at it.
    Read,
    /// Rwsem: of writers queueing. Work item: of the ends of its runs.
    Queued,
    /// Rwsem: of readers coming in. Work item: of queueing.
    Entered,
    /// Of operations that nothing has to be ordered after by way of the object.
    Forgotten,
}

/// What an operation is ordered after, as a set of [`Past`].
const fn before(kind: Kind) -> u8 {
    use Past::{Entered, Queued, Read, Written};
    const fn set(pasts: &[Past]) -> u8 {
        let (mut set, mut i) = (0, 0);
        while i < pasts.len() {
            set |= 1 << pasts[i] as u8;
            i += 1;
        }
        set
    }
    match kind {
        Kind::Lock | Kind::SpinLock | Kind::TryRead => set(&[Written]),
        Kind::Load | Kind::WaitWhile | Kind::WaitUntil | Kind::SpinUntil => set(&[Written]),
        Kind::RcuRead => set(&[Written]),
        Kind::GraceBegin => set(&[Read]),
        Kind::ReadLock => set(&[Written, Queued]),
        Kind::WriteQueue => set(&[Entered]),
        Kind::WriteLock | Kind::TryLock | Kind::Store | Kind::Take => set(&[Written, Read]),
        Kind::Queue => set(&[Written, Entered, Read]),
        Kind::Unqueue => set(&[Written, Entered]),
        // Only the end of a cancel has an order with queueing; what was waited for is the item's business.
        Kind::CancelEnd | Kind::Instance => set(&[Entered]),
        Kind::WorkStart => set(&[Written, Entered, Queued]),
        Kind::Flush | Kind::Read | Kind::Write | Kind::Invalidate => 0,
        // Who has tried is found on the way back; sections that were waited for are the domain's business.
        Kind::Unlock | Kind::UnlockRead | Kind::GraceEnd => 0,
        Kind::Done | Kind::Begin | Kind::Retry | Kind::Choose | Kind::Rest => 0,
    }
}

/// Where an operation is remembered. Acquisitions are not; their releases are.
const fn after(kind: Kind) -> Past {
    match kind {
        Kind::ReadLock | Kind::Queue => Past::Entered,
        Kind::WriteQueue => Past::Queued,
        Kind::Load | Kind::WaitWhile | Kind::WaitUntil | Kind::SpinUntil | Kind::RcuRead => Past::Read,
        Kind::CancelEnd | Kind::Instance => Past::Read,
        Kind::Store | Kind::Take | Kind::WorkStart | Kind::Unqueue | Kind::GraceBegin => Past::Written,
        _ => Past::Forgotten,
    }
}

static BEFORE: [u8; KINDS.len()] = {
    let (mut table, mut i) = ([0; KINDS.len()], 0);
    while i < KINDS.len() {
        table[i] = before(KINDS[i]);
        i += 1;
    }
    table
};

static AFTER: [u8; KINDS.len()] = {
    let (mut table, mut i) = ([0; KINDS.len()], 0);
    while i < KINDS.len() {
        table[i] = after(KINDS[i]) as u8;
        i += 1;
    }
    table
};

impl Object {
    pub(crate) fn new(name: &'static str, canonical: u64, word: u64) -> Self {
        Object {
            name,
            rwsem: false,
            may_be_tried: false,
            canonical,
            owner: NOBODY,
            readers: 0,
            reader_set: 0,
            queued_writers: 0,
            word,
            past: [Clock::ZERO; 4],
            last: 0,
            waiting: 0,
        }
    }

    /// Whether `op` can go ahead now. Work items are the business of [`super::work`].
    #[inline]
    pub(crate) fn allows(&self, op: &Op) -> bool {
        match op.kind {
            Kind::Lock | Kind::SpinLock => self.owner == NOBODY,
            Kind::ReadLock => self.owner == NOBODY && self.queued_writers == 0,
            Kind::WriteLock => self.owner == NOBODY && self.readers == 0,
            _ => self.word_allows(op, self.word),
        }
    }

    /// Whether `op` could go ahead if this were the word.
    pub(crate) fn word_allows(&self, op: &Op, word: u64) -> bool {
        match op.kind {
            Kind::WaitWhile => word & op.span.last != op.arg(),
            Kind::WaitUntil | Kind::SpinUntil => word & op.span.last == op.arg(),
            Kind::Take => word != 0,
            _ => true,
        }
    }

    /// Whether `actor` itself holds what it wants.
    pub(crate) fn is_held_against(&self, op: &Op, actor: u8) -> bool {
        match op.kind {
            Kind::Lock | Kind::SpinLock | Kind::ReadLock => self.owner == actor,
            Kind::WriteLock => self.owner == actor || self.reader_set & (1 << actor) != 0,
            _ => false,
        }
    }

    /// Joins into `clock` everything that happens before `op` because of this object. Spans are walked by the caller.
    #[inline]
    pub(crate) fn order_before(&self, op: &Op, clock: &mut Clock) {
        let before = BEFORE[op.kind as usize];
        for (i, past) in self.past.iter().enumerate() {
            if before & (1 << i) != 0 {
                clock.join(past);
            }
        }
    }

    /// Lets later operations be ordered after `op`, which happened at `clock`.
    #[inline]
    pub(crate) fn publish(&mut self, op: &Op, clock: &Clock) {
        if let Some(past) = self.past.get_mut(AFTER[op.kind as usize] as usize) {
            past.join(clock);
        }
    }

    /// What `op`, which tries, comes to now: 1 for success. A waiting writer keeps those who try out, too.
    pub(crate) fn tried(&self, kind: Kind) -> Option<u8> {
        match kind {
            Kind::TryLock => Some(u8::from(self.owner == NOBODY && self.readers == 0 && self.queued_writers == 0)),
            Kind::TryRead => Some(u8::from(self.owner == NOBODY && self.queued_writers == 0)),
            _ => None,
        }
    }

    /// The effect of `op`, which came to `value`, by `actor` on the state. Clocks are the caller's business.
    #[inline]
    pub(crate) fn apply(&mut self, op: &Op, actor: u8, value: u8) {
        match op.kind {
            Kind::TryLock if value == 1 => self.owner = actor,
            Kind::TryRead if value == 1 => self.apply(&Op { kind: Kind::ReadLock, ..*op }, actor, 0),
            Kind::Lock | Kind::SpinLock => self.owner = actor,
            Kind::ReadLock => {
                self.readers += 1;
                if actor != NOBODY {
                    self.reader_set |= 1 << actor;
                }
            }
            Kind::WriteQueue => self.queued_writers += 1,
            Kind::WriteLock => {
                self.queued_writers -= 1;
                self.owner = actor;
            }
            _ => {}
        }
    }
}
