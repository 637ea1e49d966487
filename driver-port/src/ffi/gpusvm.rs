//! `gpusvm.c`: the kernel's own drm_gpusvm.

use super::{RawMm, RawRwSem};
use core::ffi::{c_int, c_void};
use core::marker::{PhantomData, PhantomPinned};

opaque! {
    /// A `struct drm_gpusvm` with what our ops need.
    RawGpuSvm;
    /// `struct drm_gpusvm_notifier`.
    RawNotifier;
    /// `struct drm_gpusvm_range`.
    RawRange;
}

/// What `svmlab_c_gpusvm_new` is given.
#[repr(C)]
pub struct RawGpuSvmConfig {
    /// Not terminated.
    pub name: *const u8,
    /// Bytes of it.
    pub name_len: usize,
    /// First legal fault address.
    pub mm_start: u64,
    /// Bytes from there.
    pub mm_range: u64,
    /// Bytes of a notifier.
    pub notifier_size: u64,
    /// Bytes of ranges, descending.
    pub chunk_sizes: [u64; 8],
    /// How many of them.
    pub num_chunks: u32,
    /// Whom callbacks go to.
    pub client: u32,
    /// Bytes of a whole range, the kernel's part included.
    pub range_size: u32,
    /// What it is aligned to.
    pub range_align: u32,
    /// Drops the driver's part of a range.
    pub drop: unsafe extern "C" fn(*mut RawRange),
}

/// `struct drm_gpusvm_ctx`.
#[repr(C)]
pub struct RawGpuSvmCtx {
    /// Bytes.
    pub check_pages_threshold: u64,
    /// `device_private_page_owner`.
    pub owner: u64,
    /// Milliseconds.
    pub timeslice_ms: u64,
    /// `SVMLAB_CTX_*`.
    pub flags: u32,
}

/// `SVMLAB_CTX_READ_ONLY`.
pub const CTX_READ_ONLY: u32 = 1 << 0;
/// `SVMLAB_CTX_DEVMEM_POSSIBLE`.
pub const CTX_DEVMEM_POSSIBLE: u32 = 1 << 1;
/// `SVMLAB_CTX_DEVMEM_ONLY`.
pub const CTX_DEVMEM_ONLY: u32 = 1 << 2;
/// `SVMLAB_CTX_ALLOW_MIXED`.
pub const CTX_ALLOW_MIXED: u32 = 1 << 3;

/// `SVMLAB_GPUSVM_MIGRATE_DEVMEM`.
pub const RANGE_MIGRATE_DEVMEM: u32 = 1 << 0;
/// `SVMLAB_GPUSVM_UNMAPPED`.
pub const RANGE_UNMAPPED: u32 = 1 << 1;
/// `SVMLAB_GPUSVM_PARTIAL_UNMAP`.
pub const RANGE_PARTIAL_UNMAP: u32 = 1 << 2;
/// `SVMLAB_GPUSVM_HAS_DEVMEM_PAGES`.
pub const RANGE_HAS_DEVMEM_PAGES: u32 = 1 << 3;
/// `SVMLAB_GPUSVM_HAS_DMA_MAPPING`.
pub const RANGE_HAS_DMA_MAPPING: u32 = 1 << 4;

/// `struct drm_pagemap_addr`, unpacked.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawDma {
    /// Bus address, or what the interconnect says.
    pub addr: u64,
    /// `enum drm_interconnect_protocol`.
    pub proto: u32,
    /// log2 pages.
    pub order: u8,
    /// DMA_TO_DEVICE, else both ways.
    pub to_device: bool,
}

/// Writes the driver's part of a new range; false: there is none.
pub type RawFill = unsafe extern "C" fn(*mut c_void, *mut RawRange) -> bool;

