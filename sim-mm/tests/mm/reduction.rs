//! Every scheduling point declares what it depends on. If a declaration is missing, partial-order reduction leaves out
//! interleavings that matter: the reduced search must come to every outcome of the full one, or of as much of the full
//! one as there is time for.

use crate::common::{BASE, Play, RW, World, pages, world};
use interleave::{Config, End, Limits, Strategy, explore};
use model::platform::{HmmPfn, HmmRange, HmmRequest, Mm, Owner};
use model::units::Bytes;
use sim_mm::{Options, Remap};
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

/// A child that writes to the page and ends.
fn fork(world: &World) -> String {
    let child = world.mm.fork(1).unwrap();
    let before = child.load(BASE);
    let stored = child.store(BASE, 8);
    let after = child.load(BASE);
    child.exit();
    format!("{before:?} {stored:?} {after:?}")
}
const ELSEWHERE: u64 = BASE + 0x10_0000;
fn move_away(world: &World) -> String {
    let moved = world.mm.mremap(pages(0, 1), 4096, Remap { to: Some(ELSEWHERE), keep_old: false });
    format!("{moved:?} {:?}", world.mm.load(ELSEWHERE))
}
fn move_over(world: &World) -> String {
    let moved = world.mm.mremap(pages(1, 2), 4096, Remap { to: Some(BASE), keep_old: true });
    format!("{moved:?} {:?}", world.mm.load(BASE))
}
fn reclaim(world: &World) -> String {
    format!("{:?}", world.mm.reclaim(pages(0, 1)))
}
fn free(world: &World) -> String {
    format!("{:?}", world.mm.madvise_free(pages(0, 1)))
}
fn free_and_reclaim(world: &World) -> String {
    format!("{:?} {:?}", world.mm.madvise_free(pages(0, 1)), world.mm.reclaim(pages(0, 1)))
}
fn collapse(world: &World) -> String {
    format!("{:?}", world.mm.madvise_collapse(Bytes::new(BASE, BASE + 0x20_0000)))
}

/// What can come of the two, by every interleaving: what they return, and how the page ends.
fn outcomes(
    [first, second]: [Act; 2],
    (touched, listening): (bool, bool),
    (region, shares): (Bytes, bool),
    reduction: bool,
) -> (BTreeSet<String>, End) {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let all = seen.clone();
    let play = Play(move |launch: &mut interleave::Launch| {
        let world = world(Options { shares, ..Options::default() });
        world.mm.mmap(region, RW).unwrap();
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
        let at_rest: crate::common::AtRest = Box::new(move |world| {
            let calls: Vec<_> = world.calls.borrow().iter().map(|call| (call.kind, call.seq)).collect();
            let there = (world.mm.peek_mapped(ELSEWHERE / 4096), world.mm.peek_word(ELSEWHERE));
            let page = (world.mm.peek_pte(BASE / 4096), world.mm.peek_word(BASE), there);
            all.borrow_mut().insert(format!("{:?} {page:x?} {calls:?}", results.borrow()));
        });
        (world, at_rest)
    });
    let config = Config {
        strategy: Strategy::Exhaustive { preemptions: None, reduction },
        limits: Limits { executions: Some(if reduction { REDUCED } else { FULL }), ..Limits::default() },
        ..Config::default()
    };
    let outcome = explore(&play, &config, None, None);
    assert_eq!(outcome.failure, None);
    (seen.take(), outcome.end)
}

/// How many executions of a full search there is time for.
const FULL: u64 = 2_000;
/// More than any reduced search here needs.
const REDUCED: u64 = 100_000;

/// The reduced search of each pair must find what the full one finds. Returns how many full searches came to an end.
fn agree(pairs: impl Iterator<Item = (Act, Act)>, starts: &[(bool, bool)], region: (Bytes, bool)) -> usize {
    let mut exhausted = 0;
    for (number, (first, second)) in pairs.enumerate() {
        for start in starts {
            let (reduced, end) = outcomes([first, second], *start, region, true);
            assert_eq!(end, End::Exhausted, "pair {number}");
            let (full, end) = outcomes([first, second], *start, region, false);
            let left_out: Vec<_> = full.difference(&reduced).collect();
            assert!(left_out.is_empty(), "pair {number}, {start:?}: left out {left_out:#?}");
            if end == End::Exhausted {
                assert_eq!(reduced, full);
                exhausted += 1;
            }
        }
    }
    exhausted
}

const CHANGES: [Act; 7] = [munmap, dontneed, remap, protect, migrate, reap, insert];
const ACCESSES: [Act; 6] = [store, load, store_next_door, hmm, device_load, device_store];
const SHARING: [Act; 6] = [fork, move_away, move_over, reclaim, free, free_and_reclaim];

#[test]
fn the_reduced_search_comes_to_the_outcomes_of_the_full_one() {
    let pairs = CHANGES.into_iter().flat_map(|one| CHANGES.into_iter().chain(ACCESSES).map(move |other| (one, other)));
    let starts = [(true, true), (true, false), (false, true), (false, false)];
    let exhausted = agree(pairs, &starts, (pages(0, 2), false));
    assert!(exhausted > 200, "most of these are small: {exhausted}");
}

#[test]
fn also_where_pages_are_shared_moved_and_swapped() {
    let others = CHANGES.into_iter().chain(ACCESSES).chain(SHARING);
    let pairs = SHARING.into_iter().flat_map(|one| others.clone().map(move |other| (one, other)));
    // Two children of one process need two numbers.
    let pairs = pairs
        .filter(|(one, other)| !(*one as usize == fork as Act as usize && *other as usize == fork as Act as usize));
    let exhausted = agree(pairs, &[(true, true), (false, true)], (pages(0, 2), true));
    assert!(exhausted > 50, "{exhausted}");
}

#[test]
fn also_where_small_pages_become_a_huge_one() {
    let others = [munmap, dontneed, protect, migrate, reclaim, fork, store, load, store_next_door, hmm, device_store];
    let pairs = others.into_iter().map(|other| (collapse as Act, other as Act));
    let region = (Bytes::new(BASE, BASE + 0x20_0000), true);
    let exhausted = agree(pairs, &[(true, true)], region);
    assert!(exhausted > 3, "{exhausted}");
}
