//! mremap: a mapping grows, shrinks or moves.
//!
//! Answers to `mm/mremap.c` (spec mm-events 2). A move sends UNMAP over the old range while the entries move (its start
//! possibly rounded down to 2 MiB), and the removal of the old VMA sends it again; nothing is sent for the new range.
//! With DONTUNMAP the old VMA stays, empty, and there is one event only.

use crate::interval::event;
use crate::memory::BLOCK_PAGES;
use crate::pagetable::block_of;
use crate::plant::Fault;
use crate::space::{AddressSpace, Inner, MmapWrite, TASK_SIZE, check_range};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, PAGE_SIZE};
use model::{Errno, note};
use std::rc::Rc;

/// What mremap may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remap {
    /// MREMAP_MAYMOVE | MREMAP_FIXED: where to; whatever is there is unmapped first. Without it the mapping is resized
    /// where it is.
    pub to: Option<u64>,
    /// MREMAP_DONTUNMAP: the old mapping stays, empty. Only with `to`, and only of the same length.
    pub keep_old: bool,
}

impl<L: Lab> AddressSpace<L> {
    /// `mremap` of `old` to `len` bytes. What `old` covers may be several VMAs when it only moves; they are moved one
    /// after the other, each as if it were asked for alone.
    ///
    /// # Errors
    /// `EINVAL`: unaligned or empty, beyond the user address space, overlapping old and new, hugetlb (not modelled),
    /// `keep_old` with another length or without `to`. `EFAULT`: `old` begins in a hole, or is resized and not inside one
    /// VMA. `ENOMEM`: no room to grow in place. What was done before an error stays.
    #[track_caller]
    pub fn mremap(&self, old: Bytes, len: u64, how: Remap) -> Result<(), Errno> {
        let mm = &*self.inner;
        mm.needs_sharing("mremap");
        check_range(old)?;
        let start = how.to.unwrap_or(old.start);
        let new = Bytes::new(start, start.checked_add(len).filter(|end| *end <= TASK_SIZE).ok_or(Errno::EINVAL)?);
        check_range(new)?;
        if how.keep_old && (how.to.is_none() || len != old.len()) || (how.to.is_some() && new.overlaps(&old)) {
            return Err(Errno::EINVAL);
        }
        let held = mm.mmap_lock.write();
        match how.to {
            Some(_) if len == old.len() => mm.remap_move(&held, old, new, how.keep_old)?,
            Some(_) => {
                // Growing wants all of `old` in one VMA, shrinking what is left of it.
                let locked = mm.source(old, new.len())?.mlocked.get();
                mm.mremap_to(&held, old, new, how.keep_old)?;
                drop(held);
                if locked && new.len() > old.len() {
                    mm.populate_expanded(Bytes::new(new.start + old.len(), new.end));
                }
            }
            // Nothing is asked of the rest of `old` when nothing new is mapped.
            None => {
                let vma = mm.source(old, if new.len() > old.len() { old.len() } else { PAGE_SIZE })?;
                mm.resize(held, &vma, old, new)?;
            }
        }
        note!(L, "mremap {old} -> {new}");
        Ok(())
    }
}

impl<L: Lab> Inner<L> {
    /// `check_prep_vma`: the VMA that `old` begins in, and in which its first `len` bytes, or all that it has, must lie.
    fn source(&self, old: Bytes, len: u64) -> Result<Rc<VmaNode<L>>, Errno> {
        let kept = Bytes::new(old.start, old.end.min(old.start.saturating_add(len)));
        let vma = self.vmas.borrow().lookup(old.start).filter(|vma| vma.bytes().covers(&kept)).ok_or(Errno::EFAULT)?;
        if vma.flags().hugetlb || vma.flags().io || vma.flags().pfnmap { Err(Errno::EINVAL) } else { Ok(vma) }
    }

