//! A GPU's own memory: who has which part of it, who must make room, and how other GPUs reach it.
//!
//! Answers to TTM's VRAM manager and eviction (`ttm_bo_evict_alloc`) and to `drm_pagemap_ops.device_map`, `device_unmap`
//! (spec drm-gpusvm 16 to 18, kfd-svm 10). The frames themselves, their contents and lives, are those of
//! [`sim_mm::Memory`] like any others; here only ranges of them are given out.
//!
//! Differences that are meant:
//!
//! - A buffer object is one contiguous range, first fit from the bottom.
//! - The LRU is the order of allocation: copying to a buffer object or mapping it does not move it to the end.
//! - Who needs room asks the driver of the oldest buffer object to empty it, then that of the next, and looks again after
//!   each that did. One that is being emptied for somebody else already is skipped, as a failed trylock of its
//!   reservation skips it; nobody waits for it.
//!
//! # Addresses
//! What a VRAM entry (one without SYSTEM) holds is the offset from the start of the memory in its low [`OFFSET_BITS`]
//! bits. Above them is how often the frame was mapped before, so that a late access is told from one that may be; a peer's
//! memory has [`PEER`] and the number of its pagemap on top. Frames in a row mapped equally often get addresses in a
//! row.

use crate::vm::GpuVm;
use interleave::lab::Lab;
use model::platform::{DmaAddr, Interconnect, Owner, PagemapId, SpinLock, VramBlock};
use model::{Errno, note};
use sim_mm::device_pfn;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bits of an address that are the offset in bytes.
pub const OFFSET_BITS: u32 = 40;
/// In an address: the memory is another GPU's.
pub const PEER: u64 = 1 << 60;
/// Pages of the largest memory.
pub const MOST_PAGES: u64 = 1 << (OFFSET_BITS - model::units::PAGE_SHIFT);

/// The memory of a GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VramConfig {
    /// Its number as memory of processes; unique in the machine, below 256.
    pub pagemap: PagemapId,
    /// Whose pages these are to hmm and migrate_vma.
    pub owner: Owner,
    /// How many pages, at most [`MOST_PAGES`].
    pub pages: u64,
    /// GPUs of one hive reach each other's memory through XGMI. None: no hive.
    pub hive: Option<u32>,
    /// GPUs that all have this reach each other's memory through their BARs.
    pub p2p: bool,
}

impl VramConfig {
    /// Memory of `pages` pages, on a GPU without links, that is nobody's but its own.
    pub const fn new(pagemap: PagemapId, pages: u64) -> Self {
        VramConfig { pagemap, owner: Owner(1 + pagemap.0 as u64), pages, hive: None, p2p: false }
    }

    /// Whether the frame is in this memory.
    pub const fn holds(&self, pfn: u64) -> bool {
        let first = device_pfn(self.pagemap, 0);
        pfn >= first && pfn < first + self.pages
    }

    /// Whether the GPUs reach each other's memory.
    fn is_linked(&self, other: &VramConfig) -> bool {
        (self.hive.is_some() && self.hive == other.hive) || (self.p2p && other.p2p)
    }
}

/// A buffer object.
struct Object {
    pages: u64,
    /// Its place in the LRU.
    age: u64,
    evicting: bool,
}

/// `struct ttm_resource_manager`.
#[derive(Default)]
struct Manager {
    /// By first page in the memory.
    objects: BTreeMap<u64, Object>,
    allocated: u64,
}

impl Manager {
    /// First fit.
    fn allocate(&mut self, pages: u64, size: u64) -> Option<u64> {
        let mut at = 0;
        for (&first, object) in &self.objects {
            if first - at >= pages {
                break;
            }
            at = first + object.pages;
        }
        if size - at < pages {
            return None;
        }
        self.allocated += 1;
        self.objects.insert(at, Object { pages, age: self.allocated, evicting: false });
        Some(at)
    }

    /// The oldest that is younger than `after` and not being emptied, which is marked as such.
    fn victim(&mut self, after: u64) -> Option<(u64, u64, u64)> {
        let candidates = self.objects.iter_mut().filter(|(_, object)| object.age > after && !object.evicting);
        let (&first, object) = candidates.min_by_key(|(_, object)| object.age)?;
        object.evicting = true;
        Some((first, object.pages, object.age))
    }

