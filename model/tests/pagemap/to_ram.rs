//! The CPU fault on a device page (spec drm-gpusvm 18, 19): the numbers in the names are its steps.

use super::gpusvm_script::*;
use super::machine::*;
use super::{END, START, counted};
use model::Errno;
use model::pagemap::{MigrateDetails, is_migrated};
use model::platform::{EventKind, Mm};
use model::units::Bytes;

const WHOLE: Bytes = Bytes::new(START, END);

/// Sixteen pages in GPU memory.
fn machine() -> Machine {
    let m = Machine::new(32);
    m.populated(START, END);
    m.populate_mm(START, END).unwrap();
    m.w.log();
    m
}

fn assert_still_there(m: &Machine) {
    assert_eq!(m.places(START, END), vec![Some(OWN); 16]);
    assert_eq!(m.contents(START, END), counted());
    assert_eq!(m.w.gpu.live(), 0, "mappings for the copy");
    let data = m.w.mm.frames.folio(VRAM).unwrap().data;
    assert_eq!(m.pagemap.zdd_refcount(data), 16);
    assert!(!is_migrated(data));
    m.assert_settled();
}

#[test]
fn a_quiet_fault_takes_the_steps_in_the_kernels_order() {
    let m = Machine::new(2);
    m.populated(START, START + 2 * K4);
    m.populate_mm(START, START + 2 * K4).unwrap();
    m.w.log();
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    assert_eq!(
        m.w.log(),
        [
            "read mmap_lock",
            "alloc array",
            "alloc array",
            "alloc array",
            "migrate_vma_setup [0x200000, 0x202000)",
            "MIGRATE [0x200000, 0x202000)",
            "alloc folio",
            "alloc folio",
            "dma_map 0x100000 order 0",
            "dma_map 0x100001 order 0",
            "copy 0x10000000000 to 0x100000, 2 pages",
            "dma_unmap 0x100000 order 0",
            "dma_unmap 0x100001 order 0",
            "migrate_vma_pages",
            "migrate_vma_finalize",
            // The neighbour goes at once, the faulting page when the fault lets go of it.
            "folio_free 0x10000000001",
            "folio_free 0x10000000000",
            "complete devmem.detached",
            "write lru_lock",
            "unlock lru_lock",
            "vram_free 2 pages",
            "free drm_pagemap_devmem",
            "free drm_pagemap_zdd",
            "unlock mmap_lock",
            "read mmap_lock",
            "unlock mmap_lock",
        ]
    );
    assert_eq!(m.contents(START, START + 2 * K4), [1, 2]);
    m.assert_no_devmem();
}

#[test]
fn step_1_inside_the_timeslice_the_cpu_goes_round() {
    let m = Machine::new(32);
    m.populated(START, END);
    let details = MigrateDetails { timeslice_ms: 5, ..MigrateDetails::default() };
    shared(|s| s.now_ms = 100);
    m.pagemap.populate_mm(&m.w.mm, WHOLE, &details).unwrap();
    m.w.log();
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    assert_eq!(shared(|s| s.now_ms), 106, "five rounds in vain, at 105 it moves");
    assert_eq!(m.w.log().iter().filter(|line| line.starts_with("migrate_vma_setup")).count(), 1);
    m.assert_no_devmem();
}

#[test]
fn step_2_the_window_is_clipped_to_the_vma() {
    let m = machine();
    m.w.mm.unmap(START, START + 2 * K4);
    m.w.mm.unmap(END - K4, END);
    m.w.log();
    assert_eq!(m.w.mm.cpu_read(START + 8 * K4), Ok(9));
    assert!(m.w.log().contains(&"migrate_vma_setup [0x202000, 0x20f000)".into()));
    m.assert_no_devmem();
}

#[test]
fn step_2_the_window_is_aligned_as_an_address_not_as_the_allocation() {
    // Sixteen pages in GPU memory at an address that is not a multiple of their size, as after an mremap.
    let m = Machine::new(32);
    let start = START + 4 * K4;
    m.populated(start, start + K64);
    m.populate_mm(start, start + K64).unwrap();
    assert_eq!(m.w.mm.cpu_read(start), Ok(1));
    let mut places = vec![None; 16];
    places[12..].fill(Some(OWN));
    assert_eq!(m.places(start, start + K64), places, "only the part up to the next multiple");
    assert_eq!(m.contents(start, start + K64), counted());
    assert_eq!(m.w.gpu.blocks().len(), 1);
    assert_eq!(m.w.mm.cpu_read(start + 12 * K4), Ok(13));
    m.assert_no_devmem();
}

