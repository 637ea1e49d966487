//! Eviction of a buffer object (spec drm-gpusvm 18, end).

use super::gpusvm_script::*;
use super::machine::*;
use super::{END, START, counted};
use model::Errno;
use model::pagemap::is_migrated;
use model::platform::VramBlock;
use std::rc::Rc;

const BLOCK: VramBlock = VramBlock { pfn: VRAM, pages: 16 };

/// Sixteen pages in GPU memory.
fn machine() -> Machine {
    let m = Machine::new(32);
    m.populated(START, END);
    m.populate_mm(START, END).unwrap();
    m.w.log();
    m
}

fn assert_evicted(m: &Machine) {
    assert_eq!(m.places(START, END), vec![None; 16]);
    assert_eq!(m.contents(START, END), counted());
    m.assert_no_devmem();
}

#[test]
fn a_quiet_eviction_takes_the_steps_in_the_kernels_order() {
    let m = Machine::new(2);
    m.populated(START, START + 2 * K4);
    m.populate_mm(START, START + 2 * K4).unwrap();
    m.w.log();
    assert_eq!(m.pagemap.evict(VramBlock { pfn: VRAM, pages: 2 }), Ok(()));
    assert_eq!(
        m.w.log(),
        [
            "write lru_lock",
            "unlock lru_lock",
            "mmget",
            "alloc array",
            "alloc array",
            "alloc array",
            "migrate_device_pfns",
            "CLEAR [0x200000, 0x201000)",
            "CLEAR [0x201000, 0x202000)",
            "alloc folio",
            "alloc folio",
            "dma_map 0x100000 order 0",
            "dma_map 0x100001 order 0",
            "copy 0x10000000000 to 0x100000, 2 pages",
            "dma_unmap 0x100000 order 0",
            "dma_unmap 0x100001 order 0",
            "migrate_device_pages",
            "migrate_device_finalize",
            "folio_free 0x10000000000",
            "folio_free 0x10000000001",
            "complete devmem.detached",
            "free drm_pagemap_zdd",
            "mmput_async",
            // The evictor's own reference was the last: the block is free when the eviction returns.
            "write lru_lock",
            "unlock lru_lock",
            "vram_free 2 pages",
            "free drm_pagemap_devmem",
        ]
    );
    assert_eq!(m.contents(START, START + 2 * K4), [1, 2]);
    m.assert_no_devmem();
}

#[test]
fn memory_of_the_gpu_is_made_room_in_by_eviction() {
    let m = Machine::new(16);
    m.populated(START, END);
    m.populated(END, END + K64);
    m.populate_mm(START, END).unwrap();
    assert_eq!(m.populate_mm(END, END + K64), Ok(()), "under mmap_lock of the same process");
    assert_eq!(m.places(START, END), vec![None; 16]);
    assert_eq!(m.places(END, END + K64), vec![Some(OWN); 16]);
    assert_eq!(m.contents(START, END), counted());
    assert_eq!(m.contents(END, END + K64), counted());
    m.assert_settled();
}

#[test]
fn a_timeslice_does_not_protect_from_eviction() {
    let m = Machine::new(16);
    m.populated(START, END);
    let details = model::pagemap::MigrateDetails { timeslice_ms: 1000, ..Default::default() };
    m.pagemap.populate_mm(&m.w.mm, model::units::Bytes::new(START, END), &details).unwrap();
    assert_eq!(m.pagemap.evict(BLOCK), Ok(()));
    assert_evicted(&m);
}

#[test]
fn a_block_that_nobody_has_or_that_is_reserved_is_busy() {
    let m = machine();
    assert_eq!(m.pagemap.evict(VramBlock { pfn: VRAM + 16, pages: 16 }), Err(Errno::EBUSY));
    m.w.log();
    // An eviction inside an eviction, and one inside a migration to the very block.
    let (pagemap, seen) = (m.pagemap.clone(), Rc::new(std::cell::Cell::new(None)));
    let its = seen.clone();
    m.w.at(Point::Collecting, move || its.set(Some(pagemap.evict(BLOCK))));
    assert_eq!(m.pagemap.evict(BLOCK), Ok(()));
    assert_eq!(seen.get(), Some(Err(Errno::EBUSY)));
    assert_evicted(&m);

    let (pagemap, its) = (m.pagemap.clone(), seen.clone());
    seen.set(None);
    m.w.at(Point::Collected, move || its.set(Some(pagemap.evict(BLOCK))));
    assert_eq!(m.populate_mm(START, END), Ok(()));
    assert_eq!(seen.get(), Some(Err(Errno::EBUSY)));
    // Afterwards it is fair game again.
    assert_eq!(m.pagemap.evict(BLOCK), Ok(()));
    assert_evicted(&m);
}

#[test]
fn a_process_that_is_gone_cannot_be_evicted() {
    let m = machine();
    m.w.mm.kill();
    assert_eq!(m.pagemap.evict(BLOCK), Err(Errno::EFAULT));
    assert_eq!(m.places(START, END), vec![Some(OWN); 16], "a child could still have them");
}

