//! The attribute tree: worked examples D1 to D4 of the specification, what looks odd and is meant, and what running out
//! of memory does.

use crate::probe::Probe;
use model::Errno;
use model::attr::{
    Access, AttrChange, AttrTree, AttrType, Attrs, Flags, Location, Trigger, UapiAttr, applied, check_get_type,
    check_pages, check_set, request_pages, trigger,
};
use model::units::Pages;

const GRANULARITY: u8 = 9;

fn tree(xnack: bool) -> AttrTree<Probe> {
    Probe::reset();
    AttrTree::new(xnack, GRANULARITY).unwrap()
}

fn ask(ty: AttrType, value: u32) -> UapiAttr {
    UapiAttr::new(ty, value)
}

/// `set_range` without the GPU: the changes that the driver would have applied.
fn set(tree: &mut AttrTree<Probe>, first: u64, last: u64, request: &[UapiAttr]) -> Vec<AttrChange> {
    let mut changes = Vec::new();
    let mut cursor = first;
    loop {
        let step = tree.set_segment(cursor, last, request).unwrap();
        changes.extend(step.change);
        tree.check().unwrap();
        if step.last == last {
            return changes;
        }
        cursor = step.last + 1;
    }
}

fn get(tree: &AttrTree<Probe>, first: u64, last: u64, ty: AttrType) -> (u32, u32) {
    let mut request = [ask(ty, 0x1234)];
    tree.get(Pages::new(first, last), &mut request).unwrap();
    (request[0].ty, request[0].value)
}

fn spans(tree: &AttrTree<Probe>) -> Vec<(u64, u64)> {
    tree.nodes().map(|n| (n.pages.first, n.pages.last)).collect()
}

fn flags(tree: &AttrTree<Probe>) -> Vec<u32> {
    tree.nodes().map(|n| n.attrs.flags.0).collect()
}

#[test]
fn d1_a_set_splits_and_equal_neighbours_stay_apart() {
    let mut tree = tree(false);
    set(&mut tree, 0x100, 0x1ff, &[ask(AttrType::Access, 1)]);
    let ro = Flags::GPU_RO.0;
    let changes = set(&mut tree, 0x140, 0x17f, &[ask(AttrType::SetFlags, ro)]);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].pages, changes[0].trigger), (Pages::new(0x140, 0x17f), Trigger::PTE_FLAG));
    let three = [(0x100, 0x13f), (0x140, 0x17f), (0x180, 0x1ff)];
    assert_eq!(spans(&tree), three);
    assert_eq!(flags(&tree), [0x3, 0xb, 0x3]);

    assert_eq!(get(&tree, 0x100, 0x1ff, AttrType::SetFlags), (AttrType::SetFlags as u32, 3));
    assert_eq!(get(&tree, 0x100, 0x1ff, AttrType::ClrFlags), (AttrType::ClrFlags as u32, 0xffff_fff4));
    // The answer is the type; the value is what was passed in.
    assert_eq!(get(&tree, 0x100, 0x1ff, AttrType::Access), (AttrType::Access as u32, 0x1234));

    set(&mut tree, 0x140, 0x17f, &[ask(AttrType::ClrFlags, ro)]);
    assert_eq!(spans(&tree), three);
    assert_eq!(flags(&tree), [0x3, 0x3, 0x3]);

    assert_eq!(get(&tree, 0x0ff, 0x1ff, AttrType::Access), (AttrType::NoAccess as u32, 0x1234));
    assert_eq!(get(&tree, 0x0ff, 0x1ff, AttrType::Granularity).1, u32::from(GRANULARITY));
}

#[test]
fn d2_a_hole_that_gets_the_defaults_stays_a_hole() {
    let request = [ask(AttrType::NoAccess, 1)];
    let mut off = tree(false);
    assert_eq!(set(&mut off, 0x100, 0x1ff, &request), []);
    assert!(off.is_empty());
    // With XNACK on the default is access, so the same request is news.
    let mut on = tree(true);
    let changes = set(&mut on, 0x100, 0x1ff, &request);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].trigger, Trigger::ACCESS);
    assert_eq!((changes[0].prev.access, changes[0].new.access), (Access::Enable, Access::None));
    assert_eq!(spans(&on), [(0x100, 0x1ff)]);
    // And what was news before is none now, not even a forced one.
    assert_eq!(set(&mut on, 0x300, 0x3ff, &[ask(AttrType::Access, 1)]), []);
}

