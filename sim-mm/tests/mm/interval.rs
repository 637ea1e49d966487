//! The interval notifier protocol, rule by rule, on one thread.

use crate::common::{BASE, RW, World, falls, pages, world};
use interleave::lab::Invariant;
use model::Errno;
use model::platform::EventKind::{Clear, Unmap};
use model::platform::{ClientId, Mm, NotifierEntry};
use model::units::Bytes;
use sim_mm::{Options, SubState};
use std::cell::Cell;
use std::rc::Rc;

fn populated() -> World {
    let world = world(Options::default());
    world.region(pages(0, 16));
    world
}

fn state(world: &World, cookie: u64) -> SubState {
    world.mm.notifiers().iter().find(|view| view.entry.cookie == cookie).expect("registered").state
}

#[test]
fn an_event_calls_whom_it_overlaps_in_address_order() {
    let world = populated();
    for (cookie, from, to) in [(0, 8, 12), (1, 0, 4), (2, 4, 8), (3, 12, 16)] {
        world.listen(cookie, pages(from, to));
    }
    world.mm.madvise_dontneed(pages(3, 9)).unwrap();
    let calls: Vec<u64> = world.calls.borrow().iter().map(|call| call.cookie).collect();
    assert_eq!(calls, [1, 2, 0]);
    assert!(world.calls.borrow().iter().all(|call| call.bytes == pages(3, 9)), "the whole event, not its part");
}

#[test]
fn an_epoch_is_odd_while_it_hits_somebody_and_even_while_it_hits_nobody() {
    let world = populated();
    world.listen(0, pages(0, 4));
    let inside = world.clone();
    let seen = Rc::new(Cell::new((0, 0)));
    let see = seen.clone();
    world.mm.on_callback_returned(Rc::new(move |_| see.set(inside.mm.invalidation_epoch())));
    world.mm.madvise_dontneed(pages(8, 9)).unwrap();
    assert_eq!(seen.get(), (2, 1));
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert_eq!(seen.get(), (3, 1));
    assert_eq!(world.mm.invalidation_epoch(), (4, 0));
}

#[test]
fn invalidations_that_overlap_in_time_share_one_sequence_and_end_together() {
    let world = populated();
    world.listen(0, pages(0, 4));
    world.listen(1, pages(8, 12));
    let inside = world.clone();
    world.inside(move |call| {
        if call.cookie == 0 {
            inside.mm.madvise_dontneed(pages(8, 9)).unwrap();
            assert_eq!(inside.mm.invalidation_epoch(), (3, 1), "the inner end does not end the epoch");
        }
        true
    });
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    let seqs: Vec<(u64, u64)> = world.calls.borrow().iter().map(|call| (call.cookie, call.seq)).collect();
    assert_eq!(seqs, [(0, 3), (1, 3)]);
    assert_eq!(world.mm.invalidation_epoch(), (4, 0));
}

#[test]
fn a_collision_shows_in_read_retry_once_set_seq_ran_and_not_for_a_bystander() {
    let world = populated();
    let (hit, bystander) = (world.listen(0, pages(0, 4)), world.listen(1, pages(8, 12)));
    let (s0, s1) = (world.mm.read_begin(hit), world.mm.read_begin(bystander));
    assert!(!world.mm.read_retry(hit, s0));
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert!(world.mm.read_retry(hit, s0));
    assert!(!world.mm.read_retry(bystander, s1));
    let again = world.mm.read_begin(hit);
    assert!(!world.mm.read_retry(hit, again));
}

#[test]
fn insertion_at_rest_is_in_the_tree_and_not_busy() {
    let world = populated();
    let sub = world.listen(0, pages(0, 4));
    let view = world.mm.notifiers()[0];
    assert_eq!((view.state, view.seq), (SubState::InTree, 1));
    assert_eq!(world.mm.read_begin(sub), 1);
}

#[test]
fn insertion_while_an_invalidation_hits_nobody_makes_the_epoch_odd_and_the_new_one_busy() {
    let world = populated();
    world.listen(0, pages(0, 1));
    let inside = world.clone();
    world.mm.on_callback_returned(Rc::new(move |_| {
        if inside.mm.notifiers().len() == 1 {
            inside.listen(7, pages(8, 12));
            assert_eq!(inside.mm.invalidation_epoch(), (3, 1));
            assert_eq!(state(&inside, 7), SubState::InTree);
        }
    }));
    world.mm.madvise_dontneed(pages(8, 9)).unwrap();
    assert_eq!(world.calls.borrow().len(), 0, "the running invalidation does not call it");
    assert_eq!(world.mm.notifiers()[1].seq, 3, "busy until the epoch ended");
    assert_eq!(world.mm.invalidation_epoch(), (4, 0));
    assert_eq!(world.mm.read_begin(world.sub(7)), 3);
}

