//! The port of `drivers/gpu/drm/drm_pagemap.c`: a GPU's memory as memory of processes.
//!
//! A [`Pagemap`] is the device-private memory (`ZONE_DEVICE`) of one GPU. A process's anonymous pages move to it
//! ([`Pagemap::populate_mm`]) when the driver says so, and back when the CPU touches one
//! ([`Pagemap::migrate_to_ram`]) or when the GPU needs the room ([`Pagemap::evict`]). It knows nothing of ranges and
//! GPU page tables: [`gpusvm`](crate::gpusvm) learns of each move through the mmu events that moving causes.
//!
//! Source: spec drm-gpusvm.md 16-19 (Linux 7.2). The numbered steps are the spec's.
//!
//! | file | what |
//! |---|---|
//! | [`devmem`] | one allocation of GPU memory: its buffer object's references, reservation and place in the list |
//! | [`zdd`] | what each device folio refers to: the zdd, its kref, and the word it is kept in |
//! | `to_device` | `drm_pagemap_migrate_to_devmem` |
//! | `to_ram` | the CPU fault: `drm_pagemap_migrate_to_ram` |
//! | `evict` | `drm_pagemap_evict_to_ram` |
//! | `copy` | what the three share: buffers, DMA mapping, the copy engine, pages of system memory |
//!
//! # Who holds what
//!
//! Every device *folio* holds a reference to the zdd of its migration, the zdd one to the allocation, and the
//! allocation is the buffer object. When the last folio of a migration is freed, by whoever and wherever, the zdd goes,
//! `detached` completes and the memory goes back to the GPU.
//!
//! | data | protected by |
//! |---|---|
//! | the tree of allocations | `lru_lock`, a spinlock, because folios are freed in any context |
//! | an allocation's `reserved` | itself: `dma_resv_trylock` is all that is ever asked of it |
//! | `timeslice_expiration` | written once, before the first folio is published in a page table |
//! | a folio's `zone_device_data` | the folio lock, which who migrates holds; read by who holds a reference |
//!
//! Order: mmap_lock (read), then the allocation's reservation; `lru_lock` innermost. [`Pagemap::evict`] runs under whatever
//! who allocates GPU memory holds, so it takes no mmap_lock and drops its reference to the mm asynchronously.
//!
//! # How a driver uses it
//!
//! To move: [`populate_mm`](Pagemap::populate_mm) for a whole range, outside of mmap_lock and the notifier lock, then
//! [`get_pages`](crate::gpusvm::GpuSvm::get_pages) with its own [`Ctx::owner`](crate::gpusvm::Ctx::owner); `EBUSY` and
//! `ENOMEM` leave the range usable where it is. The platform calls, for the pagemap that a page is in,
//! [`migrate_to_ram`](Pagemap::migrate_to_ram), [`folio_free`](Pagemap::folio_free),
//! [`folio_split`](Pagemap::folio_split) and [`evict`](Pagemap::evict).
//!
//! # What is checked, and what the lab cannot tell yet
//!
//! `tests/pagemap` has every step, every error and random programs, with contents, in one thread; `tests/pagemap/simulated` has the
//! reference counts in every interleaving. Open until the simulators have device memory: pages, faults and copies in
//! interleavings. And for as long as loom has no clock, a timeslice that is not 0 never ends there.
//!
//! # What is left out
//!
//! * The kref of `drm_pagemap` and its cache, shrinker and owner groups (spec drm-gpusvm 20): the pagemap lives as long as
//!   its GPU, and who shares an [`Owner`] is the platform's to say.
//! * A peer's copy engine: where the kernel has the *source* GPU push its pages (its `copy_to_ram` op), the GPU that the
//!   pages go to pulls them. The pages are cut into the same runs, and reached through the same link.
//! * `pre_migrate_fence`: [`vram_alloc`](crate::platform::Vram::vram_alloc) returns memory that is cleared already.
//! * `DMA_FROM_DEVICE`: destinations in system memory are mapped in both directions.
//! * Coherent device memory: there is only the private kind.

mod copy;
pub mod devmem;
mod evict;
mod to_device;
mod to_ram;
pub mod zdd;

pub use devmem::{Devmem, DevmemHandle};
pub use zdd::{Zdd, ZddHandle, is_migrated, same_zdd};

use crate::Errno;
use crate::note;
use crate::platform::{Cache, ClientId, KCache, KSpinLock, Kernel, Mm, Owner, PagemapId, Platform, SpinLock, Vram};
use crate::tree::IntervalTree;
use crate::units::{Bytes, PAGE_SHIFT};

