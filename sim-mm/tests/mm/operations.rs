//! System calls, accesses and the events they send.

use crate::common::{BASE, MIB2, NONE, RO, RW, World, falls, pages, world};
use interleave::lab::Invariant;
use model::Errno;
use model::platform::EventKind::{Clear, ProtectionVma, Release, Unmap};
use model::platform::{HmmPfn, HmmRange, HmmRequest, Mm, Owner, VmaFlags};
use model::units::{Bytes, PAGE_SIZE};
use sim_mm::{HUGE_ZERO_PFN, Options, Prot, Pte, Sigsegv, ZERO_PFN};
use std::cell::RefCell;
use std::rc::Rc;

const PAGE: u64 = PAGE_SIZE;
const FIRST: u64 = BASE / PAGE_SIZE;

fn listening(options: Options) -> World {
    let world = world(options);
    world.listen(0, Bytes::new(0, 1 << 46));
    world
}

fn small() -> World {
    listening(Options::default())
}

fn thp() -> World {
    listening(Options { thp: true, ..Options::default() })
}

/// hmm over `bytes` as a driver calls it, sequence and all.
fn hmm(world: &World, bytes: Bytes, request: HmmRequest) -> Result<Vec<HmmPfn>, Errno> {
    let sub = world.sub(0);
    let seq = world.mm.read_begin(sub);
    let mut pfns = vec![HmmPfn::default(); (bytes.len() / PAGE) as usize];
    let held = world.mm.mmap_read_lock();
    world
        .mm
        .hmm_range_fault(
            &held,
            &HmmRange { notifier: sub, notifier_seq: seq, start: bytes.start, request, owner: Owner::NONE },
            &mut pfns,
        )
        .map(|()| pfns)
}

// ---- munmap, mmap ---------------------------------------------------------------------------------------------------

#[test]
fn munmap_erases_the_vma_then_tells_then_zaps_then_frees() {
    let world = small();
    world.region(pages(0, 4));
    let (pfn, log) = (world.pfn(pages(1, 2)), Rc::new(RefCell::new(Vec::new())));
    let (inside, seen) = (world.clone(), log.clone());
    world.inside(move |call| {
        let page = (BASE + PAGE) / PAGE;
        seen.borrow_mut().push(format!(
            "{} {:?}: vma {}, pte {}, page {}",
            call.kind.name(),
            call.bytes,
            inside.mm.peek_vma(BASE + PAGE).is_some(),
            inside.mm.peek_mapped(page).is_some(),
            inside.memory.is_live(pfn),
        ));
        true
    });
    world.mm.munmap(pages(1, 2)).unwrap();
    assert_eq!(*log.borrow(), ["UNMAP [0x201000, 0x202000): vma false, pte true, page true"]);
    assert_eq!(world.mm.peek_mapped(FIRST + 1), None);
    assert!(!world.memory.is_live(pfn));
    let left: Vec<Bytes> = world.mm.peek_vmas().iter().map(|vma| vma.bytes).collect();
    assert_eq!(left, [pages(0, 1), pages(2, 4)]);
    assert_eq!(world.mm.load(BASE + PAGE), Err(Sigsegv { addr: BASE + PAGE, write: false, bus: false }));
}

#[test]
fn munmap_tells_the_whole_range_with_its_gaps_and_nothing_where_nothing_is_mapped() {
    let world = small();
    world.mm.mmap(pages(0, 1), RW).unwrap();
    world.mm.mmap(pages(5, 6), RW).unwrap();
    world.mm.munmap(pages(0, 8)).unwrap();
    assert_eq!(world.events(), [(Unmap, pages(0, 8))]);
    world.mm.munmap(pages(0, 8)).unwrap();
    assert_eq!(world.events(), []);
    assert_eq!(world.mm.munmap(Bytes::new(BASE, BASE + 1)), Err(Errno::EINVAL));
}

