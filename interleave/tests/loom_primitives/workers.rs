//! Threads that run work items.

use super::*;

/// Two items that queue nothing, the actors that queue them, and what the items do.
fn two_items(kind: QueueKind, actors: usize, run: impl Fn(WorkFunc) + 'static) {
    let queue = Loom::alloc_workqueue("svm", kind).unwrap();
    let gc = Rc::new(queue.work(CLIENT, WorkFunc::Gc).unwrap());
    let restore = Rc::new(queue.delayed_work(CLIENT, WorkFunc::Restore).unwrap());
    Loom::on_work(Rc::new(move |_, func| run(func)));
    let mut all = vec![actor!("queuer", [gc, restore], {
        assert!(gc.queue());
        assert!(restore.queue(10));
    })];
    all.extend((1..actors).map(|i| Actor::new(format!("{i}"), || ())));
    Loom::actors_and_workers(all, || {
        Loom::run_all_pending();
        drop(queue);
    });
}

#[test]
fn items_with_threads_of_their_own_run_beside_each_other() {
    let together = |kind: QueueKind, actors: usize| {
        collect(move |say| {
            let (inside, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let word = Visible::new("word");
            let seen = most.clone();
            two_items(kind, actors, move |_| {
                inside.set(inside.get() + 1);
                most.set(most.get().max(inside.get()));
                word.write(Span::ALL);
                inside.set(inside.get() - 1);
            });
            say(seen.get());
        })
    };
    assert_eq!(together(QueueKind::Unbound, 1), BTreeSet::from([1, 2]));
    assert_eq!(together(QueueKind::Ordered, 1), BTreeSet::from([1]), "but not on an ordered queue");
    assert_eq!(together(QueueKind::Unbound, 4), BTreeSet::from([1]), "nor when they share the one thread left");
    assert_eq!(together(QueueKind::Unbound, 5), BTreeSet::from([1]), "nor in sequence at the end");
}

#[test]
fn a_race_between_two_workers_is_seen_and_one_with_the_queuer_is_none() {
    let race = |own: bool| {
        check(move || {
            let words = [Rc::new(Plain::new(0)), Rc::new(Plain::new(0))];
            two_items(QueueKind::Unbound, 1, move |func| {
                let word = &words[usize::from(own && func == WorkFunc::Gc)];
                word.set(word.get() + 1);
            });
        })
    };
    violates(Invariant::I9, &["data race"], &race(false));
    assert!(race(true).holds(), "{}", race(true));
}

/// An actor that waits for what a work item does.
fn waits_for_work(others: usize) -> LoomOutcome {
    check(move || {
        let queue = Loom::alloc_workqueue("svm", QueueKind::Unbound).unwrap();
        let restore = Rc::new(queue.delayed_work(CLIENT, WorkFunc::Restore).unwrap());
        let gate = Rc::new(Gate::new("resumed", 0));
        let set = gate.clone();
        Loom::on_work(Rc::new(move |_, _| set.store(1)));
        let mut actors = vec![actor!("wave", [restore, gate], {
            restore.queue(10);
            gate.wait_until(1);
        })];
        actors.extend((0..others).map(|i| Actor::new(format!("{i}"), || ())));
        Loom::actors_and_workers(actors, || {
            Loom::run_all_pending();
            drop(queue);
        });
    })
}

#[test]
fn waiting_for_a_worker_that_has_no_thread_is_no_deadlock_but_a_limit() {
    assert!(waits_for_work(0).holds(), "{}", waits_for_work(0));
    let LoomOutcome::Unfinished { halt: Halt::Loom, reason, .. } = waits_for_work(4) else { panic!("no limit") };
    assert!(reason.contains("restore_work is left to run but has no thread"), "{reason}");
}

#[test]
fn work_that_queues_itself_for_ever_is_a_livelock_at_rest_and_does_not_keep_the_others() {
    let outcome = check(|| {
        let queue = Loom::alloc_workqueue("svm", QueueKind::Unbound).unwrap();
        let restore = Rc::new(queue.delayed_work(CLIENT, WorkFunc::Restore).unwrap());
        let again = restore.clone();
        Loom::on_work(Rc::new(move |_, _| assert!(again.queue(10))));
        let start = actor!("actor", [restore], { assert!(restore.queue(10)) });
        Loom::actors_and_workers([start], || {
            Loom::run_all_pending();
            drop(queue);
        });
    });
    violates(Invariant::I6, &["restore_work is queued again"], &outcome);
}

#[test]
fn a_worker_waits_for_no_lock_of_who_has_ended() {
    // All orders of the worker and of two actors are explored, and the worker ends with them.
    let seen = collect(|say| {
        let sum = mutex("sum", Vec::new());
        let queue = Loom::alloc_workqueue("svm", QueueKind::Unbound).unwrap();
        let gc = Rc::new(queue.work(CLIENT, WorkFunc::Gc).unwrap());
        let worked = sum.clone();
        Loom::on_work(Rc::new(move |_, _| worked.lock().push("gc")));
        let a = actor!("a", [sum, gc], {
            assert!(gc.queue());
            sum.lock().push("a");
        });
        let b = actor!("b", [sum], { sum.lock().push("b") });
        Loom::actors_and_workers([a, b], || {
            Loom::run_all_pending();
            say(sum.lock().clone());
            drop(queue);
        });
    });
    assert_eq!(seen.len(), 6, "{seen:?}");
}
