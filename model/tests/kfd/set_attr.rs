//! The KFD design, SET_ATTR and GET_ATTR: the transaction, who is mapped, what is answered (spec kfd-svm 3, peer-tests
//! 0.4).

use crate::support::{BASE, Costs, RW, World, pages};
use interleave::lab::Invariant;
use interleave::{Config, End, Execution, Launch, Program, explore};
use model::Errno;
use model::attr::{AttrType::*, Flags, UapiAttr};
use model::kfd::{LOCATION_SYSMEM, LOCATION_UNDEFINED};
use model::platform::VmaFlags;
use model::units::{Bytes, Pages};
use std::rc::Rc;

const GPU_RO: UapiAttr = UapiAttr::new(SetFlags, Flags::GPU_RO.0);

#[test]
fn a_range_whose_middle_changes_is_cloned_and_cut_and_the_ends_are_not_touched() {
    let world = World::new(2, false, 16);
    world.set_access(pages(0, 15)).expect("SET_ATTR");
    for gpu in &world.gpus {
        assert_eq!((gpu.take().dma_maps, gpu.vm.mapped().len()), (16, 16));
    }
    world.set(pages(4, 7), &[GPU_RO]).expect("SET_ATTR");
    assert_eq!(world.ranges(), [(0, 3), (4, 7), (8, 15)]);
    let flags: Vec<bool> = world.svms.inspect().ranges().map(|range| range.attrs.flags.has(Flags::GPU_RO)).collect();
    assert_eq!(flags, [false, true, false]);
    for (at, gpu) in world.gpus.iter().enumerate() {
        let Costs { dma_maps, dma_unmaps, clears, quiesces, .. } = gpu.take();
        assert_eq!(
            (dma_maps, dma_unmaps, clears, quiesces),
            (4, 4, 0, 0),
            "the middle only, and it is not unmapped first"
        );
        assert_eq!(world.mapped(at), (0..16).collect::<Vec<_>>());
        for (page, pte) in gpu.vm.mapped() {
            let want = world.svms.inspect().pte_flags(at, page, false);
            assert_eq!(Some(pte.flags), want, "page {page:#x}");
        }
    }
    world.check_entries();
    world.svms.inspect().check();
    world.end();
}

#[test]
fn asking_for_what_is_there_costs_nothing() {
    let world = World::new(1, false, 16);
    world.set_access(pages(0, 15)).expect("SET_ATTR");
    world.gpus[0].take();
    world.set_access(pages(2, 9)).expect("SET_ATTR");
    assert_eq!((world.ranges(), world.gpus[0].take()), (vec![(0, 15)], Costs::default()));
    // What does not change the mapping is stored; whether it is mapped is asked for no range in particular.
    world.set(pages(2, 9), &[UapiAttr::new(Granularity, 3)]).expect("SET_ATTR");
    assert_eq!((world.ranges(), world.gpus[0].take()), (vec![(0, 1), (2, 9), (10, 15)], Costs::default()));
    world.end();
}

#[test]
fn gaps_get_new_ranges_and_old_ones_inside_are_changed_in_place() {
    let world = World::new(1, false, 16);
    world.set_access(pages(4, 7)).expect("SET_ATTR");
    world.set(pages(2, 11), &[UapiAttr::new(Access, 1), GPU_RO]).expect("SET_ATTR");
    assert_eq!(world.ranges(), [(2, 3), (4, 7), (8, 11)]);
    assert_eq!(world.mapped(0), (2..12).collect::<Vec<_>>());
    world.end();
}

#[test]
fn new_ranges_are_cut_at_multiples_of_the_largest_size() {
    let world = World::new(1, false, 0);
    let all = Pages::new(0x3f0, 0x80f);
    world.mm.mmap(all.bytes(), RW).expect("mmap");
    world.set(all, &[UapiAttr::new(Granularity, 9)]).expect("SET_ATTR");
    let made: Vec<Pages> = world.svms.inspect().ranges().map(|range| range.pages).collect();
    let want = [(0x3f0, 0x3ff), (0x400, 0x5ff), (0x600, 0x7ff), (0x800, 0x80f)].map(|(a, b)| Pages::new(a, b));
    assert_eq!(made, want);
    world.end();
}

