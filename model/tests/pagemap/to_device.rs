//! migrate_to_devmem (spec drm-gpusvm 17): the numbers in the names are its steps.

use super::gpusvm_script::*;
use super::machine::*;
use super::{END, START, counted};
use model::Errno;
use model::pagemap::MigrateDetails;
use model::platform::VmaFlags;
use model::units::Bytes;

const WHOLE: Bytes = Bytes::new(START, END);

/// Sixteen pages of system memory and room for two such ranges on each GPU.
fn machine() -> Machine {
    let m = Machine::new(32);
    m.populated(START, END);
    m
}

/// Nothing has moved and nothing is left of the attempt.
fn assert_untouched(m: &Machine) {
    assert_eq!(m.places(START, END), vec![None; 16]);
    assert_eq!(m.contents(START, END), counted());
    assert_eq!(m.w.gpu.live(), 0, "mappings for the copy");
    m.assert_no_devmem();
}

#[test]
fn a_quiet_call_takes_the_steps_in_the_kernels_order() {
    let m = Machine::new(2);
    m.populated(START, START + 2 * K4);
    assert_eq!(m.populate_mm(START, START + 2 * K4), Ok(()));
    assert_eq!(
        m.w.log(),
        [
            "mmget",
            "read mmap_lock",
            "alloc vram",
            "vram_alloc 2 pages",
            "alloc drm_pagemap_devmem",
            "write lru_lock",
            "unlock lru_lock",
            "alloc array", // pfns
            "alloc array", // addresses
            "alloc array", // jobs
            "alloc drm_pagemap_zdd",
            "migrate_vma_setup [0x200000, 0x202000)",
            "MIGRATE [0x200000, 0x202000)",
            "dma_map 0x5200 order 0",
            "dma_map 0x5201 order 0",
            "copy 0x5200 to 0x10000000000, 2 pages",
            "dma_unmap 0x5200 order 0",
            "dma_unmap 0x5201 order 0",
            "migrate_vma_pages",
            "migrate_vma_finalize",
            "unlock mmap_lock",
            "mmput",
        ]
    );
    assert_eq!(m.places(START, START + 2 * K4), [Some(OWN); 2]);
    assert_eq!(m.contents(START, START + 2 * K4), [1, 2]);
    let data = m.w.mm.frames.folio(VRAM).unwrap().data;
    assert_eq!(m.pagemap.zdd_refcount(data), 2, "one for each device folio, none for the call");
    assert_eq!(m.pagemap.allocations(), 1);
    m.assert_settled();
}

#[test]
fn the_last_folio_gives_the_memory_back() {
    let m = machine();
    m.populate_mm(START, END).unwrap();
    m.w.mm.unmap(START, END - K4);
    assert_eq!(m.w.gpu.blocks().len(), 1, "one page is still in it");
    m.w.log();
    m.w.mm.unmap(END - K4, END);
    let log = m.w.log();
    let from = log.iter().position(|line| line.starts_with("folio_free")).unwrap();
    assert_eq!(
        log[from..],
        [
            "folio_free 0x1000000000f",
            "complete devmem.detached",
            "write lru_lock",
            "unlock lru_lock",
            "vram_free 16 pages",
            "free drm_pagemap_devmem",
            "free drm_pagemap_zdd",
        ]
    );
    m.assert_no_devmem();
}

#[test]
fn a_process_that_is_gone_gets_nothing() {
    let m = machine();
    m.w.mm.kill();
    assert_eq!(m.populate_mm(START, END), Err(Errno::EFAULT));
    assert_eq!(m.w.log(), ["mmget: gone"]);
}

#[test]
fn step_2_looks_at_the_vma_and_releases_the_allocation() {
    let file = VmaFlags { anon: false, ..RW };
    for (map, flags, says) in [
        (None, RW, Errno::ENOENT),
        // A VMA that begins behind the start is none at the start.
        (Some((START + K4, END)), RW, Errno::ENOENT),
        (Some((START, END - K4)), RW, Errno::EINVAL),
        (Some((START, END)), file, Errno::EBUSY),
    ] {
        let m = Machine::new(32);
        if let Some((start, end)) = map {
            m.w.mm.map(start, end, flags);
        }
        assert_eq!(m.populate_mm(START, END), Err(says), "{map:?}");
        assert!(!m.w.log().iter().any(|line| line.starts_with("migrate_vma")), "{map:?}");
        m.assert_no_devmem();
    }
}

