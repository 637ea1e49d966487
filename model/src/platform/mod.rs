//! The traits through which the driver sees the world.
//!
//! [`Platform`] is the one type parameter of the driver. It bundles a [`Kernel`] (locks, cells, caches, workqueues,
//! time), an [`Mm`] (the mirrored address space) and a [`Gpu`] (page tables, TLB, DMA, queue control), and says which
//! [`Framework`] the driver sits on. The simulator, loom and the kernel module each implement these once.
//!
//! # Which cell for which datum
//!
//! | datum | type |
//! |---|---|
//! | protected by a lock that can hold it | inside `Mutex<T>`, `SpinLock<T>`, `RwSem<T>` |
//! | protected by a lock that lives elsewhere (range fields under `gc_lock`) | [`Kernel::Plain`], race checked in the lab |
//! | lockless word, `READ_ONCE`/`WRITE_ONCE` | [`Kernel::Shared`], a scheduling point in the lab |
//! | atomic read-modify-write, kref | [`Kernel::Atomic`], a scheduling point in the lab |

mod device_memory;
mod gpu;
mod kernel;
mod mm;
mod retry_faults;
mod vram;

pub use device_memory::*;
pub use gpu::*;
pub use kernel::*;
pub use mm::*;
pub use retry_faults::*;
pub use vram::*;

use crate::framework::Framework;

/// Everything the driver needs from the outside.
pub trait Platform: Sized + 'static {
    /// Locks, cells, caches, workqueues.
    type Kernel: Kernel;
    /// `drm_gpusvm`: [our port](crate::gpusvm::Port), or the kernel's own.
    type Framework: Framework<Self>;
    /// The process address space that is mirrored.
    type Mm: Mm<Self::Kernel> + DeviceMemory<Self::Kernel>;
    /// One GPU as seen by one VM of it.
    type Gpu: Gpu<Self::Kernel, Self::Mm> + Vram<Self::Kernel> + RetryFaults<Self::Kernel>;
}

/// Shorthands, because `<P::Kernel as Kernel>::Mutex<T>` hides what is being said.
pub type KMutex<P, T> = <<P as Platform>::Kernel as Kernel>::Mutex<T>;
/// See [`KMutex`].
pub type KSpinLock<P, T> = <<P as Platform>::Kernel as Kernel>::SpinLock<T>;
/// See [`KMutex`].
pub type KRwSem<P, T> = <<P as Platform>::Kernel as Kernel>::RwSem<T>;
/// See [`KMutex`].
pub type KAtomic<P> = <<P as Platform>::Kernel as Kernel>::Atomic;
/// See [`KMutex`].
pub type KShared<P, T> = <<P as Platform>::Kernel as Kernel>::Shared<T>;
/// See [`KMutex`].
pub type KPlain<P, T> = <<P as Platform>::Kernel as Kernel>::Plain<T>;
/// See [`KMutex`].
pub type KCache<P, T> = <<P as Platform>::Kernel as Kernel>::Cache<T>;
/// See [`KMutex`].
pub type KCompletion<P> = <<P as Platform>::Kernel as Kernel>::Completion;
/// See [`KMutex`].
pub type KArray<P, T> = <<P as Platform>::Kernel as Kernel>::Array<T>;
