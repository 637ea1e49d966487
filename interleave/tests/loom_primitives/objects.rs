//! Race-checked fields, object caches, gates.

use super::*;

#[test]
fn a_race_on_plain_data_is_found_with_both_places_and_a_lock_mends_it() {
    let model = |locked: bool| {
        check(move || {
            let (lock, flags) = (mutex("gc_lock", ()), Rc::new(Plain::new(0)));
            let set = || {
                let (lock, flags) = (lock.clone(), flags.clone());
                move || {
                    let _held = locked.then(|| lock.lock());
                    flags.set(flags.get() + 1);
                }
            };
            Loom::actors([Actor::new("a", set()), Actor::new("b", set())], || assert_eq!(flags.get(), 2));
        })
    };
    let race = model(false);
    violates(Invariant::I9, &["data race", ": b @", ": a @"], &race);
    assert_eq!(race.to_string().matches("tests/loom_primitives").count(), 2, "{race}");
    assert!(model(true).holds());
}

/// The first actor must not learn from the end of another one what that one did: nothing but the race orders the two.
#[test]
fn the_end_of_an_actor_orders_nothing_before_all_have_ended() {
    let outcome = check(|| {
        let (word, field) = (Rc::new(Visible::new("word")), Rc::new(Plain::new(0)));
        let done = Rc::new(Cell::new(false));
        let late = actor!("late", [word, field, done], {
            word.read(Span::ALL);
            if done.get() {
                field.set(1);
            }
        });
        let early = actor!("early", [word, field, done], {
            field.set(2);
            word.write(Span::ALL);
            done.set(true);
        });
        Loom::actors([late, early], || assert_ne!(field.get(), 0));
    });
    violates(Invariant::I9, &["data race", "late @", "early @"], &outcome);
}

#[test]
fn a_freed_object_is_not_accessed_freed_or_found_again() {
    let objects = || -> (Cache<u32>, _) {
        let cache = Cache::new("range").unwrap();
        let handle = cache.alloc(7).unwrap();
        assert_eq!(*cache.get(handle), 7);
        cache.free(handle);
        assert_ne!(cache.alloc(8).unwrap(), handle, "a handle does not come back");
        (cache, handle)
    };
    let read = check(move || {
        let (cache, handle) = objects();
        cache.get(handle);
    });
    violates(Invariant::I4, &["access to range#0", "which was freed at"], &read);
    let twice = check(move || {
        let (cache, handle) = objects();
        cache.free(handle);
    });
    violates(Invariant::I4, &["free of range#0"], &twice);
}

#[test]
fn freeing_while_another_may_look_is_found_in_the_harmless_order_too() {
    let model = |locked: bool| {
        check(move || {
            let cache = Rc::new(Cache::<u32>::new("range").unwrap());
            let handle = cache.alloc(7).unwrap();
            let tree = mutex("tree", Some(handle));
            Loom::actors(
                [
                    actor!("looker", [cache, tree], {
                        let held = locked.then(|| tree.lock());
                        if held.as_ref().is_none_or(|found| found.is_some()) {
                            assert_eq!(*cache.get(handle), 7);
                        }
                    }),
                    actor!("freer", [cache, tree], {
                        let mut found = tree.lock();
                        if let Some(handle) = found.take() {
                            cache.free(handle);
                        }
                    }),
                ],
                || (),
            );
        })
    };
    violates(Invariant::I4, &["range#0", "ordered with nothing"], &model(false));
    assert!(model(true).holds());
}

#[test]
fn waiting_on_a_gate_ends_when_the_word_says_so() {
    let seen = collect(|say| {
        let (gate, passed) = (Rc::new(Gate::new("seq", 0)), Rc::new(Cell::new(0)));
        Loom::actors(
            [
                actor!("waiter", [gate, passed], {
                    passed.set(gate.wait_while(0));
                    gate.wait_until(3);
                    assert_eq!((gate.load(), gate.peek()), (3, 3));
                }),
                actor!("opener", [gate], {
                    assert_eq!(gate.add(1), 1);
                    gate.store(4);
                    assert_eq!(gate.add(-1), 3);
                }),
            ],
            || say(passed.get()),
        );
    });
    assert_eq!(seen, BTreeSet::from([1, 3, 4]));
}

#[test]
fn a_gate_that_nobody_opens_is_a_deadlock_with_its_name() {
    let outcome = check(|| {
        let gate = Rc::new(Gate::new("mm_users", 1));
        Loom::actors([actor!("exit", [gate], { gate.wait_until(0) }), Actor::new("other", || ())], || ());
    });
    violates(Invariant::I8, &["deadlock", "exit waits for gate mm_users"], &outcome);
}

#[test]
fn a_gate_does_not_count_below_zero() {
    let outcome = check(|| {
        let gate = Gate::new("quiesced", 1);
        gate.add(-1);
        gate.add(-1);
    });
    violates(Invariant::I5, &["quiesced", "below zero"], &outcome);
}

#[test]
fn a_gate_orders_what_came_before_its_opening() {
    let outcome = check(|| {
        let (gate, data) = (Rc::new(Gate::new("done", 0)), Rc::new(Plain::new(0)));
        Loom::actors(
            [
                actor!("worker", [gate, data], {
                    data.set(1);
                    gate.store(1);
                }),
                actor!("waiter", [gate, data], {
                    gate.wait_until(1);
                    assert_eq!(data.get(), 1);
                }),
            ],
            || (),
        );
    });
    assert!(outcome.holds(), "{outcome}");
}
