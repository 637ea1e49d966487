//! An open file of the render node: one VM on one software GPU, with its SVM instance.
//!
//! C calls [`OpenFile`], one method for each ioctl, without knowing on which framework the instance runs; [`OpenVm`] is
//! the one implementation. Its life is that of `amdgpu_vm` in a DRM file:
//!
//! 1. [`create()`] (`amdgpu_vm_init`, `amdgpu_vm_make_compute`): the GPU becomes a device of the process, the VM gets its
//!    PASID, and the instance mirrors the caller's address space, of which it keeps an `mmgrab`.
//! 2. Ioctls come from any task that has the file, notifier callbacks from whoever changes the address space, work items
//!    from workqueues. The file's reference keeps ioctls and release apart.
//! 3. Release: `amdgpu_vm_fini` (close, fini, and only then the PASID), the fault handler ends, the VM and with it the last
//!    reference to the instance go, the GPU leaves the process. [`SVMLAB_CLOSE`](uapi::SVMLAB_CLOSE) and
//!    [`SVMLAB_FINI`](uapi::SVMLAB_FINI) do the first part earlier, while others may still be in an ioctl.
//!
//! | file | what |
//! |---|---|
//! | `create` | what user space may ask for, and the VM that comes of it |
//! | `vm` | the VM: ioctl, callbacks, workers, teardown |
//! | `wave` | accesses of the GPU |
//! | `look` | state, ranges, attribute nodes, page tables |
//! | `hardware` | things that happen to a GPU |

mod create;
mod hardware;
mod look;
mod user;
mod vm;
mod wave;

pub use create::create;
pub use vm::OpenVm;

use crate::LinuxMm;
use crate::uapi;
use model::Errno;

/// What the ioctls of an open file do. Each may sleep, and is called with nothing held.
pub trait OpenFile {
    /// `DRM_IOCTL_AMDGPU_GEM_SVM`, called by a process with this address space.
    ///
    /// # Errors
    /// Those of [`VmManager::ioctl`](model::amdgpu::vm::VmManager::ioctl).
    fn gem_svm(&self, current: &LinuxMm, args: &uapi::GemSvm) -> Result<(), Errno>;

    /// `DRM_IOCTL_SVMLAB_CLOSE`.
    ///
    /// # Errors
    /// `EINVAL`.
    fn close(&self, args: &uapi::Close) -> Result<(), Errno>;

    /// `DRM_IOCTL_SVMLAB_ACCESS`.
    ///
    /// # Errors
    /// `EINVAL`, with nothing done; `EINTR` and `ENOMEM`, with the first so many done.
    fn access(&self, args: &mut uapi::Accesses, accesses: &mut [uapi::Access]) -> Result<(), Errno>;

    /// `DRM_IOCTL_SVMLAB_SETTLE`.
    ///
    /// # Errors
    /// `EINVAL`, `ETIME`.
    fn settle(&self, args: &mut uapi::Settle) -> Result<(), Errno>;

    /// `DRM_IOCTL_SVMLAB_STATE`; `gpu_only`: without the driver's locks, and what is behind them.
    fn state(&self, gpu_only: bool) -> uapi::State;

    /// `DRM_IOCTL_SVMLAB_RANGES`: as many as there is room for; how many there are.
    fn ranges(&self, room: &mut [uapi::Range]) -> u32;

    /// `DRM_IOCTL_SVMLAB_NODES`: as many as there is room for; how many there are.
    fn nodes(&self, room: &mut [uapi::Node]) -> u32;

    /// `DRM_IOCTL_SVMLAB_MAPPED` of the pages from byte `start`; how many are valid.
    ///
    /// # Errors
    /// `ENOMEM`; `EBUSY`: the CPU page table changes all the time.
    fn mapped(&self, start: u64, pages: &mut [uapi::Page]) -> Result<u32, Errno>;

    /// `DRM_IOCTL_SVMLAB_HARDWARE`.
    ///
    /// # Errors
    /// `EINVAL`; `ENOSPC`: too many failures are due; `ESRCH`: the process has ended.
    fn hardware(&self, args: &uapi::Hardware) -> Result<(), Errno>;
}
