//! Controlled concurrency, with the kernel's rules.
//!
//! A [`Program`] is setup, actors and a final check, written on kernel-style primitives: mutex, rwsem with queued writers,
//! spinlock, atomics, workqueues, completions, RCU and the rest, with sleeping where the kernel lets you sleep and
//! nowhere else. Under [`Sim`] every visible operation is a choice of the scheduler: [`explore`] searches all
//! interleavings for one that violates something, equivalent ones once; [`shrink`] makes a failing one simple;
//! [`replay`] shows it again, bit for bit; [`trace`] keeps it in a file. The same program runs on the types of the
//! `loom` crate ([`Loom`]), as an independent second opinion.
//!
//! ```
//! use interleave::lab::{Invariant, Lab, Violation};
//! use interleave::{Config, End, Execution, Launch, Program, Sim, explore, replay, shrink};
//! use model::platform::{Kernel, Mutex, Shared};
//! use std::rc::Rc;
//!
//! /// Two actors count, and look at the counter outside of the lock.
//! struct Counting;
//! struct Check(Rc<<Sim as Kernel>::Shared<u64>>);
//!
//! impl Program for Counting {
//!     fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
//!         let lock = Rc::new(<Sim as Kernel>::Mutex::new("lock", ()).unwrap());
//!         let count = Rc::new(<Sim as Kernel>::Shared::new("count", 0));
//!         for name in ["first", "second"] {
//!             let (lock, count) = (lock.clone(), count.clone());
//!             launch.actor(name, move || {
//!                 let seen = count.read_once();
//!                 let _held = lock.lock();
//!                 count.write_once(seen + 1);
//!             });
//!         }
//!         Box::new(Check(count))
//!     }
//! }
//!
//! impl Execution for Check {
//!     fn at_rest(&self) {
//!         if self.0.read_once() != 2 {
//!             Sim::fail(Violation::new(Invariant::I10, "an increment is lost", None));
//!         }
//!     }
//! }
//!
//! let config = Config::default();
//! let outcome = explore(&Counting, &config, None, None);
//! assert_eq!(outcome.end, End::Violated);
//! let failure = shrink(&Counting, &config, &outcome.failure.unwrap(), 1_000);
//! assert_eq!(failure.context_switches, 2);
//! let timeline = replay(&Counting, &config, &failure.schedule).unwrap();
//! assert_eq!(timeline.violation.unwrap().what, "an increment is lost");
//! ```
//!
//! | module | what is in it |
//! |---|---|
//! | [`sim`] | the primitives under the scheduler |
//! | [`sync`] | what is built from them once for every back end: completions, wait queues, sequence counters, krefs |
//! | [`lab`] | what simulators need beyond a kernel: visible state, words to wait on, choices, violations |
//! | [`lockdep`] | deadlocks predicted from the order of locks, by the kernel's rules |
//! | [`search`] | long searches: threads, checkpoints, shards |
//! | [`selftest`] | the engine held against a search that leaves nothing out |
//! | [`on_loom`] | the same primitives on loom |
//! | [`trace`], [`pack`] | an execution in a file, and in a few characters |
//!
//! Everything is deterministic: the same program and configuration give the same outcome, bit for bit, on every machine.
//! There is no state that a user could see beyond what is passed in; inside, the running execution is a thread local,
//! so searches on different threads do not know of each other.

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
pub use engine::record::{Mark, Step, Timeline};
pub use engine::strategy::{Bound, Cached};
pub use explore::{
    Config, DoesNotFit, End, Execution, Failure, Launch, Limits, Outcome, Program, Progress, Schedule, Stats, Strategy,
    explore, replay, replay_until, run_in_turn,
};
pub use on_loom::Loom;
pub use shrink::{Shrunk, run_alike, shrink, shrink_until};
pub use sim::Sim;
