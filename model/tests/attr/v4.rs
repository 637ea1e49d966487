//! The UAPI of V4 and later, on the attribute tree alone: what SET refuses, what it means, what GET answers, what triggers.

use crate::probe::Probe;
use model::Errno;
use model::attr::v4::{ACCESS_ALLOW_MIGRATE, ACCESS_IN_PLACE, ACCESS_INACCESSIBLE, AttrTypeV4, Shown};
use model::attr::{Access, AttrTree, Attrs, Flags, Location, Trigger, Uapi, UapiAttr, check_pages, request_pages};
use model::units::Pages;

use AttrTypeV4::*;

const GRANULARITY: u8 = 9;

fn tree() -> AttrTree<Probe> {
    Probe::reset();
    AttrTree::with_uapi(Uapi::V4, true, GRANULARITY).unwrap()
}

/// What `set_range` does, without a GPU.
fn set(tree: &mut AttrTree<Probe>, first: u64, last: u64, request: &[UapiAttr]) -> Vec<(Pages, Trigger)> {
    let (mut cursor, mut changes) = (first, Vec::new());
    loop {
        let step = tree.set_segment(cursor, last, request).unwrap();
        changes.extend(step.change.map(|change| (change.pages, change.trigger)));
        if step.last == last {
            return changes;
        }
        cursor = step.last + 1;
    }
}

fn get(tree: &AttrTree<Probe>, first: u64, last: u64, ty: AttrTypeV4) -> u32 {
    let mut request = [ty.with(0xdead)];
    tree.get(Pages::new(first, last), &mut request).unwrap();
    assert_eq!(request[0].ty, ty as u32, "types stay what they are");
    request[0].value
}

#[test]
fn numbers() {
    let types: Vec<u32> = AttrTypeV4::ALL.iter().map(|&ty| ty as u32).collect();
    assert_eq!(types, (0..=10).collect::<Vec<_>>());
    for ty in AttrTypeV4::ALL {
        assert_eq!(AttrTypeV4::from_raw(ty as u32), Some(ty));
    }
    assert_eq!(AttrTypeV4::from_raw(11), None, "GPU_ALWAYS_MAPPED is gone");
    assert_eq!((ACCESS_INACCESSIBLE, ACCESS_IN_PLACE, ACCESS_ALLOW_MIGRATE), (0, 1, 2));
    let names = ["HOST_ACCESS", "COHERENT", "EXT_COHERENT", "HIVE_LOCAL", "GPU_RO", "GPU_EXEC", "GPU_READ_MOSTLY"];
    let flags: Vec<String> =
        AttrTypeV4::ALL[4..].iter().map(|ty| ty.flag().expect("one flag each").to_string()).collect();
    assert_eq!(flags, names);
    assert!(AttrTypeV4::ALL[..4].iter().all(|ty| ty.flag().is_none()));
}

#[test]
fn what_set_refuses() {
    const ALL: u32 = u32::MAX;
    let table: &[(u32, &[(u32, bool)])] = &[
        (0, &[(0, true), (1, true), (ALL, true), (0x1234, true)]),
        (1, &[(0, true), (1, true), (ALL, false), (0x1234, true)]),
        (2, &[(0, true), (1, true), (2, true), (3, false), (ALL, false)]),
        (3, &[(0, true), (0x1b, true), (0x3f, true), (ALL, true)]),
        (4, &[(0, true), (1, true), (2, false), (ALL, false)]),
        (5, &[(0, true), (1, true), (2, false), (ALL, false)]),
        (6, &[(0, true), (1, true), (2, false), (ALL, false)]),
        (7, &[(0, true), (1, true), (2, false), (ALL, false)]),
        (8, &[(0, true), (1, true), (2, false), (ALL, false)]),
        (9, &[(0, true), (1, true), (2, false), (ALL, false)]),
        (10, &[(0, true), (1, true), (2, false), (ALL, false)]),
        (11, &[(0, false), (1, false)]),
        (12, &[(0, false), (1, false)]),
        (ALL, &[(0, false), (1, false)]),
    ];
    for &(ty, values) in table {
        for &(value, fine) in values {
            let attr = UapiAttr { ty, value };
            let expected = if fine { Ok(()) } else { Err(Errno::EINVAL) };
            assert_eq!(Uapi::V4.check_set(&[attr]), expected, "type {ty} value {value:#x}");
            // Anywhere in the array.
            assert_eq!(Uapi::V4.check_set(&[GpuRo.with(1), attr, GpuRo.with(0)]), expected);
        }
    }
    assert_eq!(Uapi::V4.check_set(&[]), Ok(()));
    assert_eq!(Uapi::V1.check_set(&[UapiAttr { ty: 2, value: 0 }]), Err(Errno::EINVAL), "V1 is another");
    assert_eq!(check_pages(request_pages(u64::MAX - 0xfff, 0x1000)), Ok(()));
}

