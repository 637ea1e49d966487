//! fork, mremap, files, shared memory, swap, collapse: the events they send and what the memory is afterwards (spec
//! mm-events 2, row by row).

use crate::common::{BASE, MIB2, RW, World, pages, world};
use model::Errno;
use model::platform::EventKind::{Clear, ProtectionPage, Unmap};
use model::platform::VmaFlags;
use model::units::{Bytes, PAGE_SIZE};
use sim_mm::{AddressSpace, File, Options, Prot, Pte, Remap, ZERO_PFN};

const PAGE: u64 = PAGE_SIZE;
const FIRST: u64 = BASE / PAGE_SIZE;
const FILE: VmaFlags = VmaFlags { anon: false, ..RW };

fn listening(options: Options) -> World {
    let world = world(options);
    world.listen(0, Bytes::new(0, 1 << 46));
    world
}

fn sharing() -> World {
    listening(Options { shares: true, ..Options::default() })
}

fn thp() -> World {
    listening(Options { shares: true, thp: true, ..Options::default() })
}

fn file(world: &World) -> File<interleave::Sim> {
    let file = File::new(&world.memory, 0, 8);
    file.write(0, 10);
    file.write(PAGE, 11);
    file
}

// ---- fork -----------------------------------------------------------------------------------------------------------

#[test]
fn fork_protects_each_private_vma_with_anonymous_pages_and_no_other() {
    let world = sharing();
    world.mm.mmap(pages(0, 4), RW).unwrap();
    world.mm.mmap(pages(4, 8), RW).unwrap();
    world.mm.mmap(pages(8, 12), RW).unwrap();
    let file = file(&world);
    world.mm.mmap_file(pages(12, 14), FILE, &file, 0, true).unwrap();
    world.mm.store(BASE, 1).unwrap();
    assert_eq!(world.mm.load(BASE + 4 * PAGE), Ok(0), "the zero page needs no anon_vma");
    world.mm.store(BASE + 8 * PAGE, 3).unwrap();
    world.mm.store(BASE + 12 * PAGE, 4).unwrap();
    world.events();
    let child = world.mm.fork(1).unwrap();
    assert_eq!(world.events(), [(ProtectionPage, pages(0, 4)), (ProtectionPage, pages(8, 12))]);
    let pfn = world.pfn(pages(0, 1));
    for mm in [&world.mm, &child] {
        assert_eq!(mm.peek_mapped(FIRST), Some((pfn, false)));
    }
    assert_eq!(world.memory.map_count(pfn), 2);
    assert!(world.mm.peek_copies_on_write(FIRST) && !world.mm.peek_copies_on_write(FIRST + 12));
    assert_eq!(child.peek_mapped(FIRST + 12), None, "shared memory is faulted in again");
    assert!(child.notifiers().is_empty());
    assert_eq!(child.peek_vmas(), world.mm.peek_vmas());
    assert_eq!(child.load(BASE + 12 * PAGE), Ok(4));
}

#[test]
fn a_store_after_fork_copies_with_a_clear_in_the_writer_only() {
    let world = sharing();
    world.region(pages(0, 2));
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    world.events();
    let old = world.pfn(pages(0, 1));
    child.store(BASE, 2).unwrap();
    assert_eq!(world.events(), [], "the child has no subscriptions");
    assert_eq!(world.mm.load(BASE), Ok(1));
    assert_eq!(child.load(BASE), Ok(2));
    // The child has its own now, so the parent's is its alone: reused in place.
    world.mm.store(BASE, 3).unwrap();
    assert_eq!(world.events(), []);
    assert_eq!(world.pfn(pages(0, 1)), old);
    // The other page is still shared.
    let old = world.pfn(pages(1, 2));
    world.mm.store(BASE + PAGE, 4).unwrap();
    assert_eq!(world.events(), [(Clear, pages(1, 2))]);
    assert_ne!(world.pfn(pages(1, 2)), old);
    assert_eq!(child.load(BASE + PAGE), Ok(0));
    child.exit();
    assert_eq!(world.memory.live_frames(), 2);
}

