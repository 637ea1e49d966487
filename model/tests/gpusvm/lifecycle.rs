//! Removal, references, teardown and the invalidate wrapper of the drm_gpusvm port (spec drm-gpusvm 4, 11, 12, 15).

use crate::script::*;
use model::Errno;
use model::gpusvm::{ChunkSizes, Config, TreeAccess};
use model::platform::{Atomic, EventKind, Handle, MmuEvent};
use model::units::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn world() -> World {
    let w = World::with(Config { notifier_size: M2, ..CONFIG });
    w.mm.map(0x200000, 0x800000, RW);
    w
}

#[test]
fn an_instance_needs_a_chunk_size_and_pins_the_mm_struct() {
    let w = World::new();
    assert_eq!(w.mm.grabs(), 1);
    let none = Config { chunk_sizes: ChunkSizes::EMPTY, ..CONFIG };
    assert_eq!(Svm::new(none, w.mm.clone(), w.gpu.clone()).err(), Some(Errno::EINVAL));
    assert_eq!(w.mm.grabs(), 1, "refused without a reference");
    w.svm.fini(locked());
    assert_eq!(w.mm.grabs(), 0);
}

#[test]
fn the_last_range_takes_its_notifier_with_it_and_the_first_does_not() {
    let w = World::new();
    w.mm.map(0x200000, 0x600000, RW);
    let (a, b) = (w.insert(0x200000).unwrap(), w.insert(0x400000).unwrap());
    w.get_pages(a).unwrap();
    w.log();
    w.svm.range_remove(locked(), a);
    assert_eq!(w.gpu.live(), 0);
    assert_eq!(w.ranges(), [b]);
    assert_eq!(w.mm.subscriptions(), 1);
    w.log();
    w.svm.range_remove(locked(), b);
    assert_eq!(
        w.log(),
        [
            "read notifier_lock",
            "unlock notifier_lock",
            "free drm_gpusvm_range",
            "interval remove", // waits: without the notifier lock
            "free drm_gpusvm_notifier",
        ]
    );
    w.assert_nothing_left();
    assert_eq!(w.warns(), [""; 0]);
}

#[test]
fn an_extra_reference_keeps_the_removed_range_but_not_its_notifier() {
    let w = world();
    let range = w.insert(0x200000).unwrap();
    let notifier = w.svm.range(range).base().notifier();
    w.svm.range_get(range);
    w.svm.range_remove(locked(), range);
    assert_eq!(w.bytes(range), (0x200000, 0x400000));
    assert_eq!(w.svm.range(range).refcount(), 1);
    let dangling = catch_unwind(AssertUnwindSafe(|| w.svm.notifier(notifier).bytes()));
    assert!(dangling.is_err(), "I4 through the range's notifier handle");
    w.svm.range_put(range);
    w.assert_nothing_left();
    let freed = catch_unwind(AssertUnwindSafe(|| w.svm.range_put(range)));
    assert!(freed.is_err(), "I4: one put too many");
}

#[test]
fn removing_a_range_twice_is_warned_about() {
    let w = world();
    let range = w.insert(0x200000).unwrap();
    w.svm.range_get(range);
    w.svm.range_get(range);
    w.svm.range_remove(locked(), range);
    assert_eq!(w.warns(), [""; 0]);
    w.svm.range_remove(locked(), range);
    let warns = w.warns();
    assert!(warns.len() == 1 && warns[0].contains("no notifier"), "{warns:?}");

    let w = World::new();
    w.mm.map(0x200000, 0x800000, RW);
    let (range, _other) = (w.insert(0x200000).unwrap(), w.insert(0x400000).unwrap());
    w.svm.range_get(range);
    w.svm.range_remove(locked(), range);
    w.svm.range_remove(locked(), range);
    let warns = w.warns();
    assert!(warns.len() == 1 && warns[0].contains("not linked"), "the tree is what warns here: {warns:?}");
}

