//! The CPU page table as a data structure: leaves of one page or of a 2 MiB block, no locks and no scheduling points.
//!
//! Answers to the three lower levels of an x86-64 page table. The last level is kept whole (a table of 512 entries per
//! populated block), the level above as leaf or table, and of the 1 GiB level only whether it is populated, because
//! that decides where a PROTECTION_VMA event begins (spec mm-events 2).

use crate::memory::{BLOCK_PAGES, is_zero_pfn};
use model::units::Pages;
use std::collections::{BTreeMap, BTreeSet};

/// Pages below one entry of the 1 GiB level.
pub(crate) const PUD_PAGES: u64 = BLOCK_PAGES * 512;

/// What the CPU may do through an entry. Ordered: each allows what the ones before it allow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Prot {
    /// Present, but every access faults: PROT_NONE, or a NUMA hint.
    None,
    /// Read only.
    Read,
    /// Readable and writable.
    Write,
}

/// One leaf.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pte {
    /// Empty.
    None,
    /// Maps a frame (as a leaf of a block: the first of 512).
    Present {
        /// The frame.
        pfn: u64,
        /// What it allows.
        prot: Prot,
    },
    /// A migration entry: the page is on its way to another frame. Who needs it waits for the migration.
    Migration {
        /// Which migration.
        migration: u32,
        /// The frame that is left.
        pfn: u64,
        /// What the new entry will allow.
        prot: Prot,
    },
    /// A device-private entry: the page is in a device's memory. Every CPU access faults.
    Device {
        /// The device's frame.
        pfn: u64,
        /// Whether it is a writable entry.
        write: bool,
    },
    /// The page is swapped out; only as an entry of one page.
    Swap {
        /// Where to.
        slot: u64,
    },
}

/// The leaf that covers a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// For this page: in a block leaf the frame is the page's own, not the block's first.
    pub pte: Pte,
    /// log2 pages of the mapping: 9 for a block leaf, else 0.
    pub order: u8,
}

enum Block {
    Leaf(Pte),
    Table(Box<[Pte; BLOCK_PAGES as usize]>),
}

/// A run of frames that the page table held and that somebody must put.
pub(crate) type Run = (u64, u64);

/// Collects frames of zapped entries as runs, in the order of their virtual addresses (`struct mmu_gather`).
#[derive(Default)]
pub(crate) struct Gather {
    pub(crate) runs: Vec<Run>,
    /// Swap slots of zapped entries.
    pub(crate) slots: Vec<u64>,
}

impl Gather {
    fn push(&mut self, pfn: u64, count: u64) {
        match self.runs.last_mut() {
            _ if is_zero_pfn(pfn) => {}
            Some((first, n)) if *first + *n == pfn => *n += count,
            _ => self.runs.push((pfn, count)),
        }
    }
}

#[derive(Default)]
pub(crate) struct PageTable {
    /// By page / 512. Absent: the PMD entry is empty.
    blocks: BTreeMap<u64, Block>,
    /// Populated entries of the 1 GiB level, by page / 512 / 512.
    puds: BTreeSet<u64>,
}

fn split(page: u64) -> (u64, usize) {
    (page / BLOCK_PAGES, (page % BLOCK_PAGES) as usize)
}

/// The pages of the 2 MiB block around `page`.
pub(crate) fn block_of(page: u64) -> Pages {
    let first = page / BLOCK_PAGES * BLOCK_PAGES;
    Pages::new(first, first + BLOCK_PAGES - 1)
}

impl Pte {
    /// The same entry `by` frames further on.
    fn offset(self, by: u64) -> Pte {
        match self {
            Pte::None => Pte::None,
            Pte::Present { pfn, prot } => Pte::Present { pfn: pfn + by, prot },
            Pte::Migration { migration, pfn, prot } => Pte::Migration { migration, pfn: pfn + by, prot },
            Pte::Device { pfn, write } => Pte::Device { pfn: pfn + by, write },
            Pte::Swap { slot } => Pte::Swap { slot: slot + by },
        }
    }
}

impl PageTable {
    /// The leaf that covers `page`.
    pub(crate) fn get(&self, page: u64) -> Entry {
        let (block, index) = split(page);
        match self.blocks.get(&block) {
            None => Entry { pte: Pte::None, order: 0 },
            Some(Block::Table(table)) => Entry { pte: table[index], order: 0 },
            Some(Block::Leaf(pte)) => Entry { pte: pte.offset(index as u64), order: crate::memory::BLOCK_ORDER },
        }
    }

    /// Whether the PMD entry of the block is empty: no leaf, no table.
    pub(crate) fn block_is_none(&self, page: u64) -> bool {
        !self.blocks.contains_key(&split(page).0)
    }

    /// The leaf of the whole block around `page`, when it has one.
    pub(crate) fn block_leaf(&self, page: u64) -> Option<Pte> {
        match self.blocks.get(&split(page).0) {
            Some(Block::Leaf(pte)) => Some(*pte),
            _ => None,
        }
    }

