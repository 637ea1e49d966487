//! get_pages of the drm_gpusvm port against invalidations at every point of it (spec drm-gpusvm 9, 10).

use crate::script::*;
use model::Errno;
use model::gpusvm::{Ctx, HMM_TIMEOUT_MS};
use model::platform::{DmaDirection, EventKind, MmuEvent, Plant};

/// A chunk above a page and below a huge page.
const RANGE: (u64, u64) = (0x200000, 0x210000);

fn clear_all() -> MmuEvent {
    event(EventKind::Clear, RANGE.0, RANGE.1)
}
fn unmap_all() -> MmuEvent {
    event(EventKind::Unmap, RANGE.0, RANGE.1)
}

/// A VMA of 64 KiB with one range over it; nothing is populated.
fn world() -> (World, R) {
    let w = World::new();
    w.mm.map(RANGE.0, RANGE.1, RW);
    let range = w.insert(RANGE.0).unwrap();
    assert_eq!(w.bytes(range), RANGE);
    w.log();
    (w, range)
}

fn agrees_with_cpu(w: &World, range: R) {
    let start = w.svm.range(range).bytes().start;
    for (page, pfn, order) in w.mappings(range) {
        for i in 0..1 << order {
            assert_eq!(w.mm.pfn(start + (page + i) * K4), Some(pfn + i), "page {}", page + i);
        }
    }
}

#[test]
fn a_quiet_call_takes_the_steps_in_the_kernels_order() {
    let (w, range) = world();
    w.mm.populate(RANGE.0, RANGE.1, 0x5000, 4);
    assert_eq!(w.get_pages(range), Ok(()));
    assert_eq!(
        w.log(),
        [
            "read_begin",
            "alloc array", // pfns
            "mmget",
            "read mmap_lock",
            "hmm Write",
            "unlock mmap_lock",
            "mmput",
            "read notifier_lock",
            "unlock notifier_lock", // no DMA array yet, and none may be allocated here
            "alloc array",
            "read notifier_lock",
            "dma_map 0x5000 order 4",
            "unlock notifier_lock",
        ]
    );
    let flags = w.svm.range(range).flags();
    assert!(flags.has_dma_mapping && !flags.has_devmem_pages && !flags.unmapped);
    assert_eq!(w.svm.range(range).base().notifier_seq(locked()), 1);
    assert_eq!(w.mappings(range), [(0, 0x5000, 4)]);
}

#[test]
fn a_range_that_is_mapped_is_not_walked_again() {
    let (w, range) = world();
    w.get_pages(range).unwrap();
    w.log();
    assert_eq!(w.get_pages(range), Ok(()));
    assert_eq!(w.log(), ["read_begin", "read notifier_lock", "unlock notifier_lock"]);
}

#[test]
fn the_sequence_of_the_shortcut_may_be_newer_than_the_mapping() {
    let (w, range) = world();
    w.get_pages(range).unwrap();
    let before = w.svm.range(range).base().notifier_seq(locked());
    // Elsewhere in the window: the sequence moves, the mapping stays.
    w.mm.invalidate(&event(EventKind::Clear, 0x1000, 0x2000));
    assert!(w.valid(range));
    w.get_pages(range).unwrap();
    assert!(w.svm.range(range).base().notifier_seq(locked()) > before);
}

#[test]
fn after_an_invalidation_the_array_is_freed_and_made_anew() {
    let (w, range) = world();
    w.get_pages(range).unwrap();
    w.mm.invalidate(&event(EventKind::Clear, RANGE.0, RANGE.0 + K4));
    assert!(!w.valid(range), "one page is enough");
    assert_eq!(w.gpu.live(), 0, "the whole range is unmapped");
    w.log();
    w.get_pages(range).unwrap();
    assert_eq!(w.log().iter().filter(|step| *step == "alloc array").count(), 2, "pfns and the DMA array");
    agrees_with_cpu(&w, range);
}

