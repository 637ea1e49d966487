//! The pages of a range as the device sees them: the DMA array, whether it is valid, walking, unmapping and freeing it.
//!
//! Answers to `struct drm_gpusvm_pages` and the functions on it, without `get_pages`. Spec drm-gpusvm 1, 8, 9 (end),
//! 10.
//!
//! No page reference is kept: an entry may be used only while the range is valid under the notifier lock. Nothing
//! marks pages dirty or accessed.

use super::{GpuSvm, Ported};
use crate::Errno;
use crate::framework::{DmaEntry, NotifierHeld, NotifierWrite, RangeFlags, RangeHandle};
use crate::note;
use crate::platform::{
    DmaAddr, DmaDirection, Gpu, HmmPfn, Interconnect, KArray, KPlain, KShared, PagemapId, Plain, Shared, Vram,
};

/// `struct drm_gpusvm_pages`.
pub(super) struct Pages<P: Ported> {
    /// One entry per *mapping* (not per page), in address order; as many slots as pages, and what lies behind the last
    /// mapping is unused. None until `get_pages` needs it. Replaced under the driver lock; contents under NL.
    pub(super) dma_addr: KPlain<P, Option<KArray<P, DmaEntry>>>,
    /// Whose memory the device pages of the mapping are in (the kernel's reference to the `drm_pagemap`, at most one): set
    /// with the first of them, gone with the mapping. NL.
    pub(super) dpagemap: KPlain<P, Option<PagemapId>>,
    /// Driver lock.
    pub(super) notifier_seq: KPlain<P, u64>,
    /// NL; also lockless as a hint.
    pub(super) flags: KShared<P, RangeFlags>,
}

/// A slot of a fresh DMA array.
pub(super) const ZEROED: DmaEntry =
    DmaEntry { addr: DmaAddr(0), order: 0, proto: Interconnect::System, direction: DmaDirection::Bidirectional };

