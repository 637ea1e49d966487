//! A list that only grows: pushing needs no exclusive access, and references into it stay good.
//!
//! Safe code can hand out `&T` into something that others append to only if nothing ever moves: chunks of doubling
//! size, each allocated once, each element written once.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::ops::Index;

/// log2 of the size of the first chunk.
const FIRST: u32 = 4;
/// Chunks of 16, 16, 32, 64, ... elements: more than fit into memory.
const CHUNKS: usize = 24;

/// A list that only grows.
pub(super) struct Frozen<T> {
    chunks: [OnceCell<Box<[OnceCell<T>]>>; CHUNKS],
    len: Cell<u32>,
}

/// Chunk, its size, and the place in it.
fn place(index: u32) -> (usize, usize, usize) {
    // Chunk c > 0 begins at 16 << (c - 1) and is as long as all before it.
    let chunk = (index >> FIRST).checked_ilog2().map_or(0, |log| log + 1);
    let start = if chunk == 0 { 0 } else { 1 << (FIRST + chunk - 1) };
    (chunk as usize, (1 << FIRST).max(start) as usize, (index - start) as usize)
}

impl<T> Frozen<T> {
    pub(super) const fn new() -> Self {
        Frozen { chunks: [const { OnceCell::new() }; CHUNKS], len: Cell::new(0) }
    }

    /// Appends; returns the index of the new element.
    pub(super) fn push(&self, value: T) -> u32 {
        let index = self.len.get();
        let (chunk, size, at) = place(index);
        let chunk = self.chunks[chunk].get_or_init(|| (0..size).map(|_| OnceCell::new()).collect());
        assert!(chunk[at].set(value).is_ok(), "an index is given out once");
        self.len.set(index + 1);
        index
    }

    /// The element, if there is one.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, _, at) = place(index);
        self.chunks.get(chunk)?.get()?.get(at)?.get()
    }
}

impl<T> Index<u32> for Frozen<T> {
    type Output = T;
    fn index(&self, index: u32) -> &T {
        self.get(index).expect("an index that was given out")
    }
}

impl<T> fmt::Debug for Frozen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frozen({})", self.len.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_outlives_any_number_of_pushes() {
        let list = Frozen::new();
        list.push(0);
        let first = list.get(0).expect("pushed");
        for i in 1..5000 {
            assert_eq!(list.push(i), i);
        }
        assert_eq!(*first, 0);
        assert!((0..5000).all(|i| list[i] == i));
        assert!(list.get(5000).is_none() && list.get(u32::MAX).is_none());
    }

    #[test]
    fn chunks_meet_without_gap_or_overlap() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            let (chunk, size, at) = place(index);
            assert_eq!((chunk, at), expected);
            expected = if at + 1 == size { (chunk + 1, 0) } else { (chunk, at + 1) };
        }
    }
}
