//! What the three migrations share: their arrays, DMA mapping, the copy engine, and destinations in system memory.
//!
//! Answers to `drm_pagemap_migrate_map_system_pages`, `drm_pagemap_migrate_map_device_private_pages`,
//! `drm_pagemap_migrate_unmap_pages`, `drm_pagemap_migrate_populate_ram_pfn`, `drm_pagemap_migration_unlock_put_pages` and
//! the driver's `copy_to_devmem` and `copy_to_ram`. Spec drm-gpusvm 17, 18.

use super::zdd::with_migrated;
use super::{Pagemap, is_migrated};
use crate::Errno;
use crate::note;
use crate::platform::{
    CopyJob, DeviceMemory, DmaAddr, DmaDirection, Gpu, Interconnect, KArray, Kernel, MigratePfn, Plant, Platform, Vram,
};
use core::ops::Range;

/// log2 of the pages of a compound folio (`HPAGE_PMD_ORDER`).
pub(super) const HUGE_ORDER: u8 = 9;
/// Pages of a compound folio.
pub(super) const HUGE_PAGES: usize = 1 << HUGE_ORDER;

/// The arrays of one migration.
pub(super) struct Buffers<P: Platform> {
    /// `migrate.src`, then `migrate.dst`.
    pfns: KArray<P, MigratePfn>,
    /// `pagemap_addr`, a slot a page: how the copy engine reaches what is not in the GPU's own memory.
    mapped: KArray<P, Option<Mapped>>,
    /// The copies of one run, from slot 0 on.
    jobs: KArray<P, CopyJob>,
}

/// `struct drm_pagemap_addr`.
#[derive(Clone, Copy)]
struct Mapped {
    addr: DmaAddr,
    proto: Interconnect,
    order: u8,
    direction: DmaDirection,
}

impl<P: Platform> Buffers<P> {
    /// For `npages` pages.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(npages: usize) -> Result<Self, Errno> {
        Ok(Buffers {
            pfns: P::Kernel::alloc_array(2 * npages, MigratePfn::default())?,
            mapped: P::Kernel::alloc_array(npages, None)?,
            jobs: P::Kernel::alloc_array(npages, CopyJob { from: 0, to: 0, pages: 0 })?,
        })
    }

    /// How many pages they are for.
    pub(super) fn npages(&self) -> usize {
        self.mapped.len()
    }
    pub(super) fn src(&mut self) -> &mut [MigratePfn] {
        let npages = self.npages();
        &mut self.pfns[..npages]
    }
    pub(super) fn both(&mut self) -> (&mut [MigratePfn], &mut [MigratePfn]) {
        let npages = self.npages();
        self.pfns.split_at_mut(npages)
    }
}

/// Walks the elements of a `src` array from a slot on: a page or a hole is one, a compound folio with its 512 slots is
/// one.
pub(super) struct Elements(pub(super) usize);

impl Elements {
    /// The slots of the next element.
    pub(super) fn next(&mut self, src: &[MigratePfn]) -> Option<Range<usize>> {
        let at = self.0;
        let first = src.get(at)?;
        self.0 = if first.compound { src.len().min(at + HUGE_PAGES) } else { at + 1 };
        Some(at..self.0)
    }
}

/// One contiguous piece of what is to be copied, `1 << order` pages, and the slot of its first page.
#[derive(Clone, Copy)]
struct Piece {
    slot: usize,
    from: u64,
    to: u64,
    order: u8,
}

/// The pieces of the slots `run`, in order: what is still collected, has a source page (a hole has none) and has a
/// destination. A compound source may have single pages as destinations.
fn pieces(
    src: &[MigratePfn],
    dst: &[MigratePfn],
    run: &Range<usize>,
    mut f: impl FnMut(Piece) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut walk = Elements(run.start);
    while let Some(slots) = walk.next(&src[..run.end]) {
        let first = slots.start;
        if !src[first].migrate || !src[first].valid {
            continue;
        }
        if dst[first].compound {
            f(Piece { slot: first, from: src[first].pfn, to: dst[first].pfn, order: HUGE_ORDER })?;
            continue;
        }
        for slot in slots.filter(|&slot| dst[slot].valid) {
            f(Piece { slot, from: src[first].pfn + (slot - first) as u64, to: dst[slot].pfn, order: 0 })?;
        }
    }
    Ok(())
}

/// Gives the destinations back and forgets them, so that nothing migrates (step 17.11).
pub(super) fn put_destinations<P: Platform>(mm: &P::Mm, dst: &mut [MigratePfn]) {
    for slot in dst {
        if slot.valid {
            mm.put_new_folio(slot.pfn, if slot.compound { HUGE_ORDER } else { 0 });
        }
        *slot = MigratePfn::default();
    }
}

impl<P: Platform> Pagemap<P> {
    /// Whether the frame is in this GPU's memory.
    pub(super) fn is_own(&self, mm: &P::Mm, pfn: u64) -> bool {
        mm.device_page(pfn).is_some_and(|page| page.pagemap == self.id())
    }