    /// It was emptied or not; if it is still there somebody else may try.
    fn evicted(&mut self, first: u64, age: u64) {
        if let Some(object) = self.objects.get_mut(&first)
            && object.age == age
        {
            object.evicting = false;
        }
    }
}

/// The hook for eviction.
pub(crate) type OnEvict = Rc<dyn Fn(VramBlock) -> Result<(), Errno>>;

/// The memory of one GPU, as its manager has it.
pub(crate) struct VramManager<L: Lab> {
    config: VramConfig,
    manager: L::SpinLock<Manager>,
    on_evict: OnceCell<OnEvict>,
}

impl<L: Lab> VramManager<L> {
    pub(crate) fn new(config: VramConfig) -> Result<Self, Errno> {
        assert!(config.pages <= MOST_PAGES && config.pagemap.0 < 256, "no such memory: {config:?}");
        let manager = <L::SpinLock<Manager> as SpinLock<Manager>>::new("vram_mgr_lock", Manager::default())?;
        Ok(VramManager { config, manager, on_evict: OnceCell::new() })
    }

    fn block(&self, first: u64, pages: u64) -> VramBlock {
        VramBlock { pfn: device_pfn(self.config.pagemap, first), pages }
    }
}

impl<L: Lab> GpuVm<L> {
    /// What the GPU's memory is, if it has any.
    pub fn vram(&self) -> Option<&VramConfig> {
        self.0.config.vram.as_ref()
    }

    /// Whom [`GpuVm::vram_alloc`] asks to empty a buffer object: TTM's `evict_flags` and `move`, which end in the driver
    /// that made it. Called without locks of ours. Ok: it is empty, and freed or about to be. Without it nothing can be
    /// evicted. Hold what holds this GPU weakly, or it is never freed.
    ///
    /// # Panics
    /// When set twice.
    pub fn on_evict(&self, hook: OnEvict) {
        if let Some(vram) = &self.0.vram {
            assert!(vram.on_evict.set(hook).is_ok(), "the hook is set once");
        }
    }

    /// Allocates a buffer object of `pages` pages. Its pages are zero as far as they are not in use. May evict others,
    /// which sleeps. One scheduling point, two more for each eviction.
    ///
    /// # Errors
    /// `EINVAL` (no pages); `ENOMEM` (no memory; no room, and nothing could be evicted); what was injected at
    /// [`Point::VramAlloc`](crate::inject::Point).
    #[track_caller]
    pub fn vram_alloc(&self, pages: u64) -> Result<VramBlock, Errno> {
        let vram = self.0.vram.as_ref().ok_or(Errno::ENOMEM)?;
        if pages == 0 {
            return Err(Errno::EINVAL);
        }
        self.injected().check(crate::inject::Point::VramAlloc)?;
        if L::fails() {
            return Err(Errno::ENOMEM);
        }
        let mut oldest = 0;
        loop {
            let (found, victim) = {
                let mut manager = vram.manager.lock();
                let found = manager.allocate(pages, vram.config.pages);
                (found, if found.is_none() { manager.victim(oldest) } else { None })
            };
            if let Some(first) = found {
                let block = vram.block(first, pages);
                note!(L, "{}: {pages} page(s) of VRAM from frame {:#x}", self.name(), block.pfn);
                return Ok(block);
            }
            let Some((first, count, age)) = victim else {
                note!(L, "{}: no room for {pages} page(s) of VRAM", self.name());
                return Err(Errno::ENOMEM);
            };
            oldest = age;
            let block = vram.block(first, count);
            note!(L, "{}: evicts {count} page(s) of VRAM from frame {:#x}", self.name(), block.pfn);
            let result = vram.on_evict.get().map_or(Err(Errno::EBUSY), |hook| hook(block));
            if let Err(errno) = result {
                note!(L, "{}: eviction of frame {:#x} failed with {errno}", self.name(), block.pfn);
            }
            vram.manager.lock().evicted(first, age);
        }
    }

