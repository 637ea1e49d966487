//! Looking without a scheduling point, for the world's checks. Never for what decides an actor's next step.

use crate::interval::SubView;
use crate::pagetable::{Entry, Prot, Pte};
use crate::space::AddressSpace;
use crate::vma::VmaNode;
use interleave::lab::{Lab, Stamp};
use model::platform::Vma;
use model::units::PAGE_SIZE;

/// A VMA, for who compares it with a kernel's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmaDetails {
    /// What a driver may know of it.
    pub vma: Vma,
    /// VM_SHARED.
    pub shared: bool,
    /// Whether a file stands behind it; shared anonymous and hugetlb memory have one, too.
    pub file: bool,
    /// VM_LOCKED.
    pub mlocked: bool,
}

impl<L: Lab> AddressSpace<L> {
    /// The leaf that covers `page`, with the page's own frame.
    pub fn peek_pte(&self, page: u64) -> Entry {
        self.inner.table.borrow().get(page)
    }

    /// Frame and right of `page`, when the CPU can access it: (frame, writable).
    pub fn peek_mapped(&self, page: u64) -> Option<(u64, bool)> {
        match self.peek_pte(page).pte {
            Pte::Present { pfn, prot } if prot > Prot::None => Some((pfn, prot == Prot::Write)),
            _ => None,
        }
    }

    /// Frame and right of `page` when it is in device memory: (frame, whether the entry is writable).
    pub fn peek_device(&self, page: u64) -> Option<(u64, bool)> {
        match self.peek_pte(page).pte {
            Pte::Device { pfn, write } => Some((pfn, write)),
            _ => None,
        }
    }

    /// Whether a CPU store to `page` would go to a copy of what is mapped there, because others have it, too. Of a page
    /// in device memory: once it is back.
    pub fn peek_copies_on_write(&self, page: u64) -> bool {
        let vma = self.inner.vmas.borrow().lookup(page * PAGE_SIZE);
        let pfn = match self.peek_pte(page).pte {
            Pte::Present { pfn, prot } if prot < Prot::Write => pfn,
            Pte::Device { pfn, write: false } => pfn,
            _ => return false,
        };
        vma.is_some_and(|vma| self.inner.must_copy(&vma, pfn))
    }

    /// All leaves that are not empty, one item per page, in address order.
    pub fn peek_ptes(&self) -> Vec<(u64, Entry)> {
        self.inner.table.borrow().entries().collect()
    }

    /// The VMA that contains the byte `addr`. One that is detached, but still in the tree, counts.
    pub fn peek_vma(&self, addr: u64) -> Option<Vma> {
        self.inner.vmas.borrow().lookup(addr).map(|vma| vma.view())
    }

    /// All VMAs, in address order.
    pub fn peek_vmas(&self) -> Vec<Vma> {
        self.inner.vmas.borrow().iter().map(|vma| vma.view()).collect()
    }

    /// All VMAs with what no driver asks for, in address order.
    pub fn peek_vma_details(&self) -> Vec<VmaDetails> {
        let details = |vma: &VmaNode<L>| VmaDetails {
            vma: vma.view(),
            shared: vma.is_shared(),
            file: vma.backing.is_some() || vma.flags().hugetlb,
            mlocked: vma.mlocked.get(),
        };
        self.inner.vmas.borrow().iter().map(details).collect()
    }

    /// The word the CPU would load at `addr`: 0 where nothing was ever stored; None without a VMA, or while it
    /// migrates.
    pub fn peek_word(&self, addr: u64) -> Option<u64> {
        self.peek_vma(addr)?;
        match self.peek_pte(addr / PAGE_SIZE).pte {
            Pte::None => Some(self.inner.peek_backing(addr)),
            Pte::Present { pfn, .. } | Pte::Device { pfn, .. } => Some(self.inner.memory.peek(pfn, addr)),
            Pte::Swap { slot } => Some(self.inner.memory.peek_slot(slot, addr)),
            Pte::Migration { .. } => None,
        }
    }

    /// `mm_users`.
    pub fn mm_users(&self) -> u64 {
        self.inner.counts.get().0
    }

    /// `mm_count`: the users together hold one.
    pub fn mm_count(&self) -> u64 {
        self.inner.counts.get().1
    }

    /// When the struct was freed by the last `mmdrop`.
    pub fn freed_at(&self) -> Option<Stamp> {
        self.inner.freed_at.get()
    }

    /// The subscriptions that are not removed, in order of insertion.
    pub fn notifiers(&self) -> Vec<SubView> {
        self.inner.notifiers.views()
    }

    /// `invalidate_seq` of the mm (odd: an epoch runs) and the number of running invalidations.
    pub fn invalidation_epoch(&self) -> (u64, u32) {
        self.inner.notifiers.epoch()
    }
}