#[test]
fn mmap_over_a_mapping_tells_while_the_old_vma_is_in_the_tree_and_stores_the_new_one_after() {
    let world = small();
    world.region(pages(0, 4));
    let inside = world.clone();
    let seen = Rc::new(RefCell::new(None));
    let see = seen.clone();
    world.inside(move |_| {
        *see.borrow_mut() = inside.mm.peek_vma(BASE + PAGE);
        true
    });
    world.mm.mmap(pages(1, 3), RO).unwrap();
    assert_eq!(world.events(), [(Unmap, pages(1, 3))]);
    let old = seen.borrow().unwrap();
    assert_eq!((old.bytes, old.flags), (pages(1, 3), RW));
    assert_eq!(world.mm.peek_vma(BASE + PAGE).unwrap().flags, RO);
    assert_eq!(world.mm.peek_vmas().len(), 3);
    assert_eq!(world.memory.live_frames(), 2);
    assert_eq!(world.mm.load(BASE + PAGE), Ok(0), "the old contents are gone");
}

#[test]
fn mmap_over_a_mapping_frees_the_page_tables_of_the_old_one() {
    let world = small();
    world.region(pages(0, 4));
    world.mm.mmap(pages(0, 4), RW).unwrap();
    world.events();
    world.mm.mprotect(pages(0, 4), true, false).unwrap();
    assert_eq!(world.events(), [], "no page tables, no event");
}

#[test]
fn the_first_touch_tells_nobody_and_the_copy_of_the_zero_page_does() {
    let world = small();
    world.mm.mmap(pages(0, 2), RW).unwrap();
    assert_eq!(world.mm.load(BASE), Ok(0));
    assert_eq!(world.pfn(pages(0, 1)), ZERO_PFN);
    world.mm.store(BASE + PAGE, 7).unwrap();
    assert_eq!(world.events(), []);
    world.mm.store(BASE, 8).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 1))]);
    assert_eq!((world.mm.load(BASE), world.mm.load(BASE + PAGE)), (Ok(8), Ok(7)));
}

#[test]
fn who_copies_the_zero_page_second_finds_the_copy_of_the_first() {
    let world = small();
    world.mm.mmap(pages(0, 1), RW).unwrap();
    world.mm.load(BASE).unwrap();
    let inside = world.clone();
    world.inside(move |_| {
        inside.mm.store(BASE, 1).unwrap();
        true
    });
    world.mm.store(BASE + 8, 2).unwrap();
    assert_eq!((world.mm.load(BASE), world.mm.load(BASE + 8)), (Ok(1), Ok(2)));
    assert_eq!(world.memory.live_frames(), 1);
}

#[test]
fn dontneed_clears_without_mmap_lock_and_the_next_touch_sees_zeroes() {
    let world = small();
    world.region(pages(0, 4));
    world.mm.store(BASE, 1).unwrap();
    let inside = world.clone();
    world.inside(move |_| {
        // In setup context a lock that is held is a panic: nobody holds mmap_lock here.
        drop(inside.mm.mmap_read_lock());
        true
    });
    world.mm.madvise_dontneed(pages(0, 2)).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 2))]);
    assert_eq!(world.memory.live_frames(), 2);
    assert_eq!(world.mm.load(BASE), Ok(0));
}

#[test]
fn dontneed_over_a_hole_does_what_it_can_and_says_enomem() {
    let world = small();
    world.region(pages(0, 2));
    world.region(pages(3, 4));
    assert_eq!(world.mm.madvise_dontneed(pages(1, 5)), Err(Errno::ENOMEM));
    assert_eq!(world.events(), [(Clear, pages(1, 2)), (Clear, pages(3, 4))]);
    assert_eq!(world.memory.live_frames(), 1);
}

// ---- mprotect -------------------------------------------------------------------------------------------------------

#[test]
fn mprotect_tells_after_the_flags_changed_and_takes_the_write_permission() {
    let world = small();
    world.region(pages(0, 4));
    let inside = world.clone();
    let seen = Rc::new(RefCell::new(None));
    let see = seen.clone();
    world.inside(move |_| {
        *see.borrow_mut() = Some((inside.mm.peek_vma(BASE + PAGE).unwrap().flags, inside.mm.peek_mapped(FIRST + 1)));
        true
    });
    world.mm.mprotect(pages(1, 2), true, false).unwrap();
    let (flags, pte) = seen.borrow().unwrap();
    assert_eq!(flags, RO);
    assert!(pte.unwrap().1, "the entry changes after the callback");
    assert_eq!(world.events(), [(ProtectionVma, pages(1, 2))]);
    assert!(world.mm.store(BASE + PAGE, 1).is_err());
    assert_eq!(world.mm.load(BASE + PAGE), Ok(0));
    world.mm.mprotect(pages(1, 2), true, true).unwrap();
    world.mm.store(BASE + PAGE, 1).unwrap();
    assert_eq!(world.events(), [(ProtectionVma, pages(1, 2))], "writable in place needs no event of its own");
}