#[test]
fn d3_asking_for_access_again_has_the_mapping_checked_and_changes_no_node() {
    for ty in [AttrType::Access, AttrType::AccessInPlace] {
        let mut tree = tree(false);
        set(&mut tree, 0x100, 0x1ff, &[ask(ty, 1)]);
        let changes = set(&mut tree, 0x140, 0x14f, &[ask(ty, 1)]);
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].pages, changes[0].trigger), (Pages::new(0x140, 0x14f), Trigger::ACCESS));
        assert_eq!(changes[0].prev, changes[0].new);
        assert_eq!(spans(&tree), [(0x100, 0x1ff)]);
    }
    let mut off = tree(false);
    let request = [ask(AttrType::SetFlags, Flags::GPU_EXEC.0)];
    assert_eq!(set(&mut off, 0x100, 0x1ff, &request).len(), 1);
    assert_eq!(set(&mut off, 0x100, 0x1ff, &request), []);
    // With XNACK on a fault brings the mapping back, nothing is forced.
    let mut on = tree(true);
    set(&mut on, 0x100, 0x1ff, &[ask(AttrType::AccessInPlace, 1)]);
    assert_eq!(set(&mut on, 0x100, 0x1ff, &[ask(AttrType::AccessInPlace, 1)]), []);
}

#[test]
fn the_force_rule_looks_at_the_request_not_at_what_it_comes_to() {
    let mut tree = tree(false);
    set(&mut tree, 0x100, 0x1ff, &[ask(AttrType::SetFlags, Flags::GPU_RO.0)]);
    // Access is asked for and withdrawn in one request: nothing changes, and still the mapping is to be checked.
    let changes = set(&mut tree, 0x100, 0x1ff, &[ask(AttrType::Access, 1), ask(AttrType::NoAccess, 1)]);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].trigger, changes[0].new.access), (Trigger::ACCESS, Access::None));
}

#[test]
fn d4_clearing_cuts_and_frees() {
    let mut tree = tree(false);
    set(&mut tree, 0x100, 0x1ff, &[ask(AttrType::Access, 1)]);
    tree.clear_pages(Pages::new(0x150, 0x15f)).unwrap();
    assert_eq!(spans(&tree), [(0x100, 0x14f), (0x160, 0x1ff)]);
    tree.clear_pages(Pages::new(0x000, 0x14f)).unwrap();
    assert_eq!(spans(&tree), [(0x160, 0x1ff)]);
    assert_eq!(Probe::live_objects(), 1);
    assert_eq!(tree.clear_pages(Pages::new(5, 4)), Err(Errno::EINVAL));
    tree.destroy();
    assert_eq!((Probe::live_objects(), tree.check()), (0, Ok(0)));
}

#[test]
fn one_request_walks_nodes_and_holes_segment_by_segment() {
    let mut tree = tree(false);
    set(&mut tree, 0x110, 0x11f, &[ask(AttrType::Access, 1)]);
    set(&mut tree, 0x130, 0x13f, &[ask(AttrType::Granularity, 4)]);
    let changes = set(&mut tree, 0x100, 0x14f, &[ask(AttrType::Access, 1)]);
    let seen: Vec<_> = changes.iter().map(|c| (c.pages.first, c.pages.last)).collect();
    assert_eq!(seen, [(0x100, 0x10f), (0x110, 0x11f), (0x120, 0x12f), (0x130, 0x13f), (0x140, 0x14f)]);
    assert_eq!(spans(&tree), seen);
}

#[test]
fn get_of_a_wrapping_interval_reports_the_defaults() {
    let mut tree = tree(false);
    set(&mut tree, 0, 0x1ff, &[ask(AttrType::Access, 1), ask(AttrType::Granularity, 1)]);
    let pages = request_pages(0x100_000, 0u64.wrapping_sub(0x80_000));
    assert!(pages.is_empty());
    assert_eq!(check_pages(pages), Err(Errno::EINVAL), "SET refuses it");
    let mut request = [ask(AttrType::Access, 7), ask(AttrType::Granularity, 7)];
    tree.get(pages, &mut request).unwrap();
    assert_eq!(request, [ask(AttrType::NoAccess, 7), ask(AttrType::Granularity, GRANULARITY.into())]);
}

