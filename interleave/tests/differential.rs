//! The reduction loses nothing: on random programs, the reduced and the unreduced search find the same happens-before
//! classes, the same verdicts, and the same things seen by the actors.

mod random_program;

use interleave::{Config, End, Outcome, Strategy, explore, replay, shrink};
use random_program::{Flavour, Observed, Random};
use std::collections::BTreeSet;

/// Programs whose unreduced search is longer are left out: there are enough others.
const MOST_EXECUTIONS: u64 = 12_000;

/// What a search has found.
struct Found {
    outcome: Outcome,
    outcomes: BTreeSet<Vec<Vec<u64>>>,
}

fn search(program: &Random, reduction: bool) -> Found {
    search_with(program, Strategy::Exhaustive { preemptions: None, reduction }, MOST_EXECUTIONS)
}

fn search_with(program: &Random, strategy: Strategy, executions: u64) -> Found {
    let observed = Observed::new(program);
    let config = config(program, strategy, executions);
    let outcome = explore(&observed, &config, None, None);
    let outcomes = observed.outcomes.take();
    Found { outcome, outcomes }
}

fn config(program: &Random, strategy: Strategy, executions: u64) -> Config {
    let mut config = Config {
        strategy,
        free_timers: program.free_timers,
        free_retries: program.free_retries,
        count_distinct: true,
        keep_going: program.runs_to_the_end,
        ..Config::default()
    };
    config.limits.executions = Some(executions);
    config
}

/// What is wrong with the reduced search; None when it agrees, or when the program is too big to know.
fn difference(program: &Random) -> Option<String> {
    compare(program).and_then(|compared| compared.verdict.err())
}

struct Compared {
    /// With reduction.
    executions: u64,
    classes: u64,
    /// Whether some execution violates something.
    fails: bool,
    verdict: Result<(), String>,
}

/// None when the program is too big.
fn compare(program: &Random) -> Option<Compared> {
    let full = search(program, false);
    if full.outcome.end == End::LimitReached {
        return None;
    }
    let reduced = search(program, true);
    let (a, b) = (&full.outcome, &reduced.outcome);
    let told = |o: &Outcome| o.failure.as_ref().map_or(String::from("nothing"), |f| f.violation.what.clone());
    let verdict = if a.failure.is_some() != b.failure.is_some() {
        Err(format!("the verdicts differ: unreduced {}, reduced {}", told(a), told(b)))
    } else if b.end == End::LimitReached {
        Err(format!("{} executions unreduced, more than that reduced", a.stats.executions))
    } else if !program.runs_to_the_end && a.failure.is_some() {
        // A violation in the middle ends both searches at the first.
        Ok(())
    } else if a.classes != b.classes {
        let missing = a.classes.iter().filter(|class| !b.classes.contains(class)).count();
        let extra = b.classes.iter().filter(|class| !a.classes.contains(class)).count();
        Err(format!("of {} classes the reduced search misses {missing} and has {extra} others", a.classes.len()))
    } else if full.outcomes != reduced.outcomes {
        Err(format!(
            "the actors can see {} different things, in the reduced search {}",
            full.outcomes.len(),
            reduced.outcomes.len()
        ))
    } else {
        Ok(())
    };
    let (executions, classes, fails) = (b.stats.executions, a.stats.distinct, a.failure.is_some());
    Some(Compared { executions, classes, fails, verdict })
}

/// The smallest program that still shows a difference.
fn smallest(program: &Random) -> Random {
    let mut best = program.clone();
    while let Some(less) = best.smaller().into_iter().find(|less| difference(less).is_some()) {
        best = less;
    }
    best
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number of programs"))
}

