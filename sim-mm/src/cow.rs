//! Write faults on pages that others may have, too.
//!
//! Answers to `do_wp_page`, `wp_page_copy`, `do_huge_pmd_wp_page` and `do_cow_fault` in `mm/memory.c` and
//! `mm/huge_memory.c` (spec mm-events 2). The copy is made **before** the CLEAR; between the two the old page is still
//! mapped read-only. A page that turns out to be the writer's alone is made writable in place, without an event.

use crate::fault::reprotect;
use crate::interval::event;
use crate::memory::Claim;
use crate::pagetable::{Prot, Pte, block_of};
use crate::plant::Fault;
use crate::space::Inner;
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::note;
use model::platform::EventKind;
use model::units::Pages;

impl<L: Lab> Inner<L> {
    /// Whether a store through `vma` may not simply go to the frame: it is not `PageAnonExclusive`, and the mapping is
    /// private.
    pub(crate) fn must_copy(&self, vma: &VmaNode<L>, pfn: u64) -> bool {
        !vma.is_shared() && self.memory.is_shared(pfn)
    }

    /// `do_wp_page`: `page` was seen to map `pfn` read-only. Afterwards the fault looks again.
    #[track_caller]
    pub(crate) fn do_wp_page(&self, vma: &VmaNode<L>, page: u64, pfn: u64) {
        let read_only = || {
            matches!(self.table.borrow().get(page).pte,
            Pte::Present { pfn: now, prot: Prot::Read } if now == pfn)
        };
        let huge = self.table.borrow().block_leaf(page).is_some();
        let span = if huge { block_of(page) } else { Pages::new(page, page) };
        let first = pfn - (page - span.first);
        let mut claim = self.memory.claim(first, span.count(), read_only);
        if !huge && claim == Claim::Ours && !self.may_reuse_large(pfn) {
            self.memory.get(pfn);
            claim = Claim::Shared;
        }
        match claim {
            Claim::Gone => {}
            Claim::Ours => {
                self.walks.write(Span::new(span.first, span.last));
                let mut table = self.table.borrow_mut();
                let entry = table.get(page);
                if entry.pte == (Pte::Present { pfn, prot: Prot::Read }) && (entry.order > 0) == huge {
                    self.memory.set_shared(first, span.count(), false);
                    self.memory.set_dirty_in(self.id, first, span.count(), true);
                    if span.count() == self.memory.folio_of(first).1 {
                        self.set_anon(vma, span.first, first, span.count(), true);
                    }
                    reprotect(&mut table, page, entry.order, Prot::Write);
                    note!(L, "write fault on page {page:#x}: the others are gone, reused in place");
                }
            }
            Claim::Shared if huge => {
                self.memory.put(first, 1);
                self.split_huge_pmd(page);
            }
            Claim::Shared => self.wp_page_copy(vma, page, pfn),
        }
    }

    /// `__wp_can_reuse_large_anon_folio`: a page of a large folio is only taken for the writer's own when no other address
    /// space maps any page of it, and more than this one are mapped: the folio is to come free.
    #[track_caller]
    fn may_reuse_large(&self, pfn: u64) -> bool {
        let (first, count) = self.memory.folio_of(pfn);
        count == 1 || self.memory.folio_mapcount(first, count) > 1 && !self.maybe_mapped_shared(first, count)
    }

    /// `wp_page_copy`; the caller has a reference to `pfn`, which is given back.
    #[track_caller]
    fn wp_page_copy(&self, vma: &VmaNode<L>, page: u64, pfn: u64) {
        let copy = self.memory.alloc(self.id, page);
        self.memory.copy(pfn, copy, 1);
        let span = Pages::new(page, page);
        let told = !self.has(Fault::SilentCopy);
        let clear = told.then(|| {
            self.notifiers.start(event(EventKind::Clear, span.bytes())).expect("blockable events do not fail")
        });
        self.walks.write(Span::one(page));
        let done = {
            let mut table = self.table.borrow_mut();
            let same =
                table.get(page).pte == (Pte::Present { pfn, prot: Prot::Read }) && table.block_leaf(page).is_none();
            if same {
                table.set(page, Pte::Present { pfn: copy, prot: Prot::Write });
                self.memory.add_maps(copy, 1);
                self.memory.set_dirty_in(self.id, copy, 1, true);
                self.set_anon(vma, page, copy, 1, true);
                self.memory.remove_maps(pfn, 1);
                self.memory.set_dirty_in(self.id, pfn, 1, false);
            }
            same
        };
        if let Some(clear) = clear {
            self.notifiers.end(clear);
        }
        if done {
            note!(L, "write fault on page {page:#x}: copied, pfn {pfn:#x} -> {copy:#x}");
            self.memory.put(pfn, 1);
        } else {
            self.memory.put(copy, 1);
        }
        self.memory.put(pfn, 1);
    }

    /// `do_cow_fault`: a store to a page of a private file mapping that is not present. No event.
    #[track_caller]
    pub(crate) fn do_cow_fault(&self, vma: &VmaNode<L>, page: u64, pfn: u64) {
        let copy = self.memory.alloc(self.id, page);
        self.memory.copy(pfn, copy, 1);
        self.walks.write(Span::one(page));
        let empty = self.table.borrow().get(page).pte == Pte::None;
        if empty {
            self.memory.add_maps(copy, 1);
            self.memory.set_dirty_in(self.id, copy, 1, true);
            self.set_anon(vma, page, copy, 1, true);
            self.table.borrow_mut().set(page, Pte::Present { pfn: copy, prot: Prot::Write });
        } else {
            self.memory.put(copy, 1);
        }
    }
}
