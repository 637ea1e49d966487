//! Page-table updates: huge leaves, late PDEs, errors.

use crate::common::*;
use interleave::lab::Invariant;
use model::Errno;
use model::platform::{DmaAddr, PteFlags, PteUpdate};
use model::units::Pages;
use sim_gpu::inject::Point;

const BUS: DmaAddr = DmaAddr(0x4000_0000);

/// How many of the 512 pages from [`BASE`] translate.
fn valid(m: &Machine) -> usize {
    m.gpu.mapped().len()
}

#[test]
fn an_aligned_2_mib_update_is_one_huge_leaf() {
    let m = machine(0);
    m.update(&set(BASE, 512, RW, BUS));
    assert!(m.gpu.leaf(BASE).huge && m.gpu.leaf(BASE + 511).huge);
    assert_eq!(m.gpu.pte(BASE + 3).addr, BUS.0 + 0x3000);
    m.update(&set(BASE + 512, 511, RW, BUS));
    assert!(!m.gpu.leaf(BASE + 512).huge, "one page short");
}

#[test]
fn an_unlocked_clear_of_a_part_clears_a_huge_leaf_whole() {
    let m = machine(0);
    m.update(&set(BASE, 512, RW, BUS));
    m.gpu.update_range(&clear(BASE + 0x100, 1)).unwrap();
    assert_eq!(valid(&m), 0);
}

#[test]
fn an_unlocked_clear_of_a_part_of_a_table_clears_that_part() {
    let m = machine(0);
    m.update(&set(BASE, 511, RW, BUS));
    m.gpu.update_range(&clear(BASE + 0x100, 1)).unwrap();
    assert_eq!(valid(&m), 510);
    assert!(!m.gpu.pte(BASE + 0x100).is_valid());
}

#[test]
fn an_unlocked_clear_spares_the_neighbouring_huge_leaf() {
    let m = machine(0);
    m.update(&set(BASE, 1024, RW, BUS));
    m.gpu.update_range(&clear(BASE + 0x100, 0x100)).unwrap();
    assert_eq!(m.gpu.mapped().first().map(|(page, _)| *page), Some(BASE + 512));
    assert_eq!(valid(&m), 512);
}

#[test]
fn a_locked_update_of_a_part_shows_when_the_pdes_are_written_and_loses_the_rest() {
    let m = machine(0);
    m.update(&set(BASE, 512, RW, BUS));
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.update_range(&set(BASE + 7, 1, RO, DmaAddr(0x9000_0000))).unwrap();
    assert_eq!(m.gpu.pte(BASE + 7).addr, BUS.0 + 0x7000, "the hardware still finds the huge leaf");
    m.gpu.update_pdes(&root).unwrap();
    assert_eq!(m.gpu.mapped(), vec![(BASE + 7, m.gpu.pte(BASE + 7))], "511 pages are gone");
    assert_eq!(m.gpu.pte(BASE + 7).addr, 0x9000_0000);
}

#[test]
fn an_unlocked_clear_does_not_reach_a_huge_leaf_behind_a_table_that_is_not_linked_yet() {
    let m = machine(0);
    m.update(&set(BASE, 512, RW, BUS));
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.update_range(&set(BASE + 7, 1, RW, BUS)).unwrap();
    m.gpu.update_range(&clear(BASE + 7, 1)).unwrap();
    assert!(m.gpu.pte(BASE + 7).is_valid(), "the notifier cleared the new table, the hardware uses the old leaf");
    m.gpu.update_pdes(&root).unwrap();
    assert!(!m.gpu.pte(BASE + 7).is_valid());
}

#[test]
fn a_locked_update_of_a_whole_block_replaces_its_table() {
    let m = machine(0);
    m.update(&set(BASE, 3, RW, BUS));
    m.update(&set(BASE, 512, RW, BUS));
    assert!(m.gpu.leaf(BASE).huge);
    m.update(&clear_locked(BASE, 512));
    assert_eq!(valid(&m), 0);
}

