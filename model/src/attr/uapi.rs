//! Which UAPI a tree speaks. The attributes inside of it are the same; requests and answers are numbered, checked and
//! applied differently, and a change means something else.
//!
//! Source: spec amdgpu-svm 1.2, 4.2 (V1); 7.1 to 7.4 (V4 and later).

use super::apply::{applied, asks_for_access, trigger};
use super::types::{Attrs, Trigger, UapiAttr};
use super::{v4, validate};
use crate::Errno;

/// A numbering of attributes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Uapi {
    /// The first posting: three access types, a pair of flag masks. See [`AttrType`](super::AttrType).
    V1,
    /// The fourth and later: one access type, one type for each flag. See [`v4`].
    V4,
}

impl Uapi {
    /// Rule 8: every attribute of a SET_ATTR is of a known type and its value allowed.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_set(self, request: &[UapiAttr]) -> Result<(), Errno> {
        match self {
            Uapi::V1 => validate::check_set(request),
            Uapi::V4 => v4::check_set(request),
        }
    }

    /// `attrs` after `request`.
    pub fn applied(self, attrs: Attrs, request: &[UapiAttr]) -> Attrs {
        match self {
            Uapi::V1 => applied(attrs, request),
            Uapi::V4 => v4::applied(attrs, request),
        }
    }

    /// Whether attributes that equal the defaults get a node (V5 and later).
    pub(super) const fn stores_defaults(self) -> bool {
        matches!(self, Uapi::V4)
    }

    /// `attr_change_trigger`. `split`: the bounds of the request cut the node.
    pub(super) fn trigger(self, prev: &Attrs, new: &Attrs, split: bool) -> Trigger {
        let changed = trigger(prev, new);
        if self == Uapi::V1 {
            return changed;
        }
        let mut more = prefetch(new);
        if split {
            more = more | Trigger::RANGE_SPLIT;
        }
        if changed == Trigger::ATTR_ONLY && !more.is_none() { more } else { changed | more }
    }

    /// What a request means that changes nothing.
    pub(super) fn again(self, xnack_enabled: bool, attrs: &Attrs, request: &[UapiAttr]) -> Option<Trigger> {
        let trigger = match self {
            // Without retry faults nothing else would bring back a mapping that was lost, so asking for access again
            // has the mapping looked at again.
            Uapi::V1 if !xnack_enabled && asks_for_access(request) => Trigger::ACCESS,
            Uapi::V1 => Trigger::NONE,
            Uapi::V4 => prefetch(attrs),
        };
        (!trigger.is_none()).then_some(trigger)
    }
}

/// Any request over pages whose attributes, old or new, say "prefetch to this GPU" prefetches, whatever it is about.
fn prefetch(attrs: &Attrs) -> Trigger {
    if attrs.prefetch_loc.is_gpu() { Trigger::PREFETCH } else { Trigger::NONE }
}
