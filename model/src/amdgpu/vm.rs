//! What `amdgpu_vm.c` does for SVM: the hooks of patch 12, and the way from a PASID to an instance (patch 11). Spec
//! amdgpu-svm 1.3 (rule 1), 1.7, 4.9 to 4.11.
//!
//! | here | there |
//! |---|---|
//! | [`VmManager`] | `adev->vm_manager`, with the memory of its VMs and their instances |
//! | [`PasidTable`] | `vm_manager.pasids` |
//! | [`Vm`] | the part of `struct amdgpu_vm` that SVM knows: `is_compute_context`, `svm` |
//! | [`Built`] | `CONFIG_DRM_AMDGPU_SVM` |
//!
//! # Who may use an instance
//! `vm.svm` is one pointer. It is set at the end of init and cleared by fini.
//!
//! * `poc-v1` guards it with nothing. The ioctl reads it and goes on (race R36: the file's reference count keeps fini away
//!   in practice, nothing in the driver does). The fault handler reads it under the pasids lock, which fini does not take,
//!   and its kref keeps the *struct* alive and nothing that fini takes down (race R35).
//! * `hardened` sets it once and never clears it: the instance lives as long as the VM's file, which outlives every ioctl
//!   by the file's reference count, and an ioctl that comes after fini finds it closed. A fault handler holds no file; it
//!   takes its reference under the pasids lock, under which fini takes the VM out of the table before the file puts its
//!   own. Both look at "closing" once they have the lock that close takes.
//!
//! The pasids lock is inside of everything; under it there is only a `kref_get`.

use super::slabs::Slabs;
use super::{Design, IoctlArgs, Svm, SvmConfig, UserAttrs};
use crate::Errno;
use crate::note;
use crate::platform::{
    Atomic, Cache, DmaAddr, Gpu, Handle, KArray, KAtomic, KCache, KPlain, KShared, KSpinLock, Kernel, Mm, Objects,
    Plain, Platform, PteFlags, PteUpdate, RetryFault, Shared, SpinLock,
};
use crate::units::{PAGE_SHIFT, Pages};

/// How the module was built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Built {
    /// With `CONFIG_DRM_AMDGPU_SVM`.
    WithSvm,
    /// Without: init succeeds and does nothing, close and fini do nothing, no VM is enabled, ioctl and fault handler say
    /// `EOPNOTSUPP` (spec amdgpu-svm 1.7).
    WithoutSvm,
}

/// The part of `struct amdgpu_vm` that is about SVM.
pub struct Vm<P: Platform> {
    /// Constant once the VM is in the table.
    pasid: u32,
    /// The page tables. Constant.
    gpu: P::Gpu,
    /// Written under the root's reservation.
    is_compute_context: KShared<P, bool>,
    /// What an instance is made with. Written once, by `make_compute`, before anybody else has the VM.
    config: KPlain<P, Option<SvmConfig>>,
    /// See the module documentation. Dangles in nobody's hands but a reader's.
    svm: KShared<P, Option<SvmHandle<P>>>,
}

/// A VM; not counted: it lives as long as its file.
pub type VmHandle<P> = Handle<Vm<P>>;
/// An instance; counted by hand.
pub type SvmHandle<P> = Handle<Svm<P>>;

/// `vm_manager.pasids`: which VM a PASID names. An xarray with its lock, irqs off.
pub struct PasidTable<P: Platform> {
    xarray: KSpinLock<P, KArray<P, Option<VmHandle<P>>>>,
}

impl<P: Platform> PasidTable<P> {
    /// PASIDs `0..pasids`.
    fn new(pasids: usize) -> Result<Self, Errno> {
        Ok(PasidTable { xarray: SpinLock::new("vm_manager.pasids", P::Kernel::alloc_array(pasids, None)?)? })
    }

    /// `xa_store`, `xa_erase`.
    ///
    /// # Errors
    /// `EINVAL`: no such PASID.
    fn store(&self, pasid: u32, vm: Option<VmHandle<P>>) -> Result<(), Errno> {
        let mut xarray = self.xarray.lock();
        *xarray.get_mut(pasid as usize).ok_or(Errno::EINVAL)? = vm;
        Ok(())
    }

    /// `xa_load`, and what `f` makes of it, under the lock.
    fn with<R>(&self, pasid: u32, f: impl FnOnce(Option<VmHandle<P>>) -> R) -> R {
        let xarray = self.xarray.lock();
        f(xarray.get(pasid as usize).copied().flatten())
    }
}