/// What happens when a CLEAR of the whole range lands at each point of the call.
#[test]
fn an_invalidation_anywhere_is_either_noticed_or_takes_the_mapping_down() {
    let table = [
        // point, retries that say so, is the range valid afterwards
        (Point::ReadBegun, vec!["get_pages: hmm_range_fault says EBUSY"], true),
        (Point::Walk, vec!["get_pages: hmm_range_fault says EBUSY"], true),
        (Point::Walked, vec!["get_pages: the sequence moved"], true),
        (Point::Mmput, vec!["get_pages: the sequence moved"], true),
    ];
    for (point, retries, valid) in table {
        let (w, range) = world();
        w.mm.populate(RANGE.0, RANGE.1, 0x5000, 4);
        // The mmput of the call itself is the first one after its walk.
        w.invalidate_at(point, clear_all());
        assert_eq!(w.get_pages(range), Ok(()), "{point:?}");
        assert_eq!(shared(|s| s.retries.clone()), retries, "{point:?}");
        assert_eq!(w.valid(range), valid, "{point:?}");
        assert!(w.mappings(range).iter().all(|m| m.1 != 0x5000), "{point:?}: the old page is mapped");
        agrees_with_cpu(&w, range);
    }
}

/// `read_begin` may sleep for as long as munmap runs, and munmap holds mmap_lock.
#[test]
fn a_collision_in_the_walk_is_waited_out_without_mmap_lock() {
    let (w, range) = world();
    w.mm.fail_walks(&[Errno::EBUSY]);
    w.get_pages(range).unwrap();
    assert_eq!(
        w.log()[3..9],
        ["read mmap_lock", "hmm Write", "unlock mmap_lock", "read_begin", "read mmap_lock", "hmm Write"]
    );
}

#[test]
fn false_sharing_an_event_elsewhere_in_the_window_makes_the_call_start_over() {
    let (w, range) = world();
    w.invalidate_at(Point::Walked, event(EventKind::Clear, 0x1000, 0x2000));
    assert_eq!(w.get_pages(range), Ok(()));
    assert_eq!(shared(|s| s.retries.clone()), ["get_pages: the sequence moved"]);

    let (w, range) = world();
    w.invalidate_at(Point::Walked, event(EventKind::Clear, 512 << 20, 513 << 20));
    assert_eq!(w.get_pages(range), Ok(()));
    assert_eq!(shared(|s| s.retries.len()), 0, "another window");
}

#[test]
fn the_planted_bug_maps_the_page_that_is_gone() {
    let (w, range) = world();
    w.mm.populate(RANGE.0, RANGE.1, 0x5000, 4);
    shared(|s| s.plants.push(Plant::SkipReadRetry));
    w.invalidate_at(Point::Walked, clear_all());
    assert_eq!(w.get_pages(range), Ok(()));
    assert_eq!(w.mappings(range), [(0, 0x5000, 4)], "stale");
}

/// M2 before M3: no second of retries over a dead range.
#[test]
fn unmapped_is_tested_before_the_sequence() {
    for point in [Point::Walked, Point::Mmput] {
        let (w, range) = world();
        w.invalidate_at(point, unmap_all());
        assert_eq!(w.get_pages(range), Err(Errno::EFAULT), "{point:?}");
        assert_eq!(shared(|s| s.retries.len()), 0, "{point:?}");
        assert_eq!(w.gpu.total(), 0, "{point:?}");
    }
}

#[test]
fn an_unmapped_range_is_walked_and_then_refused() {
    let (w, range) = world();
    w.mm.invalidate(&unmap_all());
    assert_eq!(w.get_pages(range), Err(Errno::EFAULT));
    assert!(w.log().contains(&"hmm Write".to_string()), "the VMA is still there, so only M2 says no");
}

