//! Deadlocks, and what must not be done in atomic context.

use super::{Atomic, CLIENT, Cache, Gate, Small, found, holds, mutex, spin, unbound};
use interleave::Sim;
use interleave::lab::{Gate as _, Invariant, Lab};
use model::platform::{
    Atomic as _, Cache as _, DelayedWork as _, Kernel, Mutex as _, SpinLock as _, Work as _, WorkFunc, WorkQueue as _,
};
use std::rc::Rc;

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
        assert!(violation.what.contains("interleave/tests/semantics/"), "{name}: {}", violation.what);
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
    let allocations: [(&str, fn()); 2] = [
        ("svm_range", || assert!(Cache::new("svm_range").unwrap().alloc(1).is_ok())),
        ("an array", || drop(Sim::alloc_array(4, 0_u64))),
    ];
    for (name, allocate) in allocations {
        let violation = found(&Small::new(move |launch| {
            launch.actor("app", move || {
                allocate();
                let spin = spin();
                let _held = spin.lock();
                allocate();
            });
        }));
        assert_eq!(violation.invariant, Invariant::I8);
        assert_eq!(violation.what, format!("{name} is allocated with GFP_KERNEL while a spinlock is held"));
    }
}
