//! The driver behind a GPU, whatever its design: how the world calls it, and what checks may ask of it.
//!
//! The DRM designs have one instance for each GPU; the VM layer ([`model::amdgpu::vm`]) stands between it and the world.
//! KFD has one for the process, which every GPU of the world shares; it is client 0.

use super::platform::Simulated;
use crate::lang::{Design, GpuDecl};
use interleave::lab::Lab;
use model::Errno;
use model::amdgpu::slabs::Slabs;
use model::amdgpu::vm::{Built, Handled, ManagerConfig, SvmHandle, VmHandle, VmManager};
use model::amdgpu::{self, IoctlArgs, Svm, SvmConfig, UserAttrs, pte};
use model::attr::{Attrs, Segment};
use model::gpusvm::ChunkSizes;
use model::kfd::{MAX_GPUS, Svms, SvmsConfig};
use model::platform::{ClientId, Interconnect, MmuEvent, PteFlags, RetryFault, VramBlock, WorkFunc};
use model::units::{Bytes, Pages};
use sim_gpu::GpuVm;
use sim_mm::{AddressSpace, MmapRead};
use std::cell::Cell;
use std::rc::Rc;

/// The PASID of the process's VM; 0 names none.
const PASID: u32 = 1;

/// What answers for one GPU.
pub(super) enum Driver<L: Lab> {
    /// One instance for one GPU.
    Drm(Drm<L>),
    /// KFD's instance for the process, and which of its GPUs this is.
    Kfd(Rc<Svms<Simulated<L>>>, usize),
}

/// One instance for one GPU, and the VM it belongs to.
pub(super) struct Drm<L: Lab> {
    manager: VmManager<Simulated<L>>,
    vm: VmHandle<Simulated<L>>,
    /// What workers and callbacks find with `container_of`, whatever became of `vm.svm`.
    svm: SvmHandle<Simulated<L>>,
    /// The address space of the process that opened the file.
    mm: AddressSpace<L>,
    /// Of the module, so that it lives as long as the devices.
    slabs: Rc<Slabs<Simulated<L>>>,
    /// Whether the VM is torn down.
    gone: Cell<bool>,
}

impl<L: Lab> Drm<L> {
    /// The file is opened and the VM made a compute VM. There is an instance afterwards: a design that makes it in the first
    /// ioctl gets one here, which it refuses for its arguments.
    fn open(
        decl: &GpuDecl,
        design: amdgpu::Design,
        client: ClientId,
        mm: &AddressSpace<L>,
        gpu: &GpuVm<L>,
        slabs: &Rc<Slabs<Simulated<L>>>,
    ) -> Self {
        let mut config = SvmConfig::new(design, client);
        config.xnack = Some(decl.xnack);
        config.default_granularity = decl.granularity;
        if let Some(sizes) = &decl.chunk_sizes {
            config.chunk_sizes = ChunkSizes::new(sizes).expect("the parser has checked the chunk sizes");
        }
        if let Some(size) = decl.notifier_size {
            config.notifier_size = size;
        }
        let manager = ManagerConfig { design, built: Built::WithSvm, pasids: PASID + 1, dummy_page: None };
        let manager = VmManager::new(manager).expect("nothing fails before the race");
        let vm = manager.vm_init(PASID, gpu.clone()).expect("nothing fails before the race");
        manager.make_compute(vm, slabs, config, mm.clone()).expect("nothing fails before the race");
        if design.created_by_ioctl() {
            let nothing = IoctlArgs { start_addr: 0, size: 0, operation: 0, nattr: 0, attrs_ptr_null: true };
            let refused = manager.ioctl(vm, slabs, mm, &nothing, &mut super::thread::UserArray(Vec::new()));
            assert_eq!(refused, Err(Errno::EINVAL), "an ioctl without arguments is refused");
        }
        let svm = manager.svm_of(vm).expect("a compute VM has an instance");
        Drm { manager, vm, svm, mm: mm.clone(), slabs: slabs.clone(), gone: Cell::new(false) }
    }

    #[track_caller]
    fn svm(&self) -> &Svm<Simulated<L>> {
        self.manager.instance(self.svm)
    }
}

/// Opens the driver on each GPU, in order.
pub(super) fn open<L: Lab>(
    design: Design,
    decls: &[GpuDecl],
    gpus: &[GpuVm<L>],
    mm: &AddressSpace<L>,
) -> Vec<Driver<L>> {
    let drm = |design| {
        let slabs = Rc::new(Slabs::new().expect("nothing fails before the race"));
        let each = decls.iter().zip(gpus).zip(0..);
        each.map(|((decl, gpu), id)| Driver::Drm(Drm::open(decl, design, ClientId(id), mm, gpu, &slabs))).collect()
    };
    match design {
        Design::PocV1 => drm(amdgpu::Design::PocV1),
        Design::PocV8 => drm(amdgpu::Design::PocV8),
        Design::Hardened => drm(amdgpu::Design::Hardened),
        Design::Kfd => {
            let xnack = decls.first().is_some_and(|decl| decl.xnack);
            let mut config = SvmsConfig::new(ClientId(0), gpus.len(), xnack);
            if let Some(granularity) = decls.iter().find_map(|decl| decl.granularity) {
                config.default_granularity = granularity;
            }
            assert!(gpus.len() <= MAX_GPUS, "the parser has counted the GPUs");
            let svms = Rc::new(Svms::init(config, mm.clone(), gpus).expect("nothing fails before the race"));
            (0..gpus.len()).map(|gpu| Driver::Kfd(svms.clone(), gpu)).collect()
        }
    }
}