#[test]
fn invalidations_without_end_give_ebusy_after_a_second() {
    // The clock stands still for ten rounds, then jumps.
    for (jump, last) in [(HMM_TIMEOUT_MS, Ok(())), (HMM_TIMEOUT_MS + 1, Err(Errno::EBUSY))] {
        let (w, range) = world();
        w.mm.fail_walks(&[Errno::EBUSY; 10]);
        w.at(Point::Walk, move || shared(|s| s.now_ms = jump));
        assert_eq!(w.get_pages(range), last, "in the walk, {jump} ms");

        let (w, range) = world();
        for _ in 0..9 {
            w.invalidate_at(Point::Walked, clear_all());
        }
        let mm = w.mm.clone();
        w.at(Point::Walked, move || {
            mm.invalidate(&clear_all());
            shared(|s| s.now_ms = jump);
        });
        assert_eq!(w.get_pages(range), last, "at the top, {jump} ms");
        assert_eq!(w.mm.users(), 1);
    }
}

#[test]
fn the_walks_errors_come_out_and_leave_nothing_mapped() {
    for error in [Errno::EFAULT, Errno::EPERM, Errno::ENOMEM] {
        let (w, range) = world();
        w.mm.fail_walks(&[error]);
        assert_eq!(w.get_pages(range), Err(error));
        assert_eq!((w.mm.users(), w.gpu.total(), w.valid(range)), (1, 0, false));
    }
    let (w, range) = world();
    w.mm.kill();
    assert_eq!(w.get_pages(range), Err(Errno::EFAULT), "the process is gone");
}

/// Spec drm-gpusvm 9 and 22.5: errors concern the whole range.
#[test]
fn one_bad_page_refuses_the_whole_range() {
    let (w, range) = world();
    w.mm.erase_vmas(RANGE.1 - K4, RANGE.1);
    assert_eq!(w.get_pages(range), Err(Errno::EFAULT));

    let (w, range) = world();
    w.mm.erase_vmas(RANGE.1 - K4, RANGE.1);
    w.mm.map(RANGE.1 - K4, RANGE.1, RO);
    assert_eq!(w.get_pages(range), Err(Errno::EPERM));
    assert_eq!(w.svm.get_pages(locked(), range, &READ_ONLY), Ok(()), "reading is fine everywhere");
}

#[test]
fn read_only_asks_for_read_and_maps_to_device() {
    for (ctx, asked, direction) in
        [(READ_ONLY, "hmm Read", DmaDirection::ToDevice), (Ctx::default(), "hmm Write", DmaDirection::Bidirectional)]
    {
        let (w, range) = world();
        w.svm.get_pages(locked(), range, &ctx).unwrap();
        assert!(w.log().contains(&asked.to_string()));
        assert_eq!(w.gpu.directions(), [direction; 16]);
    }
}

#[test]
fn mappings_follow_the_cpu_mappings_and_not_the_pages() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    w.mm.populate(0x200000, 0x400000, 0x10000, 9);
    let range = w.insert(0x200000).unwrap();
    w.get_pages(range).unwrap();
    assert_eq!(w.mappings(range), [(0, 0x10000, 9)]);

    // The same huge page seen through a range that begins in its middle, with another page at the end.
    let w = World::new();
    w.mm.map(RANGE.0, RANGE.1, RW);
    w.mm.populate(RANGE.0, RANGE.1 - K4, 0x10009, 9);
    w.mm.populate(RANGE.1 - K4, RANGE.1, 0x777, 0);
    let range = w.insert(RANGE.0).unwrap();
    w.get_pages(range).unwrap();
    assert_eq!(w.mappings(range), [(0, 0x10009, 4)], "the order is taken at face value up to the array's end");

    let w = World::new();
    w.mm.map(RANGE.0, RANGE.1, RW);
    w.mm.populate(RANGE.0, RANGE.0 + 4 * K4, 0x3000, 2);
    w.mm.populate(RANGE.0 + 4 * K4, RANGE.1, 0x4004, 4);
    let range = w.insert(RANGE.0).unwrap();
    w.get_pages(range).unwrap();
    assert_eq!(w.mappings(range), [(0, 0x3000, 2), (4, 0x4004, 3), (12, 0x400c, 2)]);
}

