//! A GPU's own memory and its copy engine: TTM's VRAM manager, SDMA, `drm_pagemap_ops.device_map`.
//!
//! Source: spec drm-gpusvm.md 16-18, kfd-svm.md 10.

use super::{DmaAddr, Fence, Kernel, Owner, PagemapId};
use crate::Errno;

/// Memory of the GPU as a buffer object holds it: contiguous device page frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VramBlock {
    /// Frame number of its first page.
    pub pfn: u64,
    /// How many pages.
    pub pages: u64,
}

/// How a page lies as seen by a GPU (`enum drm_interconnect_protocol`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Interconnect {
    /// DRM_INTERCONNECT_SYSTEM: system memory behind the IOMMU.
    System,
    /// First driver value: the GPU's own VRAM; the address counts from the start of the memory.
    Vram,
    /// Second driver value: another GPU's VRAM, through its BAR or XGMI.
    PeerVram,
}

/// One contiguous piece of copying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyJob {
    /// First source frame.
    pub from: u64,
    /// First destination frame.
    pub to: u64,
    /// How many pages.
    pub pages: u64,
}

/// VRAM of one GPU. What is not implemented is that of a GPU without VRAM.
pub trait Vram<K: Kernel> {
    /// The device-private memory of this GPU; None: it has no VRAM that processes can use.
    fn pagemap(&self) -> Option<PagemapId> {
        None
    }
    /// The pagemap's owner; [`Owner::NONE`] without VRAM.
    fn owner(&self) -> Owner {
        Owner::NONE
    }
    /// Bytes of VRAM in all.
    fn vram_size(&self) -> u64 {
        0
    }
    /// Allocates a buffer object of `pages` pages, cleared to zero. May evict other buffer objects first, which calls
    /// the driver back.
    ///
    /// # Errors
    /// `ENOMEM` (no room in VRAM and nothing could be evicted).
    #[track_caller]
    fn vram_alloc(&self, _pages: u64) -> Result<VramBlock, Errno> {
        Err(Errno::ENOMEM)
    }
    /// Gives a buffer object back. Any context.
    #[track_caller]
    fn vram_free(&self, _block: VramBlock) {}
    /// Queues a copy on the copy engine (either side may be system memory or device memory). The copy runs later, on
    /// its own; the fence signals when it is done.
    ///
    /// # Errors
    /// `ENODEV` (unplugged), `ENOMEM`.
    #[track_caller]
    fn copy(&self, _copies: &[CopyJob]) -> Result<Fence, Errno> {
        Err(Errno::ENODEV)
    }
    /// `drm_pagemap_ops.device_map`: how this GPU reaches `1 << order` device pages from `pfn`, its own or a peer's.
    ///
    /// # Errors
    /// `EFAULT` (no link to that GPU).
    #[track_caller]
    fn device_map(&self, _pfn: u64, _order: u8) -> Result<(DmaAddr, Interconnect), Errno> {
        Err(Errno::EFAULT)
    }
    /// `drm_pagemap_ops.device_unmap`.
    #[track_caller]
    fn device_unmap(&self, _addr: DmaAddr, _proto: Interconnect, _order: u8) {}
}