#[test]
fn the_copy_is_made_before_the_clear() {
    let world = sharing();
    world.region(pages(0, 1));
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    let (memory, old) = (world.memory.clone(), world.pfn(pages(0, 1)));
    // Somebody with a stale writable mapping writes to the old page while the event runs: too late for the copy.
    world.inside(move |_| {
        memory.store(old, 8, 9);
        true
    });
    world.mm.store(BASE, 2).unwrap();
    assert_eq!(world.mm.load(BASE + 8), Ok(0));
    assert_eq!(child.load(BASE + 8), Ok(9));
}

#[test]
fn when_the_other_side_has_exited_the_page_is_reused_in_place() {
    let world = sharing();
    world.region(pages(0, 1));
    let child = world.mm.fork(1).unwrap();
    child.exit();
    world.events();
    let old = world.pfn(pages(0, 1));
    world.mm.store(BASE, 2).unwrap();
    assert_eq!((world.events(), world.pfn(pages(0, 1))), (vec![], old));
}

#[test]
fn a_shared_page_stays_read_only_through_mprotect_and_a_numa_hint() {
    let world = sharing();
    world.region(pages(0, 1));
    let child = world.mm.fork(1).unwrap();
    world.mm.mprotect(pages(0, 1), true, false).unwrap();
    world.mm.mprotect(pages(0, 1), true, true).unwrap();
    assert_eq!(world.mm.peek_mapped(FIRST).map(|m| m.1), Some(false));
    world.mm.numa_scan(pages(0, 1)).unwrap();
    world.mm.load(BASE).unwrap();
    assert_eq!(world.mm.peek_mapped(FIRST).map(|m| m.1), Some(false));
    world.mm.store(BASE, 2).unwrap();
    assert_eq!(child.load(BASE), Ok(0));
}

#[test]
fn a_store_to_a_shared_huge_page_splits_it_then_copies_one_page() {
    let world = thp();
    world.mm.mmap(Bytes::new(BASE, BASE + MIB2), RW).unwrap();
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    assert_eq!(child.peek_pte(FIRST).order, 9);
    world.events();
    world.mm.store(BASE + PAGE, 2).unwrap();
    assert_eq!(world.events(), [(Clear, Bytes::new(BASE, BASE + MIB2)), (Clear, pages(1, 2))]);
    assert_eq!((world.mm.load(BASE), child.load(BASE), child.load(BASE + PAGE)), (Ok(1), Ok(1), Ok(0)));
    child.exit();
    assert_eq!(world.memory.live_frames(), 512);
}

#[test]
fn a_huge_page_of_which_only_a_part_is_ours_again_is_not_reused() {
    let world = thp();
    world.mm.mmap(Bytes::new(BASE, BASE + MIB2), RW).unwrap();
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    child.store(BASE, 2).unwrap();
    world.mm.store(BASE + PAGE, 3).unwrap();
    assert_eq!(child.load(BASE + PAGE), Ok(0));
    assert_eq!(world.mm.load(BASE), Ok(1));
}

#[test]
fn a_page_that_migrates_moves_in_all_processes() {
    let world = sharing();
    world.region(pages(0, 1));
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    let old = world.pfn(pages(0, 1));
    world.events();
    assert_eq!(child.migrate_pages(pages(0, 1)), Ok(2));
    assert_eq!(world.events(), [(Clear, pages(0, 1))]);
    let new = world.pfn(pages(0, 1));
    assert_ne!(new, old);
    assert_eq!(child.peek_mapped(FIRST), Some((new, false)));
    assert!(!world.memory.is_live(old));
    world.mm.store(BASE, 2).unwrap();
    assert_eq!(child.load(BASE), Ok(1), "still shared");
    child.exit();
    assert_eq!(world.memory.live_frames(), 1);
}

#[test]
#[should_panic(expected = "fork needs an address space with Options::shares")]
fn who_cannot_share_cannot_fork() {
    let _ = listening(Options::default()).mm.fork(1);
}

// ---- mremap ---------------------------------------------------------------------------------------------------------

const FAR: u64 = 0x4000_0000;

