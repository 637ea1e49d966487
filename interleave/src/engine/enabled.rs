//! Who can run, kept up to date step by step.
//!
//! Whether an actor can do its pending operation depends on the state of that operation's object alone. So each object
//! knows who is at its door ([`Object::waiting`](super::object::Object)), and a change of its state ([`Exec::changed`])
//! only marks those to be asked again before the next choice. While a prefix is done again nobody has a choice, and
//! nothing of this is kept; [`Exec::know_who_can_run`] starts it afresh.

use super::clock::Actors;
use super::exec::Exec;
use super::object::Object;
use super::op::{Kind, NO_OBJECT, ObjectId, Op};
use model::platform::QueueKind;

/// See the module documentation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enabled {
    /// Can go.
    now: Actors,
    /// Can go, as a last resort.
    late: Actors,
    /// Have to be asked again.
    stale: Actors,
    /// Whether objects know who is at their door.
    kept: bool,
}

impl Enabled {
    pub(super) const NONE: Enabled = Enabled { now: 0, late: 0, stale: 0, kept: false };
}

/// An answer to whether an actor can go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Can {
    No,
    Go,
    /// When nobody else can.
    GoLate,
}

impl Exec {
    /// `op` is `actor`'s pending operation from now on.
    #[inline]
    pub(crate) fn comes(&mut self, actor: u8, op: Op) {
        self.pending[actor as usize] = op;
        if self.enabled.kept {
            if op.object != NO_OBJECT {
                self.objects[op.object as usize].waiting |= 1 << actor;
            }
            self.enabled.stale |= 1 << actor;
        }
    }

    /// `actor`'s pending operation on `object` is happening.
    #[inline]
    pub(super) fn leaves(&mut self, actor: u8, object: ObjectId) {
        if self.enabled.kept {
            if object != NO_OBJECT {
                self.objects[object as usize].waiting &= !(1 << actor);
                self.changed(object);
            }
            let gone = !(1 << actor);
            self.enabled.now &= gone;
            self.enabled.late &= gone;
            self.enabled.stale &= gone;
        }
    }

    /// The state of `object` has changed: whoever is at its door may have got the way free, or lost it.
    #[inline]
    pub(crate) fn changed(&mut self, object: ObjectId) {
        self.enabled.stale |= self.objects[object as usize].waiting;
    }

    /// From here on there are choices.
    pub(super) fn know_who_can_run(&mut self) {
        if self.enabled.kept {
            return;
        }
        self.enabled.kept = true;
        self.enabled.stale = (1 << self.actors) - 1;
        for actor in 0..self.actors {
            let object = self.pending[actor].object;
            if object != NO_OBJECT {
                self.objects[object as usize].waiting |= 1 << actor;
            }
        }
    }

    /// Actors that can run, and whether only as a last resort.
    #[inline]
    pub(super) fn runnable(&mut self) -> (Actors, bool) {
        let mut stale = std::mem::take(&mut self.enabled.stale);
        while stale != 0 {
            let actor = stale.trailing_zeros();
            stale &= stale - 1;
            let bit = 1 << actor;
            let (now, late) = match self.can_run(actor as usize) {
                Can::No => (0, 0),
                Can::Go => (bit, 0),
                Can::GoLate => (0, bit),
            };
            self.enabled.now = self.enabled.now & !bit | now;
            self.enabled.late = self.enabled.late & !bit | late;
        }
        match self.enabled.now {
            0 => (self.last_resort(), true),
            now => (now, false),
        }
    }

    /// Those that can run as a last resort; who waits for rest goes when there are no others.
    #[cold]
    fn last_resort(&self) -> Actors {
        let late = self.enabled.late;
        let others = (0..self.actors).filter(|actor| self.pending[*actor].kind != Kind::Rest);
        match late & others.fold(0, |set, actor| set | 1 << actor) {
            0 => late,
            busy => busy,
        }
    }

    fn can_run(&self, actor: usize) -> Can {
        let op = &self.pending[actor];
        let may = |yes| if yes { Can::Go } else { Can::No };
        match op.kind {
            Kind::Done => Can::No,
            Kind::Begin | Kind::Choose | Kind::Queue | Kind::Unqueue | Kind::Instance => Can::Go,
            Kind::Retry | Kind::Rest => Can::GoLate,
            Kind::Flush | Kind::CancelEnd => may(self.items[op.span.last as usize].is_done(op.arg())),
            Kind::GraceEnd => may(self.grace.is_over(op.arg())),
            Kind::WorkStart => self.can_start(op.arg() as usize),
            _ => may(Object::allows(&self.objects[op.object as usize], op)),
        }
    }

    fn can_start(&self, id: usize) -> Can {
        let item = &self.items[id];
        let queue = &self.queues[item.queue];
        let ordered = queue.kind == QueueKind::Ordered;
        let first = if ordered { queue.order.first() } else { None };
        if item.running.is_some() || queue.busy {
            Can::No
        } else if item.pending.is_some() {
            if first.is_none_or(|first| *first == id) { Can::Go } else { Can::No }
        } else if item.timer.is_none() || first.is_some() {
            Can::No
        } else if item.expired < self.free_timers {
            Can::Go
        } else {
            Can::GoLate
        }
    }
}
