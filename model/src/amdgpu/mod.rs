//! The amdgpu SVM driver: attributes, mapping, invalidation, workers, lifecycle, ioctl and fault entry.
//!
//! Answers to `amdgpu_svm.c`, `amdgpu_svm_attr.c` (its driver half) and `amdgpu_svm_range.c` of the posted series, on
//! top of a [`framework`](crate::framework). Spec amdgpu-svm.
//!
//! One [`Svm`] belongs to one compute VM and so to one GPU. A [`VmManager`](vm::VmManager) owns it, counts it
//! ([`Svm::get`], [`Svm::put`]), and calls it:
//!
//! | who calls | what | when |
//! |---|---|---|
//! | [`vm::VmManager::make_compute`] | [`Svm::init`] | the VM becomes a compute VM, or at the first ioctl ([`Design::created_by_ioctl`]) |
//! | [`vm::VmManager::ioctl`] | [`Svm::ioctl`] | user space calls `DRM_AMDGPU_GEM_SVM` |
//! | the framework | [`Svm::invalidate`] | an mmu interval notifier of this client fires |
//! | the platform | [`Svm::mmu_invalidate`] | the same with [our port](crate::gpusvm), which takes the interval notifier's place |
//! | the platform | [`Svm::gc_work`], [`Svm::restore_work`] | a work item of this client runs |
//! | [`vm::VmManager::vm_handle_fault`] | [`Svm::handle_fault`] | a retry fault names this VM |
//! | the platform | [`Svm::migrate_to_ram`], [`Svm::folio_free`], [`Svm::evict_vram`] | device memory is wanted back, or was given back |
//! | [`vm::VmManager::vm_fini`] | [`Svm::close`], [`Svm::fini`] | the VM goes away |
//!
//! The [`Design`] is chosen when the instance is made. What all designs do alike is here; what they do differently is
//! in [`poc`] (a faithful port of the first posting, races included), [`v8`] (the same of the newest) and [`hardened`]
//! (what we would post).
//!
//! The lock hierarchy is in [`locks`].

mod fault;
mod get;
pub mod hardened;
pub mod inspect;
mod ioctl;
mod lifecycle;
pub mod locks;
mod notifier;
pub mod poc;
mod program;
pub mod pte;
pub mod range;
pub mod slabs;
pub mod uapi;
pub mod v8;
mod validate;
pub mod vm;
pub mod xnack;

pub use range::{Range, SvmRange};
pub use uapi::{IoctlArgs, UserAttrs};

use crate::attr::{AttrTree, Flags, Uapi};
use crate::framework::{ChunkSizes, Instance, InstanceOf};
use crate::platform::{ClientId, Handle, KAtomic, KCache, KMutex, KRwSem, Kernel, Platform, PteFlags};

/// How long the restore work waits, in milliseconds (`AMDGPU_SVM_RANGE_RESTORE_DELAY_MS`).
pub const RESTORE_DELAY_MS: u64 = 1;

/// Size and alignment of an interval notifier's window in bytes.
pub const NOTIFIER_SIZE: u64 = 512 << 20;

/// Which driver runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Design {
    /// The first posting (XNACK off, ioctl driven), its races included: the specimen. See [`poc`].
    PocV1,
    /// Its repaired successor. See [`hardened`].
    Hardened,
    /// The newest posting (XNACK on, fault driven, device memory), its races included. See [`v8`].
    PocV8,
}

impl Design {
    /// Every design, in declaration order.
    pub const ALL: [Design; 3] = [Design::PocV1, Design::Hardened, Design::PocV8];

    /// The name used in scenarios, on command lines and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Design::PocV1 => "poc-v1",
            Design::Hardened => "hardened",
            Design::PocV8 => "poc-v8",
        }
    }

    /// How its ioctl numbers attributes.
    pub const fn uapi(self) -> Uapi {
        match self {
            Design::PocV1 | Design::Hardened => Uapi::V1,
            Design::PocV8 => Uapi::V4,
        }
    }

    /// When the platform calls [`Svm::init`]: false, when the VM becomes a compute VM; true, from the first
    /// `DRM_AMDGPU_GEM_SVM` on the file, *before* any of its arguments is looked at, so that a call with bad arguments makes
    /// an instance too, and a GPU without XNACK answers `EOPNOTSUPP` to everything. The pointer to the instance is read and
    /// written without a lock there (race R36): two first calls make two.
    pub const fn created_by_ioctl(self) -> bool {
        matches!(self, Design::PocV8)
    }

    /// The design of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }
}

