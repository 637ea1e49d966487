//! DMA mappings of one GPU: which frames a bus address reaches, and since when it should not any more.
//!
//! Answers to `dma_map_page` and `dma_unmap_page` behind an IOMMU that never gives an address out twice, so that a late
//! access is always seen. What is revoked stays on record: it is the evidence.
//!
//! # Addresses
//! Frames in a row that this GPU has mapped equally often before get addresses in a row, so that the driver can
//! coalesce. Nothing else decides which addresses are neighbours: mappings of different frames may be reordered and the
//! driver sees the same runs, as a partial-order reduction assumes. (Two actors that map the *same* frame for the same
//! GPU at a time would have to be ordered by a lock of theirs; the driver's `svm_lock` does.)
//!
//! An address is made of the domain, a window, and the low bits of the frame number. A window belongs to one stretch of
//! [`WINDOW_PAGES`] frames and one count of mappings.
//!
//! # Scheduling points
//! `map`: the one of [`sim_mm::Memory::dma_map`]; nobody can know the new address yet. `unmap`: "dma mappings",
//! indexed by frame, where an access on the bus must be before or after; then the one of the memory.

use crate::frames::Frames;
use crate::sparse::Sparse;
use crate::vram::{MOST_PAGES, OFFSET_BITS};
use interleave::lab::{Invariant, Lab, Span, Stamp, Violation, Visible};
use model::platform::{DmaAddr, DmaDirection};
use model::units::PAGE_SHIFT;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Frames of a window: 1 GiB.
pub const WINDOW_PAGES: u64 = 1 << WINDOW_SHIFT;
const WINDOW_SHIFT: u32 = 18;
const DOMAIN_SHIFT: u32 = 61;
/// How many GPUs can have a domain of their own.
pub const DOMAINS: u8 = 1 << (u64::BITS - DOMAIN_SHIFT);

/// One `dma_map_page`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Bus address of its first page.
    pub addr: DmaAddr,
    /// First frame.
    pub pfn: u64,
    /// log2 of its pages.
    pub order: u8,
    /// What the device may do.
    pub direction: DmaDirection,
    /// The event that made it.
    pub mapped_at: Stamp,
    /// The event that revoked it; none while it is live.
    pub unmapped_at: Option<Stamp>,
    /// The life its first frame led when it was mapped.
    generation: u32,
    /// The same of its other frames.
    other_generations: Box<[u32]>,
}

impl Mapping {
    fn pages(&self) -> u64 {
        1 << self.order
    }
    fn generation(&self, index: u64) -> Option<u32> {
        match index.checked_sub(1) {
            None => Some(self.generation),
            Some(other) => self.other_generations.get(usize::try_from(other).ok()?).copied(),
        }
    }
}

/// Where a bus address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The frame.
    pub pfn: u64,
    /// The life the frame led when it was mapped.
    pub generation: u32,
    /// What the device may do.
    pub direction: DmaDirection,
    /// When the mapping was made.
    pub mapped_at: Stamp,
    /// When the mapping was revoked; none while it is live.
    pub unmapped_at: Option<Stamp>,
}

/// What an address is an address in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// The bus, behind the IOMMU.
    Bus,
    /// The GPU's own memory and its peers'. See [`vram`](crate::vram).
    Vram,
}

#[derive(Default)]
struct Domain {
    /// In the order in which they were made; revoked ones stay.
    mappings: Vec<Mapping>,
    /// For each bus page that was given out, which of them, from 1.
    by_page: Sparse<u32>,
    /// How many times each frame was mapped.
    times: Sparse<u32>,
    /// Number of the window of a stretch of frames mapped so many times.
    windows: BTreeMap<(u64, u32), u64>,
}