    /// `remap_move`: every VMA in `old` goes, the gaps between them stay as they are.
    #[track_caller]
    fn remap_move(&self, held: &MmapWrite<'_, L>, old: Bytes, new: Bytes, keep_old: bool) -> Result<(), Errno> {
        let mut at = old.start;
        self.vmas.borrow().lookup(at).ok_or(Errno::EFAULT)?;
        loop {
            let vma = self.vmas.borrow().find(at).filter(|vma| vma.bytes().start < old.end);
            let Some(vma) = vma else { break };
            let part = vma.bytes().clip(&Bytes::new(at, old.end));
            let to = new.start + (part.start - old.start);
            self.source(part, part.len())?;
            self.mremap_to(held, part, Bytes::new(to, to + part.len()), keep_old)?;
            at = part.end;
            if at == old.end {
                break;
            }
        }
        Ok(())
    }

    /// `mremap_to`: what is there goes first, then a tail that is not wanted any more, then the rest moves.
    #[track_caller]
    fn mremap_to(&self, held: &MmapWrite<'_, L>, old: Bytes, new: Bytes, keep_old: bool) -> Result<(), Errno> {
        if self.erase_range(held, new)? > 0 {
            self.unmap_range(new.pages());
        }
        let mut old = old;
        if new.len() < old.len() {
            let tail = Bytes::new(old.start + new.len(), old.end);
            if self.erase_range(held, tail)? > 0 {
                self.unmap_range(tail.pages());
            }
            old = Bytes::new(old.start, old.start + new.len());
        }
        self.move_vma(held, old, new, keep_old)
    }

    /// Without a move: shrinking is an munmap of the tail, with the downgrade of mmap_lock; growing sends nothing.
    #[track_caller]
    fn resize(&self, held: MmapWrite<'_, L>, vma: &Rc<VmaNode<L>>, old: Bytes, new: Bytes) -> Result<(), Errno> {
        if new.end < old.end {
            let tail = Bytes::new(new.end, old.end);
            if self.erase_range(&held, tail)? > 0 {
                let held = <L::RwSem<()> as RwSem<()>>::downgrade(held);
                self.unmap_range(tail.pages());
                drop(held);
            }
        } else if new.end > old.end {
            let more = Bytes::new(old.end, new.end);
            if vma.bytes().end != old.end || self.vmas.borrow().any(more) {
                return Err(Errno::ENOMEM);
            }
            if let Some(backing) = &vma.backing {
                backing.must_have(new.pages().last)?;
            }
            let mut locked = self.with_neighbours(more);
            if !locked.iter().any(|near| Rc::ptr_eq(near, vma)) {
                locked.push(vma.clone());
            }
            let span = self.hull(new, &locked);
            let waited = self.vma_start_write(&held, span, &locked);
            vma.set_bytes(Bytes::new(vma.bytes().start, new.end));
            vma.linked.set(self.memory.next_link());
            let vma = self.merge_up(vma.clone());
            self.vma_end_write(span, &locked, waited);
            drop(held);
            if vma.mlocked.get() {
                self.populate_expanded(more);
            }
        }
        Ok(())
    }

    /// The new part of locked memory is there at once; what fails is tried again by who touches it.
    #[track_caller]
    fn populate_expanded(&self, more: Bytes) {
        let held = self.mmap_lock.read();
        let _ = self.mm_populate(&held, more);
    }

