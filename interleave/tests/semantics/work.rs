//! Work items and workqueues, from queueing to the end.

use super::{CLIENT, Small, found, holds, mutex, queue, unbound};
use interleave::lab::Invariant;
use model::platform::{ClientId, DelayedWork as _, Mutex as _, QueueKind, Work as _, WorkFunc, WorkQueue as _};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

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
