//! The KFD design, UNMAP: how a range splits in the callback, and what the deferred work makes of it (spec kfd-svm 5).

use crate::support::{World, pages};
use interleave::Sim;
use model::kfd::WorkOp::{self, AddRange, UnmapRange, UpdateRangeNotifier};

/// One row of the table: the munmap, what the range keeps, its children, what is queued, the ranges afterwards.
struct Row {
    unmap: (u64, u64),
    keeps: (u64, u64),
    children: &'static [(u64, u64, WorkOp)],
    queued: WorkOp,
    ranges: &'static [(u64, u64)],
}

/// The range is pages 0 to 15.
const TABLE: &[Row] = &[
    Row { unmap: (0, 15), keeps: (0, 15), children: &[], queued: UnmapRange, ranges: &[] },
    Row {
        unmap: (12, 15),
        keeps: (0, 11),
        children: &[(12, 15, UnmapRange)],
        queued: UpdateRangeNotifier,
        ranges: &[(0, 11)],
    },
    Row {
        unmap: (0, 3),
        keeps: (4, 15),
        children: &[(0, 3, UnmapRange)],
        queued: UpdateRangeNotifier,
        ranges: &[(4, 15)],
    },
    Row {
        unmap: (4, 7),
        keeps: (0, 3),
        children: &[(4, 7, UnmapRange), (8, 15, AddRange)],
        queued: UpdateRangeNotifier,
        ranges: &[(0, 3), (8, 15)],
    },
];

#[test]
fn a_range_splits_as_the_table_says_and_the_rest_stays_mapped() {
    for row in TABLE {
        for xnack in [false, true] {
            for gpus in [1, 2] {
                one_row(row, xnack, gpus);
            }
        }
    }
}

fn one_row(row: &Row, xnack: bool, gpus: usize) {
    let world = World::new(gpus, xnack, 16);
    if xnack {
        // In place: mapped by SET_ATTR with XNACK on as well.
        let attrs: Vec<_> = (1..=gpus as u32)
            .map(|id| model::attr::UapiAttr::new(model::attr::AttrType::AccessInPlace, id))
            .chain([model::attr::UapiAttr::new(model::attr::AttrType::SetFlags, 0x20)])
            .collect();
        world.set(pages(0, 15), &attrs).expect("SET_ATTR");
    } else {
        world.set_access(pages(0, 15)).expect("SET_ATTR");
    }
    assert_eq!(world.ranges(), [(0, 15)]);
    for gpu in &world.gpus {
        gpu.take();
    }

    let (first, last) = row.unmap;
    world.mm.munmap(pages(first, last).bytes()).expect("munmap");
    let view = world.svms.inspect().ranges().next().expect("the parent");
    assert_eq!((view.pages, view.queued), (pages(row.keeps.0, row.keeps.1), Some(row.queued)), "{:?}", row.unmap);
    assert_eq!(view.listens, Some(pages(0, 15)), "the notifier still has the old interval");
    assert_eq!(world.children(0), row.children, "{:?}", row.unmap);
    let left: Vec<u64> = (0..16).filter(|page| !(first..=last).contains(page)).collect();
    for (at, gpu) in world.gpus.iter().enumerate() {
        assert_eq!(world.mapped(at), left, "the rest keeps its entries");
        let costs = gpu.take();
        // One clear for each part of the intersection, one flush each, and no queue stops.
        assert_eq!((costs.clears, costs.flushes, costs.quiesces, costs.writes), (1, 1, 0, 0));
        assert!(gpu.vm.running());
    }
    world.svms.inspect().check();

    Sim::run_pending();
    assert_eq!(world.ranges(), row.ranges, "{:?}", row.unmap);
    for range in world.svms.inspect().ranges() {
        assert_eq!((range.listens, range.queued, range.children), (Some(range.pages), None, 0));
        assert!(range.mapped_to_gpu, "attributes and mapping are inherited");
    }
    for at in 0..gpus {
        assert_eq!(world.mapped(at), left, "the deferred work maps and unmaps nothing");
    }
    world.check_entries();
    world.svms.inspect().check();
    world.end();
}

#[test]
fn a_child_that_is_hit_again_before_the_deferred_work_splits_or_goes() {
    let world = World::new(1, false, 16);
    world.set_access(pages(0, 15)).expect("SET_ATTR");
    world.mm.munmap(pages(4, 7).bytes()).expect("munmap");
    // Cuts the head off the child [8, 15] that is to be added.
    world.mm.munmap(pages(8, 9).bytes()).expect("munmap");
    assert_eq!(world.children(0), [(4, 7, UnmapRange), (10, 15, AddRange), (8, 9, UnmapRange)]);
    assert_eq!(world.mapped(0), [0, 1, 2, 3, 10, 11, 12, 13, 14, 15]);
    // The rest of it.
    world.mm.munmap(pages(10, 15).bytes()).expect("munmap");
    assert_eq!(world.children(0), [(4, 7, UnmapRange), (10, 15, UnmapRange), (8, 9, UnmapRange)]);
    assert_eq!(world.mapped(0), [0, 1, 2, 3]);
    Sim::run_pending();
    assert_eq!(world.ranges(), [(0, 3)]);
    world.end();
}

#[test]
fn a_parent_that_is_unmapped_later_goes_with_its_op_replaced() {
    let world = World::new(1, false, 16);
    world.set_access(pages(0, 15)).expect("SET_ATTR");
    world.mm.munmap(pages(8, 15).bytes()).expect("munmap");
    let queued = |world: &World| world.svms.inspect().ranges().next().expect("the parent").queued;
    assert_eq!(queued(&world), Some(UpdateRangeNotifier));
    world.mm.munmap(pages(0, 7).bytes()).expect("munmap");
    assert_eq!(queued(&world), Some(UnmapRange));
    Sim::run_pending();
    assert_eq!((world.ranges(), world.mapped(0)), (vec![], vec![]));
    assert_eq!(world.mm.mm_users(), 1, "one reference for being queued, however often");
    world.end();
}

#[test]
fn events_in_the_window_before_the_deferred_work_reach_children_through_the_parent() {
    let world = World::new(1, false, 16);
    world.set_access(pages(0, 15)).expect("SET_ATTR");
    world.mm.munmap(pages(4, 7).bytes()).expect("munmap");
    world.gpus[0].take();
    world.mm.migrate_pages(pages(12, 12).bytes()).expect("migration");
    assert_eq!(world.svms.inspect().evicted_ranges(), 1);
    assert_eq!(world.gpus[0].take().quiesces, 1);
    Sim::run_pending();
    let invalid: Vec<u64> = world.svms.inspect().ranges().map(|range| range.invalid).collect();
    assert_eq!((world.ranges(), invalid), (vec![(0, 3), (8, 15)], vec![0, 0]));
    assert!(world.gpus[0].vm.running());
    world.check_entries();
    world.end();
}