fn to(addr: u64) -> Remap {
    Remap { to: Some(addr), keep_old: false }
}

#[test]
fn a_move_tells_the_old_range_twice_and_the_new_one_never() {
    let world = sharing();
    world.region(pages(0, 2));
    world.mm.store(BASE, 1).unwrap();
    let pfn = world.pfn(pages(0, 1));
    world.events();
    let (mm, log) = (world.mm.clone(), std::rc::Rc::new(std::cell::RefCell::new(Vec::new())));
    let seen = log.clone();
    world.inside(move |_| {
        let vma = |addr| mm.peek_vma(addr).is_some();
        seen.borrow_mut().push((vma(BASE), vma(FAR), mm.peek_mapped(FIRST).is_some()));
        true
    });
    world.mm.mremap(pages(0, 2), 2 * PAGE, to(FAR)).unwrap();
    assert_eq!(world.events(), [(Unmap, pages(0, 2)), (Unmap, pages(0, 2))]);
    assert_eq!(*log.borrow(), [(true, true, true), (false, true, false)]);
    assert_eq!(world.mm.peek_mapped(FAR / PAGE), Some((pfn, true)));
    assert_eq!(world.mm.load(FAR), Ok(1));
    assert!(world.mm.load(BASE).is_err());
    assert_eq!(world.memory.live_frames(), 2);
}

#[test]
fn dontunmap_keeps_the_old_vma_and_tells_once() {
    let world = sharing();
    world.region(pages(0, 1));
    world.mm.store(BASE, 1).unwrap();
    world.events();
    world.mm.mremap(pages(0, 1), PAGE, Remap { to: Some(FAR), keep_old: true }).unwrap();
    assert_eq!(world.events(), [(Unmap, pages(0, 1))]);
    assert_eq!((world.mm.load(BASE), world.mm.load(FAR)), (Ok(0), Ok(1)));
}

#[test]
fn what_is_at_the_target_is_unmapped_first() {
    let world = sharing();
    world.region(pages(0, 1));
    world.region(pages(8, 10));
    world.mm.store(BASE, 1).unwrap();
    world.events();
    world.mm.mremap(pages(0, 1), PAGE, to(BASE + 8 * PAGE)).unwrap();
    assert_eq!(world.events(), [(Unmap, pages(8, 9)), (Unmap, pages(0, 1)), (Unmap, pages(0, 1))]);
    assert_eq!(world.mm.load(BASE + 8 * PAGE), Ok(1));
    assert_eq!(world.mm.load(BASE + 9 * PAGE), Ok(0));
    assert_eq!(world.memory.live_frames(), 2);
}

#[test]
fn the_start_goes_down_to_two_mib_when_both_sides_are_equally_far_from_it() {
    let world = sharing();
    let old = Bytes::new(BASE + 16 * PAGE, BASE + MIB2);
    world.region(old);
    world.events();
    world.mm.mremap(old, old.len(), to(FAR + 16 * PAGE)).unwrap();
    assert_eq!(world.events(), [(Unmap, Bytes::new(BASE, BASE + MIB2)), (Unmap, old)]);
    // Not where something else is in the way.
    let (old, back) = (Bytes::new(FAR + 16 * PAGE, FAR + MIB2), BASE + 16 * PAGE);
    world.region(Bytes::new(FAR, FAR + PAGE));
    world.mm.mremap(old, old.len(), to(back)).unwrap();
    assert_eq!(world.events(), [(Unmap, old), (Unmap, old)]);
}

#[test]
fn growing_says_nothing_and_shrinking_is_an_munmap_of_the_tail() {
    let world = sharing();
    world.region(pages(0, 4));
    world.events();
    world.mm.mremap(pages(0, 4), 2 * PAGE, Remap::default()).unwrap();
    assert_eq!(world.events(), [(Unmap, pages(2, 4))]);
    world.mm.mremap(pages(0, 2), 3 * PAGE, Remap::default()).unwrap();
    assert_eq!(world.events(), []);
    assert_eq!(world.mm.load(BASE + 2 * PAGE), Ok(0));
    world.region(pages(3, 4));
    assert_eq!(world.mm.mremap(pages(0, 3), 4 * PAGE, Remap::default()), Err(Errno::ENOMEM));
    assert_eq!(world.mm.mremap(pages(6, 7), PAGE, to(FAR)), Err(Errno::EFAULT));
    assert_eq!(world.mm.mremap(pages(0, 2), 2 * PAGE, to(BASE + PAGE)), Err(Errno::EINVAL));
}

