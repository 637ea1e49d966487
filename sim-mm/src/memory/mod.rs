//! Physical memory: page frames, what is in them, and who holds them.
//!
//! Answers to `struct page` (reference, map and DMA pin counts) and to the RAM behind it. One [`Memory`] is shared by
//! all address spaces and all GPUs of a machine.
//!
//! # Frame numbers
//! A frame's number is a pure function of who asks for it: the owner's id, the virtual page it will back, and how many
//! frames that page has had. So two faults on different pages get the same frames in whatever order they run,
//! neighbours in virtual space are neighbours in physical space (as the buddy allocator gives them on a quiet machine),
//! and blocks of 2 MiB are aligned. A frame number comes back only after 4095 frames of the same page; its generation
//! tells the lives apart.
//!
//! # Scheduling points
//! One [`Visible`] named "memory", indexed by frame number. A load is a read; a store and the put that may free are
//! writes; DMA map and unmap are reads, because they commute with each other and with loads but not with the free.
//! Locking a folio is a write too, and so is bringing a device page to life. The folios of devices are where their frames
//! are: a folio's word ([`Memory::zone_device_data`]) changes under the folio lock only.
//! Everything else ([`Memory::generation`], peeks) looks without a scheduling point.
//!
//! Here is the life of a frame, from its allocation to the last put; `folio`, `swap`, `dma` and `words` are what a frame is
//! part of, what reclaim knows of it, what a device has of it, and what is in it.

mod dma;
mod folio;
mod swap;
mod words;

use crate::device::{Devices, is_device_pfn};
use crate::file::FIRST_FILE;
use crate::space;
use interleave::lab::{Gate, Invariant, Lab, Span, Stamp, Violation, Visible};
use model::note;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};

/// Pages of a 2 MiB block: entries of a last-level page table.
pub const BLOCK_PAGES: u64 = 512;
/// log2 of [`BLOCK_PAGES`].
pub const BLOCK_ORDER: u8 = 9;
/// The frame that every read fault on untouched memory maps (`ZERO_PAGE`). Never freed, never written.
pub const ZERO_PFN: u64 = 1;
/// First frame of the huge zero folio (`huge_zero_folio`). Never freed, never written.
pub const HUGE_ZERO_PFN: u64 = BLOCK_PAGES;
/// What a load from a frame that is free gives.
pub const POISON: u64 = 0x6b6b_6b6b_6b6b_6b6b;

const INSTANCE_SHIFT: u32 = 36;
const OWNER_SHIFT: u32 = 48;
/// Address spaces and files together.
pub(crate) const OWNERS: u32 = 16;
const INSTANCES: u64 = 1 << (OWNER_SHIFT - INSTANCE_SHIFT);

/// Whether `pfn` is one of the shared zero frames.
pub const fn is_zero_pfn(pfn: u64) -> bool {
    pfn == ZERO_PFN || (pfn >= HUGE_ZERO_PFN && pfn < HUGE_ZERO_PFN + BLOCK_PAGES)
}

/// Whether `pfn` is a frame of the page cache.
pub(crate) const fn is_file_pfn(pfn: u64) -> bool {
    let owner = pfn >> OWNER_SHIFT;
    FIRST_FILE as u64 <= owner && owner < OWNERS as u64
}

/// A word on its way from frames to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// How many frames after the first.
    pub frame: u64,
    /// Byte offset in it.
    pub offset: u64,
    /// What it holds.
    pub value: u64,
}

/// The machine's memory. A cheap handle; cloning copies the pointer.
pub struct Memory<L: Lab> {
    pub(crate) inner: Rc<Inner<L>>,
}