#[test]
fn step_3_every_allocation_may_fail_and_is_sigbus() {
    let mut failures = 0;
    for n in 0.. {
        let m = machine();
        shared(|s| s.fail_alloc_in = Some(n));
        let result = m.w.mm.cpu_read(START);
        shared(|s| s.fail_alloc_in = None);
        if result.is_ok() {
            break;
        }
        assert_eq!(result, Err(Errno::ENOMEM), "allocation {n}");
        assert_still_there(&m);
        failures += 1;
    }
    assert_eq!(failures, 3 + 16, "three arrays, sixteen pages");
}

#[test]
fn step_4_what_the_collecting_says_is_passed_on() {
    let m = machine();
    shared(|s| s.fail_setup = Some(Errno::EINVAL));
    assert_eq!(m.w.mm.cpu_read(START), Err(Errno::EINVAL));
    assert_still_there(&m);
}

#[test]
fn step_4_somebody_else_was_faster() {
    let m = machine();
    let held = m.w.mm.mmap_read_lock();
    let pfn = m.w.mm.pfn(START).unwrap();
    // The fault holds the page, but it is mapped nowhere any more.
    m.w.mm.frames.get(pfn);
    m.w.mm.invalidate(&event(EventKind::Clear, START, END));
    m.w.log();
    assert_eq!(m.pagemap.migrate_to_ram(&m.w.mm, &held, START, pfn), Ok(()));
    assert!(!m.w.log().iter().any(|line| line.starts_with("copy")));
    drop(held);
    m.w.mm.frames.put(pfn);
    m.assert_no_devmem();
}

#[test]
fn step_5_a_folio_whose_contents_have_left_is_not_fetched_again() {
    let m = machine();
    // Somebody holds page 3 while the others go: it is moved, marked, and stays behind as a bare folio.
    let pfn = m.w.mm.pfn(START + 3 * K4).unwrap();
    m.w.mm.frames.get(pfn);
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    let folio = m.w.mm.frames.folio(pfn).unwrap();
    assert!(is_migrated(folio.data));
    assert_eq!(m.pagemap.zdd_refcount(folio.data), 1, "the mark does not hide the zdd");
    // An entry of it that was missed is collected, but not copied.
    let stale = END + 3 * K4;
    m.w.mm.map(END, END + K64, RW);
    m.w.mm.populate(stale, stale + K4, pfn, 0);
    m.w.mm.frames.get(pfn);
    m.w.log();
    let held = m.w.mm.mmap_read_lock();
    m.w.mm.frames.lock(pfn);
    assert_eq!(m.pagemap.migrate_to_ram(&m.w.mm, &held, stale, pfn), Ok(()));
    m.w.mm.frames.unlock(pfn);
    drop(held);
    let log = m.w.log();
    assert!(log.iter().any(|line| line == "migrate_vma_finalize"));
    assert!(!log.iter().any(|line| line.starts_with("copy") || line == "alloc folio"), "{log:?}");
    m.w.mm.invalidate(&event(EventKind::Clear, stale, stale + K4));
    m.w.mm.frames.put(pfn);
    m.assert_no_devmem();
}

#[test]
fn step_6_only_what_came_together_goes_together() {
    let m = Machine::new(32);
    m.populated(START, END);
    // One migration of the first half after the other, and the second half inside the window of neither.
    m.populate_mm(START, START + 8 * K4).unwrap();
    m.populate_mm(START + 8 * K4, END).unwrap();
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    let mut places = vec![None; 16];
    places[8..].fill(Some(OWN));
    assert_eq!(m.places(START, END), places);

    // The same with both in one window: the small one lies in the window of the large one.
    let m = partly_replaced();
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    let mut places = vec![None; 16];
    places[4] = Some(OWN);
    assert_eq!(m.places(START, END), places, "page 4 came another time");
    assert_eq!(m.contents(START, END), counted());
    m.assert_settled();
}

/// Sixteen pages in GPU memory, of which page 4 came by a migration of its own.
fn partly_replaced() -> Machine {
    let m = machine();
    let page = START + 4 * K4;
    m.w.mm.invalidate(&event(EventKind::Clear, page, page + K4));
    m.fill(page, 5);
    m.populate_mm(page, page + K4).unwrap();
    m
}

