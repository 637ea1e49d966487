//! One range: collect its pages and write its PTEs.

use super::super::Svm;
use super::super::range::Handle;
use super::{MappingAttrs, Queued, Unfinished, is_transient};
use crate::Errno;
use crate::framework::{Ctx, DriverLocked, Instance, NotifierHeld};
use crate::note;
use crate::platform::{Fence, Gpu, Kernel, Plain, Plant, Platform, PteFlags};

impl<P: Platform> Svm<P> {
    /// Collects the pages of the range and programs it, unless it is programmed this way. SL held, NL not. The outer
    /// error may go away; the inner one is `EAGAIN` (an invalidation came in between: look again), or stays.
    pub(super) fn commit(
        &self,
        locked: DriverLocked<'_>,
        handle: Handle<P>,
        ctx: &Ctx,
        attrs: &MappingAttrs,
    ) -> Result<Result<(), Errno>, Unfinished> {
        let sort = |e: Errno| if is_transient(e) { Err(Unfinished::Later(e)) } else { Ok(Err(e)) };
        if !ctx.read_only && self.has_read_only_pages(locked, handle) {
            self.forget_pages(locked, handle)?;
        }
        if let Err(e) = self.gpusvm.get_pages(locked, handle, ctx) {
            return sort(e);
        }
        // When the pages were there already they may have been collected for writing; saying less costs a collection
        // later, never a wrong right.
        let owned = &self.gpusvm.range(handle).driver.owned;
        owned.with_mut(|o| o.read_only_pages = ctx.read_only);
        let flags = self.pte_flags(attrs.flags);
        let want = if ctx.read_only { flags.without(PteFlags::WRITEABLE) } else { flags };
        match self.program_range(handle, want, attrs) {
            Ok(()) => Ok(Ok(())),
            Err(Errno::EAGAIN) => Ok(Err(Errno::EAGAIN)),
            Err(e) => sort(e),
        }
    }

    /// Pages that were collected for reading are given back, so that they are collected for writing: the page read may
    /// be the zero page, or shared copy-on-write.
    fn forget_pages(&self, locked: DriverLocked<'_>, handle: Handle<P>) -> Result<(), Unfinished> {
        note!(
            P::Kernel,
            "range {}: pages were collected for reading, collecting anew",
            self.gpusvm.range(handle).bytes()
        );
        self.unmap_gpu(locked, handle, |held| {
            self.push(held, handle, Queued::Pending, "taken off to collect its pages anew");
        })?;
        self.gpusvm.unmap_pages(handle);
        self.gpusvm.range(handle).driver.owned.with_mut(|o| o.read_only_pages = false);
        Ok(())
    }

    /// Writes the PTEs, if the pages are still valid under NL. `mapped` is set in the same section, before the first
    /// PTE.
    fn program_range(&self, handle: Handle<P>, want: PteFlags, attrs: &MappingAttrs) -> Result<(), Errno> {
        let range = self.gpusvm.range(handle);
        // RESV is outside of NL.
        let root = self.gpu.reserve_root()?;
        let written = {
            let _noreclaim = (!P::Kernel::planted(Plant::SkipNoReclaim)).then(P::Kernel::noreclaim);
            let nl = self.gpusvm.notifier_lock();
            self.write_ptes(nl.held(), handle, want, attrs)
        };
        let Some(fence) = written? else {
            return Ok(());
        };
        if let Some(fence) = fence {
            self.gpu.wait_fence(fence);
        }
        if let Err(e) = self.gpu.update_pdes(&root) {
            // The leaves are there but perhaps not reachable: not complete.
            let nl = self.gpusvm.notifier_lock();
            range.driver.state.with_mut(|s| s.pte_flags = PteFlags::NONE);
            drop(nl);
            return Err(e);
        }
        // Entries of before may have had more rights.
        self.gpu.flush_tlb();
        Ok(())
    }

    /// The section under NL. None: it was programmed this way already.
    fn write_ptes(
        &self,
        held: NotifierHeld<'_>,
        handle: Handle<P>,
        want: PteFlags,
        attrs: &MappingAttrs,
    ) -> Result<Option<Option<Fence>>, Errno> {
        let range = self.gpusvm.range(handle);
        let flags = range.flags();
        let valid = !flags.unmapped && !flags.partial_unmap && self.gpusvm.pages_valid(held, handle);
        if !valid && !P::Kernel::planted(Plant::SkipPagesValid) {
            note!(P::Kernel, "range {}: invalidated since its pages were collected", range.bytes());
            return Err(Errno::EAGAIN);
        }
        let state = &range.driver.state;
        if state.with(|s| s.mapped && s.pte_flags == want) {
            state.with_mut(|s| s.attr_flags = attrs.flags);
            return Ok(None);
        }
        state.with_mut(|s| {
            s.mapped = true;
            s.pte_flags = PteFlags::NONE;
            s.attr_flags = attrs.flags;
        });
        let fence = self.update_gpu_range(held, handle, want, true)?;
        state.with_mut(|s| s.pte_flags = want);
        note!(P::Kernel, "range {}: PTEs written {:?}, mapped", range.bytes(), want);
        Ok(Some(fence))
    }
}