#[test]
fn a_part_of_a_huge_page_moves_as_small_pages_and_a_whole_one_as_it_is() {
    let world = thp();
    let block = Bytes::new(BASE, BASE + MIB2);
    world.mm.mmap(block, RW).unwrap();
    world.mm.store(BASE + 5 * PAGE, 1).unwrap();
    world.mm.mremap(block, MIB2, to(FAR)).unwrap();
    assert_eq!(world.mm.peek_pte(FAR / PAGE).order, 9);
    world.mm.mremap(Bytes::new(FAR, FAR + 8 * PAGE), 8 * PAGE, to(BASE + PAGE)).unwrap();
    assert_eq!(world.mm.load(BASE + 6 * PAGE), Ok(1));
    assert_eq!(world.mm.peek_pte(FAR / PAGE + 8).order, 0);
    assert_eq!(world.memory.live_frames(), 512);
}

#[test]
fn a_child_and_a_move_do_not_hide_a_page_from_migration() {
    let world = sharing();
    world.region(pages(0, 1));
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    world.mm.mremap(pages(0, 1), PAGE, to(FAR)).unwrap();
    world.events();
    assert_eq!(child.migrate_pages(pages(0, 1)), Ok(2));
    assert_eq!(world.events(), [(Clear, Bytes::new(FAR, FAR + PAGE))]);
    assert_eq!((world.mm.load(FAR), child.load(BASE)), (Ok(1), Ok(1)));
}

// ---- files and shared memory ----------------------------------------------------------------------------------------

#[test]
fn a_shared_file_mapping_writes_to_the_file_and_says_nothing() {
    let world = sharing();
    let file = file(&world);
    world.mm.mmap_file(pages(0, 2), FILE, &file, 0, true).unwrap();
    assert_eq!(world.mm.load(BASE), Ok(10));
    assert_eq!(world.mm.peek_mapped(FIRST).map(|m| m.1), Some(false), "the file system is told of the first write");
    world.mm.store(BASE, 20).unwrap();
    assert_eq!(world.events(), []);
    assert_eq!(file.read(0), 20);
    let child = world.mm.fork(1).unwrap();
    child.store(BASE + PAGE, 21).unwrap();
    assert_eq!(world.mm.load(BASE + PAGE), Ok(21));
}

#[test]
fn a_private_file_mapping_copies_with_an_event_where_the_page_was_there() {
    let world = sharing();
    let file = file(&world);
    world.mm.mmap_file(pages(0, 2), FILE, &file, 0, false).unwrap();
    assert_eq!(world.mm.load(BASE), Ok(10));
    world.mm.store(BASE, 20).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 1))]);
    world.mm.store(BASE + PAGE + 8, 21).unwrap();
    assert_eq!(world.events(), [], "do_cow_fault");
    assert_eq!(world.mm.load(BASE + PAGE), Ok(11));
    assert_eq!((file.read(0), file.read(PAGE + 8)), (10, 0));
    world.mm.munmap(pages(0, 2)).unwrap();
    assert_eq!(world.memory.live_frames(), 8);
    assert_eq!(world.mm.peek_vmas(), []);
}

#[test]
fn only_anonymous_pages_of_a_file_mapping_migrate() {
    let world = sharing();
    let file = file(&world);
    world.mm.mmap_file(pages(0, 2), FILE, &file, 0, false).unwrap();
    world.mm.load(BASE).unwrap();
    world.mm.store(BASE + PAGE, 1).unwrap();
    assert_eq!(world.mm.migrate_pages(pages(0, 2)), Ok(1));
    assert_eq!(world.mm.reclaim(pages(0, 2)), Ok(1));
    assert_eq!((world.mm.load(BASE), world.mm.load(BASE + PAGE)), (Ok(10), Ok(1)));
}

