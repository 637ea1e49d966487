//! What the primitives of the controlled back end promise, each as a small program that is searched.

mod small;

use interleave::lab::{Gate as _, Invariant, Lab, Violation};
use interleave::{Config, End, Outcome, Schedule, Sim, Strategy, explore, replay};
use model::platform::{
    Atomic as _, Cache as _, ClientId, DelayedWork as _, Kernel, Mutex as _, Plain as _, QueueKind, Shared as _,
    SpinLock as _, Work as _, WorkFunc, WorkQueue as _,
};
use small::{Small, found, holds, search};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

type Mutex = <Sim as Kernel>::Mutex<()>;
type SpinLock = <Sim as Kernel>::SpinLock<()>;
type Atomic = <Sim as Kernel>::Atomic;
type Shared = <Sim as Kernel>::Shared<u64>;
type Plain = <Sim as Kernel>::Plain<u64>;
type Cache = <Sim as Kernel>::Cache<u64>;
type Gate = <Sim as Lab>::Gate;
type Queue = <Sim as Kernel>::WorkQueue;

const CLIENT: ClientId = ClientId(0);

fn mutex(name: &'static str) -> Rc<Mutex> {
    Rc::new(Mutex::new(name, ()).unwrap())
}
fn spin() -> Rc<SpinLock> {
    Rc::new(SpinLock::new("spin", ()).unwrap())
}
fn queue(kind: QueueKind) -> Queue {
    Sim::alloc_workqueue("wq", kind).unwrap()
}
fn unbound() -> Queue {
    queue(QueueKind::Unbound)
}

// --- deadlocks, atomic context ---

#[test]
fn a_deadlock_is_told_with_its_cycle() {
    let violation = found(&Small::new(|launch| {
        let (a, b) = (mutex("svm_lock"), mutex("gc_lock"));
        let (x, y) = (a.clone(), b.clone());
        launch.actor("ioctl", move || {
            let _a = x.lock();
            let _b = y.lock();
        });
        launch.actor("notifier", move || {
            let _b = b.lock();
            let _a = a.lock();
        });
    }));
    assert_eq!(violation.invariant, Invariant::I8);
    assert_eq!(
        violation.what,
        "deadlock: ioctl waits for gc_lock (with notifier); notifier waits for svm_lock (with ioctl) \
         — cycle ioctl -> notifier -> ioctl"
    );
}

#[test]
fn a_wait_for_a_word_that_nobody_sets_is_a_deadlock() {
    let violation = found(&Small::new(|launch| {
        launch.actor("waiter", || Gate::new("done", 0).wait_until(1));
    }));
    assert_eq!(
        (violation.invariant, violation.what.as_str()),
        (Invariant::I8, "deadlock: waiter waits for done to become 1")
    );
}

#[test]
fn flushing_an_item_under_a_lock_it_needs_is_a_deadlock() {
    let violation = found(&Small::new(|launch| {
        let lock = mutex("svm_lock");
        let work = unbound().work(CLIENT, WorkFunc::Gc).unwrap();
        let its = lock.clone();
        launch.on_work(move |_, _| drop(its.lock()));
        launch.actor("close", move || {
            work.queue();
            let _held = lock.lock();
            work.flush();
        });
    }));
    assert_eq!(violation.invariant, Invariant::I8);
    assert!(violation.what.contains("close waits for the end of gc_work (with gc_work)"), "{}", violation.what);
    assert!(violation.what.contains("cycle close -> gc_work -> close"), "{}", violation.what);
}

#[test]
fn an_item_that_flushes_itself_is_found() {
    let violation = found(&Small::new(|launch| {
        let work = Rc::new(unbound().work(CLIENT, WorkFunc::Gc).unwrap());
        let its = work.clone();
        launch.on_work(move |_, _| its.flush());
        launch.actor("app", move || {
            work.queue();
        });
    }));
    assert_eq!((violation.invariant, violation.what.as_str()), (Invariant::I8, "gc_work waits for its own end"));
}