/// What an instance is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SvmConfig {
    /// Which driver.
    pub design: Design,
    /// What the platform calls back with.
    pub client: ClientId,
    /// Whether GPU faults are retried. None: off, whatever the hardware can (spec amdgpu-svm 3.2: detected, then
    /// overwritten; `poc-v8`: as detected, and off is refused). `Some(true)` opens the branches that the first posting never
    /// reaches.
    pub xnack: Option<bool>,
    /// Sizes that ranges may have.
    pub chunk_sizes: ChunkSizes,
    /// Size and alignment of a notifier window in bytes, a power of two.
    pub notifier_size: u64,
    /// log2 pages, cut to 0x3f (`poc-v8`: 0x1b). None: the GPU's module parameter.
    pub default_granularity: Option<u8>,
}

impl SvmConfig {
    /// The driver's own constants (spec amdgpu-svm 3).
    pub const fn new(design: Design, client: ClientId) -> Self {
        SvmConfig {
            design,
            client,
            xnack: None,
            chunk_sizes: ChunkSizes::DEFAULT,
            notifier_size: NOTIFIER_SIZE,
            default_granularity: None,
        }
    }
}

/// `struct amdgpu_svm`: one per compute VM. Spec amdgpu-svm 2.1.
///
/// Counted by hand: 1 at [`Svm::init`], one more for every running fault handler; the platform frees it when
/// [`Svm::put`] says so.
pub struct Svm<P: Platform> {
    /// The framework's instance.
    gpusvm: InstanceOf<P, SvmRange<P>>,
    /// kref.
    refcount: KAtomic<P>,
    /// Constant.
    gpu: P::Gpu,
    /// Constant.
    design: Design,
    /// Constant.
    xnack_enabled: bool,
    /// What detection said before it was overwritten. Constant.
    xnack_detected: bool,
    /// The memory of `attr_tree`.
    attr_trees: KCache<P, AttrMutex<P>>,
    /// AL around the tree; take it with [`Svm::lock_attrs`]. `poc-v1` frees it in fini and keeps the pointer.
    attr_tree: Handle<AttrMutex<P>>,
    /// SL.
    svm_lock: KRwSem<P, ()>,
    /// Work that must come soon. `poc-v1`: unmap work. Bound to `gc_wq`.
    gc_work: <P::Kernel as Kernel>::Work,
    /// Work that may wait. Bound to `restore_wq`.
    restore_work: <P::Kernel as Kernel>::DelayedWork,
    /// "amdgpu_svm_range", unbound.
    gc_wq: <P::Kernel as Kernel>::WorkQueue,
    /// "amdgpu_svm_restore", ordered.
    restore_wq: <P::Kernel as Kernel>::WorkQueue,
    /// Unused by the other designs.
    poc: poc::State<P>,
    /// Unused by the other designs.
    hardened: hardened::State<P>,
    /// Of `poc-v8` only.
    v8: Option<v8::State<P>>,
}

/// `struct amdgpu_svm_attr_tree`.
type AttrMutex<P> = KMutex<P, AttrTree<<P as Platform>::Kernel>>;

impl<P: Platform> Svm<P> {
    /// Whether GPU faults are retried for this VM.
    pub fn xnack_enabled(&self) -> bool {
        self.xnack_enabled
    }

    /// Whether the hardware would retry GPU faults (spec amdgpu-svm 3.2).
    pub fn xnack_detected(&self) -> bool {
        self.xnack_detected
    }

    /// How its ioctl numbers attributes.
    pub fn uapi(&self) -> Uapi {
        self.design.uapi()
    }

    /// The address space.
    fn mm(&self) -> &P::Mm {
        self.gpusvm.mm()
    }

    /// PTE bits for system memory with these attribute flags (spec amdgpu-svm 3.1).
    fn pte_flags(&self, flags: Flags) -> PteFlags {
        use crate::platform::Gpu;
        pte::pte_flags(&self.gpu.properties(), flags, false)
    }
}