#[test]
fn mprotect_is_silent_on_equal_flags_and_where_no_page_tables_are() {
    let world = small();
    world.mm.mmap(pages(0, 4), RW).unwrap();
    world.mm.mprotect(pages(0, 4), true, false).unwrap();
    assert_eq!(world.events(), []);
    world.mm.load(BASE).unwrap();
    world.mm.mprotect(pages(0, 4), true, false).unwrap();
    assert_eq!(world.events(), []);
    assert_eq!(world.mm.peek_vmas().len(), 1);
}

#[test]
fn mprotect_tells_from_the_first_populated_gigabyte_and_one_event_per_half_terabyte() {
    let (gib, half_tib) = (1 << 30, 1 << 39);
    let world = small();
    world.mm.mmap(Bytes::new(gib, half_tib + 2 * gib), RW).unwrap();
    world.mm.store(5 * gib + PAGE, 1).unwrap();
    world.mm.store(half_tib + PAGE, 1).unwrap();
    world.mm.mprotect(Bytes::new(gib, half_tib + 2 * gib), true, false).unwrap();
    let expected = [Bytes::new(5 * gib, half_tib), Bytes::new(half_tib, half_tib + 2 * gib)];
    assert_eq!(world.events(), expected.map(|bytes| (ProtectionVma, bytes)));
}

#[test]
fn mprotect_over_a_hole_changes_what_lies_before_it() {
    let world = small();
    world.region(pages(0, 2));
    world.region(pages(3, 4));
    assert_eq!(world.mm.mprotect(pages(0, 4), true, false), Err(Errno::ENOMEM));
    assert_eq!(world.mm.peek_vma(BASE).unwrap().flags, RO);
    assert_eq!(world.mm.peek_vma(BASE + 3 * PAGE).unwrap().flags, RW);
    assert_eq!(world.mm.mprotect(pages(2, 4), true, false), Err(Errno::ENOMEM));
}

#[test]
fn a_numa_hint_takes_the_entry_away_and_the_next_touch_gives_it_back_silently() {
    let world = small();
    world.region(pages(0, 2));
    let pfn = world.pfn(pages(0, 1));
    world.mm.numa_scan(pages(0, 2)).unwrap();
    assert_eq!(world.events(), [(ProtectionVma, pages(0, 2))]);
    assert_eq!(world.mm.peek_pte(FIRST).pte, Pte::Present { pfn, prot: Prot::None });
    assert_eq!(hmm(&world, pages(0, 1), HmmRequest::Snapshot).unwrap()[0], HmmPfn::default());
    world.mm.store(BASE, 3).unwrap();
    assert_eq!(world.mm.peek_mapped(FIRST), Some((pfn, true)));
    assert!(hmm(&world, pages(1, 2), HmmRequest::Write).unwrap()[0].write);
    assert_eq!(world.events(), []);
}

// ---- migration ------------------------------------------------------------------------------------------------------

#[test]
fn migration_moves_the_contents_and_tells_only_when_the_old_entry_goes() {
    let world = small();
    world.region(pages(0, 2));
    world.mm.store(BASE, 42).unwrap();
    let old = world.pfn(pages(0, 1));
    assert_eq!(world.mm.migrate_pages(pages(0, 1)), Ok(1));
    assert_eq!(world.events(), [(Clear, pages(0, 1))]);
    assert_ne!(world.pfn(pages(0, 1)), old);
    assert!(!world.memory.is_live(old));
    assert_eq!(world.mm.load(BASE), Ok(42));
    assert_eq!(world.memory.live_frames(), 2);
}

