//! The GPU's own memory: who gets it, who must make room, and what an access to it reaches.

use crate::common::*;
use interleave::Sim;
use interleave::lab::{Invariant, Lab, Violation};
use model::Errno;
use model::platform::{DeviceMemory, DmaAddr, Fence, Interconnect, PagemapId, PteFlags, Vram, VramBlock};
use sim_gpu::inject::Point;
use sim_gpu::{GpuConfig, VramConfig};
use sim_mm::device_pfn;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// An entry that leads to VRAM.
const VRAM_RW: PteFlags = PteFlags(RW.0 & !PteFlags::SYSTEM.0);
const MEMORY: VramConfig = VramConfig::new(PagemapId(0), 8);

fn with_vram(pages: u64) -> Machine {
    machine_with(pages, |config| config.vram = Some(MEMORY))
}

fn block(first: u64, pages: u64) -> VramBlock {
    VramBlock { pfn: device_pfn(PagemapId(0), first), pages }
}

/// The frames of a block come to life, the way a migration brings them to.
fn init(m: &Machine, block: VramBlock) {
    (block.pfn..block.pfn + block.pages).for_each(|pfn| m.mm.zone_device_folio_init(pfn, 0, 0));
}

/// And go.
fn put(m: &Machine, block: VramBlock) {
    (block.pfn..block.pfn + block.pages).for_each(|pfn| m.mm.put_new_folio(pfn, 0));
}

#[test]
fn what_a_gpu_without_memory_says() {
    let m = machine(0);
    assert_eq!((Vram::<Sim>::pagemap(&m.gpu), Vram::<Sim>::vram_size(&m.gpu)), (None, 0));
    assert_eq!(m.gpu.vram_alloc(1), Err(Errno::ENOMEM));
    assert_eq!(m.gpu.copy(&[]), Err(Errno::ENODEV));
    assert_eq!(m.gpu.device_map(device_pfn(PagemapId(0), 0), 0), Err(Errno::EFAULT));
    m.gpu.wait_fence(m.gpu.update_range(&clear(BASE, 1)).unwrap().unwrap());
}

#[test]
fn room_is_given_first_fit_and_runs_out() {
    let m = with_vram(0);
    assert_eq!(Vram::<Sim>::vram_size(&m.gpu), 8 << 12);
    assert_eq!(m.gpu.vram_alloc(0), Err(Errno::EINVAL));
    assert_eq!(m.gpu.vram_alloc(9), Err(Errno::ENOMEM));
    assert_eq!([5, 3].map(|pages| m.gpu.vram_alloc(pages)), [Ok(block(0, 5)), Ok(block(5, 3))]);
    assert_eq!(m.gpu.vram_alloc(1), Err(Errno::ENOMEM), "nobody can be evicted");
    m.gpu.vram_free(block(0, 5));
    assert_eq!(m.gpu.vram_free_pages(), 5);
    assert_eq!(m.gpu.vram_alloc(2), Ok(block(0, 2)));
    m.gpu.injected().add(Point::VramAlloc, Errno::ENOMEM);
    assert_eq!(m.gpu.vram_alloc(1), Err(Errno::ENOMEM));
    assert_eq!(m.gpu.vram_alloc(1), Ok(block(2, 1)), "that was once");
}

#[test]
fn what_was_not_given_out_cannot_be_given_back() {
    for wrong in [block(0, 1), block(1, 1), block(4, 2)] {
        let fallen = falls_alone(
            || with_vram(0),
            move |m| {
                m.gpu.vram_alloc(2).unwrap();
                m.gpu.vram_free(wrong);
            },
        );
        assert_eq!(fallen.invariant, Invariant::I9);
    }
}