/// `drm_gpusvm_hmm_pfn_to_order`: log2 of the pages that can be mapped together from slot `index` of an array of
/// `npages`: the rest of the CPU mapping the page is part of, clipped at the end of the array, rounded down to a power
/// of two. An unaligned start in a huge page so gives pieces that are smaller than they could be. Spec drm-gpusvm 8.
///
/// `index` is below `npages`.
pub fn pfn_order(pfn: &HmmPfn, index: usize, npages: usize) -> u8 {
    let size = 1u64 << pfn.order;
    let rest = size - (pfn.pfn & (size - 1));
    rest.min((npages - index) as u64).ilog2() as u8
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// `drm_gpusvm_range_pages_valid`: whether the range is mapped, so that its DMA array may be used for as long as
    /// the notifier lock is held. Does **not** look at `unmapped`. Spec drm-gpusvm 9.
    #[track_caller]
    pub fn pages_valid(&self, _held: NotifierHeld<'_>, range: RangeHandle<P, R>) -> bool {
        let flags = self.range(range).base().pages.flags.read_once();
        flags.has_devmem_pages || flags.has_dma_mapping
    }

    /// `pages.dpagemap`: whose memory the device pages are in that the range maps, one pagemap at most. None when it maps none.
    #[track_caller]
    pub fn pages_pagemap(&self, _held: NotifierHeld<'_>, range: RangeHandle<P, R>) -> Option<PagemapId> {
        self.range(range).base().pages.dpagemap.get()
    }

    /// `drm_gpusvm_pages_valid_unlocked`, the shortcut at the top of `get_pages`. A DMA array that is not valid is
    /// freed here, so every invalidation costs a new one. Driver lock; takes NL for read.
    pub(super) fn pages_valid_unlocked(&self, range: RangeHandle<P, R>) -> bool {
        if self.range(range).base().pages.dma_addr.with(Option::is_none) {
            return false;
        }
        let nl = self.notifier_lock();
        let valid = self.pages_valid(nl.held(), range);
        if !valid {
            self.free_dma_addr(nl.held(), range);
        }
        valid
    }

    /// Walks the DMA mappings of `range` in address order: `f(page_index, entry)`, where `page_index` counts pages
    /// from the start of the range and the entry covers `1 << entry.order` of them. Ask
    /// [`pages_valid`](Self::pages_valid) under the same hold of NL before.
    ///
    /// # Errors
    /// `EINVAL` (no DMA array); what `f` says, at once.
    #[track_caller]
    pub fn for_each_dma(
        &self,
        _held: NotifierHeld<'_>,
        range: RangeHandle<P, R>,
        f: impl FnMut(u64, DmaEntry) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if self.range(range).base().pages.dma_addr.with(Option::is_none) {
            return Err(Errno::EINVAL);
        }
        self.walk_dma(range, self.range(range).npages(), f)
    }

    /// The first `npages` pages of the DMA array, mapping by mapping. NL is held, the array is there.
    fn walk_dma(
        &self,
        range: RangeHandle<P, R>,
        npages: usize,
        mut f: impl FnMut(u64, DmaEntry) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (mut page, mut slot) = (0, 0);
        while page < npages {
            // One slot at a time, because `f` may block and a plain cell must not be open then.
            let Some(entry) = self.range(range).base().pages.dma_addr.with(|a| a.as_ref().map(|a| a[slot])) else {
                break;
            };
            f(page as u64, entry)?;
            page += 1 << entry.order;
            slot += 1;
        }
        Ok(())
    }

    /// `drm_gpusvm_range_unmap_pages` outside of a notifier: DMA unmaps the whole range if it is mapped. Takes NL for
    /// read. The driver lock is held. Idempotent.
    pub fn unmap_pages(&self, range: RangeHandle<P, R>) {
        let nl = self.notifier_lock();
        self.unmap_locked(nl.held(), range, self.range(range).npages());
    }

    /// `drm_gpusvm_range_unmap_pages` with `in_notifier`: the callback's duty for every range the event touches. The
    /// *whole* range is DMA unmapped, whatever part the event names. Idempotent.
    pub fn unmap_pages_in_notifier(&self, held: &NotifierWrite<'_, P>, range: RangeHandle<P, R>) {
        self.unmap_locked(held.held(), range, self.range(range).npages());
    }

    /// `__drm_gpusvm_unmap_pages` of the first `npages` pages: nothing unless `has_dma_mapping`; afterwards the range
    /// is not valid. The DMA array stays allocated.
    pub(super) fn unmap_locked(&self, _held: NotifierHeld<'_>, range: RangeHandle<P, R>, npages: usize) {
        let flags = self.range(range).base().pages.flags.read_once();
        if !flags.has_dma_mapping {
            return;
        }
        let unmapped = self.walk_dma(range, npages, |_, entry| {
            match entry.proto {
                Interconnect::System => self.gpu.dma_unmap(entry.addr, entry.order, entry.direction),
                proto => self.gpu.device_unmap(entry.addr, proto, entry.order),
            }
            Ok(())
        });
        debug_assert!(unmapped.is_ok(), "the closure does not fail");
        // Both flags in one store: who reads the word without the lock never sees half of it.
        let cleared = RangeFlags { has_devmem_pages: false, has_dma_mapping: false, ..flags };
        self.range(range).base().pages.flags.write_once(cleared);
        self.range(range).base().pages.dpagemap.set(None);
        note!(P::Kernel, "unmap_pages: range {} is not DMA mapped any more", self.range(range).bytes());
    }

    /// `__drm_gpusvm_free_pages`: the DMA array, which is not mapped. Driver lock and NL.
    pub(super) fn free_dma_addr(&self, _held: NotifierHeld<'_>, range: RangeHandle<P, R>) {
        let array = self.range(range).base().pages.dma_addr.with_mut(Option::take);
        drop(array);
    }
}
