//! loom, which shares nothing with our scheduler but the model, comes to the same verdicts.

use interleave::on_loom::{Halt, LoomBounds, LoomOutcome};
use model::platform::Plant;
use rayon::prelude::*;
use scenarios::agreement::{Agreement, compare};
use scenarios::cli::load_corpus;
use scenarios::lang::{Design, Explore, Scenario, Verdict, parse};
use scenarios::run::{CheckOptions, CheckResult, CheckVerdict, check_scenario};
use scenarios::world::{LoomQuestion, Opinion, ask_loom};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// One page, 4 KiB chunks only: as small as the driver gets, because loom pays for every operation.
fn scenario(body: &str) -> Scenario {
    let text = format!(
        "scenario \"small\" {{ about \"?\"; gpu xnack=#false chunk-sizes=\"4K\"\n\
         region \"buf\" at=0x200000 size=\"4K\" populate=#true\n{body}\n}}"
    );
    parse("small.kdl", &text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)))
}

fn ours(scenario: &Scenario, design: Design, plants: &[Plant]) -> CheckResult {
    let explore = Explore { executions: Some(15_000), ..Explore::default() };
    let options = CheckOptions { explore, strategy_given: false, plants: plants.to_vec(), minimise: false };
    check_scenario(scenario, design, &options, &Arc::new(AtomicBool::new(false)), None)
}

fn looms(scenario: &Scenario, design: Design, plants: &[Plant], executions: u64) -> Opinion {
    let bounds = LoomBounds { executions: Some(executions), ..LoomBounds::default() };
    let opinion =
        ask_loom(&LoomQuestion { scenario, design, plants, bounds }, &Arc::new(AtomicBool::new(false)), |_| ());
    println!("{} under {design} with {plants:?}: loom {}", scenario.name, opinion.outcome);
    opinion
}

/// Both engines come to the verdict, loom without a reservation.
fn agreed(scenario: &Scenario, design: Design, plants: &[Plant], holds: bool) {
    let (ours, loom) = (ours(scenario, design, plants), looms(scenario, design, plants, 20_000));
    assert_eq!(loom.outcome.holds(), holds, "{}", loom.outcome);
    assert_eq!((loom.workers, loom.items), (2, 2), "all workers are threads");
    assert_eq!(compare(&ours, &loom), Agreement::Agree, "{} under {design} with {plants:?}", scenario.name);
}

#[test]
fn two_set_attrs_race_on_tree_and_mapping() {
    let s = scenario(
        "prepare { set-attr \"buf\" access=\"enable\" }\n\
         thread \"a\" { set-attr \"buf\" gpu-ro=#true }\n\
         thread \"b\" { set-attr \"buf\" gpu-ro=#false gpu-exec=#true }",
    );
    agreed(&s, Design::PocV1, &[], false);
    agreed(&s, Design::Hardened, &[], true);
}

#[test]
fn a_page_that_moves_under_the_driver() {
    let s = scenario(
        "prepare { set-attr \"buf\" access=\"enable\" }\n\
         thread \"kernel\" { migrate \"buf\" }",
    );
    for (plants, holds) in [(&[][..], true), (&[Plant::SkipTlbFlush][..], true)] {
        agreed(&s, Design::Hardened, plants, holds);
    }
}

