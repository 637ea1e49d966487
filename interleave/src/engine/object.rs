//! Synchronisation objects of the running execution, and when an operation on one can go ahead.

use super::clock::{Actors, Clock};
use super::op::{Kind, Op};

/// No actor: free, or the setup.
pub(crate) const NOBODY: u8 = u8::MAX;

/// The state of an object as far as scheduling sees it.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    /// Whether it is a rwsem.
    pub(crate) rwsem: bool,
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
    /// Join of the clocks of all operations that change the object, and of the releases of a lock held exclusively.
    pub(crate) written: Clock,
    /// Join of the clocks of all operations that only look; of a rwsem, of the releases of readers; of a work item, of
    /// the ends of cancels and of looks at it.
    pub(crate) read: Clock,
    /// Rwsem: join of the clocks of writers queueing. Work item: of the ends of its runs.
    pub(crate) queued: Clock,
    /// Rwsem: join of the clocks of readers coming in. Work item: of queueing.
    pub(crate) entered: Clock,
    /// Event index + 1 of the last operation on it; 0 when there is none.
    pub(crate) last: u32,
    /// Whose pending operation is on it, once there are choices.
    pub(crate) waiting: Actors,
}

impl Object {
    pub(crate) fn new(name: &'static str, canonical: u64, word: u64) -> Self {
        Object {
            name,
            rwsem: false,
            canonical,
            owner: NOBODY,
            readers: 0,
            reader_set: 0,
            queued_writers: 0,
            word,
            written: Clock::ZERO,
            read: Clock::ZERO,
            queued: Clock::ZERO,
            entered: Clock::ZERO,
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
            Kind::WaitWhile => self.word != op.arg(),
            Kind::WaitUntil => self.word == op.arg(),
            _ => true,
        }
    }

    /// Whether `op` could go ahead if this were the word.
    pub(crate) fn word_allows(&self, op: &Op, word: u64) -> bool {
        match op.kind {
            Kind::WaitWhile => word != op.arg(),
            Kind::WaitUntil => word == op.arg(),
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
        match op.kind {
            Kind::Done | Kind::Begin | Kind::Retry | Kind::Choose | Kind::Read | Kind::Write | Kind::Invalidate => {}
            Kind::Lock | Kind::SpinLock => clock.join(&self.written),
            Kind::ReadLock => {
                clock.join(&self.written);
                clock.join(&self.queued);
            }
            Kind::WriteQueue => clock.join(&self.entered),
            Kind::WriteLock | Kind::Store => {
                clock.join(&self.written);
                clock.join(&self.read);
            }
            Kind::Queue => {
                clock.join(&self.written);
                clock.join(&self.entered);
                clock.join(&self.read);
            }
            Kind::Unqueue => {
                clock.join(&self.written);
                clock.join(&self.entered);
            }
            Kind::Load | Kind::WaitWhile | Kind::WaitUntil => clock.join(&self.written),
            // What it waited for is the item's business; only the end of a cancel has an order with queueing.
            Kind::Flush => {}
            Kind::CancelEnd | Kind::Instance => clock.join(&self.entered),
            Kind::WorkStart => {
                clock.join(&self.written);
                clock.join(&self.entered);
                clock.join(&self.queued);
            }
        }
    }

    /// Lets later operations be ordered after `op`, which happened at `clock`.
    #[inline]
    pub(crate) fn publish(&mut self, op: &Op, clock: &Clock) {
        match op.kind {
            Kind::ReadLock => self.entered.join(clock),
            Kind::WriteQueue => self.queued.join(clock),
            Kind::Load | Kind::WaitWhile | Kind::WaitUntil | Kind::CancelEnd | Kind::Instance => self.read.join(clock),
            Kind::Store | Kind::WorkStart | Kind::Unqueue => self.written.join(clock),
            Kind::Queue => self.entered.join(clock),
            _ => {}
        }
    }

    /// The effect of `op` by `actor` on the state. Clocks are the caller's business.
    #[inline]
    pub(crate) fn apply(&mut self, op: &Op, actor: u8) {
        match op.kind {
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