/// What a manager is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ManagerConfig {
    /// Which driver.
    pub design: Design,
    /// Whether it is there at all.
    pub built: Built,
    /// How many PASIDs there are.
    pub pasids: u32,
    /// `adev->dummy_page_addr` when `amdgpu_vm_fault_stop` is NEVER (the default); else None.
    pub dummy_page: Option<DmaAddr>,
}

/// Who answered a retry fault (`amdgpu_vm_handle_fault`). [`Handled::is_handled`] is what that function returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handled {
    /// Nobody: the PASID names no VM (any more).
    NoVm,
    /// The SVM instance.
    Svm,
    /// KFD's own SVM.
    Kfd,
    /// An entry was written that makes the GPU give up.
    NoRetry,
    /// A graphics VM got the dummy page.
    Dummy,
    /// A graphics VM got an empty entry, at which the hardware retries in silence.
    Silent,
    /// Nobody, and writing an entry failed.
    Failed(Errno),
}

impl Handled {
    /// Whether the fault is dealt with; if not, the interrupt handler goes on to report it.
    pub const fn is_handled(self) -> bool {
        matches!(self, Handled::Svm | Handled::Kfd)
    }
}

/// `adev->vm_manager`: the VMs of one GPU.
pub struct VmManager<P: Platform> {
    config: ManagerConfig,
    pasids: PasidTable<P>,
    vms: KCache<P, Vm<P>>,
    instances: KCache<P, Svm<P>>,
    /// How many instances exist.
    live: KAtomic<P>,
}

