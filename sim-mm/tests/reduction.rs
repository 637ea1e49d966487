//! Every scheduling point declares what it depends on. If a declaration is missing, partial-order reduction leaves out
//! interleavings that matter: the reduced search must come to every outcome of the full one, or of as much of the full
//! one as there is time for.

mod common;

use common::{BASE, Play, RW, World, pages, world};
use interleave::{Config, End, Limits, Strategy, explore};
use model::platform::{HmmPfn, HmmRange, HmmRequest, Mm, Owner};
use sim_mm::Options;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

type Act = fn(&World) -> String;

fn munmap(world: &World) -> String {
    format!("{:?}", world.mm.munmap(pages(0, 1)))
}
fn dontneed(world: &World) -> String {
    format!("{:?}", world.mm.madvise_dontneed(pages(0, 1)))
}
fn remap(world: &World) -> String {
    format!("{:?}", world.mm.mmap(pages(0, 1), RW))
}
fn protect(world: &World) -> String {
    format!("{:?}", world.mm.mprotect(pages(0, 1), true, false))
}
fn migrate(world: &World) -> String {
    format!("{:?}", world.mm.migrate_pages(pages(0, 1)))
}
fn store(world: &World) -> String {
    format!("{:?}", world.mm.store(BASE, 7))
}
fn load(world: &World) -> String {
    format!("{:?}", world.mm.load(BASE))
}
fn store_next_door(world: &World) -> String {
    format!("{:?}", world.mm.store(BASE + 4096, 7))
}
fn reap(world: &World) -> String {
    format!("{:?}", world.mm.oom_reap())
}
fn insert(world: &World) -> String {
    let sub = world.listen(7, pages(0, 1));
    format!("{}", world.mm.read_begin(sub))
}
fn hmm(world: &World) -> String {
    let sub = world.listen(8, pages(0, 2));
    let seq = world.mm.read_begin(sub);
    let mut pfns = [HmmPfn::default(); 2];
    let held = world.mm.mmap_read_lock();
    let result = world.mm.hmm_range_fault(
        &held,
        &HmmRange { notifier: sub, notifier_seq: seq, start: BASE, request: HmmRequest::Write, owner: Owner::NONE },
        &mut pfns,
    );
    format!("{result:?} {pfns:x?}")
}

/// A device that holds on to the first frame of the page.
const FRAME: u64 = 0x10_0000_0200;
fn device_load(world: &World) -> String {
    format!("{:?}", world.memory.load(FRAME, 0))
}
fn device_store(world: &World) -> String {
    world.memory.store(FRAME, 0, 9);
    format!("{:?}", world.memory.load(FRAME, 0))
}

/// What can come of the two, by every interleaving: what they return, and how the page ends.
fn outcomes(first: Act, second: Act, touched: bool, listening: bool, reduction: bool) -> (BTreeSet<String>, End) {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let all = seen.clone();
    let play = Play(move |launch: &mut interleave::Launch| {
        let world = world(Options::default());
        world.mm.mmap(pages(0, 2), RW).unwrap();
        match touched {
            true => world.mm.store(BASE, 1).unwrap(),
            false => assert_eq!(world.mm.load(BASE), Ok(0)),
        }
        if listening {
            world.listen(0, pages(0, 1));
        }
        let results = Rc::new(RefCell::new([String::new(), String::new()]));
        for (number, act) in [first, second].into_iter().enumerate() {
            let (world, results) = (world.clone(), results.clone());
            launch.actor(["first", "second"][number], move || {
                let result = act(&world);
                results.borrow_mut()[number] = result;
            });
        }
        let all = all.clone();
        let at_rest: common::AtRest = Box::new(move |world| {
            let calls: Vec<_> = world.calls.borrow().iter().map(|call| (call.kind, call.seq)).collect();
            let page = (world.mm.peek_mapped(BASE / 4096), world.mm.peek_word(BASE));
            all.borrow_mut().insert(format!("{:?} {page:x?} {calls:?}", results.borrow()));
        });
        (world, at_rest)
    });
    let config = Config {
        strategy: Strategy::Exhaustive { preemptions: None, reduction },
        limits: Limits { executions: Some(FULL), ..Limits::default() },
        ..Config::default()
    };
    let outcome = explore(&play, &config, None, None);
    assert_eq!(outcome.failure, None);
    (seen.take(), outcome.end)
}

/// How many executions of a full search there is time for.
const FULL: u64 = 2_000;

#[test]
fn the_reduced_search_comes_to_the_outcomes_of_the_full_one() {
    let changes: [Act; 7] = [munmap, dontneed, remap, protect, migrate, reap, insert];
    let accesses: [Act; 6] = [store, load, store_next_door, hmm, device_load, device_store];
    let pairs = changes.into_iter().flat_map(|one| changes.into_iter().chain(accesses).map(move |other| (one, other)));
    let mut exhausted = 0;
    for (first, second) in pairs {
        for (touched, listening) in [(true, true), (true, false), (false, true), (false, false)] {
            let (reduced, end) = outcomes(first, second, touched, listening, true);
            assert_eq!(end, End::Exhausted);
            let (full, end) = outcomes(first, second, touched, listening, false);
            assert!(reduced.is_superset(&full), "left out: {:#?}", full.difference(&reduced).collect::<Vec<_>>());
            if end == End::Exhausted {
                assert_eq!(reduced, full);
                exhausted += 1;
            }
        }
    }
    assert!(exhausted > 200, "most of these are small: {exhausted}");
}