#[test]
fn fini_unregisters_each_notifier_before_it_touches_its_ranges() {
    let w = world();
    for fault in [0x200000, 0x400000, 0x600000] {
        let range = w.insert(fault).unwrap();
        w.get_pages(range).unwrap();
    }
    // A page of its own beside the others, so that one notifier has two ranges.
    w.mm.map(0x800000, 0x801000, RW);
    w.mm.map(0x900000, 0x901000, RW);
    w.insert(0x800000).unwrap();
    w.insert(0x900000).unwrap();
    w.log();
    w.svm.fini(locked());
    let log: Vec<_> = w.log().into_iter().filter(|step| !step.contains("notifier_lock")).collect();
    let mut unregistered = false;
    for step in &log {
        match step.as_str() {
            "interval remove" => unregistered = true,
            "free drm_gpusvm_notifier" => unregistered = false,
            _ => assert!(unregistered, "{step} before the notifier was unregistered: {log:?}"),
        }
    }
    assert_eq!(log.iter().filter(|step| *step == "interval remove").count(), 4);
    w.assert_nothing_left();
    assert_eq!(w.mm.grabs(), 0);
    assert_eq!(w.warns(), [""; 0]);
}

#[test]
fn fini_of_an_empty_instance_only_drops_the_mm() {
    let w = World::new();
    w.svm.fini(locked());
    assert_eq!((w.mm.grabs(), w.log()), (0, vec![]));
}

/// Spec drm-gpusvm 4: the walk ends at LONG_MAX.
#[test]
fn fini_leaves_notifiers_above_long_max_and_warns() {
    let w = World::with(Config { mm_range: u64::MAX, ..CONFIG });
    let high = 1 << 63;
    w.mm.map(high, high + M2, RW);
    w.insert(high).unwrap();
    w.svm.fini(locked());
    assert_eq!(w.warns().len(), 1);
    assert_eq!(w.mm.subscriptions(), 1);
}

#[test]
fn a_non_blockable_event_is_refused_without_touching_anything() {
    let w = world();
    let range = w.insert(0x200000).unwrap();
    w.get_pages(range).unwrap();
    let seq = w.mm.sub_seq(0);
    w.log();
    let event = MmuEvent { blockable: false, ..event(EventKind::Clear, 0x200000, 0x400000) };
    assert!(!w.mm.invalidate(&event));
    assert_eq!(w.log(), [""; 0], "not even the lock");
    assert_eq!(w.mm.sub_seq(0), seq);
    assert!(w.valid(range));
}

#[test]
fn one_event_calls_each_notifier_with_the_lock_free_in_between() {
    let w = world();
    for fault in [0x600000, 0x200000, 0x400000] {
        let range = w.insert(fault).unwrap();
        w.svm.get_pages(locked(), range, &Default::default()).unwrap();
    }
    w.log();
    w.mm.invalidate(&event(EventKind::Clear, 0x3ff000, 0x401000));
    let log: Vec<_> = w.log().into_iter().filter(|step| step.contains("notifier_lock")).collect();
    assert_eq!(log, ["write notifier_lock", "unlock notifier_lock", "write notifier_lock", "unlock notifier_lock"]);
    let valid: Vec<_> = w.ranges().into_iter().map(|range| w.valid(range)).collect();
    assert_eq!(valid, [false, false, true], "the third window is not hit");
}

#[test]
fn unmapped_is_partial_when_the_range_sticks_out_and_stays_so() {
    let unmapped = |events: &[(u64, u64)]| {
        let w = world();
        let range = w.insert(0x200000).unwrap();
        for &(start, end) in events {
            w.mm.invalidate(&event(EventKind::Unmap, start, end));
        }
        let flags = w.svm.range(range).flags();
        (flags.unmapped, flags.partial_unmap)
    };
    assert_eq!(unmapped(&[]), (false, false));
    assert_eq!(unmapped(&[(0x200000, 0x400000)]), (true, false));
    assert_eq!(unmapped(&[(0x1ff000, 0x401000)]), (true, false));
    assert_eq!(unmapped(&[(0x201000, 0x400000)]), (true, true));
    assert_eq!(unmapped(&[(0x200000, 0x3ff000)]), (true, true));
    assert_eq!(unmapped(&[(0x200000, 0x300000), (0x300000, 0x400000)]), (true, true), "although all of it is gone");
    assert_eq!(unmapped(&[(0x201000, 0x202000), (0x200000, 0x400000)]), (true, true), "sticky");
    assert_eq!(unmapped(&[(0x400000, 0x800000)]), (false, false), "next door");
}

