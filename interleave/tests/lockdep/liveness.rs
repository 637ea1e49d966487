//! What a deadlock or a livelock says about those that wait.

use super::{CLIENT, Small, mutex, run};
use interleave::lab::{Gate as _, Hold, Invariant, Lab};
use interleave::{Config, Launch, Limits, Sim, explore};
use model::platform::{Kernel, Mutex as _, QueueKind, Work as _, WorkFunc, WorkQueue as _};
use std::rc::Rc;

type Gate = <Sim as Lab>::Gate;

#[track_caller]
fn falls(start: impl Fn(&mut Launch), invariant: Invariant) -> String {
    let violation = run(start, None).failure.expect("it is seen").violation;
    assert_eq!(violation.invariant, invariant, "{}", violation.what);
    violation.what
}

/// `pulses`: the word goes on and off again. Else it stays off.
fn waits_for_a_word(pulses: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let gate = Rc::new(Gate::new("event", 0));
        let its = gate.clone();
        launch.actor("waiter", move || its.wait_until(1));
        launch.actor("signaller", move || {
            gate.store(if pulses { 1 } else { 2 });
            gate.store(0);
        });
    }
}

#[test]
fn a_wakeup_that_was_taken_back_is_a_lost_one() {
    let what = falls(waits_for_a_word(true), Invariant::I8);
    assert!(
        what.starts_with(
            "deadlock: waiter waits for event to become 1, a wakeup is lost: that was so by signaller at event"
        ),
        "{what}"
    );
    assert!(what.contains("and taken back by signaller at event"), "{what}");
    let what = falls(waits_for_a_word(false), Invariant::I8);
    assert_eq!(what, "deadlock: waiter waits for event to become 1");
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
