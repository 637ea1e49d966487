//! The VM of an open file.

use super::OpenFile;
use super::create::{PASID, Wanted};
use super::user::UserArray;
use crate::board::{LinuxBoard, Process};
use crate::entry::Module;
use crate::framework::Callbacks;
use crate::gpu::{FaultVerdict, Inner, SwGpu};
use crate::kernel::Boxed;
use crate::registry::{Client, Registration};
use crate::{LinuxGpu, LinuxKernel, LinuxMm, OnLinux, uapi};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use model::Errno;
use model::amdgpu::slabs::Slabs;
use model::amdgpu::vm::{Handled, SvmHandle, VmHandle, VmManager};
use model::amdgpu::{IoctlArgs, Svm, UserAttrs};
use model::attr::UapiAttr;
use model::platform::{Handle, Kernel, Mm, MmuEvent, Mutex, RetryFault, WorkFunc};

/// A mutex of the kernel's.
type KMutex<T> = <LinuxKernel as Kernel>::Mutex<T>;

/// A VM on a software GPU, with its SVM instance on the framework of `P`. Does not move.
pub struct OpenVm<P: OnLinux> {
    manager: VmManager<P>,
    vm: VmHandle<P>,
    slabs: &'static Slabs<P>,
    /// What callbacks and work items find, whatever became of `vm.svm`: a handle's bits, 0 before there is an instance.
    svm: AtomicU64,
    /// Whether the first ioctl makes it.
    by_ioctl: bool,
    /// Around the making of an instance by an ioctl.
    creating: KMutex<()>,
    /// Whether fini has run. Held while somebody looks into the instance, so that it stays.
    pub(super) finished: KMutex<bool>,
    /// How many stops of the process's queues user space asked for.
    pub(super) stops: KMutex<u32>,
    // What is below outlives what is above: fields are dropped in order.
    pub(super) gpu: Boxed<Inner<LinuxKernel, LinuxBoard>>,
    pub(super) board: LinuxBoard,
    pub(super) mm: Grabbed,
    _process: Process,
    _registration: Registration,
}

/// An `mmgrab`, given back on drop.
pub(super) struct Grabbed(pub(super) LinuxMm);

impl Grabbed {
    fn new(mm: &LinuxMm) -> Self {
        mm.mmgrab();
        Grabbed(mm.clone())
    }
}

impl Drop for Grabbed {
    fn drop(&mut self) {
        self.0.mmdrop();
    }
}

/// An array of attributes that is refused before anybody looks at it.
struct NoAttrs;