pub(crate) struct Inner<L: Lab> {
    pub(crate) accesses: L::Visible,
    pub(crate) state: RefCell<State>,
    /// Pagemaps and their folios; looked at and changed where the frames are.
    pub(crate) devices: RefCell<Devices>,
    /// What is opened when the folio that begins at the frame (or the one frame) is unlocked.
    pub(crate) waiters: RefCell<BTreeMap<u64, Vec<Rc<L::Gate>>>>,
    /// Who takes destinations from the allocator, and in which order.
    pub(crate) pool: L::Visible,
    /// The address spaces, by id: where rmap walks look. One that forks is added under its family's `anon_vma`.
    pub(crate) spaces: RefCell<BTreeMap<u32, Weak<space::Inner<L>>>>,
    /// The folio locks of running and finished migrations: 0 while it runs, 1 when done. An entry names its by number;
    /// the numbers say nothing.
    pub(crate) migrations: RefCell<Vec<Rc<L::Gate>>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Whether a frame may be freed while it is mapped for DMA.
    stale_dma: bool,
    /// Frames in blocks of 512, by frame number >> 9.
    frames: BTreeMap<u64, Box<[Frame; BLOCK_PAGES as usize]>>,
    /// Words that are not zero, by (frame, byte offset).
    words: BTreeMap<(u64, u64), u64>,
    /// Live frames.
    pub(crate) live: u64,
    /// Destinations of migrations that were ever allocated.
    pub(crate) destinations: u64,
    /// Swapped-out pages.
    swap: BTreeMap<u64, Slot>,
    /// What a VMA with this `anon_vma` has in its chain, the root first and this one last.
    pub(crate) anon_vmas: Vec<Rc<[u32]>>,
    /// How often a VMA was put into the interval tree of an `anon_vma`.
    pub(crate) linked: u64,
}

/// A page on the swap device. What is in it never changes.
#[derive(Default)]
struct Slot {
    /// Entries that refer to it.
    refs: u32,
    /// Words that are not zero, by byte offset.
    words: Vec<(u64, u64)>,
    /// The frame that somebody has read it into, and its generation.
    cached: Option<(u64, u32)>,
}

/// What `do_wp_page` found out about the page that somebody wants to write to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// The entry does not map it any more.
    Gone,
    /// Nobody else has it.
    Ours,
    /// Others have it, too; the caller holds a reference now.
    Shared,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Frame {
    /// 0: never existed. Bumped by every allocation and by every free.
    pub(crate) generation: u32,
    /// `_refcount`; 0 when free.
    pub(crate) refs: u32,
    /// `_mapcount`: CPU page-table entries.
    pub(crate) maps: u32,
    /// Live DMA mappings.
    dma: u32,
    /// The oldest of the live DMA mappings.
    dma_at: Stamp,
    /// When the frame was freed last.
    pub(crate) freed_at: Option<Stamp>,
    /// Taken off the LRU by a migration (`folio_isolate_lru`), which also has it locked.
    pub(crate) isolated: bool,
    /// PG_locked, by a migration to or from a device, or by a CPU fault on a device page.
    pub(crate) locked: bool,
    /// Not `PageAnonExclusive`: several entries may map it, so who writes must look first, and who wants it elsewhere
    /// must look for all of them.
    pub(crate) shared: bool,
    /// Not PG_swapbacked: MADV_FREE was called on it, and reclaim drops it unless it finds that it was stored to since.
    lazyfree: bool,
    /// PG_dirty, or PG_swapcache: what MADV_FREE asks before it takes the frame for the caller's alone.
    dirty: bool,
    /// Address spaces whose entry of it is dirty, by id.
    dirty_in: u16,
    /// One of the 512 frames of a folio that was not split, whatever maps it.
    pub(crate) large: bool,
    /// Where the entries that map it are looked for.
    pub(crate) anon: Option<Anon>,
    /// In the swap cache: the slot with the same contents, while entries refer to that.
    slot: Option<u64>,
}

/// `folio->mapping` and `folio->index` of anonymous memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Anon {
    /// The `anon_vma` that VMAs which may map it have in their chain.
    pub(crate) anon_vma: u32,
    /// Its page in them, counted from [`VmaNode::origin`](crate::vma::VmaNode::origin) (wrapping).
    pub(crate) index: u64,
}

impl<L: Lab> Clone for Memory<L> {
    fn clone(&self) -> Self {
        Memory { inner: self.inner.clone() }
    }
}

impl<L: Lab> Default for Memory<L> {
    fn default() -> Self {
        Memory::new()
    }
}

