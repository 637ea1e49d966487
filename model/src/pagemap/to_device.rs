//! `drm_pagemap_migrate_to_devmem`: pages of a process move to the GPU. Spec drm-gpusvm 17; the numbers are its.

use super::copy::{Buffers, Elements, HUGE_ORDER, HUGE_PAGES, put_destinations};
use super::{DevmemHandle, MigrateDetails, Pagemap, ZddHandle};
use crate::Errno;
use crate::note;
use crate::platform::{DeviceMemory, Kernel, MigratePfn, MigrateSelect, MigrateVma, Mm, PagemapId, Plant, Platform};
use crate::units::{Bytes, PAGE_SHIFT};

/// What stays the same over one migration.
struct Move<'a, 'm, P: Platform> {
    mm: &'a P::Mm,
    held: &'a <P::Mm as Mm<P::Kernel>>::ReadGuard<'m>,
    devmem: DevmemHandle<P>,
    zdd: ZddHandle<P>,
    args: MigrateVma,
    details: &'a MigrateDetails,
}

impl<P: Platform> Pagemap<P> {
    /// Moves all pages of `bytes` (page aligned, inside one anonymous VMA) into `devmem`, which has room for them. `held` is
    /// mmap_lock of `mm`. Consumes one of the caller's references to `devmem`, whatever comes of it; the caller keeps the
    /// reservation, and another reference if it wants to look at it again.
    ///
    /// All or nothing up to the moment the pages change hands: one page that is swapped out, pinned, locked by somebody or in
    /// a stranger's memory leaves the range where it is (`EBUSY`). Holes count as collected and come out as zero pages. Pages
    /// in the memory of another GPU with the same owner are copied from there. When all pages are in this GPU's memory
    /// already, nothing happens and that is fine.
    ///
    /// The collecting sends one MIGRATE event for `bytes`, and holes a second one, both with this pagemap's owner.
    ///
    /// # Errors
    /// `ENOENT` (no VMA at the start), `EINVAL` (not inside it), `EBUSY` (VMA not anonymous), `ENOMEM`; from the collecting
    /// `EINVAL`, `EBUSY` (not everything was collected, or a part is in this memory already); from the copy `EFAULT` (a page
    /// cannot be mapped), `ENODEV`, `ENOMEM`; `EBUSY` also when a part did not move in the end ("raced"): then the other part
    /// *is* in GPU memory.
    pub fn migrate_to_devmem(
        &self,
        mm: &P::Mm,
        held: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        devmem: DevmemHandle<P>,
        bytes: Bytes,
        details: &MigrateDetails,
    ) -> Result<(), Errno> {
        // 1: the ops that could be missing are the platform's duty here.
        let (mut buffers, zdd) = match self.prepare(mm, held, devmem, bytes) {
            Ok(prepared) => prepared,
            Err(error) => {
                self.devmem_put(devmem);
                return Err(error);
            }
        };
        // 3: the zdd owns the reference to the allocation now.
        let select = MigrateSelect { system: true, device_private: true, compound: self.huge_fits(devmem, bytes) };
        let args = MigrateVma { bytes, owner: self.owner, select, fault_page: None };
        let result = self.move_in(&Move { mm, held, devmem, zdd, args, details }, &mut buffers);
        self.zdd_put(zdd);
        result
    }

    /// Step 2: what is asked before anything is done.
    fn prepare(
        &self,
        mm: &P::Mm,
        held: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        devmem: DevmemHandle<P>,
        bytes: Bytes,
    ) -> Result<(Buffers<P>, ZddHandle<P>), Errno> {
        let vma = mm.find_vma(held, bytes.start).filter(|vma| vma.bytes.contains(bytes.start)).ok_or(Errno::ENOENT)?;
        if !vma.bytes.covers(&bytes) {
            return Err(Errno::EINVAL);
        }
        if !vma.flags.anon {
            return Err(Errno::EBUSY);
        }
        let buffers = Buffers::new((bytes.len() >> PAGE_SHIFT) as usize)?;
        let zdd = self.zdd_alloc(devmem)?;
        Ok((buffers, zdd))
    }

    /// Whether a huge page of `bytes` would come to lie in the frames of `devmem` as a huge folio has to: aligned.
    fn huge_fits(&self, devmem: DevmemHandle<P>, bytes: Bytes) -> bool {
        let first = self.devmem(devmem).block().pfn;
        first.wrapping_sub(bytes.start >> PAGE_SHIFT).is_multiple_of(HUGE_PAGES as u64)
    }

