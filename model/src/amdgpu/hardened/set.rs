//! SET_ATTR: under SL from the first change of the tree to the last PTE.
//!
//! The tree changes for the whole interval or not at all: a step that runs out of memory is undone from a journal of
//! what was there before. After that the tree is the truth, and mapping follows it; an error of mapping is reported but
//! takes nothing back.

use super::super::Svm;
use super::super::poc::set::Request;
use super::map::{Pass, Purpose};
use crate::Errno;
use crate::attr::{Access, AttrTree, AttrType, Attrs, Flags, Segment, Trigger, UapiAttr};
use crate::framework::DriverLocked;
use crate::note;
use crate::platform::{Kernel, Plain, Platform};
use crate::units::Pages;

impl<P: Platform> Svm<P> {
    /// SET_ATTR. Nothing held.
    ///
    /// # Errors
    /// Rules 8 to 11 of spec amdgpu-svm 1.3. `EOPNOTSUPP` (closing). `ENOMEM` with nothing changed. Otherwise the tree
    /// has changed, and the error is the first of mapping: `EFAULT`, `EPERM`, `EIO` and the like for what cannot be
    /// mapped, with everything else mapped; `EBUSY`, `ENOMEM`, `EAGAIN` when mapping ended early, with nothing mapped
    /// that contradicts the tree.
    pub(crate) fn hardened_attr_set(&self, start: u64, size: u64, attrs: &[UapiAttr]) -> Result<(), Errno> {
        let pages = self.validate_set(start, size, attrs)?;
        let sl = self.lock_svm();
        let locked = DriverLocked::by::<P>(&sl);
        if self.is_closing(locked) {
            return Err(Errno::EOPNOTSUPP);
        }
        note!(P::Kernel, "SET_ATTR {} {}", pages.bytes(), Request(attrs));
        let trigger = {
            let mut tree = self.lock_attrs();
            set_all::<P>(&mut tree, pages, attrs)?
        };
        note!(P::Kernel, "attr tree: {pages} changed {trigger:?}; svm_lock kept");
        if !trigger.any(Trigger::ACCESS | Trigger::PTE_FLAG | Trigger::MAPPING_FLAG) {
            return Ok(());
        }
        let mut pass = Pass::new(Purpose::Set, pages);
        let done = self.map_pass(locked, &mut pass);
        if let Err(why) = done {
            note!(P::Kernel, "SET_ATTR: mapping ended at page {:#x}: {why:?}", pass.cursor);
            // What is mapped from there on may contradict the tree now. It comes back as the tree has it.
            if let Err(e) = self.retire_overlaps(locked, Pages::new(pass.cursor, pages.last).bytes(), true) {
                note!(P::Kernel, "SET_ATTR: not all of the rest could be cleared: {e:?}");
            }
        }
        self.service(locked);
        match (done, pass.refused) {
            (Err(why), _) => Err(why.errno()),
            (Ok(()), Some(refused)) => Err(refused),
            (Ok(()), None) => Ok(()),
        }
    }

    /// Whether close has begun. SL held.
    pub(super) fn is_closing(&self, _locked: DriverLocked<'_>) -> bool {
        self.hardened.closed.get()
    }
}

/// Applies `request` to all of `pages`, or to none. Returns what changed, all segments together.
fn set_all<P: Platform>(tree: &mut AttrTree<P::Kernel>, pages: Pages, request: &[UapiAttr]) -> Result<Trigger, Errno> {
    let count = tree.segments(pages).count();
    let hole = Segment { pages: Pages::EMPTY, attrs: tree.defaults(), stored: false };
    let mut journal = P::Kernel::alloc_array(count, hole)?;
    for (slot, segment) in journal.iter_mut().zip(tree.segments(pages)) {
        *slot = segment;
    }
    let mut trigger = Trigger::NONE;
    for (done, segment) in journal.iter().enumerate() {
        match tree.set_segment(segment.pages.first, segment.pages.last, request) {
            Ok(step) => {
                debug_assert_eq!(step.last, segment.pages.last);
                if let Some(change) = step.change {
                    trigger = trigger | change.trigger;
                }
            }
            Err(e) => {
                undo::<P>(tree, &journal[..done]);
                return Err(e);
            }
        }
    }
    Ok(trigger)
}

/// Puts segments back as they were. Allocates nothing: where something changed a node has exactly these bounds.
fn undo<P: Platform>(tree: &mut AttrTree<P::Kernel>, journal: &[Segment]) {
    for segment in journal.iter().rev() {
        let undone = if segment.stored {
            let exactly = exact_request(&segment.attrs);
            tree.set_segment(segment.pages.first, segment.pages.last, &exactly).map(|_| ())
        } else {
            tree.clear_pages(segment.pages)
        };
        if let Err(e) = undone {
            P::Kernel::warn(format_args!("attr tree: undoing {} failed with {e}", segment.pages));
        }
    }
}

/// The request that turns any attributes into `attrs`.
fn exact_request(attrs: &Attrs) -> [UapiAttr; 6] {
    let access = match attrs.access {
        Access::None => AttrType::NoAccess,
        Access::Enable => AttrType::Access,
        Access::InPlace => AttrType::AccessInPlace,
    };
    [
        UapiAttr::new(AttrType::PreferredLoc, attrs.preferred_loc.raw()),
        UapiAttr::new(AttrType::PrefetchLoc, attrs.prefetch_loc.raw()),
        UapiAttr::new(access, 1),
        UapiAttr::new(AttrType::ClrFlags, Flags::VALID.0),
        UapiAttr::new(AttrType::SetFlags, attrs.flags.0),
        UapiAttr::new(AttrType::Granularity, attrs.granularity),
    ]
}
