//! A machine for the KFD design: one process, one or more simulated GPUs that count what they are asked for.

use interleave::Sim;
use interleave::lab::{Invariant, Lab, Violation};
use model::Errno;
use model::amdgpu::{IoctlArgs, UserAttrs};
use model::attr::{AttrType, UapiAttr};
use model::gpusvm::Port;
use model::kfd::{KFD_IOCTL_SVM_OP_GET_ATTR, KFD_IOCTL_SVM_OP_SET_ATTR, Svms, SvmsConfig, WorkOp};
use model::platform::*;
use model::units::{Bytes, PAGE_SIZE, Pages};
use sim_gpu::{GpuConfig, GpuVm, Kfd, VramConfig, properties};
use sim_mm::{AddressSpace, Memory, Options};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub(crate) type Mm = AddressSpace<Sim>;

/// The platform.
pub(crate) struct Machine;
impl Platform for Machine {
    type Kernel = Sim;
    type Framework = Port;
    type Mm = Mm;
    type Gpu = Counted;
}

/// What a GPU was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) clears: u32,
    pub(crate) writes: u32,
    pub(crate) flushes: u32,
    pub(crate) quiesces: u32,
    pub(crate) resumes: u32,
    pub(crate) dma_maps: u32,
    pub(crate) dma_unmaps: u32,
}

/// A GPU and its account.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) vm: GpuVm<Sim>,
    pub(crate) costs: Rc<Cell<Costs>>,
    /// What the retry ring holds.
    pub(crate) newest_fault: Rc<Cell<Option<FaultTime>>>,
    /// Addresses that the fault filter was told to forget.
    pub(crate) forgotten: Rc<RefCell<Vec<u64>>>,
    /// Pages that a buffer object is mapped at.
    pub(crate) bo: Rc<Cell<Option<Pages>>>,
}

impl Counted {
    fn count(&self, f: impl FnOnce(&mut Costs)) {
        let mut costs = self.costs.get();
        f(&mut costs);
        self.costs.set(costs);
    }
    /// The account since the last call.
    pub(crate) fn take(&self) -> Costs {
        self.costs.take()
    }
}

impl Gpu<Sim, Mm> for Counted {
    type RootReserved<'a> = <GpuVm<Sim> as Gpu<Sim, Mm>>::RootReserved<'a>;
    fn properties(&self) -> GpuProperties {
        self.vm.properties()
    }
    fn reserve_root(&self) -> Result<Self::RootReserved<'_>, Errno> {
        self.vm.reserve_root()
    }
    fn reserve_root_after(&self, others: u8) -> Result<Self::RootReserved<'_>, Errno> {
        <GpuVm<Sim> as Gpu<Sim, Mm>>::reserve_root_after(&self.vm, others)
    }
    fn bo_mapping(&self, _: &Self::RootReserved<'_>, pages: Pages) -> Option<Pages> {
        self.bo.get().filter(|bo| bo.overlaps(&pages))
    }
    fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno> {
        self.count(|c| if update.addr.is_some() { c.writes += 1 } else { c.clears += 1 });
        self.vm.update_range(update)
    }
    fn update_pdes(&self, root: &Self::RootReserved<'_>) -> Result<(), Errno> {
        self.vm.update_pdes(root)
    }
    fn wait_fence(&self, fence: Fence) {
        self.vm.wait_fence(fence);
    }
    fn flush_tlb(&self) {
        self.count(|c| c.flushes += 1);
        self.vm.flush_tlb();
    }
    fn quiesce_mm(&self, mm: &Mm) -> Result<(), Errno> {
        self.count(|c| c.quiesces += 1);
        self.vm.quiesce_mm(mm)
    }
    fn resume_mm(&self, mm: &Mm) -> Result<(), Errno> {
        self.count(|c| c.resumes += 1);
        self.vm.resume_mm(mm)
    }
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        self.count(|c| c.dma_maps += 1);
        self.vm.dma_map(pfn, order, direction)
    }
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        self.count(|c| c.dma_unmaps += 1);
        self.vm.dma_unmap(addr, order, direction);
    }
}
impl Vram<Sim> for Counted {
    fn pagemap(&self) -> Option<PagemapId> {
        Vram::<Sim>::pagemap(&self.vm)
    }
    fn owner(&self) -> Owner {
        Vram::<Sim>::owner(&self.vm)
    }
    fn vram_size(&self) -> u64 {
        Vram::<Sim>::vram_size(&self.vm)
    }
    fn vram_alloc(&self, pages: u64) -> Result<VramBlock, Errno> {
        self.vm.vram_alloc(pages)
    }
    fn vram_free(&self, block: VramBlock) {
        self.vm.vram_free(block);
    }
    fn copy(&self, copies: &[CopyJob]) -> Result<Fence, Errno> {
        Vram::<Sim>::copy(&self.vm, copies)
    }
    fn device_map(&self, pfn: u64, order: u8) -> Result<(DmaAddr, Interconnect), Errno> {
        self.vm.device_map(pfn, order)
    }
    fn device_unmap(&self, addr: DmaAddr, proto: Interconnect, order: u8) {
        self.vm.device_unmap(addr, proto, order);
    }
}
impl RetryFaults<Sim> for Counted {
    fn fault_checkpoint(&self) -> Option<FaultTime> {
        self.newest_fault.get()
    }
    fn filter_remove(&self, addr: u64) {
        self.forgotten.borrow_mut().push(addr);
    }
}