#[test]
fn only_unmap_marks_a_range_and_every_event_unmaps_its_pages() {
    for kind in [EventKind::Clear, EventKind::ProtectionVma, EventKind::Migrate, EventKind::Release] {
        let w = world();
        let range = w.insert(0x200000).unwrap();
        w.get_pages(range).unwrap();
        w.mm.invalidate(&event(kind, 0x200000, 0x201000));
        assert!(!w.svm.range(range).flags().unmapped, "{kind:?}");
        assert_eq!(w.gpu.live(), 0, "{kind:?}");
    }
}

#[test]
fn has_mapping_is_about_ranges_and_not_about_pages() {
    let w = world();
    w.insert(0x400000).unwrap();
    let has = |start, end| w.svm.has_mapping(locked(), Bytes::new(start, end));
    assert!(has(0x400000, 0x400001) && has(0x5fffff, 0x600000) && has(0, u64::MAX));
    assert!(!has(0x200000, 0x400000) && !has(0x600000, 0x800000));
}

#[test]
fn has_mapping_looks_into_every_notifier_of_the_interval() {
    let w = World::with(Config { notifier_size: M2, ..CONFIG });
    w.mm.map(0x200000, 0x201000, RW);
    w.mm.map(0x400000, 0x401000, RW);
    w.insert(0x200000).unwrap();
    w.insert(0x400000).unwrap();
    // The first notifier overlaps, its only range does not.
    assert!(w.svm.has_mapping(locked(), Bytes::new(0x300000, 0x401000)));
    assert!(!w.svm.has_mapping(locked(), Bytes::new(0x300000, 0x400000)));
}

#[test]
fn find_vma_start_may_lie_below_the_interval_and_needs_a_living_process() {
    let w = world();
    let find = |start, end| w.svm.find_vma_start(Bytes::new(start, end));
    assert_eq!(find(0x300000, 0x301000), Some(0x200000));
    assert_eq!(find(0x100000, 0x200001), Some(0x200000));
    assert_eq!(find(0x100000, 0x200000), None);
    assert_eq!(find(0x800000, u64::MAX), None);
    assert_eq!(w.mm.users(), 1);
    w.log();
    w.mm.kill();
    assert_eq!(find(0x300000, 0x301000), None);
    assert_eq!(w.log(), ["mmget: gone"], "mmap_lock is not taken for a dead process");
}

#[test]
fn ranges_can_be_removed_while_walking_when_the_next_is_asked_for_first() {
    let w = World::new();
    w.mm.map(0x200000, 0x208000, RW);
    for page in 0..8 {
        w.insert(0x200000 + page * K4).unwrap();
    }
    let bytes = Bytes::new(0x202000, 0x206000);
    let notifier = w.svm.first_notifier(locked(), bytes).unwrap();
    let mut next = w.svm.first_range(notifier, bytes, TreeAccess::Driver(locked()));
    let mut removed = Vec::new();
    while let Some(range) = next {
        next = w.svm.next_range(range, bytes.end, TreeAccess::Driver(locked()));
        removed.push(w.bytes(range).0);
        w.svm.range_remove(locked(), range);
    }
    assert_eq!(removed, [0x202000, 0x203000, 0x204000, 0x205000]);
    assert_eq!(w.ranges().len(), 4);
    w.svm.check(locked());
    assert_eq!(w.warns(), [""; 0]);
}

#[test]
fn a_handle_survives_the_trip_through_a_cookie() {
    let w = world();
    let range = w.insert(0x200000).unwrap();
    let notifier = w.svm.range(range).base().notifier();
    assert_eq!(Handle::from_bits(notifier.to_bits()), notifier);
    let count = <Seq as model::platform::Kernel>::Atomic::new("count", 0);
    let done =
        w.svm.notifier_invalidate(notifier.to_bits(), &event(EventKind::Clear, 0x200000, 0x201000), 9, |_, reached| {
            assert_eq!(reached, notifier);
            count.inc_return();
        });
    assert!(done && count.load() == 1 && w.mm.sub_seq(0) == 9);
}
