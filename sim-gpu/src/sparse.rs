//! An array with an entry for every page number there can be, in blocks that are made when they are first written.

use std::collections::BTreeMap;

const SHIFT: u32 = 9;
const ENTRIES: usize = 1 << SHIFT;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Sparse<T> {
    blocks: BTreeMap<u64, Box<[T; ENTRIES]>>,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Sparse { blocks: BTreeMap::new() }
    }
}

impl<T: Copy + Default> Sparse<T> {
    /// The entry; the default where nothing was written.
    pub(crate) fn get(&self, at: u64) -> T {
        self.blocks.get(&(at >> SHIFT)).map_or(T::default(), |block| block[at as usize % ENTRIES])
    }

    /// The entry, to be written.
    pub(crate) fn entry(&mut self, at: u64) -> &mut T {
        let block = self.blocks.entry(at >> SHIFT).or_insert_with(|| Box::new([T::default(); ENTRIES]));
        &mut block[at as usize % ENTRIES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_the_default_until_they_are_written() {
        let mut sparse = Sparse::<u32>::default();
        for at in [0, 511, 512, u64::MAX] {
            assert_eq!(sparse.get(at), 0);
            *sparse.entry(at) = at as u32 | 1;
        }
        for at in [0, 511, 512, u64::MAX] {
            assert_eq!(sparse.get(at), at as u32 | 1);
        }
        assert_eq!((sparse.get(1), sparse.get(513)), (0, 0));
    }
}
