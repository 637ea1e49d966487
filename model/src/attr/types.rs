//! Numbers of the UAPI, the attributes themselves, defaults and change triggers.
//!
//! Source: spec amdgpu-svm 1.2, 2.2, 3.

use crate::units::{PAGE_SHIFT, Pages};
use core::fmt;
use core::ops::{BitAnd, BitOr, Not};

/// Most attributes one ioctl may carry.
pub const MAX_ATTRS: u32 = 64;

/// GRANULARITY is cut to this many log2 pages.
pub const MAX_GRANULARITY: u32 = 0x3f;

/// The same from V4 on: 128 GiB.
pub const MAX_GRANULARITY_V4: u32 = 0x1b;

/// `struct drm_amdgpu_svm_attribute`, as user space passes it. Nothing about it has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct UapiAttr {
    /// `type`: an [`AttrType`], or anything else.
    pub ty: u32,
    /// Meaning depends on the type.
    pub value: u32,
}

impl UapiAttr {
    /// An attribute of a known type.
    pub const fn new(ty: AttrType, value: u32) -> Self {
        UapiAttr { ty: ty as u32, value }
    }
    /// The type, when it is a known one.
    pub const fn known(&self) -> Option<AttrType> {
        AttrType::from_raw(self.ty)
    }
}

impl fmt::Display for UapiAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ty) = self.known() else { return write!(f, "type {}={:#x}", self.ty, self.value) };
        match ty {
            AttrType::PreferredLoc | AttrType::PrefetchLoc => {
                write!(f, "{}={}", ty.name(), Location::from_raw(self.value))
            }
            AttrType::Access | AttrType::AccessInPlace | AttrType::NoAccess => f.write_str(ty.name()),
            AttrType::SetFlags | AttrType::ClrFlags => write!(f, "{} {}", ty.name(), Flags(self.value)),
            AttrType::Granularity => write!(f, "{}={}", ty.name(), self.value),
        }
    }
}

/// `enum amdgpu_svm_attr_type` of V1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u32)]
pub enum AttrType {
    /// Where the pages should live.
    PreferredLoc = 0,
    /// Where the pages should be brought.
    PrefetchLoc = 1,
    /// The GPU may access; pages may migrate. In GET: which access there is.
    Access = 2,
    /// The GPU may access; pages stay.
    AccessInPlace = 3,
    /// The GPU may not access.
    NoAccess = 4,
    /// Flags to set. In GET: the flags that all pages have.
    SetFlags = 5,
    /// Flags to clear. In GET: the flags that no page has.
    ClrFlags = 6,
    /// log2 pages of a migration block.
    Granularity = 7,
}

impl AttrType {
    /// Every type, in order of its number.
    pub const ALL: [AttrType; 8] = {
        use AttrType::*;
        [PreferredLoc, PrefetchLoc, Access, AccessInPlace, NoAccess, SetFlags, ClrFlags, Granularity]
    };
    /// The type with this number.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if (raw as usize) < Self::ALL.len() { Some(Self::ALL[raw as usize]) } else { None }
    }
    /// As the UAPI spells it, without the prefix.
    pub const fn name(self) -> &'static str {
        match self {
            AttrType::PreferredLoc => "PREFERRED_LOC",
            AttrType::PrefetchLoc => "PREFETCH_LOC",
            AttrType::Access => "ACCESS",
            AttrType::AccessInPlace => "ACCESS_IN_PLACE",
            AttrType::NoAccess => "NO_ACCESS",
            AttrType::SetFlags => "SET_FLAGS",
            AttrType::ClrFlags => "CLR_FLAGS",
            AttrType::Granularity => "GRANULARITY",
        }
    }
}

/// A location. Everything that is neither [`Location::SYSMEM`] nor [`Location::UNDEFINED`] means "this GPU". Kept
/// signed as the driver keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Location(pub i32);

impl Location {
    /// System memory.
    pub const SYSMEM: Location = Location(0);
    /// No wish, or (in GET) not the same everywhere.
    pub const UNDEFINED: Location = Location(-1);

