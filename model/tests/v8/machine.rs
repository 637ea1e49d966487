//! One process, one GPU that retries faults, one instance of `poc-v8`: the real mm and the real page tables, and a fault
//! machinery and VRAM that say what the test wants.

use interleave::Sim;
use model::Errno;
use model::amdgpu::inspect::RangeView;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_RESET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::amdgpu::{Design, IoctlArgs, Svm, SvmConfig, UserAttrs};
use model::attr::{Attrs, UapiAttr};
use model::gpusvm::Port;
use model::platform::*;
use model::units::{Bytes, PAGE_SHIFT, PAGE_SIZE, Pages};
use sim_gpu::{Access, GpuConfig, GpuFault, GpuVm, Kfd, properties};
use sim_mm::{AddressSpace, Memory, Options};
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

pub(crate) struct Simulated;
impl Platform for Simulated {
    type Kernel = Sim;
    type Framework = Port;
    type Mm = AddressSpace<Sim>;
    type Gpu = TestGpu;
}

/// What happens in the middle of something.
type Hook = RefCell<Option<Box<dyn FnOnce()>>>;

/// What the test says, and what it is told.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) in_reset: Cell<bool>,
    pub(crate) checkpoint: Cell<Option<FaultTime>>,
    /// Addresses taken out of the fault filter.
    pub(crate) filter_removed: RefCell<Vec<u64>>,
    pub(crate) drains: Cell<u32>,
    /// Whether the GPU has memory of its own.
    pub(crate) vram: Cell<bool>,
    pub(crate) vram_allocs: Cell<u32>,
    pub(crate) updates: RefCell<Vec<PteUpdate>>,
    pub(crate) flushes: Cell<u32>,
    /// Runs once, when the root is about to be reserved the next time: after the pages were collected.
    pub(crate) before_reserve: Hook,
    /// Runs once, when page directories are updated the next time: after the PTEs were written.
    pub(crate) before_pdes: Hook,
    /// As `before_reserve`, every time.
    pub(crate) always_before_reserve: RefCell<Option<Box<dyn Fn()>>>,
    /// Completes when a notifier asks for the checkpoint.
    pub(crate) notified: OnceCell<<Sim as Kernel>::Completion>,
    /// Runs once, at the next DMA unmapping.
    pub(crate) at_dma_unmap: Hook,
}

fn run(hook: &Hook) {
    let due = hook.borrow_mut().take();
    if let Some(hook) = due {
        hook();
    }
}

#[derive(Clone)]
pub(crate) struct TestGpu {
    pub(crate) vm: GpuVm<Sim>,
    pub(crate) script: Rc<Script>,
}

impl Gpu<Sim, AddressSpace<Sim>> for TestGpu {
    type RootReserved<'a> = sim_gpu::vm::RootReserved<'a, Sim>;
    fn properties(&self) -> GpuProperties {
        self.vm.properties()
    }
    fn reserve_root(&self) -> Result<Self::RootReserved<'_>, Errno> {
        run(&self.script.before_reserve);
        if let Some(hook) = &*self.script.always_before_reserve.borrow() {
            hook();
        }
        self.vm.reserve_root()
    }
    fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno> {
        self.script.updates.borrow_mut().push(*update);
        self.vm.update_range(update)
    }
    fn update_pdes(&self, root: &Self::RootReserved<'_>) -> Result<(), Errno> {
        run(&self.script.before_pdes);
        self.vm.update_pdes(root)
    }
    fn wait_fence(&self, fence: Fence) {
        self.vm.wait_fence(fence);
    }
    fn flush_tlb(&self) {
        self.script.flushes.set(self.script.flushes.get() + 1);
        self.vm.flush_tlb();
    }
    fn quiesce_mm(&self, _: &AddressSpace<Sim>) -> Result<(), Errno> {
        unreachable!("poc-v8 stops no queues")
    }
    fn resume_mm(&self, _: &AddressSpace<Sim>) -> Result<(), Errno> {
        unreachable!("poc-v8 stops no queues")
    }
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        self.vm.dma_map(pfn, order, direction)
    }
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        run(&self.script.at_dma_unmap);
        self.vm.dma_unmap(addr, order, direction);
    }
}

