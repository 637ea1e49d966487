//! Waiting is an edge: for work items, for queues, for whoever has begun something.

use super::{CLIENT, assert_is, clean, mutex, predicted, run};
use interleave::lab::{Gate as _, Hold, Lab};
use interleave::lockdep::Pattern;
use interleave::{End, Launch, Sim};
use model::platform::{DelayedWork as _, Kernel, Mutex as _, QueueKind, Work as _, WorkFunc, WorkQueue as _};
use std::rc::Rc;

/// How the thread waits for the item.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Flush,
    Cancel,
    FlushQueue,
    Destroy,
    DelayedFlush,
}

/// A thread waits for an item that takes a lock; `held` says whether it holds that lock then. The item ran long before.
fn wait_for_work(way: Way, held: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let (lock, queue) = (mutex("svm_lock"), Sim::alloc_workqueue("svm_wq", QueueKind::Unbound).unwrap());
        let work = queue.work(CLIENT, WorkFunc::Gc).unwrap();
        let delayed = queue.delayed_work(CLIENT, WorkFunc::Restore).unwrap();
        let its = lock.clone();
        launch.on_work(move |_, _| drop(its.lock()));
        launch.actor("close", move || {
            if way == Way::DelayedFlush {
                delayed.queue(10);
                delayed.flush();
            } else {
                work.queue();
                work.flush();
            }
            let guard = held.then(|| lock.lock());
            match way {
                Way::Flush => work.flush(),
                Way::Cancel => drop(work.cancel_sync()),
                Way::FlushQueue => queue.flush(),
                Way::Destroy => queue.destroy(),
                Way::DelayedFlush => delayed.flush(),
            }
            drop(guard);
        });
    }
}

#[test]
fn waiting_for_work_under_a_lock_that_it_takes_is_predicted_when_it_has_ended_long_ago() {
    for (way, map) in [
        (Way::Flush, "(work_completion)(&gc_work)"),
        (Way::Cancel, "(work_completion)(&gc_work)"),
        (Way::FlushQueue, "(wq_completion)svm_wq"),
        (Way::Destroy, "(wq_completion)svm_wq"),
        (Way::DelayedFlush, "(work_completion)(&restore_work)"),
    ] {
        let report = predicted(wait_for_work(way, true));
        assert_is(&report, Pattern::Circular, &format!("svm_lock -> {map} -> svm_lock"));
        assert!(report.to_string().contains(&format!("close waits for {map} at")), "{report}");
        assert_eq!(run(wait_for_work(way, true), None).end, End::Exhausted, "no execution deadlocks");
        clean(wait_for_work(way, false));
    }
}

#[test]
fn an_item_that_waits_for_itself_is_told_as_recursion_too() {
    let start = |itself: bool| {
        move |launch: &mut Launch| {
            let queue = Sim::alloc_workqueue("wq", QueueKind::Unbound).unwrap();
            let gc = Rc::new(queue.work(CLIENT, WorkFunc::Gc).unwrap());
            let restore = Rc::new(queue.work(CLIENT, WorkFunc::Restore).unwrap());
            let (its, other) = (gc.clone(), restore.clone());
            launch.on_work(move |_, func| match func {
                WorkFunc::Gc if itself => its.flush(),
                WorkFunc::Gc => other.flush(),
                _ => (),
            });
            launch.actor("app", move || {
                gc.queue();
            });
        }
    };
    let outcome = run(start(true), None);
    assert_eq!(outcome.failure.expect("it cannot end").violation.what, "gc_work waits for its own end");
    let map = "(work_completion)(&gc_work)";
    assert_is(&outcome.predicted[0], Pattern::Recursion, &format!("{map} -> {map}"));
    clean(start(false));
}

#[test]
fn items_of_an_ordered_queue_must_not_wait_for_each_other() {
    let start = |kind: QueueKind| {
        move |launch: &mut Launch| {
            let queue = Sim::alloc_workqueue("wq", kind).unwrap();
            let gc = Rc::new(queue.work(CLIENT, WorkFunc::Gc).unwrap());
            let restore = Rc::new(queue.work(CLIENT, WorkFunc::Restore).unwrap());
            launch.on_work(move |_, func| {
                if func == WorkFunc::Gc {
                    // Nothing is queued: there is nothing to wait for this time.
                    restore.flush();
                }
            });
            launch.actor("app", move || {
                gc.queue();
            });
        }
    };
    let report = predicted(start(QueueKind::Ordered));
    assert_is(&report, Pattern::Recursion, "(wq_completion)wq -> (wq_completion)wq");
    clean(start(QueueKind::Unbound));
}

/// A completion: the signaller has a lock on its way to signal, the waiter waits under it (or not).
fn completion(under: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let lock = mutex("lock");
        let done = Rc::new(<Sim as Lab>::Gate::new("done", 0));
        let (its, signals) = (lock.clone(), done.clone());
        launch.actor("signaller", move || {
            Sim::acquire_map("done", Hold::Begin);
            drop(its.lock());
            signals.store(1);
            Sim::release_map("done", Hold::Begin);
        });
        launch.actor("waiter", move || {
            let guard = under.then(|| lock.lock());
            Sim::wait_map("done");
            done.wait_until(1);
            drop(guard);
        });
    }
}

#[test]
fn waiting_for_a_completion_under_a_lock_that_signalling_needs() {
    assert_is(&predicted(completion(true)), Pattern::Circular, "lock -> done -> lock");
    let deadlock = run(completion(true), None).failure.expect("there is one").violation.what;
    assert!(deadlock.contains("cycle signaller -> waiter -> signaller"), "the map says who signals: {deadlock}");
    clean(completion(false));
}

#[test]
fn beginning_waits_for_nobody() {
    // The lock is held where it begins: that is no edge into the map. Several may have begun at a time.
    clean(|launch| {
        let lock = mutex("lock");
        for name in ["first", "second"] {
            let lock = lock.clone();
            launch.actor(name, move || {
                let held = lock.lock();
                Sim::acquire_map("epoch", Hold::Begin);
                Sim::acquire_map("epoch", Hold::Begin);
                drop(held);
                drop(lock.lock());
                Sim::release_map("epoch", Hold::Begin);
                Sim::release_map("epoch", Hold::Begin);
            });
        }
    });
}