#[test]
fn a_mapping_that_fails_takes_the_earlier_ones_down_and_the_array_stays_usable() {
    for fail in 0..16 {
        let (w, range) = world();
        w.gpu.fail_in(fail);
        assert_eq!(w.get_pages(range), Err(Errno::EFAULT));
        assert_eq!((w.gpu.live(), w.gpu.total()), (0, fail));
        let flags = w.svm.range(range).flags();
        assert!(!flags.has_dma_mapping && !flags.unmapped, "the flag was set for the unmapping only");
        w.gpu.fail_in(usize::MAX);
        assert_eq!(w.get_pages(range), Ok(()));
        agrees_with_cpu(&w, range);
    }
}

#[test]
fn system_pages_are_refused_when_only_device_memory_will_do() {
    let (w, range) = world();
    let ctx = Ctx { devmem_only: true, ..Ctx::default() };
    assert_eq!(w.svm.get_pages(locked(), range, &ctx), Err(Errno::EFAULT));
    assert_eq!((w.gpu.total(), w.valid(range)), (0, false));
}

#[test]
fn whatever_allocation_fails_the_range_is_as_before() {
    let mut failed = 0;
    while failed < 20 {
        let (w, range) = world();
        shared(|s| s.fail_alloc_in = Some(failed));
        let result = w.get_pages(range);
        shared(|s| s.fail_alloc_in = None);
        if result.is_ok() {
            break;
        }
        assert_eq!(result, Err(Errno::ENOMEM));
        assert_eq!((w.mm.users(), w.gpu.total(), w.valid(range)), (1, 0, false));
        assert_eq!(w.get_pages(range), Ok(()), "memory is back");
        failed += 1;
    }
    assert_eq!(failed, 2, "pfns and the DMA array");
}

#[test]
fn a_walk_over_the_mappings_needs_an_array_and_stops_at_the_first_error() {
    let (w, range) = world();
    let nl = w.svm.notifier_lock();
    assert_eq!(w.svm.for_each_dma(nl.held(), range, |_, _| Ok(())), Err(Errno::EINVAL), "no array yet");
    drop(nl);
    w.get_pages(range).unwrap();
    let nl = w.svm.notifier_lock();
    assert!(!nl.held().is_write());
    let mut seen = Vec::new();
    let walked = w.svm.for_each_dma(nl.held(), range, |page, _| {
        seen.push(page);
        if page == 2 { Err(Errno::ENODEV) } else { Ok(()) }
    });
    assert_eq!((walked, seen), (Err(Errno::ENODEV), vec![0, 1, 2]));
}

#[test]
fn unmapping_is_idempotent_and_makes_the_range_invalid_but_not_unmapped() {
    let (w, range) = world();
    w.svm.unmap_pages(range);
    w.get_pages(range).unwrap();
    w.svm.unmap_pages(range);
    w.svm.unmap_pages(range);
    assert_eq!(w.gpu.live(), 0);
    let flags = w.svm.range(range).flags();
    assert!(!flags.has_dma_mapping && !flags.unmapped);
    assert!(!w.valid(range));
}

/// `pages_valid` does not look at `unmapped` (spec drm-gpusvm 9).
#[test]
fn an_unmapped_range_whose_pages_were_left_mapped_counts_as_valid() {
    let w = World::new();
    w.mm.map(RANGE.0, RANGE.1, RW);
    let range = w.insert(RANGE.0).unwrap();
    w.get_pages(range).unwrap();
    let cookie = w.svm.range(range).base().notifier().to_bits();
    // A driver that forgets its duty to unmap.
    w.svm.notifier_invalidate(cookie, &unmap_all(), 3, |nl, _| {
        assert!(nl.held().is_write());
        w.svm.set_unmapped(nl, range, unmap_all().bytes);
        assert!(w.svm.pages_valid(nl.held(), range));
    });
    assert!(w.valid(range));
}