#[test]
fn what_a_request_means() {
    let none = Attrs::defaults(true, GRANULARITY);
    assert_eq!((none.access, none.flags), (Access::Enable, Flags::HOST_ACCESS | Flags::COHERENT));
    let after = |request: &[UapiAttr]| Uapi::V4.applied(none, request);
    for (value, access) in [(0, Access::None), (1, Access::InPlace), (2, Access::Enable)] {
        assert_eq!(after(&[AttrTypeV4::Access.with(value)]).access, access);
    }
    for ty in &AttrTypeV4::ALL[4..] {
        let flag = ty.flag().unwrap();
        assert_eq!(after(&[ty.with(1)]).flags, none.flags | flag);
        assert_eq!(after(&[ty.with(0)]).flags, none.flags & !flag);
        assert_eq!(after(&[ty.with(1), ty.with(0)]).flags, none.flags & !flag, "the later wins");
    }
    assert_eq!(after(&[PreferredLoc.with(7)]).preferred_loc, Location(7));
    assert_eq!(after(&[PrefetchLoc.with(0)]).prefetch_loc, Location::SYSMEM);
    for (asked, got) in [(0, 0), (0x1a, 0x1a), (0x1b, 0x1b), (0x1c, 0x1b), (0x3f, 0x1b), (u32::MAX, 0x1b)] {
        assert_eq!(after(&[Granularity.with(asked)]).granularity, got);
    }
}

#[test]
fn a_hole_always_gets_a_node() {
    let mut tree = tree();
    let changes = set(&mut tree, 0x100, 0x1ff, &[AttrTypeV4::Access.with(ACCESS_ALLOW_MIGRATE)]);
    assert_eq!(changes, [(Pages::new(0x100, 0x1ff), Trigger::ATTR_ONLY)], "nothing has changed, but it is stored");
    assert_eq!(tree.nodes().count(), 1);
}

#[test]
fn what_triggers() {
    let (all, inner) = (Pages::new(0x100, 0x1ff), Pages::new(0x140, 0x17f));
    let exec = [GpuExec.with(1)];
    let mut t = tree();
    assert_eq!(set(&mut t, 0x100, 0x1ff, &exec), [(all, Trigger::PTE_FLAG)]);
    // Again: nothing, whatever XNACK says.
    assert_eq!(set(&mut t, 0x100, 0x1ff, &exec), []);
    // The same inside cuts nothing.
    assert_eq!(set(&mut t, 0x140, 0x17f, &exec), []);
    assert_eq!(t.nodes().count(), 1);
    // Something else inside does.
    assert_eq!(
        set(&mut t, 0x140, 0x17f, &[Granularity.with(3)]),
        [(inner, Trigger::GRANULARITY | Trigger::RANGE_SPLIT)]
    );
    assert_eq!(t.nodes().count(), 3);
    // Over the bounds of a node: as wide as the node is no split.
    assert_eq!(set(&mut t, 0x140, 0x17f, &[Granularity.with(4)]), [(inner, Trigger::GRANULARITY)]);
    for (request, trigger) in [
        (AttrTypeV4::Access.with(ACCESS_IN_PLACE), Trigger::ACCESS),
        (Coherent.with(0), Trigger::PTE_FLAG),
        (ExtCoherent.with(1), Trigger::PTE_FLAG),
        (GpuRo.with(1), Trigger::PTE_FLAG),
        (HostAccess.with(0), Trigger::MAPPING_FLAG),
        (HiveLocal.with(1), Trigger::MAPPING_FLAG),
        (GpuReadMostly.with(1), Trigger::MAPPING_FLAG),
        (PreferredLoc.with(1), Trigger::LOCATION),
        (PrefetchLoc.with(0), Trigger::LOCATION),
    ] {
        assert_eq!(set(&mut tree(), 0x100, 0x1ff, &[request]), [(all, trigger)], "{}", Shown(&[request]));
    }
}

