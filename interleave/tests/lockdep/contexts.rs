//! Interrupts and atomic context.

use super::{assert_is, clean, first, mutex, predicted, run, spin};
use interleave::lab::Invariant;
use interleave::lockdep::Pattern;
use interleave::{Launch, Sim};
use model::platform::{Kernel, Mutex as _, SpinLock as _};

/// A lock that a handler takes is held elsewhere; with interrupts off, or not.
fn handler_and_thread(off: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let lock = spin("fence_lock");
        let its = lock.clone();
        launch.actor("thread", move || {
            let _off = off.then(Sim::irq_save);
            drop(lock.lock());
        });
        launch.actor("irq", move || Sim::hardirq(|| drop(its.lock())));
    }
}

#[test]
fn a_lock_of_a_handler_that_is_held_with_interrupts_on() {
    let report = predicted(handler_and_thread(false));
    assert_is(&report, Pattern::InconsistentState, "fence_lock -> fence_lock");
    let told = "thread has fence_lock from";
    assert!(report.to_string().contains(told), "{report}");
    assert!(report.to_string().contains("irq takes fence_lock in a handler at"), "{report}");
    clean(handler_and_thread(true));
}

/// safe (a handler takes it) -> unsafe (held with interrupts on), in any order of events.
fn safe_to_unsafe(off: bool, handler_first: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let (safe, unsafe_) = (spin("safe"), spin("unsafe"));
        let (its, outer, inner) = (safe.clone(), safe, unsafe_.clone());
        let handler = move || Sim::hardirq(|| drop(its.lock()));
        let chain = move || {
            let _off = Sim::irq_save();
            let _outer = outer.lock();
            drop(inner.lock());
        };
        let user = move || {
            let _off = off.then(Sim::irq_save);
            drop(unsafe_.lock());
        };
        if handler_first {
            launch.actor("irq", handler);
            launch.actor("chain", chain);
            launch.actor("user", user);
        } else {
            launch.actor("user", user);
            launch.actor("chain", chain);
            launch.actor("irq", handler);
        }
    }
}

#[test]
fn a_handlers_lock_must_not_depend_on_one_that_is_held_with_interrupts_on() {
    for handler_first in [false, true] {
        let report = predicted(safe_to_unsafe(false, handler_first));
        // Which edge comes last is a matter of who went first.
        let cycle = report.cycle();
        assert!(["unsafe -> safe -> unsafe", "safe -> unsafe -> safe"].contains(&cycle.as_str()), "{report}");
        assert_is(&report, Pattern::SafeToUnsafe, &cycle);
        assert!(report.to_string().contains(" interrupt: wants safe"), "{report}");
        clean(safe_to_unsafe(true, handler_first));
    }
}

#[test]
fn a_lock_that_is_still_held_when_interrupts_come_back() {
    let report = predicted(|launch| {
        let lock = spin("lock");
        let its = lock.clone();
        launch.actor("irq", move || Sim::hardirq(|| drop(its.lock())));
        launch.actor("thread", move || {
            let off = Sim::irq_save();
            let held = lock.lock();
            drop(off);
            drop(held);
        });
    });
    assert_is(&report, Pattern::InconsistentState, "lock -> lock");
}

#[test]
fn a_handler_does_not_nest_in_what_it_interrupts() {
    // Both orders, but one of them is an interrupted thread's lock and a handler's, with the handler's lock never held
    // with interrupts on.
    let reports = first(|launch| {
        let (a, b) = (spin("a"), spin("b"));
        launch.actor("thread", move || {
            {
                let _a = a.lock();
                Sim::hardirq(|| drop(b.lock()));
            }
            let _off = Sim::irq_save();
            let _b = b.lock();
        });
    });
    assert_eq!(reports, []);
}

#[test]
fn sleeping_and_allocating_are_forbidden_in_handlers_and_with_interrupts_off() {
    let sleeps: [(&str, fn()); 4] = [
        ("in an interrupt handler", || Sim::hardirq(|| drop(mutex("m").lock()))),
        ("in an interrupt handler", || Sim::hardirq(|| drop(Sim::alloc_array(1, 0_u8)))),
        ("while interrupts are off", || {
            let _off = Sim::irq_save();
            drop(mutex("m").lock());
        }),
        ("while interrupts are off", || {
            let _off = Sim::irq_save();
            drop(Sim::alloc_array(1, 0_u8));
        }),
    ];
    for (why, body) in sleeps {
        let failure = run(move |launch| launch.actor("a", body), None).failure.expect("it is seen");
        assert_eq!(failure.violation.invariant, Invariant::I8);
        assert!(failure.violation.what.contains(why), "{}", failure.violation.what);
    }
    clean(|launch| {
        launch.actor("a", || {
            drop(Sim::irq_save());
            Sim::hardirq(|| ());
            drop(mutex("m").lock());
        });
    });
}
