//! A GPU of which the DMA API, the memory and the copy engine are real.

use super::frames::Frames;
use super::{ScriptMm, Seq, allocate, holds, log, shared};
use model::Errno;
use model::platform::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a bus address leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Live {
    pfn: u64,
    order: u8,
    /// None for device memory.
    direction: Option<DmaDirection>,
    proto: Interconnect,
}

type Evict = Rc<dyn Fn(VramBlock) -> Result<(), Errno>>;

/// The GPU's own memory.
struct Memory {
    page: DevicePage,
    first: u64,
    pages: u64,
    /// In the order of their allocation.
    blocks: Vec<VramBlock>,
    evict: Option<Evict>,
}

#[derive(Default)]
struct State {
    next: u64,
    live: BTreeMap<u64, Live>,
    /// Mappings until one fails.
    fail_in: Option<usize>,
    total: usize,
    memory: Option<Memory>,
    /// The engine's next answer.
    fail_copy: Option<Errno>,
    /// Queued, by fence.
    queued: BTreeMap<u64, Vec<CopyJob>>,
}

/// The GPU.
#[derive(Clone, Default)]
pub(crate) struct ScriptGpu {
    state: Rc<RefCell<State>>,
    frames: Frames,
}

impl ScriptGpu {
    pub(crate) fn new(frames: Frames) -> Self {
        ScriptGpu { frames, ..Self::default() }
    }
    /// Gives it memory: `pages` frames from `first` on.
    pub(crate) fn add_memory(&self, page: DevicePage, first: u64, pages: u64) {
        self.frames.add_pagemap(first, pages, page);
        self.state.borrow_mut().memory = Some(Memory { page, first, pages, blocks: Vec::new(), evict: None });
    }
    pub(crate) fn on_evict(&self, evict: Evict) {
        self.state.borrow_mut().memory.as_mut().expect("it has memory").evict = Some(evict);
    }
    /// What is allocated, oldest first.
    pub(crate) fn blocks(&self) -> Vec<VramBlock> {
        self.state.borrow().memory.as_ref().map_or(Vec::new(), |memory| memory.blocks.clone())
    }
    pub(crate) fn fail_copy(&self, error: Errno) {
        self.state.borrow_mut().fail_copy = Some(error);
    }
    /// Mappings that are alive.
    pub(crate) fn live(&self) -> usize {
        self.state.borrow().live.len()
    }
    /// Mappings ever made.
    pub(crate) fn total(&self) -> usize {
        self.state.borrow().total
    }
    pub(crate) fn fail_in(&self, mappings: usize) {
        self.state.borrow_mut().fail_in = Some(mappings);
    }
    /// The frame a bus address leads to.
    pub(crate) fn pfn_at(&self, addr: DmaAddr) -> u64 {
        self.state.borrow().live.get(&addr.0).expect("I3: the bus address is not mapped").pfn
    }
    pub(crate) fn directions(&self) -> Vec<DmaDirection> {
        self.state.borrow().live.values().filter_map(|mapping| mapping.direction).collect()
    }

    fn map(&self, new: Live) -> Result<DmaAddr, Errno> {
        assert!(
            holds("notifier_lock") || shared(|s| s.migrating),
            "pages are mapped under the notifier lock, or between collecting and finalizing"
        );
        let mut state = self.state.borrow_mut();
        match &mut state.fail_in {
            Some(0) => {
                log("dma_map: fails");
                return Err(Errno::EFAULT);
            }
            Some(n) => *n -= 1,
            None => (),
        }
        // No bus address is used twice, so that a stale one leads nowhere.
        state.next += 1;
        state.total += 1;
        let addr = state.next << 32;
        state.live.insert(addr, new);
        Ok(DmaAddr(addr))
    }
    fn unmap(&self, addr: DmaAddr) -> Live {
        assert!(holds("notifier_lock") || shared(|s| s.migrating), "unmapped as it was mapped");
        self.state.borrow_mut().live.remove(&addr.0).expect("a bus address is unmapped that is not mapped")
    }
}

const ONLY_DMA: &str = "drm_gpusvm and drm_pagemap do no more than mapping and copying";

