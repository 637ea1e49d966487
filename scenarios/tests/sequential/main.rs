//! Sequential behaviour: random programs of one thread against a naive reference, for every design and both XNACK modes.
//!
//! A program is a handful of mm operations, attribute calls, CPU and GPU accesses and migrations on a small machine
//! ([`program`]). The reference ([`reference`]) keeps one record for each page and predicts what each call returns, what
//! GET_ATTR answers, what each load sees and which accesses fault; it writes that down as a scenario, whose expectations
//! and whose invariants must then hold. What designs do otherwise than one would expect are named rules ([`rules`]), and so
//! is what is left out because it is known to go wrong; [`avoided`] shows that it does.
//!
//! A program that falls is shrunk, and the scenario it makes is written to a file that `svmlab check` runs. `PROPTEST_CASES`
//! asks for more programs.

mod attrs;
mod pages;
mod program;
mod reference;
mod rules;
mod run;

use program::{Program, programs};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use rules::Rules;
use scenarios::lang::Design;

/// Programs for each design and mode, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 500;

fn hold(strategy: impl Strategy<Value = Program>, rules: Rules) {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() };
    let config = if given { config } else { ProptestConfig { cases: CASES, ..config } };
    let result = TestRunner::new(config).run(&strategy, |program| match run::put(&program, rules) {
        None => Ok(()),
        Some((_, violation)) => Err(TestCaseError::fail(format!("{}: {}", violation.invariant, violation.what))),
    });
    if let Err(TestError::Fail(_, program)) = &result {
        let (scenario, violation) = run::put(program, rules).expect("what fell falls again");
        let path = run::write(&scenario, &violation, rules);
        panic!(
            "{} with XNACK {}: {}: {}\n\nsvmlab check --design {} {}\n\n{}",
            rules.design,
            if rules.xnack { "on" } else { "off" },
            violation.invariant,
            violation.what,
            rules.design,
            path.display(),
            scenario.to_kdl(),
        );
    }
    result.unwrap();
}

#[test]
fn hardened_without_xnack() {
    hold(programs(false, true), Rules::of(Design::Hardened, false));
}

#[test]
fn hardened_with_xnack() {
    hold(programs(true, true), Rules::of(Design::Hardened, true));
}

#[test]
fn kfd_without_xnack() {
    hold(programs(false, true), Rules::of(Design::Kfd, false));
}

#[test]
fn kfd_with_xnack() {
    hold(programs(true, true), Rules::of(Design::Kfd, true));
}

#[test]
fn poc_v8() {
    hold(programs(true, true), Rules::of(Design::PocV8, true));
}

#[test]
fn poc_v1() {
    hold(programs(false, false), Rules::of(Design::PocV1, false));
}
