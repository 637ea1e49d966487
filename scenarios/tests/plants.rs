//! Bugs planted in the driver that holds are found, by the scenario that is about them.

use interleave::lab::Invariant;
use model::platform::Plant;
use scenarios::cli::load_corpus;
use scenarios::lang::{Design, Scenario};
use scenarios::run::{CheckOptions, CheckVerdict, check_scenario};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn falls(scenario: &Scenario, plants: &[Plant]) -> Option<Invariant> {
    let options = CheckOptions { plants: plants.to_vec(), ..CheckOptions::default() };
    let never = Arc::new(AtomicBool::new(false));
    match check_scenario(scenario, Design::Hardened, &options, &never, None).verdict {
        CheckVerdict::Violated(finding) => Some(finding.failure.violation.invariant),
        CheckVerdict::Holds { exhausted } => {
            assert!(exhausted, "{}: small enough to finish", scenario.name);
            None
        }
        CheckVerdict::Predicted { .. } => Some(Invariant::I8),
        CheckVerdict::Interrupted => unreachable!("nobody interrupts"),
    }
}

#[test]
fn each_planted_bug_is_found_where_it_matters_and_nothing_without() {
    let corpus = load_corpus().expect("the corpus parses");
    let scenario = |name: &str| corpus.iter().find(|s| s.name == name).expect("in the corpus");
    for (plant, name) in [
        (Plant::SkipPagesValid, "set-attr-vs-migration"),
        (Plant::SkipReadRetry, "set-attr-vs-migration"),
        (Plant::SkipTlbFlush, "munmap-under-the-gpu-retry"),
        (Plant::SkipNoReclaim, "set-attr-vs-mprotect"),
    ] {
        assert_eq!(falls(scenario(name), &[]), None, "{name} without a planted bug");
        let fell = falls(scenario(name), &[plant]);
        assert!(fell.is_some(), "{} is not found by {name}", plant.name());
        println!("{}: {name} sees {} fall", plant.name(), fell.expect("just asserted"));
    }
}

#[test]
fn a_deadlock_that_no_execution_has_is_predicted_with_both_of_its_sides() {
    let corpus = load_corpus().expect("the corpus parses");
    let scenario = corpus.iter().find(|s| s.name == "set-attr-vs-mprotect").expect("in the corpus");
    let options = CheckOptions { plants: vec![Plant::SkipNoReclaim], ..CheckOptions::default() };
    let never = Arc::new(AtomicBool::new(false));
    let result = check_scenario(scenario, Design::Hardened, &options, &never, None);
    assert!(matches!(result.verdict, CheckVerdict::Predicted { exhausted: true }), "reclaim never runs here");
    let [report] = &result.predicted[..] else { panic!("{:#?}", result.predicted) };
    assert_eq!(
        report.cycle(),
        "mmu_notifier_invalidate_range_start -> notifier_lock -> mmu_notifier_invalidate_range_start"
    );
    let actors: Vec<&str> = report.dependencies.iter().map(|d| d.actor.as_str()).collect();
    assert_eq!(actors, ["app", "ioctl"]);
    let allocates = &report.dependencies[1];
    assert!(allocates.wants.starts_with("allocates"), "{report}");
    assert!(allocates.held.iter().any(|held| held.lock == "notifier_lock"), "{report}");
    let held = check_scenario(scenario, Design::Hardened, &CheckOptions::default(), &never, None);
    assert_eq!(held.predicted, []);
}
