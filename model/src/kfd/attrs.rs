//! Attributes of a range and what an ioctl does with them. The numbers are the UAPI's, which [`crate::attr`] shares.
//!
//! Answers to `svm_range_set_default_attributes`, `_check_attr`, `_apply_attrs`, `_is_same_attrs`. Spec kfd-svm 3.1,
//! peer-tests 0.4.

use super::Svms;
use super::gpus::GpuSet;
use crate::Errno;
use crate::attr::{AttrType, Flags, MAX_GRANULARITY, UapiAttr};
use crate::platform::Platform;

/// `KFD_IOCTL_SVM_LOCATION_SYSMEM`.
pub const LOCATION_SYSMEM: u32 = 0;
/// `KFD_IOCTL_SVM_LOCATION_UNDEFINED`.
pub const LOCATION_UNDEFINED: u32 = u32::MAX;

/// The attributes of a range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Attrs {
    /// GPU id, [`LOCATION_SYSMEM`] or [`LOCATION_UNDEFINED`].
    pub preferred_loc: u32,
    /// Likewise.
    pub prefetch_loc: u32,
    /// Flags.
    pub flags: Flags,
    /// log2 pages of a migration block.
    pub granularity: u8,
    /// GPUs that may access; pages may migrate to them.
    pub access: GpuSet,
    /// GPUs that access in place.
    pub aip: GpuSet,
}

impl Attrs {
    /// Every GPU that may access.
    pub const fn accessible(&self) -> GpuSet {
        self.access.or(self.aip)
    }
}

impl<P: Platform> Svms<P> {
    /// `svm_range_set_default_attributes`, and the access of a new range.
    pub(super) fn default_attrs(&self) -> Attrs {
        Attrs {
            preferred_loc: LOCATION_UNDEFINED,
            prefetch_loc: LOCATION_UNDEFINED,
            flags: Flags::HOST_ACCESS | Flags::COHERENT,
            granularity: self.config.default_granularity,
            access: if self.config.xnack { self.supported() } else { GpuSet::EMPTY },
            aip: GpuSet::EMPTY,
        }
    }

    /// `svm_range_check_attr`.
    ///
    /// # Errors
    /// `EINVAL`: an unknown type, or an unknown GPU. A prefetch to nowhere in particular is not known either.
    pub(super) fn check_attrs(&self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        for attr in attrs {
            let gpu = match attr.known().ok_or(Errno::EINVAL)? {
                AttrType::PreferredLoc if attr.value == LOCATION_UNDEFINED => None,
                AttrType::PreferredLoc | AttrType::PrefetchLoc if attr.value == LOCATION_SYSMEM => None,
                AttrType::PreferredLoc | AttrType::PrefetchLoc => Some(attr.value),
                AttrType::Access | AttrType::AccessInPlace | AttrType::NoAccess => Some(attr.value),
                AttrType::SetFlags | AttrType::ClrFlags | AttrType::Granularity => None,
            };
            if let Some(id) = gpu {
                self.gpu_index(id).ok_or(Errno::EINVAL)?;
            }
        }
        Ok(())
    }

    /// `svm_range_is_same_attrs`: whether `attrs` would change nothing. A prefetch always counts as a change.
    pub(super) fn is_same(&self, old: &Attrs, attrs: &[UapiAttr]) -> bool {
        attrs.iter().all(|attr| {
            let gpu = self.gpu_index(attr.value);
            match attr.known() {
                Some(AttrType::PreferredLoc) => old.preferred_loc == attr.value,
                Some(AttrType::PrefetchLoc) | None => false,
                Some(AttrType::Access) => gpu.is_some_and(|gpu| old.access.has(gpu)),
                Some(AttrType::AccessInPlace) => gpu.is_some_and(|gpu| old.aip.has(gpu)),
                Some(AttrType::NoAccess) => gpu.is_some_and(|gpu| !old.accessible().has(gpu)),
                Some(AttrType::SetFlags) => old.flags.has(Flags(attr.value)),
                Some(AttrType::ClrFlags) => !old.flags.any(Flags(attr.value)),
                Some(AttrType::Granularity) => u32::from(old.granularity) == attr.value,
            }
        })
    }

    /// `svm_range_apply_attrs`: the new attributes, and whether the mapping has to be looked at. `attrs` is checked.
    /// Access that is lost is not unmapped (a TODO of the original).
    pub(super) fn apply(&self, mut new: Attrs, attrs: &[UapiAttr]) -> (Attrs, bool) {
        let mut update_mapping = false;
        for attr in attrs {
            let gpu = self.gpu_index(attr.value).unwrap_or(0);
            match attr.known() {
                Some(AttrType::PreferredLoc) => new.preferred_loc = attr.value,
                Some(AttrType::PrefetchLoc) => new.prefetch_loc = attr.value,
                Some(ty @ (AttrType::Access | AttrType::AccessInPlace | AttrType::NoAccess)) => {
                    update_mapping |= !self.config.xnack;
                    new.access = new.access.without(gpu);
                    new.aip = new.aip.without(gpu);
                    match ty {
                        AttrType::Access => new.access = new.access.with(gpu),
                        AttrType::AccessInPlace => new.aip = new.aip.with(gpu),
                        _ => {}
                    }
                }
                Some(AttrType::SetFlags) => {
                    update_mapping = true;
                    new.flags = new.flags | Flags(attr.value);
                }
                Some(AttrType::ClrFlags) => {
                    update_mapping = true;
                    new.flags = new.flags & !Flags(attr.value);
                }
                Some(AttrType::Granularity) => new.granularity = attr.value.min(MAX_GRANULARITY) as u8,
                None => {}
            }
        }
        (new, update_mapping)
    }
}
