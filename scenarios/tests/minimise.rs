//! Failing scenarios are made small, and what is left still fails for the same reason.

use interleave::lab::Invariant;
use scenarios::cli::load_corpus;
use scenarios::lang::{
    Access, Answer, Attr, Design, Explore, FinalKind, GpuDecl, Scenario, ScenarioBuilder, StrategyHint, parse,
};
use scenarios::minimise::{MINIMISE_BUDGET, Measure, Minimal, Task, minimise};
use scenarios::run::{CheckOptions, CheckVerdict, Finding, check_scenario, replay_trace};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ENABLE: &[Attr] = &[Attr::Access(Access::Enable)];

fn from_corpus(name: &str) -> Scenario {
    let corpus = load_corpus().expect("the corpus parses");
    corpus.into_iter().find(|s| s.name == name).expect("in the corpus")
}

fn finding(scenario: &Scenario, minimise: bool) -> Box<Finding> {
    let options = CheckOptions { minimise, ..CheckOptions::default() };
    let never = Arc::new(AtomicBool::new(false));
    match check_scenario(scenario, Design::PocV1, &options, &never, None).verdict {
        CheckVerdict::Violated(finding) => finding,
        _ => panic!("{}: nothing falls", scenario.name),
    }
}

fn again(minimal: &Minimal) -> Minimal {
    let (scenario, failure) = (&minimal.scenario, &minimal.failure);
    let task = Task { scenario, design: Design::PocV1, plants: &[], explore: &scenario.explore, failure };
    minimise(&task, MINIMISE_BUDGET, None, &mut |_| ())
}

/// What must be so of every result, finished or not.
fn is_sound(name: &str, invariant: Invariant, minimal: &Minimal) {
    let Minimal { scenario, failure, timeline, before, after, .. } = minimal;
    assert_eq!(scenario.name, format!("{name}-min"));
    assert_eq!(parse("again.kdl", &scenario.to_kdl()).as_ref().ok(), Some(scenario), "{name}: what is printed parses");
    assert_eq!(parse("again.kdl", &scenario.source.text).as_ref().ok(), Some(scenario), "{name}: so does its source");
    assert_eq!(failure.violation.invariant, invariant, "{name}");
    assert_eq!(timeline.violation.as_ref(), Some(&failure.violation), "{name}: run again it falls the same way");
    assert_eq!(timeline.event_hash, failure.event_hash, "{name}");
    assert_eq!(*after, Measure::of(scenario, failure.context_switches));
    assert!(after <= before && after.is_within(before), "{name}: {before:?} {after:?}");
    assert_eq!(scenario.verdicts.len(), 1, "{name}");
    assert_eq!(scenario.verdicts[0].design, Design::PocV1, "{name}");
    assert_eq!(scenario.verdicts[0].answer, Answer::Violates(vec![invariant]), "{name}");
}

#[test]
fn a_failing_scenario_of_the_corpus_becomes_a_small_one_that_nothing_makes_smaller() {
    let mut smaller = 0;
    // in evict-vs-restore several invariants can fall; the one that fell first is to stay
    let names = [
        "two-holes",
        "two-set-attrs",
        "munmap-after-close",
        "mprotect-none",
        "munmap-under-the-gpu",
        "evict-vs-restore",
    ];
    for name in names {
        let found = finding(&from_corpus(name), true);
        let invariant = found.failure.violation.invariant;
        let minimised = found.minimal.expect("was asked for");
        let minimal = &minimised.minimal;
        is_sound(name, invariant, minimal);
        assert!(minimal.finished, "{name}: {} executions", minimal.executions);
        assert!(minimal.after.context_switches <= found.failure.context_switches);
        smaller += usize::from(minimal.after < minimal.before);

        let (_, _, timeline) = replay_trace(&minimised.trace).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(timeline.event_hash, minimal.timeline.event_hash, "{name}");
        // whoever puts it to the design finds it again
        let whoever = finding(&minimal.scenario, false);
        assert_eq!(whoever.failure.violation.invariant, invariant, "{name}");

        let more = again(minimal);
        assert_eq!(more.scenario, minimal.scenario, "{name}: what is small stays as it is");
        assert_eq!(more.failure, minimal.failure, "{name}");
    }
    assert!(smaller >= 3, "{smaller} of them are smaller");
}

/// The race of two holes in the middle of everything else that a scenario can have.
fn crowded() -> Scenario {
    let mut first = GpuDecl::new("near");
    first.chunk_sizes = Some(vec![32 << 10, 4 << 10]);
    let explore = Explore {
        strategy: StrategyHint::Pct { seed: 3, depth: 3 },
        executions: Some(5_000),
        retries: Some(2),
        ..Explore::default()
    };
    ScenarioBuilder::new("crowded", "What of all this does the race need?")
        .gpu(first)
        .gpu(GpuDecl::new("far"))
        .region("buf", 0x20_0000, 32 << 10)
        .region("other", 0x80_0000, 16 << 10)
        .prepare(|ops| ops.store("other", 0, 7).set_attr("buf", 0, None, ENABLE))
        .thread("app", |ops| ops.munmap("buf", 8 << 10, 4 << 10).munmap("buf", 24 << 10, 4 << 10).load("other", 0, &[]))
        .thread("bystander", |ops| ops.store("other", 4 << 10, 1).dontneed("other", 0, None))
        .wave("wave", |ops| ops.after("bystander").read("buf", 16 << 10, &[]))
        .finally(FinalKind::Queues { gpu: "near".into(), running: true })
        .violates(Design::PocV1, &[Invariant::I7])
        .holds(Design::Hardened)
        .explore(explore)
        .build()
        .unwrap_or_else(|bad| panic!("{}", bad.render(100, false)))
}

#[test]
fn what_the_race_does_not_need_is_left_out() {
    let found = finding(&crowded(), true);
    let minimal = found.minimal.expect("was asked for").minimal;
    is_sound("crowded", Invariant::I7, &minimal);
    assert!(minimal.finished, "{} executions", minimal.executions);
    insta::assert_snapshot!(minimal.scenario.source.text);
}

#[test]
fn whoever_stops_it_gets_what_was_reached() {
    let scenario = crowded();
    let found = finding(&scenario, false);
    let task = Task {
        scenario: &scenario,
        design: Design::PocV1,
        plants: &[],
        explore: &scenario.explore,
        failure: &found.failure,
    };
    let whole = minimise(&task, MINIMISE_BUDGET, None, &mut |_| ());
    let mut sizes = vec![whole.before];
    for part in [0, 8, 4, 2] {
        let stop = AtomicBool::new(part == 0);
        let minimal = minimise(&task, MINIMISE_BUDGET, Some(&stop), &mut |executions| {
            if part > 0 && executions > whole.executions / part {
                stop.store(true, Ordering::Relaxed);
            }
        });
        is_sound("crowded", Invariant::I7, &minimal);
        assert!(!minimal.finished);
        sizes.push(minimal.after);
    }
    sizes.push(whole.after);
    assert!(sizes.is_sorted_by(|a, b| a >= b), "the longer the smaller: {sizes:?}");
    assert!(sizes[4] < sizes[0], "half of the time is good for something");
}
