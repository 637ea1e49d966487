//! Controlled concurrency.
//!
//! Kernel-style primitives ([`Sim`]) under a scheduler that chooses every interleaving, and the same primitives on loom
//! ([`Loom`]). A [`Program`] is setup, actors and a final check; [`explore`] searches its executions for a violation,
//! [`shrink`] makes a failing one simple, [`replay`] shows it, and [`trace`] keeps it in a file.

#![warn(missing_docs)]

mod coverage;
mod engine;
mod explore;
pub mod lab;
pub mod lockdep;
pub mod on_loom;
pub mod pack;
mod panics;
pub mod search;
pub mod selftest;
mod shrink;
pub mod sim;
pub mod sync;
pub mod trace;

pub use coverage::{Coverage, Guarantee};
pub use engine::clock::MAX_ACTORS;
pub use engine::record::{Step, Timeline};
pub use engine::strategy::{Bound, Cached};
pub use explore::{
    Config, DoesNotFit, End, Execution, Failure, Launch, Limits, Outcome, Program, Progress, Schedule, Stats, Strategy,
    explore, replay, replay_until,
};
pub use on_loom::Loom;
pub use shrink::{Shrunk, run_alike, shrink, shrink_until};
pub use sim::Sim;
