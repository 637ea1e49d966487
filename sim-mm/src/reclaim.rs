//! Page-out: kswapd, MADV_PAGEOUT, MADV_FREE and MADV_COLD.
//!
//! Answers to `shrink_folio_list` in `mm/vmscan.c` and the rest of `mm/madvise.c` (spec mm-events 2). Reclaim works from
//! the page and holds no mmap_lock. A page of which several entries know is unmapped from all of them. Between the
//! unmapping and the end of the write-out the kernel's folio is in the swap cache, locked; who needs it waits for that,
//! so here the entries wait for the folio first and name the swap slot afterwards. Pages of files stay in memory.
//!
//! What madvise is to do to a part of a large folio splits the folio first, with a CLEAR wherever it may be mapped.

use crate::interval::event;
use crate::memory::{BLOCK_PAGES, is_file_pfn, is_zero_pfn};
use crate::migrate::Isolated;
use crate::pagetable::{Pte, block_of};
use crate::rmap::{For, Moves};
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

    /// `madvise(MADV_PAGEOUT)`: as [`AddressSpace::reclaim`], under mmap_lock held for read, of what no other process maps.
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
            mm.cold_or_pageout(part.pages(), true);
        }
        result
    }

    /// `madvise(MADV_COLD)`: splits the large folios that it is about a part of; changes nothing else that anybody here can
    /// see.
    ///
    /// # Errors
    /// As [`AddressSpace::madvise_pageout`].
    #[track_caller]
    pub fn madvise_cold(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        let _held = mm.mmap_lock.read();
        let (parts, result) = mm.parts(bytes);
        for (vma, part) in parts {
            can_madv_lru_vma(&vma)?;
            mm.cold_or_pageout(part.pages(), false);
        }
        result
    }

    /// The large folios that are mapped in `bytes` come apart, as debugfs (`split_huge_pages`) lets one ask: CLEAR wherever
    /// they may be mapped, then small entries of small folios.
    ///
    /// # Errors
    /// `EINVAL` for the range.
    #[track_caller]
    pub fn split_folios(&self, bytes: Bytes) -> Result<(), Errno> {
        let pages = check_range(bytes)?;
        let mm = &*self.inner;
        let _held = mm.mmap_lock.read();
        for page in pages.first..=pages.last {
            mm.walks.read(Span::one(page));
            if let Some((_, pfn)) = mm.mapped_run(page, pages) {
                let (first, count) = mm.memory.folio_of(pfn);
                if count > 1 {
                    mm.split_folio(first, page, pfn);
                }
            }
        }
        Ok(())
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
                // A mapping of a part begins before what it is about.
                next = next.max(folio.pages.last + 1);
                gone += self.pageout(&folio);
            }
            page = next;
        }
        gone
    }

    /// `madvise_cold_or_pageout_pte_range`, page table by page table: finds the folios that this process alone maps, splits
    /// those of which `pages` is a part only, and (`pageout`) reclaims them.
    #[track_caller]
    fn cold_or_pageout(&self, pages: Pages, pageout: bool) {
        for block in pages.first / BLOCK_PAGES..=pages.last / BLOCK_PAGES {
            let part = block_of(block * BLOCK_PAGES).clip(&pages);
            let mut isolated = Vec::new();
            self.each_own_folio(part, |folio| {
                // COLD has nothing to do, unless it looks at it.
                if pageout && let Some(folio) = self.isolate(folio.first) {
                    isolated.push(folio);
                }
            });
            for folio in isolated {
                self.pageout(&folio);
            }
        }
    }

    /// Tells `each` of the folios in `part` of one page table that this process alone maps, by where they are mapped. A
    /// large one of which not everything is mapped in `part` is split first; if it cannot be, it is passed over.
    #[track_caller]
    fn each_own_folio(&self, part: Pages, mut each: impl FnMut(Pages)) {
        let mut page = part.first;
        while page <= part.last {
            self.walks.read(Span::one(page));
            let Some((run, pfn)) = self.mapped_run(page, part) else {
                page += 1;
                continue;
            };
            let (first, count) = self.memory.folio_of(pfn);
            let shared = self.maybe_mapped_shared(first, count);
            if run.count() == count {
                // A large one that is mapped here whole may be mapped in part elsewhere.
                if !shared && self.memory.folio_mapcount(first, count) == count {
                    each(run);
                }
                page = run.last + 1;
            } else if shared || !self.split_folio(first, page, pfn) {
                page = run.last + 1;
            }
        }
    }

    /// The pages of `part` from `page` on that map one folio in a row (`folio_pte_batch`), and the frame of the first.
    fn mapped_run(&self, page: u64, part: Pages) -> Option<(Pages, u64)> {
        let table = self.table.borrow();
        let frame = |page: u64| match table.get(page).pte {
            Pte::Present { pfn, .. } if !is_zero_pfn(pfn) && !is_file_pfn(pfn) => Some(pfn),
            _ => None,
        };
        let pfn = frame(page)?;
        let (first, count) = self.memory.folio_of(pfn);
        let most = (first + count - pfn).min(part.last - page + 1);
        let run = (1..most).take_while(|by| frame(page + by) == Some(pfn + by)).count() as u64;
        Some((Pages::new(page, page + run), pfn))
    }

    /// `shrink_folio_list` for one folio that is isolated. Returns how many entries lost a page.
    #[track_caller]
    fn pageout(&self, folio: &Isolated) -> u64 {
        let (pages, from, count) = (folio.pages, folio.from, folio.pages.count());
        let moves = Moves::of(from, count, from);
        let folio_lock = self.lock_folio();
        let lazyfree = self.memory.is_lazyfree(from, count);
        let what_for = if lazyfree { For::Drop } else { For::Swap };
        let mut gone = 0;
        if !self.unmap_folio(folio, &moves, &folio_lock, what_for).is_empty() {
            let slots = if lazyfree { Vec::new() } else { self.memory.write_to_swap(from, count) };
            self.replace_migration_entries(self.stays_at(pages), &moves, |_, old, _, _| {
                gone += old.count;
                // Without a slot: what MADV_FREE gave up.
                slots.get((old.pfn - from) as usize).map_or(Pte::None, |&slot| {
                    self.memory.dup_slot(slot);
                    Pte::Swap { slot }
                })
            });
            self.memory.drop_unused_slots(&slots);
        }
        note!(L, "reclaim of {pages}: {gone} page(s) swapped out or dropped, pfn {from:#x}");
        self.unlock_folio(folio_lock);
        self.memory.putback(from, count);
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
        for block in pages.first / BLOCK_PAGES..=pages.last / BLOCK_PAGES {
            self.free_pte_range(block_of(block * BLOCK_PAGES).clip(&pages));
        }
        self.notifiers.end(clear);
        Ok(())
    }

    /// `madvise_free_pte_range`, for `part` of one page table.
    #[track_caller]
    fn free_pte_range(&self, part: Pages) {
        let mut clean: Vec<(u64, u64, u64)> = Vec::new();
        let (mut page, mut stale) = (part.first, true);
        while page <= part.last {
            if std::mem::take(&mut stale) {
                self.walks.write(Span::new(page, part.last));
            }
            let swapped = match self.table.borrow().get(page).pte {
                Pte::Swap { slot } => Some(slot),
                _ => None,
            };
            if let Some(slot) = swapped {
                self.memory.put_slot(slot);
                self.table.borrow_mut().set(page, Pte::None);
            }
            let Some((run, pfn)) = self.mapped_run(page, part) else {
                page += 1;
                continue;
            };
            let (first, count) = self.memory.folio_of(pfn);
            let huge = self.table.borrow().block_leaf(page).is_some();
            if run.count() < count {
                stale = true;
                if !self.maybe_mapped_shared(first, count) && self.split_folio(first, page, pfn) {
                    continue;
                }
            } else if !huge || !self.maybe_mapped_shared(first, count) {
                match clean.last_mut() {
                    Some((at, first, n)) if *at + *n == page && *first + *n == pfn => *n += run.count(),
                    _ => clean.push((page, pfn, run.count())),
                }
            }
            page = run.last + 1;
        }
        for (page, first, count) in clean {
            self.memory.make_lazyfree(self.id, first, count, |pfn| {
                matches!(self.table.borrow().get(page + (pfn - first)).pte, Pte::Present { pfn: now, .. } if now == pfn)
            });
        }
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
