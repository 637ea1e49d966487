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

#[cfg(feature = "lab")]
mod armed {
    use super::Kind;
    use crate::ffi;
    use core::panic::Location;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// How many scripts are armed; set by C.
    static ARMED: AtomicU32 = AtomicU32::new(0);

    #[inline]
    pub(super) fn point(kind: Kind, place: &'static Location<'static>) {
        if ARMED.load(Ordering::Relaxed) != 0 {
            held(kind, place);
        }
    }

    #[cold]
    fn held(kind: Kind, place: &'static Location<'static>) {
        let place = crate::log::raw_place(place);
        // SAFETY: `place` lives for the call, and its text for ever.
        unsafe { ffi::svmlab_c_gate(kind as u32, &place) }
    }

    /// Arms or disarms all points.
    pub fn arm(on: bool) {
        ARMED.store(u32::from(on), Ordering::Relaxed);
    }
}

#[cfg(feature = "lab")]
pub use armed::arm;

/// The running task is about to do `kind` at `place`.
#[inline(always)]
pub fn point(kind: Kind, place: &'static Location<'static>) {
    #[cfg(feature = "lab")]
    armed::point(kind, place);
    #[cfg(not(feature = "lab"))]
    let _ = (kind, place);
}
