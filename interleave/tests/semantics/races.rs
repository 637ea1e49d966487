//! Data races, freed objects, counters.

use super::{Atomic, CLIENT, Cache, Plain, Shared, Small, found, holds, mutex, two_writers, unbound};
use interleave::lab::Invariant;
use model::platform::{
    Atomic as _, Cache as _, Mutex as _, Objects as _, Plain as _, Shared as _, Work as _, WorkFunc, WorkQueue as _,
};
use std::rc::Rc;

#[test]
fn a_data_race_is_found_and_both_places_are_named() {
    let violation = found(&two_writers(false));
    assert_eq!(violation.invariant, Invariant::I9);
    let what = violation.what;
    assert!(what.starts_with("data race: "), "{what}");
    assert!(what.contains("first") && what.contains("second"), "{what}");
    assert_eq!(what.matches("interleave/tests/semantics/").count(), 2, "{what}");
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
