//! `drm_gpusvm_get_pages`: collects the pages of a range with `hmm_range_fault` and DMA maps them, against concurrent
//! invalidations. Spec drm-gpusvm 9; the step names R1..R8, M1..M8 are the spec's.
//!
//! The protocol: remember the notifier's sequence number, look at the CPU page tables without any lock of ours, then
//! compare the number under the notifier lock. If it has not moved, no callback ran since, and none can run before the
//! mapping is published in the flag word; a later one will see the mapping and take it down.

use super::pages::{ZEROED, pfn_order};
use super::{GpuSvm, HMM_TIMEOUT_MS, Ported};
use crate::Errno;
use crate::framework::{Ctx, DmaEntry, DriverLocked, NotifierHeld, RangeFlags, RangeHandle};
use crate::note;
use crate::pagemap::same_zdd;
use crate::platform::{
    DeviceMemory, DevicePage, DmaAddr, DmaDirection, Gpu, HmmPfn, HmmRange, HmmRequest, Interconnect, KArray, Kernel,
    Mm, PagemapId, Plain, Plant, Shared, Vram,
};

/// How one pass ended.
enum Pass {
    /// The range is mapped, and was so at this sequence number.
    Mapped(u64),
    /// Start over, and why.
    Again(&'static str),
}

/// What the page loop remembers of the device pages it met.
#[derive(Default)]
struct Seen {
    /// The pagemap of all of them.
    pagemap: Option<PagemapId>,
    /// The word of the last one, in that pagemap.
    word: Option<u64>,
}

/// What stays the same over all passes of one call.
struct Call<'a> {
    ctx: &'a Ctx,
    request: HmmRequest,
    direction: DmaDirection,
    /// Milliseconds; the last one that is still in time.
    deadline: u64,
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// `drm_gpusvm_range_get_pages`: afterwards all pages of `range` are DMA mapped, or were a moment ago: only
    /// [`pages_valid`](Self::pages_valid) under NL says whether they still are.
    ///
    /// Takes, one after the other, mmap_lock for read and NL for read; allocates with neither held; waits for running
    /// invalidations. Faults pages in, for write unless `ctx.read_only`, and is not told whether a page came out
    /// writable: the right to write is the driver's to know. All or nothing: what it mapped before an error is
    /// unmapped. Two calls on one range at a time are not supported, hence the driver lock.
    ///
    /// Device pages of `ctx.owner` are mapped where they are; all others come back to system memory first, which is
    /// [`Pagemap::migrate_to_ram`](crate::pagemap::Pagemap::migrate_to_ram) in the middle of the walk.
    ///
    /// # Errors
    /// `EBUSY` (invalidations got in the way for a second), `EFAULT` (`unmapped`, hole, no access, the process is gone,
    /// mapping failed, a system page though `ctx.devmem_only`), `EPERM` (a VMA of the range is not writable), `ENOMEM`,
    /// `EOPNOTSUPP` (device memory and system memory, or device memory of two migrations, and not `ctx.allow_mixed`; device
    /// memory of two GPUs).
    pub fn get_pages(&self, _locked: DriverLocked<'_>, range: RangeHandle<P, R>, ctx: &Ctx) -> Result<(), Errno> {
        let (request, direction) = match ctx.read_only {
            true => (HmmRequest::Read, DmaDirection::ToDevice),
            false => (HmmRequest::Write, DmaDirection::Bidirectional),
        };
        let call = Call { ctx, request, direction, deadline: P::Kernel::now_ms() + HMM_TIMEOUT_MS };
        loop {
            match self.get_pages_once(range, &call) {
                Ok(Pass::Mapped(seq)) => {
                    // After a shortcut (R3) this may be newer than what the mapping was checked against.
                    self.range(range).base().pages.notifier_seq.set(seq);
                    return Ok(());
                }
                Ok(Pass::Again(why)) => P::Kernel::retry_point(why),
                Err(error) => {
                    note!(P::Kernel, "get_pages: range {} gives {error}", self.range(range).bytes());
                    return Err(error);
                }
            }
        }
    }