    /// Gives a buffer object back. Any context. One scheduling point. What is none is a kernel warning.
    #[track_caller]
    pub fn vram_free(&self, block: VramBlock) {
        let Some(vram) = &self.0.vram else { return };
        let first = block.pfn.wrapping_sub(device_pfn(vram.config.pagemap, 0));
        let known = {
            let mut manager = vram.manager.lock();
            let known = manager.objects.get(&first).is_some_and(|object| object.pages == block.pages);
            if known {
                manager.objects.remove(&first);
            }
            known
        };
        if known {
            note!(L, "{}: {} page(s) of VRAM from frame {:#x} given back", self.name(), block.pages, block.pfn);
        } else {
            L::warn(format_args!("{}: {block:?} is given back, which is no buffer object", self.name()));
        }
    }

    /// `device_map`: the address at which this GPU reaches `1 << order` device pages from `pfn`. No scheduling point.
    ///
    /// # Errors
    /// `EFAULT`: no GPU's memory, or that of one without a link to this. What was injected at
    /// [`Point::DmaMap`](crate::inject::Point).
    #[track_caller]
    pub fn device_map(&self, pfn: u64, order: u8) -> Result<(DmaAddr, Interconnect), Errno> {
        self.injected().check(crate::inject::Point::DmaMap)?;
        if self.vram().is_some_and(|own| own.holds(pfn)) {
            return Ok((self.0.iommu.map_device(pfn, order, 0), Interconnect::Vram));
        }
        let peer = self.kfd().memory_of(pfn).ok_or(Errno::EFAULT)?;
        if !self.vram().is_some_and(|own| own.is_linked(&peer)) {
            note!(L, "{}: no link to the memory of frame {pfn:#x}", self.name());
            return Err(Errno::EFAULT);
        }
        let high = PEER | u64::from(peer.pagemap.0) << 52;
        Ok((self.0.iommu.map_device(pfn, order, high), Interconnect::PeerVram))
    }

    /// `device_unmap`. A scheduling point. From now on an access through that address is a violation of I1, and a second
    /// time one of I5. To leave it away is no leak: the memory need not know who can reach it.
    #[track_caller]
    pub fn device_unmap(&self, addr: DmaAddr, _proto: Interconnect, order: u8) {
        self.0.iommu.unmap_device(addr, order);
    }

    /// Free pages of VRAM, in one piece or not. A scheduling point.
    #[track_caller]
    pub fn vram_free_pages(&self) -> u64 {
        self.0.vram.as_ref().map_or(0, |vram| {
            let manager = vram.manager.lock();
            vram.config.pages - manager.objects.values().map(|object| object.pages).sum::<u64>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_gap_that_is_large_enough_is_taken() {
        let mut manager = Manager::default();
        assert_eq!([4, 2, 2].map(|pages| manager.allocate(pages, 8)), [Some(0), Some(4), Some(6)]);
        assert_eq!(manager.allocate(1, 8), None);
        manager.objects.remove(&4);
        assert_eq!(manager.allocate(3, 8), None, "two pages are free");
        assert_eq!(manager.allocate(1, 8), Some(4));
        manager.objects.remove(&0);
        assert_eq!(manager.allocate(2, 8), Some(0));
        assert_eq!(manager.allocate(2, 8), Some(2));
    }

    #[test]
    fn victims_come_by_age_and_not_twice_at_a_time() {
        let mut manager = Manager::default();
        assert_eq!([1, 1, 1].map(|pages| manager.allocate(pages, 3)), [Some(0), Some(1), Some(2)]);
        manager.objects.remove(&0);
        manager.allocate(1, 3);
        assert_eq!(manager.victim(0), Some((1, 1, 2)), "page 0 was given out again, last of all");
        assert_eq!(manager.victim(0), Some((2, 1, 3)));
        manager.evicted(1, 2);
        assert_eq!(manager.victim(3), Some((0, 1, 4)));
        assert_eq!(manager.victim(0), Some((1, 1, 2)), "it was not emptied");
        assert_eq!(manager.victim(0), None);
    }
}
