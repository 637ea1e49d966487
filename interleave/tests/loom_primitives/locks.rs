//! Mutex, spinlock, rwsem.

use super::*;

#[test]
fn a_mutex_and_a_spinlock_exclude() {
    let outcome = check(|| {
        let total = mutex("total", 0);
        let spin = Rc::new(SpinLock::new("spin", 0).unwrap());
        let add = || {
            let (total, spin) = (total.clone(), spin.clone());
            move || {
                let mut total = total.lock();
                let before = *total;
                *spin.lock() += 1;
                *total = before + 1;
            }
        };
        Loom::actors([Actor::new("a", add()), Actor::new("b", add())], || {
            assert_eq!((*total.lock(), *spin.lock()), (2, 2));
        });
    });
    assert!(outcome.holds(), "{outcome}");
    assert!(outcome.executions() >= 2, "both orders: {outcome}");
}

#[test]
fn without_the_lock_an_update_is_lost() {
    let totals = collect(|say| {
        let total = mutex("total", 0);
        let add = || {
            let total = total.clone();
            move || {
                let before = *total.lock();
                *total.lock() = before + 1;
            }
        };
        Loom::actors([Actor::new("a", add()), Actor::new("b", add())], || say(*total.lock()));
    });
    assert_eq!(totals, BTreeSet::from([1, 2]));
}

#[test]
fn a_lock_cycle_is_found_and_told_with_names() {
    let outcome = check(|| {
        let (a, b) = (mutex("svm_lock", ()), mutex("gc_lock", ()));
        Loom::actors(
            [
                actor!("ioctl", [a, b], {
                    let _a = a.lock();
                    let _b = b.lock();
                }),
                actor!("notifier", [a, b], {
                    let _b = b.lock();
                    let _a = a.lock();
                }),
            ],
            || (),
        );
    });
    violates(Invariant::I8, &["ioctl waits for mutex gc_lock", "holds mutex svm_lock", "notifier waits"], &outcome);
}

#[test]
fn acquiring_twice_is_reported_in_the_first_execution() {
    let outcome = check(|| {
        let a = mutex("a", ());
        let _first = a.lock();
        let _second = a.lock();
    });
    violates(Invariant::I8, &["self-deadlock", "tests/loom_primitives"], &outcome);
    assert_eq!(outcome.executions(), 1);
}

#[test]
fn sleeping_under_a_spinlock_is_a_violation_and_spinning_is_not() {
    let outcome = check(|| {
        let spin = SpinLock::new("spin", ()).unwrap();
        let other = SpinLock::new("other", ()).unwrap();
        assert!(!Loom::in_atomic());
        let _held = spin.lock();
        assert!(Loom::in_atomic());
        drop(other.lock());
        let mutex = mutex("mutex", ());
        let _asleep = mutex.lock();
    });
    violates(Invariant::I8, &["sleeping in atomic context", "mutex", "holds spin"], &outcome);
}

