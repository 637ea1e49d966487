//! What is in the frames, word by word.

use super::{Memory, POISON, Word, is_zero_pfn};
use interleave::lab::{Invariant, Lab, Span, Violation, Visible};
use model::units::PAGE_SIZE;

impl<L: Lab> Memory<L> {
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

    /// Whether nothing but zeroes is in the frame.
    pub(crate) fn is_zero_filled(&self, pfn: u64) -> bool {
        self.inner.state.borrow().words.range((pfn, 0)..(pfn + 1, 0)).next().is_none()
    }
}

pub(super) fn word(offset: u64) -> u64 {
    (offset % PAGE_SIZE) & !7
}
