//! The world: one process, its address space, the GPUs, the driver on each, wired together as a scenario says.
//!
//! Generic over the back end, so that the controlled scheduler and loom run the same world.

mod child;
mod device;
mod driver;
mod platform;
mod program;
mod promise;
mod record;
mod second_opinion;
mod thread;
mod uapi;
mod wave;

use child::Child;
pub use device::Device;
pub use driver::View;
pub use platform::Simulated;
pub use program::ScenarioProgram;
pub use promise::{Change, Promises};
pub use record::{GpuRefusal, Part, Record, errno_name};
pub use second_opinion::{LoomQuestion, Opinion, ask_loom};
pub use uapi::Uapi;

use crate::gates;
use crate::invariants;
use crate::lang::{Design, OpKind, Region, RegionKind, Scenario};
use interleave::lab::{Gate, Lab};
use model::Errno;
use model::amdgpu::vm::Handled;
use model::platform::{ClientId, GpuProperties, MmuEvent, NotifierEntry, Owner, PagemapId, WorkFunc};
use model::units::{PAGE_SIZE, Pages};
use sim_gpu::retry::{FaultVerdict, RetryConfig};
use sim_gpu::vram::VramConfig;
use sim_gpu::{GpuConfig, GpuVm, Kfd};
use sim_mm::{AddressSpace, File, Memory, MmapRead};
use std::cell::Cell;
use std::rc::Rc;

/// Everything that exists while a scenario runs.
pub struct World<L: Lab> {
    /// What it was built from.
    pub scenario: Rc<Scenario>,
    /// Which driver runs.
    pub design: Design,
    /// Physical memory.
    pub memory: Memory<L>,
    /// The process's address space.
    pub mm: AddressSpace<L>,
    /// KFD's view of the process.
    pub kfd: Kfd<L>,
    /// The GPUs, in the order of the scenario; the index is the [`ClientId`].
    pub gpus: Vec<Device<L>>,
    /// The processes that are forked while the scenario runs.
    children: Vec<Child<L>>,
    /// Whether the process has put its own use of the mm.
    ended: Cell<bool>,
    /// For each actor that somebody waits for: 1 when it has finished.
    finished: Vec<(String, L::Gate)>,
    /// What operations come to, when that is to be kept and not judged.
    record: Option<Rc<Record>>,
}

impl<L: Lab> World<L> {
    /// Builds the machine, maps the regions and opens the driver on each GPU.
    pub fn build(scenario: Rc<Scenario>, design: Design) -> Rc<Self> {
        Self::build_with(scenario, design, None)
    }

    /// The same, and what operations come to is kept ([`World::record`]), whatever the scenario expects. Invariants that
    /// need to see the whole world are not looked at.
    pub fn build_to_record(scenario: Rc<Scenario>, design: Design) -> Rc<Self> {
        Self::build_with(scenario, design, Some(Rc::default()))
    }

    fn build_with(scenario: Rc<Scenario>, design: Design, record: Option<Rc<Record>>) -> Rc<Self> {
        let memory = Memory::new();
        if design == Design::Kfd {
            // It takes DMA mappings back when it maps again, or never (spec kfd-svm 6).
            memory.allow_stale_dma();
        }
        let options = sim_mm::Options {
            thp: scenario.regions.iter().any(|r| r.thp),
            immortal: !exits(&scenario),
            shares: shares(&scenario),
            // What is recorded is held against a kernel, which merges.
            merge: record.is_some(),
            ..sim_mm::Options::default()
        };
        let mm = AddressSpace::new(&memory, 0, options).expect("nothing fails before the race");
        let kfd = Kfd::new(|mm: &AddressSpace<L>| mm.id() == 0);
        let hives = hives(&scenario);
        let regions: Vec<Pages> = scenario.regions.iter().map(|r| r.bytes.pages()).collect();
        let gpus = scenario
            .gpus
            .iter()
            .enumerate()
            .map(|(domain, decl)| {
                let properties = GpuProperties {
                    gc: decl.gc,
                    apu: decl.apu,
                    multi_node: false,
                    mtype_local: 0,
                    noretry: !decl.xnack,
                    sriov_without_xnack: false,
                    max_pfn: 1 << 36,
                    default_granularity: decl.granularity.unwrap_or(9),
                };
                let mut config = GpuConfig::new(gpu_name(domain), domain as u8, properties);
                config.retry = decl.xnack.then(|| RetryConfig { cam: decl.retry_cam, ..RetryConfig::default() });
                config.sdma_updates = decl.sdma_updates;
                config.vram = (decl.vram > 0).then(|| VramConfig {
                    pagemap: PagemapId(domain as u32),
                    owner: Owner(hives[domain].map_or(1 + domain as u64, |hive| 0x100 + u64::from(hive))),
                    pages: decl.vram / PAGE_SIZE,
                    hive: hives[domain],
                    p2p: false,
                });
                let vm = GpuVm::new(config, &memory, &kfd).expect("nothing fails before the race");
                Device::new(decl, vm, regions.clone())
            })
            .collect();
        let world = Rc::new(World {
            ended: Cell::new(false),
            children: forked(&scenario).map(|name| Child::new(&name)).collect(),
            finished: awaited(&scenario).into_iter().map(|name| (name, L::Gate::new("finished", 0))).collect(),
            scenario,
            design,
            memory,
            mm,
            kfd,
            gpus,
            record,
        });
        world.wire(design);
        world
    }

