//! Page migration: the contents move to another frame, the address stays.
//!
//! Answers to `mm/migrate.c` and `try_to_migrate_one` in `mm/rmap.c` (compaction, NUMA balancing, move_pages; spec
//! mm-events 2). Works from the page, not from the VMA: no mmap_lock is held, so its callbacks run without one, and it
//! may meet a page whose VMA is already out of the tree.

use crate::interval::event;
use crate::memory::{BLOCK_PAGES, is_zero_pfn};
use crate::pagetable::{Pte, block_of};
use crate::space::{AddressSpace, Inner, check_range};
use interleave::lab::{Gate, Hold, Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, Pages};
use model::{Errno, note};
use std::rc::Rc;

/// The gate that a fault on a migration entry sleeps on, and the map of the migrations that run.
pub(crate) const FOLIO_LOCK: &str = "folio lock";

/// A folio on its way: where it is mapped, and its frames.
struct Folio {
    pages: Pages,
    from: u64,
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
    fn isolate(&self, page: u64) -> Option<Folio> {
        self.walks.read(Span::one(page));
        let (folio, generation) = {
            let table = self.table.borrow();
            let huge = table.block_leaf(page).is_some();
            let pages = if huge { block_of(page) } else { Pages::new(page, page) };
            match table.get(pages.first).pte {
                Pte::Present { pfn, .. } if !is_zero_pfn(pfn) => {
                    (Folio { pages, from: pfn }, self.memory.generation(pfn))
                }
                _ => return None,
            }
        };
        self.memory.isolate(folio.from, folio.pages.count(), generation).then_some(folio)
    }

    /// `migrate_pages_batch` for one folio that is isolated. Returns how many pages moved.
    #[track_caller]
    fn migrate_folio(&self, folio: &Folio) -> u64 {
        let (pages, from, count) = (folio.pages, folio.from, folio.pages.count());
        let span = Span::new(pages.first, pages.last);
        let to = match count {
            BLOCK_PAGES => self.memory.alloc_block(self.id, pages.first),
            _ => self.memory.alloc(self.id, pages.first),
        };
        let folio_lock = Rc::new(L::Gate::new(FOLIO_LOCK, 0));
        L::acquire_map(FOLIO_LOCK, Hold::Begin);
        let migration = {
            let mut migrations = self.migrations.borrow_mut();
            migrations.push(folio_lock.clone());
            migrations.len() as u32 - 1
        };

        // try_to_migrate_one. After start the entry is looked at again: it may be gone, or be another page by now.
        let unmapped = {
            let _rmap = self.anon_vma.read();
            let clear = self.notifiers.start(event(EventKind::Clear, pages.bytes())).expect("blockable");
            self.walks.write(span);
            let mut unmapped = Vec::new();
            self.rewrite_folio(pages, |frames, pte| match pte {
                Pte::Present { pfn, prot } if (from..from + count).contains(&pfn) => {
                    unmapped.push((pfn, frames));
                    Pte::Migration { migration, pfn, prot }
                }
                other => other,
            });
            for &(pfn, frames) in &unmapped {
                self.memory.remove_maps(pfn, frames);
                self.memory.put_not_last(pfn, frames);
            }
            self.notifiers.end(clear);
            unmapped
        };

        let mut restored = Vec::new();
        if !unmapped.is_empty() {
            self.memory.copy(from, to, count);
            // remove_migration_ptes: no event. Entries that were zapped meanwhile stay empty.
            self.walks.write(span);
            self.rewrite_folio(pages, |frames, pte| match pte {
                Pte::Migration { migration: m, pfn, prot } if m == migration => {
                    restored.push((pfn - from + to, frames));
                    Pte::Present { pfn: pfn - from + to, prot }
                }
                other => other,
            });
            for &(pfn, frames) in &restored {
                self.memory.add_maps(pfn, frames);
            }
        }
        let moved = restored.iter().map(|&(_, frames)| frames).sum();
        note!(L, "migrated {moved} page(s) of {pages}: pfn {from:#x} -> {to:#x}");
        folio_lock.store(1);
        L::release_map(FOLIO_LOCK, Hold::Begin);
        self.memory.put(from, count);
        // The new entries own the references of their frames; frames that found no entry go back.
        let owned = |pfn: &u64| restored.iter().any(|&(first, n)| (first..first + n).contains(pfn));
        (to..to + count).filter(|pfn| !owned(pfn)).for_each(|pfn| self.memory.put(pfn, 1));
        moved
    }

    /// Lets `change` rewrite the entries of a folio (`page_vma_mapped_walk`). A huge mapping that stands where the
    /// folio's single page was is not the folio.
    fn rewrite_folio(&self, pages: Pages, change: impl FnMut(u64, Pte) -> Pte) {
        let mut table = self.table.borrow_mut();
        if pages.count() == BLOCK_PAGES || table.block_leaf(pages.first).is_none() {
            table.rewrite_each(pages, change);
        }
    }
}
