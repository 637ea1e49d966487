//! What a checker may look at: the GPU as it stands, without scheduling points.
//!
//! A value says what is true in the step that asks; nothing keeps it true. And because a peek is no operation, a
//! partial-order reduction does not know that its answer depends on anything: a check in the middle of an execution
//! that must not be missed begins with [`GpuVm::observe`].

use crate::iommu::{Mapping, Space, Target};
use crate::page_table::{Leaf, Pte};
use crate::tlb::Cached;
use crate::vm::GpuVm;
use interleave::lab::{Lab, Span, Stamp, Visible};
use model::platform::PteFlags;
use model::units::Pages;

/// Which way an access would take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// The page table.
    Pte,
    /// The TLB, whatever the page table says.
    Tlb,
}

/// What a GPU access to a page would reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Page of the GPU address.
    pub page: u64,
    /// Which way.
    pub via: Via,
    /// The entry.
    pub pte: Pte,
    /// The frame.
    pub pfn: u64,
    /// The life the frame led when it was mapped for DMA.
    pub generation: u32,
    /// Whether the DMA mapping is live.
    pub live: bool,
    /// Whether the frame still leads that life.
    pub frame_alive: bool,
    /// When the DMA mapping was revoked.
    pub unmapped_at: Option<Stamp>,
}

impl Reach {
    /// Whether stores go through.
    pub fn writeable(&self) -> bool {
        self.pte.flags.has(PteFlags::WRITEABLE)
    }
    /// Whether an access would be harmless: the mapping is live and the frame is the one that was mapped.
    pub fn sound(&self) -> bool {
        self.live && self.frame_alive
    }
}

impl<L: Lab> GpuVm<L> {
    /// A scheduling point that reads the page table and the TLB at `pages`: the peeks that follow it in the same step
    /// are ordered with every update and flush, for the reduction too.
    #[track_caller]
    pub fn observe(&self, pages: Pages) {
        self.0.table.seen().read(Span::new(pages.first, pages.last));
    }

    /// What the hardware would find for `page` in the page table; [`Pte::NONE`] if nothing.
    pub fn pte(&self, page: u64) -> Pte {
        self.0.table.walk(page).pte
    }
    /// The same, with whether it is a huge leaf.
    pub fn leaf(&self, page: u64) -> Leaf {
        self.0.table.walk(page)
    }
    /// What the TLB holds for `page`.
    pub fn tlb(&self, page: u64) -> Option<Cached> {
        self.0.tlb.borrow().lookup(page)
    }
    /// Every page with a valid entry in the page table, in ascending order.
    pub fn mapped(&self) -> Vec<(u64, Pte)> {
        let mut found = Vec::new();
        self.0.table.for_each_mapped(|page, leaf| found.push((page, leaf.pte)));
        found
    }
    /// Whether the queues run.
    pub fn running(&self) -> bool {
        self.0.queues.is_running()
    }
    /// How many quiesces are not undone (`qpd->evicted`).
    pub fn quiesce_count(&self) -> u32 {
        self.0.queues.evicted()
    }
    /// When the queues were last stopped, started or destroyed.
    pub fn queues_changed_at(&self) -> Option<Stamp> {
        self.0.queues.changed_at()
    }
    /// How many accesses are in flight.
    pub fn in_flight(&self) -> u64 {
        self.0.queues.in_flight()
    }
    /// The DMA mappings that are not revoked, by bus address.
    pub fn dma_mappings(&self) -> Vec<Mapping> {
        self.0.iommu.live()
    }
    /// Where a bus address leads, revoked mappings included.
    pub fn dma_target(&self, addr: u64) -> Option<Target> {
        self.0.iommu.target(Space::Bus, addr)
    }

    /// What an access to `page` reaches through the page table. None: it faults, or the entry names an address that
    /// was never mapped.
    pub fn reaches(&self, page: u64) -> Option<Reach> {
        self.reach(page, Via::Pte, self.pte(page))
    }
    /// What an access to `page` reaches through the TLB.
    pub fn tlb_reaches(&self, page: u64) -> Option<Reach> {
        self.tlb(page).and_then(|cached| self.reach(page, Via::Tlb, cached.pte))
    }

    fn reach(&self, page: u64, via: Via, pte: Pte) -> Option<Reach> {
        let target = if pte.is_valid() { self.0.iommu.target(pte.space(), pte.addr) } else { None }?;
        let Target { pfn, generation, unmapped_at, .. } = target;
        let frame_alive = self.0.iommu.frames().alive(pfn, generation);
        Some(Reach { page, via, pte, pfn, generation, live: unmapped_at.is_none(), frame_alive, unmapped_at })
    }
}