impl UserAttrs for NoAttrs {
    fn copy_in(&self, _: &mut [UapiAttr]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    fn copy_out(&mut self, _: &[UapiAttr]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
}

impl<P: OnLinux> OpenVm<P> {
    /// See [`create`](super::create()).
    pub(super) fn open(
        module: &'static Module,
        slabs: &'static Slabs<P>,
        board: LinuxBoard,
        mm: &LinuxMm,
        wanted: &Wanted,
    ) -> Result<Boxed<Self>, Errno> {
        let registration = Registration::new()?;
        let process = Process::of_current(mm)?;
        let mm = Grabbed::new(mm);
        let gpu = Inner::new(wanted.gpu(registration.id()), board, &module.kfd, mm.0.as_raw() as u64)?;
        let gpu = Boxed::new(gpu)?;
        let manager = VmManager::new(wanted.manager)?;
        let (creating, finished, stops) =
            (Mutex::new("svmlab creating", ())?, Mutex::new("svmlab finished", false)?, Mutex::new("svmlab stops", 0)?);
        // SAFETY: the box does not move its object, and outlives the manager, whose VM and instance have the handles.
        let handle: LinuxGpu = unsafe { SwGpu::new(&gpu) };
        let vm = manager.vm_init(PASID, handle)?;
        let this = Boxed::new(OpenVm {
            manager,
            vm,
            slabs,
            svm: AtomicU64::new(0),
            by_ioctl: wanted.manager.design.created_by_ioctl(),
            creating,
            finished,
            stops,
            gpu,
            board,
            mm,
            _process: process,
            _registration: registration,
        })?;
        let client: NonNull<dyn Client> = NonNull::from(&*this);
        // SAFETY: the VM stays in its box until it is dropped, which first ends its notifiers and work items; there are
        // none yet.
        unsafe { this._registration.publish(client) };
        // When this fails, what there is is taken down by drop.
        this.manager.make_compute(this.vm, slabs, wanted.svm(this._registration.id()), this.mm.0.clone())?;
        this.remember();
        Ok(this)
    }

    /// Notes the instance that `vm.svm` points to.
    fn remember(&self) {
        if let Some(svm) = self.manager.svm_of(self.vm) {
            self.svm.store(svm.to_bits(), Ordering::Release);
        }
    }

    /// The instance, once there is one. After its last put it is not there.
    fn svm(&self) -> Option<&Svm<P>> {
        let bits = self.svm.load(Ordering::Acquire);
        let handle: SvmHandle<P> = Handle::from_bits(bits);
        (bits != 0).then(|| self.manager.instance(handle))
    }

    /// `f` of the instance, if there is one and it is not taken down, which it will not be meanwhile.
    pub(super) fn with_svm<R>(&self, f: impl FnOnce(&Svm<P>) -> R) -> Option<R> {
        let finished = self.finished.lock();
        if *finished { None } else { self.svm().map(f) }
    }

    /// Whether the VM is marked as a compute VM.
    pub(super) fn is_compute(&self) -> bool {
        self.manager.is_compute(self.vm)
    }

    /// The instance of a design that makes it in the first ioctl, before it looks at the arguments. Two first calls would
    /// make two of one number, and callbacks could not tell which they are for; so the first one is made alone.
    ///
    /// # Errors
    /// Those of the creation.
    fn create_by_ioctl(&self, current: &LinuxMm) -> Result<(), Errno> {
        let _alone = self.creating.lock();
        if self.svm.load(Ordering::Acquire) != 0 {
            return Ok(());
        }
        let nothing = IoctlArgs { start_addr: 0, size: 0, operation: 0, nattr: 0, attrs_ptr_null: true };
        let refused = self.manager.ioctl(self.vm, self.slabs, current, &nothing, &mut NoAttrs);
        self.remember();
        if self.manager.is_enabled(self.vm) { Ok(()) } else { refused }
    }

    pub(super) fn ioctl(&self, current: &LinuxMm, args: &uapi::GemSvm) -> Result<(), Errno> {
        if self.by_ioctl {
            self.create_by_ioctl(current)?;
        }
        let ioctl = IoctlArgs {
            start_addr: args.start_addr,
            size: args.size,
            operation: args.operation,
            nattr: args.nattr,
            attrs_ptr_null: args.attrs_ptr == 0,
        };
        self.manager.ioctl(self.vm, self.slabs, current, &ioctl, &mut UserArray(args.attrs_ptr))
    }

    /// `amdgpu_svm_close`.
    pub(super) fn close_svm(&self) {
        if !*self.finished.lock() {
            self.manager.close(self.vm);
        }
    }

    /// `amdgpu_vm_fini`, once.
    pub(super) fn fini(&self) {
        let mut finished = self.finished.lock();
        if !*finished {
            self.manager.vm_fini(self.vm);
            *finished = true;
        }
    }

    fn handle_fault(&self, fault: RetryFault) -> FaultVerdict {
        // KFD's own SVM has nothing to say here.
        match self.manager.vm_handle_fault(PASID, fault, || Err(Errno::EFAULT)) {
            Handled::NoVm | Handled::Failed(_) => FaultVerdict::NoRetry,
            _ => FaultVerdict::Handled,
        }
    }
}

impl<P: OnLinux> Client for OpenVm<P> {
    fn mmu_invalidate(&self, cookie: u64, event: &MmuEvent, seq: u64) -> bool {
        self.svm().is_none_or(|svm| P::Framework::mmu_invalidate(svm, cookie, event, seq))
    }

    unsafe fn invalidate(&self, notifier: u64, event: &MmuEvent) {
        if let Some(svm) = self.svm() {
            // SAFETY: the same promise; there is one instance of this number.
            unsafe { P::Framework::invalidate(svm, notifier, event) }
        }
    }

    fn work(&self, func: WorkFunc) {
        match (func, self.svm()) {
            (WorkFunc::FaultInterrupt, _) => self.gpu.handle_retry_faults(|fault| self.handle_fault(fault)),
            (WorkFunc::Gc, Some(svm)) => svm.gc_work(),
            (WorkFunc::Restore, Some(svm)) => svm.restore_work(),
            (other, _) => LinuxKernel::warn(format_args!("{} is no work of this driver", other.name())),
        }
    }
}

impl<P: OnLinux> Drop for OpenVm<P> {
    fn drop(&mut self) {
        self.fini();
        // Nobody in user space can raise a fault any more; one that was raised finds no VM.
        self.gpu.shut_down();
        self.manager.vm_free(self.vm);
        for _ in 0..*self.stops.lock() {
            // Others of the process are stopped because of this file. When the process is gone nobody is.
            let _ = self.gpu.kfd().resume_mm(self.mm.0.as_raw() as u64);
        }
    }
}

impl<P: OnLinux> OpenFile for OpenVm<P> {
    fn gem_svm(&self, current: &LinuxMm, args: &uapi::GemSvm) -> Result<(), Errno> {
        self.ioctl(current, args)
    }

    fn close(&self, args: &uapi::Close) -> Result<(), Errno> {
        match args {
            uapi::Close { what: uapi::SVMLAB_CLOSE, pad: 0 } => self.close_svm(),
            uapi::Close { what: uapi::SVMLAB_FINI, pad: 0 } => self.fini(),
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn access(&self, args: &mut uapi::Accesses, accesses: &mut [uapi::Access]) -> Result<(), Errno> {
        self.wave(args, accesses)
    }

    fn settle(&self, args: &mut uapi::Settle) -> Result<(), Errno> {
        self.come_to_rest(args)
    }

    fn state(&self, gpu_only: bool) -> uapi::State {
        self.stand(gpu_only)
    }

    fn ranges(&self, room: &mut [uapi::Range]) -> u32 {
        self.list_ranges(room)
    }

    fn nodes(&self, room: &mut [uapi::Node]) -> u32 {
        self.list_nodes(room)
    }

    fn mapped(&self, start: u64, pages: &mut [uapi::Page]) -> Result<u32, Errno> {
        self.list_pages(start, pages)
    }

    fn hardware(&self, args: &uapi::Hardware) -> Result<(), Errno> {
        self.happen(args)
    }
}