impl Vram<Sim> for TestGpu {
    fn pagemap(&self) -> Option<PagemapId> {
        self.script.vram.get().then_some(PagemapId(0))
    }
    fn owner(&self) -> Owner {
        Owner(0xa)
    }
    fn vram_alloc(&self, _pages: u64) -> Result<VramBlock, Errno> {
        self.script.vram_allocs.set(self.script.vram_allocs.get() + 1);
        Err(Errno::ENOMEM)
    }
}

impl RetryFaults<Sim> for TestGpu {
    fn fault_checkpoint(&self) -> Option<FaultTime> {
        if let Some(notified) = self.script.notified.get() {
            notified.complete_all();
        }
        self.script.checkpoint.get()
    }
    fn drain_retry_faults(&self) {
        self.script.drains.set(self.script.drains.get() + 1);
    }
    fn filter_remove(&self, addr: u64) {
        self.script.filter_removed.borrow_mut().push(addr);
    }
    fn in_reset(&self) -> bool {
        self.script.in_reset.get()
    }
}

pub(crate) struct User(pub(crate) Vec<UapiAttr>);
impl UserAttrs for User {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.0.copy_from_slice(attrs);
        Ok(())
    }
}

/// First page of the buffer: aligned to a huge leaf.
pub(crate) const BASE: u64 = 0x200;

pub(crate) const RW: VmaFlags =
    VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };

pub(crate) struct Machine {
    pub(crate) memory: Memory<Sim>,
    pub(crate) mm: AddressSpace<Sim>,
    pub(crate) gpu: TestGpu,
    pub(crate) script: Rc<Script>,
    svm: OnceCell<Svm<Simulated>>,
    /// Ticks the clock.
    clock: <Sim as Kernel>::DelayedWork,
    _clock_queue: <Sim as Kernel>::WorkQueue,
}

/// `pages` pages from [`BASE`], each holding its number, and a GPU.
pub(crate) fn machine(pages: u64) -> Rc<Machine> {
    Machine::new(pages, false)
}

impl Machine {
    pub(crate) fn new(pages: u64, vram: bool) -> Rc<Machine> {
        let memory = Memory::new();
        let mm = AddressSpace::new(&memory, 1, Options::default()).expect("an address space");
        mm.mmap(bytes(BASE, pages), RW).expect("mmap");
        for page in BASE..BASE + pages {
            mm.store(page * PAGE_SIZE, page).expect("a store");
        }
        let kfd = Kfd::new(|mm: &AddressSpace<Sim>| mm.id() == 1);
        let config = GpuConfig::new("gpu0", 0, properties::GFX942);
        let script = Rc::new(Script::default());
        script.vram.set(vram);
        let gpu = TestGpu { vm: GpuVm::new(config, &memory, &kfd).expect("a GPU"), script: script.clone() };
        let queue = Sim::alloc_workqueue("clock", QueueKind::Unbound).expect("a queue");
        let clock = queue.delayed_work(ClientId(9), WorkFunc::Restore).expect("a timer");
        let machine = Rc::new(Machine { memory, mm, gpu, script, svm: OnceCell::new(), clock, _clock_queue: queue });
        let svm = Svm::init(SvmConfig::new(Design::PocV8, ClientId(0)), machine.mm.clone(), machine.gpu.clone());
        assert!(machine.svm.set(svm.expect("an instance")).is_ok());
        let called = Rc::downgrade(&machine);
        machine.mm.on_invalidate(Rc::new(move |entry, event, seq| {
            called.upgrade().is_none_or(|machine| machine.svm().mmu_invalidate(entry.cookie, event, seq))
        }));
        machine
    }

