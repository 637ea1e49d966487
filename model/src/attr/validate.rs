//! What SET_ATTR and GET_ATTR refuse, as far as it depends on the attributes and the interval alone: rules 8 and 9 and
//! the rule on the types of GET. Rules 1 to 7 are the ioctl's, 10 and 11 need the mm.
//!
//! Source: spec amdgpu-svm 1.3.

use super::types::{AttrType, Flags, Location, UapiAttr};
use crate::Errno;
use crate::units::Pages;

/// Rule 8: every attribute of a SET_ATTR is of a known type and its value allowed. PREFERRED_LOC and GRANULARITY accept
/// everything; duplicates are allowed.
///
/// # Errors
/// `EINVAL`.
pub fn check_set(request: &[UapiAttr]) -> Result<(), Errno> {
    for attr in request {
        let ok = match attr.known() {
            Some(AttrType::PrefetchLoc) => Location::from_raw(attr.value) != Location::UNDEFINED,
            // KFD passes a GPU id here; only its absence is refused.
            Some(AttrType::Access | AttrType::AccessInPlace | AttrType::NoAccess) => {
                attr.value != 0 && attr.value != u32::MAX
            }
            Some(AttrType::SetFlags | AttrType::ClrFlags) => !Flags(attr.value).any(!Flags::VALID),
            Some(AttrType::PreferredLoc | AttrType::Granularity) => true,
            None => false,
        };
        if !ok {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}

/// Rule 9: the interval of a SET_ATTR does not wrap. `pages` as from [`request_pages`](super::request_pages).
///
/// # Errors
/// `EINVAL`.
pub const fn check_pages(pages: Pages) -> Result<(), Errno> {
    if pages.first > pages.last || pages.last == u64::MAX { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Which type a GET_ATTR may ask for. ACCESS_IN_PLACE and NO_ACCESS are answers to ACCESS, never questions.
///
/// # Errors
/// `EINVAL`.
pub const fn check_get_type(ty: u32) -> Result<AttrType, Errno> {
    match AttrType::from_raw(ty) {
        None | Some(AttrType::AccessInPlace | AttrType::NoAccess) => Err(Errno::EINVAL),
        Some(known) => Ok(known),
    }
}
