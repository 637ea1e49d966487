//! Mapping, and removing what stands in the way. Spec amdgpu-svm 4.3, 4.5.

use super::super::Svm;
use super::super::range::{Handle, SvmRange};
use crate::Errno;
use crate::attr::{Attrs, Flags};
use crate::framework::{Ctx, DriverLocked, Instance, NotifierHeld, TreeAccess};
use crate::note;
use crate::platform::{Fence, Gpu, Kernel, Plant, Platform, PteFlags, Shared};
use crate::units::{Bytes, Pages};

impl<P: Platform> Svm<P> {
    /// `pages_valid` of the driver: neither flag of an unmap, and the framework has the pages mapped.
    fn poc_pages_valid(&self, held: NotifierHeld<'_>, handle: Handle<P>) -> bool {
        let flags = self.gpusvm.range(handle).flags();
        let gone = (flags.unmapped || flags.partial_unmap) && !P::Kernel::planted(Plant::UnmappedFlagUnchecked);
        !gone && self.gpusvm.pages_valid(held, handle)
    }

    /// Whether the range says it is mapped this way already (step 5; unlocked reads).
    fn mapped_as(&self, handle: Handle<P>, want: PteFlags, attrs: &Attrs) -> bool {
        let driver = &self.gpusvm.range(handle).driver;
        driver.gpu_mapped.read_once()
            && driver.pte_flags.read_once() == want
            && driver.attr_flags.read_once() == attrs.flags
    }

    /// `range_map(start, end, attrs, ctx, pte_flags)`: maps every range that holds a byte of `bytes`, whole.
    ///
    /// # Errors
    /// Spec amdgpu-svm 1.4. The first error ends it; ranges before stay mapped.
    fn range_map(
        &self,
        locked: DriverLocked<'_>,
        bytes: Bytes,
        attrs: &Attrs,
        ctx: &Ctx,
        pte_flags: PteFlags,
    ) -> Result<(), Errno> {
        let mut addr = bytes.start;
        while addr < bytes.end {
            // 1. The VMA may be another one as soon as this returns (race R15).
            let vma_start = self.gpusvm.find_vma_start(Bytes::new(addr, bytes.end)).unwrap_or(u64::MAX);
            if vma_start > addr {
                return Err(Errno::EFAULT);
            }
            // 2. The read-only fallback holds for one range.
            let mut ctx = *ctx;
            // 3. The window reaches left of addr, down to the VMA's start (race R19).
            let window = Bytes::new(vma_start, bytes.end);
            let mut found = self.gpusvm.find_or_insert(locked, addr, window, &ctx, SvmRange::new);
            if found == Err(Errno::EPERM) && !ctx.read_only {
                ctx.read_only = true;
                found = self.gpusvm.find_or_insert(locked, addr, window, &ctx, SvmRange::new);
            }
            let handle = found?;
            // 4.
            let next = self.gpusvm.range(handle).bytes().end;
            if next <= addr {
                return Err(Errno::EINVAL);
            }
            // 5.
            let want = if ctx.read_only { pte_flags.without(PteFlags::WRITEABLE) } else { pte_flags };
            let skip = self.mapped_as(handle, want, attrs);
            // 6.
            if !skip {
                self.gpusvm.get_pages(locked, handle, &ctx)?;
            }
            self.map_one(handle, attrs, want, skip)?;
            addr = next;
        }
        Ok(())
    }

    /// Steps 7 to 11 of `range_map`: programs one range whose pages were collected.
    fn map_one(&self, handle: Handle<P>, attrs: &Attrs, want: PteFlags, skip: bool) -> Result<(), Errno> {
        let range = self.gpusvm.range(handle);
        // 7.
        let root = self.gpu.reserve_root()?;
        // 8.
        let noreclaim = P::Kernel::noreclaim();
        let nl = self.gpusvm.notifier_lock();
        let result: Result<Option<Fence>, Errno> = if skip {
            if self.mapped_as(handle, want, attrs) && self.poc_pages_valid(nl.held(), handle) {
                Ok(None)
            } else {
                range.driver.gpu_mapped.write_once(false);
                note!(P::Kernel, "range {}: recorded as mapped but is not any more: EAGAIN", range.bytes());
                Err(Errno::EAGAIN)
            }
        } else if !P::Kernel::planted(Plant::SkipPagesValid) && !self.poc_pages_valid(nl.held(), handle) {
            note!(P::Kernel, "range {}: pages invalidated since they were collected: EAGAIN", range.bytes());
            Err(Errno::EAGAIN)
        } else {
            let result = self.update_gpu_range(nl.held(), handle, want, true);
            if result.is_ok() {
                note!(P::Kernel, "range {}: PTEs written {:?}", range.bytes(), want);
            }
            result
        };
        // 9.
        drop(nl);
        drop(noreclaim);
        if let Some(fence) = result? {
            self.gpu.wait_fence(fence);
        }
        // 10. A notifier may have cleared what was just written (race R25).
        self.gpu.update_pdes(&root)?;
        self.gpu.flush_tlb();
        range.driver.pte_flags.write_once(want);
        range.driver.attr_flags.write_once(attrs.flags);
        range.driver.gpu_mapped.write_once(true);
        note!(P::Kernel, "range {}: gpu_mapped{}", range.bytes(), if skip { " (was already)" } else { "" });
        // 11.
        drop(root);
        Ok(())
    }

