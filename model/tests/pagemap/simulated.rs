//! The reference counting of the drm_pagemap port in the simulator: every interleaving of pages being freed, by whoever
//! and in atomic context, with evictions that look at the same allocation. The lab checks on the way that nobody touches
//! a freed object (I4), no count goes below zero (I5) and the tree of allocations is only touched under its lock (I9).
//!
//! The address space is a toy here, in which nothing but holes moves: pages, contents and mmu events in interleavings need
//! the simulated mm.

use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Execution, Launch, Limits, Outcome, Program, Sim, explore};
use model::Errno;
use model::gpusvm::Port;
use model::pagemap::{MigrateDetails, Pagemap};
use model::platform::*;
use model::units::{Bytes, PAGE_SHIFT};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

struct Toy;
impl Platform for Toy {
    type Kernel = Sim;
    type Framework = Port;
    type Mm = ToyMm;
    type Gpu = ToyGpu;
}

/// Remembers the words of the device folios, by frame.
#[derive(Clone, Default)]
struct ToyMm(Rc<RefCell<BTreeMap<u64, u64>>>);

impl Mm<Sim> for ToyMm {
    type ReadGuard<'a> = ();
    type WriteGuard<'a> = ();
    type Sub = u32;
    fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
    fn mmgrab(&self) {}
    fn mmdrop(&self) {}
    fn mmget_not_zero(&self) -> bool {
        true
    }
    fn mmput(&self) {}
    fn mmap_read_lock(&self) {}
    fn find_vma(&self, _: &(), _: u64) -> Option<Vma> {
        let flags = VmaFlags { read: true, write: true, anon: true, ..VmaFlags::default() };
        Some(Vma { bytes: Bytes::new(0, 1 << 40), flags })
    }
    fn interval_insert(&self, _: NotifierEntry, _: Bytes, _: impl FnOnce(u32)) -> Result<u32, Errno> {
        unreachable!("there are no ranges")
    }
    fn mmap_write_lock(&self) {}
    fn mmap_write_downgrade(&self, (): ()) {}
    fn find_vma_write_locked(&self, _: &(), addr: u64) -> Option<Vma> {
        self.find_vma(&(), addr)
    }
    fn interval_insert_locked(&self, _: &(), _: NotifierEntry, _: Bytes, _: impl FnOnce(u32)) -> Result<u32, Errno> {
        unreachable!("there are no ranges")
    }
    fn hmm_range_fault_write_locked(&self, _: &(), _: &HmmRange<u32>, _: &mut [HmmPfn]) -> Result<(), Errno> {
        unreachable!("there are no ranges")
    }
    fn interval_remove(&self, _: u32) {}
    fn interval_set_seq(&self, _: u32, _: u64) {}
    fn read_begin(&self, _: u32) -> u64 {
        0
    }
    fn read_retry(&self, _: u32, _: u64) -> bool {
        false
    }
    fn hmm_range_fault(&self, _: &(), _: &HmmRange<u32>, _: &mut [HmmPfn]) -> Result<(), Errno> {
        unreachable!("there are no ranges")
    }
}

impl DeviceMemory<Sim> for ToyMm {
    fn zone_device_folio_init(&self, pfn: u64, _: u8, data: u64) {
        self.0.borrow_mut().insert(pfn, data);
    }
    fn migrate_vma_setup(&self, _: &(), _: &MigrateVma, src: &mut [MigratePfn]) -> Result<u64, Errno> {
        src.fill(MigratePfn { migrate: true, ..MigratePfn::default() });
        Ok(src.len() as u64)
    }
}

/// Two blocks of two pages, each given out once.
#[derive(Clone, Default)]
struct ToyGpu {
    given: Rc<Cell<u64>>,
    back: Rc<Cell<u64>>,
}

const NO_GPU: &str = "only memory is asked for";

impl Gpu<Sim, ToyMm> for ToyGpu {
    type RootReserved<'a> = ();
    fn properties(&self) -> GpuProperties {
        unreachable!("{NO_GPU}")
    }
    fn reserve_root(&self) -> Result<(), Errno> {
        unreachable!("{NO_GPU}")
    }
    fn update_range(&self, _: &PteUpdate) -> Result<Option<Fence>, Errno> {
        unreachable!("{NO_GPU}")
    }
    fn update_pdes(&self, _: &()) -> Result<(), Errno> {
        unreachable!("{NO_GPU}")
    }
    fn wait_fence(&self, _: Fence) {
        unreachable!("{NO_GPU}")
    }
    fn flush_tlb(&self) {
        unreachable!("{NO_GPU}")
    }
    fn quiesce_mm(&self, _: &ToyMm) -> Result<(), Errno> {
        unreachable!("{NO_GPU}")
    }
    fn resume_mm(&self, _: &ToyMm) -> Result<(), Errno> {
        unreachable!("{NO_GPU}")
    }
    fn dma_map(&self, _: u64, _: u8, _: DmaDirection) -> Result<DmaAddr, Errno> {
        unreachable!("{NO_GPU}")
    }
    fn dma_unmap(&self, _: DmaAddr, _: u8, _: DmaDirection) {
        unreachable!("{NO_GPU}")
    }
}
impl RetryFaults<Sim> for ToyGpu {}
impl Vram<Sim> for ToyGpu {
    fn pagemap(&self) -> Option<PagemapId> {
        Some(PagemapId(0))
    }
    fn vram_alloc(&self, pages: u64) -> Result<VramBlock, Errno> {
        let pfn = VRAM + self.given.get();
        self.given.set(self.given.get() + pages);
        Ok(VramBlock { pfn, pages })
    }
    fn vram_free(&self, block: VramBlock) {
        self.back.set(self.back.get() + block.pages);
    }
}

