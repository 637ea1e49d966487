//! `poc-v8` with everything it is made for: a GPU that faults and retries, with memory of its own.

use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, Execution, Launch, Limits, Outcome, Program, Sim, Strategy, explore};
use model::Errno;
use model::amdgpu::uapi::AMDGPU_SVM_OP_SET_ATTR;
use model::amdgpu::{Design, IoctlArgs, Svm, SvmConfig, UserAttrs};
use model::attr::UapiAttr;
use model::attr::v4::AttrTypeV4;
use model::gpusvm::Port;
use model::platform::*;
use model::units::{Bytes, PAGE_SIZE};
use sim_gpu::retry::{FaultVerdict, RetryConfig};
use sim_gpu::vram::VramConfig;
use sim_gpu::{Access, GpuConfig, GpuFault, GpuVm, Kfd, properties};
use sim_mm::{AddressSpace, Memory, Options};
use std::cell::OnceCell;
use std::rc::Rc;

struct Simulated;
impl Platform for Simulated {
    type Kernel = Sim;
    type Framework = Port;
    type Mm = AddressSpace<Sim>;
    type Gpu = GpuVm<Sim>;
}

const BASE: u64 = 0x200;
const RW: VmaFlags =
    VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };

struct User(UapiAttr);
impl UserAttrs for User {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        out.fill(self.0);
        Ok(())
    }
    fn copy_out(&mut self, _: &[UapiAttr]) -> Result<(), Errno> {
        Ok(())
    }
}

struct Machine {
    memory: Memory<Sim>,
    mm: AddressSpace<Sim>,
    gpu: GpuVm<Sim>,
    svm: OnceCell<Svm<Simulated>>,
    clock: <Sim as Kernel>::DelayedWork,
    _clock_queue: <Sim as Kernel>::WorkQueue,
}

fn bytes(page: u64, pages: u64) -> Bytes {
    Bytes::new(page * PAGE_SIZE, (page + pages) * PAGE_SIZE)
}

impl Machine {
    /// `pages` pages, each holding its number; `vram` pages on the GPU.
    fn new(pages: u64, vram: u64) -> Rc<Machine> {
        let memory = Memory::new();
        let mm = AddressSpace::new(&memory, 1, Options { immortal: true, ..Options::default() }).expect("setup");
        mm.mmap(bytes(BASE, pages), RW).expect("setup");
        for page in BASE..BASE + pages {
            mm.store(page * PAGE_SIZE, page).expect("setup");
        }
        let kfd = Kfd::new(|mm: &AddressSpace<Sim>| mm.id() == 1);
        let mut config = GpuConfig::new("gpu0", 0, properties::GFX942);
        config.retry = Some(RetryConfig::default());
        config.vram = Some(VramConfig::new(PagemapId(0), vram));
        let gpu = GpuVm::new(config, &memory, &kfd).expect("setup");
        let queue = Sim::alloc_workqueue("clock", QueueKind::Unbound).expect("setup");
        let clock = queue.delayed_work(ClientId(9), WorkFunc::Restore).expect("setup");
        let machine = Rc::new(Machine { memory, mm, gpu, svm: OnceCell::new(), clock, _clock_queue: queue });
        let svm = Svm::init(SvmConfig::new(Design::PocV8, ClientId(0)), machine.mm.clone(), machine.gpu.clone());
        assert!(machine.svm.set(svm.expect("setup")).is_ok());
        machine.wire();
        machine
    }

    /// What the platform calls.
    fn wire(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        self.mm.on_invalidate(Rc::new(move |entry, event, seq| {
            weak.upgrade().is_none_or(|m| m.svm().mmu_invalidate(entry.cookie, event, seq))
        }));
        let weak = Rc::downgrade(self);
        self.mm.on_device_fault(Rc::new(move |_, mm, held, addr, pfn| {
            let held = held.expect("mmap_lock is held for read");
            weak.upgrade().ok_or(Errno::EFAULT)?.svm().migrate_to_ram(mm, held, addr, pfn)
        }));
        let weak = Rc::downgrade(self);
        self.memory.on_folio_free(Rc::new(move |_, data| {
            if let Some(m) = weak.upgrade() {
                m.svm().folio_free(data);
            }
        }));
        let weak = Rc::downgrade(self);
        self.gpu.on_evict(Rc::new(move |block| weak.upgrade().ok_or(Errno::EBUSY)?.svm().evict_vram(block)));
        let weak = Rc::downgrade(self);
        self.gpu.on_retry_fault(Rc::new(move |fault| {
            let handled = weak.upgrade().is_some_and(|m| m.svm().handle_fault(fault).is_ok());
            if handled { FaultVerdict::Handled } else { FaultVerdict::NoRetry }
        }));
    }