#[test]
fn shared_memory_is_writable_from_the_first_read_on_and_moves_with_its_pages() {
    let world = sharing();
    let shm = File::new(&world.memory, 1, 4);
    world.mm.mmap_shared(pages(0, 4), FILE, &shm).unwrap();
    world.mm.load(BASE).unwrap();
    assert_eq!(world.mm.peek_mapped(FIRST).map(|m| m.1), Some(true));
    world.mm.store(BASE + 3 * PAGE, 7).unwrap();
    world.mm.mremap(pages(2, 4), 2 * PAGE, to(FAR)).unwrap();
    assert_eq!(world.mm.load(FAR + PAGE), Ok(7));
    world.mm.madvise_dontneed(Bytes::new(FAR, FAR + 2 * PAGE)).unwrap();
    assert_eq!(world.mm.load(FAR + PAGE), Ok(7), "the page cache has it");
    assert_eq!(world.mm.mmap_shared(pages(8, 13), FILE, &shm), Err(Errno::EINVAL));
}

// ---- swap -----------------------------------------------------------------------------------------------------------

#[test]
fn reclaim_clears_and_swap_in_says_nothing() {
    let world = sharing();
    world.region(pages(0, 2));
    world.mm.store(BASE, 1).unwrap();
    world.events();
    assert_eq!(world.mm.reclaim(pages(0, 1)), Ok(1));
    assert_eq!(world.events(), [(Clear, pages(0, 1))]);
    assert!(matches!(world.mm.peek_pte(FIRST).pte, Pte::Swap { .. }));
    assert_eq!((world.memory.live_frames(), world.memory.swap_slots()), (1, 1));
    assert_eq!(world.mm.peek_word(BASE), Some(1));
    assert_eq!(world.mm.load(BASE), Ok(1));
    assert_eq!((world.events(), world.memory.swap_slots()), (vec![], 0));
    world.mm.madvise_pageout(pages(0, 2)).unwrap();
    world.mm.munmap(pages(0, 2)).unwrap();
    assert_eq!((world.memory.live_frames(), world.memory.swap_slots()), (0, 0));
}

#[test]
fn a_page_that_two_processes_have_is_swapped_out_of_both() {
    let world = sharing();
    world.region(pages(0, 1));
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    assert_eq!(child.reclaim(pages(0, 1)), Ok(2));
    let grandchild = child.fork(2).unwrap();
    grandchild.store(BASE, 5).unwrap();
    assert_eq!((world.mm.load(BASE), child.load(BASE), grandchild.load(BASE)), (Ok(1), Ok(1), Ok(5)));
    assert_eq!((world.memory.live_frames(), world.memory.swap_slots()), (2, 0), "who reads finds it in the swap cache");
    world.events();
    world.mm.store(BASE, 2).unwrap();
    assert_eq!((world.events(), child.load(BASE)), (vec![(Clear, pages(0, 1))], Ok(1)));
    assert_eq!(world.memory.live_frames(), 3);
}

#[test]
fn reclaim_takes_a_huge_page_apart_and_leaves_mlocked_and_zero_pages() {
    let world = thp();
    let block = Bytes::new(BASE, BASE + MIB2);
    world.mm.mmap(block, RW).unwrap();
    world.mm.store(BASE + 3 * PAGE, 1).unwrap();
    world.events();
    assert_eq!(world.mm.reclaim(pages(0, 1)), Ok(512));
    assert_eq!(world.events(), [(Clear, block)], "its entry is split inside");
    assert_eq!(world.mm.load(BASE + 3 * PAGE), Ok(1));
    world.mm.mlock(pages(3, 4), true).unwrap();
    assert_eq!(world.mm.reclaim(pages(3, 4)), Ok(0));
    assert_eq!(world.mm.migrate_pages(pages(3, 4)), Ok(1), "mlocked pages still migrate");
    world.mm.mlock(pages(3, 4), false).unwrap();
    assert_eq!(world.mm.reclaim(pages(3, 4)), Ok(1));
}

