//! mremap: a mapping grows, shrinks or moves.
//!
//! Answers to `mm/mremap.c` (spec mm-events 2). A move sends UNMAP over the old range while the entries move (its start
//! possibly rounded down to 2 MiB), and the removal of the old VMA sends it again; nothing is sent for the new range.
//! With DONTUNMAP the old VMA stays, empty, and there is one event only.

use crate::interval::event;
use crate::memory::BLOCK_PAGES;
use crate::pagetable::block_of;
use crate::space::{AddressSpace, Inner, MmapWrite, TASK_SIZE, check_range};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, PAGE_SIZE};
use model::{Errno, note};

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
    /// `mremap` of `old`, which lies inside one VMA, to `len` bytes.
    ///
    /// # Errors
    /// `EINVAL`: unaligned or empty, beyond the user address space, overlapping old and new, hugetlb (not modelled),
    /// `keep_old` with another length or without `to`. `EFAULT`: `old` is not inside one VMA. `ENOMEM`: no room to grow
    /// in place.
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
        let Some(to) = how.to else { return mm.resize(held, old, new) };
        if mm.erase_range(&held, new)? > 0 {
            mm.unmap_range(new.pages());
        }
        let mut old = old;
        if len < old.len() {
            // The tail goes first, then the rest moves.
            let tail = Bytes::new(old.start + len, old.end);
            if mm.erase_range(&held, tail)? > 0 {
                mm.unmap_range(tail.pages());
            }
            old = Bytes::new(old.start, old.start + len);
        }
        mm.source(old)?;
        mm.move_vma(&held, old, new, how.keep_old)?;
        note!(L, "mremap {old} -> {to:#x}");
        Ok(())
    }
}

impl<L: Lab> Inner<L> {
    /// The VMA that `old` lies in (`check_prep_vma`).
    fn source(&self, old: Bytes) -> Result<std::rc::Rc<VmaNode<L>>, Errno> {
        let vma = self.vmas.borrow().lookup(old.start).filter(|vma| vma.bytes().covers(&old)).ok_or(Errno::EFAULT)?;
        if vma.flags().hugetlb || vma.flags().io || vma.flags().pfnmap { Err(Errno::EINVAL) } else { Ok(vma) }
    }

    /// Without a move: shrinking is an munmap of the tail, with the downgrade of mmap_lock; growing sends nothing.
    #[track_caller]
    fn resize(&self, held: MmapWrite<'_, L>, old: Bytes, new: Bytes) -> Result<(), Errno> {
        let vma = self.source(old)?;
        if new.end < old.end {
            let tail = Bytes::new(new.end, old.end);
            self.erase_range(&held, tail)?;
            let held = <L::RwSem<()> as RwSem<()>>::downgrade(held);
            self.unmap_range(tail.pages());
            drop(held);
        } else if new.end > old.end {
            let more = Bytes::new(old.end, new.end);
            if vma.bytes().end != old.end || self.vmas.borrow().any(more) {
                return Err(Errno::ENOMEM);
            }
            if let Some(backing) = &vma.backing {
                backing.must_have(new.pages().last)?;
            }
            let alone = std::slice::from_ref(&vma);
            let span = self.hull(new, alone);
            let waited = self.vma_start_write(&held, span, alone);
            vma.set_bytes(Bytes::new(vma.bytes().start, new.end));
            self.vma_end_write(span, alone, waited);
        }
        Ok(())
    }

    /// `move_vma`.
    #[track_caller]
    fn move_vma(&self, held: &MmapWrite<'_, L>, old: Bytes, new: Bytes, keep_old: bool) -> Result<(), Errno> {
        let vma = self.source(old)?;
        if let Some(backing) = &vma.backing {
            backing.must_have(old.pages().first + new.pages().count() - 1)?;
        }
        // copy_vma: the new VMA is in the tree before the entries move.
        let alone = std::slice::from_ref(&vma);
        let reach = self.hull(new, alone);
        self.vma_start_write(held, reach, alone);
        let copy = vma.clone_at(new, new.start.wrapping_sub(old.start));
        copy.locked.set(true);
        self.vmas.borrow_mut().insert(copy.clone());
        self.move_page_tables(&vma, old, new);
        if !keep_old {
            // unmap_source_vma: UNMAP once more, of empty entries. Both VMAs are still locked, so nobody has faulted
            // anything in.
            self.erase_range(held, old)?;
            self.unmap_range(old.pages());
        }
        self.vma_end_write(reach, &[vma, copy], true);
        Ok(())
    }

    /// `move_page_tables`.
    #[track_caller]
    fn move_page_tables(&self, vma: &VmaNode<L>, old: Bytes, new: Bytes) {
        let part = Bytes::new(old.start, old.start + old.len().min(new.len()));
        let told = Bytes::new(self.realigned(vma, part, new.start), part.end);
        let unmap = self.notifiers.start(event(EventKind::Unmap, told)).expect("blockable events do not fail");
        {
            // take_rmap_locks: migrations find every page either here or there.
            let _rmap = self.anon_vma.write();
            let (from, to) = (part.pages(), Bytes::new(new.start, new.start + part.len()).pages());
            let aligned = from.first % BLOCK_PAGES == to.first % BLOCK_PAGES;
            let both = from.hull(&to);
            self.walks.write(Span::new(both.first, both.last));
            let mut table = self.table.borrow_mut();
            // Huge mappings that do not fit on the other side come apart. The kernel sends a CLEAR for each inside this
            // UNMAP; devices that listen were told already.
            for block in (from.first / BLOCK_PAGES)..=(from.last / BLOCK_PAGES) {
                let whole = block_of(block * BLOCK_PAGES);
                if !aligned || !from.covers(&whole) {
                    table.split_block(whole.first);
                }
            }
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
    /// far from it, the move goes on to the end of that table, and nothing else is in the way.
    fn realigned(&self, vma: &VmaNode<L>, old: Bytes, new_start: u64) -> u64 {
        const TABLE: u64 = BLOCK_PAGES * PAGE_SIZE;
        let off = old.start % TABLE;
        if off == 0 || off != new_start % TABLE || old.len() < TABLE - off || vma.bytes().start != old.start {
            return old.start;
        }
        let clear = |start: u64| !self.vmas.borrow().any(Bytes::new(start - off, start));
        if clear(old.start) && clear(new_start) { old.start - off } else { old.start }
    }
}
