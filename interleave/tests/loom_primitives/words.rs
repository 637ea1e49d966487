//! Atomics, lockless words, bare scheduling points.

use super::*;

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
fn a_message_passed_through_a_completion_arrives_whole() {
    let seen = collect(|say| {
        let done = Rc::new(<<Loom as Kernel>::Completion as Completion>::new("done"));
        let (data, got) = (Rc::new(Shared::new("data", 0)), Rc::new(Cell::new((false, 0))));
        Loom::actors(
            [
                actor!("sender", [data, done], {
                    data.write_once(42);
                    Completion::complete_all(&*done);
                }),
                actor!("receiver", [data, done, got], {
                    let early = !Completion::is_done(&*done);
                    Completion::wait(&*done);
                    got.set((early, data.read_once()));
                }),
            ],
            || say(got.get()),
        );
    });
    assert_eq!(seen, BTreeSet::from([(false, 42), (true, 42)]));
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
    violates(Invariant::I5, &["range_kref", "below zero", "tests/loom_primitives"], &outcome);
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
