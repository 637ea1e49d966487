//! Page migration: the contents move to another frame, the address stays.
//!
//! Answers to `mm/migrate.c` and `try_to_migrate_one` in `mm/rmap.c` (compaction, NUMA balancing, move_pages; spec
//! mm-events 2). Works from the page, not from the VMA: no mmap_lock is held, so its callbacks run without one, and it
//! may meet a page whose VMA is already out of the tree.

use crate::memory::{BLOCK_PAGES, is_file_pfn, is_zero_pfn};
use crate::pagetable::{Pte, block_of};
use crate::rmap::{For, Migration, Moves};
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
    /// without an event, old frames freed. A large folio moves as one, also when `bytes` covers only a part of it; one of
    /// which a part is not mapped any more is split first, and all of it moves. Pages that are not present, zero pages and pages that somebody else migrates are skipped. Returns how many
    /// pages moved.
    ///
    /// # Errors
    /// `EINVAL` for the range.
    #[track_caller]
    pub fn migrate_pages(&self, bytes: Bytes) -> Result<u64, Errno> {
        let pages = check_range(bytes)?;
        let mm = &*self.inner;
        let (mut moved, mut page) = (0, pages.first);
        let mut been = BTreeSet::new();
        while page <= pages.last {
            let mut next = page + 1;
            let pieces = mm.pieces_of(page);
            if !been.contains(&page) && !pieces.is_empty() {
                for piece in pieces {
                    if let Some(folio) = mm.isolate(piece) {
                        moved += mm.migrate_folio(&folio);
                        been.insert(piece);
                    }
                }
            } else if let Some(folio) = (!been.contains(&page)).then(|| mm.isolate(page)).flatten() {
                next = next.max(folio.pages.last + 1);
                moved += mm.migrate_folio(&folio);
            }
            page = next;
        }
        Ok(moved)
    }
}

impl<L: Lab> Inner<L> {
    /// `migrate_pages_batch` splits a large folio of which a part is not mapped any more. If `page` maps one: where the
    /// pages are mapped that it comes apart into.
    #[track_caller]
    fn pieces_of(&self, page: u64) -> Vec<u64> {
        self.walks.read(Span::one(page));
        let Pte::Present { pfn, .. } = self.table.borrow().get(page).pte else { return Vec::new() };
        if is_zero_pfn(pfn) || is_file_pfn(pfn) || !self.split_if_partial(page, pfn) {
            return Vec::new();
        }
        let (first, last) = (pfn / BLOCK_PAGES * BLOCK_PAGES, page + (BLOCK_PAGES - 1 - pfn % BLOCK_PAGES));
        let maps = |at: &u64| match self.table.borrow().get(*at).pte {
            Pte::Present { pfn: now, .. } => now.wrapping_sub(pfn) == at.wrapping_sub(page) && now >= first,
            _ => false,
        };
        (page.saturating_sub(pfn - first)..=last).filter(maps).collect()
    }

    /// Splits the large folio that `page` maps in small entries if a part of it is not mapped any more
    /// (`folio_test_partially_mapped`).
    #[track_caller]
    fn split_if_partial(&self, page: u64, pfn: u64) -> bool {
        let (first, count) = self.memory.folio_of(pfn);
        count > 1 && !self.memory.all_mapped(first, count) && self.split_folio(first, page, pfn)
    }

    /// Finds the folio that `page` maps and takes it off the LRU, with a reference. A large one of which a part is not
    /// mapped any more is split first.
    #[track_caller]
    pub(crate) fn isolate(&self, page: u64) -> Option<Isolated> {
        loop {
            self.walks.read(Span::one(page));
            let pte = self.table.borrow().get(page).pte;
            match pte {
                // Pages of files stay where they are.
                Pte::Present { pfn, .. } if !is_zero_pfn(pfn) && !is_file_pfn(pfn) => {
                    if self.split_if_partial(page, pfn) {
                        continue;
                    }
                    let (from, count) = self.memory.folio_of(pfn);
                    let first = page.checked_sub(pfn - from)?;
                    let folio = Isolated { pages: Pages::new(first, first + count - 1), from };
                    let generation = self.memory.generation(from);
                    return self.memory.isolate(from, count, generation).then_some(folio);
                }
                _ => return None,
            }
        }
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
            // A folio in small entries may stand anywhere.
            BLOCK_PAGES if pages.first % BLOCK_PAGES == 0 => self.memory.alloc_block(self.id, pages.first),
            BLOCK_PAGES => self.memory.alloc_block(self.id, block_of(pages.first).first),
            _ => self.memory.alloc(self.id, pages.first),
        };
        let moves = Moves::of(from, count, to);
        let folio_lock = self.lock_folio();
        let mut restored = Vec::new();
        if !self.unmap_folio(folio, &moves, &folio_lock, For::Migration).is_empty() {
            self.memory.copy(from, to, count);
            self.memory.take_over(from, to, count);
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
        for pfn in restored.iter().flat_map(|&(pfn, frames)| pfn..pfn + frames) {
            match owned.insert(pfn) {
                true => self.memory.add_maps(pfn, 1),
                // One process may have it in a huge entry, another in small ones.
                false => self.memory.share(pfn, 1),
            }
        }
        let moved = restored.iter().map(|&(_, frames)| frames).sum();
        note!(L, "migrated {moved} page(s) of {pages}: pfn {from:#x} -> {to:#x}");
        self.unlock_folio(folio_lock);
        self.memory.putback(from, count);
        // Frames that found no entry go back.
        (to..to + count).filter(|pfn| !owned.contains(pfn)).for_each(|pfn| self.memory.put(pfn, 1));
        moved
    }
}