/// First page of the buffer. Not aligned to a huge leaf.
pub(crate) const BASE: u64 = 0x210;

pub(crate) fn pages(first: u64, last: u64) -> Pages {
    Pages::new(BASE + first, BASE + last)
}

pub(crate) const RW: VmaFlags =
    VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };

pub(crate) struct World {
    pub(crate) memory: Memory<Sim>,
    pub(crate) mm: Mm,
    pub(crate) kfd: Kfd<Sim>,
    pub(crate) gpus: Vec<Counted>,
    pub(crate) svms: Svms<Machine>,
}

const NAMES: [&str; 2] = ["gpu0", "gpu1"];

impl World {
    /// A process with a buffer of `npages` pages that hold their numbers, and GPUs with the ids 1, 2.
    pub(crate) fn new(gpus: usize, xnack: bool, npages: u64) -> Rc<World> {
        Self::with_vram(gpus, xnack, npages, 0)
    }

    /// The same with so many pages of VRAM on each GPU.
    pub(crate) fn with_vram(gpus: usize, xnack: bool, npages: u64, vram: u64) -> Rc<World> {
        let memory = Memory::new();
        memory.allow_stale_dma();
        let mm = AddressSpace::new(&memory, 1, Options::default()).expect("setup");
        if npages > 0 {
            mm.mmap(pages(0, npages - 1).bytes(), RW).expect("setup");
        }
        for page in BASE..BASE + npages {
            mm.store(page * PAGE_SIZE, page).expect("setup");
        }
        let kfd = Kfd::new(|mm: &Mm| mm.id() == 1);
        let gpus: Vec<Counted> = (0..gpus)
            .map(|at| {
                let mut config = GpuConfig::new(NAMES[at], at as u8, properties::GFX90A);
                if vram > 0 {
                    let memory_of = VramConfig::new(PagemapId(at as u32), vram);
                    config.vram = Some(memory_of);
                }
                Counted {
                    vm: GpuVm::new(config, &memory, &kfd).expect("setup"),
                    costs: Rc::default(),
                    newest_fault: Rc::default(),
                    forgotten: Rc::default(),
                    bo: Rc::default(),
                }
            })
            .collect();
        let config = SvmsConfig::new(ClientId(100), gpus.len(), xnack);
        let svms = Svms::init(config, mm.clone(), &gpus).expect("setup");
        let world = Rc::new(World { memory, mm, kfd, gpus, svms });
        let called = Rc::downgrade(&world);
        world.mm.on_invalidate(Rc::new(move |entry, event, seq| {
            let world = called.upgrade().expect("the world outlives its notifiers");
            world.svms.mmu_invalidate(entry.cookie, event, seq)
        }));
        let runs = Rc::downgrade(&world);
        Sim::on_work(move |client, func| runs.upgrade().expect("the world outlives its work").work(client, func));
        let faults = Rc::downgrade(&world);
        world.mm.on_device_fault(Rc::new(move |_, mm, held, addr, pfn| {
            faults.upgrade().expect("the world is there").svms.migrate_to_ram(mm, held, addr, pfn)
        }));
        let frees = Rc::downgrade(&world);
        world.memory.on_folio_free(Rc::new(move |_, data| {
            frees.upgrade().expect("the world is there").svms.folio_free(data);
        }));
        for (at, gpu) in world.gpus.iter().enumerate() {
            let evicts = Rc::downgrade(&world);
            gpu.vm.on_evict(Rc::new(move |block| {
                evicts.upgrade().expect("the world is there").svms.evict_vram(at, block)
            }));
        }
        world
    }

    /// Whether the CPU's page table says device memory.
    pub(crate) fn is_on_device(&self, page: u64) -> bool {
        matches!(self.mm.peek_pte(page).pte, sim_mm::Pte::Device { .. })
    }

    pub(crate) fn gpu_read(&self, gpu: usize, page: u64) -> Result<u64, sim_gpu::GpuFault> {
        self.gpus[gpu].vm.access((BASE + page) * PAGE_SIZE, sim_gpu::Access::Read)
    }