    /// Copies the slots `run`: maps what is not in this GPU's memory, has the engine copy, waits for it, unmaps. Complete
    /// on return.
    ///
    /// # Errors
    /// `EFAULT` (a page cannot be mapped), `ENODEV`, `ENOMEM` (the engine).
    pub(super) fn copy_run(&self, mm: &P::Mm, buffers: &mut Buffers<P>, run: Range<usize>) -> Result<(), Errno> {
        let (src, dst) = buffers.pfns.split_at_mut(buffers.mapped.len());
        let (mapped, jobs) = (&mut buffers.mapped, &mut buffers.jobs);
        let copied = pieces(src, dst, &run, |piece| {
            mapped[piece.slot] = self.map_piece(mm, piece)?;
            Ok(())
        })
        .and_then(|()| self.copy_pieces(src, dst, &run, jobs));
        if copied.is_err() && P::Kernel::planted(Plant::PagemapDmaUnmapBeforeVerdict) {
            return copied;
        }
        for slot in run {
            if let Some(Mapped { addr, proto, order, direction }) = mapped[slot].take() {
                match proto {
                    Interconnect::System => self.gpu.dma_unmap(addr, order, direction),
                    proto => self.gpu.device_unmap(addr, proto, order),
                }
            }
        }
        copied
    }

    /// Maps the side of `piece` that is not in this GPU's memory; within it there is nothing to map.
    fn map_piece(&self, mm: &P::Mm, piece: Piece) -> Result<Option<Mapped>, Errno> {
        let (pfn, direction) = match self.is_own(mm, piece.to) {
            true => (piece.from, DmaDirection::ToDevice),
            false => (piece.to, DmaDirection::Bidirectional),
        };
        let (addr, proto) = match mm.device_page(pfn) {
            Some(page) if page.pagemap == self.id => return Ok(None),
            Some(_) => self.gpu.device_map(pfn, piece.order)?,
            None => (self.gpu.dma_map(pfn, piece.order, direction)?, Interconnect::System),
        };
        Ok(Some(Mapped { addr, proto, order: piece.order, direction }))
    }

    /// Has the engine copy the pieces of `run`, neighbours as one, and waits for it.
    fn copy_pieces(
        &self,
        src: &[MigratePfn],
        dst: &[MigratePfn],
        run: &Range<usize>,
        jobs: &mut [CopyJob],
    ) -> Result<(), Errno> {
        let mut count = 0;
        pieces(src, dst, run, |Piece { from, to, order, .. }| {
            let pages = 1 << order;
            match jobs[..count].last_mut() {
                Some(job) if job.from + job.pages == from && job.to + job.pages == to => job.pages += pages,
                _ => {
                    jobs[count] = CopyJob { from, to, pages };
                    count += 1;
                }
            }
            Ok(())
        })?;
        if count != 0 {
            let fence = self.gpu.copy(&jobs[..count])?;
            if !P::Kernel::planted(Plant::PagemapUseBeforeIdle) {
                self.gpu.wait_fence(fence);
            }
        }
        Ok(())
    }

    /// Steps 18.5 to 18.7: destinations in system memory for what is collected and `wanted` (asked with the frame number and
    /// word of a folio), and the copy. Folios that are MIGRATED already are not collected any more afterwards.
    ///
    /// # Errors
    /// `ENOMEM` (system memory), and those of [`copy_run`](Self::copy_run). There may be destinations then.
    pub(super) fn copy_to_ram(
        &self,
        mm: &P::Mm,
        buffers: &mut Buffers<P>,
        wanted: impl Fn(u64, u64) -> bool,
    ) -> Result<(), Errno> {
        let npages = buffers.npages();
        let (src, dst) = buffers.both();
        let mut walk = Elements(0);
        while let Some(slots) = walk.next(src) {
            let page = &mut src[slots.start];
            if !page.migrate || !page.valid {
                continue;
            }
            let word = mm.zone_device_data(page.pfn);
            // 18.5: its contents have moved away; who still has it mapped nowhere holds a bare reference.
            if is_migrated(word) {
                page.migrate = false;
                continue;
            }
            if wanted(page.pfn, word) {
                alloc_ram::<P>(mm, &mut dst[slots])?;
            }
        }
        // (Nothing, where nothing is wanted.)
        self.copy_run(mm, buffers, 0..npages)
    }

    /// Step 18.8: marks what really moved, so that it is not fetched a second time while somebody still holds it.
    pub(super) fn mark_migrated(&self, mm: &P::Mm, src: &[MigratePfn]) {
        let mut walk = Elements(0);
        while let Some(slots) = walk.next(src) {
            let page = &src[slots.start];
            if page.migrate && page.valid {
                mm.set_zone_device_data(page.pfn, with_migrated(mm.zone_device_data(page.pfn)));
            }
        }
    }
}

/// `drm_pagemap_migrate_populate_ram_pfn` of one element: a folio of its size, or else single pages.
fn alloc_ram<P: Platform>(mm: &P::Mm, dst: &mut [MigratePfn]) -> Result<(), Errno> {
    if dst.len() == HUGE_PAGES {
        match mm.alloc_folio(HUGE_ORDER) {
            Ok(pfn) => {
                dst[0] = MigratePfn { valid: true, compound: true, pfn, ..MigratePfn::default() };
                return Ok(());
            }
            Err(_) => note!(P::Kernel, "no huge folio of system memory, single pages instead"),
        }
    }
    for slot in dst {
        *slot = MigratePfn { valid: true, pfn: mm.alloc_folio(0)?, ..MigratePfn::default() };
    }
    Ok(())
}
