//! The UAPI of V4 and later, as of the newest posting: one attribute for access, one for each flag.
//!
//! Numbers are the UAPI's; the flags are kept in [`Flags`], whose bits are V1's (the posting renumbers them, which nobody
//! can see). GPU_ALWAYS_MAPPED, number 11 in V4, is gone since V5. Source: spec amdgpu-svm 7.2, 7.3.
//!
//! What the specification leaves open and is decided here as the posted code does it: GET answers ACCESS by value,
//! INACCESSIBLE where pages differ; a flag is 1 where all pages have it; every known type may be asked for; an access
//! value above 2 is `EINVAL`; PREFETCH_LOC still may not be UNDEFINED.

use super::types::{Access, Attrs, Flags, Location, MAX_GRANULARITY_V4, UapiAttr};
use crate::Errno;
use core::fmt;

/// `enum amdgpu_svm_attr_type` of V4 and later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u32)]
pub enum AttrTypeV4 {
    /// Where the pages should live.
    PreferredLoc = 0,
    /// Where the pages should be brought, now.
    PrefetchLoc = 1,
    /// What the GPU may do: [`ACCESS_INACCESSIBLE`], [`ACCESS_IN_PLACE`], [`ACCESS_ALLOW_MIGRATE`].
    Access = 2,
    /// log2 pages of a migration block.
    Granularity = 3,
    /// [`Flags::HOST_ACCESS`]; this and all below: 0 or 1.
    HostAccess = 4,
    /// [`Flags::COHERENT`].
    Coherent = 5,
    /// [`Flags::EXT_COHERENT`].
    ExtCoherent = 6,
    /// [`Flags::HIVE_LOCAL`].
    HiveLocal = 7,
    /// [`Flags::GPU_RO`].
    GpuRo = 8,
    /// [`Flags::GPU_EXEC`].
    GpuExec = 9,
    /// [`Flags::GPU_READ_MOSTLY`].
    GpuReadMostly = 10,
}

/// Value of ACCESS: none.
pub const ACCESS_INACCESSIBLE: u32 = 0;
/// Value of ACCESS: pages stay.
pub const ACCESS_IN_PLACE: u32 = 1;
/// Value of ACCESS: pages may migrate.
pub const ACCESS_ALLOW_MIGRATE: u32 = 2;

impl AttrTypeV4 {
    /// Every type, in order of its number.
    pub const ALL: [AttrTypeV4; 11] = {
        use AttrTypeV4::*;
        [
            PreferredLoc,
            PrefetchLoc,
            Access,
            Granularity,
            HostAccess,
            Coherent,
            ExtCoherent,
            HiveLocal,
            GpuRo,
            GpuExec,
            GpuReadMostly,
        ]
    };
    /// The type with this number.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if (raw as usize) < Self::ALL.len() { Some(Self::ALL[raw as usize]) } else { None }
    }
    /// The flag it stands for.
    pub const fn flag(self) -> Option<Flags> {
        Some(match self {
            AttrTypeV4::HostAccess => Flags::HOST_ACCESS,
            AttrTypeV4::Coherent => Flags::COHERENT,
            AttrTypeV4::ExtCoherent => Flags::EXT_COHERENT,
            AttrTypeV4::HiveLocal => Flags::HIVE_LOCAL,
            AttrTypeV4::GpuRo => Flags::GPU_RO,
            AttrTypeV4::GpuExec => Flags::GPU_EXEC,
            AttrTypeV4::GpuReadMostly => Flags::GPU_READ_MOSTLY,
            _ => return None,
        })
    }
    /// As the UAPI spells it, without the prefix.
    pub const fn name(self) -> &'static str {
        match self {
            AttrTypeV4::PreferredLoc => "PREFERRED_LOC",
            AttrTypeV4::PrefetchLoc => "PREFETCH_LOC",
            AttrTypeV4::Access => "ACCESS",
            AttrTypeV4::Granularity => "GRANULARITY",
            AttrTypeV4::HostAccess => "HOST_ACCESS",
            AttrTypeV4::Coherent => "COHERENT",
            AttrTypeV4::ExtCoherent => "EXT_COHERENT",
            AttrTypeV4::HiveLocal => "HIVE_LOCAL",
            AttrTypeV4::GpuRo => "GPU_RO",
            AttrTypeV4::GpuExec => "GPU_EXEC",
            AttrTypeV4::GpuReadMostly => "GPU_READ_MOSTLY",
        }
    }
    /// An attribute of this type.
    pub const fn with(self, value: u32) -> UapiAttr {
        UapiAttr { ty: self as u32, value }
    }
}

