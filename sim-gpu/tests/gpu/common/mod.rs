//! A machine with one process, one or more GPUs, and memory in which every page holds its own number.

use interleave::lab::Violation;
use interleave::{Config, End, Execution, Launch, Outcome, Program, Sim, Strategy, explore};
use model::platform::{DmaAddr, DmaDirection, PteFlags, PteUpdate, VmaFlags};
use model::units::{Bytes, PAGE_SIZE, Pages};
use sim_gpu::{Access, GpuConfig, GpuFault, GpuVm, Kfd, properties};
use sim_mm::{AddressSpace, Memory, Options};
use std::rc::Rc;

pub(crate) type Mm = AddressSpace<Sim>;
pub(crate) type Gpu = GpuVm<Sim>;

/// First page of the process's memory: aligned to a huge leaf.
pub(crate) const BASE: u64 = 0x200;

pub(crate) const RO: PteFlags = PteFlags(PteFlags::VALID.0 | PteFlags::SYSTEM.0 | PteFlags::READABLE.0);
pub(crate) const RW: PteFlags = PteFlags(RO.0 | PteFlags::WRITEABLE.0);

#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) memory: Memory<Sim>,
    pub(crate) mm: Mm,
    pub(crate) kfd: Kfd<Sim>,
    pub(crate) gpu: Gpu,
}

/// A process with `pages` pages from [`BASE`], the n-th holding its page number at offset 0, and a GPU.
pub(crate) fn machine(pages: u64) -> Machine {
    machine_with(pages, |_| {})
}

/// The same, and `configure` says what the GPU has.
pub(crate) fn machine_with(pages: u64, configure: impl FnOnce(&mut GpuConfig)) -> Machine {
    let memory = Memory::new();
    let mm = AddressSpace::new(&memory, 1, Options::default()).expect("an address space");
    let flags = VmaFlags { read: true, write: true, anon: true, ..VmaFlags::default() };
    if pages > 0 {
        mm.mmap(bytes(BASE, pages), flags).expect("mmap");
    }
    for page in BASE..BASE + pages {
        mm.store(page * PAGE_SIZE, page).expect("a store to a writable page");
    }
    let kfd = Kfd::new(|mm: &Mm| mm.id() == 1);
    memory.on_folio_free(Rc::new(|_, _| {}));
    let gpu = gpu_with(&memory, &kfd, "gpu0", 0, configure);
    let worker = gpu.clone();
    Sim::on_work(move |_, func| worker.run_work(func));
    Machine { memory, mm, kfd, gpu }
}

pub(crate) fn gpu(memory: &Memory<Sim>, kfd: &Kfd<Sim>, name: &'static str, domain: u8) -> Gpu {
    gpu_with(memory, kfd, name, domain, |_| {})
}

pub(crate) fn gpu_with(
    memory: &Memory<Sim>,
    kfd: &Kfd<Sim>,
    name: &'static str,
    domain: u8,
    configure: impl FnOnce(&mut GpuConfig),
) -> Gpu {
    let mut config = GpuConfig::new(name, domain, properties::GFX1100);
    configure(&mut config);
    GpuVm::new(config, memory, kfd).expect("a GPU")
}

pub(crate) fn bytes(page: u64, pages: u64) -> Bytes {
    Bytes::new(page * PAGE_SIZE, (page + pages) * PAGE_SIZE)
}

pub(crate) fn set(page: u64, count: u64, flags: PteFlags, addr: DmaAddr) -> PteUpdate {
    let pages = Pages::new(page, page + count - 1);
    PteUpdate { unlocked: false, flush: true, allow_override: true, pages, flags, addr: Some(addr) }
}

/// What the notifier does.
pub(crate) fn clear(page: u64, count: u64) -> PteUpdate {
    let pages = Pages::new(page, page + count - 1);
    PteUpdate { unlocked: true, flush: true, allow_override: false, pages, flags: PteFlags::NONE, addr: None }
}

