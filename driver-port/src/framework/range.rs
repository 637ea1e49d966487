//! A range is one object of C's: `struct drm_gpusvm_range` at its begin, the driver's part behind it, where
//! [`Range`] says. Its handle is its address.

use super::OnDrm;
use crate::ffi::gpusvm::{self as ffi, RawRange};
use crate::gate::{self, Kind};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr;
use model::framework::{Range, RangeBase, RangeFlags, RangeHandle};
use model::platform::{Handle, Objects};
use model::units::Bytes;

/// `SVMLAB_RANGE_BYTES`: C asserts that its part fits.
const RANGE_BYTES: usize = 256;

/// The kernel's part of a range.
///
/// # Invariants
/// It is a live `struct drm_gpusvm_range`, which only C makes, looks into and changes, with the locks that it says.
#[repr(C, align(16))]
pub struct DrmRange {
    raw: UnsafeCell<MaybeUninit<[u8; RANGE_BYTES]>>,
}

impl DrmRange {
    fn as_raw(&self) -> *mut RawRange {
        self.raw.get().cast()
    }
}

impl RangeBase for DrmRange {
    fn bytes(&self) -> Bytes {
        let (mut start, mut end) = (0, 0);
        // SAFETY: the range is live, and its interval never changes.
        unsafe { ffi::svmlab_c_gpusvm_range_bytes(self.as_raw(), &mut start, &mut end) };
        Bytes::new(start, end)
    }

    #[track_caller]
    fn flags(&self) -> RangeFlags {
        gate::point(Kind::Load, Location::caller());
        // SAFETY: the range is live; C reads the word at once.
        let flags = unsafe { ffi::svmlab_c_gpusvm_range_flags(self.as_raw()) };
        let has = |bit| flags & bit != 0;
        RangeFlags {
            migrate_devmem: has(ffi::RANGE_MIGRATE_DEVMEM),
            unmapped: has(ffi::RANGE_UNMAPPED),
            partial_unmap: has(ffi::RANGE_PARTIAL_UNMAP),
            has_devmem_pages: has(ffi::RANGE_HAS_DEVMEM_PAGES),
            has_dma_mapping: has(ffi::RANGE_HAS_DMA_MAPPING),
        }
    }

    #[track_caller]
    fn refcount(&self) -> u64 {
        gate::point(Kind::Load, Location::caller());
        // SAFETY: the range is live.
        u64::from(unsafe { ffi::svmlab_c_gpusvm_range_refcount(self.as_raw()) })
    }
}

/// The range of a handle.
pub(super) fn to_raw<P: OnDrm, R: 'static>(range: RangeHandle<P, R>) -> *mut RawRange {
    range.to_bits() as *mut RawRange
}

/// The handle of a range.
pub(super) fn from_raw<P: OnDrm, R: 'static>(range: *mut RawRange) -> Option<RangeHandle<P, R>> {
    (!range.is_null()).then(|| Handle::from_bits(range as u64))
}

/// Bytes of a whole range and what it is aligned to.
pub(super) const fn layout<P: OnDrm, R: 'static>() -> (usize, usize) {
    (size_of::<Range<P, R>>(), align_of::<Range<P, R>>())
}

/// Writes what `data`, an `Option<D>`, gives as the driver's part of a new range; false when it was used up before.
///
/// # Safety
/// `data` points to an `Option<D>` that nobody else uses; `range` to memory of the size and alignment of `Range<P, R>`, that
/// nobody else knows yet.
pub(super) unsafe extern "C" fn fill<P: OnDrm, R: 'static, D: FnOnce() -> R>(
    data: *mut c_void,
    range: *mut RawRange,
) -> bool {
    // SAFETY: promised by the caller.
    let Some(data) = (unsafe { (*data.cast::<Option<D>>()).take() }) else { return false };
    let range = range.cast::<Range<P, R>>();
    // SAFETY: the field lies in memory that is ours, and what is there now is no value.
    unsafe { (&raw mut (*range).driver).write(data()) };
    true
}

/// Drops the driver's part of a range.
///
/// # Safety
/// `range` was filled by [`fill`] of the same types, and nobody uses it any more.
pub(super) unsafe extern "C" fn drop_driver<P: OnDrm, R: 'static>(range: *mut RawRange) {
    // SAFETY: promised by the caller.
    unsafe { ptr::drop_in_place(&raw mut (*range.cast::<Range<P, R>>()).driver) };
}

/// Where ranges live: at the address that is their handle.
pub struct Ranges;

impl<P: OnDrm, R: 'static> Objects<Range<P, R>> for Ranges {
    #[track_caller]
    fn get(&self, handle: RangeHandle<P, R>) -> &Range<P, R> {
        gate::point(Kind::Get, Location::caller());
        // SAFETY: a handle comes from the kernel and is used until its last reference is put: the model counts its ranges,
        // and the simulator checks that it does. Where a design does not (the postings' races), this is the same use after
        // free as in C. The kernel's part may be changed by C meanwhile, which is why it is a cell.
        unsafe { &*(handle.to_bits() as *const Range<P, R>) }
    }
}