    fn wire(self: &Rc<Self>, design: Design) {
        let mut files = 0;
        for region in self.scenario.regions.iter().filter(|region| region.mapped) {
            self.map_region(region, &mut files).expect("the parser has checked the regions");
            if region.populate {
                self.mm.populate(region.bytes).expect("a fresh region can be populated");
            }
        }
        let weak = Rc::downgrade(self);
        self.mm.on_invalidate(Rc::new(move |entry: NotifierEntry, event: &MmuEvent, seq: u64| {
            weak.upgrade().is_none_or(|world| world.invalidate(entry, event, seq))
        }));
        let weak = Rc::downgrade(self);
        self.mm.on_release(Rc::new(move || {
            // KFD's release hook runs before the address space goes: its queues are destroyed, not stopped.
            if let Some(world) = weak.upgrade()
                && let Some(device) = world.gpus.first()
            {
                device.driver().process_release(|| world.kfd.release());
            }
        }));
        let weak = Rc::downgrade(self);
        self.kfd.on_resumed(move |gpu| {
            if let Some(world) = weak.upgrade().filter(|world| world.record.is_none()) {
                invariants::i7::at_resume(&world, gpu);
            }
        });
        self.wire_device_memory();
        let vms: Vec<GpuVm<L>> = self.gpus.iter().map(|device| device.vm.clone()).collect();
        for (device, driver) in self.gpus.iter().zip(driver::open(design, &self.scenario.gpus, &vms, &self.mm)) {
            device.open(driver);
        }
    }

