//! Setting attributes: one step of `set_range`, that is `set_hole` or `set_existing` for the segment at the cursor.
//!
//! The loop around it belongs to the driver, because between two steps the lock around the tree is dropped and the
//! change is applied to the GPU.
//!
//! Source: spec amdgpu-svm 4.2.

use super::nodes::{AttrTree, Node};
use super::types::{Attrs, Trigger, UapiAttr};
use crate::Errno;
use crate::platform::{Kernel, Plant};
use crate::units::Pages;
use core::fmt;

/// `struct attr_set_ctx`: what became of a segment, for the driver to apply to the GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttrChange {
    /// The segment.
    pub pages: Pages,
    /// What differs.
    pub trigger: Trigger,
    /// Attributes before.
    pub prev: Attrs,
    /// Attributes now. A copy: by the time it is used the tree may say something else.
    pub new: Attrs,
}

impl fmt::Display for AttrChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} -> {}", self.pages, self.trigger, self.new)
    }
}

/// How far one step came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSet {
    /// Last page of the segment that the step dealt with. The next step begins behind it.
    pub last: u64,
    /// What to apply to the GPU. None: nothing (the driver's all-zero context).
    pub change: Option<AttrChange>,
}

impl<K: Kernel> AttrTree<K> {
    /// Applies `request` to the node or hole at page `cursor`, up to page `last` at most: steps 2 of `set_range`.
    /// `cursor <= last`; the request has passed [`Uapi::check_set`](super::Uapi::check_set).
    ///
    /// # Errors
    /// `ENOMEM`: the tree is as it was before this step.
    #[track_caller]
    pub fn set_segment(&mut self, cursor: u64, last: u64, request: &[UapiAttr]) -> Result<SegmentSet, Errno> {
        if let Some(node) = self.first_overlap(Pages::new(cursor, cursor)) {
            let pages = Pages::new(cursor, last.min(self.pages_of(node).last));
            return Ok(SegmentSet { last: pages.last, change: self.set_existing(node, pages, request)? });
        }
        // The cursor is in a hole, so the next node begins behind it.
        let hole_last = self.first_overlap(Pages::new(cursor, last)).map_or(last, |next| self.pages_of(next).first - 1);
        let pages = Pages::new(cursor, last.min(hole_last));
        Ok(SegmentSet { last: pages.last, change: self.set_hole(pages, request)? })
    }

    /// Attributes for pages that no node covers. When they come out as the defaults, nothing is stored (V5 and later: they
    /// are stored all the same).
    fn set_hole(&mut self, pages: Pages, request: &[UapiAttr]) -> Result<Option<AttrChange>, Errno> {
        if pages.is_empty() {
            return Ok(None);
        }
        let prev = self.defaults();
        let new = self.uapi().applied(prev, request);
        if new == prev && !self.uapi().stores_defaults() {
            return Ok(None);
        }
        self.insert_new(pages, new)?;
        Ok(Some(AttrChange { pages, trigger: self.uapi().trigger(&prev, &new, false), prev, new }))
    }

    /// Attributes for `pages` inside `node`, which is cut in up to three.
    fn set_existing(&mut self, node: Node<K>, pages: Pages, request: &[UapiAttr]) -> Result<Option<AttrChange>, Errno> {
        let old = self.attrs_of(node);
        let new = self.uapi().applied(old, request);
        if new == old {
            let again = self.uapi().again(self.xnack_enabled(), &old, request);
            return Ok(again.map(|trigger| AttrChange { pages, trigger, prev: old, new: old }));
        }
        let whole = self.pages_of(node);
        let change = AttrChange { pages, trigger: self.uapi().trigger(&old, &new, pages != whole), prev: old, new };
        if pages == whole {
            self.set_attrs(node, new);
            return Ok(Some(change));
        }
        // Everything that can fail comes first.
        let head = match pages.first > whole.first {
            true => Some(self.alloc(Pages::new(whole.first, pages.first - 1), old)?),
            false => None,
        };
        let tail = match pages.last < whole.last {
            true => match self.alloc(Pages::new(pages.last + 1, whole.last), old) {
                Ok(tail) => Some(tail),
                Err(error) => {
                    if let Some(head) = head {
                        match K::planted(Plant::XeRemapUnwindBounds) {
                            true => self.insert(head),
                            false => self.free(head),
                        }
                    }
                    return Err(error);
                }
            },
            false => None,
        };
        self.remove(node);
        if let Some(head) = head {
            self.insert(head);
        }
        self.set_pages(node, pages);
        self.set_attrs(node, new);
        self.insert(node);
        if let Some(tail) = tail.filter(|_| !K::planted(Plant::AttrSplitLosesTail)) {
            self.insert(tail);
        }
        Ok(Some(change))
    }
}
