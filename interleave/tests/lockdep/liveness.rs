//! What a deadlock or a livelock says about those that wait.

use super::{CLIENT, Small, mutex, run};
use interleave::lab::{Gate as _, Hold, Invariant, Lab};
use interleave::{Config, Launch, Limits, Sim, Strategy, explore, replay};
use model::platform::{Kernel, Mutex as _, QueueKind, Work as _, WorkFunc, WorkQueue as _};
use std::rc::Rc;

type Gate = <Sim as Lab>::Gate;

#[track_caller]
fn falls(start: impl Fn(&mut Launch), invariant: Invariant) -> String {
    let violation = run(start, None).failure.expect("it is seen").violation;
    assert_eq!(violation.invariant, invariant, "{}", violation.what);
    violation.what
}

/// A thread waits for a word to become 1, another stores `words`.
fn waits_for_a_word(words: &'static [u64]) -> impl Fn(&mut Launch) {
    move |launch| {
        let gate = Rc::new(Gate::new("event", 0));
        let its = gate.clone();
        launch.actor("waiter", move || its.wait_until(1));
        launch.actor("signaller", move || {
            words.iter().for_each(|&word| gate.store(word));
        });
    }
}

#[test]
fn a_wakeup_that_was_taken_back_is_a_lost_one() {
    let what = falls(waits_for_a_word(&[1, 1, 0, 2]), Invariant::I8);
    let events = ["signaller at event 3", "signaller at event 5"];
    assert_eq!(
        what,
        format!(
            "deadlock: waiter waits for event to become 1, a wakeup is lost: that was so by {} and taken back by {} \
             before it ran",
            events[0], events[1]
        )
    );
    let what = falls(waits_for_a_word(&[1, 0, 1, 0]), Invariant::I8);
    assert!(what.contains(", 2 wakeups are lost: that was so by signaller at event 5 and"), "{what}");
    let what = falls(waits_for_a_word(&[2, 0]), Invariant::I8);
    assert_eq!(what, "deadlock: waiter waits for event to become 1");
}

#[test]
fn every_strategy_and_a_replay_tell_it_alike() {
    let program = Small(waits_for_a_word(&[1, 0]));
    let mut told = std::collections::BTreeSet::new();
    for seed in 0..16 {
        let limits = Limits { executions: Some(64), ..Limits::default() };
        let config = Config { strategy: Strategy::Random { seed }, limits, ..Config::default() };
        let failure = explore(&program, &config, None, None).failure.expect("it is found");
        let again = replay(&program, &config, &failure.schedule).expect("it fits").violation;
        assert_eq!(again.as_ref(), Some(&failure.violation));
        told.insert(failure.violation.what.contains("a wakeup is lost"));
    }
    // Some begin to wait when it is over.
    assert!(told.contains(&true));
}

#[test]
fn work_that_stays_queued_is_said_with_what_it_is_behind() {
    let what = falls(
        |launch| {
            let queue = Sim::alloc_workqueue("wq", QueueKind::Ordered).unwrap();
            let gc = queue.work(CLIENT, WorkFunc::Gc).unwrap();
            let restore = queue.work(CLIENT, WorkFunc::Restore).unwrap();
            launch.on_work(|_, func| {
                if func == WorkFunc::Gc {
                    Gate::new("never", 0).wait_until(1);
                }
            });
            launch.actor("app", move || {
                gc.queue();
                restore.queue();
            });
        },
        Invariant::I8,
    );
    assert!(
        what.starts_with(
            "deadlock: gc_work waits for never to become 1; restore_work stays queued on wq behind gc_work"
        ),
        "{what}"
    );
    // It is not said of one that runs, or of one that has nothing to do.
    let what = falls(
        |launch| {
            let queue = Sim::alloc_workqueue("wq", QueueKind::Unbound).unwrap();
            let gc = queue.work(CLIENT, WorkFunc::Gc).unwrap();
            launch.on_work(|_, _| Gate::new("never", 0).wait_until(1));
            launch.actor("app", move || {
                gc.queue();
            });
        },
        Invariant::I8,
    );
    assert_eq!(what, "deadlock: gc_work waits for never to become 1");
}

/// Two threads that invalidate so that there is always one that runs; `gaps` lets all of them end now and then.
fn invalidations(gaps: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let lock = mutex("mn_lock");
        let active = Rc::new(std::cell::Cell::new(0));
        let epoch = Rc::new(Gate::new("invalidation epoch", 0));
        let its = epoch.clone();
        let turn = Rc::new(Gate::new("turn", 0));
        launch.actor("reader", move || {
            Sim::wait_map("invalidation epoch");
            its.wait_while(0);
        });
        for me in 0..2 {
            let (lock, active, epoch, turn) = (lock.clone(), active.clone(), epoch.clone(), turn.clone());
            launch.actor(if me == 0 { "munmap" } else { "mprotect" }, move || {
                loop {
                    Sim::acquire_map("invalidation epoch", Hold::Begin);
                    {
                        let _held = lock.lock();
                        active.set(active.get() + 1);
                    }
                    turn.store(1 - me);
                    if !gaps {
                        // The other begins before this one ends.
                        turn.wait_until(me);
                    }
                    {
                        let _held = lock.lock();
                        active.set(active.get() - 1);
                        if active.get() == 0 {
                            epoch.add(1);
                        }
                    }
                    Sim::release_map("invalidation epoch", Hold::Begin);
                    if gaps {
                        break;
                    }
                }
            });
        }
    }
}

#[test]
fn a_reader_that_overlapping_invalidations_starve_is_named() {
    let limits = Limits { events_per_execution: 120, executions: Some(1) };
    let outcome = explore(&Small(invalidations(false)), &Config { limits, ..Config::default() }, None, None);
    let violation = outcome.failure.expect("there is no end").violation;
    assert_eq!(violation.invariant, Invariant::I6);
    assert!(
        violation.what.contains("meanwhile reader waits for invalidation epoch, starved: since it waits,"),
        "{}",
        violation.what
    );
    assert!(violation.what.contains(" more began before all had ended"), "{}", violation.what);
    assert_eq!(run(invalidations(true), None).failure, None);
}