    /// Whether it means "this GPU".
    pub const fn is_gpu(self) -> bool {
        self.0 != Self::SYSMEM.0 && self.0 != Self::UNDEFINED.0
    }
    /// From the UAPI's unsigned value.
    pub const fn from_raw(raw: u32) -> Self {
        Location(raw as i32)
    }
    /// The UAPI's unsigned value.
    pub const fn raw(self) -> u32 {
        self.0 as u32
    }
}
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Location::SYSMEM => f.write_str("SYSMEM"),
            Location::UNDEFINED => f.write_str("UNDEFINED"),
            Location(gpu) => write!(f, "GPU({gpu:#x})"),
        }
    }
}

/// What the GPU may do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Access {
    /// Nothing.
    #[default]
    None = 0,
    /// Access; pages may migrate.
    Enable = 1,
    /// Access; pages stay.
    InPlace = 2,
}

impl Access {
    /// `ENABLE` or `IN_PLACE`.
    pub const fn allowed(self) -> bool {
        !matches!(self, Access::None)
    }
    /// The attribute type by which GET reports it.
    pub const fn attr_type(self) -> AttrType {
        match self {
            Access::None => AttrType::NoAccess,
            Access::Enable => AttrType::Access,
            Access::InPlace => AttrType::AccessInPlace,
        }
    }
    /// As the driver spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Access::None => "NONE",
            Access::Enable => "ENABLE",
            Access::InPlace => "IN_PLACE",
        }
    }
}

/// `AMDGPU_SVM_FLAG_*`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// None set.
    pub const NONE: Flags = Flags(0);
    /// The host may access while the GPU owns the page. Mapping.
    pub const HOST_ACCESS: Flags = Flags(0x01);
    /// Coherent with the host. PTE.
    pub const COHERENT: Flags = Flags(0x02);
    /// Local to the hive. Mapping.
    pub const HIVE_LOCAL: Flags = Flags(0x04);
    /// The GPU only reads. PTE.
    pub const GPU_RO: Flags = Flags(0x08);
    /// The GPU may execute. PTE.
    pub const GPU_EXEC: Flags = Flags(0x10);
    /// Mostly read by the GPU. Mapping.
    pub const GPU_READ_MOSTLY: Flags = Flags(0x20);
    /// Keep mapped even with XNACK on. Mapping.
    pub const GPU_ALWAYS_MAPPED: Flags = Flags(0x40);
    /// Coherent, at system scope. PTE.
    pub const EXT_COHERENT: Flags = Flags(0x80);

    /// Every flag there is.
    pub const VALID: Flags = Flags(0xff);
    /// Flags whose change changes PTE bits.
    pub const PTE: Flags = Flags(Self::COHERENT.0 | Self::EXT_COHERENT.0 | Self::GPU_RO.0 | Self::GPU_EXEC.0);
    /// Flags whose change may change where and whether pages are mapped.
    pub const MAPPING: Flags =
        Flags(Self::HOST_ACCESS.0 | Self::HIVE_LOCAL.0 | Self::GPU_READ_MOSTLY.0 | Self::GPU_ALWAYS_MAPPED.0);

    /// Names in order of their bits.
    pub const NAMES: [&'static str; 8] = [
        "HOST_ACCESS",
        "COHERENT",
        "HIVE_LOCAL",
        "GPU_RO",
        "GPU_EXEC",
        "GPU_READ_MOSTLY",
        "GPU_ALWAYS_MAPPED",
        "EXT_COHERENT",
    ];

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    /// Whether a bit of `other` is set.
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
    /// The bits that differ.
    pub const fn differing(self, other: Flags) -> Flags {
        Flags(self.0 ^ other.0)
    }
}
impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, o: Flags) -> Flags {
        Flags(self.0 | o.0)
    }
}
impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, o: Flags) -> Flags {
        Flags(self.0 & o.0)
    }
}
impl Not for Flags {
    type Output = Flags;
    fn not(self) -> Flags {
        Flags(!self.0)
    }
}
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let mut separator = "";
        for (bit, name) in Self::NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        let unknown = self.0 & !Self::VALID.0;
        if unknown != 0 { write!(f, "{separator}{unknown:#x}") } else { Ok(()) }
    }
}
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `struct amdgpu_svm_attrs`: what is known of every page of a node. Equal when all five fields are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Attrs {
    /// V1: stored and reported, without effect on mapping.
    pub preferred_loc: Location,
    /// V1: stored and reported, without effect on mapping.
    pub prefetch_loc: Location,
    /// Flags.
    pub flags: Flags,
    /// log2 pages, at most [`MAX_GRANULARITY`] (or [`MAX_GRANULARITY_V4`]) when set by a request. V1: without effect on
    /// mapping.
    pub granularity: u32,
    /// Access.
    pub access: Access,
}

