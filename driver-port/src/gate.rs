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

/// The name of a place in a script: FNV-1a over the text that names it.
const fn hash(mut sum: u64, text: &[u8]) -> u64 {
    let mut at = 0;
    while at < text.len() {
        sum = (sum ^ text[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    sum
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The place that is line `line` of `file`. What comes before `model/` in the file's name does not count.
pub fn at(file: &str, line: u32) -> u64 {
    let from = file.rfind("model/").unwrap_or(0);
    hash(hash(SEED, &file.as_bytes()[from..]), &line.to_le_bytes())
}

/// The place where the work item of this name begins to run.
pub const fn work(name: &str) -> u64 {
    hash(hash(SEED, b"work "), name.as_bytes())
}

/// The place before operation `number` of a thread.
pub const fn begin(number: u32) -> u64 {
    hash(hash(SEED, b"begin "), &number.to_le_bytes())
}

/// The place after operation `number` of a thread.
pub const fn end(number: u32) -> u64 {
    hash(hash(SEED, b"end "), &number.to_le_bytes())
}

#[cfg(feature = "lab")]
mod armed {
    use crate::ffi;
    use core::panic::Location;
    use core::sync::atomic::{AtomicBool, Ordering};

    /// Whether a script is armed; set by C.
    static ARMED: AtomicBool = AtomicBool::new(false);

    #[inline]
    pub(super) fn point(place: &'static Location<'static>) {
        if ARMED.load(Ordering::Relaxed) {
            held(place);
        }
    }

    #[cold]
    fn held(place: &'static Location<'static>) {
        // SAFETY: no pointer is passed; C may sleep where the caller may.
        unsafe { ffi::svmlab_c_gate(super::at(place.file(), place.line())) }
    }

    /// A work item of this name begins to run on this task, or has ended.
    pub(crate) fn work(name: &str, begins: bool) {
        if ARMED.load(Ordering::Relaxed) {
            // SAFETY: no pointer is passed; work items run in process context.
            unsafe { ffi::svmlab_c_gate_work(super::work(name), begins) }
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
    let _ = kind;
    #[cfg(feature = "lab")]
    armed::point(place);
    #[cfg(not(feature = "lab"))]
    let _ = place;
}

/// The work item of this name begins to run on this task, or has ended.
#[inline(always)]
pub(crate) fn work_item(name: &str, begins: bool) {
    #[cfg(feature = "lab")]
    armed::work(name, begins);
    #[cfg(not(feature = "lab"))]
    let _ = (name, begins);
}
