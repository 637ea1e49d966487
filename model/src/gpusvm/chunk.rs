//! Which chunk size a new range gets: `drm_gpusvm_range_chunk_size` and `drm_gpusvm_check_pages`.
//!
//! A range is an aligned block around the faulting address, of the largest size that fits the VMA, the notifier and the
//! driver's window, overlaps no range that is there, and (for small sizes, if asked) holds only pages the CPU has. It
//! is chosen once: ranges never grow, shrink, split or merge. Spec drm-gpusvm 7.

use super::pages::pfn_order;
use super::{GpuSvm, HMM_TIMEOUT_MS, Ported};
use crate::Errno;
use crate::framework::{ChunkSizes, Ctx, NotifierHandle};
use crate::note;
use crate::platform::{HmmPfn, HmmRange, HmmRequest, Kernel, Mm, Owner, Vma};
use crate::units::{Bytes, PAGE_SHIFT, PAGE_SIZE};

/// The `size`-aligned block of `size` bytes that holds `addr`; None where its end has no address. `size` is a power of
/// two.
pub fn aligned_block(addr: u64, size: u64) -> Option<Bytes> {
    let start = addr & !(size - 1);
    start.checked_add(size).map(|end| Bytes::new(start, end))
}

/// The choice itself, over what the caller knows: the block must lie inside all of `bounds`; a block of more than a
/// page must satisfy `free` (no range overlaps it) and then, when its size is at most `threshold`, `populated`. Both
/// are asked only about blocks that passed everything before, in this order.
pub fn choose(
    sizes: &ChunkSizes,
    fault: u64,
    bounds: &[Bytes],
    threshold: u64,
    mut free: impl FnMut(Bytes) -> bool,
    mut populated: impl FnMut(Bytes) -> bool,
) -> Option<Bytes> {
    sizes.as_slice().iter().filter_map(|&size| aligned_block(fault, size)).find(|block| {
        bounds.iter().all(|bound| bound.covers(block))
            // A page overlaps nothing: the lookup of the fault address found no range.
            && (block.len() == PAGE_SIZE || (free(*block) && (block.len() > threshold || populated(*block))))
    })
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// The interval of a new range around `fault`. mmap_lock is held for read, and the driver lock.
    /// None when nothing fits (`EINVAL` for the caller).
    pub(super) fn choose_chunk(
        &self,
        mmap: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        notifier: NotifierHandle<P, R>,
        vma: &Vma,
        fault: u64,
        window: Bytes,
        ctx: &Ctx,
    ) -> Option<Bytes> {
        let bounds = [vma.bytes, self.notifier(notifier).bytes(), window];
        let ranges = &self.notifier(notifier).ranges;
        choose(
            &self.config.chunk_sizes,
            fault,
            &bounds,
            ctx.check_pages_threshold,
            |block| ranges.first_overlap(&self.ranges, block.start, block.end - 1).is_none(),
            |block| self.check_pages(mmap, notifier, block, ctx.owner),
        )
    }

    /// `drm_gpusvm_check_pages`: whether the CPU has every page of `bytes`: in system memory, the zero page included, or
    /// in device memory of `owner`. Anything that goes wrong, running out of memory or of time included, is a no.
    ///
    /// mmap_lock stays held for read while this waits for invalidations in `read_begin`, as in the kernel.
    fn check_pages(
        &self,
        mmap: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        notifier: NotifierHandle<P, R>,
        bytes: Bytes,
        owner: Owner,
    ) -> bool {
        let deadline = P::Kernel::now_ms() + HMM_TIMEOUT_MS;
        let npages = (bytes.len() >> PAGE_SHIFT) as usize;
        let Ok(mut pfns) = P::Kernel::alloc_array(npages, HmmPfn::default()) else {
            return false;
        };
        let sub = self.notifier(notifier).sub();
        let seq = self.mm.read_begin(sub);
        let range =
            HmmRange { notifier: sub, notifier_seq: seq, start: bytes.start, request: HmmRequest::Snapshot, owner };
        if self.snapshot(mmap, range, &mut pfns, deadline).is_err() {
            return false;
        }
        let mut i = 0;
        while i < npages {
            if !pfns[i].valid {
                note!(P::Kernel, "check_pages: the CPU has not all of {bytes}, a smaller chunk");
                return false;
            }
            i += 1 << pfn_order(&pfns[i], i, npages);
        }
        true
    }

    /// A walk until no invalidation collides with it, or `deadline` (milliseconds) has passed; `range` says what the first
    /// attempt is checked against. Returns the sequence number of the attempt that worked out.
    ///
    /// # Errors
    /// `EBUSY` (out of time), and what `hmm_range_fault` says.
    pub(super) fn snapshot(
        &self,
        mmap: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        mut range: HmmRange<<P::Mm as Mm<P::Kernel>>::Sub>,
        pfns: &mut [HmmPfn],
        deadline: u64,
    ) -> Result<u64, Errno> {
        loop {
            match self.mm.hmm_range_fault(mmap, &range, pfns) {
                Ok(()) => return Ok(range.notifier_seq),
                Err(Errno::EBUSY) if P::Kernel::now_ms() <= deadline => {
                    P::Kernel::retry_point("a look at the pages: hmm_range_fault says EBUSY");
                    range.notifier_seq = self.mm.read_begin(range.notifier);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
