//! Every execution with at most so many context switches, so that the fewest can be told and not only guessed.
//!
//! An execution is a beginning that was chosen, gone on with until its actor can go no further. The next switch comes
//! there or at any event before, to any other actor: what comes next is the same search with one switch less. A switch
//! that an actor's end or wait forces counts like any other, as it does for the reader of the story.

use super::attempt::{Attempt, attempt};
use crate::explore::{Config, Failure, Program, Schedule};
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

/// Looks for a violation of `invariant` with `switches` context switches or less and the program's own choices coming to
/// `values`, in `left` executions at most, which
/// are counted down.
pub(super) fn fewest(
    program: &dyn Program,
    config: &Config,
    invariant: Invariant,
    (switches, values): (u32, &[u8]),
    left: &mut u64,
    stop: Option<&AtomicBool>,
) -> Fewest {
    let mut search = Search { program, config, invariant, values, most: switches, left, stop, gave_up: false };
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
    values: &'a [u8],
    most: u32,
    left: &'a mut u64,
    stop: Option<&'a AtomicBool>,
    gave_up: bool,
}

impl Search<'_> {
    fn run(&mut self, choices: Vec<u8>) -> Option<Attempt> {
        if *self.left == 0 || self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            self.gave_up = true;
            return None;
        }
        *self.left -= 1;
        Some(attempt(self.program, self.config, Schedule { choices, values: self.values.to_vec() }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::{Execution, Launch, Limits};
    use crate::lab::{Lab, Span, Violation, Visible};
    use crate::sim::Sim;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Actors that write to one object, so that every order is another execution; which orders are wrong is as good as
    /// random.
    struct Writers {
        writes: Vec<u8>,
        wrong: u64,
    }

    struct Written {
        order: Rc<RefCell<Vec<u8>>>,
        wrong: u64,
    }

    impl Program for Writers {
        fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
            let object = Rc::new(<Sim as Lab>::Visible::new("object"));
            let order = Rc::new(RefCell::new(Vec::new()));
            for (actor, writes) in self.writes.iter().copied().enumerate() {
                let (object, order) = (object.clone(), order.clone());
                launch.actor("writer", move || {
                    for _ in 0..writes {
                        object.write(Span::ALL);
                        order.borrow_mut().push(actor as u8);
                    }
                });
            }
            Box::new(Written { order, wrong: self.wrong })
        }
    }

    impl Execution for Written {
        fn at_rest(&self) {
            let order = self.order.borrow();
            let mixed = order.iter().fold(self.wrong, |sum, a| crate::engine::clock::mix(sum, u64::from(*a)));
            if mixed % 23 == 0 {
                Sim::fail(Violation::new(Invariant::I10, "a wrong order", None));
            }
        }
    }

    /// Whether some list of `blocks` blocks or less, each an actor and how often it goes, fails with so many switches.
    fn tried_one_by_one(program: &Writers, config: &Config, blocks: u32, wanted: &mut Vec<u8>) -> bool {
        let schedule = Schedule { choices: wanted.clone(), values: Vec::new() };
        let failure = attempt(program, config, schedule).failure;
        if failure.is_some_and(|f| f.context_switches < blocks + wanted.chunk_by(|a, b| a == b).count() as u32) {
            return true;
        }
        if blocks == 0 {
            return false;
        }
        // to begin is an event too
        (0..program.writes.len()).filter(|a| wanted.last() != Some(&(*a as u8))).collect::<Vec<_>>().into_iter().any(
            |actor| {
                (1..=usize::from(program.writes[actor]) + 1).any(|count| {
                    let length = wanted.len();
                    wanted.resize(length + count, actor as u8);
                    let fails = tried_one_by_one(program, config, blocks - 1, wanted);
                    wanted.truncate(length);
                    fails
                })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn as_few_as_trying_every_schedule_finds(writes in prop::collection::vec(1..4_u8, 2..4), wrong: u64) {
            let program = Writers { writes, wrong };
            let config = Config { limits: Limits { events_per_execution: 1_000, ..Limits::default() }, ..Config::default() };
            for switches in 0..4 {
                let mut left = 1_000_000;
                let found = fewest(&program, &config, Invariant::I10, (switches, &[]), &mut left, None);
                let exists = tried_one_by_one(&program, &config, switches + 1, &mut Vec::new());
                match found {
                    Fewest::Found(failure) => {
                        prop_assert!(failure.context_switches <= switches);
                        prop_assert!(exists);
                    }
                    Fewest::None => prop_assert!(!exists, "with {switches} switches"),
                    Fewest::GaveUp => prop_assert!(false, "so small a program is looked through"),
                }
            }
        }
    }
}