#[test]
fn an_item_that_cancels_itself_is_found() {
    let violation = found(&Small::new(|launch| {
        let work = Rc::new(unbound().delayed_work(CLIENT, WorkFunc::Restore).unwrap());
        let its = work.clone();
        launch.on_work(move |_, _| {
            its.cancel_sync();
        });
        launch.actor("app", move || {
            work.queue(1);
        });
    }));
    assert_eq!((violation.invariant, violation.what.as_str()), (Invariant::I8, "restore_work waits for its own end"));
}

#[test]
fn sleeping_under_a_spinlock_is_found_whether_or_not_it_would_have_to_wait() {
    let sleepers: [(&str, fn()); 4] = [
        ("mutex", || drop(mutex("m").lock())),
        ("gate", || {
            Gate::new("g", 1).wait_while(0);
        }),
        ("flush", || unbound().work(CLIENT, WorkFunc::Gc).unwrap().flush()),
        ("cancel", || {
            unbound().work(CLIENT, WorkFunc::Gc).unwrap().cancel_sync();
        }),
    ];
    for (name, sleep) in sleepers {
        let violation = found(&Small::new(move |launch| {
            launch.actor("app", move || {
                let spin = spin();
                let _held = spin.lock();
                sleep();
            });
        }));
        assert_eq!(violation.invariant, Invariant::I8, "{name}");
        assert!(violation.what.starts_with("app may sleep at "), "{name}: {}", violation.what);
        assert!(violation.what.contains("interleave/tests/semantics.rs:"), "{name}: {}", violation.what);
    }
}

#[test]
fn what_does_not_sleep_is_allowed_under_a_spinlock() {
    holds(&Small::new(|launch| {
        let work = unbound().work(CLIENT, WorkFunc::Gc).unwrap();
        launch.on_work(|_, _| assert!(!Sim::in_atomic()));
        launch.actor("app", move || {
            let (outer, inner) = (spin(), spin());
            let _held = outer.lock();
            {
                let _nested = inner.lock();
                assert!(Sim::in_atomic());
            }
            assert!(Sim::in_atomic(), "the outer one is still held");
            work.queue();
            Atomic::new("a", 0).inc_return();
            Gate::new("g", 0).store(1);
        });
    }));
}

#[test]
fn allocating_under_a_spinlock_is_found() {
    let violation = found(&Small::new(|launch| {
        launch.actor("app", || {
            let cache = Cache::new("svm_range").unwrap();
            let spin = spin();
            let _held = spin.lock();
            let _ = cache.alloc(1);
        });
    }));
    assert_eq!(violation.invariant, Invariant::I8);
    assert!(violation.what.contains("svm_range is allocated with GFP_KERNEL while a spinlock is held"));
}

// --- data races ---

/// Two threads change a word; `lock` says whether under a lock.
fn two_writers(lock: bool) -> Small {
    Small::new(move |launch| {
        let (mutex, word) = (mutex("lock"), Rc::new(Plain::new(0)));
        for name in ["first", "second"] {
            let (mutex, word) = (mutex.clone(), word.clone());
            launch.actor(name, move || {
                let _held = lock.then(|| mutex.lock());
                word.set(word.get() + 1);
            });
        }
    })
}

#[test]
fn a_data_race_is_found_and_both_places_are_named() {
    let violation = found(&two_writers(false));
    assert_eq!(violation.invariant, Invariant::I9);
    let what = violation.what;
    assert!(what.starts_with("data race: "), "{what}");
    assert!(what.contains("first") && what.contains("second"), "{what}");
    assert_eq!(what.matches("interleave/tests/semantics.rs:").count(), 2, "{what}");
    assert!(violation.earlier.is_some());
}

#[test]
fn under_a_lock_there_is_no_data_race() {
    holds(&two_writers(true));
}

/// An access after the release and before the next event is not covered by the release.
#[test]
fn a_lock_does_not_cover_what_comes_after_its_release() {
    let program = |late: bool| {
        Small::new(move |launch| {
            let (lock, word) = (mutex("lock"), Rc::new(Plain::new(0)));
            let (its_lock, its_word) = (lock.clone(), word.clone());
            launch.actor("careless", move || {
                let held = its_lock.lock();
                if late {
                    drop(held);
                    its_word.set(1);
                } else {
                    its_word.set(1);
                }
            });
            launch.actor("reader", move || {
                let _held = lock.lock();
                word.get();
            });
        })
    };
    holds(&program(false));
    assert_eq!(found(&program(true)).invariant, Invariant::I9);
}

