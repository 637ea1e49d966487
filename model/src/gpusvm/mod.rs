//! The port of `drivers/gpu/drm/drm_gpusvm.c`: notifiers, ranges and their pages.
//!
//! A [`GpuSvm`] mirrors one process address space for one driver instance. It cuts the address space into
//! *notifiers* (aligned windows, one mmu interval notifier each) and, inside them, *ranges* (chunk-aligned intervals
//! that are mapped and unmapped as a whole). The driver finds or creates a range for an address
//! ([`GpuSvm::find_or_insert`]), collects and DMA-maps its pages ([`GpuSvm::get_pages`]), and commits them to GPU page
//! tables under the notifier lock, where [`GpuSvm::pages_valid`] says whether an invalidation got in between.
//!
//! What a driver knows of all this is the trait [`framework::Instance`](crate::framework::Instance).
//!
//! Source: spec drm-gpusvm.md 1-15 (Linux 7.2). The steps and their numbers (R1.. and M1..) are the spec's.
//!
//! | file | what |
//! |---|---|
//! | `instance` | the port behind the trait that the driver knows |
//! | `locks` | taking the notifier lock |
//! | [`chunk`] | which chunk size a new range gets |
//! | `find_or_insert` | lookup and creation of notifier and range |
//! | [`pages`] | the DMA array: is it valid, walk it, unmap it, free it |
//! | `get_pages` | `hmm_range_fault` plus DMA mapping, against concurrent invalidations |
//! | `evict` | everything of a range back to system memory |
//! | [`scan`] | where the pages of a range are |
//! | [`range`](mod@range) | ranges: references, iteration, removal |
//! | [`notifier`] | the notifier object: windows, iteration, the invalidate wrapper |
//!
//! The lock contract is the [framework's](crate::framework). Trees and arrays are [`Plain`] data, so the lab checks it on
//! every access. Whoever holds NL must not enter reclaim, and therefore the DMA array is allocated with NL dropped.
//!
//! # Device memory
//!
//! Pages may be in the memory of a GPU ([`pagemap`](crate::pagemap) moves them). Nothing here moves them there; `get_pages`
//! maps what is there if it is the driver's own ([`Ctx::owner`]) and otherwise has it brought back, [`GpuSvm::range_evict`]
//! brings all back, and [`GpuSvm::scan_mm`] looks. A range maps the memory of one device at most, and without
//! [`Ctx::allow_mixed`] one migration of it or none at all.
//!
//! # What is left out, and where it would go
//!
//! * IOVA reservation (`dma_iova_try_alloc` and linking): the platform maps mapping by mapping, so pages always take
//!   the `dma_map_page` path, which is the kernel's own fallback when no IOMMU is there. With it steps R8 and M6, and
//!   the unlinking in the unmap path, have nothing to do.
//! * Pages-only mode (no mm): nobody here uses it.

pub mod chunk;
mod evict;
mod find_or_insert;
mod get_pages;
mod instance;
mod locks;
pub mod notifier;
pub mod pages;
pub mod range;
pub mod scan;

pub use crate::framework::{
    ChunkSizes, Config, Ctx, DmaEntry, DriverLocked, NotifierHandle, NotifierHeld, NotifierRead, NotifierWrite, Range,
    RangeFlags, RangeHandle, TreeAccess,
};
pub use notifier::Notifier;
pub use range::RangeBase;
pub use scan::ScanResult;

use crate::Errno;
use crate::framework::Framework;
use crate::platform::{Cache, KCache, KRwSem, Kernel, Mm, Plain, Platform, RwSem};
use crate::tree::IntervalTree;
use crate::units::Bytes;

/// `HMM_RANGE_DEFAULT_TIMEOUT` in milliseconds: how long one call goes on collecting pages against invalidations.
pub const HMM_TIMEOUT_MS: u64 = 1000;

/// `LONG_MAX`: the end of what teardown walks, and a sequence number that never matches.
pub(super) const LONG_MAX: u64 = i64::MAX as u64;

/// The port as a [`Framework`].
pub struct Port;

impl<P: Ported> Framework<P> for Port {
    type Instance<R: 'static> = GpuSvm<P, R>;
    type RangeBase<R: 'static> = RangeBase<P, R>;
    type Notifier<R: 'static> = Notifier<P, R>;
    type ReadGuard<'a> = <KRwSem<P, ()> as RwSem<()>>::ReadGuard<'a>;
    type WriteGuard<'a> = <KRwSem<P, ()> as RwSem<()>>::WriteGuard<'a>;
}

/// A platform whose framework is this port.
pub trait Ported: Platform<Framework = Port> {}
impl<P: Platform<Framework = Port>> Ported for P {}

