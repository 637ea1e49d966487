//! One GPU of the machine with the SVM instance of its compute VM.

use super::driver::{Driver, View};
use super::platform::Simulated;
use super::promise::Promises;
use super::thread::UserArray;
use crate::lang::GpuDecl;
use interleave::lab::Lab;
use model::Errno;
use model::amdgpu::vm::Handled;
use model::amdgpu::{IoctlArgs, Svm};
use model::platform::RetryFault;
use model::units::{Bytes, Pages};
use sim_gpu::GpuVm;
use std::cell::{Cell, OnceCell};

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

impl<L: Lab> Device<L> {
    pub(super) fn new(decl: &GpuDecl, vm: GpuVm<L>, regions: Vec<Pages>) -> Self {
        Device {
            name: decl.name.clone(),
            vm,
            promises: Promises::new(regions),
            driver: OnceCell::new(),
            closed: Cell::new(false),
            finished: Cell::new(false),
        }
    }

    /// The file is opened and the VM made a compute VM, which creates the SVM instance.
    pub(super) fn open(&self, driver: Driver<L>) {
        assert!(self.driver.set(driver).is_ok(), "a VM is made compute once");
    }

    pub(super) fn driver(&self) -> &Driver<L> {
        self.driver.get().expect("the instance exists before anything can call it")
    }

    /// The instance. Using it after its last reference is gone is a use after free.
    #[track_caller]
    pub fn svm(&self) -> &Svm<Simulated<L>> {
        self.driver().svm()
    }

    /// What checks may ask of the driver.
    #[track_caller]
    pub fn view(&self) -> View<'_, L> {
        View::of(self.driver())
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
        self.driver().exists()
    }

    /// A retry fault of this GPU reaches the driver.
    pub fn handle_fault(&self, fault: RetryFault) -> Handled {
        self.driver().handle_fault(fault)
    }

    pub(super) fn ioctl(&self, operation: u32, bytes: Bytes, user: &mut UserArray) -> Result<(), Errno> {
        let args = IoctlArgs {
            start_addr: bytes.start,
            size: bytes.len(),
            operation,
            nattr: user.0.len() as u32,
            attrs_ptr_null: false,
        };
        loop {
            match self.driver().ioctl(&args, user) {
                // As drmIoctl and KFD's thunk do.
                Err(Errno::EAGAIN) => L::retry_point("an ioctl said EAGAIN"),
                result => return result,
            }
        }
    }

    /// The DRM file is closed: from here on nobody counts on the pages.
    pub(super) fn close(&self) {
        self.promises.begin_taking_back_all();
        self.driver().close();
        self.closed.set(true);
    }

    /// The VM is torn down (`amdgpu_vm_fini`); the file's memory stays, because somebody may still be in an ioctl.
    pub(super) fn fini(&self) {
        self.promises.begin_taking_back_all();
        self.driver().fini();
        self.finished.set(true);
        self.closed.set(true);
    }
}
