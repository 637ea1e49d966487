//! Long searches: over threads, over machines, over interruptions, with the result of one thread that was left alone.
//!
//! | file | trade |
//! |---|---|
//! | `segment` | a part of the depth-first search: a path, what is left to try on it, what came of it so far |
//! | `tree` | which parts there are, who waits for whom, and the order in which results go together |
//! | `crew` | the threads |
//! | `checkpoint` | the state of a search as a file |
//! | `shards` | the same search cut into parts that need not talk to each other |
//!
//! **Why the split changes nothing.** In a depth-first search a place of the path grows new things to try only while
//! what is below it is explored, and tries them in the order in which they came. So a child that is already wanted can
//! be explored at once, beside the current one: what it starts from is settled. What it wants tried at places above is
//! written down (an `Escape`) and applied when everything before it in depth-first order has
//! been applied. The tree is that of one thread, whatever the threads do, and so are all counts; of several failures
//! the first in depth-first order counts, and what is after it is dropped.
//!
//! **Memory.** A part holds one path. Distinct executions need no set: under the reduction no two complete executions
//! are equivalent, so they are the executions that were not cut ([`Survey::distinct`]).

mod checkpoint;
mod crew;
mod segment;
mod shards;
mod tree;

pub use checkpoint::{BadCheckpoint, Checkpoint};
pub use crew::{Crew, Told, can_be_split, explore_split};
pub use shards::{Plan, TaskEnd, TaskResult};
pub use tree::Survey;
