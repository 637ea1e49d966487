//! Workqueues and work items.

use super::LinuxKernel;
use crate::ffi::{self, RawDelayedWork, RawWork, RawWorkQueue};
use crate::gate::{self, Kind};
use core::panic::Location;
use core::ptr::NonNull;
use model::Errno;
use model::platform::{self, ClientId, QueueKind, WorkFunc};

/// Every function a work item can have, by the number that C passes through.
pub(crate) const FUNCS: [WorkFunc; 8] = [
    WorkFunc::Gc,
    WorkFunc::Restore,
    WorkFunc::FaultInterrupt,
    WorkFunc::CopyEngine,
    WorkFunc::Deferred,
    WorkFunc::EvictBo,
    WorkFunc::ReleaseBo,
    WorkFunc::ReleaseProcess,
];

/// Its number in [`FUNCS`]; in C it also picks the work item's lock class.
fn number(func: WorkFunc) -> Result<u32, Errno> {
    FUNCS.iter().position(|f| *f == func).map(|at| at as u32).ok_or(Errno::EINVAL)
}

/// `struct workqueue_struct`.
///
/// # Invariants
/// `raw` is a queue of `svmlab_c_wq_new`; its work items hold references of their own to it.
pub struct WorkQueue {
    raw: NonNull<RawWorkQueue>,
}

// SAFETY: workqueues may be used by any task.
unsafe impl Send for WorkQueue {}
// SAFETY: workqueues may be used by any task.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    pub(super) fn new(name: &'static str, kind: QueueKind) -> Result<Self, Errno> {
        // SAFETY: pointer and length are of a live string.
        let raw = unsafe { ffi::svmlab_c_wq_new(name.as_ptr(), name.len(), kind == QueueKind::Ordered) };
        Ok(WorkQueue { raw: NonNull::new(raw).ok_or(Errno::ENOMEM)? })
    }
}

impl platform::WorkQueue<LinuxKernel> for WorkQueue {
    fn work(&self, client: ClientId, func: WorkFunc) -> Result<Work, Errno> {
        // SAFETY: `raw` is a queue.
        let raw = unsafe { ffi::svmlab_c_work_new(self.raw.as_ptr(), client.0, number(func)?) };
        Ok(Work { raw: NonNull::new(raw).ok_or(Errno::ENOMEM)? })
    }

    fn delayed_work(&self, client: ClientId, func: WorkFunc) -> Result<DelayedWork, Errno> {
        // SAFETY: `raw` is a queue.
        let raw = unsafe { ffi::svmlab_c_dwork_new(self.raw.as_ptr(), client.0, number(func)?) };
        Ok(DelayedWork { raw: NonNull::new(raw).ok_or(Errno::ENOMEM)? })
    }

    #[track_caller]
    fn flush(&self) {
        gate::point(Kind::Flush, Location::caller());
        // SAFETY: `raw` is a queue.
        unsafe { ffi::svmlab_c_wq_flush(self.raw.as_ptr()) }
    }

    #[track_caller]
    fn destroy(&self) {
        gate::point(Kind::Cancel, Location::caller());
        // SAFETY: `raw` is a queue.
        unsafe { ffi::svmlab_c_wq_destroy(self.raw.as_ptr()) }
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::svmlab_c_wq_put(self.raw.as_ptr()) }
    }
}

/// `struct work_struct`.
///
/// # Invariants
/// `raw` is a work item of `svmlab_c_work_new`.
pub struct Work {
    raw: NonNull<RawWork>,
}

// SAFETY: work items may be queued and waited for by any task.
unsafe impl Send for Work {}
// SAFETY: work items may be queued and waited for by any task.
unsafe impl Sync for Work {}

impl platform::Work for Work {
    #[track_caller]
    fn queue(&self) -> bool {
        gate::point(Kind::Queue, Location::caller());
        // SAFETY: `raw` is a work item.
        unsafe { ffi::svmlab_c_work_queue(self.raw.as_ptr()) }
    }

    #[track_caller]
    fn flush(&self) {
        gate::point(Kind::Flush, Location::caller());
        // SAFETY: `raw` is a work item.
        unsafe { ffi::svmlab_c_work_flush(self.raw.as_ptr()) }
    }

    #[track_caller]
    fn cancel_sync(&self) -> bool {
        gate::point(Kind::Cancel, Location::caller());
        // SAFETY: `raw` is a work item.
        unsafe { ffi::svmlab_c_work_cancel_sync(self.raw.as_ptr()) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the model has flushed or cancelled it, or never queued it; where it has not, this is the same bug as in
        // C, and DEBUG_OBJECTS_WORK tells.
        unsafe { ffi::svmlab_c_work_free(self.raw.as_ptr()) }
    }
}

/// `struct delayed_work`.
///
/// # Invariants
/// `raw` is a work item of `svmlab_c_dwork_new`.
pub struct DelayedWork {
    raw: NonNull<RawDelayedWork>,
}

// SAFETY: work items may be queued and waited for by any task.
unsafe impl Send for DelayedWork {}
// SAFETY: work items may be queued and waited for by any task.
unsafe impl Sync for DelayedWork {}

impl platform::DelayedWork for DelayedWork {
    #[track_caller]
    fn queue(&self, delay_ms: u64) -> bool {
        gate::point(Kind::Queue, Location::caller());
        // SAFETY: `raw` is a work item.
        unsafe { ffi::svmlab_c_dwork_queue(self.raw.as_ptr(), delay_ms) }
    }

    #[track_caller]
    fn flush(&self) {
        gate::point(Kind::Flush, Location::caller());
        // SAFETY: `raw` is a work item.
        unsafe { ffi::svmlab_c_dwork_flush(self.raw.as_ptr()) }
    }

    #[track_caller]
    fn cancel_sync(&self) -> bool {
        gate::point(Kind::Cancel, Location::caller());
        // SAFETY: `raw` is a work item.
        unsafe { ffi::svmlab_c_dwork_cancel_sync(self.raw.as_ptr()) }
    }
}

impl Drop for DelayedWork {
    fn drop(&mut self) {
        // SAFETY: as for Work.
        unsafe { ffi::svmlab_c_dwork_free(self.raw.as_ptr()) }
    }
}