impl<L: Lab> fmt::Debug for Memory<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} frames live)", self.inner.state.borrow().live)
    }
}

impl State {
    pub(crate) fn frame(&self, pfn: u64) -> Frame {
        self.frames.get(&(pfn / BLOCK_PAGES)).map_or(Frame::default(), |b| b[(pfn % BLOCK_PAGES) as usize])
    }

    fn block(&mut self, pfn: u64) -> &mut [Frame; BLOCK_PAGES as usize] {
        self.frames.entry(pfn / BLOCK_PAGES).or_insert_with(|| Box::new([Frame::default(); BLOCK_PAGES as usize]))
    }

    fn frame_mut(&mut self, pfn: u64) -> &mut Frame {
        &mut self.block(pfn)[(pfn % BLOCK_PAGES) as usize]
    }

    /// `f` on each of `count` frames from `first`, in order, until it gives something. One look-up a block.
    pub(crate) fn each<R>(
        &mut self,
        first: u64,
        count: u64,
        mut f: impl FnMut(u64, &mut Frame) -> Option<R>,
    ) -> Option<R> {
        let mut at = first;
        while at < first + count {
            let end = (first + count).min((at / BLOCK_PAGES + 1) * BLOCK_PAGES);
            let index = (at % BLOCK_PAGES) as usize;
            let frames = &mut self.block(at)[index..index + (end - at) as usize];
            if let Some(found) = (at..end).zip(frames).find_map(|(pfn, frame)| f(pfn, frame)) {
                return Some(found);
            }
            at = end;
        }
        None
    }

    pub(crate) fn all(&mut self, first: u64, count: u64, holds: impl Fn(Frame) -> bool) -> bool {
        self.each(first, count, |_, frame| (!holds(*frame)).then_some(())).is_none()
    }

    /// The slot in whose swap cache the frame is.
    fn cached_slot(&self, pfn: u64) -> Option<u64> {
        let frame = self.frame(pfn);
        let slot = frame.slot?;
        self.swap.get(&slot).filter(|s| s.cached == Some((pfn, frame.generation))).map(|_| slot)
    }

    fn forget_words(&mut self, first: u64, count: u64) {
        while let Some((&key, _)) = self.words.range((first, 0)..(first + count, 0)).next() {
            self.words.remove(&key);
        }
    }

    /// The first frame number of `count` frames for `page` none of which ever lived; after 4095 of them, none of which
    /// lives now.
    fn choose(&mut self, owner: u32, page: u64, count: u64) -> u64 {
        let pfn = |instance| u64::from(owner) << OWNER_SHIFT | instance << INSTANCE_SHIFT | page;
        (1..INSTANCES)
            .map(pfn)
            .filter(|&first| !is_device_pfn(first))
            .find(|&first| self.all(first, count, |f| f.generation == 0))
            .or_else(|| {
                let mut again = (1..INSTANCES).map(pfn).filter(|&first| !is_device_pfn(first));
                again.find(|&first| self.all(first, count, |f| f.refs == 0))
            })
            .expect("4095 live frames for one virtual page")
    }

    fn allocate(&mut self, owner: u32, page: u64, count: u64) -> u64 {
        assert!(owner < OWNERS && page + count <= 1 << INSTANCE_SHIFT, "the machine has 16 owners of 48-bit spaces");
        let first = self.choose(owner, page, count);
        self.bring_to_life(first, count, false);
        first
    }

    /// A new life of frames that are free, with one reference each.
    pub(crate) fn bring_to_life(&mut self, first: u64, count: u64, locked: bool) {
        self.each(first, count, |_, frame| {
            let (generation, freed_at) = (frame.generation + 1, frame.freed_at);
            *frame = Frame { generation, refs: 1, freed_at, locked, ..Frame::default() };
            None::<()>
        });
        self.live += count;
    }
}

impl<L: Lab> Memory<L> {
    /// Memory with nothing in it but the zero frames.
    pub fn new() -> Self {
        Memory {
            inner: Rc::new(Inner {
                accesses: L::Visible::new("memory"),
                state: RefCell::default(),
                devices: RefCell::default(),
                waiters: RefCell::default(),
                pool: L::Visible::new("free frames"),
                spaces: RefCell::default(),
                migrations: RefCell::default(),
            }),
        }
    }

