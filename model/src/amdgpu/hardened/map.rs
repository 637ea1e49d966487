//! The mapping pass: makes the GPU agree with the attribute tree over an interval.
//!
//! Cut by cut: attribute *runs* (neighbouring segments that a mapping does not tell apart), then ranges, which the
//! framework keeps inside one VMA when it makes them. A range that stands in the way, because it was unmapped or
//! crosses a border that matters, is retired and the address is looked at again.

use super::super::Svm;
use super::super::range::{Handle, SvmRange};
use super::{MappingAttrs, Unfinished, is_transient};
use crate::Errno;
use crate::attr::Flags;
use crate::framework::{Ctx, DriverLocked, Instance};
use crate::note;
use crate::platform::{Kernel, Mm, Plain, Plant, Platform, Vma};
use crate::units::{Bytes, PAGE_SIZE, Pages};

/// How often one range is tried before the caller has to wait: each try was overtaken by an invalidation, that is by
/// somebody else's progress.
const MAX_TRIES: u32 = 16;

/// What a pass is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// SET_ATTR: what is due is mapped; with retry faults, the rest is taken off so that it faults in anew.
    Set,
    /// Queued work: what is due is mapped, the rest is left alone.
    Rebuild,
    /// A retry fault: mapped, due or not.
    Fault,
}

/// One pass.
pub(crate) struct Pass {
    pub(super) purpose: Purpose,
    /// Where.
    pub(super) pages: Pages,
    /// How far it has come: everything below is as the tree has it.
    pub(super) cursor: u64,
    /// The first error for a part that cannot be mapped and was left out.
    pub(super) refused: Option<Errno>,
}

impl Pass {
    pub(super) fn new(purpose: Purpose, pages: Pages) -> Self {
        Pass { purpose, pages, cursor: pages.first, refused: None }
    }

    fn refuse(&mut self, error: Errno) {
        self.refused.get_or_insert(error);
    }
}

/// A stretch of pages whose attributes are the same as far as mapping is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) pages: Pages,
    pub(super) attrs: MappingAttrs,
}

/// What became of one address.
enum Step {
    /// Go on at this address.
    To(u64),
    /// Something moved; look at the same address again.
    Again,
}

impl<P: Platform> Svm<P> {
    /// Brings the pass to its end, or to the first error that may go away. SL held, NL not.
    ///
    /// # Errors
    /// See [`Unfinished`]. Errors that stay are noted in the pass instead.
    pub(super) fn map_pass(&self, locked: DriverLocked<'_>, pass: &mut Pass) -> Result<(), Unfinished> {
        while pass.cursor <= pass.pages.last {
            let run = self.attr_run(Pages::new(pass.cursor, pass.pages.last));
            let bytes = run.pages.bytes();
            if !run.attrs.access {
                if pass.purpose == Purpose::Fault {
                    pass.refuse(Errno::EPERM);
                }
                self.retire_overlaps(locked, bytes, false)?;
            } else if pass.purpose == Purpose::Fault || self.is_eager(run.attrs.flags) {
                self.map_run(locked, pass, &run)?;
            } else if pass.purpose == Purpose::Set {
                self.retire_overlaps(locked, bytes, false)?;
            }
            if run.pages.last >= pass.pages.last {
                break;
            }
            pass.cursor = run.pages.last + 1;
        }
        Ok(())
    }

    /// The run that begins at `pages.first`, cut at `pages.last`. Takes AL.
    fn attr_run(&self, pages: Pages) -> Run {
        let tree = self.lock_attrs();
        let mut run: Option<Run> = None;
        for segment in tree.segments(pages) {
            let attrs = MappingAttrs::from(segment.attrs);
            match &mut run {
                None => run = Some(Run { pages: segment.pages, attrs }),
                Some(run) if run.attrs == attrs => run.pages.last = segment.pages.last,
                Some(_) => break,
            }
        }
        run.unwrap_or(Run { pages, attrs: tree.defaults().into() })
    }

    fn map_run(&self, locked: DriverLocked<'_>, pass: &mut Pass, run: &Run) -> Result<(), Unfinished> {
        let window = run.pages.bytes();
        let mut addr = window.start;
        let mut tries = 0;
        while addr < window.end {
            pass.cursor = addr / PAGE_SIZE;
            match self.map_at(locked, pass, Bytes::new(addr, window.end), &run.attrs)? {
                Step::To(next) => (addr, tries) = (next, 0),
                Step::Again => {
                    tries += 1;
                    if tries == MAX_TRIES {
                        return Err(Unfinished::Later(Errno::EAGAIN));
                    }
                    P::Kernel::retry_point("map_run: the address space or the range changed under way");
                }
            }
        }
        Ok(())
    }

