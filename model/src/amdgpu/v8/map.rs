//! Mapping one range, and prefetching an interval. Spec amdgpu-svm 7.3, 7.4.

use super::super::Svm;
use super::super::pte;
use super::super::range::{Handle, SvmRange};
use super::RangeOwned;
use super::migrate::prefer_vram;
use crate::Errno;
use crate::attr::{Attrs, Flags};
use crate::framework::{Ctx, DriverLocked, Instance, NotifierHeld};
use crate::note;
use crate::platform::{Fence, Gpu, Interconnect, Kernel, Plain, Plant, Platform, PteUpdate, Shared};
use crate::units::{Bytes, Pages};

/// How `range_update_mapping` ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finish {
    /// As soon as the jobs are queued: the fault handler.
    AtOnce,
    /// After the fence, with a TLB flush: the prefetch.
    Complete,
}

impl<P: Platform> Svm<P> {
    /// `range_find_or_insert`: EPERM is taken to mean a read-only VMA, and `ctx` says so from then on. SL held.
    ///
    /// # Errors
    /// Those of the framework.
    pub(super) fn v8_find_or_insert(
        &self,
        locked: DriverLocked<'_>,
        addr: u64,
        window: Bytes,
        ctx: &mut Ctx,
    ) -> Result<Handle<P>, Errno> {
        let mut found = self.gpusvm.find_or_insert(locked, addr, window, ctx, SvmRange::new);
        if found == Err(Errno::EPERM) && !ctx.read_only {
            ctx.read_only = true;
            found = self.gpusvm.find_or_insert(locked, addr, window, ctx, SvmRange::new);
        }
        found
    }

    /// `range_get_pages`: EPERM as above; EOPNOTSUPP brings device pages back before it is reported. SL held.
    ///
    /// # Errors
    /// Those of the framework.
    pub(super) fn v8_get_pages(&self, locked: DriverLocked<'_>, handle: Handle<P>, ctx: &mut Ctx) -> Result<(), Errno> {
        let mut result = self.gpusvm.get_pages(locked, handle, ctx);
        if result == Err(Errno::EPERM) && !ctx.read_only {
            ctx.read_only = true;
            result = self.gpusvm.get_pages(locked, handle, ctx);
        }
        if result == Err(Errno::EOPNOTSUPP) {
            self.v8_range_evict(locked, handle);
        }
        result
    }

    /// `range_pages_valid`: neither flag of an unmap, and the framework has the pages mapped.
    fn v8_pages_valid(&self, held: NotifierHeld<'_>, handle: Handle<P>) -> bool {
        let flags = self.gpusvm.range(handle).flags();
        let gone = (flags.unmapped || flags.partial_unmap) && !P::Kernel::planted(Plant::UnmappedFlagUnchecked);
        !gone && self.gpusvm.pages_valid(held, handle)
    }

    /// `range_is_valid`: mapped with these attribute flags. Whether read-only or not is not compared (race R33). SL held.
    pub(super) fn v8_is_valid(&self, handle: Handle<P>, flags: Flags) -> bool {
        let _noreclaim = P::Kernel::noreclaim();
        let nl = self.gpusvm.notifier_lock();
        let driver = &self.gpusvm.range(handle).driver;
        driver.gpu_mapped.read_once()
            && driver.attr_flags.read_once() == flags
            && self.v8_pages_valid(nl.held(), handle)
    }

