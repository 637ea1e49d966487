//! SET_ATTR. Spec amdgpu-svm 4.2, 4.4.
//!
//! The tree changes under AL and the GPU is told under SL, one segment at a time, with nothing held in between (races
//! R13, R15, R16).

use super::super::Svm;
use crate::Errno;
use crate::attr::{AttrChange, Flags, Trigger, UapiAttr};
use crate::framework::DriverLocked;
use crate::note;
use crate::platform::{Kernel, Platform};
use crate::units::Pages;

impl<P: Platform> Svm<P> {
    /// `attr_set`. Nothing held.
    ///
    /// # Errors
    /// Rules 8 to 11, then those of `set_range` except EAGAIN, which is tried again for ever (race R17).
    pub(crate) fn poc_attr_set(&self, start: u64, size: u64, attrs: &[UapiAttr]) -> Result<(), Errno> {
        let pages = self.validate_set(start, size, attrs)?;
        loop {
            match self.set_range(pages, attrs) {
                Err(Errno::EAGAIN) => {
                    self.range_flush();
                    P::Kernel::retry_point("attr_set: EAGAIN");
                }
                done => return done,
            }
        }
    }

    /// `set_range`.
    fn set_range(&self, pages: Pages, attrs: &[UapiAttr]) -> Result<(), Errno> {
        note!(P::Kernel, "SET_ATTR {} {}", pages.bytes(), Request(attrs));
        let mut cursor = pages.first;
        let mut need_retry = false;
        while cursor <= pages.last {
            // 1 to 3.
            let step = self.lock_attrs().set_segment(cursor, pages.last, attrs)?;
            match &step.change {
                Some(change) => note!(P::Kernel, "attr tree: {change}; attr_tree.lock dropped"),
                None => note!(P::Kernel, "attr tree: {} unchanged", Pages::new(cursor, step.last)),
            }
            // 4. The segment may have changed again since.
            let applied = {
                let sl = self.lock_svm();
                self.apply_change(DriverLocked::by::<P>(&sl), step.change.as_ref())
            };
            // 5.
            match applied {
                Err(Errno::EAGAIN) => need_retry = true,
                Err(e) => {
                    note!(P::Kernel, "SET_ATTR: mapping failed with {e}; the tree stays as it is");
                    return Err(e);
                }
                Ok(()) => {}
            }
            // 6.
            if step.last == pages.last || step.last == u64::MAX {
                break;
            }
            cursor = step.last + 1;
        }
        if need_retry { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// `apply_change` and `apply_attr_change`. SL held. Maps with the copy of the attributes in `change`.
    fn apply_change(&self, locked: DriverLocked<'_>, change: Option<&AttrChange>) -> Result<(), Errno> {
        let Some(change) = change else {
            return Ok(());
        };
        let AttrChange { pages, trigger, prev, new } = change;
        if trigger.is_none() || *trigger == Trigger::ATTR_ONLY {
            return Ok(());
        }
        let mut map = false;
        if trigger.any(Trigger::ACCESS) {
            if prev.has_access() && !new.has_access() {
                // Nothing: the PTEs stay, as in KFD.
                note!(P::Kernel, "access to {pages} lost; PTEs stay");
            } else if new.has_access() {
                map = !self.xnack_enabled || new.flags.has(Flags::GPU_ALWAYS_MAPPED);
            }
        }
        if trigger.any(Trigger::PTE_FLAG | Trigger::MAPPING_FLAG) && new.has_access() {
            map = true;
        }
        if map {
            return self.map_interval(locked, *pages, new);
        }
        Ok(())
    }
}

/// The attributes of a request, for timelines.
pub(in super::super) struct Request<'a>(pub(in super::super) &'a [UapiAttr]);

impl core::fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, attr) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{attr}")?;
        }
        Ok(())
    }
}
