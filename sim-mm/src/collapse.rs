//! MADV_COLLAPSE: small pages become a huge one.
//!
//! Answers to `collapse_huge_page` in `mm/khugepaged.c` (spec mm-events 2), which khugepaged shares.

use crate::fault::Held;
use crate::interval::event;
use crate::memory::{BLOCK_PAGES, is_zero_pfn};
use crate::pagetable::{Pte, block_of};
use crate::space::{AddressSpace, Inner, MmapRead, check_range, prot_of};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, PAGE_SIZE, Pages};
use model::{Errno, note};
use std::rc::Rc;

/// What came of a block (`enum scan_result`).
enum Scan {
    /// Huge now, or was.
    Huge,
    /// Not, and the others are tried.
    Not(Errno),
}

impl<L: Lab> AddressSpace<L> {
    /// `madvise(MADV_COLLAPSE)`: each whole 2 MiB block in `bytes` becomes one huge page. Pages that are swapped out come
    /// in first, under mmap_lock held for read. Then it is held for write; CLEAR of the block **ends when the entries are
    /// gone**, before the copy is made and the huge entry is there: until then only mmap_lock keeps others out. Blocks that
    /// are huge already stay; pages that are not there yet inside a populated block come as zeroes.
    ///
    /// # Errors
    /// `EINVAL`: the range; a VMA that is not private anonymous memory, was never written to, or has no room for a block;
    /// a block below which no page table is. `EAGAIN`: some page of a block is on its way or held by somebody; that block
    /// stays as it is. `ENOMEM` for holes.
    #[track_caller]
    pub fn madvise_collapse(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        let mut held = Some(mm.mmap_lock.read());
        let (mut at, mut holes) = (bytes.start, false);
        while at < bytes.end {
            let Some(vma) = mm.vmas.borrow().find(at).filter(|vma| vma.bytes().start < bytes.end) else {
                return Err(Errno::ENOMEM);
            };
            let part = vma.bytes().clip(&Bytes::new(at, bytes.end));
            holes |= part.start > at;
            at = part.end;
            mm.collapse_vma(&mut held, &vma, part)?;
        }
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}

impl<L: Lab> Inner<L> {
    /// `collapse_possible`.
    fn collapsible(vma: &VmaNode<L>) -> bool {
        let flags = vma.flags();
        let plain =
            vma.backing.is_none() && flags.anon && !flags.hugetlb && !flags.io && !flags.pfnmap && !flags.mixedmap;
        let last = vma.bytes().end.checked_sub(BLOCK_PAGES * PAGE_SIZE);
        let room = last.is_some_and(|last| block_of(last / PAGE_SIZE).bytes().start >= vma.bytes().start);
        plain && room && vma.anon_vma.get().is_some()
    }

    /// `madvise_collapse`. mmap_lock is held for read; it is given up and taken again for each block that needs work.
    #[track_caller]
    fn collapse_vma<'a>(
        &'a self,
        held: &mut Option<MmapRead<'a, L>>,
        vma: &Rc<VmaNode<L>>,
        part: Bytes,
    ) -> Result<(), Errno> {
        if !Self::collapsible(vma) {
            return Err(Errno::EINVAL);
        }
        let pages = part.pages();
        let mut block = block_of(pages.first.next_multiple_of(BLOCK_PAGES));
        let mut result = Ok(());
        while block.last <= pages.last {
            let (mut swapped, mut scan) = (Vec::new(), Scan::Huge);
            self.walks.read(Span::new(block.first, block.last));
            {
                let table = self.table.borrow();
                if table.block_is_none(block.first) {
                    scan = Scan::Not(Errno::EINVAL);
                } else if table.block_leaf(block.first).is_none() {
                    for (page, _, pte) in table.leaves(block) {
                        match pte {
                            Pte::Present { .. } | Pte::None => {}
                            // __collapse_huge_page_swapin brings all of them back.
                            _ => swapped.push(page),
                        }
                    }
                    scan = Scan::Not(Errno::EAGAIN);
                }
            }
            if let Scan::Not(Errno::EAGAIN) = scan {
                for page in swapped {
                    let fault = held.as_ref().map(|held| Held::Read(held)).expect("it is held between blocks");
                    if self.handle_mm_fault(fault, vma, Pages::new(page, page), false).is_err() {
                        return Err(Errno::EINVAL);
                    }
                }
                *held = None;
                scan = self.collapse_huge_page(block)?;
                *held = Some(self.mmap_lock.read());
                // hugepage_vma_revalidate
                let still = self.vmas.borrow().lookup(block.bytes().start);
                if still.is_none_or(|vma| !Self::collapsible(&vma)) {
                    return Err(Errno::EINVAL);
                }
            }
            if let Scan::Not(errno) = scan {
                result = Err(errno);
            }
            block = block_of(block.last + 1);
        }
        result
    }