    /// From `retry:` to the end or the next `goto retry`.
    fn get_pages_once(&self, range: RangeHandle<P, R>, call: &Call<'_>) -> Result<Pass, Errno> {
        // R1
        if P::Kernel::now_ms() > call.deadline {
            return Err(Errno::EBUSY);
        }
        // R2: sleeps while this notifier is being invalidated.
        let sub = self.notifier(self.range(range).base().notifier).sub();
        let seq = self.mm.read_begin(sub);
        // R3: no page table is looked at. An invalidation from here on is caught by whoever commits.
        if self.pages_valid_unlocked(range) {
            note!(P::Kernel, "get_pages: range {} is still mapped", self.range(range).bytes());
            return Ok(Pass::Mapped(seq));
        }
        // R4
        let npages = self.range(range).npages();
        let mut pfns = P::Kernel::alloc_array(npages, HmmPfn::default())?;
        // R5 to R7. R8 would reset the IOVA state, which does not exist here.
        if !self.mm.mmget_not_zero() {
            return Err(Errno::EFAULT);
        }
        let walked = self.fault_in(range, call, seq, &mut pfns);
        if P::Kernel::planted(Plant::XeHmmTouchPagesUnlocked) && walked.is_ok() {
            // As who marks "its" pages dirty does.
            for pfn in pfns.iter() {
                let addr = self.gpu.dma_map(pfn.pfn, 0, call.direction)?;
                self.gpu.dma_unmap(addr, 0, call.direction);
            }
        }
        self.mm.mmput();
        self.map_pages(range, call, walked?, &pfns)
    }

    /// R6: `hmm_range_fault` until no invalidation collides, or time is up. The address space is kept alive by the
    /// caller. Returns the sequence number under which the walk ran.
    fn fault_in(
        &self,
        range: RangeHandle<P, R>,
        call: &Call<'_>,
        mut seq: u64,
        pfns: &mut KArray<P, HmmPfn>,
    ) -> Result<u64, Errno> {
        let bytes = self.range(range).bytes();
        let sub = self.notifier(self.range(range).base().notifier).sub();
        loop {
            let mmap = self.mm.mmap_read_lock();
            let walked = self.mm.hmm_range_fault(
                &mmap,
                &HmmRange {
                    notifier: sub,
                    notifier_seq: seq,
                    start: bytes.start,
                    request: call.request,
                    owner: call.ctx.owner,
                },
                pfns,
            );
            drop(mmap);
            match walked {
                Err(Errno::EBUSY) if P::Kernel::now_ms() <= call.deadline => {
                    note!(P::Kernel, "get_pages: an invalidation collides with the walk over {bytes}, again");
                    P::Kernel::retry_point("get_pages: hmm_range_fault says EBUSY");
                    if !P::Kernel::planted(Plant::BusyNoNewSeq) {
                        seq = self.mm.read_begin(sub);
                    }
                }
                Ok(()) if P::Kernel::planted(Plant::ReadBeginLate) => return Ok(self.mm.read_begin(sub)),
                other => return other.map(|()| seq),
            }
        }
    }

    /// M1 to M8, from `map:`.
    fn map_pages(
        &self,
        range: RangeHandle<P, R>,
        call: &Call<'_>,
        seq: u64,
        pfns: &KArray<P, HmmPfn>,
    ) -> Result<Pass, Errno> {
        let bytes = self.range(range).bytes();
        let sub = self.notifier(self.range(range).base().notifier).sub();
        loop {
            // M1
            let nl = self.notifier_lock();
            // M2: before the sequence, so that a dead range is not retried for a second.
            let flags = self.range(range).base().pages.flags.read_once();
            if flags.unmapped && !P::Kernel::planted(Plant::UnmappedFlagUnchecked) {
                note!(P::Kernel, "get_pages: range {bytes} was unmapped meanwhile");
                return Err(Errno::EFAULT);
            }
            // M3
            if !P::Kernel::planted(Plant::SkipReadRetry) && self.mm.read_retry(sub, seq) {
                note!(P::Kernel, "get_pages: the sequence of range {bytes} moved, again");
                return Ok(Pass::Again("get_pages: the sequence moved"));
            }
            // M4: nothing may be allocated under NL, so drop it, and look at everything again.
            if self.range(range).base().pages.dma_addr.with(Option::is_none) {
                drop(nl);
                let array = P::Kernel::alloc_array(pfns.len(), ZEROED)?;
                self.range(range).base().pages.dma_addr.set(Some(array));
                continue;
            }
            // M5, M7. (M6 would sync the IOVA.)
            return match self.dma_map_pages(nl.held(), range, call, pfns, flags) {
                Ok(flags) => {
                    // M8
                    self.range(range).base().pages.flags.write_once(flags);
                    drop(nl);
                    note!(P::Kernel, "get_pages: range {bytes} DMA mapped");
                    Ok(Pass::Mapped(seq))
                }
                // What device pages answer when their allocation went away.
                Err(Errno::EAGAIN) => Ok(Pass::Again("get_pages: device pages went away")),
                Err(error) => Err(error),
            };
        }
    }

