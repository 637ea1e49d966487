//! Tried locks, completions, wait queues, sequence counters, reference counts, RCU: what they promise, each with a
//! mistake that is found, and each explored the same with and without reduction.

use super::{Plain, Shared, Small, found, holds, mutex};
use interleave::lab::{Gate as _, Invariant, Lab, Violation};
use interleave::sim::{SimMutex, SimRcu, SimRwSem, SimSpinLock};
use interleave::sync::{Completion, Kref, SeqCount, WaitQueue};
use interleave::{Config, End, Sim, Strategy, explore};
use model::platform::{self, Atomic as _, Kernel, Mutex as _, Plain as _, RwSem as _, Shared as _, SpinLock as _};
use std::rc::Rc;

type Flag = <Sim as Kernel>::Shared<bool>;
type Gate = <Sim as Lab>::Gate;
type Atomic = <Sim as Kernel>::Atomic;

/// The reduced and the unreduced search find the same classes; how many, and how many executions the reduced one needs.
#[track_caller]
fn classes(program: &Small, failures: u32) -> (u64, u64) {
    let search = |reduction| {
        let strategy = Strategy::Exhaustive { preemptions: None, reduction };
        let config = Config { strategy, failures, count_distinct: true, keep_going: true, ..Config::default() };
        let outcome = explore(program, &config, None, None);
        assert_eq!(outcome.end, End::Exhausted);
        outcome
    };
    let (reduced, full) = (search(true), search(false));
    assert_eq!(reduced.classes, full.classes, "{} reduced, {} unreduced", reduced.stats.distinct, full.stats.distinct);
    (full.stats.distinct, reduced.stats.executions)
}

/// Three threads on one mutex that may be tried, `tries` of them trying.
fn tried_mutex(tries: usize) -> Small {
    Small::new(move |launch| {
        let lock = Rc::new(SimMutex::new_tried("lock", 0_u32));
        for i in 0..3 {
            let lock = lock.clone();
            launch.actor("thread", move || {
                if i < tries {
                    if let Some(mut count) = lock.try_lock() {
                        *count += 1;
                    }
                } else {
                    *lock.lock() += 1;
                }
            });
        }
    })
}

#[test]
fn to_try_a_mutex_succeeds_and_fails_in_every_order() {
    for tries in 0..=3 {
        let (distinct, executions) = classes(&tried_mutex(tries), 0);
        assert!(executions <= distinct + distinct / 5, "{tries} try: {executions} executions, {distinct} classes");
    }
    // An empty critical section can be met all the same.
    let violation = found(&Small::new(|launch| {
        let lock = Rc::new(SimMutex::new_tried("lock", ()));
        let its = lock.clone();
        launch.actor("holder", move || drop(its.lock()));
        launch.actor("trier", move || {
            if lock.try_lock().is_none() {
                Sim::fail(Violation::new(Invariant::I11, "busy", None));
            }
        });
    }));
    assert_eq!(violation.what, "busy");
}

#[test]
fn to_try_a_rwsem_fails_behind_a_queued_writer() {
    let program = |report: bool| {
        Small::new(move |launch| {
            let lock = Rc::new(SimRwSem::new_tried("mmap_lock", ()));
            let queued = Rc::new(Flag::new("queued", false));
            let (its, first) = (lock.clone(), queued.clone());
            launch.actor("reader", move || {
                let _held = its.read();
                first.read_once();
                if its.try_read().is_none() && report {
                    Sim::fail(Violation::new(Invariant::I11, "a writer waits", None));
                }
            });
            let its = lock.clone();
            launch.actor("writer", move || drop(its.write()));
            launch.actor("trier", move || {
                drop(lock.try_write());
                drop(lock.try_read());
            });
        })
    };
    assert_eq!(found(&program(true)).what, "a writer waits");
    holds(&program(false));
    classes(&program(false), 0);
}

#[test]
fn locks_that_are_tried_and_taken_in_opposite_orders_do_not_deadlock() {
    let program = Small::new(|launch| {
        let (a, b) = (Rc::new(SimMutex::new_tried("a", ())), Rc::new(SimSpinLock::new_tried("b", ())));
        let (x, y) = (a.clone(), b.clone());
        launch.actor("ab", move || {
            let _a = x.lock();
            let _b = y.lock();
        });
        launch.actor("ba", move || {
            let _b = b.lock();
            let _a = a.try_lock();
        });
    });
    holds(&program);
    classes(&program, 0);
}

fn two_waiters(complete: impl Fn(&Completion<Sim>) + Clone + 'static) -> Small {
    Small::new(move |launch| {
        let done = Rc::new(Completion::<Sim>::new("done"));
        for name in ["first", "second"] {
            let done = done.clone();
            launch.actor(name, move || done.wait());
        }
        let complete = complete.clone();
        launch.actor("completer", move || complete(&done));
    })
}

