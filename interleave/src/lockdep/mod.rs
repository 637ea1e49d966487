//! A lock-order validator in the manner of the kernel's lockdep (`kernel/locking/lockdep.c`,
//! `Documentation/locking/lockdep-design.rst`).
//!
//! It is fed by every execution of a search and predicts a deadlock from executions that do not have it: one that takes
//! A and then B, and another that takes B and then A, need not ever meet. What it finds is a
//! [`LockReport`]; the search goes on, because a prediction is no execution.
//!
//! | file | trade |
//! |---|---|
//! | `class` | lock classes: a name and a nesting subclass |
//! | `chain` | which stacks of held locks were seen before: what makes a known acquisition cheap |
//! | `actor` | what an actor holds, and in which context it is |
//! | `learn`, `lesson` | what a stack that was not seen before teaches: order, use in interrupts; written down, to be put together |
//! | `predict` | what follows from that: recursion, cycles |
//! | `graph` | the order graph and the search for a strong path in it |
//! | `hooks` | what the primitives call |
//! | `report` | a prediction in words |
//!
//! # Rules, all of them the kernel's
//! - A lock's **class** is the name it was constructed with. Two locks of one class held at once are a possible recursion,
//!   unless the inner one is taken with a subclass ([`Lab::nested`](crate::lab::Lab::nested)).
//! - **Order**: whoever takes B while it holds A makes an edge A -> B of one of four kinds, by how A is held and B is
//!   taken: S or E for "shared" or "exclusive", R or N for "recursive read" or "not". A path is strong when no `*R` is
//!   followed by an `S*`: a recursive reader never waits for a reader, so such a lock is no transfer station. Only a
//!   strong cycle is a deadlock. A plain read of a rwsem is **not** recursive here, because a queued writer stops it.
//! - **Interrupts**: a class taken in a handler may be wanted while any class that is ever held with interrupts on is
//!   held: an edge of its own kind. A cycle through one is "inconsistent lock state" or a "safe -> unsafe lock order".
//! - **Reclaim**: an allocation that may reclaim touches `fs_reclaim`, and under it the map of the mmu notifier
//!   callbacks, as `fs_reclaim_acquire` does. Not inside `noreclaim`.
//! - **Waiting for work**: a work item runs under the map of its queue and its own, and whoever flushes or cancels it
//!   touches these.
//!
//! # Waiting for a word
//! A gate says who waits, not for whom: any actor may store. So a gate has no edges of itself, and what is known about it
//! is said by the code around it, with the same two calls for every completion, fence or epoch:
//! [`Lab::acquire_map`](crate::lab::Lab::acquire_map) with [`Hold::Begin`](crate::lab::Hold::Begin) from the moment an actor has taken it upon
//! itself to signal until it has signalled, and [`Lab::wait_map`](crate::lab::Lab::wait_map) where others wait. The edges
//! then are "signalling needs these locks" and "these locks are held while waiting". Beginning waits for nobody, so it adds
//! no edge into the map. An annotation can be forgotten, which loses edges; it cannot make an edge that is not there.
//!
//! # What a report is worth
//! It is about classes, not about locks: like in the kernel, two orders that can never meet (another lock serialises
//! them, one ends before the other begins) are reported all the same. A search that is exhausted without the deadlock
//! says that in this scenario they do not meet.
//!
//! What setup and final checks do is not looked at: only actors teach.

mod actor;
mod chain;
mod class;
mod graph;
mod hooks;
mod learn;
mod lesson;
mod predict;
mod report;

pub(crate) use actor::{How, Wait};
pub(crate) use class::{ClassId, Sort};
pub use lesson::Lessons;
pub use report::{Dependency, LockReport, Pattern, Taken};

use crate::engine::clock::MAX_ACTORS;
use crate::lab::NOTIFIER_MAP;
use actor::Holder;
use chain::Chains;
use class::Classes;
use lesson::Fact;
use std::collections::BTreeSet;

/// The pseudo lock of direct reclaim (`__fs_reclaim_map`).
pub(crate) const FS_RECLAIM: &str = "fs_reclaim";

/// Everything that is known about lock order in the running search, or the part of it.
#[derive(Default)]
pub(crate) struct Lockdep {
    on: bool,
    classes: Classes,
    chains: Chains,
    known: BTreeSet<Fact>,
    lessons: Lessons,
    holders: [Holder; MAX_ACTORS],
}

impl Lockdep {
    /// The class of reclaim.
    const RECLAIM: ClassId = 1;
    /// The class of mmu notifier callbacks.
    const NOTIFIER: ClassId = 2;

    /// Forgets everything: a new search begins, with or without the validator.
    pub(crate) fn begin_search(&mut self, on: bool) {
        *self = Lockdep { on, ..Lockdep::default() };
        let reclaim = self.classes.of(Sort::Map, FS_RECLAIM, 0);
        let notifier = self.classes.of(Sort::Map, NOTIFIER_MAP, 0);
        assert_eq!((reclaim, notifier), (Lockdep::RECLAIM, Lockdep::NOTIFIER), "classes are numbered from 1");
    }

    /// A new execution begins: nobody holds anything. What was learned stays.
    pub(crate) fn begin_execution(&mut self) {
        for holder in &mut self.holders {
            holder.reset();
        }
    }

    /// Goes on with a part of a search that has learned `lessons` so far.
    pub(crate) fn begin_part(&mut self, lessons: Lessons) {
        self.chains = Chains::default();
        self.known = lessons.facts();
        self.lessons = lessons;
    }

    /// What was learned so far.
    pub(crate) fn take_lessons(&mut self) -> Lessons {
        std::mem::take(&mut self.lessons)
    }
}
