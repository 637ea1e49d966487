//! Two orders, one class, subclasses, and what a report says.

use super::{Small, assert_is, clean, first, mutex, predicted, run, rwsem};
use interleave::lab::{Hold, Invariant, Lab};
use interleave::lockdep::Pattern;
use interleave::{Config, End, Launch, Limits, Sim, explore, replay_until};
use model::platform::{Mutex as _, RwSem as _};

/// Two threads, two locks; `crossed` says whether the second takes them the other way round.
fn abba(crossed: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let (svm, gc) = (mutex("svm_lock"), mutex("gc_lock"));
        let (outer, inner) = (svm.clone(), gc.clone());
        launch.actor("ioctl", move || {
            let _outer = outer.lock();
            let _inner = inner.lock();
        });
        launch.actor("worker", move || {
            let (first, second) = if crossed { (gc, svm) } else { (svm, gc) };
            let _first = first.lock();
            let _second = second.lock();
        });
    }
}

#[test]
fn two_orders_are_predicted_from_a_run_without_the_deadlock() {
    let report = predicted(abba(true));
    assert_is(&report, Pattern::Circular, "gc_lock -> svm_lock -> gc_lock");
    clean(abba(false));
}

#[test]
fn the_search_goes_on_and_finds_the_deadlock_itself() {
    let outcome = run(abba(true), None);
    assert_eq!(outcome.end, End::Violated);
    assert_eq!(outcome.predicted.len(), 1);
}

#[test]
fn switched_off_it_says_nothing() {
    let limits = Limits { executions: Some(1), ..Limits::default() };
    let outcome = explore(&Small(abba(true)), &Config { lockdep: false, limits, ..Config::default() }, None, None);
    assert_eq!((outcome.failure, outcome.predicted), (None, vec![]));
}

#[test]
fn a_report_names_who_took_what_where_and_each_edge_can_be_run_again() {
    let report = predicted(abba(true));
    let [last, earlier] = &report.dependencies[..] else { panic!("{report}") };
    assert_eq!((last.actor.as_str(), earlier.actor.as_str()), ("worker", "ioctl"));
    assert_eq!((last.outer.lock.as_str(), last.inner.lock.as_str()), ("gc_lock", "svm_lock"));
    assert!(last.inner.file.ends_with("tests/lockdep/order.rs"), "{}", last.inner.file);
    assert_eq!(last.inner.line, last.outer.line + 1);
    let violation = report.violation();
    assert_eq!(violation.invariant, Invariant::I8);
    for part in ["worker takes svm_lock at", "while it has gc_lock from", "ioctl takes gc_lock at"] {
        assert!(violation.what.contains(part), "{}", violation.what);
    }
    assert!(!violation.what.contains('\n'));
    for dependency in &report.dependencies {
        let timeline = replay_until(&Small(abba(true)), &Config::default(), &dependency.schedule).expect("it fits");
        let step = timeline.steps.last().expect("something happened");
        assert_eq!(timeline.actors[step.actor], dependency.actor);
        assert_eq!(step.held.join(", "), dependency.outer.lock, "it is about to take the other");
        assert_eq!(timeline.violation, None);
    }
    let text = report.to_string();
    let place = |t: &interleave::lockdep::Taken| format!("{}:{}", t.file, t.line);
    assert_eq!(
        text,
        format!(
            "possible circular locking dependency: gc_lock -> svm_lock -> gc_lock\n  \
             #0 worker takes svm_lock at {} while it has gc_lock from {}\n  \
             #1 ioctl takes gc_lock at {} while it has svm_lock from {}\n  \
             how it can happen, one CPU for each of the above:\n    \
             #0 has gc_lock\n    \
             {:24}#1 has svm_lock\n    \
             #0 wants svm_lock\n    \
             {:24}#1 wants gc_lock\n    \
             *** DEADLOCK ***",
            place(&last.inner),
            place(&last.outer),
            place(&earlier.inner),
            place(&earlier.outer),
            "",
            ""
        )
    );
}

#[test]
fn one_thread_that_takes_two_orders_one_after_the_other_is_enough() {
    let report = predicted(|launch| {
        let (a, b) = (mutex("a"), mutex("b"));
        launch.actor("only", move || {
            for (outer, inner) in [(&a, &b), (&b, &a)] {
                let _outer = outer.lock();
                drop(inner.lock());
            }
        });
    });
    assert_is(&report, Pattern::Circular, "b -> a -> b");
}

