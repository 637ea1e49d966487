//! What a GPU was asked for: how designs of a driver are compared. Counting decides nothing.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! costs {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// How often each thing happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct GpuCosts { $($(#[$doc])* pub $name: u64),* }

        /// [`GpuCosts`] while they grow.
        #[derive(Default)]
        pub(super) struct Tally { $(pub(super) $name: Count),* }

        impl Tally {
            pub(super) fn so_far(&self) -> GpuCosts {
                GpuCosts { $($name: self.$name.get()),* }
            }
        }
    };
}

costs! {
    /// Page-table updates that wrote entries.
    pte_writes,
    /// Pages that those covered.
    pages_written,
    /// Page-table updates that cleared entries.
    pte_clears,
    /// Heavyweight TLB flushes, those left out not counted.
    tlb_flushes,
    /// DMA mappings made.
    dma_maps,
    /// DMA mappings taken back.
    dma_unmaps,
    /// Pages that its copy engine was asked to copy.
    pages_copied,
    /// Times this GPU's driver stopped the queues of the process.
    quiesces,
    /// Times it let them run again.
    resumes,
    /// Accesses that were done.
    accesses,
    /// Accesses that were refused for good.
    faults,
    /// Retry faults raised.
    retry_faults,
}

/// One count.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