#[test]
fn an_allocation_is_a_power_of_two() {
    let m = machine();
    assert_eq!(m.populate_mm(START, START + 3 * K4), Err(Errno::EINVAL));
    assert_eq!(m.populate_mm(START, START), Err(Errno::EINVAL));
    assert_untouched(&m);
}

#[test]
fn every_allocation_may_fail() {
    let mut failures = 0;
    for n in 0.. {
        let m = machine();
        shared(|s| s.fail_alloc_in = Some(n));
        let result = m.populate_mm(START, END);
        shared(|s| s.fail_alloc_in = None);
        if result.is_ok() {
            break;
        }
        assert_eq!(result, Err(Errno::ENOMEM), "allocation {n}");
        assert_untouched(&m);
        failures += 1;
    }
    assert_eq!(failures, 6, "vram, allocation, three arrays, zdd");
}

#[test]
fn step_4_passes_on_what_the_collecting_says() {
    let m = machine();
    shared(|s| s.fail_setup = Some(Errno::EINVAL));
    assert_eq!(m.populate_mm(START, END), Err(Errno::EINVAL));
    assert_untouched(&m);
}

#[test]
fn step_5_one_page_that_is_held_keeps_all_where_they_are() {
    for held in [0, 7, 15] {
        let m = machine();
        m.w.mm.frames.set_busy(m.w.mm.pfn(START + held * K4).unwrap(), true);
        assert_eq!(m.populate_mm(START, END), Err(Errno::EBUSY));
        let log = m.w.log();
        assert!(!log.iter().any(|line| line.starts_with("copy")), "nothing is copied for nothing");
        assert_eq!(log.iter().filter(|line| line.starts_with("MIGRATE")).count(), 1, "but the event was sent");
        assert_untouched(&m);
    }
}

#[test]
fn step_5_nothing_collected_is_busy_and_needs_no_restoring() {
    let m = machine();
    for addr in (START..END).step_by(K4 as usize) {
        m.w.mm.frames.set_busy(m.w.mm.pfn(addr).unwrap(), true);
    }
    assert_eq!(m.populate_mm(START, END), Err(Errno::EBUSY));
    assert!(!m.w.log().iter().any(|line| line == "migrate_vma_finalize"));
    assert_untouched(&m);
}

#[test]
fn holes_become_zero_pages_of_the_gpu_and_cost_a_second_event() {
    let m = Machine::new(32);
    m.w.mm.map(START, END, RW);
    m.fill(START + 3 * K4, 42);
    assert_eq!(m.populate_mm(START, END), Ok(()));
    assert_eq!(m.places(START, END), vec![Some(OWN); 16]);
    let mut contents = vec![0; 16];
    contents[3] = 42;
    assert_eq!(m.contents(START, END), contents);
    let log = m.w.log();
    assert_eq!(log.iter().filter(|line| line.starts_with("MIGRATE")).count(), 2);
    let copies: Vec<_> = log.iter().filter(|line| line.starts_with("copy")).collect();
    assert_eq!(copies, ["copy 0x5203 to 0x10000000003, 1 pages"], "holes are not copied");
}

#[test]
fn step_6_what_is_there_already_is_no_work_and_no_error() {
    let m = machine();
    m.populate_mm(START, END).unwrap();
    let before = m.w.mm.pfn(START);
    assert_eq!(m.populate_mm(START, END), Ok(()));
    assert_eq!(m.w.mm.pfn(START), before, "nothing moved");
    assert_eq!(m.w.gpu.blocks().len(), 1, "the second allocation is gone again");
    assert_eq!(m.contents(START, END), counted());
    m.assert_settled();
}

