//! From a page to the entries that map it, and the entries that stand for a page on its way.
//!
//! Answers to `mm/rmap.c` (`try_to_migrate_one`, `try_to_unmap_one`) and `remove_migration_ptes`. No mmap_lock is held:
//! the callbacks run under `anon_vma` held for read, with the folio locked.
//!
//! The kernel goes from the folio to the VMAs that may map it and sends one event for each. Here a page of a process
//! that neither forks nor moves mappings (no [`Options::shares`](crate::Options)) can only be mapped where it was found;
//! else the page tables of the family are searched until no entry is left, which is one event for each place where the
//! page *is* mapped.

use crate::interval::event;
use crate::memory::BLOCK_PAGES;
use crate::migrate::FOLIO_LOCK;
use crate::pagetable::{PageTable, Prot, Pte};
use crate::space::Inner;
use interleave::lab::{Gate, Hold, Lab, Span, Visible};
use model::note;
use model::platform::{EventKind, RwSem};
use model::units::Pages;
use std::rc::Rc;

impl<L: Lab> Inner<L> {
    /// Locks a folio that is about to be unmapped: the number that its entries will have, and what waits for it.
    pub(crate) fn lock_folio(&self) -> (u32, Rc<L::Gate>) {
        let gate = Rc::new(L::Gate::new(FOLIO_LOCK, 0));
        L::acquire_map(FOLIO_LOCK, Hold::Begin);
        let mut all = self.migrations.borrow_mut();
        all.push(gate.clone());
        (all.len() as u32 - 1, gate)
    }

    /// Lets the waiters go on.
    #[track_caller]
    pub(crate) fn unlock_folio(&self, gate: &L::Gate) {
        gate.store(1);
        L::release_map(FOLIO_LOCK, Hold::Begin);
    }

    /// Makes every entry that maps one of the frames of an isolated folio, found at `pages` of this process, one that
    /// waits for `migration`; CLEAR around each place. Returns the runs of frames that lost an entry.
    #[track_caller]
    pub(crate) fn try_to_unmap(&self, pages: Pages, from: u64, migration: u32) -> Vec<(u64, u64)> {
        let count = pages.count();
        let mut unmapped = Vec::new();
        let _rmap = self.anon_vma.read();
        if !self.options.shares {
            self.unmap_at(pages, from..from + count, migration, &mut unmapped);
            return unmapped;
        }
        while let Some((mm, pages)) = self.find_mapping(from, count) {
            mm.unmap_at(pages, from..from + count, migration, &mut unmapped);
        }
        unmapped
    }

    /// One place. After start the entry is looked at again: it may be gone, or be another page by now.
    #[track_caller]
    fn unmap_at(&self, pages: Pages, frames: std::ops::Range<u64>, migration: u32, unmapped: &mut Vec<(u64, u64)>) {
        let clear = self.notifiers.start(event(EventKind::Clear, pages.bytes())).expect("blockable");
        self.walks.write(Span::new(pages.first, pages.last));
        let mut here = Vec::new();
        self.rewrite_folio(pages, |count, pte| match pte {
            Pte::Present { pfn, prot } if frames.contains(&pfn) => {
                here.push((pfn, count));
                Pte::Migration { migration, pfn, prot }
            }
            other => other,
        });
        for &(pfn, count) in &here {
            self.memory.remove_maps(pfn, count);
            self.memory.put_not_last(pfn, count);
        }
        unmapped.append(&mut here);
        self.notifiers.end(clear);
    }

    /// Some place of the family where frames of the folio are mapped: whose, and which pages in a row.
    #[track_caller]
    fn find_mapping(&self, from: u64, count: u64) -> Option<(Rc<Inner<L>>, Pages)> {
        self.walks.read(Span::ALL);
        self.relatives().into_iter().find_map(|mm| {
            let table = mm.table.borrow();
            let mut run: Option<Pages> = None;
            for (page, entry) in table.entries() {
                let ours = matches!(entry.pte, Pte::Present { pfn, .. } if (from..from + count).contains(&pfn));
                match run {
                    None if ours => run = Some(Pages::new(page, page)),
                    Some(found) if ours && found.last + 1 == page => run = Some(Pages::new(found.first, page)),
                    Some(_) => break,
                    None => {}
                }
            }
            drop(table);
            run.map(|pages| (mm, pages))
        })
    }

    /// The processes that may map this one's pages, itself among them, oldest first.
    fn relatives(&self) -> Vec<Rc<Inner<L>>> {
        self.family.borrow().iter().filter_map(std::rc::Weak::upgrade).collect()
    }

    /// Lets `change` say what stands in place of each entry that waits for `migration`: it is told how many frames the
    /// entry stands for, the first of them, and the right. No event.
    #[track_caller]
    pub(crate) fn remove_migration_entries(
        &self,
        pages: Pages,
        migration: u32,
        mut change: impl FnMut(u64, u64, Prot) -> Pte,
    ) {
        let mut rewrite = |frames, pte| match pte {
            Pte::Migration { migration: m, pfn, prot } if m == migration => change(frames, pfn, prot),
            other => other,
        };
        if !self.options.shares {
            self.walks.write(Span::new(pages.first, pages.last));
            return self.rewrite_folio(pages, rewrite);
        }
        // Somewhere else by now, or in a child: fork and mremap take them along.
        let _rmap = self.anon_vma.read();
        self.walks.write(Span::ALL);
        for mm in self.relatives() {
            mm.table.borrow_mut().rewrite_each(Pages::new(0, u64::MAX), &mut rewrite);
        }
        note!(L, "migration entries of {} process(es) replaced", self.relatives().len());
    }

    /// Lets `change` rewrite the entries of a folio (`page_vma_mapped_walk`). A huge mapping that stands where the
    /// folio's single page was is not the folio.
    fn rewrite_folio(&self, pages: Pages, change: impl FnMut(u64, Pte) -> Pte) {
        let mut table = self.table.borrow_mut();
        if pages.count() == BLOCK_PAGES || PageTable::block_leaf(&table, pages.first).is_none() {
            table.rewrite_each(pages, change);
        }
    }
}
