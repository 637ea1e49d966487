//! One GPU of the machine with the SVM instance of its compute VM.

use super::platform::Simulated;
use super::promise::{Change, Promises};
use super::thread::UserArray;
use crate::lang::{Design, GpuDecl};
use interleave::lab::Lab;
use model::Errno;
use model::amdgpu::slabs::Slabs;
use model::amdgpu::vm::{Built, Handled, ManagerConfig, SvmHandle, VmHandle, VmManager};
use model::amdgpu::{IoctlArgs, Svm, SvmConfig};
use model::gpusvm::ChunkSizes;
use model::platform::ClientId;
use model::units::{Bytes, Pages};
use sim_gpu::GpuVm;
use sim_mm::AddressSpace;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// The PASID of the process's VM; 0 names none.
const PASID: u32 = 1;

/// A GPU, the compute VM of the process on it, and what the driver promised there.
pub struct Device<L: Lab> {
    /// Name in the scenario.
    pub name: String,
    /// The VM as the hardware sees it.
    pub vm: GpuVm<L>,
    /// Which pages the driver owes to this GPU.
    pub promises: Promises,
    driver: OnceCell<Driver<L>>,
    /// Whether close has returned.
    closed: Cell<bool>,
    finished: Cell<bool>,
}

/// The driver's side of the device.
struct Driver<L: Lab> {
    manager: VmManager<Simulated<L>>,
    vm: VmHandle<Simulated<L>>,
    /// What workers and callbacks find with `container_of`, whatever became of `vm.svm`.
    svm: SvmHandle<Simulated<L>>,
    /// The address space of the process that opened the file.
    mm: AddressSpace<L>,
    /// Of the module, so that it lives as long as the devices.
    _slabs: Rc<Slabs<Simulated<L>>>,
}

impl<L: Lab> Device<L> {
    pub(super) fn new(decl: &GpuDecl, vm: GpuVm<L>, span: Pages) -> Self {
        Device {
            name: decl.name.clone(),
            vm,
            promises: Promises::new(span),
            driver: OnceCell::new(),
            closed: Cell::new(false),
            finished: Cell::new(false),
        }
    }

    /// The file is opened and the VM made a compute VM, which creates the SVM instance.
    pub(super) fn open(
        &self,
        decl: &GpuDecl,
        design: Design,
        client: ClientId,
        mm: &AddressSpace<L>,
        slabs: &Rc<Slabs<Simulated<L>>>,
    ) {
        let design = match design {
            Design::PocV1 => model::amdgpu::Design::PocV1,
            Design::Hardened => model::amdgpu::Design::Hardened,
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
        let vm = manager.vm_init(PASID, self.vm.clone()).expect("nothing fails before the race");
        manager.make_compute(vm, slabs, config, mm.clone()).expect("nothing fails before the race");
        let svm = manager.svm_of(vm).expect("a compute VM has an instance");
        let driver = Driver { manager, vm, svm, mm: mm.clone(), _slabs: slabs.clone() };
        assert!(self.driver.set(driver).is_ok(), "a VM is made compute once");
    }

    fn driver(&self) -> &Driver<L> {
        self.driver.get().expect("the instance exists before anything can call it")
    }

    /// The instance. Using it after its last reference is gone is a use after free.
    #[track_caller]
    pub fn svm(&self) -> &Svm<Simulated<L>> {
        self.driver().manager.instance(self.driver().svm)
    }

    /// Whether the instance is not closed.
    pub fn is_open(&self) -> bool {
        !self.closed.get()
    }

    /// Whether fini has returned.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Whether the instance still exists. At rest only.
    pub fn exists(&self) -> bool {
        self.driver().manager.live_instances() != 0
    }

    /// A retry fault of this GPU reaches the driver: `amdgpu_vm_handle_fault`. KFD's own SVM has nothing to say here.
    pub fn handle_fault(&self, addr: u64, write: bool) -> Handled {
        self.driver().manager.vm_handle_fault(PASID, addr, write, || Err(Errno::EFAULT))
    }

    pub(super) fn ioctl(&self, operation: u32, bytes: Bytes, user: &mut UserArray) -> Result<(), Errno> {
        let args = IoctlArgs {
            start_addr: bytes.start,
            size: bytes.len(),
            operation,
            nattr: user.0.len() as u32,
            attrs_ptr_null: false,
        };
        let driver = self.driver();
        driver.manager.ioctl(driver.vm, &driver.mm, &args, user)
    }

    /// The DRM file is closed: from here on nobody counts on the pages.
    pub(super) fn close(&self) {
        // For good: nobody counts on the pages from here on.
        let _ = self.promises.begin(Change::TAKE_BACK, self.promises.span());
        self.driver().manager.close(self.driver().vm);
        self.closed.set(true);
    }

    /// The VM is torn down (`amdgpu_vm_fini`); the file's memory stays, because somebody may still be in an ioctl.
    pub(super) fn fini(&self) {
        let _ = self.promises.begin(Change::TAKE_BACK, self.promises.span());
        self.driver().manager.vm_fini(self.driver().vm);
        self.finished.set(true);
        self.closed.set(true);
    }
}