    /// `map_interval`. SL held.
    pub(super) fn map_interval(&self, locked: DriverLocked<'_>, pages: Pages, attrs: &Attrs) -> Result<(), Errno> {
        let ctx = Ctx { read_only: attrs.flags.has(Flags::GPU_RO), ..Ctx::default() };
        self.range_map(locked, pages.bytes(), attrs, &ctx, self.pte_flags(attrs.flags))
    }

    /// `map_attr_ranges`: maps what has access. What has none is skipped, without unmapping anything. SL held.
    pub(crate) fn map_attr_ranges(&self, locked: DriverLocked<'_>, pages: Pages) -> Result<(), Errno> {
        let mut cursor = pages.first;
        while cursor <= pages.last {
            let found = self.lock_attrs().lookup_page(cursor);
            let (attrs, part) = (found.attrs, Pages::new(cursor, found.last.min(pages.last)));
            note!(P::Kernel, "copied attrs of {part}: {attrs}; attr_tree.lock dropped");
            if attrs.has_access() {
                self.map_interval(locked, part, &attrs)?;
            }
            if part.last == u64::MAX {
                break;
            }
            cursor = part.last + 1;
        }
        Ok(())
    }

    /// `range_remove`. SL held.
    fn poc_range_remove(&self, locked: DriverLocked<'_>, handle: Handle<P>) {
        let range = self.gpusvm.range(handle);
        let flags = range.flags();
        if !flags.unmapped && !flags.partial_unmap {
            self.gpusvm.unmap_pages(handle);
        }
        range.driver.gpu_mapped.write_once(false);
        note!(P::Kernel, "range {} removed", range.bytes());
        self.gpusvm.range_remove(locked, handle);
    }

    /// `remove_overlaps`: removes every range that overlaps `pages`; returns the hull of what they covered.
    fn remove_overlaps(&self, locked: DriverLocked<'_>, pages: Pages) -> Option<Pages> {
        let bytes = pages.bytes();
        let access = TreeAccess::Driver(locked);
        let mut hull = Pages::EMPTY;
        let mut next_notifier = self.gpusvm.first_notifier(locked, bytes);
        while let Some(notifier) = next_notifier {
            // Removing the last range frees the notifier, so look ahead.
            next_notifier = self.gpusvm.next_notifier(locked, notifier, bytes.end);
            let mut next_range = self.gpusvm.first_range(notifier, bytes, access);
            while let Some(handle) = next_range {
                next_range = self.gpusvm.next_range(handle, bytes.end, access);
                hull = hull.hull(&self.gpusvm.range(handle).bytes().pages());
                self.poc_range_remove(locked, handle);
            }
        }
        (!hull.is_empty()).then_some(hull)
    }

    /// `interval_has_range`. SL held.
    pub(super) fn interval_has_range(&self, locked: DriverLocked<'_>, pages: Pages) -> bool {
        self.gpusvm.has_mapping(locked, pages.bytes())
    }

    /// `rebuild_locked`: destroys the ranges that overlap `pages`, then maps again what has access in all that they
    /// covered, or clears it. DMA mappings and ranges go before the PTEs do (race R29). SL held.
    pub(super) fn rebuild_locked(&self, locked: DriverLocked<'_>, pages: Pages, rebuild: bool) -> Result<(), Errno> {
        let Some(hull) = self.remove_overlaps(locked, pages) else {
            return Ok(());
        };
        if rebuild {
            note!(P::Kernel, "rebuild {hull}");
            return self.map_attr_ranges(locked, hull);
        }
        let cleared = self.clear_gpu(hull);
        note!(P::Kernel, "PTEs of {hull} cleared after their ranges were destroyed");
        self.gpu.flush_tlb();
        cleared
    }
}
