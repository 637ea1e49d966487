//! Sequential behaviour: random programs of one thread against a naive reference, for every design and both XNACK modes.
//!
//! A program is a handful of mm operations, attribute calls, CPU and GPU accesses and migrations on a small machine
//! ([`program`]). The reference ([`reference`]) keeps one record for each page and predicts what each call returns, what
//! GET_ATTR answers, what each load sees and which accesses fault; it writes that down as a scenario, whose expectations and
//! whose invariants must then hold ([`run`]). What designs do otherwise than one would expect are named rules ([`rules`]), and
//! so is what is left out because it is known to go wrong; [`needed`] shows that each of them is needed.
//!
//! A program that falls is shrunk, and the scenario it makes is written to a file that `svmlab check` runs. The programs are
//! the same each time; `PROPTEST_CASES` asks for as many others.

mod attrs;
mod needed;
mod pages;
mod program;
mod reference;
mod rules;
mod run;

use program::{Program, programs};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use rules::Rules;
use scenarios::lang::Design;

/// Programs for each design and mode.
const CASES: u32 = 2000;

/// Looks for a program that falls among `cases`, or as many as `PROPTEST_CASES` says, which are others each time then.
/// `once`: each under one schedule, and what falls is left as it is.
fn search(rules: Rules, cases: u32, once: bool) -> Result<(), TestError<Program>> {
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: if once { 0 } else { 20_000 },
        ..ProptestConfig::default()
    };
    let mut runner = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => TestRunner::new(config),
        None => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(ProptestConfig { cases, ..config }, rng)
        }
    };
    runner.run(&programs(rules.xnack), |program| match run::put(&program, rules, once) {
        None => Ok(()),
        Some((_, violation)) => Err(TestCaseError::fail(format!("{}: {}", violation.invariant, violation.what))),
    })
}

/// `design` does what the reference says.
fn hold(design: Design, xnack: bool) {
    let rules = Rules::of(design, xnack);
    match search(rules, CASES, false) {
        Ok(()) => {}
        Err(TestError::Fail(_, program)) => {
            let (scenario, violation) = run::put(&program, rules, false).expect("what fell falls again");
            let path = run::write(&scenario, &violation, rules);
            panic!(
                "{design} with XNACK {}: {}: {}\n\nsvmlab check --design {design} {}\n\n{}",
                if xnack { "on" } else { "off" },
                violation.invariant,
                violation.what,
                path.display(),
                scenario.to_kdl(),
            );
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn hardened_without_xnack() {
    hold(Design::Hardened, false);
}

#[test]
fn hardened_with_xnack() {
    hold(Design::Hardened, true);
}

#[test]
fn kfd_without_xnack() {
    hold(Design::Kfd, false);
}

#[test]
fn kfd_with_xnack() {
    hold(Design::Kfd, true);
}

#[test]
fn poc_v8() {
    hold(Design::PocV8, true);
}

#[test]
fn poc_v1() {
    hold(Design::PocV1, false);
}
