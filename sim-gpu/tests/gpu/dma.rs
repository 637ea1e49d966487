//! DMA mappings: neighbours, lifetimes, balance.

use crate::common::*;
use interleave::lab::Invariant;
use model::Errno;
use model::platform::DmaDirection;
use sim_gpu::inject::Point;

#[test]
fn neighbouring_frames_get_neighbouring_addresses_again_and_again() {
    let m = machine(512);
    for round in 0..3 {
        let addrs: Vec<_> = (BASE..BASE + 512).map(|page| m.dma_map(page)).collect();
        assert!(addrs.windows(2).all(|pair| pair[1].0 == pair[0].0 + 0x1000), "round {round}");
        assert_eq!(m.gpu.dma_mappings().len(), 512);
        for addr in addrs {
            m.dma_unmap(addr);
        }
        assert!(m.gpu.dma_mappings().is_empty());
    }
}

#[test]
fn coalesced_pages_read_their_own_frames() {
    let m = machine(512);
    let first = (BASE..BASE + 512).map(|page| m.dma_map(page)).min().unwrap();
    m.update(&set(BASE, 512, RW, first));
    assert!(m.gpu.leaf(BASE + 5).huge);
    for page in [BASE, BASE + 5, BASE + 511] {
        assert_eq!(m.read(page), Ok(page));
        assert_eq!(m.gpu.reaches(page).unwrap().pfn, m.pfn(page));
    }
}

#[test]
fn a_revoked_address_is_remembered_and_not_used_again() {
    let m = machine(1);
    let old = m.dma_map(BASE);
    m.dma_unmap(old);
    let new = m.dma_map(BASE);
    assert_ne!(old, new);
    assert!(m.gpu.dma_target(old.0).unwrap().unmapped_at.is_some());
    assert_eq!(m.gpu.dma_target(new.0).unwrap().unmapped_at, None);
    assert_eq!(m.gpu.dma_target(new.0).unwrap().pfn, m.pfn(BASE));
}

#[test]
fn a_second_unmap_is_seen() {
    let fallen = falls_alone(
        || machine(1),
        |m| {
            let addr = m.dma_map(BASE);
            m.dma_unmap(addr);
            m.dma_unmap(addr);
        },
    );
    assert_eq!(fallen.invariant, Invariant::I5);
    assert!(fallen.earlier.is_some(), "the first unmap is named");
}

#[test]
fn an_unmap_of_no_mapping_is_seen() {
    let act = |m: &Machine| m.dma_unmap(model::platform::DmaAddr(m.dma_map(BASE).0 + 0x1000));
    assert_eq!(falls_alone(|| machine(1), act).invariant, Invariant::I5);
}

#[test]
fn an_unmap_in_another_direction_is_warned_of() {
    let act = |m: &Machine| m.gpu.dma_unmap(m.dma_map(BASE), 0, DmaDirection::ToDevice);
    assert_eq!(falls_alone(|| machine(1), act).invariant, Invariant::I9);
}

#[test]
fn a_dma_mapping_can_fail_and_leaves_nothing() {
    let m = machine(1);
    m.gpu.injected().add(Point::DmaMap, Errno::EFAULT);
    assert_eq!(m.gpu.dma_map(m.pfn(BASE), 0, DmaDirection::Bidirectional), Err(Errno::EFAULT));
    assert!(m.gpu.dma_mappings().is_empty());
    assert!(m.gpu.dma_map(m.pfn(BASE), 0, DmaDirection::Bidirectional).is_ok(), "it fails once");
}
