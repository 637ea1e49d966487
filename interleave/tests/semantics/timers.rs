//! Timers, retry loops, and what counts as no progress.

use super::{Atomic, CLIENT, Shared, Small, found, holds, mutex, queue, unbound};
use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Sim, explore};
use model::platform::{
    Atomic as _, ClientId, DelayedWork as _, Kernel, Mutex as _, QueueKind, Shared as _, Work as _, WorkFunc,
    WorkQueue as _,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

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

/// Late expiries are no choice of the search, so it must not come back to them: that would never end.
#[test]
fn two_late_timers_of_one_ordered_queue_take_turns() {
    let program = Small::new(|launch| {
        let queue = queue(QueueKind::Ordered);
        let works: Vec<_> = (0..2).map(|i| queue.delayed_work(ClientId(i), WorkFunc::Restore).unwrap()).collect();
        launch.on_work(|_, _| ());
        launch.actor("app", move || works.iter().for_each(|work| assert!(work.queue(10))));
    });
    let mut config = Config { free_timers: 0, ..Config::default() };
    config.limits.executions = Some(100);
    let outcome = explore(&program, &config, None, None);
    assert_eq!((outcome.end, outcome.stats.executions), (End::Exhausted, 1));
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

#[test]
fn a_setup_without_end_is_no_progress() {
    let violation = found(&Small::new(|_| {
        let word = Atomic::new("word", 0);
        while word.load() == 0 {}
    }));
    assert_eq!(violation.invariant, Invariant::I6);
    assert!(violation.what.contains("no end, with nobody else running"), "{}", violation.what);
}