#[test]
fn a_new_table_is_not_seen_before_the_pdes_are_written() {
    let m = machine(0);
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.update_range(&set(BASE, 1, RW, BUS)).unwrap();
    assert!(!m.gpu.pte(BASE).is_valid());
    m.gpu.update_pdes(&root).unwrap();
    assert!(m.gpu.pte(BASE).is_valid());
}

#[test]
fn an_unlocked_write_without_a_table_is_enoent() {
    let m = machine(0);
    let update = PteUpdate { unlocked: true, ..set(BASE, 1, RW, BUS) };
    assert_eq!(m.gpu.update_range(&update), Err(Errno::ENOENT));
    m.update(&set(BASE + 1, 1, RW, BUS));
    assert!(m.gpu.update_range(&update).is_ok(), "its neighbour brought the table");
    assert!(m.gpu.pte(BASE).is_valid());
}

#[test]
fn updates_are_refused_while_page_tables_are_evicted() {
    let m = machine(0);
    m.gpu.evict_page_tables();
    assert_eq!(m.gpu.update_range(&clear(BASE, 1)), Err(Errno::EBUSY));
    m.gpu.validate();
    assert!(m.gpu.update_range(&clear(BASE, 1)).is_ok());
}

#[test]
fn an_unplugged_device_refuses_updates_and_pdes() {
    let m = machine(0);
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.update_range(&set(BASE, 1, RW, BUS)).unwrap();
    m.gpu.evict_page_tables();
    m.gpu.unplug();
    assert_eq!(m.gpu.update_range(&clear(BASE, 1)), Err(Errno::ENODEV), "unplugged comes before evicting");
    assert_eq!(m.gpu.update_pdes(&root), Err(Errno::ENODEV));
    assert_eq!(valid(&m), 0);
}

#[test]
fn a_table_that_cannot_be_allocated_leaves_everything_as_it_was() {
    let m = machine(0);
    m.update(&set(BASE, 512, RW, BUS));
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.injected().add(Point::TableAlloc, Errno::ENOMEM);
    assert_eq!(m.gpu.update_range(&clear_locked(BASE, 1)), Err(Errno::ENOMEM), "even a locked clear needs a table");
    m.gpu.update_pdes(&root).unwrap();
    assert_eq!(valid(&m), 512);
    m.gpu.injected().add(Point::TableAlloc, Errno::ENOMEM);
    assert!(m.gpu.update_range(&clear(BASE, 1)).is_ok(), "an unlocked one does not");
}

#[test]
fn the_root_can_be_refused() {
    let m = machine(0);
    m.gpu.injected().add(Point::ReserveRoot, Errno::ENOMEM);
    assert!(matches!(m.gpu.reserve_root(), Err(Errno::ENOMEM)));
    assert!(m.gpu.reserve_root().is_ok());
}

#[test]
fn a_locked_update_without_the_root_is_warned_of() {
    let act = |m: &Machine| assert!(m.gpu.update_range(&set(BASE, 1, RW, BUS)).is_err());
    assert_eq!(falls_alone(|| machine(0), act).invariant, Invariant::I9);
    let after_drop = |m: &Machine| {
        drop(m.gpu.reserve_root());
        let _ = m.gpu.update_range(&set(BASE, 1, RW, BUS));
    };
    assert_eq!(falls_alone(|| machine(0), after_drop).invariant, Invariant::I9);
}

#[test]
fn malformed_updates_are_warned_of() {
    let empty = PteUpdate { pages: Pages::EMPTY, ..clear(BASE, 1) };
    let no_address = PteUpdate { flags: PteFlags::VALID, ..clear(BASE, 1) };
    for malformed in [empty, no_address] {
        let act = move |m: &Machine| assert!(m.gpu.update_range(&malformed).is_err());
        assert_eq!(falls_alone(|| machine(0), act).invariant, Invariant::I9);
    }
}

#[test]
fn a_wait_for_a_fence_of_nobody_is_warned_of() {
    let act = |m: &Machine| m.gpu.wait_fence(model::platform::Fence(1));
    assert_eq!(falls_alone(|| machine(0), act).invariant, Invariant::I9);
}
