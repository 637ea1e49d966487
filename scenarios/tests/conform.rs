//! The corpus in program order: what nothing races with comes out one way, and that way is what the scenario expects.

use model::Errno;
use scenarios::cli::load_corpus;
use scenarios::conform::{Part, Run, Step, compare, program_order, simulate};
use scenarios::lang::{Access, Answer, Attr, Design, OpKind, Returns, Scenario, ScenarioBuilder, Seen};

/// The designs with one instance for each GPU, whose state a run tells.
const DRM: [Design; 3] = [Design::PocV1, Design::PocV8, Design::Hardened];

/// Every scenario that has one order, with it.
fn in_order() -> Vec<(Scenario, Vec<Step>)> {
    let corpus = load_corpus().expect("the corpus is right");
    corpus.into_iter().filter_map(|scenario| program_order(&scenario).ok().map(|steps| (scenario, steps))).collect()
}

fn allowed(returns: &Returns, part: &Part) -> bool {
    match (returns, part) {
        (Returns::OneOf(list), Part::Returned(errno)) => {
            list.iter().any(|result| result.map_or_else(|e: Errno| e as i32, |()| 0) == *errno)
        }
        _ => true,
    }
}

fn may_be_seen(expect: &[Seen], part: &Part) -> bool {
    expect.is_empty()
        || match part {
            Part::Word(value) => expect.contains(&Seen::Value(*value)) || expect.contains(&Seen::Done),
            Part::Stored => expect.contains(&Seen::Done),
            Part::Returned(_) | Part::Answered(_) => true,
            Part::CpuFault | Part::GpuFault(_) | Part::QueuesStopped | Part::NoProgress => {
                expect.contains(&Seen::Fault)
            }
        }
}

/// Panics when an operation came to what the scenario rules out.
fn hold_against_expectations(scenario: &Scenario, run: &Run) {
    for turn in &run.turns {
        let Some(op) = turn.step.op(scenario) else { continue };
        let mut kind = op.kind.clone();
        let (returns, expect) = (kind.returns_mut().cloned(), kind.expect_mut().cloned().unwrap_or_default());
        // Of a copy the load before the store says nothing yet.
        let is_copy = matches!(kind, OpKind::Copy { .. }) && !matches!(turn.came.last(), Some(Part::Word(_)));
        for part in turn.came.iter().filter(|part| !(is_copy && matches!(part, Part::Word(_)))) {
            let fits = returns.as_ref().is_none_or(|returns| allowed(returns, part)) && may_be_seen(&expect, part);
            assert!(fits, "{}:{} came to {turn}", scenario.source.path, turn.step.in_words(scenario));
        }
    }
}

#[test]
fn what_holds_comes_to_what_its_scenario_expects() {
    let (mut runs, mut looked) = (0, 0);
    for (scenario, steps) in in_order() {
        for design in DRM {
            if scenario.verdict(design).is_none_or(|verdict| verdict.answer != Answer::Holds) {
                continue;
            }
            let run = simulate(&scenario, design, &steps);
            let fell = run.fell.as_ref().map(|fall| &fall.violation.what);
            assert_eq!(fell, None, "{} under {design}", scenario.source.path);
            assert_eq!(run.turns.len(), steps.len(), "{} under {design}", scenario.source.path);
            hold_against_expectations(&scenario, &run);
            looked += run.turns.iter().map(|turn| turn.came.len()).sum::<usize>();
            runs += 1;
        }
    }
    assert!(runs > 300 && looked > 2000, "{runs} runs, {looked} results");
}

#[test]
fn a_run_in_order_comes_out_one_way() {
    let mut endless = 0;
    for (scenario, steps) in in_order() {
        let asked = |design: &&Design| scenario.verdict(**design).is_some();
        for design in DRM.iter().filter(asked) {
            let (one, two) = (simulate(&scenario, *design, &steps), simulate(&scenario, *design, &steps));
            assert!(one.turns == two.turns && one.before == two.before, "{} under {design}", scenario.source.path);
            assert_eq!(one.fell, two.fell);
            endless += usize::from(one.steps_for_others() > one.turns.len());
            if one.fell.is_none() {
                assert_eq!(compare(&one, &two), None);
            }
        }
    }
    println!("{endless} runs end in an access that is retried forever");
}

/// A buffer of four pages, shared with the GPU, of which the second is unmapped.
fn hole(unmapped: u64) -> Scenario {
    let built = ScenarioBuilder::new("hole", "What is left?")
        .region("buf", 0x20_0000, 0x4000)
        .thread("app", |t| {
            t.store("buf", 0, 7)
                .set_attr("buf", 0, None, &[Attr::Access(Access::Enable)])
                .read("buf", 0, &[])
                .munmap("buf", 0x1000, unmapped)
                .read("buf", 0, &[])
        })
        .build();
    built.expect("it is right")
}

fn run(scenario: &Scenario, design: Design) -> Run {
    simulate(scenario, design, &program_order(scenario).expect("one thread"))
}

#[test]
fn the_state_after_each_operation_is_told() {
    let run = run(&hole(0x1000), Design::Hardened);
    assert!(run.before[0].ranges.is_empty() && run.before[0].running);
    let shared = &run.turns[1].after[0];
    assert_eq!(shared.nodes.iter().map(|node| (node.first, node.last)).collect::<Vec<_>>(), [(0x200, 0x203)]);
    assert_eq!(shared.pages.iter().map(|run| (run.first, run.last)).collect::<Vec<_>>(), [(0x200, 0x203)]);
    assert!(shared.pages[0].state.same);
    let (from, to) = (shared.ranges.first().expect("a range").start, shared.ranges.last().expect("a range").end);
    assert_eq!((from, to), (0x20_0000, 0x20_4000));
    let left = &run.turns[3].after[0];
    assert!(left.pages.iter().all(|run| !(run.first..=run.last).contains(&0x201)), "{:?}", left.pages);
    assert_eq!(run.turns[4].to_string(), "word 0x7");
    assert!(!run.turns[1].events.is_empty());
}

#[test]
fn two_worlds_that_differ_are_told_apart_where_they_first_do() {
    let scenario = hole(0x1000);
    let (ours, theirs) = (run(&scenario, Design::Hardened), run(&hole(0x2000), Design::Hardened));
    let difference = compare(&ours, &theirs).expect("another page is gone");
    assert_eq!(difference.step.map(|step| step.index), Some(3));
    let words = difference.in_words(&scenario, ["simulator", "kernel"]);
    assert!(words.contains("GPU 0: pages") && words.contains("kernel: "), "{words}");

    let mut short = ours.clone();
    short.turns.pop();
    let difference = compare(&ours, &short).expect("it ends too early");
    assert_eq!((difference.what[0].left.as_str(), difference.what[0].right.as_str()), ("goes on", "ends"));
}

#[test]
fn every_kind_of_operation_is_somewhere_in_order() {
    let mut seen: Vec<&str> = Vec::new();
    for (scenario, steps) in in_order() {
        seen.extend(steps.iter().filter_map(|step| step.op(&scenario)).map(|op| op.kind.name()));
        assert!(!steps.iter().filter_map(|s| s.op(&scenario)).any(|op| matches!(op.kind, OpKind::After { .. })));
    }
    seen.sort_unstable();
    seen.dedup();
    for name in ["set-attr", "get-attr", "munmap", "mremap", "fork", "read", "write", "copy", "close", "fini"] {
        assert!(seen.contains(&name), "{name} is nowhere: {seen:?}");
    }
}
