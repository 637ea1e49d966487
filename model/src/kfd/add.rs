//! Which ranges a SET_ATTR makes, splits, replaces and changes: `svm_range_add`, a transaction. Spec kfd-svm 3.2.
//!
//! Ranges that are to be cut are cloned, and the clones are cut; until all of it has worked, nothing that others see has
//! changed.

use super::Svms;
use super::locks::SvmsLocked;
use super::range::{All, Handle, Range, Update};
use crate::Errno;
use crate::attr::UapiAttr;
use crate::list::List;
use crate::note;
use crate::platform::{Plain, Platform, Shared};
use crate::units::Pages;

/// Pages of a huge leaf.
const HUGE: u64 = 512;

type AllList<P> = List<<P as Platform>::Kernel, Range<P>, All>;
type UpdateList<P> = List<<P as Platform>::Kernel, Range<P>, Update>;

/// What `svm_range_add` came to.
pub(super) struct Change<P: Platform> {
    /// Ranges whose attributes change: new ones, clones, and old ones that lie inside.
    pub(super) update: UpdateList<P>,
    /// Clones, their heads and tails, then new ranges: to be inserted.
    pub(super) insert: AllList<P>,
    /// What the clones replace.
    pub(super) remove: UpdateList<P>,
    /// Heads and tails whose cut went through a huge mapping of the GPU.
    pub(super) remap: UpdateList<P>,
    /// New ranges, until the end.
    new: AllList<P>,
}

impl<P: Platform> Svms<P> {
    /// `svm_range_add`. SV is held. Lists grow at the head, so that the highest addresses come first, as in the
    /// original.
    ///
    /// # Errors
    /// `ENOMEM`; everything is as before then.
    pub(super) fn range_add(
        &self,
        svms: &SvmsLocked<'_, P>,
        pages: Pages,
        attrs: &[UapiAttr],
    ) -> Result<Change<P>, Errno> {
        let change = Change {
            update: List::new(),
            insert: List::new(),
            remove: List::new(),
            remap: List::new(),
            new: List::new(),
        };
        match self.collect(svms, &change, pages, attrs) {
            Ok(()) => {
                // list_splice: in front of what is there.
                while let Some(new) = change.new.back() {
                    change.new.remove(&self.ranges, new);
                    change.insert.push_front(&self.ranges, new);
                }
                Ok(change)
            }
            Err(error) => {
                note!(P::Kernel, "SET_ATTR {pages}: {error}, nothing has changed");
                self.abandon(&change);
                Err(error)
            }
        }
    }

    fn collect(
        &self,
        _svms: &SvmsLocked<'_, P>,
        change: &Change<P>,
        pages: Pages,
        attrs: &[UapiAttr],
    ) -> Result<(), Errno> {
        let cache = &self.ranges;
        let mut start = pages.first;
        let mut next = self.objects.first_overlap(cache, pages.first, pages.last);
        while let Some(old) = next {
            let range = self.range(old);
            let node = range.node.get();
            next = self.objects.next_overlap(cache, old, pages.last);
            if self.is_same(&range.attrs.read_once(), attrs) && range.mapped_to_gpu.read_once() {
                // Nothing to do.
            } else if node.first < start || node.last > pages.last {
                let clone = self.clone_range(old)?;
                change.remove.push_front(cache, old);
                change.insert.push_front(cache, clone);
                change.update.push_front(cache, clone);
                if node.first < start {
                    self.split_head(change, clone, start)?;
                }
                if node.last > pages.last {
                    self.split_tail(change, clone, pages.last)?;
                }
            } else {
                change.update.push_front(cache, old);
            }
            if node.first > start {
                self.split_new(change, Pages::new(start, node.first - 1))?;
            }
            start = node.last.min(pages.last) + 1;
        }
        if start <= pages.last { self.split_new(change, Pages::new(start, pages.last)) } else { Ok(()) }
    }

    /// `svm_range_split_head`: the clone begins at `start` from here on.
    fn split_head(&self, change: &Change<P>, clone: Handle<P>, start: u64) -> Result<(), Errno> {
        let own = self.range(clone).pages();
        let head = self.split(clone, Pages::new(start, own.last))?;
        self.cut_off(change, own, start, head);
        Ok(())
    }

    /// `svm_range_split_tail`: the clone ends at `last` from here on.
    fn split_tail(&self, change: &Change<P>, clone: Handle<P>, last: u64) -> Result<(), Errno> {
        let own = self.range(clone).pages();
        let tail = self.split(clone, Pages::new(own.first, last))?;
        self.cut_off(change, own, last + 1, tail);
        Ok(())
    }

    /// `part` was cut off a range of `own` at `cut`: it is inserted, and mapped again where a huge leaf may have been cut.
    fn cut_off(&self, change: &Change<P>, own: Pages, cut: u64, part: Handle<P>) {
        change.insert.push_front(&self.ranges, part);
        let (first, last) = (own.first.next_multiple_of(HUGE), (own.last + 1) & !(HUGE - 1));
        if cut > first && cut < last && !cut.is_multiple_of(HUGE) {
            change.remap.push_front(&self.ranges, part);
        }
    }

    /// `svm_range_split_new`: new ranges, cut at multiples of the largest size.
    fn split_new(&self, change: &Change<P>, pages: Pages) -> Result<(), Errno> {
        let mut start = pages.first;
        while start <= pages.last {
            let block = (start + self.max_range_pages) & !(self.max_range_pages - 1);
            let last = pages.last.min(block - 1);
            let new = self.range_new(Pages::new(start, last))?;
            change.new.push_front(&self.ranges, new);
            change.update.push_front(&self.ranges, new);
            start = last + 1;
        }
        Ok(())
    }

    /// The error path: clones and new ranges are freed, the old ones were never touched.
    fn abandon(&self, change: &Change<P>) {
        let cache = &self.ranges;
        for list in [&change.update, &change.remove, &change.remap] {
            while list.pop_front(cache).is_some() {}
        }
        while let Some(clone) = change.insert.pop_front(cache) {
            self.range_free(clone, false);
        }
        while let Some(new) = change.new.pop_front(cache) {
            self.range_free(new, true);
        }
    }
}
