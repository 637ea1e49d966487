//! A scenario in which nothing happens at once, run operation by operation, everything at rest after each: what came of
//! each operation, and how the driver stands behind it. What one world says so can be held against another, such as the
//! real kernel.
//!
//! ```
//! use scenarios::conform::{compare, program_order, simulate};
//! use scenarios::lang::{Access, Attr, Design, ScenarioBuilder};
//!
//! let scenario = ScenarioBuilder::new("one", "Does the GPU see what the CPU stored?")
//!     .region("buf", 0x20_0000, 0x4000)
//!     .thread("app", |t| {
//!         t.store("buf", 0, 7).set_attr("buf", 0, None, &[Attr::Access(Access::Enable)]).read("buf", 0, &[])
//!     })
//!     .build()?;
//! let steps = program_order(&scenario).expect("one thread");
//! let run = simulate(&scenario, Design::Hardened, &steps);
//! assert_eq!(run.turns[2].came[0].to_string(), "word 0x7");
//! assert_eq!(run.turns[2].after[0].ranges.len(), 4); // one a page: no larger chunk fits
//! assert_eq!(compare(&run, &run), None);
//! # Ok::<(), scenarios::lang::BadScenario>(())
//! ```
//!
//! | file | trade |
//! |---|---|
//! | `order` | which scenarios have a program order, and which it is |
//! | `state` | how a driver stands, as plain data |
//! | `simulate` | one run in the simulator |
//! | `compare` | two runs against each other |

mod compare;
mod order;
mod simulate;
mod state;

pub use crate::world::{GpuRefusal, Part, errno_name};
pub use compare::{Difference, compare};
pub use order::{AtOnce, Step, Who, program_order};
pub use simulate::simulate;
pub use state::{Fall, GpuState, NodeState, PageRun, PageState, RangeBits, RangeState, Run, Turn};