/// The first quarter is in GPU memory.
fn partly_there() -> Machine {
    let m = machine();
    m.populate_mm(START, START + 4 * K4).unwrap();
    m
}

#[test]
fn step_6_a_part_that_is_there_already_keeps_the_rest_where_it_is() {
    let m = partly_there();
    assert_eq!(m.populate_mm(START, END), Err(Errno::EBUSY));
    let mut places = vec![None; 16];
    places[..4].fill(Some(OWN));
    assert_eq!(m.places(START, END), places);
    assert_eq!(m.contents(START, END), counted());
    assert_eq!(m.w.gpu.blocks().len(), 1);
    m.assert_settled();
}

#[test]
fn step_6_unless_the_caller_wants_it_moved_along() {
    let m = partly_there();
    let details = MigrateDetails { can_migrate_same_pagemap: true, ..MigrateDetails::default() };
    m.w.log();
    assert_eq!(m.pagemap.populate_mm(&m.w.mm, WHOLE, &details), Ok(()));
    assert_eq!(m.places(START, END), vec![Some(OWN); 16]);
    assert_eq!(m.contents(START, END), counted());
    assert_eq!(m.w.gpu.blocks().len(), 1, "the old block is empty and gone");
    assert!(
        m.w.log().iter().filter(|line| line.starts_with("dma_map")).count() == 12,
        "within the memory nothing is mapped"
    );
    m.assert_settled();
}

#[test]
fn step_8_pages_of_a_peer_come_over_the_link_in_runs_of_their_own() {
    let m = machine();
    let part = Bytes::new(START + 4 * K4, START + 8 * K4);
    m.peer.populate_mm(&m.w.mm, part, &MigrateDetails::default()).unwrap();
    assert_eq!(m.place(part.start), Some(PEER));
    m.w.log();
    assert_eq!(m.populate_mm(START, END), Ok(()));
    assert_eq!(m.places(START, END), vec![Some(OWN); 16]);
    assert_eq!(m.contents(START, END), counted());
    let log = m.w.log();
    let copies: Vec<_> = log.iter().filter(|line| line.starts_with("copy")).map(|line| line.as_str()).collect();
    assert_eq!(
        copies,
        [
            "copy 0x5200 to 0x10000000000, 4 pages",
            "copy 0x10010000000 to 0x10000000004, 4 pages",
            "copy 0x5208 to 0x10000000008, 8 pages",
        ]
    );
    assert_eq!(log.iter().filter(|line| line.starts_with("device_map")).count(), 4);
    let first = |what: &str| log.iter().position(|line| line.starts_with(what)).unwrap();
    assert!(first("dma_unmap") < first("device_map"), "a run is over before the next begins");
    assert!(m.peer_gpu.blocks().is_empty(), "the peer has its memory back");
    m.assert_settled();
}

#[test]
fn step_8_a_peer_out_of_reach_keeps_all_where_they_are() {
    let m = machine();
    let part = Bytes::new(START + 4 * K4, START + 8 * K4);
    m.peer.populate_mm(&m.w.mm, part, &MigrateDetails::default()).unwrap();
    // The four pages before it are mapped, copied and unmapped by then.
    m.w.gpu.fail_in(5);
    assert_eq!(m.populate_mm(START, END), Err(Errno::EFAULT));
    assert_eq!(m.contents(START, END), counted());
    assert_eq!(m.place(START), None);
    assert_eq!(m.place(part.start), Some(PEER));
    assert!(m.w.gpu.blocks().is_empty());
    assert_eq!(m.w.gpu.live(), 0);
    m.assert_settled();
}

#[test]
fn pages_of_a_stranger_are_not_collected() {
    let m = Machine::with_owners(32, OWNER, model::platform::Owner(8));
    m.populated(START, END);
    let part = Bytes::new(START, START + K4);
    m.peer.populate_mm(&m.w.mm, part, &MigrateDetails::default()).unwrap();
    assert_eq!(m.populate_mm(START, END), Err(Errno::EBUSY));
    assert_eq!(m.place(START), Some(PEER));
    assert_eq!(m.contents(START, END), counted());
    m.assert_settled();
}