#[test]
fn somebody_elses_spinlock_does_not_make_a_thread_atomic() {
    let outcome = check(|| {
        let spin = Rc::new(SpinLock::new("spin", ()).unwrap());
        let sleeping = mutex("sleeping", ());
        let word = Rc::new(Visible::new("word"));
        Loom::actors(
            [
                actor!("spinner", [spin, word], {
                    let _held = spin.lock();
                    word.write(Span::ALL);
                }),
                actor!("sleeper", [sleeping, word], {
                    word.write(Span::ALL);
                    let _held = sleeping.lock();
                }),
            ],
            || (),
        );
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn readers_meet_and_writers_do_not() {
    let seen = collect(|say: &dyn Fn((i32, i32))| {
        let sem = rwsem("sem", ());
        let word = Rc::new(Visible::new("word"));
        let most = Rc::new((Cell::new(0), Cell::new(0), Cell::new((0, 0))));
        let enter = |writes: bool| {
            let (sem, word, most) = (sem.clone(), word.clone(), most.clone());
            move || {
                let count = |by: i32| {
                    let which = if writes { &most.1 } else { &most.0 };
                    which.set(which.get() + by);
                    let (readers, writers) = most.2.get();
                    most.2.set((readers.max(most.0.get()), writers.max(most.1.get())));
                    assert!(most.1.get() == 0 || most.0.get() + most.1.get() == 1, "a writer is not alone");
                };
                let guards = if writes { (None, Some(sem.write())) } else { (Some(sem.read()), None) };
                count(1);
                word.write(Span::ALL);
                count(-1);
                drop(guards);
            }
        };
        let actors = [("r1", false), ("r2", false), ("w", true)].map(|(name, writes)| Actor::new(name, enter(writes)));
        Loom::actors(actors, || say(most.2.get()));
    });
    assert!(seen.contains(&(2, 1)) && seen.contains(&(1, 1)), "{seen:?}");
}

/// One thread reads the semaphore, then wants the mutex; the next holds the mutex, then wants to read; a third wants to
/// write. This deadlocks only because the second one queues behind the third: loom's own lock does not find it.
pub(super) fn reader_behind_a_queued_writer(writer: bool) -> LoomOutcome {
    check(move || {
        let (sem, a) = (rwsem("mmap_lock", ()), mutex("svm_lock", ()));
        let readers = [
            actor!("fault", [sem, a], {
                let _sem = sem.read();
                let _a = a.lock();
            }),
            actor!("ioctl", [sem, a], {
                let _a = a.lock();
                let _sem = sem.read();
            }),
        ];
        let writers = writer.then(|| actor!("munmap", [sem], { drop(sem.write()) }));
        Loom::actors(readers.into_iter().chain(writers), || ());
    })
}

#[test]
fn a_reader_behind_a_queued_writer_waits_and_the_deadlock_is_found() {
    let outcome = reader_behind_a_queued_writer(true);
    violates(
        Invariant::I8,
        &["deadlock", "ioctl waits for down_read mmap_lock", "munmap waits for down_write"],
        &outcome,
    );
    let without = reader_behind_a_queued_writer(false);
    assert!(without.holds(), "{without}");
}

#[test]
fn reading_twice_deadlocks_behind_a_queued_writer_only() {
    let model = |writer: bool| {
        check(move || {
            let sem = rwsem("sem", ());
            let reader = actor!("reader", [sem], {
                let _outer = sem.read();
                let _inner = sem.read();
            });
            let writers = writer.then(|| actor!("writer", [sem], { drop(sem.write()) }));
            Loom::actors([reader].into_iter().chain(writers), || ());
        })
    };
    violates(Invariant::I8, &["reader waits for down_read sem", "writer waits for down_write sem"], &model(true));
    assert!(model(false).holds());
}

#[test]
fn taking_a_semaphore_for_write_while_reading_it_is_a_self_deadlock() {
    let outcome = check(|| {
        let sem = rwsem("sem", ());
        let _read = sem.read();
        drop(sem.write());
    });
    violates(Invariant::I8, &["self-deadlock", "down_write sem"], &outcome);
}

#[test]
fn downgrade_lets_readers_in_and_no_writer() {
    let seen = collect(|say| {
        let sem = rwsem("sem", 0);
        let together = Rc::new(Cell::new(false));
        let word = Rc::new(Visible::new("word"));
        let inside = Rc::new(Cell::new(0));
        Loom::actors(
            [
                actor!("downgrader", [sem, word, inside], {
                    let mut guard = sem.write();
                    *guard = 1;
                    let guard = RwSem::downgrade(guard);
                    inside.set(inside.get() + 1);
                    word.write(Span::ALL);
                    assert_eq!(*guard, 1, "a writer came in between");
                    inside.set(inside.get() - 1);
                }),
                actor!("writer", [sem], { *sem.write() = 2 }),
                actor!("reader", [sem, word, inside, together], {
                    let _guard = sem.read();
                    together.set(together.get() || inside.get() == 1);
                    word.write(Span::ALL);
                }),
            ],
            || say((together.get(), *sem.read())),
        );
    });
    assert_eq!(seen, BTreeSet::from([(false, 1), (false, 2), (true, 1), (true, 2)]));
}

#[test]
fn a_downgraded_hold_is_a_read_hold() {
    let model = |again_for_write: bool| {
        check(move || {
            let sem = rwsem("sem", 0);
            let _held = RwSem::downgrade(sem.write());
            let _more = sem.read();
            if again_for_write {
                drop(sem.write());
            }
        })
    };
    assert!(model(false).holds());
    violates(Invariant::I8, &["self-deadlock", "down_write sem"], &model(true));
}

/// What the semaphore adds to loom's own lock must cost few executions: its inner locks are ordered by the door.
#[test]
fn a_semaphore_explores_little_more_than_loom_does_for_its_own_lock() {
    let ours = check(|| {
        let (outer, inner) = (rwsem("outer", ()), rwsem("inner", ()));
        let reader = || {
            actor!("reader", [outer, inner], {
                let _outer = outer.read();
                let _inner = inner.read();
            })
        };
        let writer = actor!("writer", [outer, inner], {
            let _outer = outer.write();
            let _inner = inner.write();
        });
        Loom::actors([writer, reader(), reader()], || ());
    });
    let loom_own = check(|| {
        let (outer, inner) = (Rc::new(loom::sync::RwLock::new(())), Rc::new(loom::sync::RwLock::new(())));
        let reader = || {
            actor!("reader", [outer, inner], {
                let _outer = outer.read().unwrap();
                let _inner = inner.read().unwrap();
            })
        };
        let writer = actor!("writer", [outer, inner], {
            let _outer = outer.write().unwrap();
            let _inner = inner.write().unwrap();
        });
        Loom::actors([writer, reader(), reader()], || ());
    });
    assert!(ours.holds() && loom_own.holds());
    assert!(ours.executions() <= loom_own.executions() * 5 / 4, "{ours}, loom's own: {loom_own}");
}

#[test]
fn what_readers_did_has_happened_before_the_next_writer_and_not_before_other_readers() {
    let model = |both_read: bool| {
        check(move || {
            let sem = rwsem("sem", ());
            let fields = Rc::new([Plain::new(0), Plain::new(0)]);
            let reader = |i: usize| {
                let (sem, fields) = (sem.clone(), fields.clone());
                move || {
                    let _guard = sem.read();
                    fields[i].set(1);
                    if both_read {
                        fields[1 - i].get();
                    }
                }
            };
            let writer = actor!("writer", [sem, fields], {
                let _guard = sem.write();
                fields.iter().for_each(|f| f.set(2));
            });
            Loom::actors([Actor::new("r0", reader(0)), Actor::new("r1", reader(1)), writer], || ());
        })
    };
    let ordered = model(false);
    assert!(ordered.holds(), "{ordered}");
    violates(Invariant::I9, &["data race"], &model(true));
}
