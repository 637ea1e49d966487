//! What MADV_FREE and reclaim know of a frame, and the swap device.

use super::words::word;
use super::{Memory, Slot};
use interleave::lab::{Lab, Span, Visible};

impl<L: Lab> Memory<L> {
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
}
