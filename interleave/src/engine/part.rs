//! What a part of a search that is split knows of the rest.
//!
//! A part explores below a prefix of events that are not its own: it may not add to what has to be tried there, because
//! other parts explore there at the same time and the order in which actors are wanted decides the tree. What its races
//! want there is written down, and whoever owns the place applies it when the part's turn comes in depth-first order.

use super::clock::Actors;
use super::exec::Exec;
use super::op::{Kind, NO_OBJECT};
use serde::{Deserialize, Serialize};

/// See the module documentation.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Events of the prefix: what is wanted below this depth is written down.
    pub(crate) own: usize,
    /// Backtracking ends here; at most `own`.
    pub(crate) stop: usize,
    /// What the races want in the prefix, in the order in which they were found.
    pub(crate) escapes: Vec<Escape>,
    /// Ends the path at this depth, for a look at who could go on.
    pub(crate) look: usize,
    /// What was seen there.
    pub(crate) seen: Option<Place>,
}

impl Default for Part {
    fn default() -> Self {
        Part { own: 0, stop: 0, escapes: Vec::new(), look: usize::MAX, seen: None }
    }
}

/// A race that somebody else's place has to see turned round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Escape {
    /// The event, from 0.
    pub(crate) at: u32,
    /// Who starts an execution in which the two come the other way round.
    pub(crate) initials: Actors,
    /// Who of them goes if it takes a new one.
    pub(crate) first: u8,
    /// Who goes next then: see [`Frame::plan`](super::frame::Frame::plan).
    pub(crate) plan: Vec<u8>,
}

impl Part {
    /// Writes it down, unless an earlier one stands for it.
    #[inline]
    pub(crate) fn escape(&mut self, escape: Escape) {
        push(&mut self.escapes, escape);
    }
}

/// Adds `escape`, unless an earlier one stands for it: once that is applied, somebody of `escape.initials` is covered.
pub(crate) fn push(escapes: &mut Vec<Escape>, escape: Escape) {
    if !escapes.iter().any(|e| e.at == escape.at && e.initials & !escape.initials == 0) {
        escapes.push(escape);
    }
}

/// A place that a path has come to, and where nothing has happened yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Who can run.
    pub(crate) runnable: Actors,
    /// Whose turn a sibling looks after.
    pub(crate) sleep: Actors,
    /// Whose next step depends on nothing that anybody can do.
    pub(crate) alone: Actors,
}

impl Exec {
    /// The place the path has come to.
    pub(super) fn place(&self, runnable: Actors) -> Place {
        let alone = (0..self.actors).filter(|&actor| {
            let op = &self.pending[actor];
            op.object == NO_OBJECT || op.kind == Kind::Flush
        });
        Place { runnable, sleep: self.asleep(self.depth), alone: alone.fold(0, |set, actor| set | 1 << actor) }
    }
}
