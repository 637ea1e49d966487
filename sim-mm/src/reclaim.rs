//! Page-out: kswapd, MADV_PAGEOUT, MADV_FREE and MADV_COLD.
//!
//! Answers to `shrink_folio_list` in `mm/vmscan.c` and the rest of `mm/madvise.c` (spec mm-events 2). Reclaim works from
//! the page and holds no mmap_lock. A page of which several entries know is unmapped from all of them. Between the
//! unmapping and the end of the write-out the kernel's folio is in the swap cache, locked; who needs it waits for that,
//! so here the entries wait for the folio first and name the swap slot afterwards. Pages of files stay in memory.

use crate::interval::event;
use crate::memory::is_zero_pfn;
use crate::migrate::Isolated;
use crate::pagetable::Pte;
use crate::rmap::Moves;
use crate::space::{AddressSpace, Inner, check_range};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, PAGE_SIZE, Pages};
use model::{Errno, note};
use std::rc::Rc;

/// A VMA, and what of it a call is about.
type Part<L> = (Rc<VmaNode<L>>, Bytes);

impl<L: Lab> AddressSpace<L> {
    /// Memory is short: the anonymous pages in `bytes` are swapped out, page by page, as kswapd does it from the other
    /// end: CLEAR without mmap_lock, then the swap entry. Pages that MADV_FREE gave up are dropped instead. Mlocked
    /// VMAs, zero pages and pages that are on their way are skipped. Returns how many pages went.
    ///
    /// # Errors
    /// `EINVAL` for the range.
    #[track_caller]
    pub fn reclaim(&self, bytes: Bytes) -> Result<u64, Errno> {
        Ok(self.inner.reclaim_pages(check_range(bytes)?))
    }

    /// `madvise(MADV_PAGEOUT)`: as [`AddressSpace::reclaim`], under mmap_lock held for read.
    ///
    /// # Errors
    /// `EINVAL`: the range, or an mlocked, PFNMAP or hugetlb VMA, with those before it done. `ENOMEM` for holes, with the
    /// rest done.
    #[track_caller]
    pub fn madvise_pageout(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        let _held = mm.mmap_lock.read();
        let (parts, result) = mm.parts(bytes);
        for (vma, part) in parts {
            can_madv_lru_vma(&vma)?;
            mm.reclaim_pages(part.pages());
        }
        result
    }

    /// `madvise(MADV_COLD)`: looks at the VMAs and changes what nobody here can see.
    ///
    /// # Errors
    /// As [`AddressSpace::madvise_pageout`].
    #[track_caller]
    pub fn madvise_cold(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let _held = self.inner.mmap_lock.read();
        let (parts, result) = self.inner.parts(bytes);
        parts.iter().try_for_each(|(vma, _)| can_madv_lru_vma(vma))?;
        result
    }

    /// `madvise(MADV_FREE)`: CLEAR per VMA; present pages stay mapped and writable, and reclaim may drop them until a
    /// **CPU** has stored to them (a GPU's store leaves the entry clean); swapped-out ones are dropped at once. Under the
    /// VMA's lock alone where [`AddressSpace::madvise_dontneed`] is.
    ///
    /// # Errors
    /// `EINVAL`: the range, or a VMA that is not private anonymous memory, or mlocked. `ENOMEM` for holes, with the rest done.
    #[track_caller]
    pub fn madvise_free(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        if let Some(held) = mm.vma_read_lock(bytes.start) {
            let alone = held.vma.bytes().covers(&bytes).then(|| mm.free_lazily(&held.vma, bytes));
            held.unlock();
            if let Some(result) = alone {
                return result;
            }
        }
        let _held = mm.mmap_lock.read();
        let (parts, result) = mm.parts(bytes);
        for (vma, part) in parts {
            mm.free_lazily(&vma, part)?;
        }
        result
    }
}

/// Whether what it maps may be aged.
fn can_madv_lru_vma<L: Lab>(vma: &VmaNode<L>) -> Result<(), Errno> {
    let flags = vma.flags();
    if vma.mlocked.get() || flags.pfnmap || flags.hugetlb { Err(Errno::EINVAL) } else { Ok(()) }
}

impl<L: Lab> Inner<L> {
    /// The VMAs in `bytes` with the part of each, and ENOMEM when there are holes between them.
    pub(crate) fn parts(&self, bytes: Bytes) -> (Vec<Part<L>>, Result<(), Errno>) {
        let hit = self.vmas.borrow().overlapping(bytes);
        let parts: Vec<_> = hit.into_iter().map(|vma| (vma.clone(), vma.bytes().clip(&bytes))).collect();
        let covered: u64 = parts.iter().map(|(_, part)| part.len()).sum();
        let result = if covered == bytes.len() { Ok(()) } else { Err(Errno::ENOMEM) };
        (parts, result)
    }