const VRAM: u64 = 1 << 40;
const BLOCK: VramBlock = VramBlock { pfn: VRAM, pages: 2 };

struct World {
    pagemap: Pagemap<Toy>,
    mm: ToyMm,
    gpu: ToyGpu,
}

impl World {
    fn populate(&self, start: u64) -> Result<(), Errno> {
        let bytes = Bytes::new(start, start + (2 << PAGE_SHIFT));
        self.pagemap.populate_mm(&self.mm, bytes, &MigrateDetails::default())
    }

    /// The last reference to a device page goes, in a softirq for all we know.
    fn free(&self, pfn: u64) {
        let data = self.mm.0.borrow()[&pfn];
        let atomic = <<Sim as Kernel>::SpinLock<()> as SpinLock<()>>::new("somebody's", ()).expect("a lock");
        let held = atomic.lock();
        self.pagemap.folio_free(data);
        drop(held);
    }
}

type Part = fn(&World);

/// One block with two pages; the parts run at once.
struct Parts(Vec<Part>);

impl Program for Parts {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let (mm, gpu) = (ToyMm::default(), ToyGpu::default());
        let pagemap = Pagemap::new(gpu.clone(), ClientId(0)).expect("setup");
        let world = Rc::new(World { pagemap, mm, gpu });
        world.populate(0).expect("setup");
        for (i, part) in self.0.iter().enumerate() {
            let (world, part) = (world.clone(), *part);
            launch.actor(&format!("part{i}"), move || part(&world));
        }
        Box::new(AtRest(world))
    }
}

struct AtRest(Rc<World>);
impl Execution for AtRest {
    fn at_rest(&self) {
        let (given, back) = (self.0.gpu.given.get(), self.0.gpu.back.get());
        if given != back {
            let what = format!("{given} pages of GPU memory were given out, {back} came back");
            Sim::fail(Violation::new(Invariant::I5, what, None));
        }
        self.0.pagemap.fini();
    }
}

fn first_page(world: &World) {
    world.free(VRAM);
}
fn second_page(world: &World) {
    world.free(VRAM + 1);
}
fn evict(world: &World) {
    // Nothing can be collected here, so it comes down to whether the pages go on their own in time.
    match world.pagemap.evict(BLOCK) {
        Ok(()) | Err(Errno::EBUSY) => (),
        Err(other) => Sim::fail(Violation::new(Invariant::I9, format!("eviction gives {other}"), None)),
    }
}
fn another_block(world: &World) {
    world.populate(1 << 20).expect("there is room");
    world.free(VRAM + 2);
    world.free(VRAM + 3);
}
fn search(parts: &[Part]) -> Outcome {
    let limits = Limits { executions: Some(300_000), ..Limits::default() };
    explore(&Parts(parts.to_vec()), &Config { limits, ..Config::default() }, None, None)
}

fn holds(parts: &[Part]) {
    let outcome = search(parts);
    let fell = outcome.failure.map(|failure| failure.violation);
    assert_eq!((fell, outcome.end), (None, End::Exhausted), "{:?}", outcome.stats);
    assert!(outcome.stats.executions > 1, "nothing was interleaved");
}

#[test]
fn the_last_two_pages_freed_at_once_give_the_block_back_once() {
    holds(&[first_page, second_page]);
}

#[test]
fn an_eviction_against_the_last_pages_holds_in_every_interleaving() {
    holds(&[first_page, second_page, evict]);
}

#[test]
fn two_evictions_of_one_block_hold_in_every_interleaving() {
    holds(&[
        |world| {
            first_page(world);
            second_page(world)
        },
        evict,
        evict,
    ]);
}

#[test]
fn another_allocation_meanwhile_does_not_disturb_the_tree() {
    holds(&[
        |world| {
            first_page(world);
            second_page(world)
        },
        another_block,
        evict,
    ]);
}

/// The check of this file's checks.
#[test]
fn a_page_that_is_freed_twice_is_seen() {
    let outcome = search(&[first_page, |world| {
        second_page(world);
        second_page(world);
    }]);
    assert_eq!(outcome.end, End::Violated);
    let fell = outcome.failure.expect("a violation").violation.invariant;
    assert!([Invariant::I4, Invariant::I5].contains(&fell), "{fell}");
}
