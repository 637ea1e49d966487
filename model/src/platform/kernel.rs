//! Locks, cells, caches, workqueues: what the core kernel offers, in the shape of the kernel's own Rust locks.
//!
//! Locks hold their data. Construction names the lock (its lockdep class) and can fail, because a back end may have to
//! allocate. A guard's lifetime is the critical section.

use crate::Errno;
pub use crate::plant::Plant;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// The core kernel.
pub trait Kernel: Sized + 'static {
    /// `struct mutex`.
    type Mutex<T: 'static>: Mutex<T>;
    /// `spinlock_t` without irq disabling. Its holder is in atomic context and must not sleep.
    type SpinLock<T: 'static>: SpinLock<T>;
    /// `struct rw_semaphore`: a reader that arrives behind a waiting writer waits.
    type RwSem<T: 'static>: RwSem<T>;
    /// An atomic 64-bit word (also krefs).
    type Atomic: Atomic;
    /// A lockless word, `READ_ONCE`/`WRITE_ONCE`.
    type Shared<T: Copy + PartialEq + fmt::Debug + 'static>: Shared<T>;
    /// Data protected by a lock that lives in another object.
    type Plain<T: 'static>: Plain<T>;
    /// `kmem_cache` of one object type.
    type Cache<T: 'static>: Cache<T>;
    /// A `kvmalloc` array, freed on drop.
    type Array<T: Copy + 'static>: DerefMut<Target = [T]> + 'static;
    /// A workqueue, to be destroyed with [`WorkQueue::destroy`].
    type WorkQueue: WorkQueue<Self>;
    /// `struct work_struct`.
    type Work: Work;
    /// `struct delayed_work`.
    type DelayedWork: DelayedWork;
    /// `struct completion`.
    type Completion: Completion;
    /// RAII for `memalloc_noreclaim_save`/`restore`.
    type NoReclaim;

    /// kvmalloc of `len` elements.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn alloc_array<T: Copy + 'static>(len: usize, fill: T) -> Result<Self::Array<T>, Errno>;

    /// `alloc_workqueue`.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn alloc_workqueue(name: &'static str, kind: QueueKind) -> Result<Self::WorkQueue, Errno>;

    /// Until the returned value is dropped, allocations of this thread do not enter direct reclaim.
    fn noreclaim() -> Self::NoReclaim;

    /// `current`, as a number that no two tasks share and that is never 0. Only ever compared. The default is right for
    /// a platform with one task.
    fn current_task() -> u64 {
        1
    }

    /// Jiffies in milliseconds. Never decides anything but timeouts.
    fn now_ms() -> u64;

    /// Says that this thread is about to go round a retry loop (`cond_resched()` or nothing in the kernel). The lab's
    /// schedulers use it to stay fair and to tell a livelock from a long loop.
    #[track_caller]
    fn retry_point(why: &'static str);

    /// Whether anybody listens to [`Kernel::note`]; ask before formatting. Use the [`note!`](crate::note) macro.
    fn noting() -> bool {
        false
    }
    /// Called with true before a note is made and with false after it: what a note looks at is no step of the program, or
    /// an execution would have other steps when somebody listens.
    fn aside(_begins: bool) {}
    /// One line for the timeline of the actor that runs: what the driver just decided. Free in the kernel.
    fn note(_what: fmt::Arguments<'_>) {}

    /// Whether the planted bug `which` is switched on. Always false outside the lab.
    #[inline(always)]
    fn planted(_which: Plant) -> bool {
        false
    }

    /// `WARN_ON`: something the kernel would splat about. The lab treats it as a violation of I9 and does not return.
    #[track_caller]
    fn warn(what: fmt::Arguments<'_>);
}

/// Formats a note only when somebody listens. Read what it shows before: nobody listens while interleavings are searched,
/// and an argument that is a step of its own, like [`Shared::read_once`](crate::platform::Shared::read_once), would make
/// the replay another execution.
#[macro_export]
macro_rules! note {
    ($kernel:ty, $($arg:tt)*) => {
        if <$kernel as $crate::platform::Kernel>::noting() {
            <$kernel as $crate::platform::Kernel>::aside(true);
            <$kernel as $crate::platform::Kernel>::note(core::format_args!($($arg)*));
            <$kernel as $crate::platform::Kernel>::aside(false);
        }
    };
}

/// A sleeping lock that holds its data.
pub trait Mutex<T>: Sized {
    /// Held until dropped.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;
    /// `name` is the lockdep class. Errors: `ENOMEM`.
    fn new(name: &'static str, value: T) -> Result<Self, Errno>;
    /// Sleeps until the lock is ours.
    #[track_caller]
    fn lock(&self) -> Self::Guard<'_>;
    /// `mutex_lock_nested`: inside another lock of its class, by a rule that `subclass`, from 1, stands for.
    #[track_caller]
    fn lock_nested(&self, _subclass: u8) -> Self::Guard<'_> {
        self.lock()
    }
}

/// A spinning lock that holds its data; its holder is atomic.
pub trait SpinLock<T>: Sized {
    /// Held until dropped.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;
    /// `name` is the lockdep class. Errors: `ENOMEM`.
    fn new(name: &'static str, value: T) -> Result<Self, Errno>;
    /// Spins until the lock is ours.
    #[track_caller]
    fn lock(&self) -> Self::Guard<'_>;
}

/// A reader-writer semaphore that holds its data.
pub trait RwSem<T>: Sized {
    /// Held for read until dropped.
    type ReadGuard<'a>: Deref<Target = T>
    where
        Self: 'a;
    /// Held for write until dropped.
    type WriteGuard<'a>: DerefMut<Target = T>
    where
        Self: 'a;
    /// `name` is the lockdep class. Errors: `ENOMEM`.
    fn new(name: &'static str, value: T) -> Result<Self, Errno>;
    /// `down_read`: waits for the writer, and behind queued writers. Not recursive.
    #[track_caller]
    fn read(&self) -> Self::ReadGuard<'_>;
    /// `down_write`: queues (which stops new readers), then waits for holders.
    #[track_caller]
    fn write(&self) -> Self::WriteGuard<'_>;
    /// `downgrade_write`: keeps the lock, for read; waiting readers come in.
    #[track_caller]
    fn downgrade<'a>(guard: Self::WriteGuard<'a>) -> Self::ReadGuard<'a>
    where
        Self: 'a;
}

/// An atomic word; every access is fully ordered.
pub trait Atomic: Sized {
    /// `name` is for timelines.
    fn new(name: &'static str, value: u64) -> Self;
    /// `atomic_read`.
    #[track_caller]
    fn load(&self) -> u64;
    /// `atomic_set`.
    #[track_caller]
    fn store(&self, value: u64);
    /// `atomic_xchg`; returns the old value.
    #[track_caller]
    fn swap(&self, value: u64) -> u64;
    /// `atomic_cmpxchg`; returns the old value, the exchange happened when it equals `old`.
    #[track_caller]
    fn cmpxchg(&self, old: u64, new: u64) -> u64;
    /// `atomic_inc_return`.
    #[track_caller]
    fn inc_return(&self) -> u64;
    /// `atomic_dec_return`. An underflow is a violation of I5 in the lab.
    #[track_caller]
    fn dec_return(&self) -> u64;
    /// `kref_get_unless_zero`: whether a reference was taken.
    #[track_caller]
    fn inc_unless_zero(&self) -> bool;
}

/// A lockless single word.
pub trait Shared<T>: Sized {
    /// `name` is for timelines.
    fn new(name: &'static str, value: T) -> Self;
    /// `READ_ONCE`.
    #[track_caller]
    fn read_once(&self) -> T;
    /// `WRITE_ONCE`.
    #[track_caller]
    fn write_once(&self, value: T);
}

/// Data whose lock lives elsewhere. Says nothing about synchronisation: the caller must hold the lock that the field's
/// documentation names. The lab checks every access for data races.
pub trait Plain<T>: Sized {
    /// Wraps `value`.
    fn new(value: T) -> Self;
    /// Looks at the value. Do nothing inside that could block.
    #[track_caller]
    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R;
    /// Changes the value. Do nothing inside that could block.
    #[track_caller]
    fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
    /// Copies the value out.
    #[track_caller]
    fn get(&self) -> T
    where
        T: Copy,
    {
        self.with(|v| *v)
    }
    /// Overwrites the value.
    #[track_caller]
    fn set(&self, value: T) {
        self.with_mut(|v| *v = value);
    }
}

/// A reference to an object of a [`Cache`], generation-checked, or to one that a framework keeps ([`Objects`]): then its
/// 64 bits may be a pointer. Copying it is not taking a reference: objects are counted by hand where the kernel counts by
/// hand.
pub struct Handle<T> {
    /// Slot in the cache.
    pub index: u32,
    /// Which object of that slot; a freed object's generation never comes back.
    pub generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// For cache implementations.
    pub const fn from_parts(index: u32, generation: u32) -> Self {
        Handle { index, generation, of: PhantomData }
    }
    /// One word, for a C pointer-sized cookie.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
    /// Inverse of [`Handle::to_bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Handle::from_parts(bits as u32, (bits >> 32) as u32)
    }
}
impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Handle<T> {}
impl<T> PartialEq for Handle<T> {
    fn eq(&self, o: &Self) -> bool {
        self.to_bits() == o.to_bits()
    }
}
impl<T> Eq for Handle<T> {}
impl<T> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.to_bits().hash(h);
    }
}
impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

/// Where the objects live that handles name.
pub trait Objects<T> {
    /// The object. A handle of a freed object is a violation of I4 in the lab, from which this does not return.
    #[track_caller]
    fn get(&self, handle: Handle<T>) -> &T;
}

/// `kmem_cache`: objects with stable addresses and a detected use after free.
pub trait Cache<T: 'static>: Objects<T> + Sized {
    /// `kmem_cache_create`. Errors: `ENOMEM`.
    fn new(name: &'static str) -> Result<Self, Errno>;
    /// Allocates; sleeps and may enter reclaim (`GFP_KERNEL`). Errors: `ENOMEM`, and `value` is dropped.
    #[track_caller]
    fn alloc(&self, value: T) -> Result<Handle<T>, Errno> {
        self.alloc_or(value, |_| ())
    }
    /// The same; on failure `undo` takes back what dropping `value` does not.
    #[track_caller]
    fn alloc_or(&self, value: T, undo: impl FnOnce(&T)) -> Result<Handle<T>, Errno>;
    /// Frees the object. Freeing twice is a violation of I4.
    #[track_caller]
    fn free(&self, handle: Handle<T>);
}

/// How a workqueue runs its items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueKind {
    /// `WQ_UNBOUND`: different items run in parallel, one item never with itself.
    Unbound,
    /// `alloc_ordered_workqueue`: one item at a time, in queueing order.
    Ordered,
}

/// Which instance a callback or work item belongs to: what the kernel finds with `container_of`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ClientId(pub u32);

/// What a work item runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum WorkFunc {
    /// [`amdgpu::Svm::gc_work`](crate::amdgpu::Svm::gc_work).
    Gc,
    /// [`amdgpu::Svm::restore_work`](crate::amdgpu::Svm::restore_work) or
    /// [`kfd::Svms::restore_work`](crate::kfd::Svms::restore_work).
    Restore,
    /// `amdgpu_irq_handle_ih1`, `amdgpu_irq_handle_ih_soft`: the platform's own, retry faults of a GPU. No driver of ours
    /// queues it.
    FaultInterrupt,
    /// `drm_sched_run_job_work` of a copy engine: the platform's own as well.
    CopyEngine,
    /// [`kfd::Svms::deferred_work`](crate::kfd::Svms::deferred_work).
    Deferred,
    /// [`kfd::Svms::evict_bo_work`](crate::kfd::Svms::evict_bo_work).
    EvictBo,
    /// [`kfd::Svms::release_bo_work`](crate::kfd::Svms::release_bo_work).
    ReleaseBo,
    /// [`kfd::Svms::fini`](crate::kfd::Svms::fini), after the last reference of the process.
    ReleaseProcess,
}

