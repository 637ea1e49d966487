//! DMA mappings of frames.

use super::{BLOCK_PAGES, Memory, is_zero_pfn};
use interleave::lab::{Invariant, Lab, Span, Stamp, Violation, Visible};
use std::ops::Range;

impl<L: Lab> Memory<L> {
    /// From now on a frame may be freed while it is mapped for DMA. For drivers that keep the mappings of pages that are
    /// gone and rely on nothing leading there (KFD unmaps when it maps anew, or when the range goes); an access of the
    /// GPU to such a frame is a violation all the same. Before the actors start.
    pub fn allow_stale_dma(&self) {
        self.inner.state.borrow_mut().stale_dma = true;
    }

    /// `dma_map_page` of the `1 << order` frames from `pfn`: as long as it lives, they must not be freed. No scheduling
    /// point: a driver maps hundreds of frames in a row, nobody can use the new mappings yet, and a frame that is freed
    /// on either side of it is told from the mapping's first use. Mapping a frame that is free already is recorded like
    /// any other; whether it is harmful is the caller's to judge ([`Memory::is_live`]).
    pub fn dma_map(&self, pfn: u64, order: u8) {
        let frames = frames_of(pfn, order);
        let now = L::stamp();
        let mut state = self.inner.state.borrow_mut();
        for pfn in frames {
            let frame = state.frame_mut(pfn);
            if frame.dma == 0 {
                frame.dma_at = now;
            }
            frame.dma += 1;
        }
    }

    /// The frames from `first` to `last` are about to be unmapped from DMA: one scheduling point for all of them.
    #[track_caller]
    pub fn announce_dma_unmap(&self, first: u64, last: u64) {
        self.inner.accesses.read(Span::new(first, last));
    }

    /// `dma_unmap_page`. No scheduling point of its own: [`Memory::announce_dma_unmap`] comes before. Without a live
    /// mapping: a violation of I5.
    pub fn dma_unmap(&self, pfn: u64, order: u8) {
        let frames = frames_of(pfn, order);
        let mut unbalanced = None;
        {
            let mut state = self.inner.state.borrow_mut();
            for pfn in frames {
                let frame = state.frame_mut(pfn);
                if frame.dma == 0 {
                    unbalanced = Some(pfn);
                    break;
                }
                frame.dma -= 1;
            }
        }
        if let Some(pfn) = unbalanced {
            L::fail(Violation::new(Invariant::I5, format!("DMA unmap of frame {pfn:#x}, which is not mapped"), None));
        }
    }

    /// Live DMA mappings of the frame. No scheduling point.
    pub fn dma_mappings(&self, pfn: u64) -> u32 {
        self.inner.state.borrow().frame(pfn).dma
    }

    /// The oldest live DMA mapping of any frame that is not a zero frame, as (frame, when it was mapped). No scheduling
    /// point.
    pub fn any_dma(&self) -> Option<(u64, Stamp)> {
        let state = self.inner.state.borrow();
        let all = state.frames.iter().flat_map(|(b, frames)| (b * BLOCK_PAGES..).zip(frames.iter()));
        all.filter(|(pfn, f)| f.dma > 0 && !is_zero_pfn(*pfn)).map(|(pfn, f)| (pfn, f.dma_at)).min_by_key(|&(_, at)| at)
    }
}

fn frames_of(pfn: u64, order: u8) -> Range<u64> {
    pfn..pfn + (1 << order)
}
