//! Asking for attributes: `attr_get` merges over all pages of the interval, holes as defaults, and writes the answers
//! into the request.
//!
//! Source: spec amdgpu-svm 1.5, 1.6, 4.1.

use super::nodes::AttrTree;
use super::types::{Access, AttrType, Attrs, Flags, Location, UapiAttr};
use super::uapi::Uapi;
use super::v4::{self, AttrTypeV4};
use super::validate::check_get_type;
use crate::Errno;
use crate::platform::Kernel;
use crate::units::Pages;

/// `struct attr_get_ctx`: what has been seen so far.
#[derive(Clone, Copy)]
struct Merged {
    preferred_loc: Location,
    prefetch_loc: Location,
    access: Access,
    granularity: u32,
    flags_and: Flags,
    flags_or: Flags,
}

impl Merged {
    /// One segment.
    fn first(attrs: &Attrs) -> Self {
        Merged {
            preferred_loc: attrs.preferred_loc,
            prefetch_loc: attrs.prefetch_loc,
            access: attrs.access,
            granularity: attrs.granularity,
            flags_and: attrs.flags,
            flags_or: attrs.flags,
        }
    }

    /// One segment more.
    fn merge(&mut self, attrs: &Attrs) {
        if self.preferred_loc != attrs.preferred_loc {
            self.preferred_loc = Location::UNDEFINED;
        }
        if self.prefetch_loc != attrs.prefetch_loc {
            self.prefetch_loc = Location::UNDEFINED;
        }
        if self.access != attrs.access {
            self.access = Access::None;
        }
        self.granularity = self.granularity.min(attrs.granularity);
        self.flags_and = self.flags_and & attrs.flags;
        self.flags_or = self.flags_or | attrs.flags;
    }

    /// Writes the answer into `attr`.
    fn answer(&self, uapi: Uapi, attr: &mut UapiAttr) -> Result<(), Errno> {
        match uapi {
            Uapi::V1 => self.answer_v1(attr),
            Uapi::V4 => self.answer_v4(attr),
        }
    }

    /// The answer to ACCESS is the type; the value stays what the caller gave.
    fn answer_v1(&self, attr: &mut UapiAttr) -> Result<(), Errno> {
        match check_get_type(attr.ty)? {
            AttrType::PreferredLoc => attr.value = self.preferred_loc.raw(),
            AttrType::PrefetchLoc => attr.value = self.prefetch_loc.raw(),
            AttrType::Access | AttrType::AccessInPlace | AttrType::NoAccess => {
                attr.ty = self.access.attr_type() as u32;
            }
            AttrType::SetFlags => attr.value = self.flags_and.0,
            AttrType::ClrFlags => attr.value = !self.flags_or.0,
            AttrType::Granularity => attr.value = self.granularity,
        }
        Ok(())
    }

    /// Types stay what they are. A flag is reported set when all pages have it; whether the others are all without it can
    /// not be asked any more.
    fn answer_v4(&self, attr: &mut UapiAttr) -> Result<(), Errno> {
        let ty = AttrTypeV4::from_raw(attr.ty).ok_or(Errno::EINVAL)?;
        attr.value = match ty {
            AttrTypeV4::PreferredLoc => self.preferred_loc.raw(),
            AttrTypeV4::PrefetchLoc => self.prefetch_loc.raw(),
            AttrTypeV4::Access => v4::access_value(self.access),
            AttrTypeV4::Granularity => self.granularity,
            _ => u32::from(ty.flag().is_some_and(|flag| self.flags_and.has(flag))),
        };
        Ok(())
    }
}

impl<K: Kernel> AttrTree<K> {
    /// Answers every attribute of `request` for `pages`, in place and in order. An inverted interval, as
    /// [`request_pages`](super::request_pages) makes of one that wraps, is answered with the defaults.
    ///
    /// # Errors
    /// `EINVAL` at the first attribute whose type may not be asked for; those before it are answered already.
    #[track_caller]
    pub fn get(&self, pages: Pages, request: &mut [UapiAttr]) -> Result<(), Errno> {
        let mut merged: Option<Merged> = None;
        for segment in self.segments(pages) {
            match &mut merged {
                None => merged = Some(Merged::first(&segment.attrs)),
                Some(merged) => merged.merge(&segment.attrs),
            }
        }
        let merged = merged.unwrap_or_else(|| Merged::first(&self.defaults()));
        request.iter_mut().try_for_each(|attr| merged.answer(self.uapi(), attr))
    }
}