#[test]
fn prefetching_triggers_for_as_long_as_the_attribute_says_so() {
    let all = Pages::new(0x100, 0x1ff);
    let mut t = tree();
    assert_eq!(set(&mut t, 0x100, 0x1ff, &[PrefetchLoc.with(1)]), [(all, Trigger::LOCATION | Trigger::PREFETCH)]);
    assert_eq!(set(&mut t, 0x100, 0x1ff, &[PrefetchLoc.with(1)]), [(all, Trigger::PREFETCH)]);
    assert_eq!(set(&mut t, 0x100, 0x1ff, &[HostAccess.with(1)]), [(all, Trigger::PREFETCH)], "whatever is asked");
    assert_eq!(set(&mut t, 0x100, 0x1ff, &[PrefetchLoc.with(0)]), [(all, Trigger::LOCATION)]);
    assert_eq!(set(&mut t, 0x100, 0x1ff, &[PrefetchLoc.with(0)]), []);
}

#[test]
fn what_get_answers() {
    let mut t = tree();
    // Alone: the defaults.
    let defaults = [
        (PreferredLoc, u32::MAX),
        (PrefetchLoc, u32::MAX),
        (AttrTypeV4::Access, ACCESS_ALLOW_MIGRATE),
        (Granularity, 9),
        (HostAccess, 1),
        (Coherent, 1),
        (ExtCoherent, 0),
        (HiveLocal, 0),
        (GpuRo, 0),
        (GpuExec, 0),
        (GpuReadMostly, 0),
    ];
    for (ty, value) in defaults {
        assert_eq!(get(&t, 0x100, 0x1ff, ty), value, "{ty:?}");
    }
    let request = [
        PreferredLoc.with(1),
        PrefetchLoc.with(0),
        AttrTypeV4::Access.with(ACCESS_IN_PLACE),
        Granularity.with(4),
        HostAccess.with(0),
        GpuExec.with(1),
    ];
    set(&mut t, 0x100, 0x17f, &request);
    for attr in request {
        assert_eq!(get(&t, 0x100, 0x17f, AttrTypeV4::from_raw(attr.ty).unwrap()), attr.value);
    }
    // Merged with a hole: undefined, inaccessible, minimum, and.
    let merged = [
        (PreferredLoc, u32::MAX),
        (PrefetchLoc, u32::MAX),
        (AttrTypeV4::Access, ACCESS_INACCESSIBLE),
        (Granularity, 4),
        (HostAccess, 0),
        (Coherent, 1),
        (GpuExec, 0),
    ];
    for (ty, value) in merged {
        assert_eq!(get(&t, 0x100, 0x180, ty), value, "{ty:?}");
    }
    for ty in [11, 12, u32::MAX] {
        let mut request = [UapiAttr { ty, value: 0 }];
        assert_eq!(t.get(Pages::new(0x100, 0x1ff), &mut request), Err(Errno::EINVAL));
    }
}

#[test]
fn bounds_of_a_node_or_of_the_gap() {
    let mut t = tree();
    assert_eq!(t.bounds(0x50), Err(Pages::new(0, u64::MAX)));
    set(&mut t, 0x100, 0x1ff, &[GpuExec.with(1)]);
    set(&mut t, 0x300, 0x3ff, &[GpuExec.with(1)]);
    for (page, gap) in [
        (0, Pages::new(0, 0xff)),
        (0xff, Pages::new(0, 0xff)),
        (0x200, Pages::new(0x200, 0x2ff)),
        (0x2ff, Pages::new(0x200, 0x2ff)),
        (0x400, Pages::new(0x400, u64::MAX)),
        (u64::MAX, Pages::new(0x400, u64::MAX)),
    ] {
        assert_eq!(t.bounds(page), Err(gap), "{page:#x}");
    }
    for page in [0x300, 0x3ff] {
        let node = t.bounds(page).unwrap();
        assert_eq!(t.look(node).pages, Pages::new(0x300, 0x3ff));
    }
}

#[test]
fn requests_are_shown_by_name() {
    let request = [
        PreferredLoc.with(u32::MAX),
        PrefetchLoc.with(0),
        AttrTypeV4::Access.with(1),
        AttrTypeV4::Access.with(9),
        Granularity.with(4),
        GpuRo.with(1),
        UapiAttr { ty: 11, value: 1 },
    ];
    let shown =
        "PREFERRED_LOC=UNDEFINED PREFETCH_LOC=SYSMEM ACCESS=IN_PLACE ACCESS=0x9 GRANULARITY=4 GPU_RO=1 type 11=0x1";
    assert_eq!(Shown(&request).to_string(), shown);
}
