//! What the interleavings of a wave with a driver show: the right order is safe, each omission is seen.

use crate::common::*;
use interleave::Sim;
use interleave::lab::{Invariant, Lab, Violation};
use model::units::Pages;
use sim_gpu::GpuFault;

/// The wave reads one page: its number, or a fault, and nothing else.
fn expect_number_or_fault(result: Result<u64, GpuFault>) {
    if let Ok(value) = result
        && value != BASE
    {
        Sim::fail(Violation::new(Invariant::I10, format!("the wave read {value:#x}"), None));
    }
}

/// A wave that reads twice, beside a driver that takes the page away. The page was read before: it is in the TLB.
fn wave_and_driver(launch: &mut interleave::Launch, driver: impl FnOnce(&Machine, model::platform::DmaAddr) + 'static) {
    let m = machine(1);
    let addr = m.map(BASE, RW);
    m.read(BASE).unwrap();
    let wave = m.clone();
    launch.actor("wave", move || {
        expect_number_or_fault(wave.read(BASE));
        expect_number_or_fault(wave.read(BASE));
    });
    launch.actor("driver", move || driver(&m, addr));
}

#[test]
fn clear_flush_revoke_free_is_safe() {
    holds(3, |launch| {
        wave_and_driver(launch, |m, addr| {
            m.invalidate(BASE, addr, true);
            m.mm.munmap(bytes(BASE, 1)).unwrap();
        });
    });
}

#[test]
fn without_the_flush_the_tlb_reaches_what_was_revoked() {
    let fallen = falls(|launch| wave_and_driver(launch, |m, addr| m.invalidate(BASE, addr, false)));
    assert_eq!(fallen.invariant, Invariant::I1);
    assert!(fallen.what.contains("TLB entry"), "{}", fallen.what);
}

#[test]
fn without_the_flush_an_access_in_flight_reaches_what_was_revoked() {
    // No second access and nothing cached: only the one that had translated already can do harm.
    let fallen = falls(|launch| {
        let m = machine(1);
        let addr = m.map(BASE, RW);
        let wave = m.clone();
        launch.actor("wave", move || expect_number_or_fault(wave.read(BASE)));
        launch.actor("driver", move || m.invalidate(BASE, addr, false));
    });
    assert_eq!(fallen.invariant, Invariant::I1);
    assert!(!fallen.what.contains("TLB entry"), "{}", fallen.what);
}

#[test]
fn revoking_before_clearing_is_seen() {
    let fallen = falls(|launch| {
        wave_and_driver(launch, |m, addr| {
            m.dma_unmap(addr);
            m.gpu.update_range(&clear(BASE, 1)).unwrap();
            m.gpu.flush_tlb();
        });
    });
    assert_eq!(fallen.invariant, Invariant::I1);
}

#[test]
fn stopped_queues_make_revoking_safe_without_a_clear() {
    holds(3, |launch| {
        wave_and_driver(launch, |m, addr| {
            m.gpu.quiesce_mm(&m.mm).unwrap();
            m.dma_unmap(addr);
            let again = m.dma_map(BASE);
            m.update(&set(BASE, 1, RW, again));
            m.gpu.resume_mm(&m.mm).unwrap();
        });
    });
}

#[test]
fn resuming_before_mapping_again_is_seen() {
    let fallen = falls(|launch| {
        wave_and_driver(launch, |m, addr| {
            m.gpu.quiesce_mm(&m.mm).unwrap();
            m.dma_unmap(addr);
            m.gpu.resume_mm(&m.mm).unwrap();
        });
    });
    assert_eq!(fallen.invariant, Invariant::I1);
}

// amdgpu_vm_flush_compute_tlb takes the sequence before it flushes: the one that finds it taken returns at once, and
// the stale translation is still there.

#[test]
fn two_flushes_at_a_time_can_miss_each_other() {
    let fallen = falls(|launch| {
        let m = machine(1);
        m.map(BASE, RW);
        m.read(BASE).unwrap();
        let other = m.clone();
        launch.actor("mapper", move || other.gpu.flush_tlb());
        launch.actor("notifier", move || {
            m.gpu.update_range(&clear(BASE, 1)).unwrap();
            m.gpu.flush_tlb();
            m.gpu.observe(Pages::new(BASE, BASE));
            if m.gpu.tlb(BASE).is_some() {
                Sim::fail(Violation::new(Invariant::I1, "the notifier flushed and the translation is cached", None));
            }
        });
    });
    assert!(fallen.what.contains("the notifier flushed"), "{}", fallen.what);
}

#[test]
fn a_wave_reaches_what_was_revoked_when_two_flushes_miss_each_other() {
    let fallen = falls(|launch| {
        let m = machine(1);
        let addr = m.map(BASE, RW);
        m.read(BASE).unwrap();
        let (wave, mapper) = (m.clone(), m.clone());
        launch.actor("wave", move || expect_number_or_fault(wave.read(BASE)));
        launch.actor("mapper", move || mapper.gpu.flush_tlb());
        launch.actor("notifier", move || m.invalidate(BASE, addr, true));
    });
    assert_eq!(fallen.invariant, Invariant::I1);
    assert!(fallen.what.contains("TLB entry"), "{}", fallen.what);
}

#[test]
fn two_mappers_in_one_block_keep_each_others_entries() {
    holds(3, |launch| {
        let m = machine(2);
        let addrs = [BASE, BASE + 1].map(|page| m.dma_map(page));
        for (name, page, addr) in [("one", BASE, addrs[0]), ("two", BASE + 1, addrs[1])] {
            let m = m.clone();
            launch.actor(name, move || {
                m.update(&set(page, 1, RW, addr));
                if m.gpu.reaches(page).is_none_or(|reach| reach.pfn != m.pfn(page)) {
                    Sim::fail(Violation::new(Invariant::I9, format!("the entry of page {page:#x} was lost"), None));
                }
            });
        }
    });
}