#[test]
fn insertion_in_an_odd_epoch_is_deferred_to_its_end() {
    let world = populated();
    world.listen(0, pages(0, 4));
    let inside = world.clone();
    world.inside(move |call| {
        if call.cookie == 0 && inside.mm.notifiers().len() == 1 {
            inside.listen(7, pages(0, 4));
            assert_eq!(state(&inside, 7), SubState::InsertDeferred);
            // A nested invalidation of the same place does not call it either.
            inside.mm.madvise_dontneed(pages(1, 2)).unwrap();
        }
        true
    });
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert!(world.calls.borrow().iter().all(|call| call.cookie == 0));
    assert_eq!(state(&world, 7), SubState::InTree);
    world.calls.borrow_mut().clear();
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert_eq!(world.calls.borrow().len(), 2);
}

#[test]
fn removal_of_a_deferred_insertion_does_not_wait() {
    let world = populated();
    world.listen(0, pages(0, 4));
    let inside = world.clone();
    world.inside(move |_| {
        let sub = inside.listen(7, pages(0, 4));
        inside.mm.interval_remove(sub);
        true
    });
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert_eq!(world.mm.notifiers().len(), 1);
}

#[test]
fn removal_at_rest_ends_the_calls_at_once() {
    let world = populated();
    let sub = world.listen(0, pages(0, 4));
    let count = world.mm.mm_count();
    world.mm.interval_remove(sub);
    assert_eq!(world.mm.mm_count(), count - 1);
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert_eq!(world.events(), []);
}

#[test]
fn a_removed_subscription_must_not_be_used() {
    let (invariant, what) = falls(populated, |world| {
        let sub = world.listen(0, pages(0, 4));
        world.mm.interval_remove(sub);
        world.mm.read_begin(sub);
    });
    assert_eq!((invariant, what.as_str()), (Invariant::I4, "sub0 is used after its removal returned"));
}

#[test]
fn a_refused_non_blockable_event_ends_itself_and_stops_at_the_refusal() {
    let world = populated();
    world.listen(0, pages(0, 4));
    world.listen(1, pages(4, 8));
    world.inside(|call| call.cookie != 0);
    assert!(!world.mm.oom_reap());
    assert_eq!(world.calls.borrow().len(), 1);
    assert_eq!(world.mm.invalidation_epoch(), (4, 0));
}

#[test]
fn a_refused_blockable_event_is_a_warning() {
    let (invariant, what) = falls(populated, |world| {
        world.listen(0, pages(0, 4));
        world.inside(|_| false);
        world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    });
    assert_eq!((invariant, what.as_str()), (Invariant::I9, "WARN_ON: sub0 refused a blockable CLEAR"));
}

#[test]
fn empty_and_wrapping_intervals_are_eoverflow() {
    let world = populated();
    let entry = NotifierEntry { client: ClientId(0), cookie: 0 };
    assert_eq!(world.mm.interval_insert(entry, Bytes::new(BASE, BASE), |_| ()), Err(Errno::EOVERFLOW));
    assert_eq!(world.mm.interval_insert(entry, Bytes::new(BASE, BASE - 4096), |_| ()), Err(Errno::EOVERFLOW));
}

#[test]
fn the_observer_hears_each_part_after_its_callback_and_then_the_whole() {
    let world = populated();
    world.listen(0, pages(0, 4));
    world.listen(1, pages(4, 8));
    let heard = Rc::new(std::cell::RefCell::new(Vec::new()));
    let hear = heard.clone();
    world.mm.on_callback_returned(Rc::new(move |event| hear.borrow_mut().push((event.kind, event.bytes))));
    world.mm.munmap(pages(2, 6)).unwrap();
    assert_eq!(*heard.borrow(), [(Unmap, pages(2, 4)), (Unmap, pages(4, 6)), (Unmap, pages(2, 6))]);
}

#[test]
fn without_subscriptions_nobody_is_told_but_the_observer() {
    let world = world(Options::default());
    world.mm.mmap(pages(0, 1), RW).unwrap();
    let heard = Rc::new(Cell::new(None));
    let hear = heard.clone();
    world.mm.on_callback_returned(Rc::new(move |event| hear.set(Some(event.kind))));
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert_eq!(heard.get(), Some(Clear));
    assert_eq!(world.mm.invalidation_epoch(), (2, 0));
}