/// A flag that is raised too early publishes nothing.
#[test]
fn a_flag_covers_what_was_written_before_it_and_not_after() {
    let program = |early: bool| {
        Small::new(move |launch| {
            let (flag, word) = (Rc::new(Shared::new("flag", 0)), Rc::new(Plain::new(0)));
            let (its_flag, its_word) = (flag.clone(), word.clone());
            launch.actor("writer", move || {
                if early {
                    its_flag.write_once(1);
                }
                its_word.set(1);
                if !early {
                    its_flag.write_once(1);
                }
            });
            launch.actor("reader", move || {
                if flag.read_once() == 1 {
                    word.get();
                }
            });
        })
    };
    holds(&program(false));
    assert_eq!(found(&program(true)).invariant, Invariant::I9);
}

#[test]
fn queueing_and_flushing_order_what_the_item_does() {
    holds(&Small::new(|launch| {
        let word = Rc::new(Plain::new(0));
        let work = unbound().work(CLIENT, WorkFunc::Gc).unwrap();
        let its = word.clone();
        launch.on_work(move |_, _| its.set(its.get() + 1));
        launch.actor("app", move || {
            word.set(1);
            work.queue();
            work.flush();
            assert_eq!(word.get(), 2);
        });
    }));
}

// --- objects ---

#[test]
fn a_freed_object_that_is_used_is_found_with_the_moment_of_the_free() {
    let program = |twice: bool| {
        Small::new(move |launch| {
            let cache = Rc::new(Cache::new("svm_range").unwrap());
            let handle = cache.alloc(7).unwrap();
            let (its, lock) = (cache.clone(), mutex("lock"));
            let its_lock = lock.clone();
            launch.actor("gc", move || {
                let _held = its_lock.lock();
                its.free(handle);
            });
            launch.actor("fault", move || {
                let _held = lock.lock();
                if twice {
                    cache.free(handle);
                } else {
                    assert_eq!(*cache.get(handle), 7);
                }
            });
        })
    };
    let used = found(&program(false));
    assert_eq!((used.invariant, used.what.as_str()), (Invariant::I4, "svm_range #0.0 is used after it was freed"));
    assert!(used.earlier.is_some());
    let freed = found(&program(true));
    assert_eq!((freed.invariant, freed.what.as_str()), (Invariant::I4, "svm_range #0.0 is freed after it was freed"));
}

#[test]
fn a_slot_that_is_used_again_does_not_revive_its_old_handle() {
    let violation = found(&Small::new(|launch| {
        launch.actor("app", || {
            let cache = Cache::new("svm_range").unwrap();
            let old = cache.alloc(1).unwrap();
            cache.free(old);
            let new = cache.alloc(2).unwrap();
            assert_eq!(*cache.get(new), 2);
            cache.get(old);
        });
    }));
    assert_eq!(violation.invariant, Invariant::I4);
}

#[test]
fn a_counter_below_zero_is_found() {
    let violation = found(&Small::new(|launch| {
        let count = Rc::new(Atomic::new("evicted", 1));
        for name in ["a", "b"] {
            let count = count.clone();
            launch.actor(name, move || {
                count.dec_return();
            });
        }
    }));
    assert_eq!((violation.invariant, violation.what.as_str()), (Invariant::I5, "evicted goes below zero"));
}

// --- work ---

