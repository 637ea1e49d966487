//! What an instance is made with, and what a call is given: the arguments of `drm_gpusvm_init`, `struct drm_gpusvm_ctx`.

use crate::Errno;
use crate::platform::{ClientId, Owner};
use crate::units::PAGE_SIZE;

/// How many sizes fit.
const MAX_SIZES: usize = 8;

/// The sizes a range may have, in bytes: powers of two, descending, the last one a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkSizes {
    sizes: [u64; MAX_SIZES],
    count: usize,
}

impl ChunkSizes {
    /// 2 MiB, 64 KiB, 4 KiB: what amdgpu and xe use.
    pub const DEFAULT: ChunkSizes = match ChunkSizes::new(&[2 << 20, 64 << 10, 4 << 10]) {
        Ok(sizes) => sizes,
        Err(_) => unreachable!(),
    };

    /// No sizes at all. [`Instance::new`](super::Instance::new) refuses it.
    pub const EMPTY: ChunkSizes = ChunkSizes { sizes: [0; MAX_SIZES], count: 0 };

    /// From a list that the kernel trusts its drivers to get right; here it is looked at.
    ///
    /// # Errors
    /// `EINVAL`: more than eight, not a power of two, not descending, or the last one is not 4 KiB. An empty list is
    /// accepted here.
    pub const fn new(list: &[u64]) -> Result<Self, Errno> {
        let mut sizes = [0; MAX_SIZES];
        if list.len() > MAX_SIZES {
            return Err(Errno::EINVAL);
        }
        let mut i = 0;
        while i < list.len() {
            if !list[i].is_power_of_two() || (i > 0 && list[i] >= list[i - 1]) {
                return Err(Errno::EINVAL);
            }
            sizes[i] = list[i];
            i += 1;
        }
        if i > 0 && list[i - 1] != PAGE_SIZE {
            return Err(Errno::EINVAL);
        }
        Ok(ChunkSizes { sizes, count: i })
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sizes, largest first.
    pub fn as_slice(&self) -> &[u64] {
        &self.sizes[..self.count]
    }
}

/// What an instance is made with (`drm_gpusvm_init`). Spec drm-gpusvm 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// For timelines.
    pub name: &'static str,
    /// First legal fault address, bytes.
    pub mm_start: u64,
    /// Length of the legal fault window in bytes. The address `mm_start + mm_range` itself passes, as in the kernel.
    pub mm_range: u64,
    /// Size and alignment of a notifier in bytes, a power of two.
    pub notifier_size: u64,
    /// The sizes a range may have.
    pub chunk_sizes: ChunkSizes,
    /// Whom the callbacks of this instance's notifiers go to.
    pub client: ClientId,
}

/// Per-call options (`struct drm_gpusvm_ctx`). The kernel's `in_notifier` is two functions here
/// ([`unmap_pages`](super::Instance::unmap_pages), [`unmap_pages_in_notifier`](super::Instance::unmap_pages_in_notifier)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ctx {
    /// The GPU will only read: a VMA without write permission is fine, pages are faulted in for read and mapped
    /// `DMA_TO_DEVICE`.
    pub read_only: bool,
    /// In bytes: a chunk of at most this size (and more than 4 KiB) is chosen only where the CPU has all its pages.
    /// 0 switches the test off.
    pub check_pages_threshold: u64,
    /// The driver can put anonymous memory on the device: remembered in a new range's `migrate_devmem`.
    pub devmem_possible: bool,
    /// System pages are refused with `EFAULT`.
    pub devmem_only: bool,
    /// `device_private_page_owner`: device pages of this owner are mapped where they are; those of others are first
    /// brought back to system memory. [`Owner::NONE`]: all are.
    pub owner: Owner,
    /// For how many milliseconds memory that goes to the device may not be taken back by the CPU. Nothing here looks at
    /// it; the driver hands it on to [`Pagemap`](crate::pagemap::Pagemap).
    pub timeslice_ms: u64,
    /// A mapping may be part device, part system memory, and lie in several allocations of one device.
    pub allow_mixed: bool,
}