#[test]
fn get_of_differing_locations_is_undefined_also_when_the_first_comes_back() {
    let mut tree = tree(false);
    for (page, location) in [(0x10, 0), (0x11, 5), (0x12, 0)] {
        let request = [ask(AttrType::PreferredLoc, location), ask(AttrType::PrefetchLoc, location)];
        set(&mut tree, page, page, &request);
    }
    for ty in [AttrType::PreferredLoc, AttrType::PrefetchLoc] {
        assert_eq!(get(&tree, 0x10, 0x12, ty).1, Location::UNDEFINED.raw());
        assert_eq!(get(&tree, 0x11, 0x11, ty).1, 5);
        assert_eq!(get(&tree, 0x12, 0x12, ty).1, Location::SYSMEM.raw());
    }
}

#[test]
fn get_answers_up_to_the_first_type_that_may_not_be_asked_for() {
    let tree = tree(true);
    for bad in [AttrType::AccessInPlace as u32, AttrType::NoAccess as u32, 8, u32::MAX] {
        let mut request = [ask(AttrType::SetFlags, 0), UapiAttr { ty: bad, value: 77 }, ask(AttrType::Granularity, 88)];
        assert_eq!(tree.get(Pages::new(1, 2), &mut request), Err(Errno::EINVAL));
        assert_eq!(request.map(|a| a.value), [3, 77, 88]);
    }
    for ok in [0, 1, 2, 5, 6, 7] {
        assert_eq!(check_get_type(ok).map(|ty| ty as u32), Ok(ok));
    }
}

#[test]
fn without_memory_a_split_leaves_the_tree_as_it_was() {
    for budget in [0, 1] {
        let mut tree = tree(false);
        set(&mut tree, 0x100, 0x1ff, &[ask(AttrType::Access, 1)]);
        let before: Vec<_> = tree.nodes().collect();
        Probe::allow_allocations(Some(budget));
        assert_eq!(tree.set_segment(0x140, 0x17f, &[ask(AttrType::NoAccess, 1)]), Err(Errno::ENOMEM));
        assert_eq!(tree.nodes().collect::<Vec<_>>(), before);
        assert_eq!(tree.check(), Ok(1));
        assert_eq!(Probe::live_objects(), 1, "the head that was allocated first is freed again");
    }
}

#[test]
fn without_memory_clearing_the_middle_leaves_the_node_whole() {
    let mut tree = tree(false);
    set(&mut tree, 0x100, 0x1ff, &[ask(AttrType::Access, 1)]);
    Probe::allow_allocations(Some(0));
    assert_eq!(tree.clear_pages(Pages::new(0x150, 0x15f)), Err(Errno::ENOMEM));
    assert_eq!(spans(&tree), [(0x100, 0x1ff)]);
    // What needs no memory works without.
    tree.clear_pages(Pages::new(0x1f0, 0x20f)).unwrap();
    set(&mut tree, 0x100, 0x1ef, &[ask(AttrType::NoAccess, 1)]);
    assert_eq!(spans(&tree), [(0x100, 0x1ef)]);
}

#[test]
fn later_attributes_of_a_request_win() {
    let defaults = Attrs::defaults(false, GRANULARITY);
    let after = applied(
        defaults,
        &[
            ask(AttrType::Access, 1),
            ask(AttrType::AccessInPlace, 1),
            ask(AttrType::SetFlags, 0xff),
            ask(AttrType::ClrFlags, 0x0f),
            ask(AttrType::Granularity, 3),
            ask(AttrType::Granularity, 1000),
            ask(AttrType::PreferredLoc, u32::MAX - 1),
        ],
    );
    assert_eq!((after.access, after.flags, after.granularity), (Access::InPlace, Flags(0xf0), 0x3f));
    assert_eq!((after.preferred_loc, after.prefetch_loc), (Location(-2), Location::UNDEFINED));
}