#[test]
fn the_oldest_makes_room_unless_it_cannot() {
    let m = with_vram(0);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let (mine, gpu) = (Rc::clone(&asked), m.gpu.clone());
    m.gpu.on_evict(Rc::new(move |victim| {
        mine.borrow_mut().push(victim);
        if victim == block(0, 4) {
            return Err(Errno::EBUSY);
        }
        gpu.vram_free(victim);
        Ok(())
    }));
    assert_eq!([4, 2, 2].map(|pages| m.gpu.vram_alloc(pages).unwrap().pages), [4, 2, 2]);
    assert_eq!(m.gpu.vram_alloc(3), Ok(block(4, 3)), "one was busy, and one was not enough");
    assert_eq!(*asked.borrow(), [block(0, 4), block(4, 2), block(6, 2)]);
    assert_eq!(m.gpu.vram_alloc(8), Err(Errno::ENOMEM), "everybody was asked");
    assert_eq!(asked.borrow().len(), 5);
}

#[test]
fn two_that_need_room_do_not_evict_one_twice() {
    holds(2, |launch| {
        let m = with_vram(0);
        let evicted = Rc::new(Cell::new(0));
        let (mine, gpu) = (Rc::clone(&evicted), m.gpu.clone());
        m.gpu.on_evict(Rc::new(move |victim| {
            mine.set(mine.get() + 1);
            if mine.get() > 1 {
                Sim::fail(Violation::new(Invariant::I5, "one object is evicted twice", None));
            }
            gpu.vram_free(victim);
            Ok(())
        }));
        m.gpu.vram_alloc(8).unwrap();
        for name in ["one", "two"] {
            let m = m.clone();
            launch.actor(name, move || match m.gpu.vram_alloc(4) {
                Ok(_) | Err(Errno::ENOMEM) => {}
                Err(other) => Sim::fail(Violation::new(Invariant::I9, format!("{other}"), None)),
            });
        }
    });
}

fn peers(one: VramConfig, other: VramConfig) -> (Machine, Gpu) {
    let m = machine_with(0, |config| config.vram = Some(one));
    let peer = gpu_with(&m.memory, &m.kfd, "gpu1", 1, |config: &mut GpuConfig| config.vram = Some(other));
    (m, peer)
}

#[test]
fn a_peers_memory_is_reached_over_a_link_only() {
    let other = VramConfig::new(PagemapId(3), 4);
    let cases = [
        (MEMORY, other, false),
        (VramConfig { p2p: true, ..MEMORY }, other, false),
        (VramConfig { p2p: true, ..MEMORY }, VramConfig { p2p: true, ..other }, true),
        (VramConfig { hive: Some(1), ..MEMORY }, VramConfig { hive: Some(2), ..other }, false),
        (VramConfig { hive: Some(1), ..MEMORY }, VramConfig { hive: Some(1), ..other }, true),
    ];
    for (one, other, linked) in cases {
        let (m, peer) = peers(one, other);
        let pfn = device_pfn(PagemapId(3), 2);
        assert_eq!(peer.device_map(pfn, 0), Ok((DmaAddr(2 << 12), Interconnect::Vram)));
        let mapped = m.gpu.device_map(pfn, 0);
        assert_eq!(mapped.is_ok(), linked, "{one:?} {other:?}");
        match mapped {
            Ok((_, how)) => assert_eq!(how, Interconnect::PeerVram),
            Err(errno) => assert_eq!(errno, Errno::EFAULT),
        }
        assert_eq!(m.gpu.device_map(pfn + 2, 0), Err(Errno::EFAULT), "the memory has four pages");
    }
}

#[test]
fn waves_read_and_write_vram_and_a_peers_too() {
    let hive = |config| VramConfig { hive: Some(1), ..config };
    let (m, peer) = peers(hive(VramConfig::new(PagemapId(3), 4)), hive(MEMORY));
    let block = peer.vram_alloc(2).unwrap();
    init(&m, block);
    let (addr, _) = m.gpu.device_map(block.pfn + 1, 0).unwrap();
    m.update(&set(BASE, 1, RW, addr));
    let root = peer.reserve_root().unwrap();
    let (own, _) = peer.device_map(block.pfn, 0).unwrap();
    peer.update_range(&set(BASE, 1, VRAM_RW, own)).unwrap();
    let (next, _) = peer.device_map(block.pfn + 1, 0).unwrap();
    assert_eq!(next.0, own.0 + 0x1000, "this GPU has mapped neither before");
    assert_ne!(peer.device_map(block.pfn + 1, 0), Ok((next, Interconnect::Vram)), "and now it has");
    peer.update_range(&set(BASE + 1, 1, VRAM_RW, next)).unwrap();
    peer.update_pdes(&root).unwrap();
    assert_eq!(m.write(BASE, 7), Ok(7));
    let read = |page: u64| peer.access(page << 12, sim_gpu::Access::Read);
    assert_eq!((read(BASE), read(BASE + 1)), (Ok(0), Ok(7)), "the first page is cleared");
    assert_eq!(peer.reaches(BASE + 1).map(|reach| (reach.pfn, reach.sound())), Some((block.pfn + 1, true)));
}