#[test]
fn step_11_a_failed_copy_gives_all_destinations_back() {
    let m = machine();
    m.w.gpu.fail_copy(Errno::ENODEV);
    assert_eq!(m.populate_mm(START, END), Err(Errno::ENODEV));
    assert_untouched(&m);
    // Not mappable: the first, one in the middle, the last page.
    for n in [0, 8, 15] {
        let m = machine();
        m.w.gpu.fail_in(n);
        assert_eq!(m.populate_mm(START, END), Err(Errno::EFAULT));
        assert_untouched(&m);
    }
}

#[test]
fn step_13_raced_means_busy_though_the_others_have_moved() {
    let m = machine();
    let pfn = m.w.mm.pfn(START + 5 * K4).unwrap();
    shared(|s| s.raced.insert(pfn));
    assert_eq!(m.populate_mm(START, END), Err(Errno::EBUSY));
    let mut places = vec![Some(OWN); 16];
    places[5] = None;
    assert_eq!(m.places(START, END), places);
    assert_eq!(m.contents(START, END), counted());
    let data = m.w.mm.frames.folio(VRAM).unwrap().data;
    assert_eq!(m.pagemap.zdd_refcount(data), 15, "the destination that was not used is free");
    m.assert_settled();
}

#[test]
fn step_13_a_fault_that_fills_a_hole_first_wins() {
    let m = Machine::new(32);
    m.w.mm.map(START, END, RW);
    let mm = m.w.mm.clone();
    m.w.at(Point::HandOver, move || {
        mm.populate(START, START + K4, 0x7777, 0);
        mm.frames.set_content(0x7777, 9);
    });
    assert_eq!(m.populate_mm(START, END), Err(Errno::EBUSY));
    assert_eq!((m.place(START), m.content(START)), (None, 9));
    assert_eq!(m.place(START + K4), Some(OWN));
    m.assert_settled();
}

#[test]
fn a_huge_page_moves_as_one() {
    let m = Machine::new(512);
    m.w.mm.map(START, START + M2, RW);
    m.w.mm.populate(START, START + M2, 0x6000, 9);
    m.w.log();
    assert_eq!(m.populate_mm(START, START + M2), Ok(()));
    let log = m.w.log();
    assert!(log.contains(&"dma_map 0x6000 order 9".into()), "{log:?}");
    assert!(log.contains(&"copy 0x6000 to 0x10000000000, 512 pages".into()), "{log:?}");
    let folio = m.w.mm.frames.folio(VRAM).unwrap();
    assert_eq!((folio.order, m.pagemap.zdd_refcount(folio.data)), (9, 1), "one folio, one reference");
    assert_eq!(m.content(START + 17 * K4), 0x6000 + 17);
    m.w.mm.unmap(START, START + M2);
    m.assert_no_devmem();
}

#[test]
fn a_huge_page_that_cannot_be_copied_stays_and_its_destination_goes_back_as_one() {
    let m = Machine::new(512);
    m.w.mm.map(START, START + M2, RW);
    m.w.mm.populate(START, START + M2, 0x6000, 9);
    m.w.gpu.fail_copy(Errno::ENODEV);
    assert_eq!(m.populate_mm(START, START + M2), Err(Errno::ENODEV));
    assert_eq!(m.content(START + 17 * K4), 0x6000 + 17);
    m.assert_no_devmem();
}

#[test]
fn a_huge_page_is_not_asked_for_where_it_would_not_come_to_lie_aligned() {
    let m = Machine::new(1024);
    // Four megabytes whose second quarter begins a huge page: in the block, that quarter begins at frame 256.
    let start = START + M2 / 2;
    m.w.mm.map(start, start + 2 * M2, RW);
    m.w.mm.populate(START + M2, START + 2 * M2, 0x6000, 9);
    assert_eq!(m.populate_mm(start, start + 2 * M2), Ok(()));
    assert_eq!(m.w.mm.frames.folio(VRAM + 256).unwrap().order, 0);
    assert_eq!(m.content(START + M2 + 17 * K4), 0x6000 + 17);
    m.assert_settled();
}
