//! GET_ATTR: `svm_range_get_attr`. Spec peer-tests 0.4. Holes count only when there is nothing else.

use super::Svms;
use super::attrs::{Attrs, LOCATION_UNDEFINED};
use super::gpus::GpuSet;
use super::mmap::Mmap;
use crate::Errno;
use crate::attr::{AttrType, UapiAttr};
use crate::platform::{Kernel, Mm, Plant, Platform, Shared, Work};
use crate::units::Pages;

/// What the ranges of an interval have in common.
struct Merged {
    preferred_loc: Location,
    prefetch_loc: Location,
    access: GpuSet,
    aip: GpuSet,
    flags_and: u32,
    flags_or: u32,
    granularity: u8,
}

/// A location over several ranges: differing, or undefined once, is undefined.
#[derive(Clone, Copy)]
enum Location {
    Nothing,
    All(u32),
    Mixed,
}

impl Location {
    fn merge(&mut self, location: u32) {
        *self = match *self {
            _ if location == LOCATION_UNDEFINED => Location::Mixed,
            Location::Nothing => Location::All(location),
            Location::All(other) if other == location => Location::All(other),
            _ => Location::Mixed,
        };
    }

    fn value(self) -> u32 {
        match self {
            Location::All(location) => location,
            Location::Nothing | Location::Mixed => LOCATION_UNDEFINED,
        }
    }
}

impl Merged {
    fn start(supported: GpuSet) -> Self {
        Merged {
            preferred_loc: Location::Nothing,
            prefetch_loc: Location::Nothing,
            access: supported,
            aip: supported,
            flags_and: u32::MAX,
            flags_or: 0,
            granularity: u8::MAX,
        }
    }

    fn merge(&mut self, attrs: &Attrs) {
        self.preferred_loc.merge(attrs.preferred_loc);
        self.prefetch_loc.merge(attrs.prefetch_loc);
        self.access = self.access.and(attrs.access);
        self.aip = self.aip.and(attrs.aip);
        self.flags_and &= attrs.flags.0;
        self.flags_or |= attrs.flags.0;
        self.granularity = self.granularity.min(attrs.granularity);
    }
}

impl<P: Platform> Svms<P> {
    /// `svm_range_get_attr`. Nothing held. Waits for the deferred work. The answer to ACCESS is its *type*.
    ///
    /// # Errors
    /// `EFAULT`, `EADDRINUSE` (the interval), `EINVAL`: a type that may not be asked for, nothing is answered then; or an
    /// unknown GPU, elements before it are answered already.
    pub(super) fn get_attr(&self, pages: Pages, attrs: &mut [UapiAttr]) -> Result<(), Errno> {
        self.deferred_work.flush();
        {
            let mmap = self.mm.mmap_read_lock();
            self.is_valid(Mmap::Read(&mmap), pages.bytes())?;
        }
        let allowed =
            |attr: &UapiAttr| !matches!(attr.known(), None | Some(AttrType::AccessInPlace | AttrType::NoAccess));
        if !attrs.iter().all(allowed) {
            return Err(Errno::EINVAL);
        }
        let merged = self.merged(pages);
        for attr in attrs {
            match attr.known() {
                Some(AttrType::PreferredLoc) => attr.value = merged.preferred_loc.value(),
                Some(AttrType::PrefetchLoc) => attr.value = merged.prefetch_loc.value(),
                Some(AttrType::Access) => {
                    let gpu = self.gpu_index(attr.value).ok_or(Errno::EINVAL)?;
                    let ty = match (merged.access.has(gpu), merged.aip.has(gpu)) {
                        (true, _) => AttrType::Access,
                        (_, true) => AttrType::AccessInPlace,
                        _ => AttrType::NoAccess,
                    };
                    attr.ty = ty as u32;
                }
                Some(AttrType::SetFlags) => attr.value = merged.flags_and,
                Some(AttrType::ClrFlags) => attr.value = !merged.flags_or,
                Some(AttrType::Granularity) => attr.value = merged.granularity.into(),
                _ => {}
            }
        }
        Ok(())
    }

    fn merged(&self, pages: Pages) -> Merged {
        let _svms = (!P::Kernel::planted(Plant::UverbsReadAfterPublish)).then(|| self.lock_svms());
        let mut merged = Merged::start(self.supported());
        let mut next = self.objects.first_overlap(&self.ranges, pages.first, pages.last);
        if next.is_none() {
            merged.merge(&self.default_attrs());
        }
        while let Some(handle) = next {
            merged.merge(&self.range(handle).attrs.read_once());
            next = self.objects.next_overlap(&self.ranges, handle, pages.last);
        }
        merged
    }
}
