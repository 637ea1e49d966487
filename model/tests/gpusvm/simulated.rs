//! The drm_gpusvm port in the simulator: every interleaving of one driver thread with the address space changing under
//! it. The lab checks the lock contract of the trees, flags and arrays on the way (invariant I9, data races).

use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Execution, Launch, Outcome, Program, Sim, explore};
use model::Errno;
use model::gpusvm::{self, ChunkSizes, Ctx, DriverLocked, GpuSvm, Port, TreeAccess};
use model::platform::*;
use model::units::{Bytes, PAGE_SHIFT};
use sim_mm::{AddressSpace, Memory, Options};
use std::cell::Cell;
use std::rc::Rc;

struct Simulated;
impl Platform for Simulated {
    type Kernel = Sim;
    type Framework = Port;
    type Mm = AddressSpace<Sim>;
    type Gpu = Dma;
}
type Svm = GpuSvm<Simulated, ()>;

/// A GPU without an IOMMU: bus addresses are frame addresses, and the memory counts who maps its frames.
#[derive(Clone)]
struct Dma(Memory<Sim>);

const ONLY_DMA: &str = "drm_gpusvm does no more than DMA mapping";

impl Vram<Sim> for Dma {}
impl RetryFaults<Sim> for Dma {}

impl Gpu<Sim, AddressSpace<Sim>> for Dma {
    type RootReserved<'a> = ();
    fn properties(&self) -> GpuProperties {
        unreachable!("{ONLY_DMA}")
    }
    fn reserve_root(&self) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn update_range(&self, _: &PteUpdate) -> Result<Option<Fence>, Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn update_pdes(&self, _: &()) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn wait_fence(&self, _: Fence) {
        unreachable!("{ONLY_DMA}")
    }
    fn flush_tlb(&self) {
        unreachable!("{ONLY_DMA}")
    }
    fn quiesce_mm(&self, _: &AddressSpace<Sim>) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn resume_mm(&self, _: &AddressSpace<Sim>) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn dma_map(&self, pfn: u64, order: u8, _: DmaDirection) -> Result<DmaAddr, Errno> {
        self.0.dma_map(pfn, order);
        Ok(DmaAddr(pfn << PAGE_SHIFT))
    }
    fn dma_unmap(&self, addr: DmaAddr, order: u8, _: DmaDirection) {
        self.0.dma_unmap(addr.0 >> PAGE_SHIFT, order);
    }
}

const BUF: Bytes = Bytes::new(0x200000, 0x202000);
const ALL: Bytes = Bytes::new(0, u64::MAX);
const RW: VmaFlags =
    VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };

/// What the application does meanwhile.
type App = fn(&AddressSpace<Sim>);

/// One driver thread maps the first page of a buffer, checks what it got under the notifier lock, and removes the range
/// again. The others are applications.
struct Map {
    apps: Vec<App>,
    /// The driver removes the range (and with it the notifier) at the end; else that is left to fini.
    remove: bool,
}

struct World {
    mm: AddressSpace<Sim>,
    memory: Memory<Sim>,
    svm: Svm,
    svm_lock: <Sim as Kernel>::RwSem<()>,
    committed: Cell<u32>,
}

impl World {
    fn fail(what: String) -> ! {
        Sim::fail(Violation::new(Invariant::I2, what, None))
    }

    /// The documented flow (spec drm-gpusvm 21), a few rounds of it.
    fn map(&self) -> Result<(), Errno> {
        for _ in 0..3 {
            let guard = RwSem::write(&self.svm_lock);
            let locked = DriverLocked::by::<Simulated>(&guard);
            let range = self.svm.find_or_insert(locked, BUF.start, BUF, &Ctx::default(), || ())?;
            if self.svm.range(range).flags().unmapped {
                self.svm.range_remove(locked, range);
                continue;
            }
            self.svm.get_pages(locked, range, &Ctx::default())?;
            let nl = self.svm.notifier_lock();
            if !self.svm.pages_valid(nl.held(), range) {
                continue;
            }
            // The commit: under the notifier lock the DMA array names what the CPU names.
            self.svm.for_each_dma(nl.held(), range, |page, entry| {
                let at = BUF.start + (page << PAGE_SHIFT);
                let pfn = entry.addr.0 >> PAGE_SHIFT;
                let cpu = self.mm.peek_mapped(at >> PAGE_SHIFT).map(|(pfn, _)| pfn);
                if cpu != Some(pfn) || !self.memory.is_live(pfn) {
                    World::fail(format!("{at:#x}: the GPU would reach frame {pfn:#x}, the CPU {cpu:x?}"));
                }
                Ok(())
            })?;
            self.committed.set(self.committed.get() + 1);
            return Ok(());
        }
        Err(Errno::EAGAIN)
    }

    fn remove_all(&self) {
        let guard = RwSem::write(&self.svm_lock);
        let locked = DriverLocked::by::<Simulated>(&guard);
        while let Some(notifier) = self.svm.first_notifier(locked, ALL) {
            let range = self.svm.first_range(notifier, ALL, TreeAccess::Driver(locked));
            self.svm.range_remove(locked, range.expect("a notifier has a range"));
        }
    }
}