/// Per-call options of a migration (`struct drm_pagemap_migrate_details`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MigrateDetails {
    /// For how many milliseconds the CPU does not get the pages back. 0: at once.
    pub timeslice_ms: u64,
    /// Pages that are in this GPU's memory already move along with the others. Without, a range of which a part is there
    /// already is left alone (`EBUSY`).
    pub can_migrate_same_pagemap: bool,
}

/// One GPU's memory (`struct drm_pagemap` with its `dev_pagemap`).
///
/// Shared by all processes that use the GPU. [`Pagemap::fini`] must have been called before it is dropped.
pub struct Pagemap<P: Platform> {
    gpu: P::Gpu,
    id: PagemapId,
    owner: Owner,
    client: ClientId,
    zdds: KCache<P, Zdd<P>>,
    devmems: KCache<P, Devmem<P>>,
    /// The allocations by frame number: how an eviction finds the buffer object, the way TTM finds it in its list.
    lru: KSpinLock<P, IntervalTree<P::Kernel, Devmem<P>>>,
}

impl<P: Platform> Pagemap<P> {
    /// `drm_pagemap_init` of `gpu`'s memory. `client` is the driver instance that its callbacks go to.
    ///
    /// # Errors
    /// `ENODEV` (the GPU has no memory that processes can use), `ENOMEM`.
    pub fn new(gpu: P::Gpu, client: ClientId) -> Result<Self, Errno> {
        let id = gpu.pagemap().ok_or(Errno::ENODEV)?;
        let owner = gpu.owner();
        Ok(Pagemap {
            gpu,
            id,
            owner,
            client,
            zdds: KCache::<P, Zdd<P>>::new("drm_pagemap_zdd")?,
            devmems: KCache::<P, Devmem<P>>::new("drm_pagemap_devmem")?,
            lru: KSpinLock::<P, IntervalTree<P::Kernel, Devmem<P>>>::new("lru_lock", IntervalTree::new())?,
        })
    }

    /// Which memory it is.
    pub fn id(&self) -> PagemapId {
        self.id
    }

    /// What hmm and migrate_vma tell its pages by.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The driver instance that its callbacks go to.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The GPU whose memory it is.
    pub fn gpu(&self) -> &P::Gpu {
        &self.gpu
    }

    /// `drm_pagemap_populate_mm`: moves all pages of `bytes` (page aligned, a power of two in length, inside one anonymous
    /// VMA of `mm`) to this GPU's memory, holes included, which become zero pages there. All or nothing, but for a race
    /// (see [`migrate_to_devmem`](Self::migrate_to_devmem)).
    ///
    /// mmap_lock is held for read over all of it: allocation, evictions that the allocation makes, migration and copies.
    /// May run the last `mmput`. Spec drm-gpusvm 16.
    ///
    /// # Errors
    /// `EFAULT` (the process is gone), `EINVAL` (`bytes` empty or not a power of two), `ENOMEM` (memory of the GPU
    /// included), and those of [`migrate_to_devmem`](Self::migrate_to_devmem).
    pub fn populate_mm(&self, mm: &P::Mm, bytes: Bytes, details: &MigrateDetails) -> Result<(), Errno> {
        if !mm.mmget_not_zero() {
            return Err(Errno::EFAULT);
        }
        let held = mm.mmap_read_lock();
        let result = self.populate_locked(mm, &held, bytes, details);
        drop(held);
        mm.mmput();
        note!(P::Kernel, "populate_mm: {bytes} gives {result:?}");
        result
    }

    /// The driver's `populate_mm` op: a buffer object, reserved over the migration so that nobody evicts it meanwhile.
    fn populate_locked(
        &self,
        mm: &P::Mm,
        held: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        bytes: Bytes,
        details: &MigrateDetails,
    ) -> Result<(), Errno> {
        let devmem = self.devmem_alloc(mm, bytes.len() >> PAGE_SHIFT)?;
        // The migration consumes the first reference; the reservation needs one of its own.
        self.devmem_get(devmem);
        let result = self.migrate_to_devmem(mm, held, devmem, bytes, details);
        self.devmem_unreserve(devmem);
        self.devmem_put(devmem);
        result
    }

    /// `drm_pagemap_fini`. Every process has given up its pages by now; warns when one has not. At rest.
    pub fn fini(&self) {
        let left = self.allocations();
        if left != 0 {
            P::Kernel::warn(format_args!("pagemap {}: {left} allocations are left after fini", self.id.0));
        }
    }
}
