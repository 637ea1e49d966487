//! Workqueues and timers.

use super::*;

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
    violates(Invariant::I8, &["self-deadlock", "gc_work"], &outcome);
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