/// Queues a plain item from two threads; how often it ran and how often queueing said yes, over all executions.
fn runs_and_queueings(kind: QueueKind) -> BTreeSet<(u32, u32)> {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let all = seen.clone();
    holds(&Small::checked(move |launch| {
        let (runs, yes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let inside = Rc::new(Cell::new(false));
        let work = Rc::new(queue(kind).work(CLIENT, WorkFunc::Gc).unwrap());
        let (its, lock) = (runs.clone(), mutex("lock"));
        launch.on_work(move |_, _| {
            assert!(!inside.replace(true), "never concurrently with itself");
            drop(lock.lock());
            its.set(its.get() + 1);
            assert!(inside.replace(false));
        });
        for name in ["a", "b"] {
            let (work, yes) = (work.clone(), yes.clone());
            launch.actor(name, move || {
                let said = work.queue();
                yes.set(yes.get() + u32::from(said));
            });
        }
        let all = all.clone();
        Box::new(move || {
            all.borrow_mut().insert((runs.get(), yes.get()));
        })
    }));
    seen.take()
}

#[test]
fn an_item_runs_once_for_each_queueing_that_said_yes_and_never_with_itself() {
    for kind in [QueueKind::Unbound, QueueKind::Ordered] {
        assert_eq!(runs_and_queueings(kind), BTreeSet::from([(1, 1), (2, 2)]), "{kind:?}");
    }
}

#[test]
fn items_of_an_ordered_queue_run_one_after_the_other_in_queueing_order() {
    for kind in [QueueKind::Ordered, QueueKind::Unbound] {
        let seen = Rc::new(RefCell::new(BTreeSet::new()));
        let all = seen.clone();
        holds(&Small::checked(move |launch| {
            let queue = queue(kind);
            let works: Vec<_> = (0..2).map(|i| queue.work(ClientId(i), WorkFunc::Gc).unwrap()).collect();
            let (lock, log) = (mutex("lock"), Rc::new(RefCell::new(Vec::new())));
            let its = log.clone();
            launch.on_work(move |client, _| {
                its.borrow_mut().push((client.0, "in"));
                drop(lock.lock());
                its.borrow_mut().push((client.0, "out"));
            });
            launch.actor("app", move || works.iter().rev().for_each(|work| assert!(work.queue())));
            let all = all.clone();
            Box::new(move || {
                all.borrow_mut().insert(log.take());
            })
        }));
        let in_order = vec![(1, "in"), (1, "out"), (0, "in"), (0, "out")];
        match kind {
            QueueKind::Ordered => assert_eq!(seen.take(), BTreeSet::from([in_order])),
            QueueKind::Unbound => assert!(seen.take().len() > 1, "unbound items run in any order, and in parallel"),
        }
    }
}

#[test]
fn flush_waits_for_the_queued_and_for_the_running_instance() {
    holds(&Small::new(|launch| {
        let work = Rc::new(unbound().work(CLIENT, WorkFunc::Gc).unwrap());
        let (done, lock) = (Rc::new(Cell::new(0)), mutex("lock"));
        let its = done.clone();
        launch.on_work(move |_, _| {
            drop(lock.lock());
            its.set(its.get() + 1);
        });
        launch.actor("app", move || {
            work.queue();
            work.flush();
            assert_eq!(done.get(), 1);
            work.flush();
            assert_eq!(done.get(), 1, "there was nothing to wait for");
        });
    }));
}

#[test]
fn cancel_sync_leaves_nothing_queued_and_nothing_running_even_if_the_item_arms_itself_again() {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let all = seen.clone();
    holds(&Small::checked(move |launch| {
        let work = Rc::new(unbound().delayed_work(CLIENT, WorkFunc::Restore).unwrap());
        let (runs, running, lock) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)), mutex("lock"));
        let cancelled = Rc::new(Cell::new(false));
        let (its, its_runs, its_running, its_cancelled) =
            (work.clone(), runs.clone(), running.clone(), cancelled.clone());
        launch.on_work(move |_, _| {
            assert!(!its_cancelled.get(), "it runs after it was cancelled");
            its_running.set(true);
            its_runs.set(its_runs.get() + 1);
            drop(lock.lock());
            its.queue(10);
            its_running.set(false);
        });
        launch.actor("app", move || {
            work.queue(10);
            work.cancel_sync();
            cancelled.set(true);
            assert!(!running.get());
        });
        let all = all.clone();
        Box::new(move || {
            all.borrow_mut().insert(runs.get());
        })
    }));
    assert_eq!(seen.take(), BTreeSet::from([0, 1, 2]), "the timer expires before the cancel at most free_timers times");
}

