//! Applying a request to attributes, and what that changed.
//!
//! Source: spec amdgpu-svm 4.2.

use super::types::{Access, AttrType, Attrs, Flags, Location, MAX_GRANULARITY, Trigger, UapiAttr};

/// `attrs` after `request`, whose attributes are applied in array order, so that of two of the same kind the later
/// wins. The request has passed [`check_set`](super::check_set); unknown types are passed over.
pub fn applied(mut attrs: Attrs, request: &[UapiAttr]) -> Attrs {
    for attr in request {
        match attr.known() {
            Some(AttrType::PreferredLoc) => attrs.preferred_loc = Location::from_raw(attr.value),
            Some(AttrType::PrefetchLoc) => attrs.prefetch_loc = Location::from_raw(attr.value),
            Some(AttrType::Access) => attrs.access = Access::Enable,
            Some(AttrType::AccessInPlace) => attrs.access = Access::InPlace,
            Some(AttrType::NoAccess) => attrs.access = Access::None,
            Some(AttrType::SetFlags) => attrs.flags = attrs.flags | Flags(attr.value),
            Some(AttrType::ClrFlags) => attrs.flags = attrs.flags & !Flags(attr.value),
            Some(AttrType::Granularity) => attrs.granularity = attr.value.min(MAX_GRANULARITY),
            None => {}
        }
    }
    attrs
}

/// What differs between `prev` and `new`. Never empty: nothing relevant is [`Trigger::ATTR_ONLY`].
pub fn trigger(prev: &Attrs, new: &Attrs) -> Trigger {
    let mut trigger = Trigger::NONE;
    if prev.access != new.access {
        trigger = trigger | Trigger::ACCESS;
    }
    let flags = prev.flags.differing(new.flags);
    if flags.any(Flags::PTE) {
        trigger = trigger | Trigger::PTE_FLAG;
    }
    if flags.any(Flags::MAPPING) {
        trigger = trigger | Trigger::MAPPING_FLAG;
    }
    if prev.preferred_loc != new.preferred_loc || prev.prefetch_loc != new.prefetch_loc {
        trigger = trigger | Trigger::LOCATION;
    }
    if prev.granularity != new.granularity {
        trigger = trigger | Trigger::GRANULARITY;
    }
    if trigger.is_none() { Trigger::ATTR_ONLY } else { trigger }
}

/// Whether the request asks for access, whatever a later attribute of it says.
pub(super) fn asks_for_access(request: &[UapiAttr]) -> bool {
    request.iter().any(|a| matches!(a.known(), Some(AttrType::Access | AttrType::AccessInPlace)))
}