    /// Writes a one-page entry; makes the table on the way. The block must have no leaf.
    pub(crate) fn set(&mut self, page: u64, pte: Pte) {
        let (block, index) = split(page);
        let puds = &mut self.puds;
        match self.blocks.entry(block).or_insert_with(|| {
            puds.insert(page / PUD_PAGES);
            Block::Table(Box::new([Pte::None; BLOCK_PAGES as usize]))
        }) {
            Block::Table(table) => table[index] = pte,
            Block::Leaf(_) => unreachable!("page {page:#x} lies in a huge mapping, which is split first"),
        }
    }

    /// Writes the leaf of the block around `page`, whose PMD entry is empty or a leaf.
    pub(crate) fn set_block(&mut self, page: u64, pte: Pte) {
        self.puds.insert(page / PUD_PAGES);
        let old = self.blocks.insert(split(page).0, Block::Leaf(pte));
        assert!(!matches!(old, Some(Block::Table(_))), "a table stands where a huge mapping is to go");
    }

    /// Writes the leaf that stands for `count` pages from `page` on: one, or a block.
    pub(crate) fn set_leaf(&mut self, page: u64, count: u64, pte: Pte) {
        match count {
            BLOCK_PAGES => self.set_block(page, pte),
            _ => self.set(page, pte),
        }
    }

    /// Replaces a block leaf by a table of 512 entries that say the same (`__split_huge_pmd_locked`).
    pub(crate) fn split_block(&mut self, page: u64) {
        if let Some(leaf) = self.block_leaf(page) {
            let table = std::array::from_fn(|i| leaf.offset(i as u64));
            self.blocks.insert(split(page).0, Block::Table(Box::new(table)));
        }
    }

    /// Empties every entry inside `pages`, which must not cut a block leaf; hands the frames to `gather`. Migration
    /// entries hold no frame. Tables stay (`zap_pte_range`), the entries of block leaves do not.
    pub(crate) fn zap(&mut self, pages: Pages, gather: &mut Gather) {
        let mut emptied = Vec::new();
        for (&block, content) in self.blocks.range_mut(pages.first / BLOCK_PAGES..=pages.last / BLOCK_PAGES) {
            let whole = block_of(block * BLOCK_PAGES);
            match content {
                Block::Leaf(pte) => {
                    assert!(pages.covers(&whole), "a huge mapping is split before a part of it is zapped");
                    if let Pte::Present { pfn, .. } | Pte::Device { pfn, .. } = *pte {
                        gather.push(pfn, BLOCK_PAGES);
                    }
                    emptied.push(block);
                }
                Block::Table(table) => {
                    let part = pages.clip(&whole);
                    for pte in &mut table[(part.first - whole.first) as usize..=(part.last - whole.first) as usize] {
                        match std::mem::replace(pte, Pte::None) {
                            Pte::Present { pfn, .. } | Pte::Device { pfn, .. } => gather.push(pfn, 1),
                            Pte::Swap { slot } => gather.slots.push(slot),
                            _ => {}
                        }
                    }
                }
            }
        }
        for block in emptied {
            self.blocks.remove(&block);
        }
    }

    /// Lets `f` rewrite every entry that is not empty inside `pages`, which must not cut a block leaf.
    pub(crate) fn rewrite(&mut self, pages: Pages, f: impl Fn(Pte) -> Pte) {
        self.rewrite_each(pages, |_, pte| f(pte));
    }

    /// As [`PageTable::rewrite`]; `f` is also told how many frames the entry maps, 1 or 512.
    pub(crate) fn rewrite_each(&mut self, pages: Pages, mut f: impl FnMut(u64, Pte) -> Pte) {
        for (&block, content) in self.blocks.range_mut(pages.first / BLOCK_PAGES..=pages.last / BLOCK_PAGES) {
            let whole = block_of(block * BLOCK_PAGES);
            match content {
                Block::Leaf(pte) => {
                    assert!(pages.covers(&whole), "a huge mapping is split before a part of it changes");
                    *pte = f(BLOCK_PAGES, *pte);
                }
                Block::Table(table) => {
                    let part = pages.clip(&whole);
                    for pte in &mut table[(part.first - whole.first) as usize..=(part.last - whole.first) as usize] {
                        if *pte != Pte::None {
                            *pte = f(1, *pte);
                        }
                    }
                }
            }
        }
    }

