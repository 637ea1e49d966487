//! What C calls for the device: the module comes and goes, a file is opened and closed, ioctls. `shim.h` says the same.

use crate::board::LinuxBoard;
use crate::ffi::{RawDevice, RawMm};
use crate::file::{self, OpenFile};
use crate::framework::DrmGpusvm;
use crate::gpu::Kfd;
use crate::kernel::Boxed;
use crate::{Linux, LinuxKernel, LinuxMm, errno, uapi};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};
use model::Errno;
use model::amdgpu::slabs::Slabs;
use model::gpusvm::Port;

/// What there is once.
pub struct Module {
    /// KFD's processes.
    pub(crate) kfd: Kfd<LinuxKernel, LinuxBoard>,
    /// The driver's slabs, on our port.
    pub(crate) port: Slabs<Linux<Port>>,
    /// The driver's slabs, on the kernel's framework.
    pub(crate) drm: Slabs<Linux<DrmGpusvm>>,
    board: LinuxBoard,
}

/// From `svmlab_rs_init` to `svmlab_rs_exit`.
static MODULE: AtomicPtr<Module> = AtomicPtr::new(core::ptr::null_mut());

/// The module; None before init and after exit.
fn module() -> Option<&'static Module> {
    // SAFETY: C ends everything that asks, files and process notifiers, before it calls exit. So whoever has this reference
    // is gone by then, and until then the box stays.
    unsafe { MODULE.load(Ordering::Acquire).as_ref() }
}

/// An open file as C holds it: a thin pointer to this.
struct Opened {
    file: NonNull<dyn OpenFile>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: it is a box that `file::create` gave away, and C says that nobody uses it any more. The box's layout is
        // its object's, which drop_in_place and kvfree take apart as `Boxed` would.
        unsafe {
            self.file.as_ptr().drop_in_place();
            crate::ffi::svmlab_c_kvfree(self.file.as_ptr().cast());
        }
    }
}

/// C's `struct svmlab_vm *`.
type Vm = *mut c_void;

/// # Safety
/// `vm` comes from `svmlab_rs_vm_create`, and `svmlab_rs_vm_free` is not called before the reference is gone.
unsafe fn opened<'a>(vm: Vm) -> &'a dyn OpenFile {
    // SAFETY: the caller's promise.
    unsafe { (*vm.cast::<Opened>()).file.as_ref() }
}

/// # Safety
/// `dev` is the module's device, which stays until exit. Before everything else here; exit comes last.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_init(dev: *mut RawDevice) -> c_int {
    let make = || {
        let device = NonNull::new(dev).ok_or(Errno::ENODEV)?;
        // SAFETY: the caller's promise.
        let board = unsafe { LinuxBoard::new(device) };
        Boxed::new(Module { kfd: Kfd::new()?, port: Slabs::new()?, drm: Slabs::new()?, board })
    };
    errno::to_raw(make().map(|module| MODULE.store(module.into_raw().as_ptr(), Ordering::Release)))
}

/// # Safety
/// No file is open, and `svmlab_rs_process_release` neither runs nor will.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_exit() {
    if let Some(module) = NonNull::new(MODULE.swap(core::ptr::null_mut(), Ordering::AcqRel)) {
        // SAFETY: init gave it away, and by the caller's promise nobody uses it.
        drop(unsafe { Boxed::from_raw(module) });
    }
}

/// `kfd_process_notifier_release`: the address space of this number is about to be taken apart.
#[unsafe(no_mangle)]
extern "C" fn svmlab_rs_process_release(mm: u64) {
    if let Some(module) = module() {
        module.kfd.release(mm);
    }
}

