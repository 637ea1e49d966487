//! The scheduler: one execution of a program, every visible operation a choice.
//!
//! | file | trade |
//! |---|---|
//! | `op` | visible operations, and which of them depend on each other |
//! | `object`, `work` | locks, words, work items: when can an operation go ahead, what does it do |
//! | `grace` | grace periods of RCU |
//! | `exec` | the running execution: arrival of operations, who goes next |
//! | `enabled` | who can run |
//! | `frame`, `reduce` | the path being explored, partial-order reduction |
//! | `part` | what a part of a search that is split knows of the rest |
//! | `strategy` | the other ways of choosing, each in a file |
//! | `liveness`, `wait_for`, `missed` | no progress, deadlocks; a deadlock in words, and what those that wait have missed |
//! | `record` | an execution in words |
//! | `coroutine` | actors as coroutines |

pub(crate) mod clock;
pub(crate) mod coroutine;
mod enabled;
pub(crate) mod exec;
pub(crate) mod frame;
pub(crate) mod grace;
mod liveness;
mod missed;
pub(crate) mod object;
pub(crate) mod op;
pub(crate) mod part;
pub(crate) mod record;
mod reduce;
pub(crate) mod strategy;
mod wait_for;
pub(crate) mod work;
