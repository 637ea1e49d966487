//! Puts a scenario to a design: once with the workers when nothing else can run, and under a few random schedules, because
//! the workers of the driver run beside the one thread. What falls is written where `svmlab check` can read it.

use super::program::Program;
use super::reference;
use super::rules::Rules;
use interleave::lab::Violation;
use interleave::{Config, Limits, Strategy as Search, explore};
use scenarios::lang::Scenario;
use scenarios::world::ScenarioProgram;
use std::fs;
use std::path::{Path, PathBuf};

/// Random schedules of each program.
const SCHEDULES: u64 = 2;
/// Events after which a program counts as endless.
const EVENTS: u32 = 20_000;

/// What falls when `scenario` is put to the design.
pub(crate) fn falls(scenario: &Scenario, rules: Rules) -> Option<Violation> {
    let once = (Search::Exhaustive { preemptions: Some(0), reduction: false }, 1);
    let often = (Search::Random { seed: 1 }, SCHEDULES);
    [once, often].into_iter().find_map(|(strategy, executions)| {
        let config = Config {
            strategy,
            limits: Limits { executions: Some(executions), events_per_execution: EVENTS },
            coverage: false,
            ..Config::default()
        };
        let outcome = explore(&ScenarioProgram::new(scenario, rules.design), &config, None, None);
        outcome.failure.map(|failure| failure.violation)
    })
}

/// What falls when `program` is put to the design, with the scenario.
pub(crate) fn put(program: &Program, rules: Rules) -> Option<(Scenario, Violation)> {
    let scenario = reference::scenario(program, rules)?;
    let violation = falls(&scenario, rules)?;
    Some((scenario, violation))
}

/// Writes the scenario to a file, with what falls; where.
pub(crate) fn write(scenario: &Scenario, violation: &Violation, rules: Rules) -> PathBuf {
    let mode = if rules.xnack { "on" } else { "off" };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sequential-{}-{mode}.kdl", rules.design));
    let comment = format!("// Found by the sequential property test: {}: {}\n", violation.invariant, violation.what);
    fs::write(&path, comment + &scenario.to_kdl()).expect("the test can write its temporary files");
    path
}