/// One instance (`struct drm_gpusvm`), embedded in the driver's own. `R` is what the driver adds to each range.
///
/// Not counted. [`GpuSvm::fini`] must have been called before it is dropped.
pub struct GpuSvm<P: Ported, R: 'static> {
    config: Config,
    mm: P::Mm,
    gpu: P::Gpu,
    /// NL.
    notifier_lock: KRwSem<P, ()>,
    /// The notifiers, by address. Driver lock.
    root: IntervalTree<P::Kernel, Notifier<P, R>>,
    notifiers: KCache<P, Notifier<P, R>>,
    ranges: KCache<P, Range<P, R>>,
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// `drm_gpusvm_init`. Takes an `mmgrab` on `mm`, given back by [`fini`](Self::fini). Spec drm-gpusvm 4.
    ///
    /// # Errors
    /// `EINVAL` (no chunk sizes), `ENOMEM`.
    pub fn new(config: Config, mm: P::Mm, gpu: P::Gpu) -> Result<Self, Errno> {
        if config.chunk_sizes.is_empty() {
            return Err(Errno::EINVAL);
        }
        let svm: Self = GpuSvm {
            config,
            notifier_lock: KRwSem::<P, ()>::new("notifier_lock", ())?,
            root: IntervalTree::new(),
            notifiers: KCache::<P, Notifier<P, R>>::new("drm_gpusvm_notifier")?,
            ranges: KCache::<P, Range<P, R>>::new("drm_gpusvm_range")?,
            mm,
            gpu,
        };
        svm.mm.mmgrab();
        Ok(svm)
    }

    /// `drm_gpusvm_fini`: unregisters every notifier, removes every range, drops the mm. Spec drm-gpusvm 4.
    ///
    /// For each notifier the subscription goes first, so from there on no invalidation arrives for ranges that are
    /// still DMA mapped: the GPU must already be unable to use the mappings. Sleeps while an invalidation runs. Takes
    /// NL for read. Notifiers that begin at `LONG_MAX` or above are not walked, as in the kernel; they are warned
    /// about.
    pub fn fini(&self, locked: DriverLocked<'_>) {
        let everything = Bytes::new(0, LONG_MAX);
        let mut next = self.first_notifier(locked, everything);
        while let Some(notifier) = next {
            next = self.next_notifier(locked, notifier, everything.end);
            crate::note!(P::Kernel, "fini: notifier {} unregistered", self.notifier(notifier).bytes());
            self.mm.interval_remove(self.notifier(notifier).sub());
            self.notifier(notifier).removed.set(true);
            // The last removal frees the notifier.
            let mut next_range = self.first_range(notifier, everything, TreeAccess::Driver(locked));
            while let Some(range) = next_range {
                next_range = self.next_range(range, everything.end, TreeAccess::Driver(locked));
                self.range_remove(locked, range);
            }
        }
        self.mm.mmdrop();
        if !self.root.is_empty() {
            P::Kernel::warn(format_args!("{}: notifiers are left after fini", self.config.name));
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The address space. The instance keeps the struct alive (`mmgrab`), not the address space.
    pub fn mm(&self) -> &P::Mm {
        &self.mm
    }

    /// The GPU the pages are DMA mapped for.
    pub fn gpu(&self) -> &P::Gpu {
        &self.gpu
    }

    /// `drm_gpusvm_find_vma_start`: where the first VMA that intersects `bytes` begins, which may be below
    /// `bytes.start`. None (the kernel's `ULONG_MAX`) when there is none or the process is gone. Takes and drops
    /// mmap_lock for read, and the last user's `mmput` may run here. Spec drm-gpusvm 15.
    pub fn find_vma_start(&self, bytes: Bytes) -> Option<u64> {
        if !self.mm.mmget_not_zero() {
            return None;
        }
        let mmap = self.mm.mmap_read_lock();
        let vma = self.mm.find_vma(&mmap, bytes.start).filter(|vma| vma.bytes.start < bytes.end);
        drop(mmap);
        self.mm.mmput();
        vma.map(|vma| vma.bytes.start)
    }

    /// `drm_gpusvm_has_mapping`: whether a range overlaps `bytes`, mapped or not. Spec drm-gpusvm 15.
    pub fn has_mapping(&self, locked: DriverLocked<'_>, bytes: Bytes) -> bool {
        let mut next = self.first_notifier(locked, bytes);
        while let Some(notifier) = next {
            if self.first_range(notifier, bytes, TreeAccess::Driver(locked)).is_some() {
                return true;
            }
            next = self.next_notifier(locked, notifier, bytes.end);
        }
        false
    }

    /// Whether the trees are well formed (I9): each is balanced and sorted, and a linked notifier has at least one
    /// range, inside its window. Warns about what is not. Under the driver lock, or at rest.
    pub fn check(&self, locked: DriverLocked<'_>) {
        let everything = Bytes::new(0, u64::MAX);
        if let Err(corrupt) = self.root.check(&self.notifiers) {
            P::Kernel::warn(format_args!("tree of notifiers: {corrupt}"));
        }
        let mut next = self.first_notifier(locked, everything);
        while let Some(at) = next {
            let notifier = self.notifier(at);
            if let Err(corrupt) = notifier.ranges.check(&self.ranges) {
                P::Kernel::warn(format_args!("tree of ranges of notifier {}: {corrupt}", notifier.bytes()));
            }
            if notifier.ranges.is_empty() {
                P::Kernel::warn(format_args!("notifier {} is linked without a range", notifier.bytes()));
            }
            let mut next_range = self.first_range(at, everything, TreeAccess::Driver(locked));
            while let Some(range) = next_range {
                let bytes = self.range(range).bytes();
                if !notifier.bytes().covers(&bytes) {
                    P::Kernel::warn(format_args!("range {bytes} sticks out of its notifier {}", notifier.bytes()));
                }
                next_range = self.next_range(range, everything.end, TreeAccess::Driver(locked));
            }
            next = self.next_notifier(locked, at, everything.end);
        }
    }
}
