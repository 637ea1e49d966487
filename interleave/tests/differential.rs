//! The reduction loses nothing: on random programs, the reduced and the unreduced search find the same happens-before
//! classes, the same verdicts, and the same things seen by the actors.

mod random_program;

use interleave::{Config, End, Outcome, Strategy, explore};
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
    let observed = Observed::new(program);
    let mut config = Config {
        strategy: Strategy::Exhaustive { preemptions: None, reduction },
        free_timers: program.free_timers,
        free_retries: program.free_retries,
        count_distinct: true,
        keep_going: program.runs_to_the_end,
        ..Config::default()
    };
    config.limits.executions = Some(MOST_EXECUTIONS);
    let outcome = explore(&observed, &config, None, None);
    let outcomes = observed.outcomes.take();
    Found { outcome, outcomes }
}

/// What is wrong with the reduced search; None when it agrees, or when the program is too big to know.
fn difference(program: &Random) -> Option<String> {
    compare(program).unwrap_or_else(|| (0, 0, Ok(()))).2.err()
}

/// Executions with reduction, distinct classes, and the verdict. None when the program is too big.
fn compare(program: &Random) -> Option<(u64, u64, Result<(), String>)> {
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
    Some((b.stats.executions, a.stats.distinct, verdict))
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

/// Each flavour with programs of its own, starting at `SVMLAB_FUZZ_SEED`.
#[test]
fn the_reduced_search_finds_what_the_unreduced_one_finds() {
    let wanted = number("SVMLAB_FUZZ_PROGRAMS", 420);
    let from = number("SVMLAB_FUZZ_SEED", 0);
    let only = std::env::var("SVMLAB_FUZZ_FLAVOUR").ok();
    let (mut used, mut violating, mut executions, mut classes, mut seed) = (0, 0, 0, 0, from);
    let mut by: std::collections::BTreeMap<String, (u64, u64, u64, u64)> = Default::default();
    while used < wanted {
        let flavour = Flavour::ALL[(seed % Flavour::ALL.len() as u64) as usize];
        if only.as_ref().is_some_and(|only| *only != format!("{flavour:?}")) {
            seed += 1;
            continue;
        }
        let program = Random::generate(flavour, seed);
        seed += 1;
        let Some((reduced, distinct, verdict)) = compare(&program) else { continue };
        if let Err(what) = verdict {
            let small = smallest(&program);
            let still = difference(&small).unwrap_or_default();
            panic!("{flavour:?} {}: {what}\n{program:?}\nsmallest: {still}\n{small:?}", seed - 1);
        }
        used += 1;
        if program.runs_to_the_end {
            by.entry(format!("{flavour:?}")).or_insert((0, 0, 0, 0)).0 += 1;
            by.get_mut(&format!("{flavour:?}")).unwrap().1 += distinct;
            by.get_mut(&format!("{flavour:?}")).unwrap().2 += reduced;
            executions += reduced;
            classes += distinct;
        } else {
            violating += 1;
        }
    }
    println!("{by:?}");
    println!("{used} programs ({violating} dangerous), {classes} classes, {executions} executions with reduction");
    assert!(
        only.is_some() || seed - from < 3 * wanted,
        "most programs are too big: {used} of {} were used",
        seed - from
    );
    assert!(executions <= classes + classes / 10, "{executions} executions for {classes} classes");
}