/// What the driver does with the root reserved.
pub(crate) fn clear_locked(page: u64, count: u64) -> PteUpdate {
    PteUpdate { unlocked: false, ..clear(page, count) }
}

impl Machine {
    /// The frame behind a page of the process.
    pub(crate) fn pfn(&self, page: u64) -> u64 {
        self.mm.peek_mapped(page).expect("a mapped page").0
    }

    pub(crate) fn dma_map(&self, page: u64) -> DmaAddr {
        self.gpu.dma_map(self.pfn(page), 0, DmaDirection::Bidirectional).expect("a DMA mapping")
    }

    pub(crate) fn dma_unmap(&self, addr: DmaAddr) {
        self.gpu.dma_unmap(addr, 0, DmaDirection::Bidirectional);
    }

    /// Maps one page of the process to the GPU, the whole way.
    pub(crate) fn map(&self, page: u64, flags: PteFlags) -> DmaAddr {
        let addr = self.dma_map(page);
        self.update(&set(page, 1, flags, addr));
        addr
    }

    /// A locked update, PDEs and TLB flush included.
    pub(crate) fn update(&self, update: &PteUpdate) {
        let root = self.gpu.reserve_root().expect("the root");
        let fence = self.gpu.update_range(update).expect("an update");
        self.gpu.wait_fence(fence.expect("a fence"));
        self.gpu.update_pdes(&root).expect("PDEs");
        self.gpu.flush_tlb();
    }

    pub(crate) fn read(&self, page: u64) -> Result<u64, GpuFault> {
        self.gpu.access(page * PAGE_SIZE, Access::Read)
    }

    pub(crate) fn write(&self, page: u64, value: u64) -> Result<u64, GpuFault> {
        self.gpu.access(page * PAGE_SIZE, Access::Write(value))
    }

    /// Clear, flush, revoke: a notifier that does its duty, up to the parts a test leaves out.
    pub(crate) fn invalidate(&self, page: u64, addr: DmaAddr, flush: bool) {
        self.gpu.update_range(&clear(page, 1)).expect("a clear");
        if flush {
            self.gpu.flush_tlb();
        }
        self.dma_unmap(addr);
    }
}

struct Setup<F>(F);

impl<F: Fn(&mut Launch)> Program for Setup<&F> {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        (self.0)(launch);
        Box::new(Rest)
    }
}

struct Rest;

impl Execution for Rest {
    fn at_rest(&self) {}
}

/// Every interleaving: all of them up to `preemptions` preemptions, or reduced without a bound.
fn explored(preemptions: Option<u32>, setup: &impl Fn(&mut Launch)) -> Outcome {
    let strategy = Strategy::Exhaustive { preemptions, reduction: true };
    explore(&Setup(setup), &Config { strategy, ..Config::default() }, None, None)
}

/// The actors that `setup` starts violate nothing, in any interleaving; nor in those up to `preemptions` preemptions,
/// where nothing is left out because something is thought independent.
pub(crate) fn holds(preemptions: u32, setup: impl Fn(&mut Launch)) {
    for bound in [Some(preemptions), None] {
        let outcome = explored(bound, &setup);
        if let Some(failure) = outcome.failure {
            panic!("{:?}", failure.violation);
        }
        assert_eq!(outcome.end, End::Exhausted);
    }
}

/// Some interleaving of the actors that `setup` starts violates something, and the reduction does not lose it.
pub(crate) fn falls(setup: impl Fn(&mut Launch)) -> Violation {
    let [all, reduced] = [Some(2), None].map(|bound| explored(bound, &setup).failure.expect("a violation").violation);
    assert_eq!(all.invariant, reduced.invariant, "{} / {}", all.what, reduced.what);
    reduced
}

/// What one actor alone violates.
pub(crate) fn falls_alone(machine: impl Fn() -> Machine, act: impl Fn(&Machine) + Copy + 'static) -> Violation {
    falls(|launch| {
        let machine = machine();
        launch.actor("alone", move || act(&machine));
    })
}