    fn sequential(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        Sim::on_work(move |client, func| weak.upgrade().expect("the machine lives").work(client, func));
        self.tick(100);
    }

    fn work(&self, client: ClientId, func: WorkFunc) {
        match (client, func) {
            (ClientId(0), WorkFunc::Gc) => self.svm().gc_work(),
            (ClientId(0), WorkFunc::Restore) => self.svm().restore_work(),
            (ClientId(0), func) => self.gpu.run_work(func),
            _ => {}
        }
    }

    fn tick(&self, ms: u64) {
        self.clock.queue(ms);
        Sim::run_pending();
    }

    fn svm(&self) -> &Svm<Simulated> {
        self.svm.get().expect("set up")
    }

    fn set(&self, bytes: Bytes, attr: UapiAttr) -> Result<(), Errno> {
        let args = IoctlArgs {
            start_addr: bytes.start,
            size: bytes.len(),
            operation: AMDGPU_SVM_OP_SET_ATTR,
            nattr: 1,
            attrs_ptr_null: false,
        };
        self.svm().ioctl(&args, &mut User(attr))
    }

    fn read(&self, page: u64) -> Result<u64, GpuFault> {
        self.gpu.access(page * PAGE_SIZE, Access::Read)
    }
    fn write(&self, page: u64, value: u64) -> Result<u64, GpuFault> {
        self.gpu.access(page * PAGE_SIZE, Access::Write(value))
    }
    fn load(&self, page: u64) -> u64 {
        self.mm.load(page * PAGE_SIZE).expect("the CPU may")
    }

    /// How many pages of VRAM are in use.
    fn used(&self) -> u64 {
        self.gpu.vram().expect("it has some").pages - self.gpu.vram_free_pages()
    }

    fn end(&self) {
        self.svm().fini();
        self.mm.munmap(bytes(BASE, 0x400)).expect("munmap");
        assert_eq!((self.used(), self.svm().pagemap().expect("it has one").allocations()), (0, 0));
        assert!(self.memory.any_dma().is_none());
        self.mm.clear_hooks();
    }
}

const PREFER: UapiAttr = AttrTypeV4::PreferredLoc.with(1);
const PREFETCH: UapiAttr = AttrTypeV4::PrefetchLoc.with(1);

#[test]
fn the_gpu_faults_and_goes_on_in_system_memory() {
    let m = Machine::new(0x20, 0x40);
    m.sequential();
    assert_eq!(m.read(BASE + 3), Ok(BASE + 3));
    assert_eq!(m.used(), 0);
    assert!(m.gpu.pte(BASE + 3).flags.has(PteFlags::SYSTEM));
    m.end();
}

#[test]
fn preferred_pages_go_to_the_gpu_when_it_faults_and_back_when_the_cpu_does() {
    let m = Machine::new(0x20, 0x40);
    m.sequential();
    m.set(bytes(BASE, 0x20), PREFER).unwrap();
    assert_eq!(m.write(BASE + 3, 77), Ok(77));
    assert_eq!(m.used(), 0x10, "the range, whole");
    let flags = m.gpu.pte(BASE + 3).flags;
    assert!(!flags.has(PteFlags::SYSTEM) && flags.has(PteFlags::WRITEABLE), "{flags:?}");
    m.tick(10);
    assert_eq!(m.load(BASE + 3), 77);
    assert_eq!(m.load(BASE + 4), BASE + 4);
    assert_eq!(m.used(), 0, "one CPU access brings back all that came together");
    assert!(m.gpu.mapped().is_empty());
    // And there again.
    assert_eq!(m.read(BASE + 3), Ok(77));
    assert_eq!(m.used(), 0x10);
    m.tick(10);
    m.end();
}

#[test]
fn prefetching_brings_pages_before_anybody_faults() {
    let m = Machine::new(0x20, 0x40);
    m.sequential();
    m.set(bytes(BASE, 0x20), PREFETCH).unwrap();
    assert_eq!((m.used(), m.gpu.mapped().len()), (0x20, 0x20));
    for page in BASE..BASE + 0x20 {
        assert_eq!(m.read(page), Ok(page));
    }
    m.tick(10);
    m.end();
}