#[test]
fn the_engines_do_not_contradict_each_other_on_the_corpus() {
    let corpus = load_corpus().expect("the corpus parses");
    // loom has threads for the DRM designs' workers; retry faults, copies and kfd's work have none there.
    let fits = |s: &&Scenario| s.peers.is_empty() && !s.gpus.iter().any(|gpu| gpu.xnack || gpu.vram > 0);
    let drm = |verdict: &&Verdict| matches!(verdict.design, Design::PocV1 | Design::Hardened);
    let questions: Vec<_> = corpus
        .iter()
        .filter(fits)
        .flat_map(|s| s.verdicts.iter().filter(drm).map(move |verdict| (s, verdict.design)))
        .collect();
    let answers: Vec<(bool, bool)> = questions
        .par_iter()
        .map(|(scenario, design)| {
            let (ours, loom) = (ours(scenario, *design, &[]), looms(scenario, *design, &[], 2_000));
            let what = format!("{} under {design}: loom {}", scenario.name, loom.outcome);
            assert!(!matches!(loom.outcome, LoomOutcome::Unfinished { halt: Halt::Loom, .. }), "{what}");
            let agree = match compare(&ours, &loom) {
                Agreement::Disagree(why) => panic!("{what}: {why}"),
                Agreement::Agree => true,
                Agreement::Open(_) => false,
            };
            (agree, loom.outcome.invariant().is_some())
        })
        .collect();
    let count = |of: fn(&(bool, bool)) -> bool| answers.iter().filter(|answer| of(answer)).count();
    let (asked, agree, bugs) = (answers.len(), count(|a| a.0), count(|a| a.1));
    println!("{asked} asked, {agree} agreed, {bugs} of them violations");
    assert!(agree >= 15 && bugs >= 10, "{asked} asked, {agree} agreed, {bugs} of them violations");
}

#[test]
fn loom_finds_the_planted_bugs_that_we_find() {
    let corpus = load_corpus().expect("the corpus parses");
    for (plant, name) in
        [(Plant::SkipPagesValid, "set-attr-vs-migration"), (Plant::SkipReadRetry, "set-attr-vs-migration")]
    {
        let scenario = corpus.iter().find(|s| s.name == name).expect("in the corpus");
        let (ours, loom) =
            (ours(scenario, Design::Hardened, &[plant]), looms(scenario, Design::Hardened, &[plant], 4_000));
        assert!(loom.outcome.invariant().is_some(), "{plant:?}: {}", loom.outcome);
        assert_eq!(compare(&ours, &loom), Agreement::Agree, "{plant:?}");
    }
}

#[test]
fn a_contradiction_is_seen_whoever_finds_the_violation() {
    let s = scenario(
        "prepare { set-attr \"buf\" access=\"enable\" }\n\
         thread \"a\" { set-attr \"buf\" gpu-ro=#true }\n\
         thread \"b\" { set-attr \"buf\" gpu-ro=#false gpu-exec=#true }",
    );
    // Two designs stand for an engine that errs.
    let falls = (ours(&s, Design::PocV1, &[]), looms(&s, Design::PocV1, &[], 4_000));
    let holds = (ours(&s, Design::Hardened, &[]), looms(&s, Design::Hardened, &[], 20_000));
    let says = |ours: &CheckResult, loom: &Opinion, words: &str| match compare(ours, loom) {
        Agreement::Disagree(why) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    };
    says(&falls.0, &holds.1, "our engine has one");
    says(&holds.0, &falls.1, "our engine holds in every interleaving");
    let mut short = holds.0;
    short.verdict = CheckVerdict::Holds { exhausted: false };
    says(&short, &falls.1, "has not finished");
    // What loom did not look at cannot contradict anything.
    let bounded = Opinion { preemptions: Some(2), ..holds.1.clone() };
    let shared = Opinion { workers: 1, ..holds.1.clone() };
    for (opinion, words) in [(bounded, "a bound of 2"), (shared, "2 work items shared 1 thread")] {
        match compare(&falls.0, &opinion) {
            Agreement::Open(why) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_does_not_fit_is_said_before_it_is_tried() {
    let threads: Vec<String> = (0..6).map(|i| format!("thread \"t{i}\" {{ migrate \"buf\" }}")).collect();
    let opinion = looms(&scenario(&threads.join("\n")), Design::Hardened, &[], 10);
    let LoomOutcome::Unfinished { halt: Halt::Loom, reason, executions: 0 } = opinion.outcome else {
        panic!("{}", opinion.outcome)
    };
    assert_eq!(reason, "6 actors, loom runs at most 5 threads");
    let five = looms(&scenario(&threads[..5].join("\n")), Design::Hardened, &[], 4);
    assert_eq!((five.items, five.workers), (2, 0));
    assert!(five.reservation().expect("workers in sequence").contains("ran in sequence at the end"));
}
