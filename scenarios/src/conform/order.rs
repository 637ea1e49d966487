//! Program order: which scenarios have one, and what it is.

use crate::lang::{FinalKind, Op, OpKind, Place, Scenario};
use std::fmt;

/// Who does something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Who {
    /// What comes before the race; the process does it.
    Prepare,
    /// The thread with this index.
    Thread(usize),
    /// The wave with this index.
    Wave(usize),
    /// Somebody looks, in the end, at what the scenario expects there.
    Final,
}

/// One operation: whose, and which of its operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Step {
    /// Whose.
    pub who: Who,
    /// Index among the operations of that one.
    pub index: usize,
}

impl Step {
    /// The operation; None for [`Who::Final`].
    pub fn op(self, scenario: &Scenario) -> Option<&Op> {
        let ops = match self.who {
            Who::Prepare => &scenario.prepare,
            Who::Thread(thread) => &scenario.threads[thread].ops,
            Who::Wave(wave) => &scenario.waves[wave].ops,
            Who::Final => return None,
        };
        Some(&ops[self.index])
    }

    /// What is looked at in the end; None unless [`Who::Final`].
    pub fn last_look(self, scenario: &Scenario) -> Option<&FinalKind> {
        (self.who == Who::Final).then(|| &scenario.finals[self.index].kind)
    }

    /// Where it is written.
    pub fn place(self, scenario: &Scenario) -> Place {
        match self.op(scenario) {
            Some(op) => op.at,
            None => scenario.finals[self.index].at,
        }
    }

    /// Where it stands and what it says: `12: munmap "buf" size="4K"`.
    pub fn in_words(self, scenario: &Scenario) -> String {
        let (place, text) = (self.place(scenario), &scenario.source.text);
        let line = text.get(..place.offset).unwrap_or("").lines().count().max(1);
        match text.get(place.offset..place.offset + place.len) {
            Some(written) if !written.is_empty() => {
                let written: Vec<&str> = written.split_whitespace().collect();
                format!("{line}: {}", written.join(" "))
            }
            // Made by a builder.
            _ => self.op(scenario).map_or_else(|| "a last look".to_owned(), |op| op.kind.name().to_owned()),
        }
    }
}

/// A scenario in which things happen at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AtOnce {
    /// Who can go at the same moment; nobody, when all wait for each other.
    pub who: Vec<String>,
}

impl fmt::Display for AtOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who.as_slice() {
            [] => write!(f, "everybody waits for somebody"),
            who => write!(f, "{} go at once", who.join(" and ")),
        }
    }
}

/// One thread or wave while the order is found.
struct Actor<'a> {
    who: Who,
    name: &'a str,
    /// The child whose thread it is.
    process: Option<&'a str>,
    ops: &'a [Op],
    next: usize,
}

impl Actor<'_> {
    fn is_done(&self) -> bool {
        self.next == self.ops.len()
    }
}

/// The operations in the one order in which they can happen, what waits for others left out, and at the end the places
/// that the scenario wants looked at.
///
/// # Errors
/// At some moment several actors could go: there is more than one order.
pub fn program_order(scenario: &Scenario) -> Result<Vec<Step>, AtOnce> {
    let (mut steps, mut forked) = (Vec::new(), Vec::new());
    for (index, op) in scenario.prepare.iter().enumerate() {
        steps.push(Step { who: Who::Prepare, index });
        forked.extend(child_of(op));
    }
    let mut actors = actors(scenario);
    loop {
        pass_waits(&mut actors);
        let can_go = |actor: &&mut Actor<'_>| {
            let waits = actor.ops.get(actor.next).is_none_or(|op| matches!(op.kind, OpKind::After { .. }));
            !waits && actor.process.is_none_or(|process| forked.contains(&process))
        };
        let mut able: Vec<&mut Actor<'_>> = actors.iter_mut().filter(can_go).collect();
        match able.as_mut_slice() {
            [] => break,
            [only] => {
                steps.push(Step { who: only.who, index: only.next });
                forked.extend(child_of(&only.ops[only.next]));
                only.next += 1;
            }
            several => return Err(AtOnce { who: several.iter().map(|a| a.name.to_owned()).collect() }),
        }
    }
    if actors.iter().any(|actor| !actor.is_done()) {
        return Err(AtOnce { who: Vec::new() });
    }
    steps.extend((0..scenario.finals.len()).map(|index| Step { who: Who::Final, index }));
    Ok(steps)
}

fn actors(scenario: &Scenario) -> Vec<Actor<'_>> {
    let threads = scenario.threads.iter().enumerate().map(|(index, t)| Actor {
        who: Who::Thread(index),
        name: &t.name,
        process: t.process.as_deref(),
        ops: &t.ops,
        next: 0,
    });
    let waves = scenario.waves.iter().enumerate().map(|(index, w)| Actor {
        who: Who::Wave(index),
        name: &w.name,
        process: None,
        ops: &w.ops,
        next: 0,
    });
    threads.chain(waves).collect()
}

/// Goes past every wait for somebody who has finished.
fn pass_waits(actors: &mut [Actor<'_>]) {
    loop {
        let done: Vec<&str> = actors.iter().filter(|a| a.is_done()).map(|a| a.name).collect();
        let waits_no_longer = |actor: &Actor<'_>| matches!(actor.ops.get(actor.next).map(|op| &op.kind), Some(OpKind::After { actor }) if done.contains(&actor.as_str()));
        match actors.iter().position(waits_no_longer) {
            Some(index) => actors[index].next += 1,
            None => return,
        }
    }
}

fn child_of(op: &Op) -> Option<&str> {
    if let OpKind::Fork { child } = &op.kind { Some(child) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::ScenarioBuilder;

    #[test]
    fn who_waits_for_the_other_comes_after_it() {
        let scenario = ScenarioBuilder::new("t", "?")
            .region("buf", 0x20_0000, 0x4000)
            .thread("first", |t| t.store("buf", 0, 1).load("buf", 0, &[]))
            .thread("second", |t| t.after("first").load("buf", 0, &[]))
            .build()
            .expect("it is right");
        let order = program_order(&scenario).expect("they never go at once");
        let step = |thread, index| Step { who: Who::Thread(thread), index };
        assert_eq!(order, [step(0, 0), step(0, 1), step(1, 1)]);
    }

    #[test]
    fn two_threads_go_at_once() {
        let scenario = ScenarioBuilder::new("t", "?")
            .region("buf", 0x20_0000, 0x4000)
            .thread("first", |t| t.store("buf", 0, 1))
            .thread("second", |t| t.load("buf", 0, &[]))
            .build()
            .expect("it is right");
        let refused = program_order(&scenario).expect_err("they do");
        assert_eq!(refused.to_string(), "first and second go at once");
    }
}
