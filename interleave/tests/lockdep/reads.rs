//! Readers: a rwsem's are stopped by a queued writer, recursive ones are not.

use super::{assert_is, clean, mutex, predicted, run, rwsem};
use interleave::lab::{Hold, Lab};
use interleave::lockdep::Pattern;
use interleave::{End, Launch, Sim};
use model::platform::{Mutex as _, RwSem as _};

#[test]
fn reading_again_behind_a_queued_writer_is_predicted_before_a_writer_comes() {
    // No writer at all: the first execution cannot deadlock.
    let again = |launch: &mut Launch| {
        let sem = rwsem("mmap_lock");
        launch.actor("fault", move || {
            let _outer = sem.read();
            drop(sem.read());
        });
    };
    assert_is(&predicted(again), Pattern::Recursion, "mmap_lock -> mmap_lock");
    clean(|launch| {
        let sem = rwsem("mmap_lock");
        launch.actor("fault", move || {
            drop(sem.read());
            drop(sem.read());
        });
    });
}

#[test]
fn reading_again_with_a_writer_about_is_a_deadlock_that_the_search_finds_too() {
    let start = |launch: &mut Launch| {
        let sem = rwsem("mmap_lock");
        let its = sem.clone();
        launch.actor("fault", move || {
            let _outer = sem.read();
            drop(sem.read());
        });
        launch.actor("munmap", move || drop(its.write()));
    };
    assert_is(&predicted(start), Pattern::Recursion, "mmap_lock -> mmap_lock");
    assert_eq!(run(start, None).end, End::Violated);
}

#[test]
fn two_readers_in_two_orders_are_a_cycle_because_writers_queue() {
    let start = |crossed: bool| {
        move |launch: &mut Launch| {
            let (a, b) = (rwsem("a"), rwsem("b"));
            for (n, name) in ["first", "second"].into_iter().enumerate() {
                let (outer, inner) = if n == 1 && crossed { (b.clone(), a.clone()) } else { (a.clone(), b.clone()) };
                launch.actor(name, move || {
                    let _outer = outer.read();
                    drop(inner.read());
                });
            }
        }
    };
    let report = predicted(start(true));
    assert_is(&report, Pattern::Circular, "b -> a -> b");
    assert!(report.to_string().contains("takes a(r) at"), "{report}");
    clean(start(false));
}

#[test]
fn a_downgraded_lock_is_held_for_read_and_waits_for_nobody() {
    clean(|launch| {
        let (sem, lock) = (rwsem("mmap_lock"), mutex("lock"));
        launch.actor("munmap", move || {
            let held = sem.write();
            let _lock = lock.lock();
            // On top of `lock` from here on, but not taken under it.
            let read = <interleave::sim::SimRwSem<()> as model::platform::RwSem<()>>::downgrade(held);
            drop(read);
        });
    });
    assert_is(
        &predicted(|launch| {
            let (sem, lock) = (rwsem("mmap_lock"), mutex("lock"));
            launch.actor("munmap", move || {
                let held = sem.write();
                let read = <interleave::sim::SimRwSem<()> as model::platform::RwSem<()>>::downgrade(held);
                drop(lock.lock());
                drop(read);
                let _lock = lock.lock();
                drop(sem.write());
            });
        }),
        Pattern::Circular,
        "lock -> mmap_lock -> lock",
    );
}

/// `srcu_read_lock` around a lock, and `synchronize_srcu` (or, as a twin, another reader) under it.
fn srcu(writer: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let lock = mutex("lock");
        let its = lock.clone();
        launch.actor("reader", move || {
            Sim::acquire_map("srcu", Hold::Recursive);
            drop(its.lock());
            Sim::release_map("srcu", Hold::Recursive);
        });
        launch.actor("updater", move || {
            let _held = lock.lock();
            if writer {
                Sim::wait_map("srcu");
            } else {
                Sim::acquire_map("srcu", Hold::Recursive);
                Sim::release_map("srcu", Hold::Recursive);
            }
        });
    }
}

#[test]
fn recursive_readers_never_wait_for_each_other_but_a_grace_period_waits_for_them() {
    assert_is(&predicted(srcu(true)), Pattern::Circular, "lock -> srcu -> lock");
    clean(srcu(false));
}

#[test]
fn a_recursive_read_may_be_repeated() {
    clean(|launch| {
        launch.actor("reader", || {
            Sim::acquire_map("rcu", Hold::Recursive);
            Sim::acquire_map("rcu", Hold::Recursive);
            Sim::release_map("rcu", Hold::Recursive);
            Sim::release_map("rcu", Hold::Recursive);
        });
    });
}

#[test]
fn a_recursive_read_is_no_transfer_station() {
    // a -> r (recursive), r (read) -> b, b -> a: whoever has a and wants r waits for a writer of r only, and none of
    // those has b. With a reader that a queued writer stops it is a cycle.
    let start = |hold: Hold| {
        move |launch: &mut Launch| {
            let (a, b) = (mutex("a"), mutex("b"));
            let (a1, b1, a2, b2) = (a.clone(), b.clone(), a, b);
            launch.actor("first", move || {
                let _a = a1.lock();
                Sim::acquire_map("r", hold);
                Sim::release_map("r", hold);
            });
            launch.actor("second", move || {
                Sim::acquire_map("r", Hold::Recursive);
                drop(b1.lock());
                Sim::release_map("r", Hold::Recursive);
            });
            launch.actor("third", move || {
                let _b = b2.lock();
                drop(a2.lock());
            });
        }
    };
    clean(start(Hold::Recursive));
    assert_is(&predicted(start(Hold::Read)), Pattern::Circular, "b -> a -> r -> b");
}