    /// Work items run when they are flushed, or by [`Sim::run_pending`].
    pub(crate) fn sequential(self: &Rc<Self>) {
        let machine = Rc::downgrade(self);
        Sim::on_work(move |client, func| machine.upgrade().expect("the machine lives").work(client, func));
        // The clock of a machine that has just booted, which no kernel ever shows a driver.
        self.tick(100);
    }

    pub(crate) fn work(&self, client: ClientId, func: WorkFunc) {
        match (client, func) {
            (ClientId(0), WorkFunc::Gc) => self.svm().gc_work(),
            (ClientId(0), WorkFunc::Restore) => self.svm().restore_work(),
            _ => {}
        }
    }

    /// The clock moves on; whatever is pending runs.
    pub(crate) fn tick(&self, ms: u64) {
        let before = Sim::now_ms();
        self.clock.queue(ms);
        Sim::run_pending();
        assert_eq!(Sim::now_ms(), before + ms);
    }

    pub(crate) fn svm(&self) -> &Svm<Simulated> {
        self.svm.get().expect("an instance")
    }

    pub(crate) fn fault_at(&self, page: u64, write: bool, time: u64) -> Result<(), Errno> {
        self.svm().handle_fault(RetryFault { addr: page << PAGE_SHIFT, write, time: FaultTime(time) })
    }
    /// A load faults.
    pub(crate) fn fault(&self, page: u64) -> Result<(), Errno> {
        self.fault_at(page, false, 1)
    }
    pub(crate) fn write_fault(&self, page: u64) -> Result<(), Errno> {
        self.fault_at(page, true, 1)
    }

    pub(crate) fn ioctl(&self, operation: u32, bytes: Bytes, attrs: &[UapiAttr]) -> (Result<(), Errno>, Vec<UapiAttr>) {
        let args = IoctlArgs {
            start_addr: bytes.start,
            size: bytes.len(),
            operation,
            nattr: attrs.len() as u32,
            attrs_ptr_null: attrs.is_empty(),
        };
        let mut user = User(attrs.to_vec());
        (self.svm().ioctl(&args, &mut user), user.0)
    }
    pub(crate) fn set(&self, bytes: Bytes, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.ioctl(AMDGPU_SVM_OP_SET_ATTR, bytes, attrs).0
    }
    pub(crate) fn get(&self, bytes: Bytes, attrs: &[UapiAttr]) -> (Result<(), Errno>, Vec<UapiAttr>) {
        self.ioctl(AMDGPU_SVM_OP_GET_ATTR, bytes, attrs)
    }
    pub(crate) fn reset(&self, bytes: Bytes) -> Result<(), Errno> {
        self.ioctl(AMDGPU_SVM_OP_RESET_ATTR, bytes, &[]).0
    }

    /// The stored attribute nodes.
    pub(crate) fn nodes(&self) -> Vec<(Pages, Attrs)> {
        let mut found = Vec::new();
        self.svm().inspect().for_each_node(|node| found.push((node.pages, node.attrs)));
        found
    }
    pub(crate) fn ranges(&self) -> Vec<RangeView> {
        self.svm().inspect().ranges().collect()
    }
    /// Pages with a valid entry.
    pub(crate) fn mapped(&self) -> Vec<u64> {
        self.gpu.vm.mapped().into_iter().map(|(page, _)| page).collect()
    }
    pub(crate) fn read(&self, page: u64) -> Result<u64, GpuFault> {
        self.gpu.vm.access(page * PAGE_SIZE, Access::Read)
    }
    pub(crate) fn flushes(&self) -> u32 {
        self.script.flushes.replace(0)
    }
    pub(crate) fn updates(&self) -> Vec<PteUpdate> {
        self.script.updates.take()
    }
    pub(crate) fn filter_removed(&self) -> Vec<u64> {
        self.script.filter_removed.take()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.mm.clear_hooks();
    }
}

pub(crate) fn bytes(page: u64, pages: u64) -> Bytes {
    Bytes::new(page * PAGE_SIZE, (page + pages) * PAGE_SIZE)
}