#[test]
fn each_field_has_its_trigger_and_each_flag_its_class() {
    let a = Attrs::defaults(false, GRANULARITY);
    assert_eq!(trigger(&a, &a), Trigger::ATTR_ONLY);
    assert_eq!(trigger(&a, &Attrs { access: Access::InPlace, ..a }), Trigger::ACCESS);
    assert_eq!(trigger(&a, &Attrs { preferred_loc: Location(1), ..a }), Trigger::LOCATION);
    assert_eq!(trigger(&a, &Attrs { prefetch_loc: Location(1), ..a }), Trigger::LOCATION);
    assert_eq!(trigger(&a, &Attrs { granularity: 1, ..a }), Trigger::GRANULARITY);
    for (flag, class) in [
        (Flags::HOST_ACCESS, Trigger::MAPPING_FLAG),
        (Flags::COHERENT, Trigger::PTE_FLAG),
        (Flags::HIVE_LOCAL, Trigger::MAPPING_FLAG),
        (Flags::GPU_RO, Trigger::PTE_FLAG),
        (Flags::GPU_EXEC, Trigger::PTE_FLAG),
        (Flags::GPU_READ_MOSTLY, Trigger::MAPPING_FLAG),
        (Flags::GPU_ALWAYS_MAPPED, Trigger::MAPPING_FLAG),
        (Flags::EXT_COHERENT, Trigger::PTE_FLAG),
    ] {
        assert_eq!(trigger(&a, &Attrs { flags: Flags(a.flags.0 ^ flag.0), ..a }), class, "{flag}");
    }
    let all = Attrs { access: Access::Enable, flags: Flags(0xf0), granularity: 1, ..a };
    assert_eq!(trigger(&a, &all).0, 1 | 2 | 4 | 16);
}

#[test]
fn the_numbers_are_those_of_the_uapi() {
    let types = AttrType::ALL.map(|ty| (ty as u32, ty.name()));
    let names = [
        "PREFERRED_LOC",
        "PREFETCH_LOC",
        "ACCESS",
        "ACCESS_IN_PLACE",
        "NO_ACCESS",
        "SET_FLAGS",
        "CLR_FLAGS",
        "GRANULARITY",
    ];
    assert_eq!(types.to_vec(), (0..).zip(names).collect::<Vec<_>>());
    assert_eq!(AttrType::from_raw(8), None);
    assert_eq!((Flags::PTE.0, Flags::MAPPING.0, Flags::VALID.0), (0x9a, 0x65, 0xff));
    let d = Attrs::defaults(true, 5);
    assert_eq!((d.preferred_loc, d.prefetch_loc), (Location(-1), Location(-1)));
    assert_eq!((d.flags.0, d.granularity, d.access), (3, 5, Access::Enable));
}

#[test]
fn set_refuses_what_rule_8_refuses_and_nothing_else() {
    use AttrType::*;
    for (ty, value, ok) in [
        (PreferredLoc, u32::MAX, true),
        (PreferredLoc, 7, true),
        (PrefetchLoc, u32::MAX, false),
        (PrefetchLoc, 0, true),
        (Access, 0, false),
        (Access, u32::MAX, false),
        (Access, 1, true),
        (AccessInPlace, 0, false),
        (AccessInPlace, u32::MAX, false),
        (AccessInPlace, u32::MAX - 1, true),
        (NoAccess, 0, false),
        (NoAccess, u32::MAX, false),
        (NoAccess, 2, true),
        (SetFlags, 0xff, true),
        (SetFlags, 0x100, false),
        (SetFlags, 0, true),
        (ClrFlags, 0xff, true),
        (ClrFlags, 0x8000_0000, false),
        (Granularity, u32::MAX, true),
    ] {
        let want = if ok { Ok(()) } else { Err(Errno::EINVAL) };
        assert_eq!(check_set(&[ask(ty, value)]), want, "{ty:?} {value:#x}");
        assert_eq!(check_set(&[ask(Granularity, 1), ask(ty, value)]), want, "in second place");
    }
    assert_eq!(check_set(&[UapiAttr { ty: 8, value: 1 }]), Err(Errno::EINVAL));
    assert_eq!(check_pages(Pages::new(3, 3)), Ok(()));
    assert_eq!(check_pages(Pages::new(4, 3)), Err(Errno::EINVAL));
    assert_eq!(check_pages(Pages::new(4, u64::MAX)), Err(Errno::EINVAL));
}