#[test]
fn a_completion_lets_as_many_go_as_it_was_completed() {
    let violation = found(&two_waiters(|done| done.complete()));
    assert_eq!(violation.invariant, Invariant::I8);
    assert!(violation.what.contains("waits for one of done"), "{}", violation.what);
    holds(&two_waiters(|done| {
        done.complete();
        done.complete();
    }));
    holds(&two_waiters(|done| done.complete_all()));
    classes(&two_waiters(|done| done.complete_all()), 0);
}

/// What the driver has of it ([`model::platform::Completion`]): a waiter sees what was done before, a look without waiting
/// may come too early.
#[test]
fn a_drivers_completion_carries_what_was_done_before_it() {
    type Done = <Sim as Kernel>::Completion;
    let program = |waits: bool| {
        Small::new(move |launch| {
            let done = Rc::new(<Done as platform::Completion>::new("done"));
            let work = Rc::new(Plain::new(0));
            let (its, result) = (done.clone(), work.clone());
            launch.actor("waiter", move || {
                let ready = if waits {
                    platform::Completion::wait(&*its);
                    true
                } else {
                    platform::Completion::is_done(&*its)
                };
                if !ready || result.get() != 1 {
                    Sim::fail(Violation::new(Invariant::I6, "it is not done", None));
                }
            });
            launch.actor("worker", move || {
                work.set(1);
                platform::Completion::complete_all(&*done);
            });
        })
    };
    holds(&program(true));
    assert_eq!(found(&program(false)).what, "it is not done");
}

#[test]
fn a_wait_may_time_out_when_failures_are_allowed() {
    let program = |strict: bool| {
        Small::new(move |launch| {
            let done = Rc::new(Completion::<Sim>::new("done"));
            let its = done.clone();
            launch.actor("waiter", move || {
                if !its.wait_timeout() && strict {
                    Sim::fail(Violation::new(Invariant::I6, "the time is up", None));
                }
            });
            launch.actor("completer", move || done.complete());
        })
    };
    holds(&program(true));
    let outcome = explore(&program(true), &Config { failures: 1, ..Config::default() }, None, None);
    assert_eq!(outcome.failure.expect("found").violation.what, "the time is up");
    // In time, out of time, and out of time but complete when it looks.
    assert_eq!(classes(&program(false), 1), (3, 3));
}

/// Sets a flag and wakes, or forgets to.
fn sleeper(wakes: bool) -> Small {
    Small::new(move |launch| {
        let (queue, flag) = (Rc::new(WaitQueue::<Sim>::new("wq")), Rc::new(Flag::new("flag", false)));
        let (its, seen) = (queue.clone(), flag.clone());
        launch.actor("sleeper", move || its.wait_event(|| seen.read_once()));
        launch.actor("waker", move || {
            flag.write_once(true);
            if wakes {
                queue.wake_up_all();
            }
        });
    })
}

#[test]
fn a_condition_without_a_wake_up_is_slept_through() {
    holds(&sleeper(true));
    let violation = found(&sleeper(false));
    assert_eq!(violation.invariant, Invariant::I8);
    assert!(violation.what.contains("sleeper waits for wq"), "{}", violation.what);
    classes(&sleeper(true), 0);
    classes(&sleeper(false), 0);
}

#[test]
fn who_sleeps_once_must_look_again() {
    let program = |again: bool| {
        Small::new(move |launch| {
            let (queue, flag) = (Rc::new(WaitQueue::<Sim>::new("wq")), Rc::new(Flag::new("flag", false)));
            let (its, seen) = (queue.clone(), flag.clone());
            launch.actor("sleeper", move || {
                while !its.sleep_once(|| seen.read_once()) && again {}
                if !seen.read_once() {
                    Sim::fail(Violation::new(Invariant::I6, "woken for nothing", None));
                }
            });
            launch.actor("waker", move || {
                flag.write_once(true);
                queue.wake_up_all();
            });
        })
    };
    let search = |again, failures| explore(&program(again), &Config { failures, ..Config::default() }, None, None);
    assert_eq!(search(false, 0).end, End::Exhausted);
    assert_eq!(search(false, 1).failure.expect("a spurious wake-up").violation.what, "woken for nothing");
    assert_eq!(search(true, 2).end, End::Exhausted);
}

/// Two words that are written together; `check` says whether the reader asks the count.
fn pair(check: bool) -> Small {
    Small::new(move |launch| {
        let count = Rc::new(SeqCount::<Sim>::new("seq"));
        let (a, b) = (Rc::new(Shared::new("a", 0)), Rc::new(Shared::new("b", 0)));
        let (its, x, y) = (count.clone(), a.clone(), b.clone());
        launch.actor("writer", move || {
            its.write_begin();
            x.write_once(1);
            y.write_once(1);
            its.write_end();
        });
        launch.actor("reader", move || {
            let look = || (a.read_once(), b.read_once());
            let (a, b) = if check { count.read(look) } else { look() };
            if a != b {
                Sim::fail(Violation::new(Invariant::I9, "torn", None));
            }
        });
    })
}

