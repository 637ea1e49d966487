//! Source-set dynamic partial-order reduction with sleep sets (Abdulla et al., 2014).
//!
//! Each time an operation is about to happen, the earlier events that it races with are looked up: dependent, and not
//! ordered by anything between. For each such race one actor is wanted at the earlier place that starts an execution in
//! which the two come the other way round. Sleep sets keep an actor from being tried where a sibling has covered it.
//!
//! Two things are easy to get wrong, and each loses schedules:
//! - operations that are disabled when a path ends never happen on it, so their races are looked up there
//!   ([`Exec::see_blocked`]);
//! - a race that cannot be turned round at its place (a nested hold, a queued writer) must not hide an earlier one.

use super::clock::{Actors, Clock, MAX_ACTORS};
use super::exec::Exec;
use super::op::{Kind, NO_OBJECT, Op, dependent, dependent_here};
use super::part::Escape;

impl Exec {
    /// The choice at a new place of an exhaustive search; None when everything possible here is asleep.
    pub(super) fn choose_exhaustively(&mut self, runnable: Actors, reduce: bool, bound: Option<u16>) -> Option<u8> {
        let depth = self.depth;
        if depth + 1 == self.replayed {
            // The place where this path leaves the previous one: the choice was made by `backtrack`.
            let actor = self.frames[depth].actor;
            assert!(
                runnable & (1 << actor) != 0,
                "the search wants {} to go, and it cannot",
                self.names()[actor as usize]
            );
            return Some(actor);
        }
        if depth == self.part.look {
            self.part.seen = Some(self.place(runnable));
            return None;
        }
        if self.frames.len() <= depth {
            self.frames.push(Default::default());
        }
        if !reduce && self.is_covered(bound.is_some(), runnable) {
            return None;
        }
        let sleep = if reduce { self.asleep(depth) } else { 0 };
        let available = runnable & !sleep;
        if available == 0 {
            return None;
        }
        // Who has only begun has nothing that others are to wait for.
        let before = self.frames[..depth].last();
        let stay = before.filter(|f| f.op.kind != Kind::Begin || bound.is_some()).map(|f| f.actor);
        let begins = if bound.is_some() { 0 } else { available & self.at_begin() };
        // Straight to what the place before was wanted for: on other ways all may be asleep.
        let planned = self.plan.pop().filter(|actor| available & (1 << actor) != 0);
        if planned.is_none() {
            self.plan.clear();
        }
        let actor = match stay {
            _ if planned.is_some() => planned.unwrap_or(0),
            _ if begins != 0 => begins.trailing_zeros() as u8,
            Some(actor) if available & (1 << actor) != 0 => actor,
            _ => available.trailing_zeros() as u8,
        };
        self.frames[depth].begin(runnable, sleep, actor);
        if !reduce {
            let wanted = match (bound, stay) {
                (Some(bound), Some(stay))
                    if runnable & (1 << stay) != 0 && self.frames[depth - 1].preemptions >= bound =>
                {
                    self.bounded.held_back |= runnable != 1 << stay;
                    1 << stay
                }
                // To begin is independent of everything, as is a choice of one's own: all orders of them are one.
                (None, _) if matches!(self.pending[actor as usize].kind, Kind::Begin | Kind::Choose) => 1 << actor,
                _ => runnable,
            };
            self.frames[depth].want_all(wanted);
        }
        Some(actor)
    }

    /// Whose turn at `depth`, which the path has come to, a sibling looks after.
    pub(super) fn asleep(&self, depth: usize) -> Actors {
        let mut sleep = 0;
        if depth > 0 {
            // At a last resort nobody sleeps and nobody else is tried.
            let before = &self.frames[depth - 1];
            let mut candidates = (before.sleep | before.done) & !(1 << before.actor);
            while candidates != 0 {
                let other = candidates.trailing_zeros() as usize;
                candidates &= candidates - 1;
                if !dependent(&self.pending[other], &before.op) {
                    sleep |= 1 << other;
                }
            }
        }
        sleep
    }

    /// Actors whose next step depends on nothing.
    fn at_begin(&self) -> Actors {
        let not_begun = |actor: &usize| matches!(self.pending[*actor].kind, Kind::Begin | Kind::Choose);
        (0..self.actors).filter(not_begun).fold(0, |set, actor| set | 1 << actor)
    }

    /// Straight to what the actor was wanted for with whom the path leaves the one before.
    pub(crate) fn follow_plan(&mut self) {
        self.plan.clear();
        if let Some(last) = self.replayed.checked_sub(1) {
            self.plan.extend(self.frames[last].plan().iter().rev());
        }
    }

    /// Finds the next path; false when there is none.
    pub(crate) fn backtrack(&mut self) -> bool {
        let mut depth = self.depth;
        while depth > self.part.stop {
            depth -= 1;
            if self.frames[depth].advance() {
                self.replayed = depth + 1;
                self.follow_plan();
                return true;
            }
        }
        false
    }