#[test]
fn a_cut_through_a_huge_mapping_maps_the_rest_again() {
    let world = World::new(1, false, 0);
    let all = Pages::new(0x400, 0x7ff);
    world.mm.mmap(all.bytes(), RW).expect("mmap");
    world.set(all, &[UapiAttr::new(Access, 1)]).expect("SET_ATTR");
    world.gpus[0].take();
    world.set(Pages::new(0x400, 0x40f), &[GPU_RO]).expect("SET_ATTR");
    assert_eq!(world.gpus[0].take().dma_maps, 16 + 496, "the part that changes, and the rest of its block");
    // No whole block is left in it, so nothing huge can be cut any more.
    world.set(Pages::new(0x500, 0x50f), &[GPU_RO]).expect("SET_ATTR");
    assert_eq!(world.gpus[0].take().dma_maps, 16);
    world.end();
}

#[test]
fn errors_of_the_ioctl() {
    let world = World::new(2, false, 4);
    world.mm.mmap(pages(8, 9).bytes(), VmaFlags { io: true, ..RW }).expect("mmap");
    let set = |pages: Pages, attr: UapiAttr| world.set(pages, &[attr]);
    let access = UapiAttr::new(Access, 1);
    assert_eq!(set(pages(0, 3), UapiAttr { ty: 8, value: 0 }), Err(Errno::EINVAL), "unknown attribute");
    assert_eq!(set(pages(0, 3), UapiAttr::new(Access, 3)), Err(Errno::EINVAL), "unknown GPU");
    assert_eq!(set(pages(0, 3), UapiAttr::new(PreferredLoc, 3)), Err(Errno::EINVAL));
    assert_eq!(set(pages(0, 3), UapiAttr::new(PreferredLoc, LOCATION_UNDEFINED)), Ok(()));
    assert_eq!(set(pages(0, 3), UapiAttr::new(PrefetchLoc, LOCATION_UNDEFINED)), Err(Errno::EINVAL), "to nowhere");
    assert_eq!(set(pages(0, 3), UapiAttr::new(PrefetchLoc, LOCATION_SYSMEM)), Ok(()));
    assert_eq!(set(pages(0, 4), access), Err(Errno::EFAULT), "a hole");
    assert_eq!(set(pages(8, 9), access), Err(Errno::EFAULT), "IO");
    world.gpus[1].bo.set(Some(pages(2, 2)));
    assert_eq!(set(pages(0, 3), access), Err(Errno::EADDRINUSE), "a buffer object of either GPU");
    world.gpus[1].bo.set(None);
    let raw = |start, size, op| world.ioctl(op, Bytes::new(start, start + size), &[access]).map(|_| ());
    let start = BASE << 12;
    assert_eq!(raw(start + 1, 0x1000, 0), Err(Errno::EINVAL));
    assert_eq!(raw(start, 0x1001, 0), Err(Errno::EINVAL));
    assert_eq!(raw(start, 0, 0), Err(Errno::EINVAL));
    assert_eq!(raw(0, 0x1000, 0), Err(Errno::EINVAL));
    assert_eq!(raw(start, 0x1000, 2), Err(Errno::EINVAL));
    assert_eq!(world.ranges(), [(0, 3)], "nothing of what was refused is stored");
    world.end();
}

#[test]
fn get_merges_ranges_and_ignores_holes_beside_them() {
    let world = World::new(2, false, 16);
    let get = |pages: Pages, attrs: &[UapiAttr]| {
        world.get(pages, attrs).map(|all| all.into_iter().map(|attr| (attr.ty, attr.value)).collect::<Vec<_>>())
    };
    let all = [
        UapiAttr::new(Access, 1),
        UapiAttr::new(Access, 2),
        UapiAttr::new(PreferredLoc, 0),
        UapiAttr::new(SetFlags, 0),
        UapiAttr::new(ClrFlags, 0),
        UapiAttr::new(Granularity, 0),
    ];
    let undefined = LOCATION_UNDEFINED;
    let nothing = vec![(4, 1), (4, 2), (0, undefined), (5, 3), (6, !3), (7, 9)];
    assert_eq!(get(pages(0, 15), &all), Ok(nothing), "defaults where nothing is registered");

    world
        .set(pages(0, 3), &[UapiAttr::new(Access, 1), UapiAttr::new(PreferredLoc, 1), UapiAttr::new(Granularity, 0xff)])
        .expect("SET_ATTR");
    let one = vec![(2, 1), (4, 2), (0, 1), (5, 3), (6, !3), (7, 0x3f)];
    assert_eq!(get(pages(0, 15), &all), Ok(one), "the hole does not count; granularity was cut");

    world
        .set(
            pages(8, 9),
            &[UapiAttr::new(Access, 1), UapiAttr::new(PreferredLoc, 2), GPU_RO, UapiAttr::new(Granularity, 4)],
        )
        .expect("SET_ATTR");
    let two = vec![(2, 1), (4, 2), (0, undefined), (5, 3), (6, !0xb), (7, 4)];
    assert_eq!(get(pages(0, 15), &all), Ok(two));

    world.set(pages(8, 9), &[UapiAttr::new(AccessInPlace, 1)]).expect("SET_ATTR");
    assert_eq!(get(pages(8, 9), &all[..1]), Ok(vec![(3, 1)]));
    assert_eq!(get(pages(0, 15), &all[..1]), Ok(vec![(4, 1)]), "access here, in place there: neither everywhere");
    assert_eq!(get(pages(0, 3), &[UapiAttr::new(AccessInPlace, 1)]), Err(Errno::EINVAL));
    assert_eq!(get(pages(0, 3), &[UapiAttr::new(Access, 7)]), Err(Errno::EINVAL));
    assert_eq!(get(pages(0, 16), &all), Err(Errno::EFAULT), "a hole in the address space");
    world.end();
}