#[test]
fn migration_skips_zero_pages_and_holes() {
    let world = small();
    world.mm.mmap(pages(0, 2), RW).unwrap();
    world.mm.load(BASE).unwrap();
    assert_eq!(world.mm.migrate_pages(pages(0, 8)), Ok(0));
    assert_eq!(world.events(), []);
}

#[test]
fn a_page_that_goes_away_in_the_middle_of_its_migration_leaves_no_frame_behind() {
    let world = small();
    world.region(pages(0, 1));
    let inside = world.clone();
    world.inside(move |call| {
        if call.kind == Clear && inside.mm.peek_vma(BASE).is_some() {
            inside.mm.munmap(pages(0, 1)).unwrap();
        }
        true
    });
    assert_eq!(world.mm.migrate_pages(pages(0, 1)), Ok(0));
    assert_eq!(world.memory.live_frames(), 0);
}

// ---- huge pages -----------------------------------------------------------------------------------------------------

#[test]
fn a_huge_mapping_has_order_9_and_a_cut_splits_it_with_an_event_of_2_mib_first() {
    let world = thp();
    world.region(pages(0, 1024));
    let pfns = hmm(&world, pages(0, 1024), HmmRequest::Write).unwrap();
    assert!(pfns.iter().all(|pfn| pfn.valid && pfn.write && pfn.order == 9));
    assert!(pfns.windows(2).take(511).all(|pair| pair[0].pfn + 1 == pair[1].pfn));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (inside, see) = (world.clone(), seen.clone());
    world.inside(move |_| {
        see.borrow_mut().push(inside.mm.peek_vmas().len());
        true
    });
    world.mm.munmap(pages(100, 101)).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 512)), (Unmap, pages(100, 101))]);
    assert_eq!(*seen.borrow(), [1, 2], "the bounds change after the CLEAR");
    let pfns = hmm(&world, pages(101, 1024), HmmRequest::Snapshot).unwrap();
    assert_eq!((pfns[0].order, pfns[511].order), (0, 9));
    assert_eq!(world.memory.live_frames(), 1023);
}

#[test]
fn a_partial_dontneed_splits_inside_its_own_event() {
    let world = thp();
    world.region(pages(0, 512));
    world.mm.madvise_dontneed(pages(0, 8)).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 8)), (Clear, pages(0, 512))]);
    assert_eq!(world.calls.borrow().len(), 0);
    assert_eq!(world.memory.live_frames(), 504);
}

#[test]
fn a_huge_zero_page_is_copied_with_an_event_of_2_mib() {
    let world = thp();
    world.mm.mmap(pages(0, 512), RW).unwrap();
    world.mm.load(BASE + 9 * PAGE).unwrap();
    assert_eq!(world.pfn(pages(9, 10)), HUGE_ZERO_PFN + 9);
    world.mm.store(BASE + 9 * PAGE, 5).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 512))]);
    assert_eq!(world.memory.live_frames(), 512);
    assert_eq!(world.mm.load(BASE + 9 * PAGE), Ok(5));
}

#[test]
fn a_block_that_is_not_wholly_inside_its_vma_is_mapped_page_by_page() {
    let world = thp();
    world.region(pages(0, 511));
    assert_eq!(world.mm.peek_pte(FIRST).order, 0);
}

#[test]
fn a_huge_mapping_migrates_as_one_folio() {
    let world = thp();
    world.region(pages(0, 512));
    world.mm.store(BASE + 300 * PAGE, 9).unwrap();
    assert_eq!(world.mm.migrate_pages(pages(3, 4)), Ok(512));
    assert_eq!(world.events(), [(Clear, pages(0, 512))]);
    assert_eq!(world.mm.peek_pte(FIRST + 300).order, 9);
    assert_eq!(world.mm.load(BASE + 300 * PAGE), Ok(9));
    assert_eq!(world.memory.live_frames(), 512);
}

