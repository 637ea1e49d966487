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

use crate::device::{Devices, is_device_pfn};
use crate::file::FIRST_FILE;
use crate::space;
use interleave::lab::{Gate, Invariant, Lab, Span, Stamp, Violation, Visible};
use model::note;
use model::units::PAGE_SIZE;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
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

    /// Isolates `count` frames from `first` for a migration and takes a reference on each; false, and nothing taken,
    /// when one of them is free or isolated already, or the first is not of `generation`. A scheduling point.
    #[track_caller]
    pub(crate) fn isolate(&self, first: u64, count: u64, generation: u32) -> bool {
        self.inner.accesses.write(Span::new(first, first + count - 1));
        let mut state = self.inner.state.borrow_mut();
        let takable = |f: Frame| f.refs > 0 && !f.isolated && !f.locked;
        if state.frame(first).generation != generation || !state.all(first, count, takable) {
            return false;
        }
        state.each(first, count, |_, frame| {
            frame.isolated = true;
            frame.refs += 1;
            None::<()>
        });
        true
    }

    /// As [`Memory::isolate`], all frames of the large folio at `first` that are not free, as runs; None when one of them
    /// is isolated or locked, or the folio was split meanwhile.
    #[track_caller]
    pub(crate) fn isolate_parts(&self, first: u64) -> Option<Vec<(u64, u64)>> {
        self.inner.accesses.write(Span::new(first, first + BLOCK_PAGES - 1));
        let mut state = self.inner.state.borrow_mut();
        if !state.all(first, BLOCK_PAGES, |f| f.refs == 0 || f.large && !f.isolated && !f.locked) {
            return None;
        }
        let mut runs: Vec<(u64, u64)> = Vec::new();
        state.each(first, BLOCK_PAGES, |pfn, frame| {
            if frame.refs > 0 {
                frame.isolated = true;
                frame.refs += 1;
                match runs.last_mut() {
                    Some((at, n)) if *at + *n == pfn => *n += 1,
                    _ => runs.push((pfn, 1)),
                }
            }
            None::<()>
        });
        (!runs.is_empty()).then_some(runs)
    }

    /// Gives frames back to the LRU that [`Memory::isolate`] took (`folio_putback_lru`), with the reference. A scheduling
    /// point.
    #[track_caller]
    pub(crate) fn putback(&self, first: u64, count: u64) {
        self.put(first, count);
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.isolated = false;
            None::<()>
        });
    }

    // ---- folios ------------------------------------------------------------------------------------------------------

    /// The first frame of the frame's folio, and how many it has: 512, or 1. Those of a large one may be free in part.
    pub(crate) fn folio_of(&self, pfn: u64) -> (u64, u64) {
        match self.inner.state.borrow().frame(pfn).large {
            true => (pfn / BLOCK_PAGES * BLOCK_PAGES, BLOCK_PAGES),
            false => (pfn, 1),
        }
    }

    /// The end of `__folio_split`: each frame is a folio of its own.
    pub(crate) fn split_large(&self, first: u64) {
        self.inner.state.borrow_mut().each(first, BLOCK_PAGES, |_, frame| {
            frame.large = false;
            None::<()>
        });
    }

    /// `folio_mapcount`: entries that map the frames, together.
    pub(crate) fn folio_mapcount(&self, first: u64, count: u64) -> u64 {
        let mut maps = 0;
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            maps += u64::from(frame.maps);
            None::<()>
        });
        maps
    }

    /// Whether nothing but zeroes is in the frame.
    pub(crate) fn is_zero_filled(&self, pfn: u64) -> bool {
        self.inner.state.borrow().words.range((pfn, 0)..(pfn + 1, 0)).next().is_none()
    }

    /// Whether each of the frames is mapped by somebody, or on its way.
    pub(crate) fn all_mapped(&self, first: u64, count: u64) -> bool {
        self.inner.state.borrow_mut().all(first, count, |frame| frame.refs > 0)
    }

    /// One more reference; the caller has one, or an entry does.
    pub(crate) fn get(&self, pfn: u64) {
        self.inner.state.borrow_mut().frame_mut(pfn).refs += 1;
    }

    /// Whether any of the frames is not `PageAnonExclusive`.
    pub(crate) fn any_shared_in(&self, first: u64, count: u64) -> bool {
        !self.inner.state.borrow_mut().all(first, count, |frame| !frame.shared)
    }

    /// `__folio_set_anon`, `folio_move_anon_rmap`: frame `first` is page `anon.index` from now on, the others follow.
    pub(crate) fn set_anon(&self, first: u64, count: u64, anon: Anon) {
        self.inner.state.borrow_mut().each(first, count, |pfn, frame| {
            frame.anon = Some(Anon { index: anon.index.wrapping_add(pfn - first), ..anon });
            None::<()>
        });
    }

    /// Where the entries that map the folio are looked for: the page of its first frame.
    pub(crate) fn anon_of(&self, first: u64, count: u64) -> Option<Anon> {
        let found = self.inner.state.borrow_mut().each(first, count, |pfn, frame| Some((pfn, frame.anon?)));
        found.map(|(pfn, anon)| Anon { index: anon.index.wrapping_sub(pfn - first), ..anon })
    }

    /// A new `anon_vma`; `parent`: the one of the VMA that was forked.
    pub(crate) fn new_anon_vma(&self, parent: Option<u32>) -> u32 {
        let mut state = self.inner.state.borrow_mut();
        let number = state.anon_vmas.len() as u32;
        let inherited = parent.map_or(&[][..], |parent| &state.anon_vmas[parent as usize]);
        let chain = inherited.iter().copied().chain([number]).collect();
        state.anon_vmas.push(chain);
        number
    }

    /// The `anon_vma`s in the chain of a VMA that has this one, the root first.
    pub(crate) fn anon_chain(&self, number: u32) -> Rc<[u32]> {
        self.inner.state.borrow().anon_vmas[number as usize].clone()
    }

    /// The next place in the interval tree of an `anon_vma`, behind all that begin at the same page.
    pub(crate) fn next_link(&self) -> u64 {
        let mut state = self.inner.state.borrow_mut();
        state.linked += 1;
        state.linked
    }

    // ---- dirty entries -----------------------------------------------------------------------------------------------

    /// The entries of the address space that map the frames are dirty from now on, or clean.
    pub(crate) fn set_dirty_in(&self, id: u32, first: u64, count: u64, dirty: bool) {
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.dirty_in = frame.dirty_in & !(1 << id) | u16::from(dirty) << id;
            None::<()>
        });
    }

    /// The entries of `child` say of the frames what those of `parent` say.
    pub(crate) fn copy_dirty(&self, parent: u32, child: u32, first: u64, count: u64) {
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.dirty_in = frame.dirty_in & !(1 << child) | (frame.dirty_in >> parent & 1) << child;
            None::<()>
        });
    }

    /// What frames at `from` were in these respects, those at `to` are (`folio_migrate_flags`); and they are dirty as a
    /// whole where an entry was (`try_to_migrate_one`).
    pub(crate) fn take_over(&self, from: u64, to: u64, count: u64) {
        let mut state = self.inner.state.borrow_mut();
        for at in 0..count {
            let old = state.frame(from + at);
            let new = state.frame_mut(to + at);
            (new.lazyfree, new.dirty_in, new.anon) = (old.lazyfree, old.dirty_in, old.anon);
            new.dirty = old.dirty || old.dirty_in != 0;
        }
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

    // ---- swap --------------------------------------------------------------------------------------------------------

    /// MADV_FREE by an address space on those of the frames that are `still` mapped: its entries become clean, and reclaim
    /// may drop the frames until one is dirty again. A frame that is dirty itself, or in the swap cache, must be the
    /// caller's alone. One scheduling point.
    #[track_caller]
    pub(crate) fn make_lazyfree(&self, id: u32, first: u64, count: u64, still: impl Fn(u64) -> bool) {
        self.inner.accesses.write(Span::new(first, first + count - 1));
        let mut state = self.inner.state.borrow_mut();
        for pfn in first..first + count {
            let frame = state.frame(pfn);
            let cached = state.cached_slot(pfn).is_some();
            if !still(pfn) || cached || frame.dirty && frame.maps != 1 {
                continue;
            }
            let frame = state.frame_mut(pfn);
            (frame.lazyfree, frame.dirty) = (true, false);
            frame.dirty_in &= !(1 << id);
        }
    }

    /// Whether MADV_FREE has given up all of the frames. No scheduling point.
    pub(crate) fn is_lazyfree(&self, first: u64, count: u64) -> bool {
        self.inner.state.borrow_mut().all(first, count, |frame| frame.lazyfree)
    }

    /// Whether reclaim drops the frame; one that it finds dirty is an ordinary page again. Asked inside the step that
    /// looks at the entry.
    pub(crate) fn drops(&self, pfn: u64) -> bool {
        let mut state = self.inner.state.borrow_mut();
        let frame = state.frame_mut(pfn);
        let clean = !frame.dirty && frame.dirty_in == 0;
        if !clean {
            (frame.lazyfree, frame.dirty) = (false, true);
        }
        clean
    }

    /// Writes the frames to swap slots of the same numbers, or to those whose contents they are, and gives the slots. One
    /// scheduling point.
    #[track_caller]
    pub(crate) fn write_to_swap(&self, first: u64, count: u64) -> Vec<u64> {
        self.inner.accesses.read(Span::new(first, first + count - 1));
        let mut state = self.inner.state.borrow_mut();
        let mut slots = Vec::new();
        for pfn in first..first + count {
            let slot = state.cached_slot(pfn).unwrap_or_else(|| {
                let words = state.words.range((pfn, 0)..(pfn + 1, 0)).map(|(&(_, at), &value)| (at, value)).collect();
                state.swap.insert(pfn, Slot { words, ..Slot::default() });
                pfn
            });
            slots.push(slot);
        }
        slots
    }

    /// One more entry refers to the slot (`swap_duplicate`).
    pub(crate) fn dup_slot(&self, slot: u64) {
        if let Some(slot) = self.inner.state.borrow_mut().swap.get_mut(&slot) {
            slot.refs += 1;
        }
    }

    /// An entry that referred to the slot is gone (`swap_free`); the last one frees it.
    pub(crate) fn put_slot(&self, slot: u64) {
        let mut state = self.inner.state.borrow_mut();
        let used = state.swap.get_mut(&slot).expect("an entry refers to a slot in use");
        used.refs = used.refs.saturating_sub(1);
        if used.refs == 0 {
            state.swap.remove(&slot);
        }
    }

    /// Frees those of the slots to which nobody refers.
    pub(crate) fn drop_unused_slots(&self, slots: &[u64]) {
        self.inner.state.borrow_mut().swap.retain(|slot, s| s.refs > 0 || !slots.contains(slot));
    }

    /// What an entry of virtual page `page` of `owner` that refers to the slot becomes (`do_swap_page`): a frame with one
    /// reference more, and whether it is the entry's alone. It is not while others refer to the slot: then the frame
    /// stays in the swap cache, where they find it.
    pub(crate) fn read_from_swap(&self, slot: u64, owner: u32, page: u64) -> (u64, bool) {
        let mut state = self.inner.state.borrow_mut();
        let (refs, cached) = state.swap.get(&slot).map(|slot| (slot.refs, slot.cached)).expect("an entry refers to it");
        let cached = cached.filter(|&(pfn, generation)| {
            let frame = state.frame(pfn);
            frame.generation == generation && !frame.isolated && !frame.locked
        });
        let pfn = match cached {
            Some((pfn, _)) => {
                state.frame_mut(pfn).refs += 1;
                pfn
            }
            None => {
                let pfn = state.allocate(owner, page, 1);
                let words = state.swap.get(&slot).expect("it was just there").words.clone();
                for (at, value) in words {
                    state.words.insert((pfn, at), value);
                }
                pfn
            }
        };
        let alone = cached.is_none() && refs == 1;
        let frame = state.frame_mut(pfn);
        (frame.slot, frame.dirty) = (Some(slot), true);
        frame.shared |= !alone;
        let generation = frame.generation;
        if let Some(slot) = state.swap.get_mut(&slot) {
            slot.cached = Some((pfn, generation));
        }
        (pfn, alone)
    }

    /// The word at byte `offset` of a slot, for checks.
    pub(crate) fn peek_slot(&self, slot: u64, offset: u64) -> u64 {
        let state = self.inner.state.borrow();
        let words = state.swap.get(&slot).map_or(&[][..], |slot| &slot.words);
        words.iter().find(|(at, _)| *at == word(offset)).map_or(0, |&(_, value)| value)
    }

    /// Swap slots in use. No scheduling point.
    pub fn swap_slots(&self) -> u64 {
        self.inner.state.borrow().swap.len() as u64
    }

    // ---- DMA -------------------------------------------------------------------------------------------------------

    /// From now on a frame may be freed while it is mapped for DMA. For drivers that keep the mappings of pages that are
    /// gone and rely on nothing leading there (KFD unmaps when it maps anew, or when the range goes); an access of the
    /// GPU to such a frame is a violation all the same. Before the actors start.
    pub fn allow_stale_dma(&self) {
        self.inner.state.borrow_mut().stale_dma = true;
    }

    /// `dma_map_page` of the `1 << order` frames from `pfn`: as long as it lives, they must not be freed. No scheduling
    /// point: a driver maps hundreds of frames in a row, nobody can use the new mappings yet, and a frame that is freed
    /// on either side of it is told from the mapping's first use. Mapping a frame that is free already is recorded like
    /// any other; whether it is harmful is the caller's to judge ([`Memory::is_live`]).
    pub fn dma_map(&self, pfn: u64, order: u8) {
        let frames = frames_of(pfn, order);
        let now = L::stamp();
        let mut state = self.inner.state.borrow_mut();
        for pfn in frames {
            let frame = state.frame_mut(pfn);
            if frame.dma == 0 {
                frame.dma_at = now;
            }
            frame.dma += 1;
        }
    }

    /// The frames from `first` to `last` are about to be unmapped from DMA: one scheduling point for all of them.
    #[track_caller]
    pub fn announce_dma_unmap(&self, first: u64, last: u64) {
        self.inner.accesses.read(Span::new(first, last));
    }

    /// `dma_unmap_page`. No scheduling point of its own: [`Memory::announce_dma_unmap`] comes before. Without a live
    /// mapping: a violation of I5.
    pub fn dma_unmap(&self, pfn: u64, order: u8) {
        let frames = frames_of(pfn, order);
        let mut unbalanced = None;
        {
            let mut state = self.inner.state.borrow_mut();
            for pfn in frames {
                let frame = state.frame_mut(pfn);
                if frame.dma == 0 {
                    unbalanced = Some(pfn);
                    break;
                }
                frame.dma -= 1;
            }
        }
        if let Some(pfn) = unbalanced {
            L::fail(Violation::new(Invariant::I5, format!("DMA unmap of frame {pfn:#x}, which is not mapped"), None));
        }
    }

    /// Live DMA mappings of the frame. No scheduling point.
    pub fn dma_mappings(&self, pfn: u64) -> u32 {
        self.inner.state.borrow().frame(pfn).dma
    }

    /// The oldest live DMA mapping of any frame that is not a zero frame, as (frame, when it was mapped). No scheduling
    /// point.
    pub fn any_dma(&self) -> Option<(u64, Stamp)> {
        let state = self.inner.state.borrow();
        let all = state.frames.iter().flat_map(|(b, frames)| (b * BLOCK_PAGES..).zip(frames.iter()));
        all.filter(|(pfn, f)| f.dma > 0 && !is_zero_pfn(*pfn)).map(|(pfn, f)| (pfn, f.dma_at)).min_by_key(|&(_, at)| at)
    }

    // ---- contents --------------------------------------------------------------------------------------------------

    /// Loads the 64-bit word at byte `offset` (rounded down to a word) of a frame; [`POISON`] when the frame is free. A
    /// scheduling point.
    #[track_caller]
    pub fn load(&self, pfn: u64, offset: u64) -> u64 {
        self.inner.accesses.read(Span::one(pfn));
        self.peek(pfn, offset)
    }

    /// Stores a 64-bit word. A scheduling point. A store to a frame that is free changes nothing; a store to a zero
    /// frame, which no correct mapping allows, is a violation of I2.
    #[track_caller]
    pub fn store(&self, pfn: u64, offset: u64, value: u64) {
        self.inner.accesses.write(Span::one(pfn));
        self.poke(pfn, offset, value);
    }

    /// Adds to a 64-bit word, atomically. Returns the new value. A scheduling point; see [`Memory::store`].
    #[track_caller]
    pub fn add(&self, pfn: u64, offset: u64, value: u64) -> u64 {
        self.inner.accesses.write(Span::one(pfn));
        let sum = self.peek(pfn, offset).wrapping_add(value);
        self.poke(pfn, offset, sum);
        sum
    }

    /// As [`Memory::load`], if `still` holds at the moment of the access: the CPU's translation may have been shot down
    /// since the walk.
    #[track_caller]
    pub(crate) fn load_if(&self, pfn: u64, offset: u64, still: impl FnOnce() -> bool) -> Option<u64> {
        self.inner.accesses.read(Span::one(pfn));
        still().then(|| self.peek(pfn, offset))
    }

    /// As [`Memory::store`], under the condition of [`Memory::load_if`].
    #[track_caller]
    pub(crate) fn store_if(
        &self,
        id: u32,
        pfn: u64,
        offset: u64,
        value: u64,
        still: impl FnOnce() -> bool,
    ) -> Option<u64> {
        self.inner.accesses.write(Span::one(pfn));
        still().then(|| {
            self.inner.state.borrow_mut().frame_mut(pfn).dirty_in |= 1 << id;
            self.poke(pfn, offset, value);
            value
        })
    }

    /// Copies `count` frames from `from` to frames that nobody else knows yet (`folio_mc_copy`). One scheduling point.
    #[track_caller]
    pub fn copy(&self, from: u64, to: u64, count: u64) {
        self.inner.accesses.read(Span::new(from, from + count - 1));
        let mut state = self.inner.state.borrow_mut();
        state.forget_words(to, count);
        let words: Vec<_> = state.words.range((from, 0)..(from + count, 0)).map(|(&k, &v)| (k, v)).collect();
        for ((pfn, offset), value) in words {
            state.words.insert((pfn - from + to, offset), value);
        }
    }

    /// A device reads `count` frames from `from`: the words that are not zero; [`POISON`] all over is not given for a free
    /// frame, ask [`Memory::is_live`] in the same step. A scheduling point.
    #[track_caller]
    pub fn copy_out(&self, from: u64, count: u64) -> Vec<Word> {
        self.inner.accesses.read(Span::new(from, from + count - 1));
        let state = self.inner.state.borrow();
        let words = state.words.range((from, 0)..(from + count, 0));
        words.map(|(&(pfn, offset), &value)| Word { frame: pfn - from, offset, value }).collect()
    }

    /// A device overwrites `count` frames from `to` with what [`Memory::copy_out`] gave. A scheduling point. Of frames that
    /// are free nothing changes; a zero frame is a violation of I2.
    #[track_caller]
    pub fn copy_in(&self, to: u64, count: u64, words: &[Word]) {
        self.inner.accesses.write(Span::new(to, to + count - 1));
        self.inner.state.borrow_mut().forget_words(to, count);
        for word in words {
            self.poke(to + word.frame, word.offset, word.value);
        }
    }

    /// The word at byte `offset` of a frame, without a scheduling point: for checks.
    pub fn peek(&self, pfn: u64, offset: u64) -> u64 {
        if !self.is_live(pfn) {
            return POISON;
        }
        self.inner.state.borrow().words.get(&(pfn, word(offset))).copied().unwrap_or(0)
    }

    fn poke(&self, pfn: u64, offset: u64, value: u64) {
        if is_zero_pfn(pfn) {
            L::fail(Violation::new(Invariant::I2, "a store reaches the shared zero page", None));
        }
        if !self.is_live(pfn) {
            return;
        }
        let mut state = self.inner.state.borrow_mut();
        if value == 0 {
            state.words.remove(&(pfn, word(offset)));
        } else {
            state.words.insert((pfn, word(offset)), value);
        }
    }
}

fn word(offset: u64) -> u64 {
    (offset % PAGE_SIZE) & !7
}

fn frames_of(pfn: u64, order: u8) -> Range<u64> {
    pfn..pfn + (1 << order)
}