#[test]
fn an_item_can_be_queued_again_once_it_was_cancelled() {
    holds(&Small::checked(move |launch| {
        let work = unbound().work(CLIENT, WorkFunc::Gc).unwrap();
        let runs = Rc::new(Cell::new(0));
        let its = runs.clone();
        launch.on_work(move |_, _| its.set(its.get() + 1));
        launch.actor("app", move || {
            work.queue();
            let unqueued = work.cancel_sync();
            assert_eq!(its_runs(&runs), u32::from(!unqueued));
            assert!(work.queue());
            work.flush();
            assert_eq!(its_runs(&runs), 1 + u32::from(!unqueued));
        });
        Box::new(|| ())
    }));
    fn its_runs(runs: &Cell<u32>) -> u32 {
        runs.get()
    }
}

// --- timers and retries ---

/// A timer of an hour and one of a millisecond; in which order they expired, over all executions.
#[test]
fn timers_expire_in_any_order_and_at_any_time() {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let all = seen.clone();
    holds(&Small::checked(move |launch| {
        let queue = unbound();
        let long = queue.delayed_work(ClientId(0), WorkFunc::Restore).unwrap();
        let short = queue.delayed_work(ClientId(1), WorkFunc::Restore).unwrap();
        let log = Rc::new(RefCell::new(Vec::new()));
        let (its, lock) = (log.clone(), mutex("lock"));
        let (mine, my_lock) = (log.clone(), lock.clone());
        launch.on_work(move |client, _| {
            let _held = lock.lock();
            its.borrow_mut().push(client.0);
        });
        launch.actor("app", move || {
            long.queue(3_600_000);
            short.queue(1);
            let _held = my_lock.lock();
            mine.borrow_mut().push(9);
        });
        let all = all.clone();
        Box::new(move || {
            all.borrow_mut().insert(log.take());
        })
    }));
    assert_eq!(seen.take().len(), 6, "all orders of the two expiries and the thread");
}

/// What a timer without free expiries sees: everybody else has come to rest.
#[test]
fn after_its_free_expiries_a_timer_expires_only_when_nothing_else_can_run() {
    let program = || {
        Small::new(|launch| {
            let work = unbound().delayed_work(CLIENT, WorkFunc::Restore).unwrap();
            let (count, lock) = (Rc::new(Cell::new(0)), mutex("lock"));
            let (its, its_lock) = (count.clone(), lock.clone());
            launch.on_work(move |_, _| {
                let _held = its_lock.lock();
                if its.get() != 2 {
                    Sim::fail(Violation::new(Invariant::I6, "too early", None));
                }
            });
            launch.actor("app", move || {
                work.queue(10);
                for _ in 0..2 {
                    let _held = lock.lock();
                    count.set(count.get() + 1);
                }
            });
        })
    };
    for (free_timers, end) in [(0, End::Exhausted), (1, End::Violated)] {
        let config = Config { free_timers, ..Config::default() };
        assert_eq!(explore(&program(), &config, None, None).end, end, "free_timers {free_timers}");
    }
}

#[test]
fn an_item_that_arms_itself_for_ever_is_no_progress() {
    let violation = found(&Small::new(|launch| {
        let work = Rc::new(unbound().delayed_work(CLIENT, WorkFunc::Restore).unwrap());
        let its = work.clone();
        launch.on_work(move |_, _| {
            its.queue(1);
        });
        launch.actor("app", move || {
            work.queue(1);
        });
    }));
    assert_eq!(violation.invariant, Invariant::I6);
    assert!(violation.what.contains("restore_work"), "{}", violation.what);
    assert!(violation.what.contains("its timer expires and it arms it again"), "{}", violation.what);
}

#[test]
fn an_item_that_queues_itself_for_ever_is_no_progress() {
    let violation = found(&Small::new(|launch| {
        let work = Rc::new(unbound().work(CLIENT, WorkFunc::Gc).unwrap());
        let its = work.clone();
        launch.on_work(move |_, _| {
            its.queue();
        });
        launch.actor("app", move || {
            work.queue();
        });
    }));
    assert_eq!(violation.invariant, Invariant::I6);
    assert!(violation.what.contains("gc_work goes on and on"), "{}", violation.what);
}