    /// The leaves inside `pages` that are not empty, in address order: first page, how many pages, and the leaf. One of
    /// a block is listed whole, also when `pages` cuts it.
    pub(crate) fn leaves(&self, pages: Pages) -> Vec<(u64, u64, Pte)> {
        let mut found = Vec::new();
        for (&block, content) in self.blocks.range(pages.first / BLOCK_PAGES..=pages.last / BLOCK_PAGES) {
            let whole = block_of(block * BLOCK_PAGES);
            match content {
                Block::Leaf(pte) => found.push((whole.first, BLOCK_PAGES, *pte)),
                Block::Table(table) => {
                    let part = pages.clip(&whole);
                    let entries = (part.first..=part.last).map(|page| (page, 1, table[split(page).1]));
                    found.extend(entries.filter(|(_, _, pte)| *pte != Pte::None));
                }
            }
        }
        found
    }

    /// Empties the PMD entry of the block around `page`, table and all (`pmdp_collapse_flush`).
    pub(crate) fn clear_block(&mut self, page: u64) {
        self.blocks.remove(&split(page).0);
    }

    /// The first page of `pages` that lies below a populated 1 GiB entry.
    pub(crate) fn first_populated_pud(&self, pages: Pages) -> Option<u64> {
        let pud = self.puds.range(pages.first / PUD_PAGES..=pages.last / PUD_PAGES).next()?;
        Some(pages.first.max(pud * PUD_PAGES))
    }

    /// `free_pgtables`: drops the tables of `pages` that no VMA needs any more, as `needed` tells for a span.
    pub(crate) fn free_tables(&mut self, pages: Pages, needed: impl Fn(Pages) -> bool) {
        let blocks = pages.first / BLOCK_PAGES..=pages.last / BLOCK_PAGES;
        let free: Vec<u64> =
            self.blocks.range(blocks).map(|(&b, _)| b).filter(|b| !needed(block_of(b * BLOCK_PAGES))).collect();
        for block in free {
            self.blocks.remove(&block);
        }
        let puds = pages.first / PUD_PAGES..=pages.last / PUD_PAGES;
        let span = |pud: &u64| Pages::new(pud * PUD_PAGES, pud * PUD_PAGES + (PUD_PAGES - 1));
        let free: Vec<u64> = self.puds.range(puds).copied().filter(|pud| !needed(span(pud))).collect();
        for pud in free {
            self.puds.remove(&pud);
        }
    }

    /// Has tables for `pages` wherever `other` has some, empty or not (`copy_page_range`).
    pub(crate) fn make_tables_like(&mut self, other: &PageTable, pages: Pages) {
        self.puds.extend(other.puds.range(pages.first / PUD_PAGES..=pages.last / PUD_PAGES));
        for (&block, content) in other.blocks.range(pages.first / BLOCK_PAGES..=pages.last / BLOCK_PAGES) {
            if let Block::Table(_) = content {
                let table = || Block::Table(Box::new([Pte::None; BLOCK_PAGES as usize]));
                self.blocks.entry(block).or_insert_with(table);
            }
        }
    }

    /// All entries that are not empty, one per page, in address order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, Entry)> + '_ {
        let pages = self.blocks.keys().flat_map(|&block| block * BLOCK_PAGES..(block + 1) * BLOCK_PAGES);
        pages.map(|page| (page, self.get(page))).filter(|(_, entry)| entry.pte != Pte::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(pfn: u64) -> Pte {
        Pte::Present { pfn, prot: Prot::Write }
    }

    #[test]
    fn a_split_block_says_the_same_page_by_page() {
        let mut table = PageTable::default();
        table.set_block(0x200, present(0x1000));
        assert_eq!(table.get(0x2ff), Entry { pte: present(0x10ff), order: 9 });
        table.split_block(0x200);
        assert_eq!(table.get(0x2ff), Entry { pte: present(0x10ff), order: 0 });
        assert_eq!(table.entries().count(), 512);
    }

    #[test]
    fn a_zap_gathers_contiguous_frames_as_one_run_and_no_zero_page() {
        let mut table = PageTable::default();
        for page in 0x10..0x14 {
            table.set(page, present(0x1000 + page));
        }
        table.set(0x14, present(crate::memory::ZERO_PFN));
        table.set(0x15, Pte::Migration { migration: 0, pfn: 0x77, prot: Prot::Read });
        let mut gather = Gather::default();
        table.zap(Pages::new(0x11, 0x1f), &mut gather);
        assert_eq!(gather.runs, [(0x1011, 3)]);
        assert_eq!(table.entries().map(|(p, _)| p).collect::<Vec<_>>(), [0x10]);
    }

    #[test]
    fn tables_go_when_no_vma_needs_them_and_only_then() {
        let mut table = PageTable::default();
        table.set(0x200, present(0x5000));
        table.zap(Pages::new(0x200, 0x200), &mut Gather::default());
        assert!(!table.block_is_none(0x200), "a zap leaves the table");
        table.free_tables(Pages::new(0x200, 0x200), |_| true);
        assert!(!table.block_is_none(0x200));
        table.free_tables(Pages::new(0x200, 0x200), |_| false);
        assert!(table.block_is_none(0x200));
        assert_eq!(table.first_populated_pud(Pages::new(0, PUD_PAGES)), None);
    }
}