#[test]
fn a_sequence_counter_keeps_a_pair_together() {
    holds(&pair(true));
    assert_eq!(found(&pair(false)).what, "torn");
    classes(&pair(true), 0);
    // Spinning is allowed where sleeping is not.
    holds(&Small::new(|launch| {
        let count = SeqCount::<Sim>::new("seq");
        launch.actor("reader", move || {
            let spin = super::spin();
            let _held = spin.lock();
            count.read(|| ());
        });
    }));
}

#[test]
fn the_last_reference_is_put_once() {
    let program = |gets: bool| {
        Small::new(move |launch| {
            let (count, freed) = (Rc::new(Kref::<Sim>::new("kref")), Rc::new(Atomic::new("freed", 0)));
            let (its, free) = (count.clone(), freed.clone());
            launch.actor("owner", move || {
                if its.put() {
                    free.inc_return();
                }
            });
            launch.actor("finder", move || {
                if gets {
                    count.get();
                } else if !count.get_unless_zero() {
                    return;
                }
                if freed.load() != 0 {
                    Sim::fail(Violation::new(Invariant::I4, "freed under a reference", None));
                }
                if count.put() {
                    freed.inc_return();
                }
            });
        })
    };
    holds(&program(false));
    classes(&program(false), 0);
    let violation = found(&program(true));
    assert!(violation.what.contains("a reference is taken when there is none left"), "{}", violation.what);
}

/// Unpublishes and frees, after a grace period or at once.
fn reclaim(waits: bool, domain: fn(&'static str) -> SimRcu) -> Small {
    Small::new(move |launch| {
        let (rcu, pointer) = (Rc::new(domain("rcu")), Rc::new(Flag::new("pointer", true)));
        let object = Rc::new(Plain::new(1));
        for name in ["reader", "other reader"] {
            let (rcu, pointer, object) = (rcu.clone(), pointer.clone(), object.clone());
            launch.actor(name, move || {
                let _section = rcu.read();
                if pointer.read_once() && object.get() == 0 {
                    Sim::fail(Violation::new(Invariant::I4, "read after it was freed", None));
                }
            });
        }
        launch.actor("updater", move || {
            pointer.write_once(false);
            if waits {
                rcu.synchronize();
            }
            object.set(0);
        });
    })
}

#[test]
fn a_grace_period_waits_for_those_who_read_already() {
    for domain in [SimRcu::new, SimRcu::new_srcu] {
        holds(&reclaim(true, domain));
        let (distinct, executions) = classes(&reclaim(true, domain), 0);
        assert!(executions <= distinct + distinct / 5, "{executions} executions, {distinct} classes");
        // Either it reads what was freed, or the race detector sees that nothing orders the two.
        assert!(matches!(found(&reclaim(false, domain)).invariant, Invariant::I4 | Invariant::I9));
    }
}

#[test]
fn a_reader_must_not_wait_for_readers_nor_sleep_unless_it_is_srcu() {
    let within = |domain: fn(&'static str) -> SimRcu, sleeps: bool| {
        Small::new(move |launch| {
            let (rcu, lock) = (domain("domain"), mutex("lock"));
            launch.actor("reader", move || {
                let _outer = rcu.read();
                let _inner = rcu.read();
                if sleeps {
                    drop(lock.lock());
                } else {
                    rcu.synchronize();
                }
            });
        })
    };
    assert!(found(&within(SimRcu::new_srcu, false)).what.contains("and so for itself"));
    holds(&within(SimRcu::new_srcu, true));
    assert!(found(&within(SimRcu::new, true)).what.contains("may sleep"));
}

#[test]
fn readers_that_wait_for_each_other_across_domains_deadlock() {
    let violation = found(&Small::new(|launch| {
        let (a, b) = (Rc::new(SimRcu::new_srcu("a")), Rc::new(SimRcu::new_srcu("b")));
        let gate = Rc::new(Gate::new("both", 0));
        for (name, mine, other) in [("first", a.clone(), b.clone()), ("second", b, a)] {
            let gate = gate.clone();
            launch.actor(name, move || {
                let _section = mine.read();
                gate.add(1);
                other.synchronize();
            });
        }
    }));
    assert_eq!(violation.invariant, Invariant::I8);
    assert!(violation.what.contains("first waits for the readers of b (with second)"), "{}", violation.what);
    assert!(violation.what.contains("cycle first -> second -> first"), "{}", violation.what);
}