#[test]
fn after_madv_free_reclaim_drops_what_no_cpu_wrote_since() {
    let world = sharing();
    world.region(pages(0, 3));
    for page in 0..3 {
        world.mm.store(BASE + page * PAGE, 7).unwrap();
    }
    world.events();
    world.mm.madvise_free(pages(0, 3)).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 3))]);
    assert_eq!(world.mm.load(BASE), Ok(7));
    world.mm.store(BASE + PAGE, 8).unwrap();
    // A device writes through its own mapping: the CPU's entry stays clean and the data is lost.
    world.memory.store(world.pfn(pages(2, 3)), 0, 9);
    world.events();
    assert_eq!(world.mm.reclaim(pages(0, 3)), Ok(2));
    let all = [pages(0, 1), pages(1, 2), pages(2, 3)];
    assert_eq!(world.events(), all.map(|page| (Clear, page)), "what is dirty is found out when it is unmapped");
    assert_eq!(world.mm.reclaim(pages(0, 3)), Ok(1), "an ordinary page again");
    let words: Vec<_> = (0..3).map(|page| world.mm.load(BASE + page * PAGE).unwrap()).collect();
    assert_eq!(words, [0, 8, 0]);
    assert_eq!(world.mm.madvise_cold(pages(0, 3)), Ok(()));
    assert_eq!(world.mm.madvise_cold(pages(0, 9)), Err(Errno::ENOMEM));
    assert_eq!(world.memory.swap_slots(), 0);
}

// ---- folios -----------------------------------------------------------------------------------------------------------

/// A huge page, its entry split.
fn small_entries() -> World {
    let world = thp();
    let block = Bytes::new(BASE, BASE + MIB2);
    world.mm.mmap(block, RW).unwrap();
    world.mm.store(BASE + 3 * PAGE, 1).unwrap();
    world.mm.store(BASE + 5 * PAGE, 2).unwrap();
    world.mm.mprotect(pages(8, 9), true, false).unwrap();
    assert_eq!(world.mm.peek_pte(FIRST).order, 0);
    world.events();
    world
}

#[test]
fn a_folio_in_small_entries_moves_and_is_swapped_out_as_one() {
    let world = small_entries();
    let parts = [pages(0, 8), pages(8, 9), pages(9, 512)].map(|part| (Clear, part));
    assert_eq!(world.mm.migrate_pages(pages(3, 4)), Ok(512));
    assert_eq!(world.events(), parts, "one event a VMA");
    assert_eq!(world.mm.load(BASE + 3 * PAGE), Ok(1));
    assert_eq!(world.mm.reclaim(pages(3, 4)), Ok(512));
    assert_eq!(world.events(), parts);
}

#[test]
fn advice_about_a_part_of_a_folio_splits_it() {
    for advice in [AddressSpace::madvise_cold, AddressSpace::madvise_free, AddressSpace::madvise_pageout] {
        let world = small_entries();
        advice(&world.mm, pages(3, 4)).unwrap();
        let parts = [pages(0, 8), pages(8, 9), pages(9, 512)].map(|part| (Clear, part));
        let events: Vec<_> = world.events().into_iter().filter(|event| event.1 != pages(3, 4)).collect();
        assert_eq!(events, parts);
        assert_eq!(world.mm.migrate_pages(pages(5, 6)), Ok(1), "a folio of its own now");
        assert_eq!(world.mm.peek_mapped(FIRST + 9), Some((ZERO_PFN, false)), "what has only zeroes is not kept");
        assert_eq!(world.memory.live_frames(), 2 - u64::from(world.mm.peek_mapped(FIRST + 3).is_none()));
    }
}

#[test]
fn a_folio_of_which_a_part_is_gone_comes_apart_before_it_moves() {
    let world = small_entries();
    world.mm.munmap(pages(4, 5)).unwrap();
    world.events();
    assert_eq!(world.mm.migrate_pages(pages(3, 4)), Ok(2), "all of what was one folio, but for zeroes");
    let events = world.events();
    let parts = [pages(0, 4), pages(5, 8), pages(8, 9), pages(9, 512)].map(|part| (Clear, part));
    assert_eq!((&events[..4], &events[4..]), (&parts[..], &[pages(3, 4), pages(5, 6)].map(|page| (Clear, page))[..]));
    assert_eq!(world.mm.migrate_pages(pages(5, 6)), Ok(1));
}