#[test]
fn hugetlb_is_cut_between_huge_pages_only() {
    let world = small();
    let flags = VmaFlags { hugetlb: true, ..RW };
    assert_eq!(world.mm.mmap(pages(0, 100), flags), Err(Errno::EINVAL));
    world.mm.mmap(pages(0, 1024), flags).unwrap();
    world.mm.load(BASE).unwrap();
    assert_eq!(world.mm.peek_pte(FIRST).order, 9);
    assert_eq!(world.mm.munmap(pages(0, 100)), Err(Errno::EINVAL));
    world.mm.munmap(pages(0, 512)).unwrap();
    assert_eq!(world.events(), [(Unmap, Bytes::new(BASE, BASE + MIB2))]);
}

// ---- the end --------------------------------------------------------------------------------------------------------

#[test]
fn exit_releases_then_unmaps_everything_with_the_vmas_still_there() {
    let world = small();
    world.region(pages(0, 2));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (inside, see) = (world.clone(), seen.clone());
    world.inside(move |_| {
        see.borrow_mut().push((inside.mm.peek_vmas().len(), inside.mm.mmget_not_zero()));
        true
    });
    assert!(world.mm.mmget_not_zero());
    world.mm.exit();
    assert_eq!(world.events(), [], "somebody still uses it");
    world.mm.mmput();
    let all = Bytes::new(0, u64::MAX);
    assert_eq!(world.events(), [(Release, all), (Unmap, all)]);
    assert_eq!(*seen.borrow(), [(1, false), (1, false)]);
    assert_eq!((world.mm.peek_vmas().len(), world.memory.live_frames()), (0, 0));
    assert_eq!((world.mm.mm_users(), world.mm.mm_count()), (0, 1));
    assert_eq!(world.mm.notifiers().len(), 1, "subscriptions outlive the address space");
    world.mm.interval_remove(world.sub(0));
    assert!(world.mm.freed_at().is_some());
}

#[test]
fn a_put_too_many_is_a_violation() {
    let (invariant, what) = falls(small, |world| {
        world.mm.exit();
        world.mm.mmput();
    });
    assert_eq!((invariant, what.as_str()), (Invariant::I5, "mmput of mm0 without a reference"));
}

#[test]
fn a_use_of_the_freed_struct_is_a_violation() {
    let (invariant, what) = falls(
        || world(Options::default()),
        |world| {
            world.mm.exit();
            world.mm.mmget_not_zero();
        },
    );
    assert_eq!((invariant, what.as_str()), (Invariant::I4, "mm0 is used after its last mmdrop"));
}

#[test]
fn freeing_a_page_with_a_live_dma_mapping_is_a_violation() {
    let (invariant, what) = falls(small, |world| {
        world.region(pages(0, 1));
        world.memory.dma_map(world.pfn(pages(0, 1)), 0);
        world.mm.munmap(pages(0, 1)).unwrap();
    });
    let expected = "frame 0x1000000200 is freed while 1 DMA mapping(s) of it are live";
    assert_eq!((invariant, what.as_str()), (Invariant::I3, expected));
}

#[test]
fn a_dma_unmap_too_many_is_a_violation() {
    let (invariant, _) = falls(small, |world| {
        world.region(pages(0, 1));
        let pfn = world.pfn(pages(0, 1));
        world.memory.dma_map(pfn, 0);
        world.memory.dma_unmap(pfn, 0);
        world.memory.dma_unmap(pfn, 0);
    });
    assert_eq!(invariant, Invariant::I5);
}

#[test]
fn the_oom_reaper_asks_without_blocking_and_skips_who_refuses() {
    let world = small();
    world.region(pages(0, 2));
    world.region(pages(4, 5));
    world.inside(|call| {
        assert!(!call.blockable);
        call.bytes != pages(0, 2)
    });
    assert!(!world.mm.oom_reap());
    assert_eq!(world.events(), [(Clear, pages(4, 5)), (Clear, pages(0, 2))], "from high to low");
    assert_eq!(world.memory.live_frames(), 2, "what was refused stays");
    assert_eq!(world.mm.invalidation_epoch().1, 0, "a failed start has ended");
    assert!(world.mm.load(BASE + 4 * PAGE).is_err(), "no memory for a dying process");
    assert_eq!(hmm(&world, pages(4, 5), HmmRequest::Read), Err(Errno::EFAULT));
}

// ---- hmm_range_fault: the entry table -------------------------------------------------------------------------------