#[test]
fn whoever_needs_room_evicts_who_came_first() {
    let m = Machine::new(0x20, 0x10);
    m.sequential();
    m.set(bytes(BASE, 0x20), PREFER).unwrap();
    assert_eq!(m.write(BASE, 1), Ok(1));
    assert_eq!(m.write(BASE + 0x10, 2), Ok(2), "the second range needs all of the memory");
    assert_eq!(m.used(), 0x10);
    // R27 without any race: pages are evicted one by one, the first event makes the range count as not mapped, and the
    // entries of the other fifteen stay, into memory that is the second range's now.
    let stale: Vec<u64> = m.gpu.mapped().into_iter().map(|(page, _)| page).filter(|page| *page < BASE + 0x10).collect();
    assert_eq!(stale, (BASE + 1..BASE + 0x10).collect::<Vec<_>>());
    assert_eq!(m.load(BASE), 1, "it is in system memory, timeslice or not");
    m.tick(10); // or the fault would count as a duplicate
    assert_eq!(m.read(BASE), Ok(1), "and comes back, in its turn");
    m.tick(10);
    m.end();
}

#[test]
fn a_change_that_cuts_a_range_brings_its_device_pages_back() {
    let m = Machine::new(0x10, 0x40);
    m.sequential();
    m.set(bytes(BASE, 0x10), PREFER).unwrap();
    assert_eq!(m.write(BASE + 5, 55), Ok(55));
    assert_eq!(m.used(), 0x10);
    m.tick(10);
    m.set(bytes(BASE + 4, 4), AttrTypeV4::GpuExec.with(1)).unwrap();
    assert_eq!(m.used(), 0, "L5: under the root's reservation, but they come");
    assert_eq!(m.load(BASE + 5), 55);
    m.end();
}

#[test]
fn munmap_gives_the_memory_back() {
    let m = Machine::new(0x10, 0x40);
    m.sequential();
    m.set(bytes(BASE, 0x10), PREFER).unwrap();
    m.write(BASE, 1).unwrap();
    m.mm.munmap(bytes(BASE, 0x10)).unwrap();
    Sim::run_pending();
    assert_eq!(m.used(), 0);
    m.end();
}

type Act = fn(&Machine);

/// `setup`, then threads and waves.
struct Race {
    pages: u64,
    setup: Act,
    actors: Vec<Act>,
}

struct AtRest(Rc<Machine>);
impl Execution for AtRest {
    fn at_rest(&self) {
        let m = &self.0;
        m.svm().inspect().check();
        m.tick(10);
        m.end();
    }
}

impl Program for Race {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let m = Machine::new(self.pages, 0x10);
        let worker = Rc::downgrade(&m);
        launch.on_work(move |client, func| {
            if let Some(m) = worker.upgrade() {
                m.work(client, func);
            }
        });
        (self.setup)(&m);
        for (i, act) in self.actors.iter().enumerate() {
            let (m, act) = (m.clone(), *act);
            launch.actor(&format!("actor{i}"), move || act(&m));
        }
        Box::new(AtRest(m))
    }
}

fn search(race: &Race, preemptions: u32) -> Outcome {
    let config = Config {
        strategy: Strategy::FewestPreemptions { most: Some(preemptions) },
        limits: Limits { executions: Some(20_000), ..Limits::default() },
        ..Config::default()
    };
    explore(race, &config, None, None)
}

fn prefer(m: &Machine) {
    m.set(bytes(BASE, 1), PREFER).expect("set");
}
fn gpu_reads(m: &Machine) {
    if let Err(fault) = m.read(BASE) {
        Sim::fail(Violation::new(Invariant::I11, format!("a legal access is fatal: {fault}"), None));
    }
}
fn migrates(m: &Machine) {
    m.mm.migrate_pages(bytes(BASE, 1)).expect("migration");
}

/// A migration that meets the CPU's own gives up with EBUSY, and the fault handler hands that on.
#[test]
fn a_migration_that_loses_against_another_is_fatal_for_the_wave() {
    let outcome = search(&Race { pages: 1, setup: prefer, actors: vec![gpu_reads, migrates] }, 1);
    let violation = outcome.failure.expect("a violation").violation;
    assert_eq!(violation.invariant, Invariant::I11, "{violation:?}");
}
