//! That the test can fail: a reference that forgets a rule is contradicted, what programs leave out falls when it is put in,
//! and a planted bug is found.

use super::rules::{Avoid, Rule, Rules};
use super::search;
use model::platform::Plant;
use proptest::test_runner::TestError;
use scenarios::lang::Design;

/// Programs within which something must fall.
const WITHIN: u32 = 4000;

/// Designs and modes that have rules.
const PORTS: &[(Design, bool)] =
    &[(Design::PocV1, false), (Design::PocV8, true), (Design::Kfd, false), (Design::Kfd, true)];

/// What falls.
fn falls(rules: Rules) -> Option<String> {
    match search(rules, WITHIN, rules.dare != Some(Avoid::ChangeDuringRepair)) {
        Err(TestError::Fail(why, _)) => Some(why.message().to_owned()),
        Err(error) => panic!("{error}"),
        Ok(()) => None,
    }
}

/// Tells and collects what does not fall.
fn not_needed(what: &str, rules: Rules, list: &mut Vec<String>) {
    let name = format!("{} with XNACK {}: {what}", rules.design, if rules.xnack { "on" } else { "off" });
    match falls(rules) {
        Some(why) => println!("{name}: {why}"),
        None => list.push(name),
    }
}

#[test]
fn every_rule_is_needed() {
    let mut idle = Vec::new();
    for &(design, xnack) in PORTS {
        let rules = Rules::of(design, xnack);
        for &rule in Rule::ALL.iter().filter(|rule| rules.has(**rule)) {
            not_needed(&format!("{rule:?}"), Rules { forget: Some(rule), ..rules }, &mut idle);
        }
    }
    assert!(idle.is_empty(), "the reference does as well without: {idle:#?}");
}

#[test]
fn everything_that_is_left_out_falls() {
    let mut idle = Vec::new();
    for &(design, xnack) in PORTS {
        let rules = Rules::of(design, xnack);
        for &avoid in Avoid::ALL.iter().filter(|avoid| rules.avoids(**avoid)) {
            not_needed(&format!("{avoid:?}"), Rules { dare: Some(avoid), ..rules }, &mut idle);
        }
    }
    assert!(idle.is_empty(), "these hold although they are left out: {idle:#?}");
}

#[test]
fn a_planted_bug_is_found() {
    // With XNACK off whatever flush is skipped comes before the queues are mapped again, which flushes.
    let rules = Rules { plant: Some(Plant::SkipTlbFlush), ..Rules::of(Design::Hardened, true) };
    assert!(falls(rules).is_some(), "stale translations are not seen");
}
