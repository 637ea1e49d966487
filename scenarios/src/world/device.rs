//! One GPU of the machine with the SVM instance of its compute VM.

use super::platform::Simulated;
use super::promise::{Change, Promises};
use super::thread::UserArray;
use crate::lang::{Design, GpuDecl};
use interleave::lab::{Invariant, Lab, Stamp, Violation};
use model::Errno;
use model::amdgpu::{IoctlArgs, Svm, SvmConfig};
use model::gpusvm::ChunkSizes;
use model::platform::ClientId;
use model::units::{Bytes, Pages};
use sim_gpu::GpuVm;
use sim_mm::AddressSpace;
use std::cell::{Cell, OnceCell};

/// A GPU, the compute VM of the process on it, and what the driver promised there.
pub struct Device<L: Lab> {
    /// Name in the scenario.
    pub name: String,
    /// The VM as the hardware sees it.
    pub vm: GpuVm<L>,
    /// Which pages the driver owes to this GPU.
    pub promises: Promises,
    svm: OnceCell<Svm<Simulated<L>>>,
    /// When the last reference to the instance was dropped.
    freed: Cell<Option<Stamp>>,
    /// Whether close has returned.
    closed: Cell<bool>,
    finished: Cell<bool>,
}

impl<L: Lab> Device<L> {
    pub(super) fn new(decl: &GpuDecl, vm: GpuVm<L>, span: Pages) -> Self {
        Device {
            name: decl.name.clone(),
            vm,
            promises: Promises::new(span),
            svm: OnceCell::new(),
            freed: Cell::new(None),
            closed: Cell::new(false),
            finished: Cell::new(false),
        }
    }

    /// `make_compute`: creates the SVM instance.
    pub(super) fn open(&self, decl: &GpuDecl, design: Design, client: ClientId, mm: &AddressSpace<L>) {
        let mut config = SvmConfig::new(
            match design {
                Design::PocV1 => model::amdgpu::Design::PocV1,
                Design::Hardened => model::amdgpu::Design::Hardened,
            },
            client,
        );
        config.xnack = Some(decl.xnack);
        config.default_granularity = decl.granularity;
        if let Some(sizes) = &decl.chunk_sizes {
            config.chunk_sizes = ChunkSizes::new(sizes).expect("the parser has checked the chunk sizes");
        }
        if let Some(size) = decl.notifier_size {
            config.notifier_size = size;
        }
        let svm = Svm::init(config, mm.clone(), self.vm.clone()).expect("nothing fails before the race");
        assert!(self.svm.set(svm).is_ok(), "a VM is made compute once");
    }

    /// The instance. Using it after its last reference is gone is a use after free.
    #[track_caller]
    pub fn svm(&self) -> &Svm<Simulated<L>> {
        if let Some(freed) = self.freed.get() {
            let what = format!("the SVM instance of {} is used after its last reference was dropped", self.name);
            L::fail(Violation::new(Invariant::I4, what, Some(freed)));
        }
        self.svm.get().expect("the instance exists before anything can call it")
    }

    /// Whether the instance still exists, and is not closed.
    pub fn is_open(&self) -> bool {
        !self.closed.get() && self.freed.get().is_none()
    }

    /// Whether fini has returned.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Whether the instance still exists.
    pub fn exists(&self) -> bool {
        self.freed.get().is_none()
    }

    pub(super) fn ioctl(&self, operation: u32, bytes: Bytes, user: &mut UserArray) -> Result<(), Errno> {
        let args = IoctlArgs {
            start_addr: bytes.start,
            size: bytes.len(),
            operation,
            nattr: user.0.len() as u32,
            attrs_ptr_null: false,
        };
        self.svm().ioctl(&args, user)
    }

    /// The DRM file is closed: from here on nobody counts on the pages.
    pub(super) fn close(&self) {
        // For good: nobody counts on the pages from here on.
        let _ = self.promises.begin(Change::TAKE_BACK, self.promises.span());
        self.svm().close();
        self.closed.set(true);
    }

    /// The VM is torn down and the instance's first reference dropped.
    pub(super) fn fini(&self) {
        let _ = self.promises.begin(Change::TAKE_BACK, self.promises.span());
        self.svm().fini();
        self.finished.set(true);
        self.closed.set(true);
        if self.svm().put() {
            self.freed.set(Some(L::stamp()));
        }
    }
}
