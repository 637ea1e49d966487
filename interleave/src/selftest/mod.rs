//! The engine's test of itself: the reduced search against the unreduced one, on random programs.
//!
//! A reduction that leaves out one schedule too many is silent: everything it is asked still gets an answer. So the
//! search is held against one that leaves nothing out, on many small programs over every primitive there is. For each
//! the two must have the same happens-before classes, the same verdict of each class, and the same things seen by the
//! actors. The search under a bound on preemptions is held against an enumeration that counts them by itself.
//!
//! ```
//! use interleave::selftest::{Options, run};
//! use std::sync::atomic::AtomicBool;
//!
//! let report = run(&Options { programs: 20, ..Options::default() }, &AtomicBool::new(false), |_| {});
//! assert_eq!(report.difference, None);
//! ```
//!
//! # A new statement
//!
//! 1. `stmt.rs`: a variant of [`Stmt`], a row in `DRAWN` (its group, its weight there, how it is drawn), and its arms in
//!    [`Stmt`]'s `Display`, and in `sleeps`, `takes` and `is_work` if they hold. A new group is one line in `Group`, and
//!    is named by the [`Flavour`]s that are to have it.
//! 2. `run.rs`: the object it works on, in `World`; an arm in `run_word` (or in `run`, if it holds something or decides
//!    about the next statement) that does it and notes with `saw` whatever the actor learns. Values written come from
//!    `saw` too, so that no two writes look the same.
//! 3. `tests/differential.rs`: the engine's name of its operation, in the list of what has to occur.
//!
//! Which line of the reduction is needed for what is told by the mutants in `interleave/mutants/`.

mod campaign;
mod compare;
mod dice;
mod flavour;
mod generate;
mod observe;
mod report;
mod run;
mod stmt;

pub use campaign::{Options, run};
pub use compare::{Compared, MOST_EXECUTIONS, Skipped, compare};
pub use flavour::Flavour;
pub use generate::RandomProgram;
pub use observe::Observed;
pub use report::{Difference, Report, Tally};
pub use stmt::Stmt;
