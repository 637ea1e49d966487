//! Collecting the pages of a range and mapping them on GPUs, against concurrent invalidations.
//!
//! Answers to `svm_range_validate_and_map`, `svm_range_map_to_gpus`, `_map_to_gpu`, `amdgpu_hmm_range_get_pages`. Spec
//! kfd-svm 9; the step numbers are the spec's.

use super::Svms;
use super::dma::DmaSlot;
use super::gpus::{GpuSet, MAX_GPUS};
use super::locks::SvmsLocked;
use super::mmap::Mmap;
use super::pte::{VramOf, svm_pte_flags};
use super::range::{Handle, Range};
use crate::Errno;
use crate::attr::Flags;
use crate::note;
use crate::platform::{
    DmaAddr, Fence, Gpu, HmmPfn, HmmRange, HmmRequest, KArray, Kernel, Mm, Objects, Owner, Plain, Plant, Platform,
    PteUpdate, Shared,
};
use crate::units::{Bytes, PAGE_SHIFT, Pages};

/// How much is asked of `hmm_range_fault` at once, in bytes (`MAX_WALK_BYTE`).
const MAX_WALK_BYTES: u64 = 2 << 30;

type Root<'a, P> = <<P as Platform>::Gpu as Gpu<<P as Platform>::Kernel, <P as Platform>::Mm>>::RootReserved<'a>;
/// RESV, by GPU.
type Roots<'a, P> = [Option<Root<'a, P>>; MAX_GPUS];

/// What stays the same over the pieces of one call.
struct Call<'a, 'r, P: Platform> {
    range: &'a Range<P>,
    map: Pages,
    gpus: GpuSet,
    owner: Owner,
    roots: &'a Roots<'r, P>,
    wait: bool,
    flush_tlb: bool,
}

impl<P: Platform> Svms<P> {
    /// `svm_range_validate_and_map`: the pages `map` of the range are on the GPUs afterwards: on `gpu`, or on all that the
    /// attributes ask for. MM, SV and MG are held. Takes RESV, and PR inside it, once for every VMA.
    ///
    /// # Errors
    /// `EAGAIN` (an invalidation or a split got in the way: nothing is tried again here), `EFAULT`, `EPERM`, `ENOMEM`,
    /// `EINVAL`, and those of the update. Pieces before the failing one stay mapped.
    #[allow(clippy::too_many_arguments)] // the kernel's, less the address space
    pub(super) fn validate_and_map(
        &self,
        _svms: &SvmsLocked<'_, P>,
        mmap: Mmap<'_, '_, P>,
        handle: Handle<P>,
        map: Pages,
        gpu: Option<usize>,
        wait: bool,
        flush_tlb: bool,
    ) -> Result<(), Errno> {
        let range = self.range(handle);
        // 1.
        let gpus = self.gpus_to_map(range, gpu)?;
        if gpus.is_empty() {
            return Ok(());
        }
        if range.actual_loc.read_once() != 0 && !range.bo.read_once().has_res {
            P::Kernel::warn(format_args!("VRAM BO missing during validation of {}", range.pages()));
            return Err(Errno::EINVAL);
        }
        // 2.
        let roots = self.reserve_roots(gpus)?;
        // 3.
        let owner = self.common_owner(gpus);
        let call = Call { range, map, gpus, owner, roots: &roots, wait, flush_tlb };
        // 4.
        let bytes = map.bytes();
        let mut addr = bytes.start;
        while addr < bytes.end {
            let vma = self.vma_lookup(mmap, addr).ok_or(Errno::EFAULT)?;
            let next = vma.bytes.end.min(bytes.end);
            if vma.flags.read {
                self.map_piece(&call, mmap, Bytes::new(addr, next), !vma.flags.write)?;
            } else {
                self.unmap_unreadable(range, addr, next)?;
            }
            addr = next;
        }
        // 7.
        range.validate_timestamp.set(Some(P::Kernel::now_ms()));
        Ok(())
    }

