//! Every execution with at most so many context switches, so that the fewest can be told and not only guessed.
//!
//! An execution is a beginning that was chosen, gone on with until its actor can go no further. The next switch comes
//! there or at any event before, to any other actor: what comes next is the same search with one switch less. A switch
//! that an actor's end or wait forces counts like any other, as it does for the reader of the story.

use super::attempt::{Attempt, attempt};
use crate::explore::{Config, Failure, Program};
use crate::lab::Invariant;
use std::sync::atomic::{AtomicBool, Ordering};

/// What came of the search for a failure with few context switches.
pub(super) enum Fewest {
    /// There it is.
    Found(Box<Failure>),
    /// No execution with so few context switches violates the invariant.
    None,
    /// The executions ran out, or somebody asked to stop.
    GaveUp,
}

/// Looks for a violation of `invariant` with `switches` context switches or less, in `left` executions at most, which
/// are counted down.
pub(super) fn fewest(
    program: &dyn Program,
    config: &Config,
    invariant: Invariant,
    switches: u32,
    left: &mut u64,
    stop: Option<&AtomicBool>,
) -> Fewest {
    let mut search = Search { program, config, invariant, most: switches, left, stop, gave_up: false };
    // Whoever goes first: the actors are known once something has run.
    let Some(first) = search.run(Vec::new()) else { return Fewest::GaveUp };
    for actor in 0..first.actors {
        if let Some(found) = search.after(vec![actor], switches) {
            return Fewest::Found(Box::new(found));
        }
    }
    if search.gave_up { Fewest::GaveUp } else { Fewest::None }
}

struct Search<'a> {
    program: &'a dyn Program,
    config: &'a Config,
    invariant: Invariant,
    most: u32,
    left: &'a mut u64,
    stop: Option<&'a AtomicBool>,
    gave_up: bool,
}

impl Search<'_> {
    fn run(&mut self, wanted: Vec<u8>) -> Option<Attempt> {
        if *self.left == 0 || self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            self.gave_up = true;
            return None;
        }
        *self.left -= 1;
        Some(attempt(self.program, self.config, wanted))
    }

    /// All executions that begin with `prefix` and have `switches` more switches or less.
    fn after(&mut self, prefix: Vec<u8>, switches: u32) -> Option<Failure> {
        let (fixed, actor) = (prefix.len(), *prefix.last()?);
        let ran = self.run(prefix.clone())?;
        if !ran.choices.starts_with(&prefix) {
            return None; // its last actor cannot run there
        }
        if let Some(failure) = ran.failure
            && failure.violation.invariant == self.invariant
            && failure.context_switches <= self.most
        {
            return Some(failure);
        }
        let end = (fixed..ran.choices.len()).find(|at| ran.choices[*at] != actor).unwrap_or(ran.choices.len());
        if switches == 0 {
            return None;
        }
        // Late switches first: most of what must have happened before has happened by then.
        for at in (fixed..=end.min(ran.choices.len() - 1)).rev() {
            for other in (0..ran.actors).filter(|other| *other != actor) {
                let mut next = ran.choices[..at].to_vec();
                next.push(other);
                if let Some(found) = self.after(next, switches - 1) {
                    return Some(found);
                }
            }
        }
        None
    }
}