    // ---- life of a frame -------------------------------------------------------------------------------------------

    /// A zeroed frame for virtual page `page` of the address space `owner` (below 16), with one reference.
    pub(crate) fn alloc(&self, owner: u32, page: u64) -> u64 {
        self.inner.state.borrow_mut().allocate(owner, page, 1)
    }

    /// 512 zeroed frames, aligned, for the block that begins at `page`, with one reference each.
    pub(crate) fn alloc_block(&self, owner: u32, page: u64) -> u64 {
        assert_eq!(page % BLOCK_PAGES, 0, "a block is aligned");
        let mut state = self.inner.state.borrow_mut();
        let first = state.allocate(owner, page, BLOCK_PAGES);
        state.each(first, BLOCK_PAGES, |_, frame| {
            frame.large = true;
            None::<()>
        });
        first
    }

    /// `count` zeroed frames in a row for the pages from 0 on of `owner`, with one reference each.
    pub(crate) fn alloc_run(&self, owner: u32, count: u64) -> u64 {
        self.inner.state.borrow_mut().allocate(owner, 0, count)
    }

    /// One more reference; the caller has one, or an entry does.
    pub(crate) fn get(&self, pfn: u64) {
        self.inner.state.borrow_mut().frame_mut(pfn).refs += 1;
    }

    /// Whether any of the frames is not `PageAnonExclusive`.
    pub(crate) fn any_shared_in(&self, first: u64, count: u64) -> bool {
        !self.inner.state.borrow_mut().all(first, count, |frame| !frame.shared)
    }