impl<P: Platform> VmManager<P> {
    /// `amdgpu_vm_manager_init`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(config: ManagerConfig) -> Result<Self, Errno> {
        Ok(VmManager {
            config,
            pasids: PasidTable::new(config.pasids as usize)?,
            vms: KCache::<P, _>::new("amdgpu_vm")?,
            instances: KCache::<P, _>::new("amdgpu_svm")?,
            live: Atomic::new("svm instances", 0),
        })
    }

    /// `amdgpu_vm_init` and the PASID: a graphics VM, without SVM.
    ///
    /// # Errors
    /// `ENOMEM`; `EINVAL`: no such PASID.
    pub fn vm_init(&self, pasid: u32, gpu: P::Gpu) -> Result<VmHandle<P>, Errno> {
        let vm = self.vms.alloc(Vm {
            pasid,
            gpu,
            is_compute_context: Shared::new("vm.is_compute_context", false),
            config: Plain::new(None),
            svm: Shared::new("vm.svm", None),
        })?;
        if let Err(error) = self.pasids.store(pasid, Some(vm)) {
            self.vms.free(vm);
            return Err(error);
        }
        Ok(vm)
    }

    /// `amdgpu_vm_make_compute`: `mm` is the caller's, whoever uses the file later (race R39). Everything happens under
    /// the reservation of the root directory, slabs and workqueues included. `poc-v8` creates no instance here but in the
    /// first ioctl.
    ///
    /// # Errors
    /// Those of [`Svm::init`] and of the reservation. `poc-v1` leaves the VM marked as a compute VM (race R38), so its
    /// faults go to KFD and its ioctls get `EOPNOTSUPP` for ever; `hardened` takes the mark back.
    pub fn make_compute(&self, vm: VmHandle<P>, slabs: &Slabs<P>, config: SvmConfig, mm: P::Mm) -> Result<(), Errno> {
        let object = self.vms.get(vm);
        let root = object.gpu.reserve_root()?;
        object.is_compute_context.write_once(true);
        object.config.set(Some(config));
        let result = match self.config.design.created_by_ioctl() {
            true => Ok(()),
            false => self.svm_init(object, slabs, config, mm),
        };
        if let Err(error) = result {
            note!(P::Kernel, "make_compute: svm init gives {error}");
            if self.config.design == Design::Hardened {
                object.is_compute_context.write_once(false);
            }
        }
        drop(root);
        result
    }

    /// `amdgpu_svm_init`, up to the publication of `vm.svm`.
    fn svm_init(&self, vm: &Vm<P>, slabs: &Slabs<P>, config: SvmConfig, mm: P::Mm) -> Result<(), Errno> {
        if self.config.built == Built::WithoutSvm || vm.svm.read_once().is_some() {
            return Ok(());
        }
        slabs.cache_init(self.config.design)?;
        let svm = self.instances.alloc_or(Svm::init(config, mm.clone(), vm.gpu.clone())?, Svm::undo_init);
        // Dropping an instance does not give back the grab that its init took.
        let svm = svm.inspect_err(|_| mm.mmdrop())?;
        self.live.inc_return();
        vm.svm.write_once(Some(svm));
        Ok(())
    }

    /// `amdgpu_svm_is_enabled`.
    pub fn is_enabled(&self, vm: VmHandle<P>) -> bool {
        self.vms.get(vm).svm.read_once().is_some()
    }

    /// Whether the VM is marked as a compute VM.
    pub fn is_compute(&self, vm: VmHandle<P>) -> bool {
        self.vms.get(vm).is_compute_context.read_once()
    }

    /// `vm->svm` as it stands, without a reference. `container_of` for workers and callbacks, which belong to an instance
    /// and not to the VM, is [`VmManager::instance`].
    pub fn svm_of(&self, vm: VmHandle<P>) -> Option<SvmHandle<P>> {
        self.vms.get(vm).svm.read_once()
    }

    /// The instance. After its last put this is a use after free.
    #[track_caller]
    pub fn instance(&self, svm: SvmHandle<P>) -> &Svm<P> {
        self.instances.get(svm)
    }

    /// How many instances exist.
    pub fn live_instances(&self) -> u64 {
        self.live.load()
    }

    /// `amdgpu_gem_svm_ioctl`, called by a process whose address space is `current`. The postings do not ask whether that
    /// is the one that is mirrored (race R39). `poc-v8` creates the instance when there is none, before it looks at the
    /// arguments and without a lock: two first calls make two, of which one is lost (race R36).
    ///
    /// # Errors
    /// `EOPNOTSUPP` (rule 1: no instance), then those of [`Svm::ioctl`]. `hardened` also `EPERM`: another process's file.
    pub fn ioctl(
        &self,
        vm: VmHandle<P>,
        slabs: &Slabs<P>,
        current: &P::Mm,
        args: &IoctlArgs,
        user: &mut dyn UserAttrs,
    ) -> Result<(), Errno> {
        if self.config.design.created_by_ioctl()
            && let object = self.vms.get(vm)
            && let Some(config) = object.config.get()
        {
            self.svm_init(object, slabs, config, current.clone())?;
        }
        let handle = self.svm_of(vm).ok_or(Errno::EOPNOTSUPP)?;
        let svm = self.instance(handle);
        if self.config.design == Design::Hardened && !current.is_same(svm.mm()) {
            return Err(Errno::EPERM);
        }
        let result = svm.ioctl(args, user);
        // Up to here it was used.
        self.instance(handle);
        result
    }

    /// `amdgpu_svm_lookup_by_pasid`: the instance, with a reference. Any context.
    pub fn lookup_by_pasid(&self, pasid: u32) -> Option<SvmHandle<P>> {
        self.pasids.with(pasid, |vm| self.get_instance(self.vms.get(vm?)))
    }

    /// Reads `vm.svm` and takes a reference, under the pasids lock.
    fn get_instance(&self, vm: &Vm<P>) -> Option<SvmHandle<P>> {
        let svm = vm.svm.read_once()?;
        match self.config.design {
            // kref_get: fini may have dropped the last reference since the pointer was read.
            Design::PocV1 | Design::PocV8 => self.instance(svm).kref_get(),
            // The VM is in the table, so its file still has a reference.
            _ => self.instance(svm).get().then_some(())?,
        }
        Some(svm)
    }

    /// `kref_put`: the last one frees the struct, and what `fini` has left of it.
    pub fn put_instance(&self, svm: SvmHandle<P>) {
        if self.instance(svm).put() {
            self.instance(svm).release();
            self.instances.free(svm);
            self.live.dec_return();
        }
    }

    /// `amdgpu_svm_handle_fault`. Nothing held.
    ///
    /// # Errors
    /// `EOPNOTSUPP` (the PASID names no instance; `poc-v8` drops the fault then), then those of [`Svm::handle_fault`].
    pub fn handle_fault(&self, pasid: u32, fault: RetryFault) -> Result<(), Errno> {
        let Some(handle) = self.lookup_by_pasid(pasid) else {
            return if self.config.design == Design::PocV8 { Ok(()) } else { Err(Errno::EOPNOTSUPP) };
        };
        let result = self.instance(handle).handle_fault(fault);
        self.put_instance(handle);
        result
    }

    /// `amdgpu_vm_handle_fault`: a retry fault. `kfd` is `svm_range_restore_pages`, asked for compute VMs
    /// without an instance **only**: a VM with DRM SVM never gets KFD's. Nothing held.
    pub fn vm_handle_fault(&self, pasid: u32, fault: RetryFault, kfd: impl FnOnce() -> Result<(), Errno>) -> Handled {
        let found = self.pasids.with(pasid, |vm| {
            let vm = vm?;
            let object = self.vms.get(vm);
            Some((vm, object.is_compute_context.read_once(), object.svm.read_once().is_some()))
        });
        let Some((vm, is_compute, has_svm)) = found else { return Handled::NoVm };
        if is_compute && has_svm {
            // Looks the PASID up again: the instance may be gone by now.
            match self.handle_fault(pasid, fault) {
                Ok(()) => return Handled::Svm,
                // What comes in between is no verdict: the GPU asks again, also when pages could not be collected in the
                // time for it (EBUSY). `poc-v1` ends the wave for it.
                Err(Errno::EAGAIN | Errno::EBUSY) if self.config.design == Design::Hardened => return Handled::Svm,
                Err(error) => note!(P::Kernel, "fault at {:#x}: SVM says {error}", fault.addr),
            }
        } else if is_compute && kfd().is_ok() {
            return Handled::Kfd;
        }
        self.end_fault(pasid, vm, is_compute, fault.addr >> PAGE_SHIFT).unwrap_or_else(Handled::Failed)
    }

    /// The old end of `amdgpu_vm_handle_fault`: an entry that stops the faults.
    fn end_fault(&self, pasid: u32, vm: VmHandle<P>, is_compute: bool, page: u64) -> Result<Handled, Errno> {
        let gpu = &self.vms.get(vm).gpu;
        let root = gpu.reserve_root()?;
        // The VM may have gone while we waited.
        if self.pasids.with(pasid, |now| now != Some(vm)) {
            return Ok(Handled::NoVm);
        }
        let system = PteFlags::VALID | PteFlags::SYSTEM | PteFlags::SNOOPED;
        let rights = PteFlags::EXECUTABLE | PteFlags::READABLE | PteFlags::WRITEABLE;
        let (flags, addr, handled) = match self.config.dummy_page {
            _ if is_compute => (PteFlags::NORETRY, None, Handled::NoRetry),
            Some(dummy) => (system | rights, Some(dummy), Handled::Dummy),
            None => (PteFlags::NONE, None, Handled::Silent),
        };
        let pages = Pages::new(page, page);
        gpu.update_range(&PteUpdate { unlocked: false, flush: false, allow_override: false, pages, flags, addr })?;
        gpu.update_pdes(&root)?;
        note!(P::Kernel, "fault at page {page:#x}: {handled:?}");
        Ok(handled)
    }

    /// `amdgpu_svm_close`: when the file goes, before the rest. Nothing held. Nothing without an instance.
    pub fn close(&self, vm: VmHandle<P>) {
        if let Some(svm) = self.svm_of(vm) {
            self.instance(svm).close();
        }
    }

    /// `amdgpu_vm_fini`: SVM is closed and taken down first; after that come KFD's destroy callback, which does nothing
    /// for SVM, and the PASID, which so long still names the VM. Nothing held.
    pub fn vm_fini(&self, vm: VmHandle<P>) {
        self.close(vm);
        self.svm_fini(vm);
        let object = self.vms.get(vm);
        if let Err(error) = self.pasids.store(object.pasid, None) {
            P::Kernel::warn(format_args!("vm_fini: PASID {} gives {error}", object.pasid));
        }
    }

    /// `amdgpu_svm_fini` after close.
    fn svm_fini(&self, vm: VmHandle<P>) {
        let object = self.vms.get(vm);
        let Some(svm) = object.svm.read_once() else { return };
        self.instance(svm).fini();
        if self.config.design != Design::Hardened {
            object.svm.write_once(None);
            self.put_instance(svm);
        }
    }

    /// The file's memory goes, and the VM with it, after [`VmManager::vm_fini`]; nothing of the file runs any more.
    /// `hardened` puts the instance here.
    pub fn vm_free(&self, vm: VmHandle<P>) {
        if let Some(svm) = self.svm_of(vm) {
            self.put_instance(svm);
        }
        self.vms.free(vm);
    }
}
