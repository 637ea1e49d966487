//! The driver behind a GPU, whatever its design: how the world calls it, and what checks may ask of it.
//!
//! The DRM designs have one instance for each GPU; the VM layer ([`model::amdgpu::vm`]) stands between it and the world.

use super::platform::Simulated;
use crate::lang::{Design, GpuDecl};
use interleave::lab::Lab;
use model::Errno;
use model::amdgpu::slabs::Slabs;
use model::amdgpu::vm::{Built, Handled, ManagerConfig, SvmHandle, VmHandle, VmManager};
use model::amdgpu::{IoctlArgs, Svm, SvmConfig, UserAttrs};
use model::attr::Segment;
use model::gpusvm::ChunkSizes;
use model::platform::{ClientId, MmuEvent, WorkFunc};
use model::units::{Bytes, Pages};
use sim_gpu::GpuVm;
use sim_mm::AddressSpace;
use std::rc::Rc;

/// The PASID of the process's VM; 0 names none.
const PASID: u32 = 1;

/// One instance for one GPU, and the VM it belongs to.
pub(super) struct Driver<L: Lab> {
    manager: VmManager<Simulated<L>>,
    vm: VmHandle<Simulated<L>>,
    /// What workers and callbacks find with `container_of`, whatever became of `vm.svm`.
    svm: SvmHandle<Simulated<L>>,
    /// The address space of the process that opened the file.
    mm: AddressSpace<L>,
    /// Of the module, so that it lives as long as the devices.
    _slabs: Rc<Slabs<Simulated<L>>>,
}

impl<L: Lab> Driver<L> {
    /// The file is opened and the VM made a compute VM, which creates the SVM instance.
    pub(super) fn open(
        decl: &GpuDecl,
        design: Design,
        client: ClientId,
        mm: &AddressSpace<L>,
        gpu: &GpuVm<L>,
        slabs: &Rc<Slabs<Simulated<L>>>,
    ) -> Self {
        let design = match design {
            Design::PocV1 => model::amdgpu::Design::PocV1,
            Design::Hardened => model::amdgpu::Design::Hardened,
            Design::PocV8 | Design::Kfd => unreachable!("not among Design::ALL yet"),
        };
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
        let svm = manager.svm_of(vm).expect("a compute VM has an instance");
        Driver { manager, vm, svm, mm: mm.clone(), _slabs: slabs.clone() }
    }

    /// The instance. Using it after its last reference is gone is a use after free.
    #[track_caller]
    pub(super) fn svm(&self) -> &Svm<Simulated<L>> {
        self.manager.instance(self.svm)
    }

    /// Whether the instance still exists. At rest only.
    pub(super) fn exists(&self) -> bool {
        self.manager.live_instances() != 0
    }

    /// A retry fault of this GPU reaches the driver: `amdgpu_vm_handle_fault`. KFD's own SVM has nothing to say here.
    pub(super) fn handle_fault(&self, addr: u64, write: bool) -> Handled {
        self.manager.vm_handle_fault(PASID, addr, write, || Err(Errno::EFAULT))
    }

    pub(super) fn ioctl(&self, args: &IoctlArgs, user: &mut dyn UserAttrs) -> Result<(), Errno> {
        self.manager.ioctl(self.vm, &self.mm, args, user)
    }

    pub(super) fn invalidate(&self, cookie: u64, event: &MmuEvent, seq: u64) -> bool {
        self.svm().mmu_invalidate(cookie, event, seq)
    }

    pub(super) fn run_work(&self, func: WorkFunc) {
        match func {
            WorkFunc::Gc => self.svm().gc_work(),
            WorkFunc::Restore => self.svm().restore_work(),
            WorkFunc::FaultInterrupt | WorkFunc::CopyEngine => self.gpu.run_work(func),
        }
    }

    /// `amdgpu_svm_close`: the DRM file is closed.
    pub(super) fn close(&self) {
        self.manager.close(self.vm);
    }

    /// `amdgpu_vm_fini`; the file's memory stays, because somebody may still be in an ioctl.
    pub(super) fn fini(&self) {
        self.manager.vm_fini(self.vm);
    }
}

/// What checks may ask of a driver. At rest, or where the locks that protect it are known to be held.
pub struct View<'a, L: Lab>(&'a Svm<Simulated<L>>);

impl<'a, L: Lab> View<'a, L> {
    pub(super) fn of(driver: &'a Driver<L>) -> Self {
        View(driver.svm())
    }

    /// Whether GPU faults are retried.
    pub fn xnack_enabled(&self) -> bool {
        self.0.xnack_enabled()
    }

    /// How many stops of the process's queues the driver believes to hold for this GPU.
    pub fn stops_held(&self) -> u32 {
        u32::from(self.0.inspect().queues_stopped())
    }

    /// What counts as evicted.
    pub fn evicted_ranges(&self) -> u64 {
        self.0.inspect().evicted_ranges()
    }

    /// Whether a range waits for a worker.
    pub fn has_pending_work(&self) -> bool {
        self.0.inspect().has_pending_work()
    }

    /// The ranges with their references and how many holders there are.
    pub fn for_each_range(&self, mut f: impl FnMut(Bytes, u64, u64)) {
        for range in self.0.inspect().ranges() {
            f(range.bytes, range.references, 1 + u64::from(range.in_queue));
        }
    }

    /// The attributes of `pages`, cut where they are stored, holes included.
    pub fn for_each_segment(&self, pages: Pages, f: impl FnMut(Segment)) {
        self.0.inspect().for_each_segment(pages, f);
    }

    /// Whether all trees and lists are well formed; warns about what is not.
    pub fn check(&self) {
        self.0.inspect().check();
    }
}