impl WorkFunc {
    /// What the kernel calls it; it names the worker in timelines.
    pub const fn name(self) -> &'static str {
        match self {
            WorkFunc::Gc => "gc_work",
            WorkFunc::Restore => "restore_work",
            WorkFunc::FaultInterrupt => "ih_work",
            WorkFunc::CopyEngine => "sdma",
            WorkFunc::Deferred => "deferred_list_work",
            WorkFunc::EvictBo => "eviction_work",
            WorkFunc::ReleaseBo => "release_work",
            WorkFunc::ReleaseProcess => "kfd_process_wq_release",
        }
    }
}

/// A workqueue.
pub trait WorkQueue<K: Kernel>: Sized {
    /// `INIT_WORK` bound to this queue: when queued, the platform calls `func` of `client`. Errors: `ENOMEM`.
    fn work(&self, client: ClientId, func: WorkFunc) -> Result<K::Work, Errno>;
    /// `INIT_DELAYED_WORK` bound to this queue. Errors: `ENOMEM`.
    fn delayed_work(&self, client: ClientId, func: WorkFunc) -> Result<K::DelayedWork, Errno>;
    /// `flush_workqueue`: waits for everything queued before.
    #[track_caller]
    fn flush(&self);
    /// `destroy_workqueue`: drains, then refuses further work.
    #[track_caller]
    fn destroy(&self);
}

