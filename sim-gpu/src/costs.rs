//! What a GPU was asked for: how designs of a driver are compared. Counting is no scheduling point and decides nothing.

use std::cell::Cell;

/// How often each thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GpuCosts {
    /// Page-table updates that wrote entries.
    pub pte_writes: u64,
    /// Pages that those covered.
    pub pages_written: u64,
    /// Page-table updates that cleared entries.
    pub pte_clears: u64,
    /// Heavyweight TLB flushes, those left out not counted.
    pub tlb_flushes: u64,
    /// DMA mappings made.
    pub dma_maps: u64,
    /// DMA mappings taken back.
    pub dma_unmaps: u64,
    /// Pages that its copy engine was asked to copy, to its memory or from it.
    pub pages_copied: u64,
    /// Times this GPU's driver stopped the queues of the process.
    pub quiesces: u64,
    /// Times it let them run again.
    pub resumes: u64,
}

impl GpuCosts {
    /// Those of two GPUs together.
    pub fn plus(self, other: GpuCosts) -> GpuCosts {
        GpuCosts {
            pte_writes: self.pte_writes + other.pte_writes,
            pages_written: self.pages_written + other.pages_written,
            pte_clears: self.pte_clears + other.pte_clears,
            tlb_flushes: self.tlb_flushes + other.tlb_flushes,
            dma_maps: self.dma_maps + other.dma_maps,
            dma_unmaps: self.dma_unmaps + other.dma_unmaps,
            pages_copied: self.pages_copied + other.pages_copied,
            quiesces: self.quiesces + other.quiesces,
            resumes: self.resumes + other.resumes,
        }
    }
}

/// [`GpuCosts`] while they grow.
#[derive(Default)]
pub(crate) struct Tally(Cell<GpuCosts>);

impl Tally {
    pub(crate) fn add(&self, change: impl FnOnce(&mut GpuCosts)) {
        let mut costs = self.0.get();
        change(&mut costs);
        self.0.set(costs);
    }

    pub(crate) fn so_far(&self) -> GpuCosts {
        self.0.get()
    }
}
