//! Object caches: addresses that stay, handles that are checked.
//!
//! A slab gives out slots and takes them back; the objects themselves stay where they are until the cache goes, so
//! that a reference can never dangle, and a handle of a freed object is told from the object that has its slot now.

use crate::engine::exec::{fail, fails, unwinding, with};
use crate::lab::{Invariant, Stamp, Violation};
use model::Errno;
use model::platform::{Cache, Handle, Objects};
use slab::Slab;
use std::cell::{OnceCell, RefCell};
use std::panic::Location;

/// `kmem_cache` of one type.
pub struct SimCache<T> {
    name: &'static str,
    /// Slot to generation; the generation is the object's number in `objects`.
    slots: RefCell<Slab<u32>>,
    objects: Store<T>,
    /// By generation: when it was freed.
    freed: RefCell<Vec<Option<Stamp>>>,
}

impl<T: 'static> SimCache<T> {
    /// Objects that were allocated and not freed.
    pub fn live(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Whether the object is there. False only while stacks are unwound after an execution, where nothing is a finding.
    fn check(&self, handle: Handle<T>, what: &str) -> bool {
        let alive = self.slots.borrow().get(handle.index as usize) == Some(&handle.generation);
        if alive || unwinding() {
            return alive;
        }
        let freed = self.freed.borrow().get(handle.generation as usize).copied().flatten();
        let what = format!("{} {handle:?} is {what} after it was freed", self.name);
        fail(Violation::new(Invariant::I4, what, freed));
    }
}

impl<T: 'static> Objects<T> for SimCache<T> {
    #[track_caller]
    fn get(&self, handle: Handle<T>) -> &T {
        self.check(handle, "used");
        self.objects.get(handle.generation as usize).expect("every generation has its object")
    }
}

impl<T: 'static> Cache<T> for SimCache<T> {
    fn new(name: &'static str) -> Result<Self, Errno> {
        Ok(SimCache {
            name,
            slots: RefCell::new(Slab::new()),
            objects: Store::default(),
            freed: RefCell::new(Vec::new()),
        })
    }

    #[track_caller]
    fn alloc_or(&self, value: T, undo: impl FnOnce(&T)) -> Result<Handle<T>, Errno> {
        super::might_alloc(self.name, Location::caller());
        if fails(Location::caller()) {
            undo(&value);
            return Err(Errno::ENOMEM);
        }
        let generation = self.objects.push(value) as u32;
        self.freed.borrow_mut().push(None);
        let index = self.slots.borrow_mut().insert(generation);
        Ok(Handle::from_parts(index as u32, generation))
    }

    #[track_caller]
    fn free(&self, handle: Handle<T>) {
        if !self.check(handle, "freed") {
            return;
        }
        self.slots.borrow_mut().remove(handle.index as usize);
        self.freed.borrow_mut()[handle.generation as usize] = Some(with(|exec| exec.stamp()));
    }
}

/// Grows, and never moves what it holds: blocks of doubling size, each made when it is first needed.
struct Store<T> {
    len: RefCell<usize>,
    blocks: [OnceCell<Box<[OnceCell<T>]>>; BLOCKS],
}

const BLOCKS: usize = 26;
const FIRST_BLOCK: usize = 8;

impl<T> Default for Store<T> {
    fn default() -> Self {
        Store { len: RefCell::new(0), blocks: [const { OnceCell::new() }; BLOCKS] }
    }
}

impl<T> Store<T> {
    /// Which block, and where in it.
    fn place(number: usize) -> (usize, usize) {
        let block = (number / FIRST_BLOCK + 1).ilog2() as usize;
        (block, number - ((1 << block) - 1) * FIRST_BLOCK)
    }

    fn push(&self, value: T) -> usize {
        let number = *self.len.borrow();
        let (block, at) = Self::place(number);
        let block = self.blocks[block].get_or_init(|| (0..FIRST_BLOCK << block).map(|_| OnceCell::new()).collect());
        assert!(block[at].set(value).is_ok(), "a place is filled once");
        *self.len.borrow_mut() += 1;
        number
    }

    fn get(&self, number: usize) -> Option<&T> {
        let (block, at) = Self::place(number);
        self.blocks.get(block)?.get()?.get(at)?.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_keeps_everything_in_its_place() {
        let store = Store::default();
        for i in 0..1000 {
            assert_eq!(store.push(i), i);
        }
        let addresses: Vec<*const usize> = (0..1000).map(|i| std::ptr::from_ref(store.get(i).unwrap())).collect();
        store.push(1000);
        for (i, address) in addresses.iter().enumerate() {
            assert_eq!(store.get(i), Some(&i));
            assert_eq!(std::ptr::from_ref(store.get(i).unwrap()), *address);
        }
        assert_eq!(store.get(1001), None);
    }
}