impl Domain {
    /// A fresh bus address for `1 << order` frames from `pfn`, in the domain `number`.
    fn allocate(&mut self, number: u8, pfn: u64, order: u8) -> DmaAddr {
        let frames = pfn..pfn + (1 << order);
        let times = frames.clone().map(|frame| self.times.get(frame)).max().unwrap_or(0) + 1;
        frames.for_each(|frame| *self.times.entry(frame) = times);
        // Every other window stays empty, so that runs of two windows never touch.
        let next = 2 * (self.windows.len() as u64 + 1);
        let window = *self.windows.entry((pfn >> WINDOW_SHIFT, times)).or_insert(next);
        let page = window << WINDOW_SHIFT | pfn & (WINDOW_PAGES - 1);
        DmaAddr(u64::from(number) << DOMAIN_SHIFT | page << PAGE_SHIFT)
    }

    /// A fresh address for `1 << order` frames of a memory; `high` says which.
    fn allocate_device(&mut self, pfn: u64, order: u8, high: u64) -> DmaAddr {
        let frames = pfn..pfn + (1 << order);
        let before = frames.clone().map(|frame| self.times.get(frame)).max().unwrap_or(0);
        frames.for_each(|frame| *self.times.entry(frame) = before + 1);
        let tag = u64::from(before) << OFFSET_BITS;
        DmaAddr(high | tag | (pfn & (MOST_PAGES - 1)) << PAGE_SHIFT)
    }

    fn record(&mut self, mapping: Mapping) {
        let first = mapping.addr.0 >> PAGE_SHIFT;
        let pages = first..first + mapping.pages();
        self.mappings.push(mapping);
        pages.for_each(|page| *self.by_page.entry(page) = self.mappings.len() as u32);
    }

    /// The mapping that bus page `page` belongs to, as an index.
    fn at(&self, page: u64) -> Option<usize> {
        (self.by_page.get(page) as usize).checked_sub(1)
    }

    /// The mapping that starts at bus page `page`, as an index.
    fn starting_at(&self, page: u64) -> Option<usize> {
        self.at(page).filter(|&index| self.mappings[index].addr.0 >> PAGE_SHIFT == page)
    }
}

/// The DMA mappings of one GPU.
pub struct Iommu<L: Lab> {
    number: u8,
    frames: Frames<L>,
    bus: L::Visible,
    domain: RefCell<Domain>,
    /// How the GPU reaches memories of GPUs: no IOMMU in between, but the same book.
    vram: RefCell<Domain>,
    /// The unmaps that the last scheduling point of [`Iommu::announce`] spoke for, and which event that was.
    announced: Cell<Option<(Stamp, Span)>>,
}

impl<L: Lab> Iommu<L> {
    /// # Panics
    /// When `number` is not below [`DOMAINS`].
    pub(crate) fn new(number: u8, frames: Frames<L>) -> Self {
        assert!(number < DOMAINS, "there are {DOMAINS} IOMMU domains");
        Iommu {
            number,
            frames,
            bus: L::Visible::new("dma mappings"),
            domain: RefCell::default(),
            vram: RefCell::default(),
            announced: Cell::new(None),
        }
    }

    pub(crate) fn frames(&self) -> &Frames<L> {
        &self.frames
    }

    /// Maps `1 << order` frames from `pfn`.
    #[track_caller]
    pub(crate) fn map(&self, pfn: u64, order: u8, direction: DmaDirection) -> DmaAddr {
        self.frames.dma_map(pfn, order);
        let mut domain = self.domain.borrow_mut();
        let addr = domain.allocate(self.number, pfn, order);
        self.enter(&mut domain, addr, pfn, order, direction);
        addr
    }

    /// Enters how the GPU reaches `1 << order` frames of a GPU's memory from `pfn`; `high` says whose. The frames do not
    /// know of it: one that is freed meanwhile is told from the mapping's first use.
    pub(crate) fn map_device(&self, pfn: u64, order: u8, high: u64) -> DmaAddr {
        let mut domain = self.vram.borrow_mut();
        let addr = domain.allocate_device(pfn, order, high);
        self.enter(&mut domain, addr, pfn, order, DmaDirection::Bidirectional);
        addr
    }