    /// Maps the range at `window.start`. The framework's documented flow: find or insert, collect pages, commit under
    /// NL.
    fn map_at(
        &self,
        locked: DriverLocked<'_>,
        pass: &mut Pass,
        window: Bytes,
        attrs: &MappingAttrs,
    ) -> Result<Step, Unfinished> {
        let addr = window.start;
        let attr_read_only = attrs.flags.has(Flags::GPU_RO);
        let mut ctx = Ctx { read_only: attr_read_only, ..Ctx::default() };
        let mut found = self.gpusvm.find_or_insert(locked, addr, window, &ctx, SvmRange::new);
        if found == Err(Errno::EPERM) && !ctx.read_only {
            ctx.read_only = true;
            found = self.gpusvm.find_or_insert(locked, addr, window, &ctx, SvmRange::new);
        }
        let handle = match found {
            Ok(handle) => handle,
            // The one EFAULT of a lookup: the process is gone.
            Err(Errno::EFAULT) => return Err(Unfinished::MmGone),
            // A hole: nothing to map. (SET_ATTR has checked at entry; this one came later.)
            Err(Errno::ENOENT) if P::Kernel::planted(Plant::KfdRestoreSpinsOnMissingVma) => {
                return Err(Unfinished::Later(Errno::EFAULT));
            }
            Err(Errno::ENOENT) => {
                let next = match self.vma_from(addr)? {
                    Some(vma) => vma.bytes.start.min(window.end),
                    None => window.end,
                };
                return Ok(if next > addr { Step::To(next) } else { Step::Again });
            }
            Err(e) if is_transient(e) => return Err(Unfinished::Later(e)),
            // A device file was mapped there.
            Err(Errno::EIO) => {
                pass.refuse(Errno::EIO);
                return self.behind_vma(addr, window);
            }
            // Outside of what the GPU can address.
            Err(e) => {
                pass.refuse(e);
                return Ok(Step::To(window.end));
            }
        };
        let range = self.gpusvm.range(handle);
        let bytes = range.bytes();
        let flags = range.flags();
        if flags.unmapped || flags.partial_unmap || !self.attrs_fit(bytes, window, attrs) {
            return self.replace(locked, pass, handle);
        }
        // The whole range would become read-only: right only if the whole range is.
        if ctx.read_only && !attr_read_only && !self.vma_from(bytes.start)?.is_some_and(|vma| vma.bytes.covers(&bytes))
        {
            return self.replace(locked, pass, handle);
        }
        match self.commit(locked, handle, &ctx, attrs)? {
            Ok(()) => Ok(Step::To(bytes.end)),
            Err(Errno::EAGAIN) if P::Kernel::planted(Plant::EagainAsSuccess) => Ok(Step::To(bytes.end)),
            Err(Errno::EAGAIN) => Ok(Step::Again),
            Err(refused) => self.refused(locked, pass, handle, refused),
        }
    }

    /// The range at `addr` could not be mapped, and not because of somebody else's progress. Either it does not fit its
    /// VMA any more, or it fits and there is nothing to be had.
    fn refused(
        &self,
        locked: DriverLocked<'_>,
        pass: &mut Pass,
        handle: Handle<P>,
        error: Errno,
    ) -> Result<Step, Unfinished> {
        let range = self.gpusvm.range(handle);
        let bytes = range.bytes();
        let flags = range.flags();
        let fits = self.vma_from(bytes.start)?.is_some_and(|vma| vma.bytes.covers(&bytes));
        if flags.unmapped || flags.partial_unmap || !fits {
            return self.replace(locked, pass, handle);
        }
        if error == Errno::EPERM {
            // The VMA became read-only after it was looked up; the next lookup will know.
            return Ok(Step::Again);
        }
        note!(P::Kernel, "range {bytes}: {error}; stays unmapped until the next event on it");
        self.unmap_gpu(locked, handle, |_| {})?;
        pass.refuse(error);
        Ok(Step::To(bytes.end))
    }

    /// Retires a range that stands in the way. What it covered is queued for rebuilding, unless this pass is the
    /// rebuilding of all of it.
    fn replace(&self, locked: DriverLocked<'_>, pass: &Pass, handle: Handle<P>) -> Result<Step, Unfinished> {
        let covered = pass.purpose == Purpose::Rebuild && pass.pages.bytes().covers(&self.gpusvm.range(handle).bytes());
        self.retire(locked, handle, !covered)?;
        Ok(Step::Again)
    }

    /// Whether all of a range has the attributes `attrs`, which hold for `window`. Takes AL if it has to look.
    fn attrs_fit(&self, range: Bytes, window: Bytes, attrs: &MappingAttrs) -> bool {
        window.covers(&range)
            || self.lock_attrs().segments(range.pages()).all(|s| MappingAttrs::from(s.attrs) == *attrs)
    }

    /// The first VMA that ends above `addr`. Takes and drops MM-R.
    ///
    /// # Errors
    /// The process is gone.
    fn vma_from(&self, addr: u64) -> Result<Option<Vma>, Unfinished> {
        let mm = self.mm();
        if !mm.mmget_not_zero() {
            return Err(Unfinished::MmGone);
        }
        let vma = {
            let mmap = mm.mmap_read_lock();
            mm.find_vma(&mmap, addr)
        };
        mm.mmput();
        Ok(vma)
    }

    /// Goes on behind the VMA at `addr`.
    fn behind_vma(&self, addr: u64, window: Bytes) -> Result<Step, Unfinished> {
        Ok(match self.vma_from(addr)? {
            Some(vma) if vma.bytes.contains(addr) => Step::To(vma.bytes.end.min(window.end)),
            _ => Step::Again,
        })
    }

    /// Whether the pages of a range were collected for reading. SL held.
    pub(super) fn has_read_only_pages(&self, _locked: DriverLocked<'_>, handle: Handle<P>) -> bool {
        self.gpusvm.range(handle).driver.owned.with(|o| o.read_only_pages)
    }
}
