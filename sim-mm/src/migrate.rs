//! Page migration: the contents move to another frame, the address stays.
//!
//! Answers to `mm/migrate.c` and `try_to_migrate_one` in `mm/rmap.c` (compaction, NUMA balancing, move_pages; spec
//! mm-events 2). Works from the page, not from the VMA: no mmap_lock is held, so its callbacks run without one, and it
//! may meet a page whose VMA is already out of the tree.

use crate::memory::{BLOCK_PAGES, is_file_pfn, is_zero_pfn};
use crate::pagetable::{Pte, block_of};
use crate::rmap::{Migration, Moves};
use crate::space::{AddressSpace, Inner, check_range};
use interleave::lab::{Gate, Hold, Lab, Span, Visible};
use model::units::{Bytes, Pages};
use model::{Errno, note};
use std::collections::BTreeSet;

/// The gate that a fault on a migration entry sleeps on, and the map of the migrations that run.
pub(crate) const FOLIO_LOCK: &str = "folio lock";

/// A folio on its way: where it was found, and its frames.
pub(crate) struct Isolated {
    pub(crate) pages: Pages,
    pub(crate) from: u64,
}

impl<L: Lab> AddressSpace<L> {
    /// Migrates the pages in `bytes`, folio by folio: CLEAR around the change to migration entries, copy, new entries
    /// without an event, old frames freed. A huge mapping moves as one folio, also when `bytes` covers only a part of
    /// it. Pages that are not present, zero pages and pages that somebody else migrates are skipped. Returns how many
    /// pages moved.
    ///
    /// # Errors
    /// `EINVAL` for the range.
    #[track_caller]
    pub fn migrate_pages(&self, bytes: Bytes) -> Result<u64, Errno> {
        let pages = check_range(bytes)?;
        let mm = &*self.inner;
        let (mut moved, mut page) = (0, pages.first);
        while page <= pages.last {
            let mut next = page + 1;
            if let Some(folio) = mm.isolate(page) {
                next = folio.pages.last + 1;
                moved += mm.migrate_folio(&folio);
            }
            page = next;
        }
        Ok(moved)
    }
}

impl<L: Lab> Inner<L> {
    /// Finds the folio that `page` maps and takes it off the LRU, with a reference.
    #[track_caller]
    pub(crate) fn isolate(&self, page: u64) -> Option<Isolated> {
        self.walks.read(Span::one(page));
        let (folio, generation) = {
            let table = self.table.borrow();
            let huge = table.block_leaf(page).is_some();
            let pages = if huge { block_of(page) } else { Pages::new(page, page) };
            match table.get(pages.first).pte {
                // Pages of files stay where they are.
                Pte::Present { pfn, .. } if !is_zero_pfn(pfn) && !is_file_pfn(pfn) => {
                    (Isolated { pages, from: pfn }, self.memory.generation(pfn))
                }
                _ => return None,
            }
        };
        self.memory.isolate(folio.from, folio.pages.count(), generation).then_some(folio)
    }

    /// Locks a folio that is about to be unmapped.
    pub(crate) fn lock_folio(&self) -> Migration<L> {
        L::acquire_map(FOLIO_LOCK, Hold::Begin);
        self.memory.new_migration()
    }

    /// Lets the waiters go on.
    #[track_caller]
    pub(crate) fn unlock_folio(&self, folio_lock: Migration<L>) {
        folio_lock.gate.store(1);
        L::release_map(FOLIO_LOCK, Hold::Begin);
    }

    /// Where the entries of a folio are that was found at `pages`; None: anywhere in the family.
    pub(crate) fn stays_at(&self, pages: Pages) -> Option<Pages> {
        (!self.options.shares).then_some(pages)
    }

    /// `migrate_pages_batch` for one folio that is isolated. Returns how many pages moved.
    #[track_caller]
    fn migrate_folio(&self, folio: &Isolated) -> u64 {
        let (pages, from, count) = (folio.pages, folio.from, folio.pages.count());
        let to = match count {
            BLOCK_PAGES => self.memory.alloc_block(self.id, pages.first),
            _ => self.memory.alloc(self.id, pages.first),
        };
        let moves = Moves::of(from, count, to);
        let folio_lock = self.lock_folio();
        let mut restored = Vec::new();
        if !self.try_to_unmap(Some(pages), &moves, &folio_lock).is_empty() {
            self.memory.copy(from, to, count);
            // remove_migration_ptes: no event. Entries that were zapped meanwhile stay empty.
            self.replace_migration_entries(self.stays_at(pages), &moves, |_, old, pfn, prot| {
                restored.push((pfn, old.count));
                // A fork may have taken the entry along.
                if self.memory.is_shared(old.pfn) {
                    self.memory.set_shared(pfn, old.count, true);
                }
                Pte::Present { pfn, prot }
            });
        }
        // The first entry of a frame owns the reference that it came with.
        let mut owned = BTreeSet::new();
        for &(pfn, frames) in &restored {
            match owned.insert(pfn) {
                true => self.memory.add_maps(pfn, frames),
                false => self.memory.share(pfn, frames),
            }
        }
        let moved = restored.iter().map(|&(_, frames)| frames).sum();
        note!(L, "migrated {moved} page(s) of {pages}: pfn {from:#x} -> {to:#x}");
        self.unlock_folio(folio_lock);
        self.memory.put(from, count);
        // Frames that found no entry go back.
        let owned = |pfn: &u64| restored.iter().any(|&(first, n)| (first..first + n).contains(pfn));
        (to..to + count).filter(|pfn| !owned(pfn)).for_each(|pfn| self.memory.put(pfn, 1));
        moved
    }
}