    /// Steps 4 to 14.
    fn move_in(&self, call: &Move<'_, '_, P>, buffers: &mut Buffers<P>) -> Result<(), Errno> {
        let Move { mm, held, args, .. } = call;
        let npages = buffers.npages() as u64;
        // 4
        let collected = mm.migrate_vma_setup(held, args, buffers.src())?;
        // 5
        if collected == 0 {
            return Err(Errno::EBUSY);
        }
        let (own, mut result) = if collected == npages {
            let own = self.own_pages(mm, buffers.src());
            (own, self.copy_in(call, own, buffers))
        } else {
            note!(P::Kernel, "migrate_to_devmem: {collected} of {npages} pages of {} collected, given up", args.bytes);
            (0, Err(Errno::EBUSY))
        };
        let (src, dst) = buffers.both();
        // 11
        if result.is_err() {
            if P::Kernel::planted(Plant::PpcUvmemFreeUnset) {
                dst.iter().filter(|page| page.valid).for_each(|page| mm.set_zone_device_data(page.pfn, 0));
            }
            put_destinations::<P>(mm, dst);
        }
        // 12: also on the way back, where no destination means that nothing moves.
        mm.migrate_vma_pages(held, args, src, dst);
        // 13
        if result.is_ok() && moved(src) < npages - own {
            note!(P::Kernel, "migrate_to_devmem: raced, {} of {npages} pages of {} moved", moved(src), args.bytes);
            result = Err(Errno::EBUSY);
        }
        // 14
        mm.migrate_vma_finalize(held, args, src, dst);
        result
    }

    /// How many of the pages are in this memory already.
    fn own_pages(&self, mm: &P::Mm, src: &[MigratePfn]) -> u64 {
        let (mut own, mut walk) = (0, Elements(0));
        while let Some(slots) = walk.next(src) {
            if src[slots.start].valid && self.is_own(mm, src[slots.start].pfn) {
                own += slots.len() as u64;
            }
        }
        own
    }

    /// Steps 6 to 10. On an error there may be destinations.
    fn copy_in(&self, call: &Move<'_, '_, P>, own: u64, buffers: &mut Buffers<P>) -> Result<(), Errno> {
        let npages = buffers.npages();
        // 6
        if own == npages as u64 {
            note!(P::Kernel, "migrate_to_devmem: {} is there already", call.args.bytes);
            return Ok(());
        }
        if own != 0 && !call.details.can_migrate_same_pagemap {
            note!(P::Kernel, "migrate_to_devmem: {own} of {npages} pages of {} are there already", call.args.bytes);
            return Err(Errno::EBUSY);
        }
        // 7: a block is contiguous, so populate_devmem_pfn is an addition.
        let block = self.devmem(call.devmem).block();
        // 8: a run is what comes from one place; holes (9: no copy, the block is clear) go along with system memory.
        let (mut run, mut source) = (0, None);
        let mut walk = Elements(0);
        while let Some(slots) = walk.next(buffers.src()) {
            let at = slots.start;
            let page = buffers.src()[at];
            let from = self.peer(call.mm, page);
            if from != source {
                // (Before the first page, a run of nothing.)
                self.copy_run(call.mm, buffers, run..at)?;
                (run, source) = (at, from);
            }
            let (_, dst) = buffers.both();
            dst[at] = MigratePfn {
                valid: true,
                compound: page.compound,
                pfn: block.pfn + at as u64,
                ..MigratePfn::default()
            };
            if !P::Kernel::planted(Plant::PagemapPageDataBackpointer) {
                self.zdd_get(call.zdd);
            }
            let order = if page.compound { HUGE_ORDER } else { 0 };
            call.mm.zone_device_folio_init(dst[at].pfn, order, self.word_of(call.zdd));
        }
        self.copy_run(call.mm, buffers, run..npages)?;
        // 10
        self.devmem(call.devmem).start_timeslice(call.details.timeslice_ms);
        Ok(())
    }

    /// The other GPU whose memory the page is in.
    fn peer(&self, mm: &P::Mm, page: MigratePfn) -> Option<PagemapId> {
        let of = mm.device_page(page.pfn).filter(|_| page.valid)?.pagemap;
        (of != self.id).then_some(of)
    }
}

/// How many pages changed hands, holes included.
fn moved(src: &[MigratePfn]) -> u64 {
    let (mut moved, mut walk) = (0, Elements(0));
    while let Some(slots) = walk.next(src) {
        if src[slots.start].migrate {
            moved += slots.len() as u64;
        }
    }
    moved
}