    /// M5: maps page by page, or rather CPU mapping by CPU mapping. Returns the flag word to publish. On an error
    /// everything mapped so far is unmapped again.
    fn dma_map_pages(
        &self,
        held: NotifierHeld<'_>,
        range: RangeHandle<P, R>,
        call: &Call<'_>,
        pfns: &KArray<P, HmmPfn>,
        mut flags: RangeFlags,
    ) -> Result<RangeFlags, Errno> {
        let npages = pfns.len();
        let (mut page, mut slot) = (0, 0);
        let mut seen = Seen::default();
        while page < npages {
            let order = pfn_order(&pfns[page], page, npages);
            let mapped = match self.mm.device_page(pfns[page].pfn) {
                Some(device) => self.map_device(range, call, &mut seen, device, page, pfns[page].pfn, order),
                None => self.map_system(call, &seen, pfns[page].pfn, order),
            };
            let (addr, proto) = match mapped {
                Ok(mapped) => mapped,
                Err(error) => {
                    self.undo_map(held, range, page);
                    return Err(error);
                }
            };
            let entry = DmaEntry { addr, order, proto, direction: call.direction };
            self.range(range).base().pages.dma_addr.with_mut(|array| {
                if let Some(array) = array {
                    array[slot] = entry;
                }
            });
            page += 1 << order;
            slot += 1;
            flags.has_dma_mapping = true;
        }
        // M7
        flags.has_devmem_pages |= seen.pagemap.is_some();
        Ok(flags)
    }

    /// M5 of a device page. Unless the caller allows a mixture, all pages must come from the first one's migration; device
    /// pages of two GPUs never mix.
    #[allow(clippy::too_many_arguments)] // the loop's state; called once
    fn map_device(
        &self,
        range: RangeHandle<P, R>,
        call: &Call<'_>,
        seen: &mut Seen,
        device: DevicePage,
        page: usize,
        pfn: u64,
        order: u8,
    ) -> Result<(DmaAddr, Interconnect), Errno> {
        let word = self.mm.zone_device_data(pfn);
        // Words of two pagemaps mean nothing to each other; those are told apart below, and with the same outcome.
        let same = seen.word.is_some_and(|last| same_zdd(last, word));
        if !call.ctx.allow_mixed && page > 0 && !same {
            return Err(Errno::EOPNOTSUPP);
        }
        seen.word = Some(word);
        match seen.pagemap {
            None => {
                seen.pagemap = Some(device.pagemap);
                // At once, so that the unmapping after an error knows it. (The kernel goes through the allocation for it,
                // warns and says EAGAIN when that has none.)
                self.range(range).base().pages.dpagemap.set(seen.pagemap);
            }
            Some(first) if first != device.pagemap => return Err(Errno::EOPNOTSUPP),
            Some(_) => (),
        }
        self.gpu.device_map(pfn, order).map_err(|_| Errno::EFAULT)
    }

    /// M5 of a page of system memory.
    fn map_system(&self, call: &Call<'_>, seen: &Seen, pfn: u64, order: u8) -> Result<(DmaAddr, Interconnect), Errno> {
        if seen.pagemap.is_some() && !call.ctx.allow_mixed {
            return Err(Errno::EOPNOTSUPP);
        }
        if call.ctx.devmem_only {
            return Err(Errno::EFAULT);
        }
        Ok((self.gpu.dma_map(pfn, order, call.direction)?, Interconnect::System))
    }

    /// The `UNMAP` label: the first `mapped` pages go. The flag is set for a moment, even over nothing, because the
    /// unmapping does nothing without it.
    fn undo_map(&self, held: NotifierHeld<'_>, range: RangeHandle<P, R>, mapped: usize) {
        let flags = &self.range(range).base().pages.flags;
        if !P::Kernel::planted(Plant::GpusvmErrorPathSkipsUnmap) {
            flags.write_once(RangeFlags { has_dma_mapping: true, ..flags.read_once() });
        }
        self.unmap_locked(held, range, mapped);
    }
}