    /// `collapse_huge_page`.
    #[track_caller]
    fn collapse_huge_page(&self, block: Pages) -> Result<Scan, Errno> {
        let held = self.mmap_lock.write();
        let vma = self.vmas.borrow().lookup(block.bytes().start).ok_or(Errno::EINVAL)?;
        if !vma.bytes().covers(&block.bytes()) || !Self::collapsible(&vma) {
            return Err(Errno::EINVAL);
        }
        let span = Span::new(block.first, block.last);
        let alone = std::slice::from_ref(&vma);
        let whole = self.hull(block.bytes(), alone);
        self.vma_start_write(&held, whole, alone);
        let (old, result) = {
            let _rmap = self.anon_vma.write();
            let clear = self.notifiers.start(event(EventKind::Clear, block.bytes())).expect("blockable");
            // pmdp_collapse_flush and __collapse_huge_page_isolate; what cannot be collapsed is put back.
            self.walks.write(span);
            let (old, result) = {
                let mut table = self.table.borrow_mut();
                let old = table.leaves(block);
                let huge = table.block_leaf(block.first).is_some();
                let ready = old.iter().all(|(_, _, pte)| matches!(pte, Pte::Present { .. }));
                match (huge, ready && !table.block_is_none(block.first)) {
                    (true, _) => (None, Scan::Huge),
                    (false, false) => (None, Scan::Not(Errno::EAGAIN)),
                    (false, true) => {
                        table.clear_block(block.first);
                        (Some(old), Scan::Huge)
                    }
                }
            };
            self.notifiers.end(clear);
            (old, result)
        };
        if let Some(old) = old {
            self.copy_into_huge_page(&vma, block, &old);
        }
        self.vma_end_write(whole, alone, true);
        Ok(result)
    }

    /// `__collapse_huge_page_copy` and what follows: copies run by run, then the new entry, then the old pages go.
    #[track_caller]
    fn copy_into_huge_page(&self, vma: &VmaNode<L>, block: Pages, old: &[(u64, u64, Pte)]) {
        let huge = self.memory.alloc_block(self.id, block.first);
        let mut runs: Vec<(u64, u64, u64)> = Vec::new();
        for &(page, _, pte) in old {
            let Pte::Present { pfn, .. } = pte else { unreachable!("only present entries are collapsed") };
            match runs.last_mut() {
                _ if is_zero_pfn(pfn) => {}
                Some((at, first, n)) if *at + *n == page && *first + *n == pfn => *n += 1,
                _ => runs.push((page, pfn, 1)),
            }
        }
        for &(page, pfn, count) in &runs {
            self.memory.copy(pfn, huge + (page - block.first), count);
        }
        self.walks.write(Span::new(block.first, block.last));
        self.memory.add_maps(huge, BLOCK_PAGES);
        self.memory.set_dirty_in(self.id, huge, BLOCK_PAGES, true);
        self.set_anon(vma, block.first, huge, BLOCK_PAGES, true);
        self.table.borrow_mut().set_block(block.first, Pte::Present { pfn: huge, prot: prot_of(vma.flags()) });
        note!(L, "collapsed {block} into pfn {huge:#x}");
        for &(_, pfn, count) in &runs {
            self.memory.remove_maps(pfn, count);
            self.memory.set_dirty_in(self.id, pfn, count, false);
            self.memory.put(pfn, count);
        }
    }
}
