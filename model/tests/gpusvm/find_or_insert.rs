//! find_or_insert of the drm_gpusvm port, step by step (spec drm-gpusvm 5, 6, 7).

use crate::script::*;
use model::Errno;
use model::gpusvm::{Config, Ctx, TreeAccess};
use model::platform::{EventKind, VmaFlags};
use model::units::Bytes;

const WINDOW: Bytes = Bytes::new(0, u64::MAX);

#[test]
fn a_new_range_registers_its_notifier_before_mmap_lock_and_links_under_the_notifier_lock() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    let range = w.insert(0x234000).unwrap();
    assert_eq!(w.bytes(range), (0x200000, 0x400000));
    assert_eq!(
        w.log(),
        [
            "mmget",
            "alloc drm_gpusvm_notifier",
            "alloc subscription",
            "interval insert",
            "read mmap_lock",
            "alloc drm_gpusvm_range",
            "read notifier_lock",
            "unlock notifier_lock",
            "unlock mmap_lock",
            "mmput",
        ]
    );
    let range = w.svm.range(range);
    assert_eq!((range.driver, range.refcount(), range.npages()), (7, 1, 512));
    assert_eq!(range.base().notifier_seq(locked()), i64::MAX as u64);
    assert_eq!(w.svm.notifier(range.base().notifier()).bytes(), Bytes::new(0, 512 << 20));
}

#[test]
fn the_second_fault_in_a_range_finds_it_and_allocates_nothing() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    let range = w.insert(0x234000).unwrap();
    w.log();
    assert_eq!(w.insert(0x200000), Ok(range));
    assert_eq!(w.insert(0x3fffff), Ok(range));
    assert_eq!(w.log(), ["mmget", "read mmap_lock", "unlock mmap_lock", "mmput"].repeat(2));
}

/// Each line adds one more thing that is wrong to the line below it; the first in the kernel's order is reported.
#[test]
fn the_first_failing_test_decides_the_errno() {
    type Break = fn(&World);
    let outside = 1u64 << 48;
    let io = VmaFlags { write: false, io: true, ..RW };
    let steps: [(Errno, u64, VmaFlags, Break); 6] = [
        (Errno::EINVAL, outside, io, |w| w.mm.kill()),
        (Errno::EFAULT, 0x200000, io, |w| {
            w.mm.kill();
            w.mm.fail_insert(Errno::EINTR);
        }),
        (Errno::EINTR, 0x200000, io, |w| {
            w.mm.fail_insert(Errno::EINTR);
            w.mm.erase_vmas(0, u64::MAX);
        }),
        (Errno::ENOENT, 0x200000, io, |w| w.mm.erase_vmas(0, u64::MAX)),
        (Errno::EPERM, 0x200000, io, |_| ()),
        (Errno::EIO, 0x200000, VmaFlags { io: true, ..RW }, |_| ()),
    ];
    for (errno, fault, flags, wrong) in steps {
        let w = World::new();
        w.mm.map(0x200000, 0x400000, flags);
        wrong(&w);
        assert_eq!(w.insert(fault), Err(errno));
        assert_eq!(Seq::objects("drm_gpusvm_notifier"), 0, "{errno}: the new notifier goes again");
        assert_eq!(w.mm.subscriptions(), 0, "{errno}");
    }
    let w = World::new();
    w.mm.map(0x200000, 0x400000, VmaFlags { pfnmap: true, ..RW });
    assert_eq!(w.insert(0x200000), Err(Errno::EIO));
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    assert_eq!(w.insert_in(0x200000, Bytes::new(0x300000, 0x400000), &Ctx::default()), Err(Errno::EINVAL));
    w.assert_nothing_left();
}

#[test]
fn a_read_only_vma_is_good_for_a_read_only_mapping() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RO);
    assert_eq!(w.insert(0x200000), Err(Errno::EPERM));
    assert!(w.insert_in(0x200000, WINDOW, &READ_ONLY).is_ok());
}

#[test]
fn the_address_just_past_the_window_passes_and_the_next_does_not() {
    let w = World::with(Config { mm_start: 0x100000, mm_range: 0x100000, ..CONFIG });
    w.mm.map(0, 0x400000, RW);
    assert_eq!(w.insert(0xfffff), Err(Errno::EINVAL));
    assert!(w.insert(0x100000).is_ok());
    assert!(w.insert(0x200000).is_ok());
    assert_eq!(w.insert(0x200001), Err(Errno::EINVAL));
}

#[test]
fn a_vma_above_the_fault_address_does_not_count() {
    let w = World::new();
    w.mm.map(0x201000, 0x400000, RW);
    assert_eq!(w.insert(0x200fff), Err(Errno::ENOENT));
    assert!(w.insert(0x201000).is_ok());
}

