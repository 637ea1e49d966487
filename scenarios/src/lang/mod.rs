//! The scenario language: a machine, an address space, what races, what must come out; in KDL, as easy to read as a
//! litmus test.
//!
//! ```kdl
//! scenario "munmap-vs-set-attr" {
//!     about "Does a partial munmap between range lookup and page collection leave stale entries?"
//!     gpu xnack=#false
//!     region "buf" at=0x200000 size="2M" prot="rw" populate=#true
//!     thread "ioctl" { set-attr "buf" access="enable" }
//!     thread "app" { munmap "buf" offset="1M" size="4K" }
//!     gpu "wave" { read "buf" offset=0 }
//!     expect {
//!         holds "hardened"
//!         violates "poc-v1" "I1"
//!         mapped "buf" except="1M+4K"
//!     }
//! }
//! ```
//!
//! [`parse`] reads it and reports everything that is wrong with it, each thing where it stands. [`ScenarioBuilder`]
//! makes the same from Rust, [`Scenario::to_kdl`] writes it back. A `gpu` node without a block declares a GPU, one with
//! a block is a wave.

mod ast;
mod builder;
mod check;
mod error;
mod expect;
mod fits;
mod names;
mod node;
mod operation;
mod ops;
mod parse;
mod print;
mod size;

pub use ast::*;
pub use builder::{OpList, ScenarioBuilder};
pub use error::{BadScenario, Problem};
pub use names::closest;
pub use parse::parse;
pub use size::{human, parse_size};