impl<L: Lab> Driver<L> {
    /// The instance of a DRM design. Using it after its last reference is gone is a use after free.
    #[track_caller]
    pub(super) fn svm(&self) -> &Svm<Simulated<L>> {
        match self {
            Driver::Drm(drm) => drm.svm(),
            Driver::Kfd(..) => panic!("kfd has no amdgpu_svm"),
        }
    }

    /// Whether the instance still exists. At rest only.
    pub(super) fn exists(&self) -> bool {
        match self {
            Driver::Drm(drm) => drm.manager.live_instances() != 0,
            Driver::Kfd(..) => true,
        }
    }

    /// Whether an invalidation that is told to this driver concerns the GPU with this index.
    pub(super) fn answers_for(&self, gpu: usize, client: ClientId) -> bool {
        matches!(self, Driver::Kfd(..)) || client.0 as usize == gpu
    }

    /// A retry fault of this GPU reaches the driver: `amdgpu_vm_handle_fault`.
    pub(super) fn handle_fault(&self, fault: RetryFault) -> Handled {
        match self {
            // KFD's own SVM has nothing to say here.
            Driver::Drm(drm) => drm.manager.vm_handle_fault(PASID, fault, || Err(Errno::EFAULT)),
            Driver::Kfd(svms, gpu) => svms.handle_fault(*gpu, fault).map_or_else(Handled::Failed, |()| Handled::Kfd),
        }
    }

    pub(super) fn ioctl(&self, args: &IoctlArgs, user: &mut dyn UserAttrs) -> Result<(), Errno> {
        match self {
            Driver::Drm(drm) => drm.manager.ioctl(drm.vm, &drm.slabs, &drm.mm, args, user),
            Driver::Kfd(svms, _) => svms.ioctl(args, user),
        }
    }

    pub(super) fn invalidate(&self, cookie: u64, event: &MmuEvent, seq: u64) -> bool {
        match self {
            Driver::Drm(drm) => drm.svm().mmu_invalidate(cookie, event, seq),
            Driver::Kfd(svms, _) => svms.mmu_invalidate(cookie, event, seq),
        }
    }

    pub(super) fn run_work(&self, func: WorkFunc) {
        match (self, func) {
            (Driver::Drm(drm), WorkFunc::Gc) => drm.svm().gc_work(),
            (Driver::Drm(drm), WorkFunc::Restore) => drm.svm().restore_work(),
            (Driver::Kfd(svms, _), WorkFunc::Restore) => svms.restore_work(),
            (Driver::Kfd(svms, _), WorkFunc::Deferred) => svms.deferred_work(),
            (Driver::Kfd(svms, _), WorkFunc::EvictBo) => svms.evict_bo_work(),
            (Driver::Kfd(svms, _), WorkFunc::ReleaseBo) => svms.release_bo_work(),
            (Driver::Kfd(svms, _), WorkFunc::ReleaseProcess) => svms.fini(),
            (_, other) => unreachable!("{other:?} is no work of this design"),
        }
    }

    /// The CPU touched a page in this GPU's memory, in `mm`: the process, or a child of it. Its mmap_lock is held, for
    /// write when there is no guard.
    pub(super) fn migrate_to_ram(
        &self,
        mm: &AddressSpace<L>,
        held: Option<&MmapRead<'_, L>>,
        addr: u64,
        pfn: u64,
    ) -> Result<(), Errno> {
        match self {
            Driver::Drm(drm) if drm.gone.get() => Err(Errno::EFAULT),
            Driver::Drm(drm) => {
                let held = held.expect("no DRM design faults with mmap_lock held for write");
                drm.svm().migrate_to_ram(mm, held, addr, pfn)
            }
            Driver::Kfd(svms, _) => svms.migrate_to_ram(mm, held, addr, pfn),
        }
    }

    /// A folio in this GPU's memory is free.
    pub(super) fn folio_free(&self, data: u64) {
        match self {
            // The kernel's pagemap belongs to the device and stays; ours went with the instance, and its accounts with it.
            Driver::Drm(drm) if drm.gone.get() => {}
            Driver::Drm(drm) => drm.svm().folio_free(data),
            Driver::Kfd(svms, _) => svms.folio_free(data),
        }
    }

    /// TTM wants a buffer object out of this GPU's memory.
    pub(super) fn evict_vram(&self, block: VramBlock) -> Result<(), Errno> {
        match self {
            Driver::Drm(drm) => drm.svm().evict_vram(block),
            Driver::Kfd(svms, gpu) => svms.evict_vram(*gpu, block),
        }
    }