    /// `range_update_gpu_range`: one update for each DMA segment, with that segment's PTE flags. NL held, RESV held, no
    /// reclaim.
    ///
    /// # Errors
    /// `EINVAL` (no DMA array), `EOPNOTSUPP` (another GPU's memory), and those of the update. Segments before the failing one
    /// stay programmed.
    fn v8_update_gpu_range(
        &self,
        held: NotifierHeld<'_>,
        handle: Handle<P>,
        flags: Flags,
        read_only: bool,
        finish: Finish,
    ) -> Result<Option<Fence>, Errno> {
        let range = self.gpusvm.range(handle).bytes().pages();
        let gpu = self.gpu.properties();
        let mut fence = None;
        self.gpusvm.for_each_dma(held, handle, |index, entry| {
            let first = range.first + index;
            let pages = Pages::new(first, range.last.min(first + (1 << entry.order) - 1));
            if entry.proto == Interconnect::PeerVram {
                return Err(Errno::EOPNOTSUPP);
            }
            let last = finish == Finish::Complete && pages.last == range.last;
            let done = self.gpu.update_range(&PteUpdate {
                unlocked: false,
                flush: last,
                allow_override: true,
                pages,
                flags: pte::segment_pte_flags(&gpu, flags, read_only, entry.proto),
                addr: Some(entry.addr),
            })?;
            if last {
                fence = done;
            }
            Ok(())
        })?;
        Ok(fence)
    }

    /// `range_update_mapping`. SL held.
    ///
    /// # Errors
    /// `EAGAIN`: invalidated since the pages were collected. Those of the reservation and of the updates.
    pub(super) fn v8_update_mapping(
        &self,
        _locked: DriverLocked<'_>,
        handle: Handle<P>,
        flags: Flags,
        read_only: bool,
        finish: Finish,
    ) -> Result<(), Errno> {
        let range = self.gpusvm.range(handle);
        let root = self.gpu.reserve_root()?;
        let noreclaim = (!P::Kernel::planted(Plant::SkipNoReclaim)).then(P::Kernel::noreclaim);
        let nl = self.gpusvm.notifier_lock();
        let result = if !P::Kernel::planted(Plant::SkipPagesValid) && !self.v8_pages_valid(nl.held(), handle) {
            range.driver.gpu_mapped.write_once(false);
            note!(P::Kernel, "range {}: pages invalidated since they were collected: EAGAIN", range.bytes());
            Err(Errno::EAGAIN)
        } else {
            self.v8_update_gpu_range(nl.held(), handle, flags, read_only, finish)
        };
        drop(nl);
        drop(noreclaim);
        if let Some(fence) = result? {
            self.gpu.wait_fence(fence);
        }
        self.gpu.update_pdes(&root)?;
        if finish == Finish::Complete {
            self.gpu.flush_tlb();
        }
        // A notifier that came in between has seen a range that is not mapped (race R25).
        range.driver.attr_flags.write_once(flags);
        range.driver.gpu_mapped.write_once(true);
        range.driver.v8_owned.set(RangeOwned { validated_ms: Some(P::Kernel::now_ms()) });
        note!(P::Kernel, "range {}: gpu_mapped{}", range.bytes(), if read_only { ", read-only" } else { "" });
        drop(root);
        Ok(())
    }

    /// `range_map_attrs`: the prefetch. Maps every range that holds a byte of `bytes`, whole; nobody asks for access. SL
    /// held.
    ///
    /// # Errors
    /// Those of its steps. The first error ends it; ranges before stay mapped.
    pub(super) fn v8_map_attrs(&self, locked: DriverLocked<'_>, bytes: Bytes, attrs: &Attrs) -> Result<(), Errno> {
        let mut ctx = self.v8_ctx(attrs);
        let vram = self.v8_devmem_possible() && prefer_vram(attrs);
        let mut addr = bytes.start;
        while addr < bytes.end {
            // The read-only fallback holds for one range.
            ctx.read_only = attrs.flags.has(Flags::GPU_RO);
            let handle = self.v8_find_or_insert(locked, addr, Bytes::new(addr, bytes.end), &mut ctx)?;
            let next = self.gpusvm.range(handle).bytes().end;
            if next <= addr {
                return Err(Errno::EINVAL);
            }
            if vram || !self.v8_is_valid(handle, attrs.flags) {
                if vram {
                    self.v8_migrate_to_vram(locked, handle, ctx.timeslice_ms)?;
                }
                self.v8_get_pages(locked, handle, &mut ctx)?;
                self.v8_update_mapping(locked, handle, attrs.flags, ctx.read_only, Finish::Complete)?;
            }
            addr = next;
        }
        Ok(())
    }
}
