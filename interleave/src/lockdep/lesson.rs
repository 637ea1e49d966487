//! What an execution teaches about locks, in words that other threads, machines and later runs understand.
//!
//! A search may be cut into parts that know nothing of each other. Each of them writes down what it has learned, in its
//! order; put together in depth-first order and without what is known by then, that is what one thread would have
//! learned, and [`Lessons::predict`] makes the same of it.

use super::actor::How;
use super::class::Name;
use super::graph::Dep;
use super::predict::Predictor;
use super::report::LockReport;
use crate::explore::Schedule;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// One lock of a stack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Stacked {
    pub(super) class: Name,
    pub(super) how: How,
    /// Taking it did not wait.
    pub(super) begun: bool,
    /// Source file, from the crate's folder, and line.
    pub(super) file: Cow<'static, str>,
    pub(super) line: u32,
}

/// Somebody takes a lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Scene {
    pub(super) actor: String,
    /// What it holds, outermost first.
    pub(super) held: Vec<Stacked>,
    pub(super) taken: Stacked,
    pub(super) waits: Waits,
    /// The execution up to this moment.
    pub(super) schedule: Schedule,
}

/// What taking means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Waits {
    /// It has it from now on.
    Takes,
    /// It waits for those that have it.
    Syncs,
    /// It allocates, which may reclaim.
    Allocates,
}

/// A scene, and what is to be learned from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Lesson {
    pub(super) scene: Scene,
    /// A handler waits for the lock.
    pub(super) in_handler: bool,
    /// The lock is held with interrupts on.
    pub(super) irqs_on: bool,
    /// The lock is waited for, and comes after those that are held.
    pub(super) orders: bool,
}

/// What a lesson says, without who and when.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fact {
    Order(Name, Name, Dep),
    InHandler(Name, How),
    IrqsOn(Name, How),
}

impl Lesson {
    pub(super) fn facts(&self) -> impl Iterator<Item = Fact> {
        let Scene { held, taken, .. } = &self.scene;
        let edge =
            |outer: &Stacked| Fact::Order(outer.class.clone(), taken.class.clone(), Dep::of(outer.how, taken.how));
        let handler = self.in_handler.then(|| Fact::InHandler(taken.class.clone(), taken.how));
        let on = self.irqs_on.then(|| Fact::IrqsOn(taken.class.clone(), taken.how));
        handler.into_iter().chain(on).chain(held.iter().filter(|_| self.orders).map(edge))
    }
}

/// What a search, or a part of one, has learned about locks, in its order. Each lesson has something that those before
/// it have not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Lessons(Vec<Lesson>);

impl Lessons {
    /// Everything they say.
    pub(super) fn facts(&self) -> BTreeSet<Fact> {
        self.0.iter().flat_map(Lesson::facts).collect()
    }

    /// Adds `lesson` if it is one to somebody who knows `known`, and says whether it is.
    pub(super) fn learn(&mut self, lesson: Lesson, known: &mut BTreeSet<Fact>) {
        let before = known.len();
        known.extend(lesson.facts());
        if known.len() > before {
            self.0.push(lesson);
        }
    }

    /// Adds what comes later in the order of the search.
    pub fn add(&mut self, later: Lessons) {
        if later.0.is_empty() {
            return;
        }
        let mut known = self.facts();
        later.0.into_iter().for_each(|lesson| self.learn(lesson, &mut known));
    }

    /// The deadlocks that they predict, in the order in which one thread would have seen them.
    pub fn predict(&self) -> Vec<LockReport> {
        let mut predictor = Predictor::default();
        self.0.iter().for_each(|lesson| predictor.hear(lesson));
        predictor.reports
    }
}