#[test]
fn a_cycle_of_three_is_found_and_its_chain_is_told_in_order() {
    let start = |closes: bool| {
        move |launch: &mut Launch| {
            let locks = [mutex("a"), mutex("b"), mutex("c")];
            for (n, name) in ["first", "second", "third"].into_iter().enumerate() {
                let (mut outer, mut inner) = (locks[n].clone(), locks[(n + 1) % 3].clone());
                if n == 2 && !closes {
                    std::mem::swap(&mut outer, &mut inner);
                }
                launch.actor(name, move || {
                    let _outer = outer.lock();
                    let _inner = inner.lock();
                });
            }
        }
    };
    let report = predicted(start(true));
    assert_is(&report, Pattern::Circular, "c -> a -> b -> c");
    let actors: Vec<&str> = report.dependencies.iter().map(|d| d.actor.as_str()).collect();
    assert_eq!(actors, ["third", "first", "second"]);
    clean(start(false));
}

#[test]
fn a_lock_that_is_let_go_before_what_was_taken_on_top_leaves_no_order_behind() {
    let start = |let_go: bool| {
        move |launch: &mut Launch| {
            let (a, c) = (mutex("a"), mutex("c"));
            let (its_a, its_c) = (a.clone(), c.clone());
            launch.actor("first", move || {
                let held = a.lock();
                // On top of `a`, without an order between the two.
                Sim::acquire_map("epoch", Hold::Begin);
                if let_go {
                    drop(held);
                    drop(c.lock());
                } else {
                    drop(c.lock());
                    drop(held);
                }
                Sim::release_map("epoch", Hold::Begin);
            });
            launch.actor("second", move || {
                let _c = its_c.lock();
                drop(its_a.lock());
            });
        }
    };
    assert_is(&predicted(start(false)), Pattern::Circular, "c -> a -> c");
    clean(start(true));
}

#[test]
fn a_stack_that_was_let_go_is_not_taken_for_one_that_is_held() {
    let report = predicted(|launch| {
        let (a, b) = (mutex("a"), mutex("b"));
        let (a1, b1, a2, b2) = (a.clone(), b.clone(), a.clone(), b.clone());
        launch.actor("one after the other", move || {
            drop(a.lock());
            drop(b.lock());
        });
        launch.actor("nested", move || {
            let _a = a1.lock();
            drop(b1.lock());
        });
        launch.actor("crossed", move || {
            let _b = b2.lock();
            drop(a2.lock());
        });
    });
    assert_is(&report, Pattern::Circular, "b -> a -> b");
}

/// Two locks of one class, one inside the other.
fn parent_and_child(subclass: u8) -> impl Fn(&mut Launch) {
    move |launch| {
        let (parent, child) = (mutex("mmap_lock"), mutex("mmap_lock"));
        launch.actor("fork", move || {
            let _parent = parent.lock();
            let _child = if subclass == 0 { child.lock() } else { child.lock_nested(subclass) };
        });
    }
}

#[test]
fn two_locks_of_one_class_need_a_subclass() {
    let report = predicted(parent_and_child(0));
    assert_is(&report, Pattern::Recursion, "mmap_lock -> mmap_lock");
    clean(parent_and_child(1));
}

#[test]
fn a_subclass_is_a_class_of_its_own() {
    let report = predicted(|launch| {
        let (parent, child) = (mutex("mmap_lock"), mutex("mmap_lock"));
        launch.actor("fork", move || {
            {
                let _parent = parent.lock();
                drop(Sim::nested(1, || child.lock()));
            }
            let _child = child.lock_nested(1);
            drop(parent.lock());
        });
    });
    assert_is(&report, Pattern::Circular, "mmap_lock/1 -> mmap_lock -> mmap_lock/1");
}

#[test]
fn one_mistake_is_told_once() {
    let reports = first(|launch| {
        let (a, b, c) = (mutex("a"), mutex("b"), mutex("c"));
        for n in 0..2 {
            let (a, b, c) = (a.clone(), b.clone(), c.clone());
            launch.actor(if n == 0 { "first" } else { "second" }, move || {
                for _ in 0..2 {
                    let _a = a.lock();
                    let _b = b.lock();
                    drop(c.lock());
                }
                // The shortest of the cycles that this closes, and no other.
                if n == 1 {
                    let _b = b.lock();
                    let _c = c.lock();
                    drop(a.lock());
                    drop(a.lock());
                }
            });
        }
    });
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!(reports[0].dependencies.len(), 2);
}

#[test]
fn one_mistake_in_two_ways_is_told_once() {
    let report = predicted(|launch| {
        let (sem, lock) = (rwsem("sem"), mutex("lock"));
        launch.actor("only", move || {
            {
                let _lock = lock.lock();
                drop(sem.write());
            }
            {
                let _sem = sem.read();
                drop(lock.lock());
            }
            let _sem = sem.write();
            drop(lock.lock());
        });
    });
    assert_is(&report, Pattern::Circular, "sem -> lock -> sem");
}
