//! What SET_ATTR checks before it stores anything: rules 8 to 11. Spec amdgpu-svm 1.3, 4.2.

use super::Svm;
use crate::Errno;
use crate::attr::{UapiAttr, check_pages, check_set, request_pages};
use crate::platform::{Mm, Platform};
use crate::units::Pages;

impl<P: Platform> Svm<P> {
    /// Rules 8 to 11, in order; returns the pages. Rule 10 cannot fail here: an instance always has an mm. Takes and
    /// drops MM-R, so that rule 11 is a hint: by the time the result is used the VMAs may be others.
    ///
    /// # Errors
    /// `EINVAL` (8, 9), `EFAULT` (11).
    pub(super) fn validate_set(&self, start: u64, size: u64, attrs: &[UapiAttr]) -> Result<Pages, Errno> {
        check_set(attrs)?;
        let pages = request_pages(start, size);
        check_pages(pages)?;
        self.validate_range_vma(pages)?;
        Ok(pages)
    }

    /// `validate_range_vma`: every address is in a VMA of ordinary memory.
    fn validate_range_vma(&self, pages: Pages) -> Result<(), Errno> {
        let bytes = pages.bytes();
        let mm = self.mm();
        let mmap = mm.mmap_read_lock();
        let mut addr = bytes.start;
        while addr < bytes.end {
            let vma = mm.find_vma(&mmap, addr).ok_or(Errno::EFAULT)?;
            if vma.bytes.start > addr || vma.flags.io || vma.flags.pfnmap || vma.flags.mixedmap {
                return Err(Errno::EFAULT);
            }
            addr = vma.bytes.end;
        }
        Ok(())
    }
}