#[test]
fn hmm_says_error_or_efault_where_no_usable_vma_is() {
    let world = small();
    world.mm.mmap(pages(1, 2), NONE).unwrap();
    world.mm.mmap(pages(2, 3), VmaFlags { io: true, ..RW }).unwrap();
    world.mm.mmap(pages(3, 4), VmaFlags { pfnmap: true, ..RW }).unwrap();
    world.mm.mmap(pages(4, 5), RW).unwrap();
    let pfns = hmm(&world, pages(0, 6), HmmRequest::Snapshot).unwrap();
    let errors: Vec<bool> = pfns.iter().map(|pfn| pfn.error).collect();
    assert_eq!(errors, [true, true, true, true, false, true]);
    for page in [0, 1, 2, 3, 5] {
        assert_eq!(hmm(&world, pages(page, page + 1), HmmRequest::Read), Err(Errno::EFAULT), "page {page}");
    }
    assert_eq!(hmm(&world, pages(4, 6), HmmRequest::Read), Err(Errno::EFAULT));
}

#[test]
fn hmm_looks_without_faulting_and_faults_on_request() {
    let world = small();
    world.mm.mmap(pages(0, 4), RW).unwrap();
    assert_eq!(hmm(&world, pages(0, 4), HmmRequest::Snapshot).unwrap(), [HmmPfn::default(); 4]);
    assert_eq!(world.memory.live_frames(), 0);
    let read = hmm(&world, pages(0, 2), HmmRequest::Read).unwrap();
    assert!(read.iter().all(|pfn| pfn.valid && !pfn.write && pfn.pfn == ZERO_PFN && pfn.order == 0));
    assert_eq!(world.events(), []);
    let write = hmm(&world, pages(2, 4), HmmRequest::Write).unwrap();
    assert!(write.iter().all(|pfn| pfn.valid && pfn.write));
    assert_eq!(world.memory.live_frames(), 2);
}

#[test]
fn hmm_for_write_collides_with_its_own_copy_of_the_zero_page() {
    let world = small();
    world.mm.mmap(pages(0, 1), RW).unwrap();
    world.mm.load(BASE).unwrap();
    assert_eq!(hmm(&world, pages(0, 1), HmmRequest::Write), Err(Errno::EBUSY));
    assert_eq!(world.events(), [(Clear, pages(0, 1))]);
    assert!(hmm(&world, pages(0, 1), HmmRequest::Write).unwrap()[0].write);
}

#[test]
fn hmm_for_write_on_a_read_only_vma_is_eperm_and_for_read_is_not() {
    let world = small();
    world.mm.mmap(pages(0, 1), RO).unwrap();
    assert_eq!(hmm(&world, pages(0, 1), HmmRequest::Write), Err(Errno::EPERM));
    assert_eq!(hmm(&world, pages(0, 1), HmmRequest::Read).map(|pfns| pfns[0].pfn), Ok(ZERO_PFN));
}

#[test]
fn hmm_faults_the_rest_of_the_block_at_once() {
    let world = small();
    world.mm.mmap(pages(510, 514), RW).unwrap();
    hmm(&world, pages(510, 511), HmmRequest::Write).unwrap();
    assert_eq!(world.memory.live_frames(), 1, "to the end of the range, not of the block");
    world.mm.madvise_dontneed(pages(510, 514)).unwrap();
    hmm(&world, pages(510, 514), HmmRequest::Write).unwrap();
    assert_eq!(world.memory.live_frames(), 4);
}

#[test]
fn hmm_with_an_old_sequence_is_ebusy() {
    let world = small();
    world.region(pages(0, 1));
    let sub = world.sub(0);
    let seq = world.mm.read_begin(sub);
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    let held = world.mm.mmap_read_lock();
    let mut pfns = [HmmPfn::default()];
    let result = world.mm.hmm_range_fault(
        &held,
        &HmmRange { notifier: sub, notifier_seq: seq, start: BASE, request: HmmRequest::Read, owner: Owner::NONE },
        &mut pfns,
    );
    assert_eq!(result, Err(Errno::EBUSY));
    assert_eq!(world.mm.peek_mapped(FIRST), None, "it asked before it walked");
}
