//! Panics, determinism, limits, schedules that do not fit.

use super::{Shared, Small, found, mutex, search, two_writers};
use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Outcome, Schedule, Sim, Strategy, explore, replay};
use model::platform::{Mutex as _, Shared as _};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

#[test]
fn a_panic_is_a_finding_with_its_place() {
    let violation = found(&Small::new(|launch| {
        launch.actor("app", || {
            let lock = mutex("lock");
            let _held = lock.lock();
            panic!("range list is broken");
        });
    }));
    assert_eq!(violation.invariant, Invariant::I9);
    assert!(
        violation.what.starts_with("panic: range list is broken (at interleave/tests/semantics/"),
        "{}",
        violation.what
    );
}

#[test]
fn a_panic_says_nothing_on_stderr() {
    let me = std::env::current_exe().unwrap();
    let run = std::process::Command::new(me)
        .args(["--exact", "searching::a_panic_is_a_finding_with_its_place", "--nocapture"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"), "{run:?}");
    assert_eq!(String::from_utf8_lossy(&run.stderr), "");
}

#[test]
fn the_final_check_and_the_setup_can_fail() {
    let check = found(&Small::checked(|_| Box::new(|| Sim::fail(Violation::new(Invariant::I10, "lost", None)))));
    assert_eq!(check.invariant, Invariant::I10);
    let setup = found(&Small::new(|_| panic!("no memory")));
    assert!(setup.what.starts_with("panic: no memory"), "{}", setup.what);
}

#[test]
fn the_same_search_twice_gives_the_same() {
    let strategies = [
        Strategy::Exhaustive { preemptions: None, reduction: true },
        Strategy::Exhaustive { preemptions: Some(2), reduction: false },
        Strategy::Random { seed: 3 },
        Strategy::Pct { seed: 3, depth: 3 },
    ];
    for strategy in strategies {
        let run = || {
            let mut config =
                Config { strategy: strategy.clone(), keep_going: true, count_distinct: true, ..Config::default() };
            config.limits.executions = Some(200);
            let outcome = explore(&two_writers(false), &config, None, None);
            (outcome.stats, outcome.end, outcome.failure, outcome.classes)
        };
        assert_eq!(run(), run(), "{strategy:?}");
    }
}

#[test]
fn another_seed_goes_another_way() {
    let schedule = |seed| {
        let mut config = Config { strategy: Strategy::Random { seed }, ..Config::default() };
        config.limits.executions = Some(50);
        explore(&two_writers(false), &config, None, None).failure.map(|failure| failure.schedule)
    };
    assert!((0..8).map(schedule).collect::<Vec<_>>().windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn a_set_stop_flag_interrupts_and_a_limit_limits() {
    let outcome = explore(&two_writers(true), &Config::default(), Some(&AtomicBool::new(true)), None);
    assert_eq!((outcome.end, outcome.stats.executions), (End::Interrupted, 1));
    let mut config = Config { strategy: Strategy::Random { seed: 1 }, ..Config::default() };
    config.limits.executions = Some(17);
    let outcome: Outcome = explore(&two_writers(true), &config, None, None);
    assert_eq!((outcome.end, outcome.stats.executions), (End::LimitReached, 17));
}

#[test]
fn a_schedule_that_does_not_fit_is_refused() {
    let program = two_writers(false);
    let config = Config::default();
    let failure = search(&program).failure.unwrap();
    let fits = failure.schedule.choices;
    let refused = |choices: Vec<u8>| {
        replay(&program, &config, &Schedule { choices, values: Vec::new() }).err().map(|error| error.event)
    };
    assert_eq!(refused(fits.clone()), None);
    assert_eq!(refused([&fits[..], &[0]].concat()), Some(fits.len()), "too long");
    assert_eq!(refused(vec![0, 7]), Some(1), "no such actor");
    assert_eq!(refused(fits[..1].to_vec()), Some(1), "too short");
    let error = replay(&program, &config, &Schedule { choices: vec![9], values: Vec::new() }).unwrap_err();
    assert_eq!(error.to_string(), "the schedule does not fit the program: at event 0 the actor it names cannot run");
}

#[test]
fn a_program_that_is_not_deterministic_is_told_so() {
    let calls = Rc::new(Cell::new(0));
    let violation = found(&Small::new(move |launch| {
        calls.set(calls.get() + 1);
        let odd = calls.get() % 2 == 1;
        for name in ["a", "b"] {
            launch.actor(name, move || {
                let (first, second) = (mutex("first"), Shared::new("second", 0));
                if odd {
                    drop(first.lock());
                } else {
                    second.write_once(1);
                }
            });
        }
        let word = Rc::new(Shared::new("word", 0));
        for name in ["c", "d"] {
            let word = word.clone();
            launch.actor(name, move || word.write_once(1));
        }
    }));
    assert_eq!(violation.invariant, Invariant::I9);
    assert!(violation.what.contains("the program is not deterministic"), "{}", violation.what);
}
