//! The DMA arrays of a range: for each GPU one address a page, with the pages that are VRAM marked.
//!
//! Answers to `svm_range_dma_map`, `_dma_unmap`, `svm_range_copy_dma_addrs`, `svm_range_split_array`. Spec kfd-svm 3.4,
//! 9 step 5. An address stays mapped until its page is mapped anew or the range goes; an eviction does not unmap.

use super::Svms;
use super::gpus::GpuSet;
use super::range::{Handle, Range};
use crate::Errno;
use crate::platform::{
    DeviceMemory, DmaAddr, DmaDirection, Gpu, HmmPfn, Interconnect, KArray, Kernel, Plain, Platform, Shared, Vram,
};
use crate::units::Pages;

/// One element of `prange->dma_addr[gpu]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DmaSlot {
    /// Nothing.
    None,
    /// A DMA mapped page of system memory.
    System(DmaAddr),
    /// A page of VRAM (`SVM_RANGE_VRAM_DOMAIN`), and whose.
    Vram(DmaAddr, Interconnect),
}

impl DmaSlot {
    /// Whether it is in the VRAM domain.
    pub(super) fn is_vram(&self) -> bool {
        matches!(self, DmaSlot::Vram(..))
    }
}

impl<P: Platform> Range<P> {
    /// One slot; None without an array.
    pub(super) fn slot(&self, gpu: usize, index: usize) -> DmaSlot {
        self.dma[gpu].with(|array| array.as_ref().map_or(DmaSlot::None, |array| array[index]))
    }

    fn set_slot(&self, gpu: usize, index: usize, slot: DmaSlot) {
        self.dma[gpu].with_mut(|array| {
            if let Some(array) = array {
                array[index] = slot;
            }
        });
    }
}

impl<P: Platform> Svms<P> {
    /// `svm_range_dma_map`: maps the pages `pfns`, which begin at page `offset` of the range, for every GPU of `gpus`.
    /// MG is held. What was mapped there before is unmapped first.
    ///
    /// # Errors
    /// `ENOMEM` (the array), `EFAULT` (a mapping). Pages before it stay mapped.
    pub(super) fn dma_map(&self, range: &Range<P>, gpus: GpuSet, offset: u64, pfns: &[HmmPfn]) -> Result<(), Errno> {
        for (index, gpu) in self.gpus_of(gpus) {
            self.dma_map_dev(range, index, gpu, offset as usize, pfns)?;
        }
        Ok(())
    }

    fn dma_map_dev(
        &self,
        range: &Range<P>,
        index: usize,
        gpu: &P::Gpu,
        offset: usize,
        pfns: &[HmmPfn],
    ) -> Result<(), Errno> {
        if range.dma[index].with(Option::is_none) {
            let array = P::Kernel::alloc_array(range.pages().count() as usize, DmaSlot::None)?;
            range.dma[index].set_some(array);
        }
        for (i, hmm) in pfns.iter().enumerate() {
            self.unmap_slot(range, index, gpu, offset + i);
            let slot = match self.mm.device_page(hmm.pfn) {
                Some(_) => {
                    let (addr, proto) = gpu.device_map(hmm.pfn, 0)?;
                    DmaSlot::Vram(addr, proto)
                }
                None => DmaSlot::System(gpu.dma_map(hmm.pfn, 0, DmaDirection::Bidirectional)?),
            };
            range.set_slot(index, offset + i, slot);
        }
        Ok(())
    }

    fn unmap_slot(&self, range: &Range<P>, index: usize, gpu: &P::Gpu, at: usize) {
        let slot = range.slot(index, at);
        if slot == DmaSlot::None {
            return;
        }
        range.set_slot(index, at, DmaSlot::None);
        match slot {
            DmaSlot::System(addr) => gpu.dma_unmap(addr, 0, DmaDirection::Bidirectional),
            DmaSlot::Vram(addr, proto) => gpu.device_unmap(addr, proto, 0),
            DmaSlot::None => {}
        }
    }

    /// `svm_range_dma_unmap`: all pages, all GPUs.
    pub(super) fn dma_unmap_range(&self, range: Handle<P>) {
        let range = self.range(range);
        for (index, gpu) in self.gpus_of(self.supported()) {
            let npages = range.dma[index].with(|array| array.as_ref().map_or(0, |array| array.len()));
            for at in 0..npages {
                self.unmap_slot(range, index, gpu, at);
            }
        }
    }

    /// `svm_range_copy_dma_addrs`: `new`, a clone, gets copies; the mappings have two owners until one is freed without
    /// unmapping.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn copy_dma_addrs(&self, new: &Range<P>, old: &Range<P>) -> Result<(), Errno> {
        let npages = old.pages().count() as usize;
        for (to, from) in new.dma.iter().zip(&old.dma) {
            if from.with(Option::is_some) {
                to.set_some(copy::<P>(from, 0, npages)?);
            }
        }
        Ok(())
    }

    /// `svm_range_split_pages`: `new` gets its part of every array and of `vram_pages`, `old`, which is to keep `keep`,
    /// new arrays for the rest. Both still have their old bounds. Arrays of GPUs before a failing one stay split.
    ///
    /// `vram_pages` is counted from the array of the last GPU that has one, so pages that moved to VRAM and were not mapped
    /// since do not count.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn split_pages(&self, new: &Range<P>, old: &Range<P>, keep: Pages) -> Result<(), Errno> {
        let (from, part) = (old.pages().first, new.pages());
        let in_vram = old.actual_loc.read_once() != 0;
        let mut vram_pages = None;
        for (to, array) in new.dma.iter().zip(&old.dma) {
            if array.with(Option::is_none) {
                continue;
            }
            let split = copy::<P>(array, (part.first - from) as usize, part.count() as usize)?;
            let rest = copy::<P>(array, (keep.first - from) as usize, keep.count() as usize)?;
            if in_vram {
                vram_pages = Some(split.iter().filter(|slot| slot.is_vram()).count() as u64);
            }
            to.set_some(split);
            array.set_some(rest);
        }
        if let Some(pages) = vram_pages {
            new.vram_pages.write_once(pages);
            old.vram_pages.write_once(old.vram_pages.read_once().wrapping_sub(pages));
        }
        Ok(())
    }
}

/// A cell that holds an array.
trait ArrayCell<A> {
    fn set_some(&self, array: A);
}
impl<A, C: Plain<Option<A>>> ArrayCell<A> for C {
    #[track_caller]
    fn set_some(&self, array: A) {
        // The old array is freed outside of the cell.
        let old = self.with_mut(|cell| cell.replace(array));
        drop(old);
    }
}

/// A new array with `count` slots from `at` on.
fn copy<P: Platform>(
    from: &crate::platform::KPlain<P, Option<KArray<P, DmaSlot>>>,
    at: usize,
    count: usize,
) -> Result<KArray<P, DmaSlot>, Errno> {
    let mut new = P::Kernel::alloc_array(count, DmaSlot::None)?;
    from.with(|array| {
        if let Some(array) = array {
            new.copy_from_slice(&array[at..at + count]);
        }
    });
    Ok(new)
}
