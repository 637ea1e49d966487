//! Taking mappings back because attributes changed: `range_invalidate_interval`. Spec amdgpu-svm 7.1, 7.4.
//!
//! Not clean on purpose: device pages are brought back with the root reserved, which takes mmap_lock inside of a
//! reservation (bug L5); ranges that are destroyed lose their DMA mappings before the TLB is flushed; and an error on the
//! way leaves without flushing at all.

use super::super::Svm;
use super::super::range::Handle;
use crate::Errno;
use crate::framework::{DriverLocked, Instance, TreeAccess};
use crate::note;
use crate::platform::{Gpu, Platform, Shared};
use crate::units::Pages;

impl<P: Platform> Svm<P> {
    /// `range_invalidate_interval`: clears the PTEs of every range that overlaps `pages`, whole, and destroys those that
    /// reach over an end of it. SL held.
    ///
    /// # Errors
    /// Those of the reservation and of clearing. Ranges before the failing one are done.
    pub(super) fn v8_invalidate_interval(&self, locked: DriverLocked<'_>, pages: Pages) -> Result<(), Errno> {
        let bytes = pages.bytes();
        let access = TreeAccess::Driver(locked);
        let root = self.gpu.reserve_root()?;
        let mut flush = false;
        let mut next_notifier = self.gpusvm.first_notifier(locked, bytes);
        while let Some(notifier) = next_notifier {
            // Removing the last range frees the notifier, so look ahead.
            next_notifier = self.gpusvm.next_notifier(locked, notifier, bytes.end);
            let mut next_range = self.gpusvm.first_range(notifier, bytes, access);
            while let Some(handle) = next_range {
                next_range = self.gpusvm.next_range(handle, bytes.end, access);
                let range = self.gpusvm.range(handle);
                let crosses = !bytes.covers(&range.bytes());
                if range.driver.gpu_mapped.read_once() {
                    self.zap_ptes(range.bytes())?;
                    range.driver.gpu_mapped.write_once(false);
                    note!(P::Kernel, "attributes of {pages} changed: PTEs of range {} cleared", range.bytes());
                    flush = true;
                }
                if crosses {
                    note!(P::Kernel, "range {} reaches over the bounds of {pages}: destroyed", range.bytes());
                    self.gpusvm.range_get(handle);
                    self.v8_range_evict(locked, handle);
                    self.v8_range_remove(locked, handle);
                    self.v8_unqueue(handle);
                    self.gpusvm.range_put(handle);
                }
            }
        }
        drop(root);
        if flush {
            self.gpu.flush_tlb();
        }
        Ok(())
    }

    /// `range_remove`. SL held.
    fn v8_range_remove(&self, locked: DriverLocked<'_>, handle: Handle<P>) {
        let range = self.gpusvm.range(handle);
        let flags = range.flags();
        if !flags.unmapped && !flags.partial_unmap {
            self.gpusvm.unmap_pages(handle);
        }
        range.driver.gpu_mapped.write_once(false);
        self.gpusvm.range_remove(locked, handle);
    }

    /// `range_evict`: back to system memory, where the range has device pages mapped. The result is ignored, as posted.
    /// SL held.
    pub(super) fn v8_range_evict(&self, locked: DriverLocked<'_>, handle: Handle<P>) {
        if self.gpusvm.range(handle).flags().has_devmem_pages {
            let _ = self.gpusvm.range_evict(locked, handle);
        }
    }
}