    fn enter(&self, domain: &mut Domain, addr: DmaAddr, pfn: u64, order: u8, direction: DmaDirection) {
        let generation = self.frames.generation(pfn);
        let other_generations = (pfn + 1..pfn + (1 << order)).map(|frame| self.frames.generation(frame)).collect();
        let (mapped_at, unmapped_at) = (L::stamp(), None);
        domain.record(Mapping { addr, pfn, order, direction, mapped_at, unmapped_at, generation, other_generations });
    }

    /// Revokes the mapping that starts at `addr`. A second time, or an address that was never given out, is a violation
    /// of I5; another order or direction than at `map` is a kernel warning, as CONFIG_DMA_API_DEBUG has it.
    #[track_caller]
    pub(crate) fn unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        let (pfn, order) = self.revoke(Space::Bus, addr, order, direction);
        self.frames.dma_unmap(pfn, order);
    }

    /// Revokes what [`Iommu::map_device`] entered; the same rules.
    #[track_caller]
    pub(crate) fn unmap_device(&self, addr: DmaAddr, order: u8) {
        self.revoke(Space::Vram, addr, order, DmaDirection::Bidirectional);
    }

    /// The book of a space.
    fn book(&self, space: Space) -> &RefCell<Domain> {
        match space {
            Space::Bus => &self.domain,
            Space::Vram => &self.vram,
        }
    }

    /// Revokes a mapping; its first frame and order.
    #[track_caller]
    fn revoke(&self, space: Space, addr: DmaAddr, order: u8, direction: DmaDirection) -> (u64, u8) {
        let book = self.book(space);
        let page = addr.0 >> PAGE_SHIFT;
        let known = |domain: &Domain| {
            let index = domain.starting_at(page)?;
            let Mapping { pfn, order, direction, .. } = domain.mappings[index];
            Some((index, pfn, order, direction))
        };
        let Some((index, pfn, mapped_order, mapped_direction)) = known(&book.borrow()) else {
            let what = format!("DMA unmap of bus address {:#x}, where no mapping starts", addr.0);
            L::fail(Violation::new(Invariant::I5, what, None))
        };
        if (mapped_order, mapped_direction) != (order, direction) {
            L::warn(format_args!(
                "DMA unmap of frame {pfn:#x} as order {order} {direction:?}, \
                 but it is mapped as order {mapped_order} {mapped_direction:?}"
            ));
        }
        self.announce(space, page, Span::new(pfn, pfn + (1 << mapped_order) - 1));
        let earlier = book.borrow_mut().mappings[index].unmapped_at.replace(L::stamp());
        if earlier.is_some() {
            let what = format!("DMA unmap of frame {pfn:#x}, whose mapping at bus {:#x} is revoked already", addr.0);
            L::fail(Violation::new(Invariant::I5, what, earlier));
        }
        (pfn, mapped_order)
    }

    /// One scheduling point for a whole run of unmaps: the first says what it and its neighbours on the bus lead to, and
    /// those of the neighbours that follow in the same step, nothing having happened in between, need none of their own.
    #[track_caller]
    fn announce(&self, space: Space, page: u64, mine: Span) {
        let covered = self
            .announced
            .get()
            .is_some_and(|(stamp, span)| stamp == L::stamp() && span.first <= mine.first && mine.last <= span.last);
        if covered {
            return;
        }
        let mut span = mine;
        {
            let domain = self.book(space).borrow();
            let mut next = page;
            while let Some(index) = domain.starting_at(next) {
                let mapping = &domain.mappings[index];
                if mapping.unmapped_at.is_some() || (next != page && mapping.pfn != span.last + 1) {
                    break;
                }
                (span.last, next) = (mapping.pfn + mapping.pages() - 1, next + mapping.pages());
            }
        }
        if space == Space::Bus {
            self.frames.announce_dma_unmap(span.first, span.last);
        }
        self.bus.write(span);
        self.announced.set(Some((L::stamp(), span)));
    }

    /// An access arrives at `addr`: where it leads, at that moment. None: nowhere. A scheduling point when it leads
    /// somewhere.
    #[track_caller]
    pub(crate) fn arrive(&self, space: Space, addr: u64) -> Option<Target> {
        let pfn = self.target(space, addr)?.pfn;
        self.bus.read(Span::one(pfn));
        self.target(space, addr)
    }

    /// Where the byte at `addr` leads, revoked mappings included. No scheduling point.
    pub fn target(&self, space: Space, addr: u64) -> Option<Target> {
        let page = addr >> PAGE_SHIFT;
        let domain = self.book(space).borrow();
        let mapping = &domain.mappings[domain.at(page)?];
        let index = page - (mapping.addr.0 >> PAGE_SHIFT);
        let generation = mapping.generation(index)?;
        let Mapping { direction, mapped_at, unmapped_at, .. } = *mapping;
        Some(Target { pfn: mapping.pfn + index, generation, direction, mapped_at, unmapped_at })
    }

    /// The mappings that are not revoked, by address. No scheduling point.
    pub fn live(&self) -> Vec<Mapping> {
        let domain = self.domain.borrow();
        let mut live: Vec<Mapping> = domain.mappings.iter().filter(|m| m.unmapped_at.is_none()).cloned().collect();
        live.sort_by_key(|mapping| mapping.addr);
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 1 << PAGE_SHIFT;

    #[test]
    fn frames_in_a_row_mapped_equally_often_get_addresses_in_a_row() {
        let mut domain = Domain::default();
        // Out of order on purpose: the order of different frames must not matter.
        let [c, a, b] = [0x1_0000_0202, 0x1_0000_0200, 0x1_0000_0201].map(|pfn| domain.allocate(0, pfn, 0).0);
        assert_eq!((b, c), (a + PAGE, a + 2 * PAGE));
    }

    #[test]
    fn no_address_is_given_out_twice() {
        let mut domain = Domain::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5 {
            for (pfn, order) in [(0x200, 9), (0x205, 0), (0x3ff, 0), (1, 0), (1, 0), (0x4_0000, 0)] {
                let first = domain.allocate(1, pfn, order).0 >> PAGE_SHIFT;
                assert!((first..first + (1 << order)).all(|page| seen.insert(page)), "{pfn:#x} order {order}");
            }
        }
    }

    #[test]
    fn frames_mapped_a_different_number_of_times_are_no_neighbours() {
        let mut domain = Domain::default();
        domain.allocate(0, 0x201, 0);
        let [a, b] = [0x200, 0x201].map(|pfn| domain.allocate(0, pfn, 0).0);
        assert_ne!(b, a + PAGE);
        let [b, c] = [0x200, 0x201].map(|pfn| domain.allocate(0, pfn, 0).0);
        assert_ne!(c, b + PAGE, "they have been mapped once and twice before");
    }

    #[test]
    fn an_address_in_vram_is_the_offset_and_how_often_the_frame_was_mapped_before() {
        let mut domain = Domain::default();
        let first = (1 << 40) + (3 << 28);
        assert_eq!(domain.allocate_device(first + 2, 0, 0), DmaAddr(2 * PAGE));
        assert_eq!(domain.allocate_device(first + 3, 0, 0), DmaAddr(3 * PAGE));
        assert_eq!(domain.allocate_device(first + 2, 1, 0), DmaAddr((1 << OFFSET_BITS) + 2 * PAGE));
        assert_eq!(domain.allocate_device(first + 3, 0, 0), DmaAddr((2 << OFFSET_BITS) + 3 * PAGE));
    }

    #[test]
    fn two_gpus_share_no_address() {
        let (mut one, mut other) = (Domain::default(), Domain::default());
        assert_ne!(one.allocate(0, 7, 0), other.allocate(1, 7, 0));
    }
}
