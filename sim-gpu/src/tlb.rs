//! The TLB of one VM: translations that stay until they are flushed.
//!
//! A write to the page table does not reach it. A huge leaf is cached whole, so a walk for one page serves the other
//! 511 as well. Only valid entries are cached. Pure data: the caller has made the access visible to the scheduler
//! (`Visible` "gpu page table": a fill is part of a read, a flush is an invalidate).

use crate::page_table::{BLOCK_SHIFT, Leaf, Pte};
use interleave::lab::Stamp;
use std::collections::BTreeMap;

/// A cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cached {
    /// Flags and bus address of the page.
    pub pte: Pte,
    /// The walk that filled it.
    pub filled_at: Stamp,
}

/// The cached translations, small and huge apart.
#[derive(Default)]
pub struct Tlb {
    small: BTreeMap<u64, Cached>,
    huge: BTreeMap<u64, Cached>,
}

impl Tlb {
    /// The translation of `page`, if cached.
    pub fn lookup(&self, page: u64) -> Option<Cached> {
        self.small.get(&page).copied().or_else(|| {
            let first = page >> BLOCK_SHIFT << BLOCK_SHIFT;
            let base = self.huge.get(&(page >> BLOCK_SHIFT))?;
            Some(Cached { pte: base.pte.plus(page - first), ..*base })
        })
    }

    /// Caches what a walk for `page` found. An invalid entry is not cached.
    pub fn fill(&mut self, page: u64, leaf: Leaf, filled_at: Stamp) {
        if !leaf.pte.is_valid() {
            return;
        }
        if leaf.huge {
            let base = leaf.pte.minus(page & ((1 << BLOCK_SHIFT) - 1));
            self.huge.insert(page >> BLOCK_SHIFT, Cached { pte: base, filled_at });
        } else {
            self.small.insert(page, Cached { pte: leaf.pte, filled_at });
        }
    }

    /// Drops what is cached for `page`, a huge entry whole.
    pub fn forget(&mut self, page: u64) {
        self.small.remove(&page);
        self.huge.remove(&(page >> BLOCK_SHIFT));
    }

    /// Drops everything; returns how many entries there were.
    pub fn flush(&mut self) -> usize {
        let dropped = self.small.len() + self.huge.len();
        self.small.clear();
        self.huge.clear();
        dropped
    }

    /// Every page that has a cached translation, huge entries as their first page, in ascending order per size.
    pub fn entries(&self) -> impl Iterator<Item = (u64, bool, Cached)> + '_ {
        let small = self.small.iter().map(|(page, cached)| (*page, false, *cached));
        small.chain(self.huge.iter().map(|(block, cached)| (block << BLOCK_SHIFT, true, *cached)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::platform::PteFlags;

    fn leaf(addr: u64, huge: bool) -> Leaf {
        Leaf { pte: Pte { flags: PteFlags::VALID | PteFlags::READABLE, addr }, huge }
    }

    #[test]
    fn a_huge_entry_serves_its_512_pages_and_no_other() {
        let mut tlb = Tlb::default();
        tlb.fill(0x207, leaf(0x4000_7000, true), Stamp(3));
        assert_eq!(tlb.lookup(0x200).unwrap().pte.addr, 0x4000_0000);
        assert_eq!(tlb.lookup(0x3ff).unwrap().pte.addr, 0x401f_f000);
        assert!(tlb.lookup(0x1ff).is_none() && tlb.lookup(0x400).is_none());
    }

    #[test]
    fn an_invalid_entry_is_not_cached() {
        let mut tlb = Tlb::default();
        tlb.fill(7, Leaf { pte: Pte::NONE, huge: false }, Stamp(1));
        assert!(tlb.lookup(7).is_none());
    }

    #[test]
    fn forgetting_a_page_drops_the_huge_entry_that_serves_it() {
        let mut tlb = Tlb::default();
        tlb.fill(0x207, leaf(0x4000_7000, true), Stamp(3));
        tlb.fill(0x400, leaf(0x1000, false), Stamp(4));
        tlb.forget(0x3ff);
        assert!(tlb.lookup(0x207).is_none() && tlb.lookup(0x400).is_some());
    }

    #[test]
    fn a_flush_drops_both_sizes() {
        let mut tlb = Tlb::default();
        tlb.fill(7, leaf(0x1000, false), Stamp(1));
        tlb.fill(0x200, leaf(0x20_0000, true), Stamp(2));
        assert_eq!(tlb.flush(), 2);
        assert!(tlb.lookup(7).is_none() && tlb.lookup(0x200).is_none());
    }
}
