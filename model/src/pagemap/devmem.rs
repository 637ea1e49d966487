//! One allocation of GPU memory (`struct drm_pagemap_devmem` inside the driver's buffer object).
//!
//! The buffer object is counted, and TTM looks at it from outside: an eviction takes it from a list, gets a reference if
//! there still is one, tries to reserve it, and then empties it. The list is a tree by frame number here, because all
//! that the platform says about the victim is its block. Spec drm-gpusvm 16, 18.

use super::Pagemap;
use crate::Errno;
use crate::note;
use crate::platform::{
    Atomic, Cache, Completion, Handle, KAtomic, KCompletion, KPlain, Kernel, Objects, Plain, Platform, SpinLock, Vram,
    VramBlock,
};
use crate::tree::{TreeLink, TreeNode};
use crate::units::PAGE_SHIFT;

/// Names a [`Devmem`]. Copying it takes no reference.
pub type DevmemHandle<P> = Handle<Devmem<P>>;

/// `struct drm_pagemap_devmem`, and of the buffer object around it what the pagemap needs.
pub struct Devmem<P: Platform> {
    /// The buffer object's kref: one for who allocated, handed on to the zdd, and one for each who looks at it.
    refcount: KAtomic<P>,
    /// The buffer object's reservation: 1 while somebody migrates into it or evicts it.
    reserved: KAtomic<P>,
    /// The process it was allocated for. Not referenced.
    pub(super) mm: P::Mm,
    /// The memory. Constant.
    block: VramBlock,
    /// Completes when no device folio is in the block any more.
    pub(super) detached: KCompletion<P>,
    /// Until when a CPU fault leaves the pages where they are; milliseconds of [`Kernel::now_ms`].
    timeslice_expiration: KPlain<P, u64>,
    /// In the pagemap's tree: `lru_lock`.
    link: KPlain<P, TreeLink<Devmem<P>>>,
}

impl<P: Platform> Devmem<P> {
    /// The memory. Constant.
    pub fn block(&self) -> VramBlock {
        self.block
    }

    /// Its size in bytes, a power of two. Constant.
    pub fn size(&self) -> u64 {
        self.block.pages << PAGE_SHIFT
    }

    /// Whether no device folio is in it any more.
    #[track_caller]
    pub fn is_detached(&self) -> bool {
        self.detached.is_done()
    }

    /// Starts the timeslice: before any folio of it is in a page table.
    pub(super) fn start_timeslice(&self, timeslice_ms: u64) {
        if timeslice_ms != 0 {
            self.timeslice_expiration.set(P::Kernel::now_ms().saturating_add(timeslice_ms));
        }
    }

    /// Whether the CPU does not get the pages back yet.
    pub(super) fn in_timeslice(&self) -> bool {
        let expiration = self.timeslice_expiration.get();
        // An allocation without a timeslice need not look at the clock.
        expiration != 0 && P::Kernel::now_ms() < expiration
    }
}

impl<P: Platform> TreeNode<P::Kernel> for Devmem<P> {
    fn link(&self) -> &KPlain<P, TreeLink<Self>> {
        &self.link
    }
    fn first(&self) -> u64 {
        self.block.pfn
    }
    fn last(&self) -> u64 {
        self.block.pfn + self.block.pages - 1
    }
}

impl<P: Platform> Pagemap<P> {
    /// `drm_pagemap_devmem_init` on a new buffer object of `pages` pages: one reference, reserved by the caller. Sleeps;
    /// may evict other allocations.
    ///
    /// # Errors
    /// `EINVAL` (`pages` is no power of two: the window of a CPU fault is computed by rounding), `ENOMEM`.
    pub fn devmem_alloc(&self, mm: &P::Mm, pages: u64) -> Result<DevmemHandle<P>, Errno> {
        if !pages.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let block = self.gpu.vram_alloc(pages)?;
        let devmem = self.devmems.alloc(Devmem {
            refcount: KAtomic::<P>::new("bo.refcount", 1),
            reserved: KAtomic::<P>::new("bo.resv", 1),
            mm: mm.clone(),
            block,
            detached: KCompletion::<P>::new("devmem.detached"),
            timeslice_expiration: KPlain::<P, _>::new(0),
            link: KPlain::<P, _>::new(TreeLink::default()),
        });
        match devmem {
            Ok(devmem) => {
                self.lru.lock().insert(&self.devmems, devmem);
                note!(P::Kernel, "{pages} pages of GPU memory allocated, from frame {:#x}", block.pfn);
            }
            Err(_) => self.gpu.vram_free(block),
        }
        devmem
    }

    /// The allocation. A handle of a freed one is a violation of I4 in the lab.
    #[track_caller]
    pub fn devmem(&self, devmem: DevmemHandle<P>) -> &Devmem<P> {
        self.devmems.get(devmem)
    }

    /// One more reference to the buffer object. The caller knows of one that stays.
    #[track_caller]
    pub fn devmem_get(&self, devmem: DevmemHandle<P>) {
        self.devmem(devmem).refcount.inc_return();
    }

    /// One reference less; the last one gives the memory back (the kernel's `devmem_release` op and what comes of it). Any
    /// context.
    #[track_caller]
    pub fn devmem_put(&self, devmem: DevmemHandle<P>) {
        let object = self.devmem(devmem);
        if object.refcount.dec_return() != 0 {
            return;
        }
        let block = object.block;
        self.lru.lock().remove(&self.devmems, devmem);
        // Only now: who evicts could otherwise find the next user's memory under this one's name.
        self.gpu.vram_free(block);
        self.devmems.free(devmem);
        note!(P::Kernel, "{} pages of GPU memory given back, from frame {:#x}", block.pages, block.pfn);
    }

    /// `dma_resv_trylock`: whether the reservation is ours now.
    #[track_caller]
    pub(super) fn devmem_try_reserve(&self, devmem: DevmemHandle<P>) -> bool {
        self.devmem(devmem).reserved.cmpxchg(0, 1) == 0
    }

    /// `dma_resv_unlock`.
    #[track_caller]
    pub fn devmem_unreserve(&self, devmem: DevmemHandle<P>) {
        self.devmem(devmem).reserved.store(0);
    }

    /// The allocation that holds the frame, with a reference, unless its last one is gone. Any context.
    #[track_caller]
    pub(super) fn devmem_find(&self, pfn: u64) -> Option<DevmemHandle<P>> {
        let lru = self.lru.lock();
        lru.first_overlap(&self.devmems, pfn, pfn).filter(|&found| self.devmem(found).refcount.inc_unless_zero())
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> usize {
        let lru = self.lru.lock();
        let mut count = 0;
        let mut next = lru.first(&self.devmems);
        while let Some(devmem) = next {
            count += 1;
            next = lru.next(&self.devmems, devmem);
        }
        count
    }
}
