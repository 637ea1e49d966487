//! What the primitives on loom promise, each as a model that loom explores. Where a claim says that something is found,
//! the model has the bug; where it says that something holds, the same model has it not.

use interleave::Loom;
use interleave::lab::{Gate as _, Invariant, Lab, Span, Violation, Visible as _};
use interleave::on_loom::{Actor, LoomBounds, LoomOutcome};
use model::platform::{
    Atomic as _, Cache as _, ClientId, DelayedWork as _, Kernel, Mutex as _, Plain as _, Plant, QueueKind, RwSem as _,
    Shared as _, SpinLock as _, Work as _, WorkFunc, WorkQueue as _,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex as StdMutex};

type Mutex<T> = <Loom as Kernel>::Mutex<T>;
type SpinLock<T> = <Loom as Kernel>::SpinLock<T>;
type RwSem<T> = <Loom as Kernel>::RwSem<T>;
type Atomic = <Loom as Kernel>::Atomic;
type Shared<T> = <Loom as Kernel>::Shared<T>;
type Plain<T> = <Loom as Kernel>::Plain<T>;
type Cache<T> = <Loom as Kernel>::Cache<T>;
type Gate = <Loom as Lab>::Gate;
type Visible = <Loom as Lab>::Visible;

const CLIENT: ClientId = ClientId(0);

fn mutex<T: 'static>(name: &'static str, value: T) -> Rc<Mutex<T>> {
    Rc::new(Mutex::new(name, value).unwrap())
}
fn rwsem<T: 'static>(name: &'static str, value: T) -> Rc<RwSem<T>> {
    Rc::new(RwSem::new(name, value).unwrap())
}

/// An actor that owns clones of what it names.
macro_rules! actor {
    ($name:literal, [$($shared:ident),*], $body:block) => {{
        $(let $shared = $shared.clone();)*
        Actor::new($name, move || $body)
    }};
}

/// Explores everything.
fn check(model: impl Fn() + Send + Sync + 'static) -> LoomOutcome {
    Loom::check(None, model)
}

