//! What an access of a wave sees: values, stale translations, faults, and memory that it must not reach.

use crate::common::*;
use interleave::lab::Invariant;
use model::platform::{DmaAddr, DmaDirection};
use sim_gpu::{FaultKind, Via};

#[test]
fn values_travel_both_ways() {
    let m = machine(2);
    m.map(BASE, RW);
    assert_eq!(m.read(BASE), Ok(BASE), "the GPU reads what the CPU stored");
    assert_eq!(m.write(BASE, 77), Ok(77));
    assert_eq!(m.mm.load(BASE << 12), Ok(77), "the CPU reads what the GPU stored");
    assert_eq!(m.gpu.access((BASE << 12) + 8, sim_gpu::Access::Read), Ok(0), "another word of the page");
}

#[test]
fn no_entry_is_a_fault_and_reads_nothing() {
    let m = machine(1);
    let fault = m.read(BASE).unwrap_err();
    assert_eq!((fault.page, fault.write, fault.kind), (BASE, false, FaultKind::Invalid));
    assert_eq!(m.gpu.in_flight(), 0, "a fault ends the access");
}

#[test]
fn rights_are_those_of_the_entry() {
    let m = machine(1);
    m.map(BASE, RO);
    assert_eq!(m.read(BASE), Ok(BASE));
    assert_eq!(m.write(BASE, 1).unwrap_err().kind, FaultKind::NotWriteable);
    assert_eq!(m.mm.load(BASE << 12), Ok(BASE), "the store did not happen");
    let unreadable = RW.without(model::platform::PteFlags::READABLE);
    m.update(&set(BASE, 1, unreadable, DmaAddr(m.gpu.pte(BASE).addr)));
    assert_eq!(m.read(BASE).unwrap_err().kind, FaultKind::NotReadable);
}

#[test]
fn the_tlb_does_not_see_page_table_writes() {
    let m = machine(2);
    let addr = m.map(BASE, RW);
    m.map(BASE + 1, RW);
    assert_eq!(m.read(BASE), Ok(BASE));
    m.gpu.update_range(&clear(BASE, 2)).unwrap();
    assert!(!m.gpu.pte(BASE).is_valid());
    assert_eq!(m.gpu.tlb_reaches(BASE).map(|r| (r.pfn, r.via)), Some((m.pfn(BASE), Via::Tlb)));
    assert_eq!(m.gpu.tlb(BASE).unwrap().pte.addr, addr.0);
    assert_eq!(m.read(BASE), Ok(BASE), "cached: the stale entry still translates");
    assert_eq!(m.read(BASE + 1).unwrap_err().kind, FaultKind::Invalid, "not cached: the walk sees the clear");
    m.gpu.flush_tlb();
    assert_eq!(m.read(BASE).unwrap_err().kind, FaultKind::Invalid, "flushed: nothing is left");
}

#[test]
fn a_stale_entry_without_write_refuses_until_flushed() {
    let m = machine(1);
    let addr = m.map(BASE, RO);
    m.read(BASE).unwrap();
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.update_range(&set(BASE, 1, RW, addr)).unwrap();
    m.gpu.update_pdes(&root).unwrap();
    assert_eq!(m.write(BASE, 1).unwrap_err().kind, FaultKind::NotWriteable);
    m.gpu.flush_tlb();
    assert_eq!(m.write(BASE, 1), Ok(1));
}

#[test]
fn a_flush_nobody_asked_for_is_skipped() {
    let m = machine(1);
    let addr = m.map(BASE, RW);
    m.read(BASE).unwrap();
    m.gpu.flush_tlb();
    assert!(m.gpu.tlb(BASE).is_some(), "no update since the last flush");
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.update_range(&model::platform::PteUpdate { flush: false, ..set(BASE, 1, RW, addr) }).unwrap();
    m.gpu.flush_tlb();
    assert!(m.gpu.tlb(BASE).is_some(), "the update did not ask for a flush");
    m.gpu.update_range(&set(BASE, 1, RW, addr)).unwrap();
    m.gpu.flush_tlb();
    assert!(m.gpu.tlb(BASE).is_none());
    drop(root);
}

#[test]
fn an_access_through_a_revoked_dma_mapping_is_seen() {
    let fallen = falls_alone(
        || machine(1),
        |m| {
            let addr = m.map(BASE, RW);
            m.dma_unmap(addr);
            let reach = m.gpu.reaches(BASE).expect("the entry still leads somewhere");
            assert!(!reach.live && reach.frame_alive && !reach.sound());
            let _ = m.read(BASE);
        },
    );
    assert_eq!(fallen.invariant, Invariant::I1);
    assert!(fallen.what.contains("revoked") && fallen.what.contains("page 0x200"), "{}", fallen.what);
    assert!(fallen.earlier.is_some(), "the event that revoked it is named");
}

#[test]
fn an_access_to_a_freed_frame_is_seen() {
    // The frame is free before it is mapped for DMA, so that freeing it is not itself the violation.
    let fallen = falls_alone(
        || machine(1),
        |m| {
            let pfn = m.pfn(BASE);
            m.mm.munmap(bytes(BASE, 1)).unwrap();
            let addr = m.gpu.dma_map(pfn, 0, DmaDirection::Bidirectional).unwrap();
            m.update(&set(BASE, 1, RW, addr));
            assert_eq!(m.gpu.reaches(BASE).map(|r| (r.live, r.frame_alive)), Some((true, false)));
            let _ = m.read(BASE);
        },
    );
    assert_eq!(fallen.invariant, Invariant::I1);
    assert!(fallen.what.contains("was freed"), "{}", fallen.what);
    assert!(fallen.earlier.is_some(), "the free is named");
}

#[test]
fn a_store_through_a_read_only_dma_mapping_is_seen() {
    let fallen = falls_alone(
        || machine(1),
        |m| {
            let addr = m.gpu.dma_map(m.pfn(BASE), 0, DmaDirection::ToDevice).unwrap();
            m.update(&set(BASE, 1, RW, addr));
            assert_eq!(m.read(BASE), Ok(BASE), "reads are what it is for");
            let _ = m.write(BASE, 1);
        },
    );
    assert_eq!(fallen.invariant, Invariant::I2);
}

#[test]
fn an_address_that_was_never_mapped_is_seen() {
    let fallen = falls_alone(
        || machine(1),
        |m| {
            m.update(&set(BASE, 1, RW, DmaAddr(0x1000)));
            assert!(m.gpu.reaches(BASE).is_none());
            let _ = m.read(BASE);
        },
    );
    assert_eq!(fallen.invariant, Invariant::I2);
}

#[test]
fn waves_end_when_the_process_goes() {
    let m = machine(1);
    m.map(BASE, RW);
    m.kfd.release();
    assert_eq!(m.read(BASE).unwrap_err().kind, FaultKind::Destroyed);
    assert!(!m.gpu.running());
}
