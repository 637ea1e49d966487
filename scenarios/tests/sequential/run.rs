//! Puts a scenario to a design: once with the workers when nothing else can run, and under a few random schedules, because
//! the workers of the driver run beside the one thread. What falls is written where `svmlab check` can read it.

use super::program::Program;
use super::reference;
use super::rules::Rules;
use interleave::explore;
use interleave::lab::Violation;
use scenarios::lang::{Explore, Scenario, StrategyHint};
use scenarios::run::{CheckOptions, Question};
use std::fs;
use std::path::{Path, PathBuf};

/// Random schedules of each program.
const SCHEDULES: u64 = 2;
/// Rounds of its retry loops that each actor may do before that looks like a livelock: the restore worker of the first
/// posting goes round once for each range.
const RETRIES: u32 = 64;

/// The ways in which each program is run.
fn searches() -> [Explore; 2] {
    let once = Explore { preemptions: Some(0), executions: Some(1), retries: Some(RETRIES), ..Explore::default() };
    let strategy = StrategyHint::Random { seed: 1 };
    let often = Explore { strategy, preemptions: None, executions: Some(SCHEDULES), ..once.clone() };
    [once, often]
}

/// What falls when `program` is put to the design, with the scenario.
pub(crate) fn put(program: &Program, rules: Rules) -> Option<(Scenario, Violation)> {
    searches().into_iter().find_map(|search| {
        let scenario = reference::scenario(program, rules, search)?;
        let question = Question::new(&scenario, rules.design, &CheckOptions::default());
        let failure = explore(&question.program(), &question.search(), None, None).failure?;
        Some((scenario, failure.violation))
    })
}

/// Writes the scenario to a file, with what falls; where.
pub(crate) fn write(scenario: &Scenario, violation: &Violation, rules: Rules) -> PathBuf {
    let mode = if rules.xnack { "on" } else { "off" };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sequential-{}-{mode}.kdl", rules.design));
    let comment = format!("// Found by the sequential property test: {}: {}\n", violation.invariant, violation.what);
    fs::write(&path, comment + &scenario.to_kdl()).expect("the test can write its temporary files");
    path
}