    /// `amdgpu_svm_close`: the DRM file is closed.
    pub(super) fn close(&self) {
        match self {
            Driver::Drm(drm) => drm.manager.close(drm.vm),
            Driver::Kfd(..) => unreachable!("the parser keeps close and fini from kfd"),
        }
    }

    /// `amdgpu_vm_fini`; the file's memory stays, because somebody may still be in an ioctl.
    pub(super) fn fini(&self) {
        match self {
            Driver::Drm(drm) => {
                drm.manager.vm_fini(drm.vm);
                drm.gone.set(true);
            }
            Driver::Kfd(..) => unreachable!("the parser keeps close and fini from kfd"),
        }
    }

    /// The mmu notifier's release, before the address space goes. Asked of one GPU for the process.
    pub(super) fn process_release(&self, destroy_queues: impl FnOnce()) {
        match self {
            Driver::Kfd(svms, _) => svms.process_release(destroy_queues),
            Driver::Drm(_) => destroy_queues(),
        }
    }
}

/// What checks may ask of a driver. At rest, or where the locks that protect it are known to be held. What KFD keeps once
/// for the process is told with its first GPU.
pub struct View<'a, L: Lab>(&'a Driver<L>);

impl<'a, L: Lab> View<'a, L> {
    pub(super) fn of(driver: &'a Driver<L>) -> Self {
        View(driver)
    }

    /// Whether GPU faults are retried.
    pub fn xnack_enabled(&self) -> bool {
        match self.0 {
            Driver::Drm(drm) => drm.svm().xnack_enabled(),
            Driver::Kfd(svms, _) => svms.xnack_enabled(),
        }
    }

    /// How many stops of the process's queues the driver believes to hold.
    pub fn stops_held(&self) -> u32 {
        match self.0 {
            Driver::Drm(drm) => u32::from(drm.svm().inspect().queues_stopped()),
            Driver::Kfd(svms, 0) => svms.inspect().stops() as u32,
            Driver::Kfd(..) => 0,
        }
    }

    /// What counts as evicted.
    pub fn evicted_ranges(&self) -> u64 {
        match self.0 {
            Driver::Drm(drm) => drm.svm().inspect().evicted_ranges(),
            Driver::Kfd(svms, 0) => svms.inspect().evicted_ranges(),
            Driver::Kfd(..) => 0,
        }
    }

    /// Whether a range waits for a worker.
    pub fn has_pending_work(&self) -> bool {
        match self.0 {
            Driver::Drm(drm) => drm.svm().inspect().has_pending_work(),
            Driver::Kfd(svms, 0) => svms.inspect().has_pending_work(),
            Driver::Kfd(..) => false,
        }
    }

    /// References of the process, and its ranges; None: no process stands behind it, or it is told with another GPU.
    pub fn process(&self) -> Option<(u64, usize)> {
        match self.0 {
            Driver::Kfd(svms, 0) => Some((svms.inspect().references(), svms.inspect().ranges().count())),
            _ => None,
        }
    }

    /// The ranges with their references and how many holders there are. KFD's are not counted.
    pub fn for_each_range(&self, mut f: impl FnMut(Bytes, u64, u64)) {
        if let Driver::Drm(drm) = self.0 {
            for range in drm.svm().inspect().ranges() {
                f(range.bytes, range.references, 1 + u64::from(range.in_queue));
            }
        }
    }

    /// The attributes of `pages`, cut where they are stored, holes included.
    pub fn for_each_segment(&self, pages: Pages, f: impl FnMut(Segment)) {
        match self.0 {
            Driver::Drm(drm) => drm.svm().inspect().for_each_segment(pages, f),
            Driver::Kfd(svms, gpu) => svms.inspect().for_each_segment(*gpu, pages, f),
        }
    }

    /// What the entry of `page`, which is reached by `proto`, has to hold by attributes and VMA. None: nobody can say.
    pub fn pte_flags(
        &self,
        gpu: &GpuVm<L>,
        page: u64,
        attrs: &Attrs,
        read_only: bool,
        proto: Interconnect,
    ) -> Option<PteFlags> {
        let properties = gpu.properties();
        match self.0 {
            Driver::Drm(drm) if drm.svm().uapi() == model::attr::Uapi::V4 => {
                Some(pte::segment_pte_flags(&properties, attrs.flags, read_only, proto))
            }
            Driver::Drm(_) => Some(pte::pte_flags(&properties, attrs.flags, read_only)),
            Driver::Kfd(svms, index) => svms.inspect().pte_flags(*index, page, read_only),
        }
    }

    /// Whether all trees and lists are well formed; warns about what is not.
    pub fn check(&self) {
        match self.0 {
            Driver::Drm(drm) => drm.svm().inspect().check(),
            Driver::Kfd(svms, 0) => svms.inspect().check(),
            Driver::Kfd(..) => {}
        }
    }
}
