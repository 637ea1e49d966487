//! Running a model, and what comes of it.

use super::locks::reader_behind_a_queued_writer;
use super::*;

#[test]
fn a_violation_is_told_as_it_was_said() {
    let outcome = check(|| Loom::fail(Violation::new(Invariant::I2, "entry 5 names frame 7", None)));
    assert_eq!(outcome, LoomOutcome::Violated { message: "I2: entry 5 names frame 7".to_owned(), executions: 1 });
    violates(Invariant::I9, &["WARN_ON: tree"], &check(|| Loom::warn(format_args!("tree"))));
    violates(
        Invariant::I9,
        &["panic: index out of bounds", "tests/loom_primitives"],
        &check(|| {
            let none: [u8; 0] = [];
            let _ = none[std::hint::black_box(0)];
        }),
    );
}

#[test]
fn a_limit_is_not_a_violation() {
    let spinner = |name: &str| {
        Actor::new(name, || {
            loop {
                Loom::retry_point("for a page that never comes");
            }
        })
    };
    let spin = check(move || Loom::actors([spinner("a"), spinner("b")], || ()));
    let LoomOutcome::Unfinished { halt: Halt::Loom, reason, executions: 1 } = &spin else { panic!("{spin}") };
    assert!(reason.contains("retried for a page that never comes"), "{reason}");
    let many = Loom::check_within(LoomBounds { executions: Some(5), ..LoomBounds::default() }, || {
        let a = mutex("a", 0);
        let add = || {
            let a = a.clone();
            move || (0..3).for_each(|_| *a.lock() += 1)
        };
        Loom::actors([Actor::new("a", add()), Actor::new("b", add())], || ());
    });
    assert!(matches!(many, LoomOutcome::Unfinished { halt: Halt::Budget, executions: 5, .. }), "{many}");
    let threads = check(|| Loom::actors((0..6).map(|i| Actor::new(format!("{i}"), || ())), || ()));
    assert!(matches!(threads, LoomOutcome::Unfinished { halt: Halt::Loom, .. }), "{threads}");
}

#[test]
fn one_thread_that_retries_while_nobody_else_can_run_is_a_livelock() {
    let alone = |others: usize| {
        check(move || {
            let gate = Rc::new(Gate::new("never", 0));
            let mut actors = vec![Actor::new("spinner", || {
                loop {
                    Loom::retry_point("for a page that never comes");
                }
            })];
            actors.extend((0..others).map(|_| actor!("sleeper", [gate], { gate.wait_until(1) })));
            Loom::actors(actors, || ());
        })
    };
    for others in [0, 1] {
        violates(Invariant::I6, &["spinner retries for a page that never comes"], &alone(others));
    }
}

#[test]
fn a_search_can_be_stopped_between_two_executions() {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let button = stop.clone();
    let press = move |executions| button.store(executions == 3, std::sync::atomic::Ordering::Relaxed);
    let outcome = Loom::check_watched(LoomBounds::default(), stop, press, || {
        let lock = mutex("lock", 0);
        let take = || {
            let lock = lock.clone();
            move || (0..3).for_each(|_| *lock.lock() += 1)
        };
        Loom::actors([Actor::new("a", take()), Actor::new("b", take())], || ());
    });
    assert!(matches!(outcome, LoomOutcome::Unfinished { halt: Halt::Stopped, executions: 4, .. }), "{outcome}");
}

#[test]
fn a_check_after_a_failed_one_starts_clean() {
    let fail = || {
        check(|| {
            let a = mutex("a", 0);
            let _held = a.lock();
            let spin = SpinLock::new("spin", ()).unwrap();
            let _spinning = spin.lock();
            panic!("on purpose");
        })
    };
    violates(Invariant::I9, &["on purpose"], &fail());
    assert!(check(|| assert!(!Loom::in_atomic())).holds());
    violates(Invariant::I9, &["on purpose"], &fail());
}

#[test]
fn a_bug_is_planted_for_the_checks_that_follow_only_where_named() {
    Loom::plant(&[Plant::SkipTlbFlush]);
    assert!(check(|| assert!(Loom::planted(Plant::SkipTlbFlush) && !Loom::planted(Plant::SkipPagesValid))).holds());
    Loom::plant(&[]);
    assert!(check(|| assert!(!Loom::planted(Plant::SkipTlbFlush))).holds());
}