/// # Safety
/// `mm` is the running task's; `vm` may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_vm_create(args: &uapi::Create, mm: NonNull<RawMm>, vm: *mut Vm) -> c_int {
    let make = || {
        let module = module().ok_or(Errno::ENODEV)?;
        // SAFETY: the running task keeps its mm for the call, and who keeps the handle for longer takes a grab.
        let mm = unsafe { LinuxMm::from_raw(mm) };
        let file = file::create(module, module.board, &mm, args)?;
        // A box that cannot be made drops what was to be in it.
        Boxed::new(Opened { file })
    };
    // SAFETY: the caller's promise.
    errno::to_raw(make().map(|opened| unsafe { vm.write(opened.into_raw().as_ptr().cast()) }))
}

/// # Safety
/// `vm` comes from `svmlab_rs_vm_create`, and nobody uses it any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_vm_free(vm: NonNull<c_void>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Boxed::from_raw(vm.cast::<Opened>()) });
}

/// # Safety
/// `vm` as for [`opened`]; `mm` is the running task's.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_gem_svm(vm: Vm, args: &uapi::GemSvm, mm: NonNull<RawMm>) -> c_int {
    // SAFETY: the caller's promise; the running task keeps its mm for the call.
    let (file, mm) = unsafe { (opened(vm), LinuxMm::from_raw(mm)) };
    errno::to_raw(file.gem_svm(&mm, args))
}

/// # Safety
/// `vm` as for [`opened`].
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_close(vm: Vm, args: &uapi::Close) -> c_int {
    // SAFETY: the caller's promise.
    errno::to_raw(unsafe { opened(vm) }.close(args))
}

/// # Safety
/// `vm` as for [`opened`]; `accesses` are as many as `args` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_access(vm: Vm, args: &mut uapi::Accesses, accesses: NonNull<uapi::Access>) -> c_int {
    // SAFETY: the caller's promise; any bytes are an access.
    let (file, accesses) = unsafe { (opened(vm), slice::from_raw_parts_mut(accesses.as_ptr(), args.count as usize)) };
    errno::to_raw(file.access(args, accesses))
}

/// # Safety
/// `vm` as for [`opened`].
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_settle(vm: Vm, args: &mut uapi::Settle) -> c_int {
    // SAFETY: the caller's promise.
    errno::to_raw(unsafe { opened(vm) }.settle(args))
}

/// # Safety
/// `vm` as for [`opened`].
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_state(vm: Vm, state: &mut uapi::State) -> c_int {
    // SAFETY: the caller's promise.
    *state = unsafe { opened(vm) }.state(state.flags & uapi::SVMLAB_STATE_GPU_ONLY != 0);
    0
}

/// # Safety
/// `vm` as for [`opened`]; there is room for `count` ranges.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_ranges(vm: Vm, room: NonNull<uapi::Range>, count: &mut u32) -> c_int {
    // SAFETY: the caller's promise; the room is zeroed, and zeros are a range.
    let (file, room) = unsafe { (opened(vm), slice::from_raw_parts_mut(room.as_ptr(), *count as usize)) };
    *count = file.ranges(room);
    0
}

/// # Safety
/// `vm` as for [`opened`]; there is room for `count` nodes.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_nodes(vm: Vm, room: NonNull<uapi::Node>, count: &mut u32) -> c_int {
    // SAFETY: the caller's promise; the room is zeroed, and zeros are a node.
    let (file, room) = unsafe { (opened(vm), slice::from_raw_parts_mut(room.as_ptr(), *count as usize)) };
    *count = file.nodes(room);
    0
}

/// # Safety
/// `vm` as for [`opened`]; `pages` are as many as `args` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_mapped(vm: Vm, args: &mut uapi::Mapped, pages: NonNull<uapi::Page>) -> c_int {
    // SAFETY: the caller's promise; the room is zeroed, and zeros are a page.
    let (file, pages) = unsafe { (opened(vm), slice::from_raw_parts_mut(pages.as_ptr(), args.count as usize)) };
    errno::to_raw(file.mapped(args.start, pages).map(|valid| args.valid = valid))
}

/// # Safety
/// `vm` as for [`opened`].
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_hardware(vm: Vm, args: &uapi::Hardware) -> c_int {
    // SAFETY: the caller's promise.
    errno::to_raw(unsafe { opened(vm) }.hardware(args))
}