    /// Who is called for retry faults, for pages in a GPU's memory, and for room there.
    fn wire_device_memory(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        self.memory.on_folio_free(Rc::new(move |id: PagemapId, data| {
            if let Some(world) = weak.upgrade() {
                world.gpus[id.0 as usize].driver().folio_free(data);
            }
        }));
        let weak = Rc::downgrade(self);
        let fault = move |id: PagemapId, mm: &AddressSpace<L>, held: Option<&MmapRead<'_, L>>, addr, pfn| {
            let world = weak.upgrade().ok_or(Errno::EFAULT)?;
            world.gpus[id.0 as usize].driver().migrate_to_ram(mm, held, addr, pfn)
        };
        self.mm.on_device_fault(Rc::new(fault));
        for (index, device) in self.gpus.iter().enumerate() {
            let weak = Rc::downgrade(self);
            device.vm.on_retry_fault(Rc::new(move |fault| {
                let handled = weak.upgrade().map_or(Handled::NoVm, |world| world.gpus[index].handle_fault(fault));
                match handled {
                    Handled::NoVm | Handled::Failed(_) => FaultVerdict::NoRetry,
                    _ => FaultVerdict::Handled,
                }
            }));
            let weak = Rc::downgrade(self);
            device.vm.on_evict(Rc::new(move |block| {
                let world = weak.upgrade().ok_or(Errno::EBUSY)?;
                world.gpus[index].driver().evict_vram(block)
            }));
        }
    }

    fn map_region(&self, region: &Region, files: &mut u32) -> Result<(), Errno> {
        let (bytes, flags) = (region.bytes, thread::vma_flags(region.prot, region.kind));
        if !region.kind.has_file() {
            return self.mm.mmap(bytes, flags);
        }
        let file = File::new(&self.memory, *files, bytes.pages().count());
        *files += 1;
        match region.kind {
            RegionKind::Shared => self.mm.mmap_shared(bytes, flags, &file),
            kind => self.mm.mmap_file(bytes, flags, &file, 0, kind == RegionKind::File),
        }
    }

    /// What happens before the race, one after the other.
    pub fn prepare(&self) {
        for op in &self.scenario.prepare {
            self.perform(op);
        }
    }

    /// The address space that thread `index` acts on; of a process that is forked later, once it has been.
    pub(crate) fn space_of_thread(&self, index: usize) -> AddressSpace<L> {
        let process = self.scenario.threads[index].process.as_ref();
        let child = process.and_then(|name| self.children.iter().find(|child| child.name == *name));
        child.map_or_else(|| self.mm.clone(), Child::wait)
    }

    /// The body of thread `index`.
    pub fn run_thread(&self, index: usize) {
        let (thread, mm) = (&self.scenario.threads[index], self.space_of_thread(index));
        for (number, op) in thread.ops.iter().enumerate() {
            L::mark(gates::begin(number));
            self.perform_in(&mm, op);
            L::mark(gates::end(number));
        }
        self.finish(&thread.name);
    }

    /// The body of wave `index`. A wave that faults for good is dead: the rest of it does not run.
    pub fn run_wave(&self, index: usize) {
        let wave = &self.scenario.waves[index];
        for (number, op) in wave.ops.iter().enumerate() {
            L::mark(gates::begin(number));
            let lives = self.perform_on_gpu(op);
            L::mark(gates::end(number));
            if !lives {
                break;
            }
        }
        self.finish(&wave.name);
    }

    /// What a workqueue runs.
    pub fn run_work(&self, client: ClientId, func: WorkFunc) {
        let device = &self.gpus[client.0 as usize];
        match func {
            WorkFunc::FaultInterrupt | WorkFunc::CopyEngine => device.vm.run_work(func),
            _ => device.driver().run_work(func),
        }
    }

    fn invalidate(&self, entry: NotifierEntry, event: &MmuEvent, seq: u64) -> bool {
        let device = &self.gpus[entry.client.0 as usize];
        let done = device.driver().invalidate(entry.cookie, event, seq);
        if done && self.record.is_none() {
            let window = self.mm.notifiers().into_iter().find(|view| view.entry == entry);
            let bytes = window.map_or(event.bytes, |view| event.bytes.clip(&view.bytes));
            for (index, hit) in self.gpus.iter().enumerate() {
                if device.driver().answers_for(index, entry.client) {
                    invariants::i1::after_callback(hit, &MmuEvent { bytes, ..*event });
                }
            }
        }
        done
    }

    /// The device called `gpu`; the parser has made sure that there is one.
    pub fn device(&self, gpu: &str) -> &Device<L> {
        self.gpus.iter().find(|d| d.name == gpu).expect("the parser resolves GPU names")
    }

    /// What operations came to, in a world that keeps it.
    pub fn record(&self) -> Option<&Rc<Record>> {
        self.record.as_ref()
    }

    /// Whether the process has ended and its address space is gone.
    pub fn exited(&self) -> bool {
        self.mm.mm_users() == 0
    }

    /// Whether the process has ended. Somebody else may keep its address space.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    fn finished(&self, actor: &str) -> Option<&L::Gate> {
        self.finished.iter().find(|(name, _)| name == actor).map(|(_, gate)| gate)
    }

    fn finish(&self, actor: &str) {
        if let Some(gate) = self.finished(actor) {
            gate.store(1);
        }
    }

    /// The final check: every invariant that can be seen at rest, then what the scenario expects.
    pub fn at_rest(&self) {
        invariants::at_rest(self);
    }
}

/// The hive of each GPU, by number.
fn hives(scenario: &Scenario) -> Vec<Option<u32>> {
    let mut names: Vec<&str> = Vec::new();
    let each = scenario.gpus.iter().map(|decl| {
        let name = decl.hive.as_deref()?;
        let known = names.iter().position(|n| *n == name);
        Some(known.unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        }) as u32)
    });
    each.collect()
}

/// The hardware's own name of the GPU with this index; scenarios call it what they like.
fn gpu_name(index: usize) -> &'static str {
    ["gpu0", "gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6", "gpu7"][index]
}

/// Whether the process ends in the scenario.
fn exits(scenario: &Scenario) -> bool {
    let ops = scenario.threads.iter().flat_map(|t| &t.ops).chain(&scenario.prepare);
    ops.into_iter().any(|op| op.kind == OpKind::Exit)
}

/// Every fork, by the name of the child.
fn forked(scenario: &Scenario) -> impl Iterator<Item = String> + '_ {
    let ops = scenario.prepare.iter().chain(scenario.threads.iter().flat_map(|t| &t.ops));
    ops.filter_map(|op| if let OpKind::Fork { child } = &op.kind { Some(child.clone()) } else { None })
}

/// Whether pages may have several mappings, or move.
fn shares(scenario: &Scenario) -> bool {
    let ops = || scenario.prepare.iter().chain(scenario.threads.iter().flat_map(|t| &t.ops));
    forked(scenario).next().is_some()
        || scenario.regions.iter().any(|region| region.kind.has_file())
        || ops().any(|op| matches!(op.kind, OpKind::Mremap { .. }))
}

/// The actors that some operation waits for.
fn awaited(scenario: &Scenario) -> Vec<String> {
    let ops = scenario.threads.iter().flat_map(|t| &t.ops).chain(scenario.waves.iter().flat_map(|w| &w.ops));
    let mut names: Vec<String> =
        ops.filter_map(|op| if let OpKind::After { actor } = &op.kind { Some(actor.clone()) } else { None }).collect();
    names.sort();
    names.dedup();
    names
}
