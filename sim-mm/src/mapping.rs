//! mmap, munmap and populate.
//!
//! Answers to `mm/vma.c` (`__mmap_region`, `do_vmi_align_munmap`, `vms_complete_munmap_vmas`; spec mm-events 2.1) and
//! `mm_populate`.

use crate::fault::Held;
use crate::file::Backing;
use crate::interval::event;
use crate::memory::BLOCK_PAGES;
use crate::pagetable::{Gather, block_of};
use crate::space::{AddressSpace, Inner, MmapRead, MmapWrite, check_range};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem, VmaFlags};
use model::units::{Bytes, PAGE_SIZE, Pages};
use model::{Errno, note};
use std::rc::Rc;

impl<L: Lab> AddressSpace<L> {
    /// `mmap(MAP_FIXED)`. What was mapped there is unmapped first: the UNMAP event comes while the old VMAs are still
    /// in the tree (detached), and the new VMA is stored after its end, all under mmap_lock held for write.
    ///
    /// # Errors
    /// `EINVAL`: not page aligned, empty, beyond the user address space, or hugetlb and not 2 MiB aligned.
    #[track_caller]
    pub fn mmap(&self, bytes: Bytes, flags: VmaFlags) -> Result<(), Errno> {
        self.mmap_backed(bytes, flags, None)
    }

    #[track_caller]
    pub(crate) fn mmap_backed(&self, bytes: Bytes, flags: VmaFlags, backing: Option<Backing<L>>) -> Result<(), Errno> {
        let pages = check_range(bytes)?;
        let mm = &*self.inner;
        if flags.hugetlb && (pages.first % BLOCK_PAGES != 0 || pages.count() % BLOCK_PAGES != 0) {
            return Err(Errno::EINVAL);
        }
        let held = mm.mmap_lock.write();
        let hit = mm.vmas.borrow().overlapping(bytes);
        let locked = mm.with_neighbours(bytes);
        let span = mm.hull(bytes, &locked);
        if hit.is_empty() {
            match locked.is_empty() {
                true => mm.tree_accesses.write(span),
                false => drop(mm.vma_start_write(&held, span, &locked)),
            }
        } else {
            mm.check_hugetlb_cuts(bytes, &hit)?;
            mm.vma_start_write(&held, span, &locked);
            mm.cut(&held, bytes);
            let old = mm.vmas.borrow().overlapping(bytes);
            old.iter().for_each(|vma| vma.detached.set(true));
            note!(L, "mmap {bytes}: {} old VMA(s) detached, still in the tree", old.len());
            let unmap = mm.notifiers.start(event(EventKind::Unmap, bytes)).expect("blockable events do not fail");
            let mut gather = Gather::default();
            mm.zap(pages, &mut gather);
            mm.notifiers.end(unmap);
            mm.free_tables(pages);
            mm.free_pages(gather);
            mm.tree_accesses.write(span);
            for vma in old {
                mm.vmas.borrow_mut().erase(vma.bytes().start);
            }
        }
        let new = VmaNode::new(bytes, flags, backing);
        mm.vmas.borrow_mut().insert(new.clone());
        mm.merge(new);
        mm.vmas.borrow().overlapping(span_bytes(span)).iter().for_each(|vma| vma.locked.set(false));
        note!(L, "mmap {bytes}: VMA stored");
        Ok(())
    }

    /// `munmap`, in the order of spec mm-events 2.1: split, detach, erase, downgrade mmap_lock to read, UNMAP start,
    /// zap, end, free page tables and pages, unlock. A range without VMAs is not an error and sends no event.
    ///
    /// # Errors
    /// `EINVAL`: not page aligned, empty, beyond the user address space, or cutting a huge page of a hugetlb VMA.
    #[track_caller]
    pub fn munmap(&self, bytes: Bytes) -> Result<(), Errno> {
        let pages = check_range(bytes)?;
        let mm = &*self.inner;
        let held = mm.mmap_lock.write();
        if mm.erase_range(&held, bytes)? == 0 {
            return Ok(());
        }
        let held = <L::RwSem<()> as RwSem<()>>::downgrade(held);
        mm.unmap_range(pages);
        drop(held);
        Ok(())
    }

    /// `mm_populate`: faults every page of `bytes` in, for write where the VMA allows it. Holes and failing pages are
    /// skipped. Sends events only where it copies a zero page.
    ///
    /// # Errors
    /// `EINVAL` as for [`AddressSpace::mmap`].
    #[track_caller]
    pub fn populate(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        let held = mm.mmap_lock.read();
        let hit = mm.vmas.borrow().overlapping(bytes);
        for vma in hit {
            // populate_vma_page_range gives up on a VMA silently, and so does mm_populate.
            let _ = mm.mm_populate(&held, vma.bytes().clip(&bytes));
        }
        Ok(())
    }
}

