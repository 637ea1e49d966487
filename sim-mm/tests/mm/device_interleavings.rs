//! Device migration against everything else: what holds in every interleaving, and that partial-order reduction leaves
//! nothing out.

use crate::common::device::{DATA, GPU, Log, OWNER, SYSTEM, evict, hmm, to_device_at, with_gpus};
use crate::common::{AtRest, BASE, Play, RW, Space, World, always, must, pages, sometimes, world};
use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Launch, Limits, Sim, Strategy, explore};
use model::platform::{DeviceMemory, HmmRequest, MigratePfn, MigrateSelect, MigrateVma, Mm, Owner};
use model::units::PAGE_SIZE;
use sim_mm::{Options, Pte, Remap, device_pfn};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

const PAGE: u64 = PAGE_SIZE;
const ELSEWHERE: u64 = BASE + 0x100_0000;
const FIRST: u64 = BASE / PAGE_SIZE;
/// Where pages that start out in the GPU's memory are.
const THERE: u64 = 16;
const BOTH: MigrateSelect = MigrateSelect { device_private: true, ..SYSTEM };

/// How the two pages of a world are before the actors run; if written, with 1 and 2.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Hole,
    Zero,
    Ram,
    Vram,
}

fn starting(start: Start, listening: bool) -> (World, Log) {
    starting_with(start, listening, Options::default())
}

fn starting_with(start: Start, listening: bool, options: Options) -> (World, Log) {
    let world = world(options);
    let log = with_gpus(&world);
    world.mm.mmap(pages(0, 2), RW).unwrap();
    match start {
        Start::Hole => {}
        Start::Zero => assert_eq!(world.mm.load(BASE), Ok(0)),
        Start::Ram | Start::Vram => {
            world.mm.store(BASE, 1).unwrap();
            world.mm.store(BASE + PAGE, 2).unwrap();
        }
    }
    if start == Start::Vram {
        assert_eq!(to_device_at(&world.mm, pages(0, 2), (GPU, THERE), SYSTEM), Ok((2, 2)));
    }
    if listening {
        world.listen(0, pages(0, 1));
    }
    (world, log)
}

type Act = fn(&World) -> String;

fn to_vram(world: &World) -> String {
    format!("{:?}", to_device_at(&world.mm, pages(0, 1), (GPU, 0), BOTH))
}
fn to_vram_too(world: &World) -> String {
    format!("{:?}", to_device_at(&world.mm, pages(0, 1), (GPU, 8), BOTH))
}
fn empty_vram(world: &World) -> String {
    format!("{}", evict(&world.mm, THERE + 2))
}
fn load(world: &World) -> String {
    format!("{:?}", world.mm.load(BASE))
}
fn store(world: &World) -> String {
    format!("{:?}", world.mm.store(BASE, 7))
}
fn load_next_door(world: &World) -> String {
    format!("{:?}", world.mm.load(BASE + PAGE))
}
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
fn forbid(world: &World) -> String {
    format!("{:?}", world.mm.mprotect(pages(0, 1), false, false))
}
fn compact(world: &World) -> String {
    format!("{:?}", world.mm.migrate_pages(pages(0, 1)))
}
fn own_hmm(world: &World) -> String {
    world.listen(8, pages(0, 2));
    format!("{:x?}", hmm(world, 8, pages(0, 1), HmmRequest::Write, OWNER))
}
fn foreign_hmm(world: &World) -> String {
    world.listen(9, pages(0, 2));
    format!("{:x?}", hmm(world, 9, pages(0, 1), HmmRequest::Write, Owner::NONE))
}
/// A child that lives for one access.
fn fork_and(world: &World, access: fn(&Space) -> String) -> String {
    let child = world.mm.fork(1).unwrap();
    let seen = access(&child);
    child.exit();
    seen
}
fn fork_and_load(world: &World) -> String {
    fork_and(world, |child| format!("{:?}", child.load(BASE)))
}
fn fork_and_store(world: &World) -> String {
    fork_and(world, |child| format!("{:?} {:?}", child.store(BASE, 9), child.load(BASE)))
}
fn move_away(world: &World) -> String {
    let how = Remap { to: Some(ELSEWHERE), keep_old: false };
    format!("{:?} {:?}", world.mm.mremap(pages(0, 1), PAGE, how), world.mm.load(ELSEWHERE))
}
fn device_load(world: &World) -> String {
    format!("{:?}", world.memory.load(device_pfn(GPU, THERE), 0))
}