#[test]
fn on_an_error_mmap_lock_goes_before_the_notifier_and_the_mm_last() {
    let w = World::new();
    assert_eq!(w.insert(0x200000), Err(Errno::ENOENT));
    assert_eq!(
        w.log()[3..],
        [
            "interval insert",
            "read mmap_lock",
            "unlock mmap_lock",
            "interval remove",
            "free drm_gpusvm_notifier",
            "mmput"
        ]
    );
    w.assert_nothing_left();
}

#[test]
fn an_error_leaves_a_notifier_that_has_ranges_alone() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    let range = w.insert(0x200000).unwrap();
    assert_eq!(w.insert(0x800000), Err(Errno::ENOENT));
    assert_eq!(w.mm.subscriptions(), 1);
    assert_eq!(w.ranges(), [range]);
}

#[test]
fn a_range_is_returned_as_it_is_even_when_unmapped_or_outside_the_window() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    let range = w.insert(0x200000).unwrap();
    w.mm.unmap(0x300000, 0x301000);
    assert!(w.svm.range(range).flags().unmapped);
    assert_eq!(w.insert(0x200000), Ok(range), "unmapped");
    assert_eq!(w.insert_in(0x200000, Bytes::new(0x200000, 0x201000), &Ctx::default()), Ok(range), "outside the window");
}

/// Spec drm-gpusvm 22, hazard 2.
#[test]
fn a_range_whose_vma_is_gone_but_not_yet_invalidated_gives_enoent() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    let range = w.insert(0x200000).unwrap();
    w.mm.erase_vmas(0x200000, 0x400000);
    assert_eq!(w.insert(0x200000), Err(Errno::ENOENT));
    assert_eq!(w.ranges(), [range]);
    assert!(!w.svm.range(range).flags().unmapped);
}

/// Spec amdgpu-svm, worked example D6.
#[test]
fn without_a_left_bound_the_range_grows_below_the_fault_address() {
    let w = World::new();
    w.mm.map(0x200000, 0x600000, RW);
    let range = w.insert_in(0x300000, Bytes::new(0x200000, 0x400000), &Ctx::default()).unwrap();
    assert_eq!(w.bytes(range), (0x200000, 0x400000));

    let w = World::new();
    w.mm.map(0x200000, 0x600000, RW);
    let window = Bytes::new(0x200000, 0x3ff000);
    let range = w.insert_in(0x300000, window, &Ctx::default()).unwrap();
    assert_eq!(w.bytes(range), (0x300000, 0x310000));
    let range = w.insert_in(0x3f0000, window, &Ctx::default()).unwrap();
    assert_eq!(w.bytes(range), (0x3f0000, 0x3f1000));
}

#[test]
fn a_new_range_stays_inside_its_notifier() {
    let w = World::with(Config { notifier_size: K64, ..CONFIG });
    w.mm.map(0x200000, 0x400000, RW);
    let range = w.insert(0x234000).unwrap();
    assert_eq!(w.bytes(range), (0x230000, 0x240000));
}

#[test]
fn a_new_range_avoids_the_ranges_that_are_there() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    let page = w.insert_in(0x208000, Bytes::new(0x208000, 0x209000), &Ctx::default()).unwrap();
    assert_eq!(w.bytes(page), (0x208000, 0x209000));
    let beside = w.insert(0x207000).unwrap();
    assert_eq!(w.bytes(beside), (0x207000, 0x208000), "64 KiB and 2 MiB would overlap");
    let away = w.insert(0x210000).unwrap();
    assert_eq!(w.bytes(away), (0x210000, 0x220000));
    assert_eq!(w.ranges(), [beside, page, away]);
    w.svm.check(locked());
    assert_eq!(w.warns(), [""; 0]);
}

#[test]
fn below_the_threshold_a_chunk_is_chosen_only_where_the_cpu_has_all_pages() {
    let ctx = Ctx { check_pages_threshold: K64, ..Ctx::default() };
    let window = Bytes::new(0x200000, 0x210000);
    let choose = |populated: u64| {
        let w = World::new();
        w.mm.map(0x200000, 0x400000, RW);
        w.mm.populate(0x200000, 0x200000 + populated, 0x5000, 0);
        let range = w.insert_in(0x200000, window, &ctx).unwrap();
        let (start, end) = w.bytes(range);
        let log = w.log();
        assert!(log.iter().all(|step| step != "hmm Read" && step != "hmm Write"), "nothing may be faulted in");
        end - start
    };
    assert_eq!(choose(K64), K64);
    assert_eq!(choose(K64 - K4), K4);
    assert_eq!(choose(0), K4);
}

