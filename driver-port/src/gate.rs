//! Where an actor can be held: before each visible operation of the model.
//!
//! The model's operations on locks, shared words, work items, the mm and the GPU are the scheduling points of the
//! simulator, and a shrunk counterexample says which one of whom came before which. They all pass through this crate's
//! methods, which are `#[track_caller]`, so the place is that of the model's source, the same in both worlds. A gate
//! script holds an actor at such a place until another has reached its own.
//!
//! Without the feature `lab` there is nothing. With it and no script, a point costs one relaxed load.

use core::panic::Location;

/// What is about to be done there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// Acquire a mutex.
    Lock = 0,
    /// Acquire a spinlock.
    SpinLock = 1,
    /// Acquire a rwsem for read; mmap_lock also.
    ReadLock = 2,
    /// Acquire a rwsem for write; mmap_lock also.
    WriteLock = 3,
    /// Make a writer of a rwsem a reader.
    Downgrade = 4,
    /// Read an atomic, a lockless word or a completion.
    Load = 5,
    /// Write or read-modify-write one.
    Store = 6,
    /// Sleep until something is done.
    Wait = 7,
    /// Allocate an object.
    Alloc = 8,
    /// Look at an object of a cache.
    Get = 9,
    /// Free an object.
    Free = 10,
    /// Queue a work item.
    Queue = 11,
    /// Wait for a work item or all of a queue.
    Flush = 12,
    /// Cancel a work item, destroy a queue.
    Cancel = 13,
    /// Look at or change data that a lock elsewhere protects.
    Plain = 14,
    /// Anything of the mm that is not a lock.
    Mm = 15,
    /// Anything of the GPU.
    Gpu = 16,
    /// Go round a loop once more.
    Retry = 17,
}

impl Kind {
    /// Whether the simulator can stop an actor there. Where it cannot, an actor may hold a lock that its counterpart has
    /// released.
    pub const fn is_visible(self) -> bool {
        !matches!(self, Kind::Plain | Kind::Get)
    }
}

#[cfg(feature = "lab")]
mod armed {
    use crate::ffi;
    use core::panic::Location;
    use core::sync::atomic::{AtomicBool, Ordering};

    /// Whether a script is armed; set by C.
    static ARMED: AtomicBool = AtomicBool::new(false);

    #[inline]
    pub(super) fn point(kind: super::Kind, place: &'static Location<'static>) {
        if ARMED.load(Ordering::Relaxed) {
            held(kind, place);
        }
    }

    #[cold]
    fn held(kind: super::Kind, place: &'static Location<'static>) {
        // The platform uses its own locks; they are nobody's business.
        if !place.file().contains("model/src/") {
            return;
        }
        // SAFETY: no pointer is passed; C may sleep where the caller may.
        unsafe { ffi::svmlab_c_gate(crate::place::at(place.file(), place.line()), kind.is_visible()) }
    }

    /// A work item of this name begins to run on this task, or has ended.
    pub(crate) fn work(name: &str, begins: bool) {
        if ARMED.load(Ordering::Relaxed) {
            // SAFETY: no pointer is passed; work items run in process context.
            unsafe { ffi::svmlab_c_gate_work(crate::place::work(name), begins) }
        }
    }

    /// C arms or disarms all points.
    #[unsafe(no_mangle)]
    extern "C" fn svmlab_rs_gate_arm(on: bool) {
        ARMED.store(on, Ordering::Relaxed);
    }
}

/// The running task is about to do `kind` at `place`.
#[inline(always)]
pub fn point(kind: Kind, place: &'static Location<'static>) {
    #[cfg(feature = "lab")]
    armed::point(kind, place);
    #[cfg(not(feature = "lab"))]
    let _ = (kind, place);
}

/// The work item of this name begins to run on this task, or has ended.
#[inline(always)]
pub(crate) fn work_item(name: &str, begins: bool) {
    #[cfg(feature = "lab")]
    armed::work(name, begins);
    #[cfg(not(feature = "lab"))]
    let _ = (name, begins);
}