/// The actors, each doing one thing, and what must hold at rest.
fn play(start: Start, acts: &'static [Act], rest: fn(&World, &Log)) -> impl Fn(&mut Launch) -> (World, AtRest) {
    move |launch: &mut Launch| {
        let (world, log) = starting(start, true);
        for (number, &act) in acts.iter().enumerate() {
            let world = world.clone();
            launch.actor(["first", "second", "third"][number], move || {
                act(&world);
            });
        }
        let check: AtRest = Box::new(move |world| rest(world, &log));
        (world, check)
    }
}

/// Every device folio that is not mapped was reported free, once: at rest all live ones are mapped (that is checked
/// anyway), so here it is enough that the words are those that were given.
fn words(log: &Log) {
    must(log.freed.borrow().iter().all(|&freed| freed == (GPU, DATA)), "folio_free gets the word");
}

// ---- contents survive -----------------------------------------------------------------------------------------------

#[test]
fn nothing_that_moves_pages_loses_what_is_in_them() {
    const MOVES: [&[Act]; 8] = [
        &[to_vram, load],
        &[to_vram, to_vram_too],
        &[to_vram, empty_vram],
        &[to_vram, compact],
        &[to_vram, own_hmm],
        &[empty_vram, load],
        &[load, load],
        &[empty_vram, empty_vram],
    ];
    for start in [Start::Ram, Start::Vram] {
        for acts in MOVES {
            always(play(start, acts, |world, log| {
                must(world.mm.peek_word(BASE) == Some(1) && world.mm.peek_word(BASE + PAGE) == Some(2), "contents");
                words(log);
            }));
        }
    }
}

#[test]
fn a_store_survives_whatever_moves_the_page() {
    const MOVES: [&[Act]; 5] =
        [&[to_vram, store], &[empty_vram, store], &[load, store], &[foreign_hmm, store], &[compact, store]];
    for start in [Start::Hole, Start::Zero, Start::Ram, Start::Vram] {
        for acts in MOVES {
            always(play(start, acts, |world, log| {
                must(world.mm.peek_word(BASE) == Some(7), "the store");
                words(log);
            }));
        }
    }
}

#[test]
fn three_that_want_the_same_page_come_to_an_end() {
    const MOVES: [&[Act]; 2] = [&[load, store, dontneed], &[load, load, load]];
    for acts in MOVES {
        let config = Config {
            strategy: Strategy::Exhaustive { preemptions: Some(2), reduction: false },
            limits: Limits { executions: Some(20_000), ..Limits::default() },
            ..Config::default()
        };
        let outcome = explore(&Play(play(Start::Vram, acts, |_, log| words(log))), &config, None, None);
        assert_eq!(outcome.failure.map(|failure| failure.violation), None);
    }
}

#[test]
fn pages_that_go_take_their_device_pages_along() {
    const GOES: [&[Act]; 6] = [
        &[to_vram, munmap],
        &[to_vram, dontneed],
        &[to_vram, remap],
        &[empty_vram, munmap],
        &[load, munmap],
        &[load, dontneed],
    ];
    for start in [Start::Hole, Start::Ram, Start::Vram] {
        for acts in GOES {
            always(play(start, acts, |world, log| {
                words(log);
                let there = world.memory.is_live(device_pfn(GPU, THERE));
                let mapped = world.mm.peek_device(FIRST).is_some_and(|(pfn, _)| pfn == device_pfn(GPU, THERE));
                must(there == mapped, "a device page lives as long as it is mapped");
            }));
        }
    }
}

