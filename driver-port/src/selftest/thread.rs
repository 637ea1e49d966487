//! Tasks, and waiting for each other.

use super::{Failure, made};
use crate::ffi;
use crate::kernel::LinuxKernel;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use model::Errno;
use model::platform::Kernel;

/// How long what should happen may take, under an emulator and with every sanitizer: a test that fails waits so long.
const PATIENCE_MS: u64 = 20_000;
/// How long a test waits for what should not happen.
const GRACE_MS: u32 = 40;

/// Runs `own` here and `other` in a task of its own at the same time. The other task has the same address space.
pub(super) fn beside<R>(other: impl FnOnce() + Send, own: impl FnOnce() -> R) -> Result<R, Failure> {
    fn main_of<F: FnOnce()>(_: &F) -> unsafe extern "C" fn(*mut c_void) {
        unsafe extern "C" fn main<F: FnOnce()>(arg: *mut c_void) {
            // SAFETY: it is the `other` below, which outlives this task, and only this task touches it now.
            if let Some(run) = unsafe { &mut *arg.cast::<Option<F>>() }.take() {
                run();
            }
        }
        main::<F>
    }
    let main = main_of(&other);
    let mut other = Some(other);
    // SAFETY: `other` stays until the task has been joined.
    let thread = unsafe { ffi::svmlab_c_thread_run(main, (&raw mut other).cast()) };
    let thread = made(NonNull::new(thread).ok_or(Errno::ENOMEM))?;
    let result = own();
    // SAFETY: joined once.
    unsafe { ffi::svmlab_c_thread_join(thread.as_ptr()) };
    Ok(result)
}

/// Sleeps so long that what is going to happen by itself would have happened.
pub(super) fn grace() {
    sleep(GRACE_MS);
}

pub(super) fn sleep(ms: u32) {
    // SAFETY: tests run in process context and hold nothing that forbids it.
    unsafe { ffi::svmlab_c_sleep_ms(ms) }
}

/// Sleeps until `held` is true, for as long as anybody should have to; whether it became so.
pub(super) fn wait(mut held: impl FnMut() -> bool) -> bool {
    let start = LinuxKernel::now_ms();
    while !held() {
        if LinuxKernel::now_ms() - start > PATIENCE_MS {
            return false;
        }
        sleep(1);
    }
    true
}

/// Something that a task says once and others see.
#[derive(Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) const fn new() -> Self {
        Flag(AtomicBool::new(false))
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Whether it is set in time.
    pub(super) fn wait(&self) -> bool {
        wait(|| self.is_set())
    }
}