/// The callback with a driver's duties.
fn callback(svm: &Svm, entry: NotifierEntry, event: &MmuEvent, seq: u64) -> bool {
    svm.notifier_invalidate(entry.cookie, event, seq, |nl, notifier| {
        let access = TreeAccess::Callback(nl);
        let mut next = svm.first_range(notifier, event.bytes, access);
        while let Some(range) = next {
            svm.unmap_pages_in_notifier(nl, range);
            if event.kind == EventKind::Unmap {
                svm.set_unmapped(nl, range, event.bytes);
            }
            next = svm.next_range(range, event.bytes.end, access);
        }
    })
}

impl Program for Map {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let memory = Memory::new();
        let mm = AddressSpace::new(&memory, 0, Options::default()).expect("setup");
        mm.mmap(BUF, RW).expect("setup");
        mm.store(BUF.start, 7).expect("setup");
        let config = gpusvm::Config {
            name: "sim",
            mm_start: 0,
            mm_range: 1 << 47,
            notifier_size: 512 << 20,
            chunk_sizes: ChunkSizes::DEFAULT,
            client: ClientId(0),
        };
        let world = Rc::new(World {
            svm: Svm::new(config, mm.clone(), Dma(memory.clone())).expect("setup"),
            svm_lock: RwSem::new("svm_lock", ()).expect("setup"),
            mm,
            memory,
            committed: Cell::new(0),
        });
        let called = Rc::downgrade(&world);
        world.mm.on_invalidate(Rc::new(move |entry, event, seq| {
            let world = called.upgrade().expect("the world outlives its notifiers");
            callback(&world.svm, entry, event, seq)
        }));

        let (driver, remove) = (world.clone(), self.remove);
        launch.actor("driver", move || {
            match driver.map() {
                Ok(()) | Err(Errno::ENOENT | Errno::EFAULT | Errno::EAGAIN) => (),
                Err(other) => World::fail(format!("mapping gives {other}")),
            }
            if remove {
                driver.remove_all();
            }
        });
        for (i, app) in self.apps.iter().enumerate() {
            let (mm, app) = (world.mm.clone(), *app);
            launch.actor(&format!("app{i}"), move || app(&mm));
        }
        Box::new(AtRest(world))
    }
}

struct AtRest(Rc<World>);
impl Execution for AtRest {
    fn at_rest(&self) {
        let world = &self.0;
        world.svm.check(DriverLocked::at_rest());
        world.svm.fini(DriverLocked::at_rest());
        if let Some((pfn, at)) = world.memory.any_dma() {
            Sim::fail(Violation::new(Invariant::I5, format!("frame {pfn:#x} is still DMA mapped"), Some(at)));
        }
        world.mm.clear_hooks();
    }
}

fn munmap(mm: &AddressSpace<Sim>) {
    mm.munmap(Bytes::new(BUF.start, BUF.start + 0x1000)).expect("munmap");
}
fn migrate(mm: &AddressSpace<Sim>) {
    mm.migrate_pages(Bytes::new(BUF.start, BUF.start + 0x1000)).expect("migration");
}
fn dontneed(mm: &AddressSpace<Sim>) {
    mm.madvise_dontneed(BUF).expect("madvise");
}

fn search(apps: &[App], remove: bool, planted: &[Plant]) -> Outcome {
    let limits = interleave::Limits { executions: Some(300_000), ..Default::default() };
    let config = Config { planted: planted.to_vec(), limits, ..Config::default() };
    explore(&Map { apps: apps.to_vec(), remove }, &config, None, None)
}

fn holds(apps: &[App], remove: bool) {
    let outcome = search(apps, remove, &[]);
    let fell = outcome.failure.map(|failure| failure.violation);
    assert_eq!((fell, outcome.end), (None, End::Exhausted), "{:?}", outcome.stats);
    assert!(outcome.stats.executions > 1, "nothing was interleaved");
}

#[test]
fn mapping_against_munmap_holds_in_every_interleaving() {
    holds(&[munmap], false);
}

#[test]
fn mapping_and_removing_against_munmap_holds_in_every_interleaving() {
    holds(&[munmap], true);
}

#[test]
fn mapping_and_removing_against_migration_holds_in_every_interleaving() {
    holds(&[migrate], true);
}

#[test]
fn mapping_against_madvise_without_mmap_lock_holds_in_every_interleaving() {
    holds(&[dontneed], false);
}

#[test]
fn mapping_and_removing_against_two_threads_holds_in_every_interleaving() {
    holds(&[munmap, migrate], true);
}

#[test]
fn mapping_and_removing_against_two_events_without_a_vma_change_holds_in_every_interleaving() {
    holds(&[dontneed, migrate], true);
}

/// With munmap alone the bug stays hidden: the UNMAP event marks the range, and that is tested before the sequence.
#[test]
fn without_the_sequence_check_a_migrated_page_is_mapped_but_an_unmapped_one_is_not() {
    assert_eq!(search(&[munmap], false, &[Plant::SkipReadRetry]).end, End::Exhausted);
    for apps in [&[migrate as App], &[dontneed as App]] {
        let outcome = search(apps, false, &[Plant::SkipReadRetry]);
        assert_eq!(outcome.end, End::Violated);
        let violation = outcome.failure.expect("a violation").violation;
        assert!([Invariant::I2, Invariant::I3].contains(&violation.invariant), "{violation:?}");
    }
}