    /// TTM wants all of the memory of a GPU.
    pub(crate) fn evict_everything(&self, gpu: usize) {
        let vram = self.gpus[gpu].vm.vram().expect("VRAM").pages;
        let block = self.gpus[gpu].vm.vram_alloc(vram).expect("all of it is emptied");
        self.gpus[gpu].vm.vram_free(block);
    }

    pub(crate) fn work(&self, client: ClientId, func: WorkFunc) {
        if client.0 < 100 {
            return self.gpus[client.0 as usize].vm.run_work(func);
        }
        match func {
            WorkFunc::Deferred => self.svms.deferred_work(),
            WorkFunc::Restore => self.svms.restore_work(),
            WorkFunc::EvictBo => self.svms.evict_bo_work(),
            WorkFunc::ReleaseBo => self.svms.release_bo_work(),
            WorkFunc::ReleaseProcess => self.svms.fini(),
            _ => unreachable!("not this design's"),
        }
    }

    pub(crate) fn set(&self, pages: Pages, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.ioctl(KFD_IOCTL_SVM_OP_SET_ATTR, pages.bytes(), attrs).map(|_| ())
    }

    /// Access for GPUs 0 to `gpus`.
    pub(crate) fn set_access(&self, pages: Pages) -> Result<(), Errno> {
        let attrs: Vec<_> = (0..self.gpus.len()).map(|gpu| UapiAttr::new(AttrType::Access, gpu as u32 + 1)).collect();
        self.set(pages, &attrs)
    }

    pub(crate) fn get(&self, pages: Pages, attrs: &[UapiAttr]) -> Result<Vec<UapiAttr>, Errno> {
        self.ioctl(KFD_IOCTL_SVM_OP_GET_ATTR, pages.bytes(), attrs)
    }

    pub(crate) fn ioctl(&self, operation: u32, bytes: Bytes, attrs: &[UapiAttr]) -> Result<Vec<UapiAttr>, Errno> {
        let args = IoctlArgs {
            start_addr: bytes.start,
            size: bytes.len(),
            operation,
            nattr: attrs.len() as u32,
            attrs_ptr_null: false,
        };
        let mut user = User(attrs.to_vec());
        self.svms.ioctl(&args, &mut user)?;
        Ok(user.0)
    }

    /// Ranges as (first, last) from [`BASE`].
    pub(crate) fn ranges(&self) -> Vec<(u64, u64)> {
        self.svms.inspect().ranges().map(|range| (range.pages.first - BASE, range.pages.last - BASE)).collect()
    }

    /// Children of the range that was made for `page`, likewise.
    pub(crate) fn children(&self, page: u64) -> Vec<(u64, u64, WorkOp)> {
        let children = self.svms.inspect();
        children.children_at(BASE + page).map(|(p, op)| (p.first - BASE, p.last - BASE, op)).collect()
    }

    /// Which pages GPU `gpu` has valid entries for, from [`BASE`].
    pub(crate) fn mapped(&self, gpu: usize) -> Vec<u64> {
        self.gpus[gpu].vm.mapped().into_iter().map(|(page, _)| page - BASE).collect()
    }

    /// Every valid entry leads where the CPU's page table does.
    pub(crate) fn check_entries(&self) {
        for gpu in &self.gpus {
            for (page, _) in gpu.vm.mapped() {
                let cpu = match self.mm.peek_pte(page).pte {
                    sim_mm::Pte::Device { pfn, .. } => Some(pfn),
                    _ => self.mm.peek_mapped(page).map(|(pfn, _)| pfn),
                };
                let reach = gpu.vm.reaches(page).filter(|reach| reach.live);
                if reach.map(|reach| reach.pfn) != cpu {
                    let what =
                        format!("page {page:#x} of {} leads to {reach:x?}, the CPU says {cpu:x?}", gpu.vm.name());
                    Sim::fail(Violation::new(Invariant::I2, what, None));
                }
            }
        }
    }

    /// The process ends, and nothing of it is left. Sequential.
    pub(crate) fn end(&self) {
        self.svms.process_release(|| self.kfd.release());
        Sim::run_pending();
        self.svms.inspect().check();
        assert_eq!(self.ranges(), [], "ranges");
        assert_eq!(self.svms.inspect().svm_bos(), 0, "buffer objects");
        assert_eq!(self.mm.notifiers(), [], "interval notifiers");
        assert!(self.memory.any_dma().is_none(), "DMA mappings");
        assert_eq!(self.mm.mm_users(), 1, "mm users");
        assert_eq!(self.mm.mm_count(), 1, "mm references");
        self.mm.clear_hooks();
    }
}

struct User(Vec<UapiAttr>);
impl UserAttrs for User {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.0 = attrs.to_vec();
        Ok(())
    }
}
