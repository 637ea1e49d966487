//! MADV_COLLAPSE: small pages become a huge one.
//!
//! Answers to `collapse_huge_page` in `mm/khugepaged.c` (spec mm-events 2), which khugepaged shares.

use crate::interval::event;
use crate::memory::{BLOCK_PAGES, is_zero_pfn};
use crate::pagetable::{Pte, block_of};
use crate::space::{AddressSpace, Inner, check_range, prot_of};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, Pages};
use model::{Errno, note};

impl<L: Lab> AddressSpace<L> {
    /// `madvise(MADV_COLLAPSE)`: each whole 2 MiB block in `bytes` becomes one huge page. mmap_lock is held for write;
    /// CLEAR of the block **ends when the entries are gone**, before the copy is made and the huge entry is there: until
    /// then only mmap_lock keeps others out. Blocks that are huge already, or have pages that are not there, are
    /// skipped; pages that are not there yet inside a populated block come as zeroes.
    ///
    /// # Errors
    /// `EINVAL`: the range, no whole block in it, or no private anonymous memory. `EAGAIN`: some page of a block is on
    /// its way or swapped out; that block stays as it is. `ENOMEM` for holes.
    #[track_caller]
    pub fn madvise_collapse(&self, bytes: Bytes) -> Result<(), Errno> {
        let pages = check_range(bytes)?;
        let first = pages.first.next_multiple_of(block_of(0).count());
        let mut result = Err(Errno::EINVAL);
        let mut block = block_of(first);
        while block.last <= pages.last {
            self.inner.collapse_huge_page(block)?;
            result = Ok(());
            block = block_of(block.last + 1);
        }
        result
    }
}

impl<L: Lab> Inner<L> {
    /// `collapse_huge_page`.
    #[track_caller]
    fn collapse_huge_page(&self, block: Pages) -> Result<(), Errno> {
        let held = self.mmap_lock.write();
        let vma = self.vmas.borrow().lookup(block.bytes().start).ok_or(Errno::ENOMEM)?;
        let flags = vma.flags();
        if !vma.bytes().covers(&block.bytes()) || !flags.anon || flags.hugetlb || flags.pfnmap || vma.backing.is_some()
        {
            return Err(Errno::EINVAL);
        }
        let span = Span::new(block.first, block.last);
        let alone = std::slice::from_ref(&vma);
        let whole = self.hull(block.bytes(), alone);
        self.vma_start_write(&held, whole, alone);
        let result = {
            let _rmap = self.anon_vma.write();
            let clear = self.notifiers.start(event(EventKind::Clear, block.bytes())).expect("blockable");
            // pmdp_collapse_flush and __collapse_huge_page_isolate; what cannot be collapsed is put back.
            self.walks.write(span);
            let (old, result) = {
                let mut table = self.table.borrow_mut();
                let old = table.leaves(block);
                let huge = table.block_leaf(block.first).is_some();
                let ready = old.iter().all(|(_, _, pte)| matches!(pte, Pte::Present { .. }));
                match (huge || old.is_empty(), ready) {
                    (true, _) => (Vec::new(), Ok(())),
                    (false, false) => (Vec::new(), Err(Errno::EAGAIN)),
                    (false, true) => {
                        table.clear_block(block.first);
                        (old, Ok(()))
                    }
                }
            };
            self.notifiers.end(clear);
            (old, result)
        };
        let (old, result) = result;
        if !old.is_empty() {
            self.copy_into_huge_page(&vma, block, &old);
        }
        self.vma_end_write(whole, alone, true);
        result
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
        self.table.borrow_mut().set_block(block.first, Pte::Present { pfn: huge, prot: prot_of(vma.flags()) });
        note!(L, "collapsed {block} into pfn {huge:#x}");
        for &(_, pfn, count) in &runs {
            self.memory.remove_maps(pfn, count);
            self.memory.put(pfn, count);
        }
    }
}
