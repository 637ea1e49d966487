//! The copy engine: jobs come later, in order, and who does not wait for the fence sees it.

use crate::common::*;
use interleave::Sim;
use interleave::lab::{Invariant, Lab, Violation};
use model::Errno;
use model::platform::{CopyJob, DeviceMemory, PagemapId};
use sim_gpu::inject::Point;
use sim_gpu::{GpuFault, VramConfig};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

fn with_vram(pages: u64) -> Machine {
    machine_with(pages, |config| config.vram = Some(VramConfig::new(PagemapId(0), 8)))
}

fn with_jobs(pages: u64) -> Machine {
    machine_with(pages, |config| config.sdma_updates = true)
}

/// Pages of VRAM in use, from this frame on.
fn vram(m: &Machine, pages: u64) -> u64 {
    let block = m.gpu.vram_alloc(pages).unwrap();
    (block.pfn..block.pfn + pages).for_each(|pfn| m.mm.zone_device_folio_init(pfn, 0, 0));
    block.pfn
}

fn fail(invariant: Invariant, what: impl Into<String>) -> ! {
    Sim::fail(Violation::new(invariant, what, None))
}

fn job(from: u64, to: u64, pages: u64) -> CopyJob {
    CopyJob { from, to, pages }
}

#[test]
fn contents_go_to_vram_and_back() {
    let m = with_vram(4);
    let (there, ram) = (vram(&m, 4), m.pfn(BASE));
    m.mm.store((BASE + 1) << 12 | 8, 0x77).unwrap();
    m.gpu.wait_fence(m.gpu.copy(&[job(ram, there, 2), job(ram + 3, there + 3, 1)]).unwrap());
    let words = |first: u64| (0..4).map(|page| m.memory.peek(first + page, 0)).collect::<Vec<_>>();
    assert_eq!(words(there), [BASE, BASE + 1, 0, BASE + 3]);
    assert_eq!(m.memory.peek(there + 1, 8), 0x77);
    m.gpu.wait_fence(m.gpu.copy(&[job(there, ram + 2, 1)]).unwrap());
    assert_eq!(words(ram), [BASE, BASE + 1, BASE, BASE + 3], "what was there is overwritten");
    m.gpu.wait_fence(m.gpu.copy(&[job(there + 2, ram, 1)]).unwrap());
    assert_eq!(m.memory.peek(ram, 0), 0, "with zeros too");
    m.gpu.wait_fence(m.gpu.copy(&[]).unwrap());
}

#[test]
fn a_copy_can_fail_to_be_queued() {
    let m = with_vram(1);
    let there = vram(&m, 1);
    m.gpu.injected().add(Point::Copy, Errno::ENOMEM);
    assert_eq!(m.gpu.copy(&[job(m.pfn(BASE), there, 1)]), Err(Errno::ENOMEM));
    assert!(m.gpu.copy(&[job(m.pfn(BASE), there, 1)]).is_ok());
    m.gpu.unplug();
    assert_eq!(m.gpu.copy(&[job(m.pfn(BASE), there, 1)]), Err(Errno::ENODEV));
}

type Seen = Rc<RefCell<BTreeSet<u64>>>;

#[test]
fn who_waits_for_the_fence_sees_the_copy_and_who_does_not_may_not() {
    for (waits, expected) in [(true, &[BASE][..]), (false, &[0, BASE])] {
        let seen = Seen::default();
        let outcomes = Rc::clone(&seen);
        holds(2, move |launch| {
            let m = with_vram(1);
            let there = vram(&m, 1);
            let seen = Rc::clone(&seen);
            launch.actor("driver", move || {
                let fence = m.gpu.copy(&[job(m.pfn(BASE), there, 1)]).unwrap();
                if waits {
                    m.gpu.wait_fence(fence);
                }
                seen.borrow_mut().insert(m.memory.load(there, 0));
            });
        });
        assert_eq!(*outcomes.borrow(), expected.iter().copied().collect());
    }
}

#[test]
fn jobs_are_done_in_order() {
    holds(2, |launch| {
        let m = with_vram(1);
        let there = vram(&m, 2);
        launch.actor("driver", move || {
            m.gpu.copy(&[job(m.pfn(BASE), there, 1)]).unwrap();
            let second = m.gpu.copy(&[job(there, there + 1, 1)]).unwrap();
            m.gpu.wait_fence(second);
            if m.memory.load(there + 1, 0) != BASE {
                fail(Invariant::I10, "the second copy came before the first");
            }
        });
    });
}

#[test]
fn two_that_queue_copies_each_see_their_own() {
    holds(2, |launch| {
        let m = with_vram(2);
        let there = vram(&m, 2);
        for (name, page) in [("one", 0), ("two", 1)] {
            let m = m.clone();
            launch.actor(name, move || {
                m.gpu.wait_fence(m.gpu.copy(&[job(m.pfn(BASE + page), there + page, 1)]).unwrap());
                if m.memory.load(there + page, 0) != BASE + page {
                    fail(Invariant::I10, "the fence signalled before the copy");
                }
            });
        }
    });
}