#[test]
fn a_locked_page_is_waited_for_twice() {
    let m = machine();
    let pfn = m.w.mm.pfn(START + 5 * K4).unwrap();
    m.w.mm.frames.lock(pfn);
    let mm = m.w.mm.clone();
    // Unlocked before the third attempt.
    m.w.at(Point::Collecting, || ());
    m.w.at(Point::Collecting, || ());
    m.w.at(Point::Collecting, move || mm.frames.unlock(pfn));
    assert_eq!(m.pagemap.evict(BLOCK), Ok(()));
    assert_eq!(shared(|s| s.retries.len()), 2);
    assert_evicted(&m);
}

#[test]
fn a_locked_page_that_stays_locked_makes_it_fail_after_three_attempts() {
    let m = machine();
    let pfn = m.w.mm.pfn(START + 5 * K4).unwrap();
    m.w.mm.frames.lock(pfn);
    assert_eq!(m.pagemap.evict(BLOCK), Err(Errno::EBUSY));
    assert_eq!(m.w.log().iter().filter(|line| *line == "migrate_device_pfns").count(), 3);
    let mut places = vec![None; 16];
    places[5] = Some(OWN);
    assert_eq!(m.places(START, END), places, "the others have moved");
    m.w.mm.frames.unlock(pfn);
    assert_eq!(m.pagemap.evict(BLOCK), Ok(()), "the reservation was given back");
    assert_evicted(&m);
}

#[test]
fn a_page_that_is_held_moves_once_and_keeps_the_block() {
    let m = machine();
    let pfn = m.w.mm.pfn(START + 5 * K4).unwrap();
    m.w.mm.frames.get(pfn);
    assert_eq!(m.pagemap.evict(BLOCK), Err(Errno::EBUSY));
    assert_eq!(m.places(START, END), vec![None; 16], "its contents have moved");
    assert_eq!(m.contents(START, END), counted());
    let copies = m.w.log().iter().filter(|line| line.starts_with("copy")).count();
    assert_eq!(copies, 1, "the second and third attempt find it marked");
    assert!(is_migrated(m.w.mm.frames.folio(pfn).unwrap().data));
    assert_eq!(m.w.gpu.blocks(), [BLOCK]);
    m.w.mm.frames.put(pfn);
    assert_evicted(&m);
}

#[test]
fn allocations_that_fail_are_tried_again_and_then_reported() {
    let m = machine();
    shared(|s| s.fail_alloc_in = Some(0));
    assert_eq!(m.pagemap.evict(BLOCK), Err(Errno::ENOMEM));
    shared(|s| s.fail_alloc_in = None);
    assert_eq!(m.w.log().iter().filter(|line| *line == "mmget").count(), 3);
    m.assert_settled();

    m.w.mm.frames.limit_room(9);
    assert_eq!(m.pagemap.evict(BLOCK), Err(Errno::ENOMEM));
    assert_eq!(m.places(START, END), vec![Some(OWN); 16]);
    m.assert_settled();
    m.w.mm.frames.limit_room(16);
    assert_eq!(m.pagemap.evict(BLOCK), Ok(()));
    assert_evicted(&m);
}

#[test]
fn every_single_failure_of_a_first_attempt_is_survived() {
    for n in 0..3 + 16 {
        let m = machine();
        shared(|s| s.fail_alloc_in = Some(n));
        m.w.at(Point::MmputAsync, || shared(|s| s.fail_alloc_in = None));
        assert_eq!(m.pagemap.evict(BLOCK), Ok(()), "allocation {n}");
        assert_eq!(shared(|s| s.retries.len()), 1, "allocation {n}");
        assert_evicted(&m);
    }
    for error in [Errno::ENODEV, Errno::ENOMEM] {
        let m = machine();
        m.w.gpu.fail_copy(error);
        assert_eq!(m.pagemap.evict(BLOCK), Ok(()));
        assert_evicted(&m);
    }
}

#[test]
fn pages_that_were_unmapped_leave_gaps_that_are_skipped() {
    let m = machine();
    m.w.mm.unmap(START + 2 * K4, START + 5 * K4);
    assert_eq!(m.pagemap.evict(BLOCK), Ok(()));
    assert_eq!(m.contents(START + 5 * K4, END), counted()[5..]);
    m.assert_no_devmem();
}

#[test]
fn a_huge_folio_leaves_as_one_or_in_pieces() {
    for no_huge in [false, true] {
        let m = Machine::new(512);
        m.w.mm.map(START, START + M2, RW);
        m.w.mm.populate(START, START + M2, 0x6000, 9);
        m.populate_mm(START, START + M2).unwrap();
        shared(|s| s.no_huge = no_huge);
        assert_eq!(m.pagemap.evict(VramBlock { pfn: VRAM, pages: 512 }), Ok(()));
        assert_eq!(m.content(START + 511 * K4), 0x6000 + 511);
        let order = m.w.mm.frames.folio(m.w.mm.pfn(START).unwrap()).unwrap().order;
        assert_eq!(order, if no_huge { 0 } else { 9 });
        m.assert_no_devmem();
    }
}

#[test]
fn what_is_left_at_the_end_is_warned_about() {
    let m = machine();
    m.pagemap.fini();
    assert_eq!(m.w.warns(), ["pagemap 0: 1 allocations are left after fini"]);
}
