//! Physical memory as the bus sees it. The one place that calls [`Memory`].

use interleave::lab::{Lab, Stamp};
use sim_mm::{Memory, Word};

/// The frames behind the IOMMU.
pub(crate) struct Frames<L: Lab>(Memory<L>);

impl<L: Lab> Frames<L> {
    pub(crate) fn new(memory: Memory<L>) -> Self {
        Frames(memory)
    }

    /// Which life of the frame this is. No scheduling point.
    pub(crate) fn generation(&self, pfn: u64) -> u32 {
        self.0.generation(pfn)
    }

    /// When the frame was freed last. No scheduling point.
    pub(crate) fn freed_at(&self, pfn: u64) -> Option<Stamp> {
        self.0.freed_at(pfn)
    }

    /// Whether the frame is allocated and leads the life `generation`. No scheduling point.
    pub(crate) fn alive(&self, pfn: u64, generation: u32) -> bool {
        self.0.is_live(pfn) && self.generation(pfn) == generation
    }

    /// Registers a DMA mapping of `1 << order` frames. No scheduling point.
    pub(crate) fn dma_map(&self, pfn: u64, order: u8) {
        self.0.dma_map(pfn, order);
    }

    /// Frames `first` to `last` are about to lose mappings; a scheduling point.
    #[track_caller]
    pub(crate) fn announce_dma_unmap(&self, first: u64, last: u64) {
        self.0.announce_dma_unmap(first, last);
    }

    /// Takes the registration back. No scheduling point.
    pub(crate) fn dma_unmap(&self, pfn: u64, order: u8) {
        self.0.dma_unmap(pfn, order);
    }

    /// Reads `count` frames from `from` for a copy; a scheduling point.
    #[track_caller]
    pub(crate) fn copy_out(&self, from: u64, count: u64) -> Vec<Word> {
        self.0.copy_out(from, count)
    }

    /// Writes what [`Frames::copy_out`] read to `count` frames from `to`; a scheduling point.
    #[track_caller]
    pub(crate) fn copy_in(&self, to: u64, count: u64, words: &[Word]) {
        self.0.copy_in(to, count, words);
    }

    /// The word at byte `offset` of the frame; a scheduling point.
    #[track_caller]
    pub(crate) fn load(&self, pfn: u64, offset: u64) -> u64 {
        self.0.load(pfn, offset)
    }

    /// Stores the word at byte `offset` of the frame; a scheduling point.
    #[track_caller]
    pub(crate) fn store(&self, pfn: u64, offset: u64, value: u64) {
        self.0.store(pfn, offset, value);
    }
}