#[test]
fn a_store_during_the_copy_may_be_lost_and_this_is_seen() {
    let seen = Seen::default();
    let outcomes = Rc::clone(&seen);
    holds(2, move |launch| {
        let m = with_vram(1);
        let there = vram(&m, 1);
        let (cpu, seen) = (m.clone(), Rc::clone(&seen));
        launch.actor("cpu", move || cpu.mm.store(BASE << 12, 7).unwrap());
        launch.actor("driver", move || {
            m.gpu.wait_fence(m.gpu.copy(&[job(m.pfn(BASE), there, 1)]).unwrap());
            seen.borrow_mut().insert(m.memory.load(there, 0));
        });
    });
    assert_eq!(*outcomes.borrow(), [7, BASE].into_iter().collect());
}

#[test]
fn a_page_that_is_freed_under_the_copy_is_seen() {
    for (waits, to_vram) in [(true, true), (true, false), (false, true), (false, false)] {
        let run = move |launch: &mut interleave::Launch| {
            let m = with_vram(1);
            let (there, ram) = (vram(&m, 1), m.pfn(BASE));
            launch.actor("driver", move || {
                let copy = if to_vram { job(ram, there, 1) } else { job(there, ram, 1) };
                let fence = m.gpu.copy(&[copy]).unwrap();
                if waits {
                    m.gpu.wait_fence(fence);
                }
                m.mm.munmap(bytes(BASE, 1)).unwrap();
            });
        };
        if waits {
            holds(2, run);
            continue;
        }
        let fallen = falls(run);
        assert_eq!(fallen.invariant, Invariant::I1);
        let what = if to_vram { "the copy engine reads" } else { "the copy engine writes" };
        assert!(fallen.what.contains(what) && fallen.earlier.is_some(), "{}", fallen.what);
    }
}

// ---- page-table updates as jobs ------------------------------------------------------------------------------------

fn expect_number_or_fault(result: Result<u64, GpuFault>) {
    if let Ok(value) = result
        && value != BASE
    {
        fail(Invariant::I10, format!("the wave read {value:#x}"));
    }
}

/// Clear, wait, flush, revoke; with what is left out of it.
fn take_away(launch: &mut interleave::Launch, waits: bool) {
    let m = with_jobs(1);
    let addr = m.map(BASE, RW);
    m.read(BASE).unwrap();
    let wave = m.clone();
    launch.actor("wave", move || expect_number_or_fault(wave.read(BASE)));
    launch.actor("driver", move || {
        let fence = m.gpu.update_range(&clear(BASE, 1)).unwrap().unwrap();
        if waits {
            m.gpu.wait_fence(fence);
        }
        m.gpu.flush_tlb();
        m.dma_unmap(addr);
        m.mm.munmap(bytes(BASE, 1)).unwrap();
    });
}

#[test]
fn forgetting_the_fence_of_an_update_is_seen() {
    holds(2, |launch| take_away(launch, true));
    let fallen = falls(|launch| take_away(launch, false));
    assert_eq!(fallen.invariant, Invariant::I1);
}

#[test]
fn updates_and_pdes_are_written_in_order() {
    let m = with_jobs(2);
    m.map(BASE, RW);
    assert_eq!(m.read(BASE), Ok(BASE));
    m.gpu.wait_fence(m.gpu.update_range(&clear(BASE, 1)).unwrap().unwrap());
    m.gpu.flush_tlb();
    assert!(m.read(BASE).is_err() && !m.gpu.pte(BASE).is_valid());
    let unplugged = with_jobs(0);
    unplugged.gpu.unplug();
    assert_eq!(unplugged.gpu.update_range(&clear(BASE, 1)), Err(Errno::ENODEV));
}

#[test]
fn an_update_beside_one_that_takes_its_table_away_keeps_its_entry() {
    // A whole block, then a part of it, by different actors: the second may be issued before the first is done.
    holds(1, |launch| {
        let m = with_jobs(1);
        let addr = m.map(BASE, RW);
        let other = m.clone();
        launch.actor("block", move || {
            let root = other.gpu.reserve_root().unwrap();
            other.gpu.update_range(&clear_locked(BASE, 512)).unwrap();
            other.gpu.update_pdes(&root).unwrap();
        });
        launch.actor("part", move || {
            let root = m.gpu.reserve_root().unwrap();
            m.gpu.wait_fence(m.gpu.update_range(&clear_locked(BASE + 1, 1)).unwrap().unwrap());
            m.gpu.update_pdes(&root).unwrap();
            let _ = addr;
        });
    });
}

#[test]
fn a_driver_that_does_not_wait_for_the_pdes_meets_a_wave_that_faults() {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let outcomes = Rc::clone(&seen);
    holds(2, move |launch| {
        let m = with_jobs(1);
        let (addr, seen) = (m.dma_map(BASE), Rc::clone(&seen));
        launch.actor("driver", move || {
            let root = m.gpu.reserve_root().unwrap();
            m.gpu.wait_fence(m.gpu.update_range(&set(BASE, 1, RW, addr)).unwrap().unwrap());
            m.gpu.update_pdes(&root).unwrap();
            seen.borrow_mut().insert(m.read(BASE).is_ok());
        });
    });
    assert_eq!(*outcomes.borrow(), [false, true].into_iter().collect());
}