unsafe extern "C" {
    /// `drm_gpusvm_init` of a new one. Sleeps.
    pub fn svmlab_c_gpusvm_new(config: *const RawGpuSvmConfig, mm: *mut RawMm, out: *mut *mut RawGpuSvm) -> c_int;
    /// Frees one of which no range is left.
    pub fn svmlab_c_gpusvm_free(svm: *mut RawGpuSvm);
    /// `drm_gpusvm_fini`. Sleeps.
    pub fn svmlab_c_gpusvm_fini(svm: *mut RawGpuSvm);
    /// `drm_gpusvm_driver_set_lock`, once.
    pub fn svmlab_c_gpusvm_set_lock(svm: *mut RawGpuSvm, lock: *mut RawRwSem);
    /// `drm_gpusvm_notifier_lock`. Sleeps.
    pub fn svmlab_c_gpusvm_lock(svm: *mut RawGpuSvm);
    /// `drm_gpusvm_notifier_unlock`.
    pub fn svmlab_c_gpusvm_unlock(svm: *mut RawGpuSvm);
    /// `drm_gpusvm_notifier_find`; NULL: none.
    pub fn svmlab_c_gpusvm_notifier_find(svm: *mut RawGpuSvm, start: u64, end: u64) -> *mut RawNotifier;
    /// The next one that begins below `end`; NULL: none.
    pub fn svmlab_c_gpusvm_notifier_next(notifier: *mut RawNotifier, end: u64) -> *mut RawNotifier;
    /// `drm_gpusvm_notifier_start`, `drm_gpusvm_notifier_end`.
    pub fn svmlab_c_gpusvm_notifier_bytes(notifier: *mut RawNotifier, start: *mut u64, end: *mut u64);
    /// `drm_gpusvm_range_find`; NULL: none.
    pub fn svmlab_c_gpusvm_range_find(notifier: *mut RawNotifier, start: u64, end: u64) -> *mut RawRange;
    /// The next one that begins below `end`; NULL: none.
    pub fn svmlab_c_gpusvm_range_next(range: *mut RawRange, end: u64) -> *mut RawRange;
    /// `drm_gpusvm_range_start`, `drm_gpusvm_range_end`.
    pub fn svmlab_c_gpusvm_range_bytes(range: *mut RawRange, start: *mut u64, end: *mut u64);
    /// `RANGE_*`.
    pub fn svmlab_c_gpusvm_range_flags(range: *mut RawRange) -> u32;
    /// `kref_read`.
    pub fn svmlab_c_gpusvm_range_refcount(range: *mut RawRange) -> u32;
    /// `drm_gpusvm_range_get`.
    pub fn svmlab_c_gpusvm_range_get(range: *mut RawRange);
    /// `drm_gpusvm_range_put`.
    pub fn svmlab_c_gpusvm_range_put(range: *mut RawRange);
    /// `drm_gpusvm_range_find_or_insert`, a new one filled by `fill(arg, range)`. Driver lock. Sleeps.
    pub fn svmlab_c_gpusvm_find_or_insert(
        svm: *mut RawGpuSvm,
        fault: u64,
        start: u64,
        end: u64,
        ctx: *const RawGpuSvmCtx,
        fill: RawFill,
        arg: *mut c_void,
        out: *mut *mut RawRange,
    ) -> c_int;
    /// `drm_gpusvm_range_remove`. Driver lock. Sleeps.
    pub fn svmlab_c_gpusvm_range_remove(svm: *mut RawGpuSvm, range: *mut RawRange);
    /// `drm_gpusvm_range_get_pages`. Driver lock. Sleeps.
    pub fn svmlab_c_gpusvm_get_pages(svm: *mut RawGpuSvm, range: *mut RawRange, ctx: *const RawGpuSvmCtx) -> c_int;
    /// `drm_gpusvm_range_pages_valid`. Notifier lock.
    pub fn svmlab_c_gpusvm_pages_valid(svm: *mut RawGpuSvm, range: *mut RawRange) -> bool;
    /// The DMA mapping in this slot; false: there is no array. Notifier lock.
    pub fn svmlab_c_gpusvm_dma(range: *mut RawRange, slot: u64, dma: *mut RawDma) -> bool;
    /// `drm_gpusvm_range_unmap_pages`. Notifier lock for write, or, not `in_notifier`, takes it for read.
    pub fn svmlab_c_gpusvm_unmap_pages(svm: *mut RawGpuSvm, range: *mut RawRange, in_notifier: bool);
    /// `drm_gpusvm_range_set_unmapped`. Notifier lock for write.
    pub fn svmlab_c_gpusvm_set_unmapped(range: *mut RawRange, start: u64, end: u64);
    /// `drm_gpusvm_range_evict`. Sleeps.
    pub fn svmlab_c_gpusvm_range_evict(svm: *mut RawGpuSvm, range: *mut RawRange) -> c_int;
    /// `drm_gpusvm_has_mapping`. Driver lock.
    pub fn svmlab_c_gpusvm_has_mapping(svm: *mut RawGpuSvm, start: u64, end: u64) -> bool;
    /// `drm_gpusvm_find_vma_start`; `u64::MAX`: none. Sleeps.
    pub fn svmlab_c_gpusvm_find_vma_start(svm: *mut RawGpuSvm, start: u64, end: u64) -> u64;
}