#[test]
fn check_pages_retries_a_collision_and_gives_up_on_time_errors_and_memory() {
    let ctx = Ctx { check_pages_threshold: K64, ..Ctx::default() };
    let setup = || {
        let w = World::new();
        w.mm.map(0x200000, 0x210000, RW);
        w.mm.populate(0x200000, 0x210000, 0x5000, 4);
        w
    };
    let size = |w: &World| {
        let range = w.insert_in(0x200000, WINDOW, &ctx).unwrap();
        w.bytes(range).1 - w.bytes(range).0
    };

    let w = setup();
    w.mm.fail_walks(&[Errno::EBUSY; 5]);
    assert_eq!(size(&w), K64, "five collisions, and then it works");
    assert_eq!(w.log().iter().filter(|step| *step == "read_begin").count(), 6);

    let w = setup();
    w.mm.fail_walks(&[Errno::EBUSY; 5]);
    w.at(Point::Walk, || shared(|s| s.now_ms = 1001));
    assert_eq!(size(&w), K4, "a second is over");

    let w = setup();
    w.mm.fail_walks(&[Errno::EBUSY; 5]);
    w.at(Point::Walk, || shared(|s| s.now_ms = 1000));
    assert_eq!(size(&w), K64, "a second is not over yet");

    let w = setup();
    w.mm.fail_walks(&[Errno::ENOMEM]);
    assert_eq!(size(&w), K4, "an error");

    let w = setup();
    shared(|s| s.fail_alloc_in = Some(2));
    assert_eq!(w.insert_in(0x200000, WINDOW, &ctx), Err(Errno::ENOMEM), "the array, and then the range as well");
}

#[test]
fn only_anonymous_memory_without_hugetlb_may_migrate() {
    let ctx = Ctx { devmem_possible: true, ..Ctx::default() };
    for (flags, ctx, migrate) in [
        (RW, ctx, true),
        (RW, Ctx::default(), false),
        (VmaFlags { anon: false, ..RW }, ctx, false),
        (VmaFlags { hugetlb: true, ..RW }, ctx, false),
    ] {
        let w = World::new();
        w.mm.map(0x200000, 0x400000, flags);
        let range = w.insert_in(0x200000, WINDOW, &ctx).unwrap();
        assert_eq!(w.svm.range(range).flags().migrate_devmem, migrate, "{flags:?} {ctx:?}");
    }
}

/// Spec drm-gpusvm 5: a callback can come before the registration has returned.
#[test]
fn a_callback_during_the_registration_finds_no_range_but_moves_the_sequence() {
    let w = World::new();
    w.mm.map(0x200000, 0x400000, RW);
    w.invalidate_at(Point::Inserted, event(EventKind::Clear, 0x200000, 0x201000));
    let range = w.insert(0x200000).unwrap();
    assert_eq!(w.mm.sub_seq(0), 3, "the epoch's odd number");
    assert_eq!(w.get_pages(range), Ok(()));
}

#[test]
fn a_window_at_the_top_of_the_address_space_is_refused_by_the_registration() {
    let w = World::with(Config { mm_range: u64::MAX, notifier_size: 1 << 63, ..CONFIG });
    assert_eq!(w.insert(u64::MAX - 5), Err(Errno::EOVERFLOW));
    w.assert_nothing_left();
}

#[test]
fn neighbouring_windows_get_notifiers_of_their_own() {
    let w = World::with(Config { notifier_size: M2, ..CONFIG });
    w.mm.map(0x1f0000, 0x610000, RW);
    for fault in [0x1f0000, 0x200000, 0x5ff000, 0x600000] {
        w.insert(fault).unwrap();
    }
    assert_eq!(w.mm.subscriptions(), 4);
    let two = Bytes::new(0x200000, 0x600000);
    let first = w.svm.first_notifier(locked(), two).unwrap();
    let second = w.svm.next_notifier(locked(), first, two.end).unwrap();
    assert_eq!(w.svm.notifier(first).bytes(), Bytes::new(0x200000, 0x400000));
    assert_eq!(w.svm.notifier(second).bytes(), Bytes::new(0x400000, 0x600000));
    assert_eq!(w.svm.next_notifier(locked(), second, two.end), None, "the next begins at the end");
    let range = w.svm.first_range(first, WINDOW, TreeAccess::Driver(locked())).unwrap();
    assert_eq!(w.svm.next_range(range, u64::MAX, TreeAccess::Driver(locked())), None, "one notifier only");
}

#[test]
fn whatever_allocation_fails_nothing_is_left_behind() {
    let ctx = Ctx { check_pages_threshold: M2, ..Ctx::default() };
    let mut outcomes = Vec::new();
    for fail in 0..20 {
        let w = World::new();
        w.mm.map(0x200000, 0x400000, RW);
        shared(|s| s.fail_alloc_in = Some(fail));
        match w.insert_in(0x200000, WINDOW, &ctx) {
            Ok(_) => break,
            Err(error) => {
                outcomes.push(error);
                w.assert_nothing_left();
            }
        }
    }
    // Notifier, subscription; the arrays of check_pages for 2 MiB and 64 KiB, whose failure means a page, but then the
    // range cannot be had either; the range.
    assert_eq!(outcomes, [Errno::ENOMEM; 5]);
}