/// The access that a value of ACCESS asks for.
const fn access(value: u32) -> Option<Access> {
    match value {
        ACCESS_INACCESSIBLE => Some(Access::None),
        ACCESS_IN_PLACE => Some(Access::InPlace),
        ACCESS_ALLOW_MIGRATE => Some(Access::Enable),
        _ => None,
    }
}

/// The value by which GET reports an access.
pub const fn access_value(access: Access) -> u32 {
    match access {
        Access::None => ACCESS_INACCESSIBLE,
        Access::InPlace => ACCESS_IN_PLACE,
        Access::Enable => ACCESS_ALLOW_MIGRATE,
    }
}

/// Whether every attribute of a SET_ATTR is of a known type and its value allowed. PREFERRED_LOC and GRANULARITY accept
/// everything; duplicates are allowed.
///
/// # Errors
/// `EINVAL`.
pub fn check_set(request: &[UapiAttr]) -> Result<(), Errno> {
    for attr in request {
        let ok = match AttrTypeV4::from_raw(attr.ty).ok_or(Errno::EINVAL)? {
            AttrTypeV4::PreferredLoc | AttrTypeV4::Granularity => true,
            AttrTypeV4::PrefetchLoc => Location::from_raw(attr.value) != Location::UNDEFINED,
            AttrTypeV4::Access => access(attr.value).is_some(),
            _ => attr.value <= 1,
        };
        if !ok {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}

/// `attrs` after `request`, whose attributes are applied in array order. The request has passed [`check_set`]; what would
/// not is passed over.
pub fn applied(mut attrs: Attrs, request: &[UapiAttr]) -> Attrs {
    for attr in request {
        let Some(ty) = AttrTypeV4::from_raw(attr.ty) else { continue };
        match ty {
            AttrTypeV4::PreferredLoc => attrs.preferred_loc = Location::from_raw(attr.value),
            AttrTypeV4::PrefetchLoc => attrs.prefetch_loc = Location::from_raw(attr.value),
            AttrTypeV4::Access => attrs.access = access(attr.value).unwrap_or(attrs.access),
            AttrTypeV4::Granularity => attrs.granularity = attr.value.min(MAX_GRANULARITY_V4),
            _ => {
                let flag = ty.flag().unwrap_or(Flags::NONE);
                attrs.flags = if attr.value != 0 { attrs.flags | flag } else { attrs.flags & !flag };
            }
        }
    }
    attrs
}

/// A request, for timelines.
pub struct Shown<'a>(pub &'a [UapiAttr]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for attr in self.0 {
            f.write_str(separator)?;
            separator = " ";
            let Some(ty) = AttrTypeV4::from_raw(attr.ty) else {
                write!(f, "type {}={:#x}", attr.ty, attr.value)?;
                continue;
            };
            match ty {
                AttrTypeV4::PreferredLoc | AttrTypeV4::PrefetchLoc => {
                    write!(f, "{}={}", ty.name(), Location::from_raw(attr.value))?;
                }
                AttrTypeV4::Access => match access(attr.value) {
                    Some(access) => write!(f, "ACCESS={}", access.name())?,
                    None => write!(f, "ACCESS={:#x}", attr.value)?,
                },
                _ => write!(f, "{}={}", ty.name(), attr.value)?,
            }
        }
        Ok(())
    }
}