/// Seed after seed from `SVMLAB_FUZZ_SEED`, all flavours in turn unless `SVMLAB_FUZZ_FLAVOUR` names one.
#[test]
fn the_reduced_search_finds_what_the_unreduced_one_finds() {
    let wanted = number("SVMLAB_FUZZ_PROGRAMS", 600);
    let from = number("SVMLAB_FUZZ_SEED", 0);
    let only = std::env::var("SVMLAB_FUZZ_FLAVOUR").ok();
    let flavours = Flavour::ALL.into_iter().filter(|f| only.as_ref().is_none_or(|name| *name == format!("{f:?}")));
    let flavours: Vec<Flavour> = flavours.collect();
    let (mut used, mut failing, mut executions, mut classes, mut seed) = (0, 0, 0, 0, from);
    while used < wanted {
        let flavour = flavours[(seed % flavours.len() as u64) as usize];
        let program = Random::generate(flavour, seed);
        seed += 1;
        let Some(compared) = compare(&program) else { continue };
        if let Err(what) = compared.verdict {
            let small = smallest(&program);
            let still = difference(&small).unwrap_or_default();
            panic!("{flavour:?} {}: {what}\n{program:?}\nsmallest: {still}\n{small:?}", seed - 1);
        }
        used += 1;
        failing += u64::from(compared.fails);
        if program.runs_to_the_end {
            executions += compared.executions;
            classes += compared.classes;
        }
    }
    println!("{used} programs ({failing} with a violation), {classes} classes, {executions} executions with reduction");
    assert!(seed - from < 3 * wanted, "most programs are too big: {used} of {} were used", seed - from);
    assert!(failing * 10 > used && failing * 10 < 9 * used, "{failing} of {used} fail: that says little");
    assert!(executions <= classes + classes / 10, "{executions} executions for {classes} classes");
}

/// Each once showed that a rule about work items left something out: an ordered queue holds a timer back, an instance
/// that was cancelled could have started, a timer that is late now was early once.
#[test]
fn programs_that_once_made_a_difference_make_none() {
    for seed in [928, 2_055, 3_154, 14_214] {
        let program = Random::generate(Flavour::Work, seed);
        let compared = compare(&program).expect("small enough");
        assert_eq!(compared.verdict, Ok(()), "{seed}: {program:?}");
    }
}

/// Programs of all flavours, small enough to be searched without reduction.
fn programs(from: u64) -> impl Iterator<Item = Random> {
    (from..).map(|seed| Random::generate(Flavour::ALL[(seed % Flavour::ALL.len() as u64) as usize], seed))
}

#[test]
fn random_schedules_show_nothing_that_the_exhaustive_search_does_not_have() {
    let mut seen = 0;
    for program in programs(7_000).filter(|program| program.runs_to_the_end).take(150) {
        let full = search(&program, true);
        if full.outcome.end == End::LimitReached {
            continue;
        }
        for strategy in [Strategy::Random { seed: 1 }, Strategy::Pct { seed: 1, depth: 3 }] {
            let some = search_with(&program, strategy, 60);
            let other = some.outcome.classes.iter().find(|class| !full.outcome.classes.contains(class));
            assert_eq!(other, None, "a class of its own: {program:?}");
            assert!(some.outcomes.is_subset(&full.outcomes), "{program:?}");
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen} searches are too few");
}

#[test]
fn every_failure_replays_bit_for_bit_and_shrinks_to_one_that_does() {
    let mut failures = 0;
    for program in programs(9_000).take(200) {
        let (observed, config) = (Observed::new(&program), config(&program, Strategy::Random { seed: 5 }, 60));
        let Some(failure) = explore(&observed, &config, None, None).failure else { continue };
        let small = shrink(&observed, &config, &failure, 300);
        assert!(small.context_switches <= failure.context_switches, "{program:?}");
        for failure in [&failure, &small] {
            let timeline = replay(&observed, &config, &failure.schedule).expect("the schedule of a failure fits");
            assert_eq!(timeline.violation.as_ref(), Some(&failure.violation), "{program:?}");
            assert_eq!(timeline.event_hash, failure.event_hash, "{program:?}");
            assert_eq!(timeline.steps.len(), failure.events as usize, "{program:?}");
        }
        assert_eq!(small.violation.invariant, failure.violation.invariant, "{program:?}");
        failures += 1;
    }
    assert!(failures > 20, "{failures} failures are too few");
}