/// A work item.
pub trait Work {
    /// `queue_work`: false when it was pending already. Callable from any context.
    #[track_caller]
    fn queue(&self) -> bool;
    /// `flush_work`: waits until the last queued instance has finished. Sleeps.
    #[track_caller]
    fn flush(&self);
    /// `cancel_work_sync`: unqueues and waits for a running instance. Sleeps.
    #[track_caller]
    fn cancel_sync(&self) -> bool;
}

/// A work item with a timer.
pub trait DelayedWork {
    /// `queue_delayed_work`: false, and nothing changes, when it was pending already. Callable from any context.
    #[track_caller]
    fn queue(&self, delay_ms: u64) -> bool;
    /// `flush_delayed_work`: cuts the timer short and waits. Sleeps.
    #[track_caller]
    fn flush(&self);
    /// `cancel_delayed_work_sync`. Sleeps.
    #[track_caller]
    fn cancel_sync(&self) -> bool;
}

/// Something that happens once and stays so.
pub trait Completion: Sized + 'static {
    /// `init_completion`. `name` is for timelines and for who waits on it.
    fn new(name: &'static str) -> Self;
    /// `complete_all`: lets all waiters go, now and later. Callable from any context.
    #[track_caller]
    fn complete_all(&self);
    /// `completion_done`. Callable from any context.
    #[track_caller]
    fn is_done(&self) -> bool;
    /// `wait_for_completion`. Sleeps.
    #[track_caller]
    fn wait(&self);
}