/// Loads a word until it is 1; `set` says whether anybody sets it.
fn retrying(set: bool) -> Small {
    Small::new(move |launch| {
        let word = Rc::new(Shared::new("word", 0));
        let its = word.clone();
        launch.actor("fault", move || {
            while its.read_once() == 0 {
                Sim::retry_point("the sequence has moved");
            }
        });
        if set {
            launch.actor("notifier", move || word.write_once(1));
        }
    })
}

#[test]
fn a_retry_loop_that_nothing_ends_is_a_livelock_and_says_why_it_retries() {
    let violation = found(&retrying(false));
    assert_eq!(violation.invariant, Invariant::I6);
    assert_eq!(
        violation.what,
        "fault retries without end (the sequence has moved), nobody else can run, nothing changes"
    );
    holds(&retrying(true));
}

// --- the end of a workqueue ---

#[test]
fn queueing_on_a_destroyed_workqueue_is_found() {
    let violation = found(&Small::new(|launch| {
        let queue = unbound();
        let work = queue.work(CLIENT, WorkFunc::Gc).unwrap();
        launch.on_work(|_, _| ());
        launch.actor("close", move || {
            queue.destroy();
            work.queue();
        });
    }));
    assert_eq!(violation.invariant, Invariant::I12);
    assert_eq!(violation.what, "gc_work is queued on a workqueue that was destroyed");
}

#[test]
fn destroy_runs_what_is_queued_and_lets_its_items_queue_each_other_but_nobody_else() {
    let program = |outsider: bool| {
        Small::new(move |launch| {
            let queue = unbound();
            let works: Rc<Vec<_>> = Rc::new((0..2).map(|i| queue.work(ClientId(i), WorkFunc::Gc).unwrap()).collect());
            let (runs, its) = (Rc::new(Cell::new(0)), works.clone());
            let its_runs = runs.clone();
            launch.on_work(move |client, _| {
                its_runs.set(its_runs.get() + 1);
                if client.0 == 1 {
                    its[0].queue();
                }
            });
            let mine = works.clone();
            launch.actor("close", move || {
                mine[1].queue();
                queue.destroy();
                assert_eq!(runs.get(), 2, "destroyed before everything had run");
            });
            if outsider {
                launch.actor("notifier", move || {
                    works[1].queue();
                });
            }
        })
    };
    holds(&program(false));
    assert_eq!(found(&program(true)).invariant, Invariant::I12);
}

#[test]
fn destroying_a_queue_whose_timer_runs_is_found() {
    let violation = found(&Small::new(|launch| {
        let queue = unbound();
        let work = queue.delayed_work(CLIENT, WorkFunc::Restore).unwrap();
        launch.on_work(|_, _| ());
        launch.actor("close", move || {
            work.queue(10);
            queue.destroy();
        });
    }));
    assert_eq!(
        (violation.invariant, violation.what.as_str()),
        (Invariant::I12, "wq is destroyed while the timer of restore_work runs")
    );
}

// --- panics, determinism, limits ---

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
        violation.what.starts_with("panic: range list is broken (at interleave/tests/semantics.rs:"),
        "{}",
        violation.what
    );
}

#[test]
fn a_panic_says_nothing_on_stderr() {
    let me = std::env::current_exe().unwrap();
    let run = std::process::Command::new(me)
        .args(["--exact", "a_panic_is_a_finding_with_its_place", "--nocapture"])
        .output()
        .unwrap();
    assert!(run.status.success());
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
    let refused = |choices: Vec<u8>| replay(&program, &config, &Schedule { choices }).err().map(|error| error.event);
    assert_eq!(refused(fits.clone()), None);
    assert_eq!(refused([&fits[..], &[0]].concat()), Some(fits.len()), "too long");
    assert_eq!(refused(vec![0, 7]), Some(1), "no such actor");
    assert_eq!(refused(fits[..1].to_vec()), Some(1), "too short");
    let error = replay(&program, &config, &Schedule { choices: vec![9] }).unwrap_err();
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