#[test]
fn nobody_gets_more_rights_than_the_vma_has() {
    const FORBIDS: [&[Act]; 5] =
        [&[to_vram, protect], &[to_vram, forbid], &[empty_vram, protect], &[empty_vram, forbid], &[load, protect]];
    for start in [Start::Hole, Start::Ram, Start::Vram] {
        for acts in FORBIDS {
            always(play(start, acts, |world, _| {
                let writable = match world.mm.peek_pte(FIRST).pte {
                    Pte::Device { write, .. } => write,
                    _ => world.mm.peek_mapped(FIRST).is_some_and(|(_, write)| write),
                };
                must(!writable, "the VMA is not writable any more");
                let readable = world.mm.peek_vma(BASE).unwrap().flags.read;
                must(readable || world.mm.peek_mapped(FIRST).is_none(), "nor readable");
            }));
        }
    }
}

// ---- a driver that does not keep to the rules -----------------------------------------------------------------------

#[test]
fn contents_are_lost_when_they_are_copied_after_the_entries_are_back() {
    let violation = sometimes(|launch: &mut Launch| {
        let (world, _) = starting(Start::Ram, true);
        let (driver, app) = (world.clone(), world.clone());
        launch.actor("driver", move || {
            let mm = &driver.mm;
            let held = mm.mmap_read_lock();
            let args = MigrateVma { bytes: pages(0, 1), owner: OWNER, select: SYSTEM, fault_page: None };
            let (mut src, mut dst) = ([MigratePfn::default()], [MigratePfn::default()]);
            if mm.migrate_vma_setup(&held, &args, &mut src) != Ok(1) || !src[0].valid {
                return;
            }
            let pfn = device_pfn(GPU, 0);
            mm.zone_device_folio_init(pfn, 0, DATA);
            dst[0] = MigratePfn { valid: true, pfn, ..MigratePfn::default() };
            mm.migrate_vma_pages(&held, &args, &mut src, &dst);
            mm.migrate_vma_finalize(&held, &args, &mut src, &dst);
            driver.memory.copy(src[0].pfn, pfn, 1);
        });
        launch.actor("app", move || {
            if app.mm.load(BASE) != Ok(1) {
                Sim::fail(Violation::new(Invariant::I10, "the app does not find what it stored", None));
            }
        });
        (world, Box::new(|_| {}))
    });
    assert_eq!(violation.invariant, Invariant::I10);
}

#[test]
fn a_device_page_is_not_initialised_while_it_is_in_use() {
    let violation = sometimes(|launch: &mut Launch| {
        let (world, _) = starting(Start::Vram, false);
        let actor = world.clone();
        launch.actor("driver", move || actor.mm.zone_device_folio_init(device_pfn(GPU, THERE), 0, DATA));
        (world, Box::new(|_| {}))
    });
    assert_eq!(violation.invariant, Invariant::I4);
}

/// What a child finds is what was there when it was forked, whatever moves the page meanwhile.
#[test]
fn a_child_finds_its_pages_wherever_they_are() {
    for start in [Start::Ram, Start::Vram] {
        for mover in [to_vram as Act, empty_vram, load, compact] {
            always(move |launch: &mut Launch| {
                let (world, _) = starting_with(start, true, Options { shares: true, ..Options::default() });
                let (parent, moving) = (world.clone(), world.clone());
                launch.actor("parent", move || {
                    let seen = fork_and(&parent, |child| format!("{:?} {:?}", child.load(BASE), child.store(BASE, 9)));
                    must(seen == "Ok(1) Ok(())", &seen);
                });
                launch.actor("mover", move || {
                    mover(&moving);
                });
                (world, Box::new(|world| must(world.mm.peek_word(BASE) == Some(1), "the parent keeps its own")))
            });
        }
    }
}

