//! One execution along a schedule that need not fit.

use crate::engine::exec::with;
use crate::explore::{Config, Failure, Program, Schedule, run_roughly};

/// What came of it.
pub(super) struct Attempt {
    /// Who went, event by event.
    pub(super) choices: Vec<u8>,
    /// How many actors there are, workers included.
    pub(super) actors: u8,
    /// What fell, if something did.
    pub(super) failure: Option<Failure>,
}

/// Runs `wanted` as far as it fits, then without preemption.
pub(super) fn attempt(program: &dyn Program, config: &Config, wanted: Schedule) -> Attempt {
    let failure = run_roughly(program, config, wanted);
    let (choices, actors) = with(|exec| {
        let choices = exec.frames[..exec.depth].iter().map(|frame| frame.actor).collect();
        (choices, exec.names().len() as u8)
    });
    Attempt { choices, actors, failure }
}