    #[track_caller]
    fn reclaim_pages(&self, pages: Pages) -> u64 {
        let (mut gone, mut page) = (0, pages.first);
        while page <= pages.last {
            // try_to_unmap_one leaves VM_LOCKED alone.
            self.tree_accesses.read(Span::one(page));
            let mlocked = self.vmas.borrow().lookup(page * PAGE_SIZE).is_some_and(|vma| vma.mlocked.get());
            let mut next = page + 1;
            if !mlocked && let Some(folio) = self.isolate(page) {
                next = folio.pages.last + 1;
                gone += self.pageout(&folio);
            }
            page = next;
        }
        gone
    }

    /// `shrink_folio_list` for one folio that is isolated. Returns how many entries lost a page.
    #[track_caller]
    fn pageout(&self, folio: &Isolated) -> u64 {
        let (pages, from, count) = (folio.pages, folio.from, folio.pages.count());
        if count > 1 {
            // TTU_SPLIT_HUGE_PMD: swap entries are of one page.
            self.split_huge_pmd(pages.first);
        }
        let moves = Moves::of(from, count, from);
        let folio_lock = self.lock_folio();
        let mut gone = 0;
        if !self.try_to_unmap(Some(pages), &moves, &folio_lock).is_empty() {
            let written = self.memory.write_to_swap(from, count);
            self.replace_migration_entries(self.stays_at(pages), &moves, |_, old, _, _| {
                gone += 1;
                match written[(old.pfn - from) as usize] {
                    true => {
                        self.memory.dup_slot(old.pfn);
                        Pte::Swap { slot: old.pfn }
                    }
                    false => Pte::None,
                }
            });
            self.memory.drop_unused_slots(from, count);
        }
        note!(L, "reclaim of {pages}: {gone} page(s) swapped out or dropped, pfn {from:#x}");
        self.unlock_folio(folio_lock);
        self.memory.put(from, count);
        gone
    }

    /// `madvise_free_single_vma`; `part` lies inside the VMA.
    #[track_caller]
    fn free_lazily(&self, vma: &VmaNode<L>, part: Bytes) -> Result<(), Errno> {
        if !vma.flags().anon || vma.backing.is_some() || vma.flags().hugetlb || vma.mlocked.get() {
            return Err(Errno::EINVAL);
        }
        let clear = self.notifiers.start(event(EventKind::Clear, part)).expect("blockable events do not fail");
        let pages = part.pages();
        let mut clean: Vec<(u64, u64, u64)> = Vec::new();
        self.change_entries(pages, |table| {
            for (page, count, pte) in table.leaves(pages) {
                match pte {
                    Pte::Present { pfn, .. } if !is_zero_pfn(pfn) && !self.memory.is_shared(pfn) => {
                        match clean.last_mut() {
                            Some((at, first, n)) if *at + *n == page && *first + *n == pfn => *n += count,
                            _ => clean.push((page, pfn, count)),
                        }
                    }
                    Pte::Swap { slot } => {
                        self.memory.put_slot(slot);
                        table.set(page, Pte::None);
                    }
                    _ => {}
                }
            }
        });
        for (page, first, count) in clean {
            self.memory.make_lazyfree(first, count, |pfn| {
                matches!(self.table.borrow().get(page + (pfn - first)).pte, Pte::Present { pfn: now, .. } if now == pfn)
            });
        }
        self.notifiers.end(clear);
        Ok(())
    }
}

impl<L: Lab> AddressSpace<L> {
    /// `mlock` (or munlock): splits, sets VM_LOCKED, then faults everything in. Reclaim leaves such pages alone; they
    /// may still migrate.
    ///
    /// # Errors
    /// `EINVAL` for the range; `ENOMEM` for a hole, with the VMAs before it done and nothing faulted in, and for pages
    /// that cannot be faulted in.
    #[track_caller]
    pub fn mlock(&self, bytes: Bytes, lock: bool) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        {
            let held = mm.mmap_lock.write();
            mm.check_hugetlb_cuts(bytes, &mm.vmas.borrow().overlapping(bytes))?;
            let locked = mm.with_neighbours(bytes);
            let span = mm.hull(bytes, &locked);
            let waited = mm.vma_start_write(&held, span, &locked);
            let (mut split, mut at) = (false, bytes.start);
            while at < bytes.end {
                let Some(vma) = mm.vmas.borrow().lookup(at) else { break };
                let part = Bytes::new(at, vma.bytes().end.min(bytes.end));
                at = part.end;
                if vma.mlocked.get() != lock {
                    split |= mm.cut(&held, part);
                    let vma = mm.vmas.borrow().lookup(part.start).expect("it was just cut out");
                    vma.mlocked.set(lock);
                    at = mm.merge(vma).bytes().end;
                }
            }
            let all = mm.vmas.borrow().overlapping(Pages::new(span.first, span.last).bytes());
            mm.vma_end_write(span, &all, waited || split);
            if at < bytes.end {
                return Err(Errno::ENOMEM);
            }
        }
        if !lock {
            return Ok(());
        }
        let held = mm.mmap_lock.read();
        mm.mm_populate(&held, bytes).map_err(|_| Errno::ENOMEM)
    }
}
