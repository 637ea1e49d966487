//! What the environment decides: all of it is explored, and replays.

use super::{Shared, Small, search};
use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Sim, Strategy, explore, replay};
use model::platform::{Kernel, Mutex as _, Shared as _};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

fn chooser(seen: Rc<RefCell<BTreeSet<(u8, u8, u64)>>>) -> Small {
    Small::new(move |launch| {
        let word = Rc::new(Shared::new("word", 0));
        let (its, seen) = (word.clone(), seen.clone());
        launch.actor("a", move || {
            let first = Sim::choose(3);
            let value = its.read_once();
            let second = if first == 2 { Sim::choose(2) } else { 0 };
            seen.borrow_mut().insert((first, second, value));
        });
        launch.actor("b", move || word.write_once(u64::from(Sim::choose(2))));
    })
}

#[test]
fn every_combination_is_explored_once() {
    for reduction in [true, false] {
        let seen = Rc::new(RefCell::default());
        let config = Config {
            strategy: Strategy::Exhaustive { preemptions: None, reduction },
            count_distinct: true,
            ..Config::default()
        };
        let outcome = explore(&chooser(seen.clone()), &config, None, None);
        assert_eq!(outcome.end, End::Exhausted);
        // a: four ways; b: two, before or after the read.
        assert_eq!(outcome.stats.distinct, 16, "reduction {reduction}");
        assert_eq!(seen.borrow().len(), 8);
        if reduction {
            assert_eq!(outcome.stats.executions, 16);
        }
    }
}

#[test]
fn a_failure_that_needs_a_choice_replays_with_it() {
    let program = Small::new(|launch| {
        launch.actor("a", || {
            if Sim::choose(2) == 1 && Sim::choose(4) == 3 {
                Sim::fail(Violation::new(Invariant::I11, "1 and 3", None));
            }
        });
    });
    let failure = search(&program).failure.expect("found");
    assert_eq!(failure.schedule.values, [1, 3]);
    let timeline = replay(&program, &Config::default(), &failure.schedule).expect("it fits");
    assert_eq!((timeline.violation, timeline.event_hash), (Some(failure.violation), failure.event_hash));
    let mut other = failure.schedule;
    other.values = vec![0];
    assert!(replay(&program, &Config::default(), &other).is_err(), "another value, another execution");
}

#[test]
fn allocations_fail_as_often_as_an_actor_may_meet_failures() {
    let failing = |failures| {
        let most = Rc::new(RefCell::new(0));
        let its = most.clone();
        let program = Small::new(move |launch| {
            let its = its.clone();
            launch.actor("a", move || {
                let failed = (0..3).filter(|_| Sim::alloc_array(1, 0_u8).is_err()).count();
                let most = *its.borrow();
                *its.borrow_mut() = failed.max(most);
            });
        });
        let outcome = explore(&program, &Config { failures, ..Config::default() }, None, None);
        assert_eq!(outcome.end, End::Exhausted);
        (*most.borrow(), outcome.stats.executions)
    };
    assert_eq!((0..4).map(failing).collect::<Vec<_>>(), [(0, 1), (1, 4), (2, 7), (3, 8)]);
}

#[test]
fn the_ordinary_is_what_happens_outside_of_executions() {
    assert_eq!(Sim::choose(5), 0);
    assert!(!Sim::fails());
}

#[test]
fn a_bound_on_preemptions_does_not_bound_choices() {
    for reduction in [true, false] {
        let program = Small::new(|launch| {
            launch.actor("a", || drop(super::mutex("lock").lock()));
            launch.actor("b", || {
                Sim::choose(3);
            });
        });
        let strategy = Strategy::Exhaustive { preemptions: Some(0), reduction };
        let outcome = explore(&program, &Config { strategy, count_distinct: true, ..Config::default() }, None, None);
        assert_eq!((outcome.end, outcome.stats.distinct), (End::Exhausted, 3), "reduction {reduction}");
    }
}