    /// The path ends here: the races of operations that cannot happen any more on it, those of `but` excepted.
    pub(super) fn see_blocked(&mut self, but: Actors) {
        if !self.chooser.reduces() {
            return;
        }
        for actor in 0..self.actors {
            let op = self.pending[actor];
            if op.object != NO_OBJECT && but & (1 << actor) == 0 {
                self.find_races(actor as u8, &op, self.depth);
            }
        }
    }

    /// Looks up the races of `op`, which `actor` is about to do at `depth`.
    pub(super) fn find_races(&mut self, actor: u8, op: &Op, depth: usize) {
        if op.object == NO_OBJECT {
            return;
        }
        if self.objects[op.object as usize].is_held_against(op, actor) {
            // It waits for itself, in any order.
            return;
        }
        let clock = self.clocks[actor as usize];
        let mut since = clock;
        // Whether it has to be an earlier instance, or one that was taken off.
        let (mut late, mut idle) = (false, false);
        if op.kind == Kind::WorkStart {
            // An item cannot start before it is queued, in no order of events. But what was cancelled could have.
            match self.order_before_start(op.arg() as usize) {
                Some(before) => {
                    since = before;
                    late = self.starts_late(op.arg() as usize);
                }
                // On an ordered queue other items too have kept it from starting while it was due.
                None if self.was_cancelled(op.arg() as usize) => idle = self.is_unbound(op.arg() as usize),
                None => return,
            }
        }
        let mut at = self.objects[op.object as usize].last as usize;
        // What is before those events on the object that `op` comes after: their races stand for it.
        let mut covered = Clock::ZERO;
        while at != 0 {
            let index = at - 1;
            let frame = &self.frames[index];
            at = frame.previous as usize;
            if frame.actor == actor {
                if frame.op.kind.orders_all() {
                    break;
                }
                continue;
            }
            late &= !frame.unqueued;
            if !dependent_here(&frame.op, op) || late || (idle && !frame.unqueued) {
                continue;
            }
            let other = frame.actor;
            let number = frame.index;
            let ordered = clock.lane(other) >= number;
            if frame.unqueued {
                // What was due before this is another instance, with another beginning.
                since = clock;
            }
            if !ordered && since.lane(other) >= number {
                continue;
            }
            let (before, last) = (frame.clock, frame.op.kind.orders_all());
            if !ordered && covered.lane(other) < number && !self.turn_round(index, actor, op, depth) {
                continue;
            }
            if last {
                break;
            }
            covered.join(&before);
        }
    }

    /// Wants, at event `earlier`, somebody who starts an execution in which `op` comes before it. False when there is no
    /// such execution.
    fn turn_round(&mut self, earlier: usize, actor: u8, op: &Op, depth: usize) -> bool {
        let event = &self.frames[earlier];
        if event.late {
            // It could only happen because nothing else could: nobody else was possible there.
            return false;
        }
        if !self.objects[op.object as usize].word_allows(op, event.word) {
            // Changes of the word since then come after it: before it, the word was not what is waited for.
            return false;
        }
        self.races += 1;
        let (other, number, enabled) = (event.actor, event.index, event.enabled);
        // The first event of each actor that does not happen after `earlier`; who of them depends on no other of them
        // can go first.
        let mut first = [0u16; MAX_ACTORS];
        let mut initials: Actors = 0;
        let (mut actor_moved, mut op_depends) = (false, false);
        for frame in &self.frames[earlier + 1..depth] {
            actor_moved |= frame.actor == actor;
            if frame.clock.lane(other) >= number {
                continue;
            }
            op_depends |= dependent(&frame.op, op);
            let who = frame.actor as usize;
            if first[who] != 0 {
                continue;
            }
            let depends = (0..self.actors).any(|q| first[q] != 0 && frame.clock.lane(q as u8) >= first[q]);
            first[who] = frame.index;
            if !depends {
                initials |= 1 << who;
            }
        }
        if !actor_moved && !op_depends && enabled & (1 << actor) != 0 {
            initials |= 1 << actor;
        }
        if initials == 0 {
            return false;
        }
        if !self.frames[earlier].covers(initials) {
            // What `op` comes after, itself, and nothing else.
            let between = || self.frames[earlier + 1..depth].iter().filter(|f| f.clock.lane(other) < number);
            let mut past = self.clocks[actor as usize];
            between().filter(|f| dependent(&f.op, op)).for_each(|f| past.join(&f.clock));
            let mut plan: Vec<u8> =
                between().filter(|f| past.lane(f.actor) >= f.index).map(|f| f.actor).chain([actor]).collect();
            let mut first = plan.remove(0);
            if initials & (1 << first) == 0 {
                first = initials.trailing_zeros() as u8;
                plan.clear();
            }
            if earlier < self.part.own {
                self.part.escape(Escape { at: earlier as u32, initials, first, plan });
            } else {
                self.frames[earlier].want(first, plan);
            }
        }
        true
    }
}
