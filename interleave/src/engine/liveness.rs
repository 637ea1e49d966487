//! Liveness: what happens when nothing can, deadlocks, and loops that make no progress.
//!
//! A retry loop that has used up its free rounds, and a timer that has used up its free expiries, go on only as a last
//! resort ("late"): when nothing else can run. That keeps a search finite and the scheduler fair, and a program in which
//! nothing but late steps happens any more makes no progress.

use super::clock::{Actors, MAX_ACTORS};
use super::exec::{Exec, Mode, Next};
use super::object::NOBODY;
use super::op::Kind;
use super::{missed, wait_for};
use crate::lab::{Invariant, Violation};

/// Late steps (barriers) of one execution after which nothing makes progress any more.
const LATE_STEPS: u32 = 96;
/// Late steps of one actor in a row, nobody else doing anything, after which it makes no progress.
const LATE_STEPS_IN_A_ROW: u32 = 12;

impl Exec {
    /// Whose turn a last resort is.
    pub(super) fn round_robin(&self, among: Actors) -> u8 {
        let after = if self.last_late == NOBODY { 0 } else { u32::from(self.last_late) + 1 };
        let later = among.checked_shr(after).unwrap_or(0);
        if later != 0 { (after + later.trailing_zeros()) as u8 } else { among.trailing_zeros() as u8 }
    }

    /// Counts late steps; too many of them are a violation.
    pub(super) fn watch_progress(&mut self, actor: u8, late: bool) {
        for (other, row) in self.late_in_a_row.iter_mut().enumerate() {
            if other != actor as usize {
                *row = 0;
            }
        }
        if !late {
            return;
        }
        if self.pending[actor as usize].kind == Kind::Rest {
            // Everything before has come to its end.
            (self.late_steps, self.last_late, self.late_in_a_row) = (0, NOBODY, [0; MAX_ACTORS]);
            return;
        }
        if self.pending[actor as usize].kind == Kind::Retry {
            // Nobody else can run, so time passes: what the loop waits for may be a deadline.
            self.now_ms += 1;
        }
        self.late_steps += 1;
        self.last_late = actor;
        let row = &mut self.late_in_a_row[actor as usize];
        *row += 1;
        if *row > LATE_STEPS_IN_A_ROW || self.late_steps > LATE_STEPS {
            let why = match self.pending[actor as usize].kind {
                Kind::WorkStart => "its timer expires and it arms it again",
                _ => self.why_retry[actor as usize],
            };
            let what = format!(
                "{} retries without end ({why}), nobody else can run, nothing changes{}{}",
                self.names()[actor as usize],
                missed::starved(self, actor),
                missed::work(self)
            );
            self.set_violation(Violation::new(Invariant::I6, what, None));
        }
    }

    /// Nobody can run: the program is at rest, or stuck.
    pub(super) fn nothing_runs(&mut self) -> Next {
        let stuck = |actor: &usize| {
            let op = &self.pending[*actor];
            let idle = op.kind == Kind::WorkStart && self.daemons & (1 << actor) != 0;
            op.kind != Kind::Done && !idle
        };
        let stuck: Vec<usize> = (0..self.actors).filter(stuck).collect();
        if stuck.is_empty() {
            return Next::Rest;
        }
        let what = wait_for::describe(self, &stuck);
        self.set_violation(Violation::new(Invariant::I8, what, None));
        Next::Failed
    }

    /// A retry loop goes round. Whether it is a visible operation this time.
    pub(crate) fn count_retry(&mut self, why: &'static str) -> bool {
        if self.mode == Mode::Sequential {
            // Nobody else runs here at all: as in `watch_progress`, what the loop waits for may be a deadline.
            self.now_ms += 1;
        }
        if self.mode != Mode::Running {
            return false;
        }
        let actor = self.current as usize;
        self.why_retry[actor] = why;
        self.retries[actor] += 1;
        self.retries[actor] > self.free_retries
    }
}
