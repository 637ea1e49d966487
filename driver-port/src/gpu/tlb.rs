//! The TLB of one VM: translations that stay until they are flushed, or pushed out.
//!
//! A write to the page table does not reach it. A huge leaf is cached whole, so a walk for one page serves the other 511 as
//! well. Only valid entries are cached. Two direct-mapped arrays; a flush is a new generation.

use super::page_table::{BLOCK_PAGES, BLOCK_SHIFT, Leaf};
use super::pte::Pte;
use model::Errno;
use model::platform::Kernel;

/// Translations of single pages: pages this far apart push each other out.
pub const SMALL: u64 = 2048;
/// Translations of 2 MiB blocks.
pub const HUGE: u64 = 256;

#[derive(Clone, Copy)]
struct Slot {
    /// Page or block number.
    key: u64,
    /// For a block, of its first page.
    pte: Pte,
    /// The generation it is of; 0: none.
    generation: u64,
}

/// The cached translations, small and huge apart.
pub struct Tlb<K: Kernel> {
    small: K::Array<Slot>,
    huge: K::Array<Slot>,
    generation: u64,
    live: u64,
}

impl<K: Kernel> Tlb<K> {
    /// An empty one.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        let empty = Slot { key: 0, pte: Pte::NONE, generation: 0 };
        let (small, huge) = (K::alloc_array(SMALL as usize, empty)?, K::alloc_array(HUGE as usize, empty)?);
        Ok(Tlb { small, huge, generation: 1, live: 0 })
    }

    /// The translation of `page`, if cached, and whether it is part of a huge one.
    pub fn lookup(&self, page: u64) -> Option<Leaf> {
        let small = &self.small[(page % SMALL) as usize];
        if small.generation == self.generation && small.key == page {
            return Some(Leaf { pte: small.pte, huge: false });
        }
        let block = page >> BLOCK_SHIFT;
        let huge = &self.huge[(block % HUGE) as usize];
        (huge.generation == self.generation && huge.key == block)
            .then(|| Leaf { pte: huge.pte.plus(page & (BLOCK_PAGES - 1)), huge: true })
    }

    /// Caches what a walk for `page` found. An invalid entry is not cached.
    pub fn fill(&mut self, page: u64, leaf: Leaf) {
        if !leaf.pte.is_valid() {
            return;
        }
        let generation = self.generation;
        let (slot, key, pte) = match leaf.huge {
            true => {
                let block = page >> BLOCK_SHIFT;
                (&mut self.huge[(block % HUGE) as usize], block, leaf.pte.minus(page & (BLOCK_PAGES - 1)))
            }
            false => (&mut self.small[(page % SMALL) as usize], page, leaf.pte),
        };
        if slot.generation != generation {
            self.live += 1;
        }
        *slot = Slot { key, pte, generation };
    }

    /// Drops what is cached for `page`, a huge entry whole.
    pub fn forget(&mut self, page: u64) {
        let block = page >> BLOCK_SHIFT;
        let small = (&mut self.small[(page % SMALL) as usize], page);
        let huge = (&mut self.huge[(block % HUGE) as usize], block);
        for (slot, key) in [small, huge] {
            if slot.generation == self.generation && slot.key == key {
                slot.generation = 0;
                self.live -= 1;
            }
        }
    }

    /// Drops everything; returns how many entries there were.
    pub fn flush(&mut self) -> u64 {
        self.generation += 1;
        core::mem::take(&mut self.live)
    }

    /// How many translations are cached, a huge one counted once.
    pub fn entries(&self) -> u64 {
        self.live
    }
}
