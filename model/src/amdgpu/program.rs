//! Writing GPU page tables for ranges: what every design shares. Spec amdgpu-svm 4.3, 4.5.

use super::Svm;
use super::range::Handle;
use crate::Errno;
use crate::framework::{DmaEntry, Instance, NotifierHeld};
use crate::note;
use crate::platform::{DmaAddr, Fence, Gpu, Interconnect, Kernel, Platform, PteFlags, PteUpdate};
use crate::units::{Bytes, PAGE_SHIFT, Pages};

/// DMA mappings that continue each other on the bus, not programmed yet.
#[derive(Clone, Copy)]
struct Segment {
    pages: Pages,
    addr: DmaAddr,
    proto: Interconnect,
}

impl Segment {
    /// Whether `next` goes on exactly where this ends.
    fn continues(&self, pages: Pages, next: &DmaEntry) -> bool {
        self.proto == next.proto
            && self.pages.last + 1 == pages.first
            && self.addr.0 + (self.pages.count() << PAGE_SHIFT) == next.addr.0
    }
}

impl<P: Platform> Svm<P> {
    /// `update_gpu_range`: programs the whole range from its DMA array, one update per contiguous stretch of bus
    /// addresses. NL held, RESV held, no reclaim. Returns the fence of the last update; only that one is asked to
    /// flush.
    ///
    /// # Errors
    /// `EINVAL` (no DMA array, no page), `EOPNOTSUPP` (not system memory), and those of
    /// [`Gpu::update_range`](crate::platform::Gpu::update_range). Stretches before the failing one stay programmed.
    pub(super) fn update_gpu_range(
        &self,
        held: NotifierHeld<'_>,
        handle: Handle<P>,
        flags: PteFlags,
        flush: bool,
    ) -> Result<Option<Fence>, Errno> {
        let range = self.gpusvm.range(handle).bytes().pages();
        let mut open: Option<Segment> = None;
        self.gpusvm.for_each_dma(held, handle, |index, entry| {
            let first = range.first + index;
            let pages = Pages::new(first, range.last.min(first + (1 << entry.order) - 1));
            if entry.proto != Interconnect::System {
                return Err(Errno::EOPNOTSUPP);
            }
            match &mut open {
                Some(segment) if segment.continues(pages, &entry) => segment.pages.last = pages.last,
                _ => {
                    if let Some(done) = open.take() {
                        self.program(&done, flags, false)?;
                    }
                    open = Some(Segment { pages, addr: entry.addr, proto: entry.proto });
                }
            }
            Ok(())
        })?;
        match open {
            None => Err(Errno::EINVAL),
            Some(last) => self.program(&last, flags, flush),
        }
    }

    fn program(&self, segment: &Segment, flags: PteFlags, flush: bool) -> Result<Option<Fence>, Errno> {
        self.gpu.update_range(&PteUpdate {
            unlocked: false,
            flush,
            allow_override: true,
            pages: segment.pages,
            flags,
            addr: Some(segment.addr),
        })
    }

    /// `update_gpu` as it is used: clears the PTEs of `pages` under RESV, waits, updates the directories. The TLB is
    /// the caller's. SL held, NL not.
    ///
    /// # Errors
    /// Those of the reservation and of the update.
    pub(super) fn clear_gpu(&self, pages: Pages) -> Result<(), Errno> {
        let root = self.gpu.reserve_root()?;
        let fence = self.gpu.update_range(&PteUpdate {
            unlocked: false,
            flush: true,
            allow_override: true,
            pages,
            flags: PteFlags::NONE,
            addr: None,
        })?;
        if let Some(fence) = fence {
            self.gpu.wait_fence(fence);
        }
        self.gpu.update_pdes(&root)
    }

    /// `gpu_unmap_in_notifier`: clears existing leaves of `bytes` without the root's reservation and waits for the job,
    /// uninterruptibly. Never allocates. A huge leaf is cleared whole. The TLB is the caller's. NL held.
    ///
    /// # Errors
    /// Those of the update.
    pub(super) fn gpu_unmap_unlocked(&self, _held: NotifierHeld<'_>, bytes: Bytes) -> Result<(), Errno> {
        self.zap_ptes(bytes)
    }

    /// What [`Svm::gpu_unmap_unlocked`] does, which `poc-v8` also does outside of notifiers (`range_zap_ptes`).
    ///
    /// # Errors
    /// Those of the update.
    pub(super) fn zap_ptes(&self, bytes: Bytes) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        let result = {
            let _noreclaim = P::Kernel::noreclaim();
            self.gpu.update_range(&PteUpdate {
                unlocked: true,
                flush: true,
                allow_override: false,
                pages: bytes.pages(),
                flags: PteFlags::NONE,
                addr: None,
            })
        };
        match result {
            Ok(Some(fence)) => self.gpu.wait_fence(fence),
            Ok(None) => {}
            Err(e) => {
                note!(P::Kernel, "PTE clear of {bytes} failed with {e}");
                return Err(e);
            }
        }
        Ok(())
    }
}