impl<L: Lab> Inner<L> {
    /// `__mm_populate` that stops at the first error: EFAULT where nothing can be faulted in.
    #[track_caller]
    pub(crate) fn mm_populate(&self, held: &MmapRead<'_, L>, bytes: Bytes) -> Result<(), Errno> {
        let hit = self.vmas.borrow().overlapping(bytes);
        for vma in hit {
            let flags = vma.flags();
            if flags.io || flags.pfnmap {
                continue;
            }
            if !flags.read && !flags.write {
                return Err(Errno::EFAULT);
            }
            // Copies are made now; what is shared is not copied, and need not be dirty.
            let write = flags.write && !vma.is_shared();
            let pages = vma.bytes().clip(&bytes).pages();
            self.handle_mm_fault(Held::Read(held), &vma, pages, write).map_err(|_| Errno::EFAULT)?;
        }
        Ok(())
    }
}

/// The bytes of a span of pages that came from [`Inner::hull`].
fn span_bytes(span: Span) -> Bytes {
    Pages::new(span.first, span.last).bytes()
}

impl<L: Lab> Inner<L> {
    /// The pages of `bytes` and of all of `vmas`: what an operation that cuts them may change.
    pub(crate) fn hull(&self, bytes: Bytes, vmas: &[Rc<VmaNode<L>>]) -> Span {
        let pages = vmas.iter().fold(bytes.pages(), |hull, vma| hull.hull(&vma.bytes().pages()));
        Span::new(pages.first, pages.last)
    }

    /// The first half of an munmap: the VMAs in `bytes` are split, detached and taken out of the tree. Returns how many
    /// there were.
    #[track_caller]
    pub(crate) fn erase_range(&self, held: &MmapWrite<'_, L>, bytes: Bytes) -> Result<usize, Errno> {
        let hit = self.vmas.borrow().overlapping(bytes);
        if hit.is_empty() {
            return Ok(0);
        }
        self.check_hugetlb_cuts(bytes, &hit)?;
        let span = self.hull(bytes, &hit);
        let waited = self.vma_start_write(held, span, &hit);
        let split = self.cut(held, bytes);
        let gone = self.vmas.borrow().overlapping(bytes);
        for vma in &gone {
            vma.detached.set(true);
            self.vmas.borrow_mut().erase(vma.bytes().start);
        }
        let rest = self.vmas.borrow().overlapping(span_bytes(span));
        self.vma_end_write(span, &rest, waited || split);
        note!(L, "munmap {bytes}: {} VMA(s) erased", gone.len());
        Ok(gone.len())
    }

    /// The second half: UNMAP around the zap, then page tables and pages go. mmap_lock is held, for read or for write.
    #[track_caller]
    pub(crate) fn unmap_range(&self, pages: Pages) {
        let unmap = self.notifiers.start(event(EventKind::Unmap, pages.bytes())).expect("blockable events do not fail");
        let mut gather = Gather::default();
        self.zap(pages, &mut gather);
        self.notifiers.end(unmap);
        self.free_tables(pages);
        self.free_pages(gather);
    }

    /// Splits the VMAs that the ends of `bytes` cut, after [`Inner::adjust_trans_huge`]. The VMAs are write-locked.
    /// Returns whether steps were taken.
    #[track_caller]
    pub(crate) fn cut(&self, _held: &MmapWrite<'_, L>, bytes: Bytes) -> bool {
        let mut stepped = false;
        for at in [bytes.start, bytes.end] {
            let vma = self.vmas.borrow().lookup(at).filter(|vma| vma.bytes().start < at);
            if let Some(vma) = vma {
                stepped |= self.adjust_trans_huge(&vma, at);
                let upper = self.vmas.borrow_mut().split(&vma, at);
                [&*vma, &*upper].iter().for_each(|part| part.linked.set(self.memory.next_link()));
            }
        }
        stepped
    }

    /// `vma_adjust_trans_huge`, before `vma` is cut at `at`: a huge entry across the cut is split, with a CLEAR of its 2
    /// MiB. There *could* be one wherever the VMA has room for it and the 1 GiB level is populated, and then the kernel
    /// sends the CLEAR and looks afterwards. Returns whether it did.
    #[track_caller]
    fn adjust_trans_huge(&self, vma: &VmaNode<L>, at: u64) -> bool {
        let block = block_of(at / PAGE_SIZE);
        let could = at != block.bytes().start && vma.bytes().covers(&block.bytes());
        let sent = could
            && match self.options.merge {
                true => self.table.borrow().first_populated_pud(block).is_some(),
                // The scenarios were written for what happens to huge entries only.
                false => self.table.borrow().block_leaf(block.first).is_some(),
            };
        if sent {
            self.clear_and_split(block);
        }
        sent
    }

    /// `hugetlb_vm_op_split`: such a VMA splits between huge pages only.
    pub(crate) fn check_hugetlb_cuts(&self, bytes: Bytes, vmas: &[Rc<VmaNode<L>>]) -> Result<(), Errno> {
        let cuts = |vma: &VmaNode<L>, at: u64| vma.bytes().start < at && at < vma.bytes().end;
        let unaligned = |at: u64| !at.is_multiple_of(BLOCK_PAGES * PAGE_SIZE);
        let bad = |vma: &Rc<VmaNode<L>>| {
            vma.flags().hugetlb && [bytes.start, bytes.end].into_iter().any(|at| cuts(vma, at) && unaligned(at))
        };
        if vmas.iter().any(bad) { Err(Errno::EINVAL) } else { Ok(()) }
    }
}
