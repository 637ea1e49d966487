//! The museum: every bug that can be planted, planted, and looked for by scenarios that were not written for it.
//!
//! First the ground is surveyed: each scenario, the corpus first and then generated ones, is run a little under each design
//! that should hold, without any bug. That says how long its executions are, and the places of which bugs it comes by
//! ([`interleave::Outcome::asked`]). Then, for each bug, the scenarios that come by its place are searched, short ones
//! first, with the same budget for all: a little each, then more. The first violation counts, if the scenario holds without
//! the bug under the same search. Bugs are found or missed; nothing is tuned to one of them.

pub mod catalogue;
mod ground;
mod hunt;
mod table;

pub use ground::{Ground, Spot};
pub use hunt::{BUDGET, Budget, Catch, Hunt, Round, hunt};
pub use table::{Exhibit, markdown, median, summary, text};
