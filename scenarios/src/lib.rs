//! Scenarios: the language, the world that runs them, the invariants that judge, the `svmlab` command.

pub mod agreement;
pub mod cli;
pub mod conform;
pub mod costs;
pub mod gates;
pub mod generate;
pub mod invariants;
pub mod lang;
pub mod minimise;
pub mod museum;
pub mod peer;
pub mod report;
pub mod run;
pub mod token;
pub mod world;