// ---- reduction ------------------------------------------------------------------------------------------------------

/// What can come of the two, by the executions of `strategy`: what they return, and how the page ends.
fn outcomes(
    acts: [Act; 2],
    (start, listening): (Start, bool),
    options: Options,
    strategy: Strategy,
    most: u64,
) -> (BTreeSet<String>, End) {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let all = seen.clone();
    let play = Play(move |launch: &mut Launch| {
        let (world, log) = starting_with(start, listening, options);
        let results = Rc::new(RefCell::new([String::new(), String::new()]));
        for (number, act) in acts.into_iter().enumerate() {
            let (world, results) = (world.clone(), results.clone());
            launch.actor(["first", "second"][number], move || {
                let result = act(&world);
                results.borrow_mut()[number] = result;
            });
        }
        let all = all.clone();
        let at_rest: AtRest = Box::new(move |world| {
            let calls: Vec<_> = world.calls.borrow().iter().map(|call| (call.kind, call.seq)).collect();
            let page = (world.mm.peek_pte(FIRST), world.mm.peek_word(BASE), world.mm.peek_word(ELSEWHERE));
            let told = (log.freed.borrow().len(), log.faults.borrow().len());
            all.borrow_mut().insert(format!("{:?} {page:x?} {calls:?} {told:?}", results.borrow()));
        });
        (world, at_rest)
    });
    let limits = Limits { executions: Some(most), ..Limits::default() };
    let outcome = explore(&play, &Config { strategy, limits, ..Config::default() }, None, None);
    assert_eq!(outcome.failure, None);
    (seen.take(), outcome.end)
}

/// How many executions of a full search, and how many random ones, there is time for.
const FULL: u64 = 1_000;
/// More than any reduced search needs.
const REDUCED: u64 = 100_000;

#[test]
fn the_reduced_search_comes_to_the_outcomes_of_the_full_one() {
    let moves: [Act; 3] = [to_vram, empty_vram, load];
    let others: [Act; 13] = [
        to_vram_too,
        empty_vram,
        load,
        store,
        load_next_door,
        munmap,
        dontneed,
        remap,
        protect,
        compact,
        own_hmm,
        foreign_hmm,
        device_load,
    ];
    let starts = [(Start::Vram, true), (Start::Vram, false), (Start::Ram, false), (Start::Hole, false)];
    let exhausted = agree(&moves, &others, &starts, Options::default());
    assert!(exhausted > 10, "some of these are small: {exhausted}");
}

#[test]
fn also_where_pages_are_shared_or_moved() {
    let sharing: [Act; 3] = [fork_and_load, fork_and_store, move_away];
    let starts = [(Start::Vram, false), (Start::Ram, true)];
    agree(&[to_vram, empty_vram, load], &sharing, &starts, Options { shares: true, ..Options::default() });
}

/// The reduced search of each pair must find what the others find. Returns how many full searches came to an end.
fn agree(some: &[Act], others: &[Act], starts: &[(Start, bool)], options: Options) -> usize {
    let mut exhausted = 0;
    for (&one, &other) in some.iter().flat_map(|one| others.iter().map(move |other| (one, other))) {
        for &start in starts {
            let all = |strategy, most| outcomes([one, other], start, options, strategy, most);
            let (reduced, end) = all(Strategy::Exhaustive { preemptions: None, reduction: true }, REDUCED);
            assert_eq!(end, End::Exhausted);
            let (mut full, end) = all(Strategy::Exhaustive { preemptions: None, reduction: false }, FULL);
            if end == End::Exhausted {
                assert_eq!(reduced, full);
                exhausted += 1;
            } else {
                // The full search begins with executions that are much alike.
                full.extend(all(Strategy::Random { seed: 7 }, FULL).0);
            }
            assert!(reduced.is_superset(&full), "left out: {:#?}", full.difference(&reduced).collect::<Vec<_>>());
        }
    }
    exhausted
}
