//! The three operations of the ioctl. Spec amdgpu-svm 7.2 to 7.4.
//!
//! SET takes SL around the tree and its application, segment by segment; RESET takes only AL, while a fault handler may be
//! using the nodes under SL.

use super::super::Svm;
use crate::Errno;
use crate::attr::v4::Shown;
use crate::attr::{AttrChange, Trigger, UapiAttr, check_pages, request_pages};
use crate::framework::DriverLocked;
use crate::note;
use crate::platform::{Kernel, Mm, Platform, Vma, Work};
use crate::units::Pages;

/// What takes mappings back. (The enumeration of the last postings has no RANGE_SPLIT of its own any more.)
fn needs_invalidate(trigger: Trigger) -> bool {
    trigger.any(Trigger::ACCESS | Trigger::PTE_FLAG | Trigger::MAPPING_FLAG | Trigger::LOCATION | Trigger::RANGE_SPLIT)
}

impl<P: Platform> Svm<P> {
    /// `sync_work`: waits for the GC. Nothing held.
    pub(super) fn v8_sync_work(&self) {
        self.gc_work.flush();
    }

    /// `check_vma`: the VMA that holds `addr`, of ordinary memory.
    ///
    /// # Errors
    /// `EFAULT` (none), `EOPNOTSUPP` (VM_IO, VM_PFNMAP, VM_MIXEDMAP).
    pub(super) fn v8_check_vma(&self, mmap: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>, addr: u64) -> Result<Vma, Errno> {
        let vma = self.mm().find_vma(mmap, addr).filter(|vma| vma.bytes.contains(addr)).ok_or(Errno::EFAULT)?;
        if vma.flags.io || vma.flags.pfnmap || vma.flags.mixedmap {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(vma)
    }

    /// `attr_validate_range_vma`: the interval does not wrap, and every address of it is in a VMA of ordinary memory. Takes
    /// and drops mmap_lock, so that the answer is a hint.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`, `EOPNOTSUPP`.
    fn v8_validate_range_vma(&self, pages: Pages) -> Result<(), Errno> {
        check_pages(pages)?;
        let bytes = pages.bytes();
        let mmap = self.mm().mmap_read_lock();
        let mut addr = bytes.start;
        while addr < bytes.end {
            addr = self.v8_check_vma(&mmap, addr)?.bytes.end;
        }
        Ok(())
    }

    /// SET_ATTR. Nothing held.
    ///
    /// # Errors
    /// `EINVAL` (attributes, interval), `EFAULT`, `EOPNOTSUPP` (VMA check), with nothing stored; then those of the tree and of
    /// applying except EAGAIN, which is tried again for ever (race R17).
    pub(crate) fn v8_attr_set(&self, start: u64, size: u64, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.v8_sync_work();
        let pages = request_pages(start, size);
        self.uapi().check_set(attrs)?;
        self.v8_validate_range_vma(pages)?;
        loop {
            match self.v8_set_range(pages, attrs) {
                Err(Errno::EAGAIN) => {
                    self.v8_sync_work();
                    P::Kernel::retry_point("attr_set: EAGAIN");
                }
                done => return done,
            }
        }
    }

    /// `attr_set_range`.
    fn v8_set_range(&self, pages: Pages, attrs: &[UapiAttr]) -> Result<(), Errno> {
        note!(P::Kernel, "SET_ATTR {} {}", pages.bytes(), Shown(attrs));
        let mut cursor = pages.first;
        let mut need_retry = false;
        while cursor <= pages.last {
            let sl = self.lock_svm();
            let step = self.lock_attrs().set_segment(cursor, pages.last, attrs)?;
            match &step.change {
                Some(change) => note!(P::Kernel, "attr tree: {change}"),
                None => note!(P::Kernel, "attr tree: {} unchanged", Pages::new(cursor, step.last)),
            }
            let applied = self.v8_apply_attr_change(DriverLocked::by::<P>(&sl), step.change.as_ref());
            drop(sl);
            match applied {
                Err(Errno::EAGAIN) => need_retry = true,
                Err(e) => {
                    note!(P::Kernel, "SET_ATTR: applying failed with {e}; the tree stays as it is");
                    return Err(e);
                }
                Ok(()) => {}
            }
            if step.last == pages.last || step.last == u64::MAX {
                break;
            }
            cursor = step.last + 1;
        }
        if need_retry { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// `apply_attr_change`. SL held.
    fn v8_apply_attr_change(&self, locked: DriverLocked<'_>, change: Option<&AttrChange>) -> Result<(), Errno> {
        let Some(AttrChange { pages, trigger, new, .. }) = change else {
            return Ok(());
        };
        if pages.first == 0 && pages.last == 0 {
            return Ok(());
        }
        if needs_invalidate(*trigger) {
            self.v8_invalidate_interval(locked, *pages)?;
        }
        if trigger.any(Trigger::PREFETCH) {
            self.v8_map_attrs(locked, pages.bytes(), new)?;
        }
        Ok(())
    }

    /// GET_ATTR. Nothing held.
    ///
    /// # Errors
    /// `EINVAL` (interval, type), `EFAULT`, `EOPNOTSUPP` (VMA check; the first posting has none here).
    pub(crate) fn v8_attr_get(&self, start: u64, size: u64, attrs: &mut [UapiAttr]) -> Result<(), Errno> {
        self.v8_sync_work();
        let pages = request_pages(start, size);
        self.v8_validate_range_vma(pages)?;
        self.lock_attrs().get(pages, attrs)
    }

    /// RESET_ATTR: the pages have the defaults again. What is mapped stays as it is mapped. Takes AL and nothing else, and
    /// looks at no VMA. Nothing held.
    ///
    /// # Errors
    /// `EINVAL` (the interval wraps), `ENOMEM` (a node cannot be cut in two).
    pub(crate) fn v8_attr_reset(&self, start: u64, size: u64) -> Result<(), Errno> {
        self.v8_sync_work();
        let pages = request_pages(start, size);
        note!(P::Kernel, "RESET_ATTR {}", pages.bytes());
        self.lock_attrs().clear_pages(pages)
    }
}
