//! Splitting and cloning. VRAM is neither copied nor moved: several ranges share one buffer object.
//!
//! Answers to `svm_range_split`, `_split_adjust`, `_split_nodes`, `svm_range_clone`. Spec kfd-svm 3.2, 3.4.

use super::Svms;
use super::range::{BoRef, Handle};
use crate::Errno;
use crate::note;
use crate::platform::{Atomic, Plain, Platform, Shared};
use crate::units::Pages;

impl<P: Platform> Svms<P> {
    /// `svm_range_split`: `range` keeps `keep`, which shares one end with it; what it loses becomes a new range with the
    /// same attributes. Called by the callback under PR, or on a range that nobody else knows.
    ///
    /// # Errors
    /// `EINVAL` (no end in common), `ENOMEM`.
    pub(super) fn split(&self, range: Handle<P>, keep: Pages) -> Result<Handle<P>, Errno> {
        let old = self.range(range).pages();
        if (old.first != keep.first && old.last != keep.last) || !old.covers(&keep) || keep.is_empty() {
            return Err(Errno::EINVAL);
        }
        let rest = match old.first == keep.first {
            true => Pages::new(keep.last + 1, old.last),
            false => Pages::new(old.first, keep.first - 1),
        };
        let new = self.range_new(rest)?;
        if let Err(error) = self.split_adjust(new, range, keep) {
            note!(P::Kernel, "split of {old}: {error}");
            self.range_free(new, false);
            return Err(error);
        }
        note!(P::Kernel, "range {old} split: keeps {keep}, {rest} is a range of its own");
        Ok(new)
    }

    /// `svm_range_split_adjust`.
    fn split_adjust(&self, new: Handle<P>, old: Handle<P>, keep: Pages) -> Result<(), Errno> {
        let (new_range, old_range) = (self.range(new), self.range(old));
        self.split_pages(new_range, old_range, keep)?;
        let actual_loc = old_range.actual_loc.read_once();
        if actual_loc != 0 && old_range.bo.read_once().has_res {
            self.split_nodes(new, old, keep);
        }
        old_range.bounds.write_once(keep);
        new_range.attrs.write_once(old_range.attrs.read_once());
        new_range.actual_loc.write_once(actual_loc);
        new_range.mapped_to_gpu.write_once(old_range.mapped_to_gpu.read_once());
        let queues = old_range.queue_refcount.load();
        if queues != 0 {
            new_range.queue_refcount.store(queues);
        }
        Ok(())
    }

    /// `svm_range_split_nodes`: the buffer object gets one more user.
    fn split_nodes(&self, new: Handle<P>, old: Handle<P>, keep: Pages) {
        let (new_range, old_range) = (self.range(new), self.range(old));
        let mut of_old = old_range.bo.read_once();
        let Some(bo) = of_old.bo else { return };
        let mut of_new = BoRef { bo: Some(bo), has_res: true, offset: of_old.offset };
        if keep.first == old_range.pages().first {
            of_new.offset += keep.count();
        } else {
            of_old.offset += new_range.pages().count();
        }
        self.bo_ref(bo);
        new_range.bo.write_once(of_new);
        old_range.bo.write_once(of_old);
        self.bo_add_range(bo, new);
    }

    /// `svm_range_clone`. SV is held.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn clone_range(&self, old: Handle<P>) -> Result<Handle<P>, Errno> {
        let new = self.range_new(self.range(old).pages())?;
        let (new_range, old_range) = (self.range(new), self.range(old));
        if let Err(error) = self.copy_dma_addrs(new_range, old_range) {
            self.range_free(new, false);
            return Err(error);
        }
        let of_old = old_range.bo.read_once();
        if let Some(bo) = of_old.bo {
            self.bo_ref(bo);
            new_range.bo.write_once(of_old);
            self.bo_add_range(bo, new);
        }
        new_range.attrs.write_once(old_range.attrs.read_once());
        new_range.actual_loc.write_once(old_range.actual_loc.read_once());
        new_range.vram_pages.write_once(old_range.vram_pages.read_once());
        new_range.mapped_to_gpu.write_once(old_range.mapped_to_gpu.read_once());
        new_range.queue_refcount.store(old_range.queue_refcount.load());
        new_range.validate_timestamp.set(old_range.validate_timestamp.get());
        Ok(new)
    }
}
