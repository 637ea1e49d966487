//! fork: a second process with the same memory, copied when somebody writes.
//!
//! Answers to `dup_mmap` and `copy_page_range` (spec mm-events 2, row fork). Per VMA that is private and may have
//! anonymous pages: PROTECTION_PAGE over the whole VMA in the parent, writable entries become read-only in both. Other
//! VMAs are inherited without entries and without an event; the child faults its pages in again. The child has no
//! interval notifiers.

use crate::interval::event;
use crate::memory::is_zero_pfn;
use crate::pagetable::{Prot, Pte};
use crate::plant::Fault;
use crate::space::{AddressSpace, Family, Inner};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, Pages};
use model::{Errno, note};

impl<L: Lab> AddressSpace<L> {
    /// `fork`: the child's address space, called `id` (see [`AddressSpace::new`]). It is its caller's to end with
    /// [`AddressSpace::exit`], unless it is immortal.
    ///
    /// # Errors
    /// `ENOMEM` from the locks.
    #[track_caller]
    pub fn fork(&self, id: u32) -> Result<Self, Errno> {
        let mm = &*self.inner;
        mm.needs_sharing("fork");
        let family = Family { id: mm.family, walks: mm.walks.clone(), anon_vma: mm.anon_vma.clone() };
        let child = AddressSpace::in_family(&mm.memory, id, mm.options, family)?;
        // The pages come along, and so does who brings them back from a device.
        *child.inner.device_fault.borrow_mut() = mm.device_fault.borrow().clone();
        let held = mm.mmap_lock.write();
        {
            // anon_vma_fork: from here on who looks for the mappings of a page looks at the child, too.
            let _rmap = mm.anon_vma.write();
            mm.memory.register(id, &child.inner);
        }
        // The child's mmap_lock is not taken: nobody but rmap walks, which take none, can reach the child yet.
        let vmas = mm.vmas.borrow().overlapping(Bytes::new(0, u64::MAX));
        if let (Some(first), Some(last)) = (vmas.first(), vmas.last()) {
            let span = Span::new(first.bytes().pages().first, last.bytes().pages().last);
            mm.vma_start_write(&held, span, &vmas);
            for vma in &vmas {
                let copy = vma.clone_at(vma.bytes(), 0);
                // mlock is not inherited.
                copy.mlocked.set(false);
                copy.anon_vma.set(vma.anon_vma.get().map(|anon| mm.new_anon_vma(Some(anon))));
                copy.linked.set(mm.memory.next_link());
                child.inner.vmas.borrow_mut().insert(copy);
                mm.copy_page_range(vma, &child.inner);
            }
            mm.vma_end_write(span, &vmas, true);
        }
        note!(L, "fork: {:?} is a copy of {:?}", child, self);
        Ok(child)
    }
}

impl<L: Lab> Inner<L> {
    /// `copy_page_range` of one VMA.
    #[track_caller]
    fn copy_page_range(&self, vma: &VmaNode<L>, child: &Inner<L>) {
        if vma.is_shared() || vma.anon_vma.get().is_none() {
            return;
        }
        let pages = vma.bytes().pages();
        // copy_hugetlb_page_range says CLEAR.
        let kind = if vma.flags().hugetlb { EventKind::Clear } else { EventKind::ProtectionPage };
        let protect = self.notifiers.start(event(kind, vma.bytes())).expect("blockable events do not fail");
        // One scheduling point for both page tables: they are of one family.
        self.walks.write(Span::new(pages.first, pages.last));
        {
            let (mut ours, mut theirs) = (self.table.borrow_mut(), child.table.borrow_mut());
            theirs.make_tables_like(&ours, pages);
            for (page, count, pte) in ours.leaves(pages) {
                let copy = self.copy_leaf(child.id, count, pte);
                ours.set_leaf(page, count, if self.has(Fault::WritableFork) { pte } else { copy });
                theirs.set_leaf(page, count, copy);
            }
        }
        self.notifiers.end(protect);
        note!(L, "fork: {} copied, read-only in both", Pages::bytes(&pages));
    }

    /// The entry that parent and child have afterwards; takes what the child's needs.
    fn copy_leaf(&self, child: u32, count: u64, pte: Pte) -> Pte {
        match pte {
            Pte::Present { pfn, prot } if is_zero_pfn(pfn) => Pte::Present { pfn, prot },
            Pte::Present { pfn, prot } => {
                self.memory.share(pfn, count);
                self.memory.copy_dirty(self.id, child, pfn, count);
                Pte::Present { pfn, prot: prot.min(Prot::Read) }
            }
            // copy_nonpresent_pte: as a present one, though nobody can write to the page before it is back.
            Pte::Device { pfn, .. } => {
                self.memory.share(pfn, count);
                Pte::Device { pfn, write: false }
            }
            // A writable migration entry becomes a readable one in both; the frame that comes is shared.
            Pte::Migration { migration, pfn, prot } => {
                self.memory.set_shared(pfn, count, true);
                Pte::Migration { migration, pfn, prot: prot.min(Prot::Read) }
            }
            Pte::Swap { slot } => {
                self.memory.dup_slot(slot);
                pte
            }
            Pte::None => pte,
        }
    }
}