    fn gpus_to_map(&self, range: &Range<P>, gpu: Option<usize>) -> Result<GpuSet, Errno> {
        if let Some(gpu) = gpu {
            return Ok(GpuSet::one(gpu));
        }
        let attrs = range.attrs.read_once();
        if !self.config.xnack {
            return Ok(attrs.accessible());
        }
        let mut gpus = attrs.aip;
        let actual_loc = range.actual_loc.read_once();
        if actual_loc != 0 {
            let Some(index) = self.gpu_index(actual_loc) else {
                P::Kernel::warn(format_args!("no GPU has the id {actual_loc:#x}"));
                return Err(Errno::EINVAL);
            };
            if attrs.access.has(index) {
                gpus = gpus.with(index);
            }
        }
        if gpus.is_empty() && (range.mapped_to_gpu.read_once() || attrs.flags.has(Flags::GPU_ALWAYS_MAPPED)) {
            gpus = attrs.access;
        }
        Ok(gpus)
    }

    fn reserve_roots(&self, gpus: GpuSet) -> Result<Roots<'_, P>, Errno> {
        let mut roots = [const { None }; MAX_GPUS];
        for (nth, (index, gpu)) in self.gpus_of(gpus).enumerate() {
            roots[index] = Some(gpu.reserve_root_after(nth as u8)?);
        }
        Ok(roots)
    }

    /// The pagemap owner that all of them share; else nobody's, which brings everything to RAM.
    fn common_owner(&self, gpus: GpuSet) -> Owner {
        let mut owners = gpus.iter().map(|gpu| self.owner(gpu));
        let first = owners.next().filter(|_| !P::Kernel::planted(Plant::HmmDeviceOwnerMissing)).unwrap_or(Owner::NONE);
        if owners.all(|other| other == first) { first } else { Owner::NONE }
    }

    /// The clip compares bytes with pages, as in the original, and so finds nothing to unmap.
    fn unmap_unreadable(&self, range: &Range<P>, addr: u64, next: u64) -> Result<(), Errno> {
        let _locked = range.lock();
        let own = range.pages();
        let part = Pages::new(addr.max(own.first), next.min(own.last));
        if part.is_empty() { Ok(()) } else { self.unmap_from_gpus(range, part) }
    }

    /// Steps 4 to 6 for what one VMA has of it.
    fn map_piece(
        &self,
        call: &Call<'_, '_, P>,
        mmap: Mmap<'_, '_, P>,
        piece: Bytes,
        read_only: bool,
    ) -> Result<(), Errno> {
        let range = call.range;
        let Some((sub, _)) = range.notifier.get() else { return Err(Errno::EFAULT) };
        // 4.
        self.faulting_task.write_once(P::Kernel::current_task());
        let collected = self.get_pages(mmap, sub, piece, read_only, call.owner);
        if !P::Kernel::planted(Plant::UvmIgnoreOwnInvalidations) {
            self.faulting_task.write_once(0);
        }
        let (pfns, seq) = collected.map_err(|error| if error == Errno::EBUSY { Errno::EAGAIN } else { error })?;
        // 5. The bounds may be others by now, and the arrays as well.
        let first = piece.start >> PAGE_SHIFT;
        let mapped = match first.checked_sub(range.pages().first) {
            Some(offset) => self.dma_map(range, call.gpus, offset, &pfns),
            None => Err(Errno::EAGAIN),
        };
        // 6.
        let _locked = range.lock();
        mapped?;
        if !P::Kernel::planted(Plant::SkipReadRetry) && self.mm.read_retry(sub, seq) {
            let own = range.pages();
            note!(P::Kernel, "{own} was invalidated meanwhile");
            return Err(Errno::EAGAIN);
        }
        if !range.children.read_once().is_empty() {
            let own = range.pages();
            note!(P::Kernel, "{own} was split meanwhile");
            return Err(Errno::EAGAIN);
        }
        let pages = piece.pages().clip(&call.map).clip(&range.pages());
        if !pages.is_empty() {
            self.map_to_gpus(call, pages, read_only)?;
        }
        if piece.end == call.map.bytes().end {
            range.mapped_to_gpu.write_once(true);
        }
        Ok(())
    }

    /// `amdgpu_hmm_range_get_pages`: once, in steps; and the sequence of the last step.
    #[allow(clippy::type_complexity)] // an array and a number
    fn get_pages(
        &self,
        mmap: Mmap<'_, '_, P>,
        sub: super::mmap::Sub<P>,
        piece: Bytes,
        read_only: bool,
        owner: Owner,
    ) -> Result<(KArray<P, HmmPfn>, u64), Errno> {
        let mut pfns = P::Kernel::alloc_array(piece.pages().count() as usize, HmmPfn::default())?;
        let request = if read_only { HmmRequest::Read } else { HmmRequest::Write };
        let (mut start, mut seq) = (piece.start, 0);
        while start < piece.end {
            let end = piece.end.min(start.saturating_add(MAX_WALK_BYTES));
            seq = self.mm.read_begin(sub);
            let slots = (start - piece.start) >> PAGE_SHIFT..(end - piece.start) >> PAGE_SHIFT;
            let slots = slots.start as usize..slots.end as usize;
            let asked = HmmRange { notifier: sub, notifier_seq: seq, start, request, owner };
            self.hmm_range_fault(mmap, &asked, &mut pfns[slots])?;
            if P::Kernel::planted(Plant::ReadBeginLate) {
                seq = self.mm.read_begin(sub);
            }
            start = end;
        }
        Ok((pfns, seq))
    }

    /// `svm_range_map_to_gpus`. PR is held. While the range has VRAM, GPUs that are not linked to it get nothing.
    fn map_to_gpus(&self, call: &Call<'_, '_, P>, pages: Pages, read_only: bool) -> Result<(), Errno> {
        let bo = call.range.bo.read_once();
        let of_bo = bo.bo.filter(|_| bo.has_res).map(|bo| self.bos.get(bo).gpu());
        for (index, gpu) in self.gpus_of(call.gpus) {
            if of_bo.is_some_and(|of_bo| !self.same_hive(index, of_bo)) {
                note!(P::Kernel, "GPU {index} is not linked to the VRAM of {pages}");
                continue;
            }
            let fence = self.map_to_gpu(call, index, gpu, pages, read_only, of_bo)?;
            if let Some(fence) = fence.filter(|_| call.wait) {
                gpu.wait_fence(fence);
            }
            gpu.flush_tlb();
        }
        Ok(())
    }

    /// `svm_range_map_to_gpu`: one update for every run of pages of one domain whose bus addresses follow each other.
    fn map_to_gpu(
        &self,
        call: &Call<'_, '_, P>,
        index: usize,
        gpu: &P::Gpu,
        pages: Pages,
        read_only: bool,
        of_bo: Option<usize>,
    ) -> Result<Option<Fence>, Errno> {
        let (range, properties) = (call.range, gpu.properties());
        let (start, flags) = (range.pages().first, range.attrs.read_once().flags);
        let vram_of = match of_bo {
            Some(of_bo) if of_bo == index => VramOf::Own,
            Some(of_bo) if self.same_hive(index, of_bo) => VramOf::SameHive,
            _ => VramOf::Foreign,
        };
        let (mut page, mut last) = (pages.first, None);
        while page <= pages.last {
            let Some((vram, addr)) = bus(range.slot(index, (page - start) as usize)) else {
                return Err(Errno::EINVAL);
            };
            let mut run = Pages::new(page, page);
            while run.last < pages.last {
                let follows = DmaAddr(addr.0 + (run.count() << PAGE_SHIFT));
                if bus(range.slot(index, (run.last + 1 - start) as usize)) != Some((vram, follows)) {
                    break;
                }
                run.last += 1;
            }
            last = gpu.update_range(&PteUpdate {
                unlocked: false,
                flush: call.flush_tlb,
                allow_override: true,
                pages: run,
                flags: svm_pte_flags(
                    &properties,
                    flags,
                    vram.then_some(vram_of),
                    read_only && !P::Kernel::planted(Plant::XeFlagsMaskGarbage),
                ),
                addr: Some(addr),
            })?;
            page = run.last + 1;
        }
        let Some(root) = &call.roots[index] else { return Err(Errno::EINVAL) };
        gpu.update_pdes(root)?;
        Ok(last)
    }
}

/// Domain and bus address.
fn bus(slot: DmaSlot) -> Option<(bool, DmaAddr)> {
    match slot {
        DmaSlot::None => None,
        DmaSlot::System(addr) => Some((false, addr)),
        DmaSlot::Vram(addr, _) => Some((true, addr)),
    }
}
