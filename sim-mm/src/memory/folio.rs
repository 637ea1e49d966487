//! Folios: which frames are one, who may move them, and where the entries that map them are looked for.

use super::{Anon, BLOCK_PAGES, Frame, Memory};
use interleave::lab::{Lab, Span, Visible};
use std::rc::Rc;

impl<L: Lab> Memory<L> {
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

    /// Whether each of the frames is mapped by somebody, or on its way.
    pub(crate) fn all_mapped(&self, first: u64, count: u64) -> bool {
        self.inner.state.borrow_mut().all(first, count, |frame| frame.refs > 0)
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
}