#[test]
fn who_looks_for_a_page_asks_every_vma_that_could_map_it() {
    let world = sharing();
    world.region(pages(0, 1));
    world.mm.store(BASE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    world.mm.store(BASE, 2).unwrap();
    world.events();
    assert_eq!(child.migrate_pages(pages(0, 1)), Ok(1));
    assert_eq!(world.events(), [(Clear, pages(0, 1))], "of the parent's copy nothing happened");
    assert_eq!((world.mm.load(BASE), child.load(BASE)), (Ok(2), Ok(1)));
}

#[test]
fn a_folio_moves_that_one_has_in_a_huge_entry_and_the_other_in_small_ones() {
    let world = thp();
    let block = Bytes::new(BASE, BASE + MIB2);
    world.mm.mmap(block, RW).unwrap();
    world.mm.store(BASE + 3 * PAGE, 1).unwrap();
    let child = world.mm.fork(1).unwrap();
    child.store(BASE + 4 * PAGE, 2).unwrap();
    assert_eq!((world.mm.peek_pte(FIRST).order, child.peek_pte(FIRST).order), (9, 0));
    assert_eq!(world.mm.migrate_pages(pages(3, 4)), Ok(512 + 511));
    assert_eq!(world.memory.map_count(world.mm.peek_mapped(FIRST + 3).unwrap().0), 2);
    assert_eq!((child.load(BASE + 3 * PAGE), child.load(BASE + 4 * PAGE)), (Ok(1), Ok(2)));
    child.exit();
    world.mm.exit();
    assert_eq!(world.memory.live_frames(), 0);
}

// ---- collapse -------------------------------------------------------------------------------------------------------

#[test]
fn collapse_ends_its_event_before_the_huge_entry_is_there() {
    let world = sharing();
    let block = Bytes::new(BASE, BASE + MIB2);
    world.mm.mmap(block, RW).unwrap();
    world.mm.store(BASE, 1).unwrap();
    world.mm.store(BASE + 9 * PAGE, 2).unwrap();
    assert_eq!(world.mm.load(BASE + 10 * PAGE), Ok(0));
    world.events();
    world.mm.madvise_collapse(block).unwrap();
    assert_eq!(world.events(), [(Clear, block)]);
    assert_eq!(world.mm.peek_pte(FIRST + 9).order, 9);
    assert_eq!((world.mm.load(BASE), world.mm.load(BASE + 9 * PAGE)), (Ok(1), Ok(2)));
    assert!(matches!(world.mm.peek_pte(FIRST).pte, Pte::Present { prot: Prot::Write, .. }));
    assert_eq!(world.memory.live_frames(), 512);
    assert_eq!(world.mm.madvise_collapse(pages(0, 8)), Ok(()), "no whole block in it, but there could be one");
    world.mm.munmap(block).unwrap();
    assert_eq!(world.mm.madvise_collapse(pages(0, 8)), Err(Errno::ENOMEM));
    world.mm.mmap(pages(0, 8), RW).unwrap();
    world.mm.store(BASE, 1).unwrap();
    assert_eq!(world.mm.madvise_collapse(pages(0, 8)), Err(Errno::EINVAL));
}

#[test]
fn a_page_on_swap_comes_in_before_its_block_collapses() {
    let world = sharing();
    let block = Bytes::new(BASE, BASE + MIB2);
    world.mm.mmap(block, RW).unwrap();
    world.mm.store(BASE, 1).unwrap();
    world.mm.reclaim(pages(0, 1)).unwrap();
    assert_eq!(world.mm.madvise_collapse(block), Ok(()));
    assert_eq!(world.mm.peek_pte(FIRST).order, 9);
    assert_eq!(world.mm.load(BASE), Ok(1));
}