    /// `move_vma`.
    #[track_caller]
    fn move_vma(&self, held: &MmapWrite<'_, L>, old: Bytes, new: Bytes, keep_old: bool) -> Result<(), Errno> {
        let mut vma = self.source(old, new.len())?;
        if let Some(backing) = &vma.backing {
            backing.must_have(old.pages().first + new.pages().count() - 1)?;
        }
        let whole = vma.bytes();
        if keep_old && vma.mlocked.get() {
            // prep_move_vma: what stays behind is locked no longer, the rest of the VMA is.
            let alone = std::slice::from_ref(&vma);
            self.vma_start_write(held, self.hull(old, alone), alone);
            self.cut(held, old);
            vma = self.source(old, old.len())?;
        }
        // copy_vma: the new VMA is in the tree before the entries move.
        let mut locked = self.with_neighbours(new);
        if vma.bytes() != whole {
            locked.extend(self.vmas.borrow().overlapping(whole));
        }
        if !locked.iter().any(|near| Rc::ptr_eq(near, &vma)) {
            locked.push(vma.clone());
        }
        let reach = self.hull(new, &locked);
        self.vma_start_write(held, reach, &locked);
        let copy = vma.clone_at(new, new.start.wrapping_sub(old.start));
        if vma.backing.is_none() && vma.anon_vma.get().is_none() {
            // Nothing is there yet whose number would have to stay.
            copy.origin.set(0);
        }
        copy.locked.set(true);
        copy.linked.set(self.memory.next_link());
        self.vmas.borrow_mut().insert(copy.clone());
        let copy = self.merge_copy(copy, (keep_old && vma.anon_vma.get().is_none()).then_some(&vma));
        locked.push(copy.clone());
        self.move_page_tables(&vma, &copy, old, new);
        if keep_old {
            // dontunmap_complete
            vma.mlocked.set(false);
            if vma.bytes() == old {
                vma.anon_vma.set(None);
                if vma.backing.is_none() {
                    vma.origin.set(0);
                }
            }
        } else {
            // unmap_source_vma: UNMAP once more, of empty entries. Both VMAs are still locked, so nobody has faulted
            // anything in.
            self.erase_range(held, old)?;
            if !self.has(Fault::MoveToldOnce) {
                self.unmap_range(old.pages());
            }
        }
        self.vma_end_write(reach, &locked, true);
        Ok(())
    }

    /// `move_page_tables`.
    #[track_caller]
    fn move_page_tables(&self, vma: &VmaNode<L>, copy: &VmaNode<L>, old: Bytes, new: Bytes) {
        let part = Bytes::new(old.start, old.start + old.len().min(new.len()));
        let whole = vma.bytes().start == old.start && copy.bytes().start == new.start;
        let told = Bytes::new(if whole { self.realigned(part, new.start) } else { part.start }, part.end);
        let unmap = self.notifiers.start(event(EventKind::Unmap, told)).expect("blockable events do not fail");
        let (from, to) = (part.pages(), Bytes::new(new.start, new.start + part.len()).pages());
        // Huge mappings that do not fit on the other side come apart, with a CLEAR inside this UNMAP.
        let aligned = from.first % BLOCK_PAGES == to.first % BLOCK_PAGES;
        for block in (from.first / BLOCK_PAGES)..=(from.last / BLOCK_PAGES) {
            let whole = block_of(block * BLOCK_PAGES);
            if !aligned || !from.covers(&whole) {
                self.split_huge_pmd(whole.first);
            }
        }
        {
            // take_rmap_locks: migrations find every page either here or there.
            let _rmap = self.anon_vma.write();
            let both = from.hull(&to);
            self.walks.write(Span::new(both.first, both.last));
            let mut table = self.table.borrow_mut();
            for (page, count, pte) in table.leaves(from) {
                let target = page - from.first + to.first;
                match count {
                    BLOCK_PAGES => {
                        table.clear_block(page);
                        table.set_block(target, pte);
                    }
                    _ => {
                        table.set(page, crate::pagetable::Pte::None);
                        table.set(target, pte);
                    }
                }
            }
        }
        self.notifiers.end(unmap);
    }

    /// `try_realign_addr`: whole page tables move faster, so the start goes down to 2 MiB when both sides are equally
    /// far from it, the move goes on to the end of that table, and nothing else is in the way. Both sides are where
    /// their VMAs begin.
    fn realigned(&self, old: Bytes, new_start: u64) -> u64 {
        const TABLE: u64 = BLOCK_PAGES * PAGE_SIZE;
        let off = old.start % TABLE;
        if off == 0 || off != new_start % TABLE || old.len() < TABLE - off {
            return old.start;
        }
        let clear = |start: u64| !self.vmas.borrow().any(Bytes::new(start - off, start));
        if clear(old.start) && clear(new_start) { old.start - off } else { old.start }
    }
}