#[test]
fn an_access_to_vram_that_is_another_pages_now_is_seen() {
    // Freed; freed and in use again; revoked; an entry with the wrong kind of address.
    type Harm = fn(&Machine, VramBlock, DmaAddr);
    let freed: Harm = |m, block, _| put(m, block);
    let reused: Harm = |m, block, _| {
        put(m, block);
        init(m, block);
    };
    let revoked: Harm = |m, _, addr| m.gpu.device_unmap(addr, Interconnect::Vram, 0);
    let odd: Harm = |m, _, addr| m.update(&set(BASE, 1, RW, addr));
    let cases = [
        (freed, Invariant::I1, "which was freed"),
        (reused, Invariant::I1, "which was freed"),
        (revoked, Invariant::I1, "whose DMA mapping is revoked"),
        (odd, Invariant::I2, "where nothing was ever mapped"),
    ];
    for (harm, invariant, text) in cases {
        let fallen = falls_alone(
            || with_vram(0),
            move |m| {
                let block = m.gpu.vram_alloc(1).unwrap();
                init(m, block);
                let (addr, _) = m.gpu.device_map(block.pfn, 0).unwrap();
                m.update(&set(BASE, 1, VRAM_RW, addr));
                assert_eq!(m.write(BASE, 7), Ok(7));
                harm(m, block, addr);
                let _ = m.read(BASE);
            },
        );
        assert_eq!(fallen.invariant, invariant, "{}", fallen.what);
        assert!(fallen.what.contains(text), "{}", fallen.what);
    }
}

#[test]
fn revoking_twice_is_seen() {
    let fallen = falls_alone(
        || with_vram(0),
        |m| {
            let (addr, proto) = m.gpu.device_map(device_pfn(PagemapId(0), 0), 1).unwrap();
            m.gpu.device_unmap(addr, proto, 1);
            m.gpu.device_unmap(addr, proto, 1);
        },
    );
    assert_eq!(fallen.invariant, Invariant::I5);
}

#[test]
fn a_wave_and_a_driver_that_takes_vram_away() {
    let run = |launch: &mut interleave::Launch, revokes_first: bool| {
        let m = with_vram(0);
        let block = m.gpu.vram_alloc(1).unwrap();
        init(&m, block);
        let (addr, proto) = m.gpu.device_map(block.pfn, 0).unwrap();
        m.update(&set(BASE, 1, VRAM_RW, addr));
        let wave = m.clone();
        launch.actor("wave", move || _ = wave.read(BASE));
        launch.actor("driver", move || {
            if revokes_first {
                m.gpu.device_unmap(addr, proto, 0);
            }
            m.gpu.update_range(&clear(BASE, 1)).unwrap();
            m.gpu.flush_tlb();
            if !revokes_first {
                m.gpu.device_unmap(addr, proto, 0);
            }
            put(&m, block);
            m.gpu.vram_free(block);
        });
    };
    holds(2, |launch| run(launch, false));
    assert_eq!(falls(|launch| run(launch, true)).invariant, Invariant::I1);
}

#[test]
fn a_fence_of_nobody_is_warned_of() {
    let fallen = falls_alone(|| with_vram(0), |m| m.gpu.wait_fence(Fence(9)));
    assert_eq!(fallen.invariant, Invariant::I9);
}