    /// CPU page-table entries now map the frames; the entry keeps the reference that its creator had.
    pub(crate) fn add_maps(&self, first: u64, count: u64) {
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.maps += 1;
            None::<()>
        });
    }

    /// CPU page-table entries that mapped the frames are gone; their references are the caller's now.
    pub(crate) fn remove_maps(&self, first: u64, count: u64) {
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.maps -= 1;
            None::<()>
        });
    }

    /// Takes the reference of an entry away while the caller holds another one: cannot free, so no scheduling point.
    pub(crate) fn put_not_last(&self, first: u64, count: u64) {
        self.inner.state.borrow_mut().each(first, count, |pfn, frame| {
            assert!(frame.refs > 1, "put_not_last of the last reference of pfn {pfn:#x}");
            frame.refs -= 1;
            None::<()>
        });
    }

    /// `folio_put` on `count` frames from `first`: the last reference frees. One scheduling point.
    ///
    /// A frame that is freed while a DMA mapping of it is live is a violation of I3; a put of a free frame, of I4.
    #[track_caller]
    pub(crate) fn put(&self, first: u64, count: u64) {
        self.release(first, count, false);
    }

    /// As [`Memory::put`]; with `unlock`, unlocks the frames in the same step, then lets go who waits for them.
    #[track_caller]
    pub(crate) fn release(&self, first: u64, count: u64, unlock: bool) {
        self.inner.accesses.write(Span::new(first, first + count - 1));
        let (now, mut freed) = (L::stamp(), 0);
        let mut gone_folios = Vec::new();
        let fallen = {
            let mut state = self.inner.state.borrow_mut();
            let mut devices = self.inner.devices.borrow_mut();
            let stale_dma = state.stale_dma;
            let fallen = state.each(first, count, |pfn, frame| {
                if unlock && !frame.locked {
                    let what = format!("frame {pfn:#x} is unlocked, but not locked");
                    return Some((Invariant::I5, what, frame.freed_at));
                }
                if unlock {
                    frame.locked = false;
                }
                if frame.refs == 0 {
                    return Some((Invariant::I4, format!("frame {pfn:#x} is freed twice"), frame.freed_at));
                }
                frame.refs -= 1;
                if frame.refs > 0 {
                    return None;
                }
                if frame.dma > 0 && !stale_dma {
                    let what = format!("frame {pfn:#x} is freed while {} DMA mapping(s) of it are live", frame.dma);
                    return Some((Invariant::I3, what, Some(frame.dma_at)));
                }
                if frame.maps > 0 {
                    return Some((Invariant::I3, format!("frame {pfn:#x} is freed while the CPU maps it"), None));
                }
                frame.generation += 1;
                *frame =
                    Frame { generation: frame.generation, dma: frame.dma, dma_at: frame.dma_at, ..Frame::default() };
                frame.freed_at = Some(now);
                freed += 1;
                gone_folios.extend(devices.frame_freed(pfn));
                None
            });
            state.live -= freed;
            if freed == count {
                state.forget_words(first, count);
            } else if freed > 0 {
                let gone: Vec<u64> = (first..first + count).filter(|&pfn| state.frame(pfn).refs == 0).collect();
                gone.into_iter().for_each(|pfn| state.forget_words(pfn, 1));
            }
            fallen
        };
        if let Some((invariant, what, earlier)) = fallen {
            L::fail(Violation::new(invariant, what, earlier));
        }
        if freed > 0 {
            note!(L, "{freed} page(s) freed: pfn {first:#x}-{:#x}", first + count - 1);
        }
        self.folios_freed(gone_folios);
        if unlock {
            let opened = self.waiters_of(first, count);
            opened.iter().for_each(|gate| gate.store(1));
        }
    }

    /// Which life of the frame this is: bumped by every allocation and by every free. The zero frames stay at 1; 0
    /// means that the frame never existed. No scheduling point.
    pub fn generation(&self, pfn: u64) -> u32 {
        if is_zero_pfn(pfn) { 1 } else { self.inner.state.borrow().frame(pfn).generation }
    }

    /// Whether the frame is allocated. No scheduling point.
    pub fn is_live(&self, pfn: u64) -> bool {
        is_zero_pfn(pfn) || self.inner.state.borrow().frame(pfn).refs > 0
    }

    /// When the frame was freed last, also when it lives again. No scheduling point.
    pub fn freed_at(&self, pfn: u64) -> Option<Stamp> {
        self.inner.state.borrow().frame(pfn).freed_at
    }

    /// CPU page-table entries that map the frame; not counted for the zero frames. No scheduling point.
    pub fn map_count(&self, pfn: u64) -> u32 {
        self.inner.state.borrow().frame(pfn).maps
    }

    /// Frames that are allocated, the zero frames not counted. No scheduling point.
    pub fn live_frames(&self) -> u64 {
        self.inner.state.borrow().live
    }

    // ---- sharing -----------------------------------------------------------------------------------------------------

    /// One more entry maps each of the frames, and none of them may take a frame for its own any more
    /// (`folio_try_dup_anon_rmap_pte`). The caller's scheduling point is the one of the page table.
    pub(crate) fn share(&self, first: u64, count: u64) {
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.refs += 1;
            frame.maps += 1;
            frame.shared = true;
            None::<()>
        });
    }

    /// Whether who writes to the frame must look first whether others have it. No scheduling point: it changes where
    /// the page table of somebody who maps it does.
    pub(crate) fn is_shared(&self, pfn: u64) -> bool {
        !is_zero_pfn(pfn) && self.inner.state.borrow().frame(pfn).shared
    }

    /// Sets whether the frames are shared.
    pub(crate) fn set_shared(&self, first: u64, count: u64, shared: bool) {
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.shared = shared;
            None::<()>
        });
    }

    /// Looks whether the holder of an entry is the only one who has its frames (`wp_can_reuse_anon_folio`), and takes a
    /// reference to the first when not. `still`: whether the entry maps them. A scheduling point.
    #[track_caller]
    pub(crate) fn claim(&self, first: u64, count: u64, still: impl FnOnce() -> bool) -> Claim {
        self.inner.accesses.write(Span::new(first, first + count - 1));
        if !still() {
            return Claim::Gone;
        }
        let mut state = self.inner.state.borrow_mut();
        let cached = (first..first + count).any(|pfn| state.cached_slot(pfn).is_some());
        if !cached && state.all(first, count, |frame| frame.refs == 1) {
            return Claim::Ours;
        }
        state.frame_mut(first).refs += 1;
        Claim::Shared
    }
}