impl Attrs {
    /// `attr_set_default`: the attributes of a page that no node covers. `default_granularity` is in log2 pages.
    pub const fn defaults(xnack_enabled: bool, default_granularity: u8) -> Self {
        Attrs {
            preferred_loc: Location::UNDEFINED,
            prefetch_loc: Location::UNDEFINED,
            flags: Flags(Flags::HOST_ACCESS.0 | Flags::COHERENT.0),
            granularity: default_granularity as u32,
            access: if xnack_enabled { Access::Enable } else { Access::None },
        }
    }
    /// Whether the GPU may access.
    pub const fn has_access(&self) -> bool {
        self.access.allowed()
    }
}
impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access={} flags={} granularity={}", self.access.name(), self.flags, self.granularity)?;
        if self.preferred_loc != Location::UNDEFINED {
            write!(f, " preferred={}", self.preferred_loc)?;
        }
        if self.prefetch_loc != Location::UNDEFINED {
            write!(f, " prefetch={}", self.prefetch_loc)?;
        }
        Ok(())
    }
}

/// What a change of attributes touches. An empty set means that there was no change to speak of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Trigger(pub u32);

impl Trigger {
    /// Nothing to do.
    pub const NONE: Trigger = Trigger(0);
    /// Access differs, or is asked for again with XNACK off.
    pub const ACCESS: Trigger = Trigger(1);
    /// A flag of [`Flags::PTE`] differs.
    pub const PTE_FLAG: Trigger = Trigger(2);
    /// A flag of [`Flags::MAPPING`] differs.
    pub const MAPPING_FLAG: Trigger = Trigger(4);
    /// One of the locations differs.
    pub const LOCATION: Trigger = Trigger(8);
    /// Granularity differs.
    pub const GRANULARITY: Trigger = Trigger(16);
    /// None of the above: nothing that the mapping could depend on.
    pub const ATTR_ONLY: Trigger = Trigger(32);
    /// From V3 on: the bounds of the request cut a node whose attributes change.
    pub const RANGE_SPLIT: Trigger = Trigger(64);
    /// From V3 on: the pages are to be brought to this GPU, changed or not.
    pub const PREFETCH: Trigger = Trigger(128);

    /// Whether a bit of `other` is set.
    pub const fn any(self, other: Trigger) -> bool {
        self.0 & other.0 != 0
    }
    /// Whether nothing is set.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}
impl BitOr for Trigger {
    type Output = Trigger;
    fn bitor(self, o: Trigger) -> Trigger {
        Trigger(self.0 | o.0)
    }
}
impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] =
            ["ACCESS", "PTE_FLAG", "MAPPING_FLAG", "LOCATION", "GRANULARITY", "ATTR_ONLY", "RANGE_SPLIT", "PREFETCH"];
        if self.is_none() {
            return f.write_str("NONE");
        }
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        Ok(())
    }
}

/// The pages of a request for `size` bytes from byte `start`, both page aligned, `size` not 0: 64-bit arithmetic that
/// wraps, so an interval that reaches over the top of the address space comes out inverted (spec amdgpu-svm 1.5).
pub const fn request_pages(start: u64, size: u64) -> Pages {
    Pages::new(start >> PAGE_SHIFT, start.wrapping_add(size).wrapping_sub(1) >> PAGE_SHIFT)
}
