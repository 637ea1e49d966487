//! [`model::platform::Kernel`] on the core kernel.

mod array;
mod atomic;
mod boxed;
mod cache;
mod completion;
mod mutex;
mod plain;
mod rwsem;
mod shared;
mod spinlock;
pub(crate) mod work;

pub use array::Array;
pub use atomic::Atomic;
pub use boxed::Boxed;
pub use cache::Cache;
pub use completion::Completion;
pub use mutex::{Mutex, MutexGuard};
pub use plain::Plain;
pub use rwsem::{ReadGuard, RwSem, WriteGuard};
pub use shared::Shared;
pub use spinlock::{SpinGuard, SpinLock};
pub use work::{DelayedWork, Work, WorkQueue};

use crate::gate::{self, Kind};
use crate::{ffi, log};
use core::fmt;
use core::marker::PhantomData;
use core::panic::Location;
use model::Errno;
use model::platform::{Kernel, QueueKind};

/// The core kernel as a [`Kernel`].
pub struct LinuxKernel;

impl Kernel for LinuxKernel {
    type Mutex<T: 'static> = Mutex<T>;
    type SpinLock<T: 'static> = SpinLock<T>;
    type RwSem<T: 'static> = RwSem<T>;
    type Atomic = Atomic;
    type Shared<T: Copy + PartialEq + fmt::Debug + 'static> = Shared<T>;
    type Plain<T: 'static> = Plain<T>;
    type Cache<T: 'static> = Cache<T>;
    type Array<T: Copy + 'static> = Array<T>;
    type WorkQueue = WorkQueue;
    type Work = Work;
    type DelayedWork = DelayedWork;
    type Completion = Completion;
    type NoReclaim = NoReclaim;

    fn alloc_array<T: Copy + 'static>(len: usize, fill: T) -> Result<Array<T>, Errno> {
        Array::new(len, fill)
    }

    fn alloc_workqueue(name: &'static str, kind: QueueKind) -> Result<WorkQueue, Errno> {
        WorkQueue::new(name, kind)
    }

    fn noreclaim() -> NoReclaim {
        // SAFETY: it changes flags of the running task only, and dropping the guard takes it back.
        NoReclaim { flags: unsafe { ffi::svmlab_c_noreclaim_save() }, not_send: PhantomData }
    }

    fn current_task() -> u64 {
        // SAFETY: no precondition.
        unsafe { ffi::svmlab_c_current() }
    }

    fn now_ms() -> u64 {
        // SAFETY: no precondition.
        unsafe { ffi::svmlab_c_now_ms() }
    }

    #[track_caller]
    fn retry_point(why: &'static str) {
        gate::point(Kind::Retry, Location::caller());
        log::note(format_args!("again: {why}"));
        // SAFETY: the model goes round its loops where it may sleep.
        unsafe { ffi::svmlab_c_cond_resched() }
    }

    #[inline]
    fn noting() -> bool {
        log::is_on()
    }

    fn note(what: fmt::Arguments<'_>) {
        log::note(what);
    }

    #[track_caller]
    fn warn(what: fmt::Arguments<'_>) {
        log::warn_at(what, Location::caller());
    }
}

/// Until it is dropped, allocations of the task that made it do not enter reclaim. Guards nest like their scopes.
pub struct NoReclaim {
    flags: u32,
    /// It belongs to the task.
    not_send: PhantomData<*mut ()>,
}

impl Drop for NoReclaim {
    fn drop(&mut self) {
        // SAFETY: these are the flags that the save gave to this task.
        unsafe { ffi::svmlab_c_noreclaim_restore(self.flags) }
    }
}