impl Gpu<Seq, ScriptMm> for ScriptGpu {
    type RootReserved<'a> = ();
    fn properties(&self) -> GpuProperties {
        unreachable!("{ONLY_DMA}")
    }
    fn reserve_root(&self) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn update_range(&self, _: &PteUpdate) -> Result<Option<Fence>, Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn update_pdes(&self, _: &()) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn wait_fence(&self, fence: Fence) {
        let jobs = self.state.borrow_mut().queued.remove(&fence.0).expect("a fence of this GPU, waited for once");
        for CopyJob { from, to, pages } in jobs {
            for i in 0..pages {
                self.frames.set_content(to + i, self.frames.content(from + i));
            }
        }
        shared(|s| s.copies_pending -= 1);
    }
    fn flush_tlb(&self) {
        unreachable!("{ONLY_DMA}")
    }
    fn quiesce_mm(&self, _: &ScriptMm) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn resume_mm(&self, _: &ScriptMm) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        assert!(self.frames.device(pfn).is_none(), "device page {pfn:#x} is no system memory");
        let proto = Interconnect::System;
        let addr = self.map(Live { pfn, order, direction: Some(direction), proto })?;
        log(format!("dma_map {pfn:#x} order {order}"));
        Ok(addr)
    }
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        let was = self.unmap(addr);
        assert_eq!((order, Some(direction)), (was.order, was.direction), "unmapped as it was mapped");
        log(format!("dma_unmap {:#x} order {order}", was.pfn));
    }
}

impl Vram<Seq> for ScriptGpu {
    fn pagemap(&self) -> Option<PagemapId> {
        Some(self.state.borrow().memory.as_ref()?.page.pagemap)
    }
    fn owner(&self) -> Owner {
        self.state.borrow().memory.as_ref().map_or(Owner::NONE, |memory| memory.page.owner)
    }
    fn vram_size(&self) -> u64 {
        self.state.borrow().memory.as_ref().map_or(0, |memory| memory.pages << 12)
    }
    fn vram_alloc(&self, pages: u64) -> Result<VramBlock, Errno> {
        allocate("vram")?;
        loop {
            let (victim, evict) = {
                let mut state = self.state.borrow_mut();
                let memory = state.memory.as_mut().expect("it has memory");
                let free = (memory.first..=memory.first + memory.pages - pages).step_by(pages as usize).find(|&pfn| {
                    memory.blocks.iter().all(|block| pfn + pages <= block.pfn || block.pfn + block.pages <= pfn)
                });
                if let Some(pfn) = free {
                    let block = VramBlock { pfn, pages };
                    memory.blocks.push(block);
                    for page in pfn..pfn + pages {
                        self.frames.set_content(page, 0);
                    }
                    log(format!("vram_alloc {pages} pages"));
                    return Ok(block);
                }
                (memory.blocks[0], memory.evict.clone().ok_or(Errno::ENOMEM)?)
            };
            evict(victim).map_err(|_| Errno::ENOMEM)?;
        }
    }
    fn vram_free(&self, block: VramBlock) {
        for pfn in block.pfn..block.pfn + block.pages {
            assert_eq!(self.frames.head(pfn), None, "I3: frame {pfn:#x} is given back and in use");
        }
        let mut state = self.state.borrow_mut();
        let blocks = &mut state.memory.as_mut().expect("it has memory").blocks;
        let at = blocks.iter().position(|b| *b == block).expect("I4: a block is given back twice");
        blocks.remove(at);
        log(format!("vram_free {} pages", block.pages));
    }
    fn copy(&self, copies: &[CopyJob]) -> Result<Fence, Errno> {
        assert!(!copies.is_empty());
        let mut state = self.state.borrow_mut();
        if let Some(error) = state.fail_copy.take() {
            return Err(error);
        }
        for job in copies {
            log(format!("copy {:#x} to {:#x}, {} pages", job.from, job.to, job.pages));
            for i in 0..job.pages {
                for pfn in [job.from + i, job.to + i] {
                    let own = self.frames.device(pfn) == state.memory.as_ref().map(|m| m.page);
                    let mapped = state.live.values().any(|l| (l.pfn..l.pfn + (1 << l.order)).contains(&pfn));
                    assert!(own || mapped, "the engine does not reach frame {pfn:#x}");
                }
            }
        }
        state.next += 1;
        let fence = state.next;
        state.queued.insert(fence, copies.to_vec());
        shared(|s| s.copies_pending += 1);
        Ok(Fence(fence))
    }
    fn device_map(&self, pfn: u64, order: u8) -> Result<(DmaAddr, Interconnect), Errno> {
        let device = self.frames.device(pfn).expect("a device page");
        let own = self.state.borrow().memory.as_ref().is_some_and(|memory| memory.page == device);
        let proto = if own { Interconnect::Vram } else { Interconnect::PeerVram };
        let addr = self.map(Live { pfn, order, direction: None, proto })?;
        log(format!("device_map {pfn:#x} order {order}"));
        Ok((addr, proto))
    }
    fn device_unmap(&self, addr: DmaAddr, proto: Interconnect, order: u8) {
        let was = self.unmap(addr);
        assert_eq!((order, None, proto), (was.order, was.direction, was.proto), "unmapped as it was mapped");
        log(format!("device_unmap {:#x} order {order}", was.pfn));
    }
}

impl RetryFaults<Seq> for ScriptGpu {}
