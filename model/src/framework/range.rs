//! The range: the unit that is mapped, invalidated and removed as a whole. What the framework keeps of it, and what the
//! driver adds. Spec drm-gpusvm 1.

use super::{Framework, RangeBase};
use crate::platform::{Handle, Platform};
use crate::units::{Bytes, PAGE_SHIFT};

/// A reference-by-hand to a [`Range`]. Copying it takes no reference: see [`Instance::range_get`](super::Instance::range_get).
pub type RangeHandle<P, R> = Handle<Range<P, R>>;

/// A driver's range: the framework's part, and `driver`, what the driver adds (the kernel's `range_alloc` op).
///
/// Laid out as C does it, so that one who has a pointer to the framework's part (`struct drm_gpusvm_range *`) has one to
/// the whole.
#[repr(C)]
pub struct Range<P: Platform, R: 'static> {
    base: <P::Framework as Framework<P>>::RangeBase<R>,
    /// The driver's part; its fields say what protects them.
    pub driver: R,
}

impl<P: Platform, R: 'static> Range<P, R> {
    /// For frameworks: both parts together.
    pub const fn new(base: <P::Framework as Framework<P>>::RangeBase<R>, driver: R) -> Self {
        Range { base, driver }
    }

    /// The framework's part.
    pub const fn base(&self) -> &<P::Framework as Framework<P>>::RangeBase<R> {
        &self.base
    }

    /// `[start, end)`, aligned to its own size. Constant.
    pub fn bytes(&self) -> Bytes {
        self.base.bytes()
    }

    /// Number of pages. Constant.
    pub fn npages(&self) -> usize {
        (self.bytes().len() >> PAGE_SHIFT) as usize
    }

    /// `READ_ONCE` of the flag word: exact under the notifier lock, a hint without.
    #[track_caller]
    pub fn flags(&self) -> RangeFlags {
        self.base.flags()
    }

    /// How many references there are. Exact at rest only.
    #[track_caller]
    pub fn refcount(&self) -> u64 {
        self.base.refcount()
    }
}

/// `struct drm_gpusvm_pages_flags`: one word, so that it can be read and written at once. Spec drm-gpusvm 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RangeFlags {
    /// Memory of this range may live on the device. Set at creation, never changed.
    pub migrate_devmem: bool,
    /// An UNMAP event hit the range. Never cleared: the range is garbage.
    pub unmapped: bool,
    /// An UNMAP event hit the range and left a part of it alone. Never cleared.
    pub partial_unmap: bool,
    /// Device pages are mapped.
    pub has_devmem_pages: bool,
    /// Pages are DMA mapped.
    pub has_dma_mapping: bool,
}