#[test]
fn a_retry_loop_ends_when_the_other_side_moves() {
    let outcome = check(|| {
        let word = Rc::new(Shared::new("word", 0));
        Loom::actors(
            [
                actor!("retrier", [word], {
                    while word.read_once() == 0 {
                        Loom::retry_point("until the word is set");
                    }
                }),
                actor!("setter", [word], { word.write_once(1) }),
            ],
            || (),
        );
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn stamps_order_the_events_of_an_execution() {
    let outcome = check(|| {
        let lock = mutex("lock", ());
        let before = Loom::stamp();
        drop(lock.lock());
        assert!(Loom::stamp() > before);
        assert_eq!(Loom::stamp(), Loom::stamp(), "asking is no event");
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn looking_at_rest_explores_nothing() {
    let model = |look: bool| {
        check(move || {
            let (lock, sem, word) = (mutex("lock", 0), rwsem("sem", 0), Rc::new(Shared::new("word", 0)));
            let touch = || {
                let (lock, sem, word) = (lock.clone(), sem.clone(), word.clone());
                move || {
                    *lock.lock() += 1;
                    *sem.write() += 1;
                    word.write_once(1);
                }
            };
            Loom::actors([Actor::new("a", touch()), Actor::new("b", touch())], || {
                if look {
                    assert_eq!((*lock.lock(), *sem.read(), word.read_once()), (2, 2, 1));
                }
            });
        })
    };
    assert_eq!(model(true), model(false));
}

#[test]
fn at_rest_a_lock_that_was_never_released_is_a_violation() {
    let outcome = check(|| {
        let lock = mutex("leaked", ());
        Loom::actors([actor!("a", [lock], { std::mem::forget(lock.lock()) })], || drop(lock.lock()));
    });
    violates(Invariant::I8, &["leaked"], &outcome);
}

#[test]
fn the_same_model_explores_the_same_executions_again() {
    let run = || reader_behind_a_queued_writer(true);
    assert_eq!(run(), run());
}

/// munmap bumps the sequence, clears the entry under the notifier lock and frees the page; a fault reads the sequence,
/// looks the page up and writes the entry under the notifier lock, if the sequence still stands (or without asking).
fn munmap_against_fault(asks: bool, faults: usize) -> LoomOutcome {
    check(move || {
        let mmap_lock = rwsem("mmap_lock", Some(1u32));
        let notifier_lock = rwsem("notifier_lock", None::<u32>);
        let sequence = Rc::new(Atomic::new("seq", 0));
        let munmap = actor!("munmap", [mmap_lock, notifier_lock, sequence], {
            let mut page = mmap_lock.write();
            {
                let mut entry = notifier_lock.write();
                sequence.inc_return();
                *entry = None;
            }
            *page = None;
        });
        let fault = |i: usize| {
            let (mmap_lock, notifier_lock, sequence) = (mmap_lock.clone(), notifier_lock.clone(), sequence.clone());
            Actor::new(format!("fault {i}"), move || {
                let before = sequence.load();
                let page = *mmap_lock.read();
                let mut entry = notifier_lock.write();
                if !asks || sequence.load() == before {
                    *entry = page;
                }
            })
        };
        let actors: Vec<Actor> = [munmap].into_iter().chain((0..faults).map(fault)).collect();
        Loom::actors(actors, || {
            if let (Some(page), None) = (*notifier_lock.read(), *mmap_lock.read()) {
                Loom::fail(Violation::new(Invariant::I3, format!("the entry names page {page}, which is free"), None));
            }
        });
    })
}

#[test]
fn a_fault_that_does_not_ask_maps_a_freed_page_and_one_that_asks_does_not() {
    violates(Invariant::I3, &["names page 1"], &munmap_against_fault(false, 1));
    let one = munmap_against_fault(true, 1);
    assert!(one.holds(), "{one}");
    let two = munmap_against_fault(true, 2);
    assert!(two.holds(), "{two}");
    println!("{one}, {two}");
}