/// Explores everything and returns what the executions said.
fn collect<T: Ord + Send + 'static>(model: impl Fn(&dyn Fn(T)) + Send + Sync + 'static) -> BTreeSet<T> {
    let seen = Arc::new(StdMutex::new(BTreeSet::new()));
    let all = seen.clone();
    let outcome = check(move || {
        model(&|said| {
            all.lock().unwrap().insert(said);
        })
    });
    assert!(outcome.holds(), "{outcome}");
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

#[track_caller]
fn violates(invariant: Invariant, words: &[&str], outcome: &LoomOutcome) {
    assert_eq!(outcome.invariant(), Some(invariant), "{outcome}");
    let text = outcome.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

// --- mutex, spinlock ---

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
    violates(Invariant::I8, &["self-deadlock", "loom_primitives.rs"], &outcome);
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

// --- rwsem ---

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
fn reader_behind_a_queued_writer(writer: bool) -> LoomOutcome {
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

/// What the semaphore adds to loom's own lock must not cost executions: its inner locks are ordered by the door.
#[test]
fn a_semaphore_explores_little_more_than_loom_does_for_its_own_lock() {
    let ours = check(|| {
        let sem = rwsem("sem", ());
        let reader = |name: &str| {
            Actor::new(name, {
                let sem = sem.clone();
                move || drop(sem.read())
            })
        };
        let writer = actor!("w", [sem], { drop(sem.write()) });
        Loom::actors([writer, reader("r1"), reader("r2")], || ());
    });
    let loom_own = check(|| {
        let sem = Rc::new(loom::sync::RwLock::new(()));
        let reader = |name: &str| {
            Actor::new(name, {
                let sem = sem.clone();
                move || drop(sem.read().unwrap())
            })
        };
        let writer = actor!("w", [sem], { drop(sem.write().unwrap()) });
        Loom::actors([writer, reader("r1"), reader("r2")], || ());
    });
    println!("{ours}; {loom_own}");
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

// --- words ---

/// The flag says that the data is there. Through two lockless words it lies, through a lock it does not.
#[test]
fn a_message_passed_through_two_lockless_words_may_arrive_without_its_content() {
    let seen = collect(|say| {
        let (data, flag) = (Rc::new(Shared::new("data", 0)), Rc::new(Shared::new("flag", false)));
        let got = Rc::new(Cell::new(None));
        Loom::actors(
            [
                actor!("sender", [data, flag], {
                    data.write_once(42);
                    flag.write_once(true);
                }),
                actor!("receiver", [data, flag, got], {
                    if flag.read_once() {
                        got.set(Some(data.read_once()));
                    }
                }),
            ],
            || say(got.get()),
        );
    });
    assert_eq!(seen, BTreeSet::from([None, Some(0), Some(42)]));
}

#[test]
fn a_message_passed_through_a_mutex_arrives_whole() {
    let seen = collect(|say| {
        let (data, flag) = (Rc::new(Shared::new("data", 0)), mutex("flag", false));
        let got = Rc::new(Cell::new(None));
        Loom::actors(
            [
                actor!("sender", [data, flag], {
                    data.write_once(42);
                    *flag.lock() = true;
                }),
                actor!("receiver", [data, flag, got], {
                    let there = *flag.lock();
                    if there {
                        got.set(Some(data.read_once()));
                    }
                }),
            ],
            || say(got.get()),
        );
    });
    assert_eq!(seen, BTreeSet::from([None, Some(42)]));
}

#[test]
fn a_thread_never_reads_older_than_it_read_before() {
    let seen = collect(|say| {
        let word = Rc::new(Shared::new("word", 0));
        let got = Rc::new(Cell::new((0, 0)));
        Loom::actors(
            [
                actor!("writer", [word], {
                    word.write_once(1);
                    word.write_once(2);
                }),
                actor!("reader", [word, got], { got.set((word.read_once(), word.read_once())) }),
            ],
            || {
                assert_eq!(word.read_once(), 2);
                say(got.get());
            },
        );
    });
    assert_eq!(seen, BTreeSet::from([(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]));
}

/// Loom by itself forgets A's load once B has loaded the same word, and never tries the store before it.
#[test]
fn a_load_before_the_own_store_hides_nobody_elses_load() {
    let shared = collect(|say| {
        let word = Rc::new(Shared::new("word", 0));
        let got = Rc::new(Cell::new(9));
        let a = actor!("a", [word, got], { got.set(word.read_once()) });
        let b = actor!("b", [word], {
            word.read_once();
            word.write_once(1);
        });
        Loom::actors([a, b], || say(got.get()));
    });
    assert_eq!(shared, BTreeSet::from([0, 1]));
    let atomic = collect(|say| {
        let word = Rc::new(Atomic::new("word", 0));
        let got = Rc::new(Cell::new(9));
        let a = actor!("a", [word, got], { got.set(word.load()) });
        let b = actor!("b", [word], {
            word.load();
            word.store(1);
        });
        Loom::actors([a, b], || say(got.get()));
    });
    assert_eq!(atomic, BTreeSet::from([0, 1]));
}

#[test]
fn fully_ordered_atomics_never_miss_both_stores() {
    let seen = collect(|say| {
        let words = Rc::new([Atomic::new("x", 0), Atomic::new("y", 0)]);
        let got = Rc::new([Cell::new(9), Cell::new(9)]);
        let side = |i: usize| {
            let (words, got) = (words.clone(), got.clone());
            move || {
                words[i].store(1);
                got[i].set(words[1 - i].load());
            }
        };
        Loom::actors([Actor::new("0", side(0)), Actor::new("1", side(1))], || say((got[0].get(), got[1].get())));
    });
    assert_eq!(seen, BTreeSet::from([(0, 1), (1, 0), (1, 1)]));
}

#[test]
fn atomic_operations_are_single_steps_and_return_what_the_kernel_returns() {
    let outcome = check(|| {
        let word = Rc::new(Atomic::new("kref", 1));
        assert_eq!((word.swap(5), word.load()), (1, 5));
        assert_eq!((word.cmpxchg(4, 9), word.cmpxchg(5, 1), word.load()), (5, 5, 1));
        let got = Rc::new(Cell::new(false));
        Loom::actors(
            [
                actor!("getter", [word, got], { got.set(word.inc_unless_zero()) }),
                actor!("putter", [word], { assert!(word.dec_return() <= 2) }),
                actor!("user", [word], { assert!(word.inc_return() >= 1) }),
            ],
            || assert_eq!(word.load(), 1 + u64::from(got.get())),
        );
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn a_put_too_many_is_a_violation() {
    let outcome = check(|| {
        let kref = Atomic::new("range_kref", 1);
        kref.dec_return();
        kref.dec_return();
    });
    violates(Invariant::I5, &["range_kref", "below zero", "loom_primitives.rs"], &outcome);
}

/// The receiver looks only if the sender came first, which it learns without synchronising.
#[test]
fn an_atomic_load_receives_and_does_not_send() {
    let model = |store: bool| {
        check(move || {
            let (word, data) = (Rc::new(Atomic::new("word", 0)), Rc::new(Plain::new(0)));
            let sent = Rc::new(Cell::new(false));
            Loom::actors(
                [
                    actor!("sender", [word, data, sent], {
                        data.set(1);
                        if store {
                            word.store(1);
                        } else {
                            word.load();
                        }
                        sent.set(true);
                    }),
                    actor!("receiver", [word, data, sent], {
                        word.load();
                        if sent.get() {
                            assert_eq!(data.get(), 1);
                        }
                    }),
                ],
                || (),
            );
        })
    };
    assert!(model(true).holds());
    violates(Invariant::I9, &["data race"], &model(false));
}

#[test]
fn a_visible_access_is_a_scheduling_point_of_either_kind_and_no_lock() {
    let seen = collect(|say| {
        let (table, entry) = (Rc::new(Visible::new("table")), Rc::new(Cell::new(0)));
        let got = Rc::new(Cell::new(9));
        Loom::actors(
            [
                actor!("reader", [table, entry, got], {
                    table.read(Span::one(0));
                    got.set(entry.get());
                }),
                actor!("writer", [table, entry], {
                    table.read(Span::ALL);
                    table.write(Span::one(0));
                    entry.set(1);
                    table.invalidate(Span::ALL);
                    entry.set(2);
                }),
            ],
            || say(got.get()),
        );
    });
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
    let race = check(|| {
        let (table, field) = (Rc::new(Visible::new("table")), Rc::new(Plain::new(0)));
        let touch = || {
            let (table, field) = (table.clone(), field.clone());
            move || {
                table.write(Span::ALL);
                field.set(1);
                table.write(Span::ALL);
            }
        };
        Loom::actors([Actor::new("a", touch()), Actor::new("b", touch())], || ());
    });
    violates(Invariant::I9, &["data race"], &race);
}

// --- plain, cache ---

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
    assert_eq!(race.to_string().matches("loom_primitives.rs").count(), 2, "{race}");
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

// --- gate ---

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

// --- work ---

/// A queue whose items count their runs.
struct Counter {
    queue: <Loom as Kernel>::WorkQueue,
    runs: Rc<Cell<u32>>,
}

impl Counter {
    fn new(kind: QueueKind) -> Rc<Counter> {
        let runs = Rc::new(Cell::new(0));
        let counted = runs.clone();
        Loom::on_work(Rc::new(move |client, func| {
            assert_eq!((client, func), (CLIENT, WorkFunc::Gc));
            counted.set(counted.get() + 1);
        }));
        Rc::new(Counter { queue: Loom::alloc_workqueue("svm", kind).unwrap(), runs })
    }
    fn work(&self) -> Rc<<Loom as Kernel>::Work> {
        Rc::new(self.queue.work(CLIENT, WorkFunc::Gc).unwrap())
    }
    fn delayed(&self) -> Rc<<Loom as Kernel>::DelayedWork> {
        Rc::new(self.queue.delayed_work(CLIENT, WorkFunc::Gc).unwrap())
    }
}

#[test]
fn an_item_queued_twice_runs_once_or_twice_and_is_never_lost() {
    let seen = collect(|say| {
        let counter = Counter::new(QueueKind::Unbound);
        let work = counter.work();
        let queued = Rc::new(Cell::new(0));
        let queue = || {
            let (work, queued) = (work.clone(), queued.clone());
            move || {
                if work.queue() {
                    queued.set(queued.get() + 1);
                }
            }
        };
        let actors = [
            Actor::new("a", queue()),
            Actor::new("b", queue()),
            Actor::new("worker", || {
                Loom::run_pending();
            }),
        ];
        Loom::actors(actors, || {
            Loom::run_pending();
            assert!(!Loom::run_pending(), "nothing is left");
            assert_eq!(counter.runs.get(), queued.get(), "each successful queueing is one run");
            say(counter.runs.get());
        });
    });
    assert_eq!(seen, BTreeSet::from([1, 2]));
}

#[test]
fn flush_returns_after_the_run_whoever_runs_it() {
    let outcome = check(|| {
        let counter = Counter::new(QueueKind::Unbound);
        let (work, data) = (counter.work(), Rc::new(Plain::new(0)));
        let written = data.clone();
        Loom::on_work(Rc::new(move |_, _| written.set(written.get() + 1)));
        Loom::actors(
            [
                actor!("flusher", [work, data], {
                    assert!(work.queue());
                    work.flush();
                    assert_eq!(data.get(), 1, "and without a race");
                }),
                Actor::new("worker", || {
                    Loom::run_pending();
                }),
            ],
            || assert!(!Loom::run_pending()),
        );
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn an_item_never_runs_beside_itself_and_ordered_items_not_beside_each_other() {
    let together = |kind: QueueKind, items: usize| {
        collect(move |say| {
            let queue = Loom::alloc_workqueue("svm", kind).unwrap();
            let work: Vec<_> = (0..items).map(|_| queue.work(CLIENT, WorkFunc::Gc).unwrap()).collect();
            let (inside, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let word = Rc::new(Visible::new("word"));
            let (i, m) = (inside.clone(), most.clone());
            Loom::on_work(Rc::new(move |_, _| {
                i.set(i.get() + 1);
                m.set(m.get().max(i.get()));
                word.write(Span::ALL);
                i.set(i.get() - 1);
            }));
            work.iter().for_each(|w| assert!(w.queue()));
            let worker = |name: &str| {
                Actor::new(name, || {
                    Loom::run_pending();
                })
            };
            let again = Rc::new(work);
            let requeue = actor!("requeue", [again], {
                again[0].queue();
            });
            Loom::actors([worker("kworker/0"), worker("kworker/1"), requeue], || {
                Loom::run_pending();
                say(most.get());
            });
            assert_eq!(inside.get(), 0);
        })
    };
    assert_eq!(together(QueueKind::Unbound, 1), BTreeSet::from([1]));
    assert_eq!(together(QueueKind::Unbound, 2), BTreeSet::from([1, 2]));
    assert_eq!(together(QueueKind::Ordered, 2), BTreeSet::from([1]));
}

#[test]
fn cancel_sync_means_that_it_neither_runs_nor_will() {
    let seen = collect(|say| {
        let counter = Counter::new(QueueKind::Unbound);
        let work = counter.work();
        assert!(work.queue());
        let runs = counter.runs.clone();
        let canceller = actor!("canceller", [work, runs], {
            let was_pending = work.cancel_sync();
            assert_eq!(runs.get(), u32::from(!was_pending));
        });
        let worker = Actor::new("worker", || {
            Loom::run_pending();
        });
        Loom::actors([canceller, worker], || {
            assert!(!Loom::run_pending());
            say(runs.get());
        });
    });
    assert_eq!(seen, BTreeSet::from([0, 1]));
}

#[test]
fn an_item_that_queues_itself_stays_cancelled() {
    let seen = collect(|say| {
        let counter = Counter::new(QueueKind::Unbound);
        let timer = counter.delayed();
        let (own, runs, word) = (timer.clone(), counter.runs.clone(), Visible::new("word"));
        let counted = runs.clone();
        Loom::on_work(Rc::new(move |_, _| {
            counted.set(counted.get() + 1);
            word.write(Span::ALL);
            own.queue(10);
        }));
        timer.queue(10);
        let worker = Actor::new("worker", || {
            Loom::run_pending();
        });
        Loom::actors(
            [actor!("close", [timer, runs], { assert!(timer.cancel_sync() || runs.get() == 1) }), worker],
            || {
                assert!(!Loom::run_pending(), "it came back");
                say(runs.get());
            },
        );
    });
    assert_eq!(seen, BTreeSet::from([0, 1]));
}

#[test]
fn a_flush_under_a_lock_that_the_work_wants_is_a_deadlock_with_or_without_a_worker() {
    for worker in [false, true] {
        let outcome = check(move || {
            let counter = Counter::new(QueueKind::Unbound);
            let (work, lock) = (counter.work(), mutex("svm_lock", ()));
            let wanted = lock.clone();
            Loom::on_work(Rc::new(move |_, _| drop(wanted.lock())));
            let close = actor!("close", [work, lock], {
                let _held = lock.lock();
                work.queue();
                work.flush();
            });
            let workers = worker.then(|| {
                Actor::new("worker", || {
                    Loom::run_pending();
                })
            });
            Loom::actors([close].into_iter().chain(workers), || ());
        });
        violates(Invariant::I8, &["svm_lock"], &outcome);
    }
}

#[test]
fn an_item_that_flushes_itself_never_ends() {
    let outcome = check(|| {
        let counter = Counter::new(QueueKind::Unbound);
        let work = counter.work();
        let own = work.clone();
        Loom::on_work(Rc::new(move |_, _| own.flush()));
        work.queue();
        Loom::run_pending();
    });
    violates(Invariant::I8, &["self-deadlock", "Gc"], &outcome);
}

#[test]
fn a_timer_expires_by_choice_and_a_flush_cuts_it_short() {
    let outcome = check(|| {
        let counter = Counter::new(QueueKind::Unbound);
        let timer = counter.delayed();
        assert!(timer.queue(10) && !timer.queue(1), "armed already");
        timer.flush();
        assert_eq!(counter.runs.get(), 1);
        assert!(timer.queue(10) && timer.cancel_sync() && !timer.cancel_sync());
        assert!(!Loom::run_pending());
        assert!(timer.queue(10) && Loom::run_pending());
        assert_eq!(counter.runs.get(), 2);
        counter.queue.destroy();
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn timers_expire_shortest_first_after_what_is_queued() {
    let outcome = check(|| {
        let queue = Loom::alloc_workqueue("svm", QueueKind::Ordered).unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let said = order.clone();
        Loom::on_work(Rc::new(move |client: ClientId, _| said.borrow_mut().push(client.0)));
        let timers: Vec<_> = (0..2).map(|i| queue.delayed_work(ClientId(i), WorkFunc::Restore).unwrap()).collect();
        let work = queue.work(ClientId(2), WorkFunc::Gc).unwrap();
        timers[0].queue(20);
        timers[1].queue(10);
        work.queue();
        Loom::run_pending();
        assert_eq!(*order.borrow(), [2, 1, 0]);
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn a_destroyed_queue_has_run_everything_and_takes_nothing() {
    let drained = check(|| {
        let counter = Counter::new(QueueKind::Ordered);
        let (first, second) = (counter.work(), counter.work());
        assert!(first.queue() && second.queue());
        counter.queue.flush();
        assert_eq!(counter.runs.get(), 2);
        assert!(first.queue());
        counter.queue.destroy();
        assert_eq!(counter.runs.get(), 3);
        second.queue();
    });
    violates(Invariant::I12, &["queued after", "svm"], &drained);
    let armed = check(|| {
        let counter = Counter::new(QueueKind::Ordered);
        counter.delayed().queue(5);
        // Dropping the queue destroys it.
    });
    violates(Invariant::I12, &["timer", "armed"], &armed);
}

// --- running a model ---

#[test]
fn a_violation_is_told_as_it_was_said() {
    let outcome = check(|| Loom::fail(Violation::new(Invariant::I2, "entry 5 names frame 7", None)));
    assert_eq!(outcome, LoomOutcome::Violated { message: "I2: entry 5 names frame 7".to_owned(), executions: 1 });
    violates(Invariant::I9, &["WARN_ON: tree"], &check(|| Loom::warn(format_args!("tree"))));
    violates(
        Invariant::I9,
        &["panic: index out of bounds", "loom_primitives.rs"],
        &check(|| {
            let none: [u8; 0] = [];
            let _ = none[std::hint::black_box(0)];
        }),
    );
}

#[test]
fn a_limit_is_not_a_violation() {
    let spin = check(|| {
        loop {
            Loom::retry_point("for a page that never comes");
        }
    });
    let LoomOutcome::Unfinished { reason, executions: 1 } = &spin else { panic!("{spin}") };
    assert!(reason.contains("retried for a page that never comes"), "{reason}");
    let many = Loom::check_within(LoomBounds { executions: Some(5), ..LoomBounds::default() }, || {
        let a = mutex("a", 0);
        let add = || {
            let a = a.clone();
            move || (0..3).for_each(|_| *a.lock() += 1)
        };
        Loom::actors([Actor::new("a", add()), Actor::new("b", add())], || ());
    });
    assert!(matches!(many, LoomOutcome::Unfinished { executions: 5, .. }), "{many}");
    let threads = check(|| Loom::actors((0..6).map(|i| Actor::new(format!("{i}"), || ())), || ()));
    assert!(matches!(threads, LoomOutcome::Unfinished { .. }), "{threads}");
}

#[test]
fn a_check_after_a_failed_one_starts_clean() {
    let fail = || {
        check(|| {
            let a = mutex("a", 0);
            let _held = a.lock();
            let spin = SpinLock::new("spin", ()).unwrap();
            let _spinning = spin.lock();
            panic!("on purpose");
        })
    };
    violates(Invariant::I9, &["on purpose"], &fail());
    assert!(check(|| assert!(!Loom::in_atomic())).holds());
    violates(Invariant::I9, &["on purpose"], &fail());
}

#[test]
fn a_bug_is_planted_for_the_checks_that_follow_only_where_named() {
    Loom::plant(&[Plant::SkipTlbFlush]);
    assert!(check(|| assert!(Loom::planted(Plant::SkipTlbFlush) && !Loom::planted(Plant::SkipPagesValid))).holds());
    Loom::plant(&[]);
    assert!(check(|| assert!(!Loom::planted(Plant::SkipTlbFlush))).holds());
}

#[test]
fn a_retry_loop_ends_when_the_other_side_moves() {
    let outcome = check(|| {
        let word = Rc::new(Shared::new("word", 0));
        Loom::actors(
            [
                actor!("retrier", [word], {
                    while word.read_once() == 0 {
                        Loom::retry_point("until the word is set");
                    }
                }),
                actor!("setter", [word], { word.write_once(1) }),
            ],
            || (),
        );
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn stamps_order_the_events_of_an_execution() {
    let outcome = check(|| {
        let lock = mutex("lock", ());
        let before = Loom::stamp();
        drop(lock.lock());
        assert!(Loom::stamp() > before);
        assert_eq!(Loom::stamp(), Loom::stamp(), "asking is no event");
    });
    assert!(outcome.holds(), "{outcome}");
}

#[test]
fn at_rest_a_lock_that_was_never_released_is_a_violation() {
    let outcome = check(|| {
        let lock = mutex("leaked", ());
        Loom::actors([actor!("a", [lock], { std::mem::forget(lock.lock()) })], || drop(lock.lock()));
    });
    violates(Invariant::I8, &["leaked"], &outcome);
}

#[test]
fn the_same_model_explores_the_same_executions_again() {
    let run = || reader_behind_a_queued_writer(true);
    assert_eq!(run(), run());
}

// --- the micro-model: munmap against a reader of the same mapping ---

/// munmap bumps the sequence, clears the entry under the notifier lock and frees the page; a fault reads the sequence,
/// looks the page up and writes the entry under the notifier lock, if the sequence still stands (or without asking).
fn munmap_against_fault(asks: bool, faults: usize) -> LoomOutcome {
    check(move || {
        let mmap_lock = rwsem("mmap_lock", Some(1u32));
        let notifier_lock = rwsem("notifier_lock", None::<u32>);
        let sequence = Rc::new(Atomic::new("seq", 0));
        let munmap = actor!("munmap", [mmap_lock, notifier_lock, sequence], {
            let mut page = mmap_lock.write();
            {
                let mut entry = notifier_lock.write();
                sequence.inc_return();
                *entry = None;
            }
            *page = None;
        });
        let fault = |i: usize| {
            let (mmap_lock, notifier_lock, sequence) = (mmap_lock.clone(), notifier_lock.clone(), sequence.clone());
            Actor::new(format!("fault {i}"), move || {
                let before = sequence.load();
                let page = *mmap_lock.read();
                let mut entry = notifier_lock.write();
                if !asks || sequence.load() == before {
                    *entry = page;
                }
            })
        };
        let actors: Vec<Actor> = [munmap].into_iter().chain((0..faults).map(fault)).collect();
        Loom::actors(actors, || {
            if let (Some(page), None) = (*notifier_lock.read(), *mmap_lock.read()) {
                Loom::fail(Violation::new(Invariant::I3, format!("the entry names page {page}, which is free"), None));
            }
        });
    })
}

#[test]
fn a_fault_that_does_not_ask_maps_a_freed_page_and_one_that_asks_does_not() {
    violates(Invariant::I3, &["names page 1"], &munmap_against_fault(false, 1));
    let one = munmap_against_fault(true, 1);
    assert!(one.holds(), "{one}");
    let two = munmap_against_fault(true, 2);
    assert!(two.holds(), "{two}");
    println!("{one}, {two}");
}