#[test]
fn with_xnack_on_access_alone_maps_nothing() {
    let world = World::new(2, true, 4);
    world.set_access(pages(0, 3)).expect("SET_ATTR");
    assert_eq!(world.mapped(0), Vec::<u64>::new());
    world.set(pages(0, 3), &[UapiAttr::new(AccessInPlace, 2), GPU_RO]).expect("SET_ATTR");
    assert_eq!((world.mapped(0), world.mapped(1)), (vec![], vec![0, 1, 2, 3]));
    world
        .set(pages(0, 3), &[UapiAttr::new(Access, 2), UapiAttr::new(SetFlags, Flags::GPU_ALWAYS_MAPPED.0)])
        .expect("SET_ATTR");
    assert_eq!((world.mapped(0), world.mapped(1)), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    world.end();
}

#[test]
fn losing_access_does_not_unmap() {
    let world = World::new(1, false, 4);
    world.set_access(pages(0, 3)).expect("SET_ATTR");
    world.set(pages(0, 3), &[UapiAttr::new(NoAccess, 1)]).expect("SET_ATTR");
    assert_eq!(world.mapped(0), [0, 1, 2, 3]);
    world.end();
}

/// One actor, and each allocation in turn fails.
struct Failing(fn(&World));
impl Program for Failing {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = World::new(1, false, 16);
        world.set_access(pages(0, 15)).expect("SET_ATTR");
        let (runs, of, act) = (Rc::downgrade(&world), world.clone(), self.0);
        launch.on_work(move |client, func| runs.upgrade().expect("the world outlives its work").work(client, func));
        launch.actor("alone", move || act(&of));
        Box::new(AtRest(world))
    }
}
struct AtRest(Rc<World>);
impl Execution for AtRest {
    fn at_rest(&self) {
        self.0.svms.inspect().check();
        self.0.check_entries();
        self.0.end();
    }
}

#[test]
fn a_set_attr_whose_allocation_fails_changes_nothing() {
    let act = |world: &World| match world.set(pages(4, 7), &[GPU_RO]) {
        Ok(()) => assert_eq!(world.ranges(), [(0, 3), (4, 7), (8, 15)]),
        // Also in the middle of mapping: then the cut is made.
        Err(error) => {
            assert_eq!(error, Errno::ENOMEM);
            assert!([vec![(0, 15)], vec![(0, 3), (4, 7), (8, 15)]].contains(&world.ranges()), "{:?}", world.ranges());
        }
    };
    let outcome = explore(&Failing(act), &Config { failures: 1, ..Config::default() }, None, None);
    assert_eq!((outcome.failure.map(|failure| failure.violation), outcome.end), (None, End::Exhausted));
    assert!(outcome.stats.executions > 8, "{} executions", outcome.stats.executions);
}

#[test]
fn a_split_that_fails_in_the_callback_is_followed_as_if_it_had_not() {
    let act = |world: &World| world.mm.munmap(pages(4, 7).bytes()).expect("munmap");
    let outcome = explore(&Failing(act), &Config { failures: 1, ..Config::default() }, None, None);
    let violation = outcome.failure.expect("a violation").violation;
    assert_eq!(violation.invariant, Invariant::I9);
    assert!(violation.what.contains("unmap_split"), "{}", violation.what);
    let outcome = explore(&Failing(act), &Config::default(), None, None);
    assert_eq!((outcome.failure.map(|failure| failure.violation), outcome.end), (None, End::Exhausted));
}