#[test]
fn step_6_a_peers_page_in_the_window_stays() {
    let m = machine();
    let page = START + 4 * K4;
    m.w.mm.invalidate(&event(EventKind::Clear, page, page + K4));
    m.fill(page, 5);
    // Both pagemaps begin to count their zdds at the same place: the words are equal, the folios have nothing in common.
    m.peer.populate_mm(&m.w.mm, Bytes::new(page, page + K4), &MigrateDetails::default()).unwrap();
    let word = |addr| m.w.mm.frames.folio(m.w.mm.pfn(addr).unwrap()).unwrap().data;
    assert_eq!(word(START), word(page));
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    assert_eq!(m.place(page), Some(PEER));
    assert_eq!(m.contents(START, END), counted());
    m.assert_settled();
}

#[test]
fn step_6_memory_that_runs_out_in_the_middle_leaves_all_where_they_are() {
    let m = machine();
    m.w.mm.frames.limit_room(9);
    assert_eq!(m.w.mm.cpu_read(START), Err(Errno::ENOMEM));
    assert_still_there(&m);
}

#[test]
fn step_7_neighbours_are_copied_as_one_only_where_they_are_neighbours_on_both_sides() {
    let m = machine();
    m.w.mm.frames.scatter();
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    assert_eq!(m.contents(START, END), counted());
    m.assert_no_devmem();
}

#[test]
fn step_7_a_failed_copy_is_sigbus_and_undone() {
    let m = machine();
    m.w.gpu.fail_copy(Errno::ENODEV);
    assert_eq!(m.w.mm.cpu_read(START), Err(Errno::ENODEV));
    assert_still_there(&m);
    for n in [0, 8, 15] {
        let m = machine();
        m.w.gpu.fail_in(n);
        assert_eq!(m.w.mm.cpu_read(START), Err(Errno::EFAULT));
        assert_still_there(&m);
    }
}

#[test]
fn step_8_what_does_not_change_hands_is_not_marked() {
    let m = machine();
    let pfn = m.w.mm.pfn(START + 3 * K4).unwrap();
    shared(|s| s.raced.insert(pfn));
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    assert_eq!(m.place(START + 3 * K4), Some(OWN));
    assert!(!is_migrated(m.w.mm.frames.folio(pfn).unwrap().data));
    shared(|s| s.raced.clear());
    assert_eq!(m.w.mm.cpu_read(START + 3 * K4), Ok(4));
    assert_eq!(m.contents(START, END), counted());
    m.assert_no_devmem();
}

/// A huge page in GPU memory.
fn huge() -> Machine {
    let m = Machine::new(512);
    m.w.mm.map(START, START + M2, RW);
    m.w.mm.populate(START, START + M2, 0x6000, 9);
    m.populate_mm(START, START + M2).unwrap();
    m.w.log();
    m
}

#[test]
fn a_huge_folio_comes_back_as_one() {
    let m = huge();
    assert_eq!(m.w.mm.cpu_read(START), Ok(0x6000));
    let pfn = m.w.mm.pfn(START).unwrap();
    assert_eq!(m.w.mm.frames.folio(pfn).unwrap().order, 9);
    assert_eq!(m.content(START + 17 * K4), 0x6000 + 17);
    m.assert_no_devmem();
}

#[test]
fn a_huge_folio_comes_back_in_pieces_when_memory_is_fragmented() {
    let m = huge();
    shared(|s| s.no_huge = true);
    assert_eq!(m.w.mm.cpu_read(START), Ok(0x6000));
    assert_eq!(m.w.mm.frames.folio(m.w.mm.pfn(START).unwrap()).unwrap().order, 0);
    assert_eq!(m.content(START + 511 * K4), 0x6000 + 511);
    m.assert_no_devmem();
}

#[test]
fn a_huge_folio_that_cannot_be_copied_stays() {
    let m = huge();
    m.w.gpu.fail_copy(Errno::ENODEV);
    assert_eq!(m.w.mm.cpu_read(START), Err(Errno::ENODEV));
    assert_eq!(m.place(START), Some(OWN));
    assert_eq!(m.content(START + 17 * K4), 0x6000 + 17);
    m.assert_settled();
    assert_eq!(m.w.mm.cpu_read(START), Ok(0x6000));
    m.assert_no_devmem();
}
