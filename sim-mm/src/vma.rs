//! VMAs and the tree that holds them.
//!
//! Answers to `struct vm_area_struct`, the maple tree of an mm, and the per-VMA lock (spec mm-events 4.2). Neighbours
//! with equal flags are merged only when [`Options::merge`](crate::Options::merge) says so (see `merge`).

use crate::file::Backing;
use interleave::lab::{Gate, Lab};
use intrusive_collections::{Bound, KeyAdapter, RBTree, RBTreeLink, intrusive_adapter};
use model::platform::{Vma, VmaFlags};
use model::units::{Bytes, PAGE_SIZE};
use std::cell::Cell;
use std::rc::Rc;

/// The gate that a writer of a VMA sleeps on, and the map of its readers (`vmlock_dep_map`).
pub(crate) const VMA_LOCK: &str = "vma_lock";

/// `struct anon_vma`, as far as merging asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AnonVma {
    /// Which one.
    pub(crate) number: u32,
    /// Whether the VMA came by it in a fork (`vma_is_fork_child`).
    pub(crate) inherited: bool,
}

/// One VMA. Fields change under mmap_lock held for write with the VMA write-locked.
pub(crate) struct VmaNode<L: Lab> {
    link: RBTreeLink,
    bytes: Cell<Bytes>,
    flags: Cell<VmaFlags>,
    /// What is mapped; None: private anonymous memory.
    pub(crate) backing: Option<Backing<L>>,
    /// `vma->anon_vma`: set when the VMA may have anonymous pages, by faults, under the VMA's lock.
    pub(crate) anon_vma: Cell<Option<AnonVma>>,
    /// The page address at which page 0 of the object would stand (wrapping): `vm_pgoff`, the other way round. Private
    /// anonymous memory counts from its address at the time of the mmap; a VMA that moves takes its numbers along.
    pub(crate) origin: Cell<u64>,
    /// When it was put into the interval tree of its `anon_vma` last: rmap walks go by that where VMAs begin at the same
    /// page.
    pub(crate) linked: Cell<u64>,
    /// VM_LOCKED.
    pub(crate) mlocked: Cell<bool>,
    /// VM_ACCOUNT: private and was writable when something may have been stored.
    pub(crate) accounted: Cell<bool>,
    /// Write-locked: readers of the VMA lock fall back to mmap_lock.
    pub(crate) locked: Cell<bool>,
    /// Taken out of service (`vma_mark_detached`), maybe still in the tree.
    pub(crate) detached: Cell<bool>,
    /// Read sections of the VMA lock that ever began.
    pub(crate) readers_begun: Cell<u64>,
    /// Of these, how many a writer has seen end: unchanged since means that there is nothing to wait for.
    pub(crate) readers_seen: Cell<u64>,
    /// Read sections that ever ended; a writer waits here.
    pub(crate) readers_ended: L::Gate,
}

intrusive_adapter!(VmaAdapter<L> = Rc<VmaNode<L>>: VmaNode<L> { link => RBTreeLink } where L: Lab);

impl<'a, L: Lab> KeyAdapter<'a> for VmaAdapter<L> {
    type Key = u64;
    fn get_key(&self, node: &'a VmaNode<L>) -> u64 {
        node.bytes.get().start
    }
}

impl<L: Lab> VmaNode<L> {
    pub(crate) fn new(bytes: Bytes, flags: VmaFlags, backing: Option<Backing<L>>) -> Rc<Self> {
        Rc::new(VmaNode {
            anon_vma: Cell::new(None),
            linked: Cell::new(0),
            accounted: Cell::new(
                flags.write && !flags.hugetlb && backing.as_ref().is_none_or(|backing| !backing.shared),
            ),
            origin: Cell::new(backing.as_ref().map_or(0, |backing| backing.origin)),
            backing,
            mlocked: Cell::new(false),
            link: RBTreeLink::new(),
            bytes: Cell::new(bytes),
            flags: Cell::new(flags),
            locked: Cell::new(false),
            detached: Cell::new(false),
            readers_begun: Cell::new(0),
            readers_seen: Cell::new(0),
            readers_ended: L::Gate::new(VMA_LOCK, 0),
        })
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.get()
    }

    pub(crate) fn flags(&self) -> VmaFlags {
        self.flags.get()
    }

    /// mprotect's new flags (`mprotect_fixup`).
    pub(crate) fn set_flags(&self, flags: VmaFlags) {
        self.flags.set(flags);
        if flags.write {
            self.accounted.set(!flags.hugetlb && !self.is_shared());
        } else if self.backing.is_none() && self.anon_vma.get().is_none() {
            self.accounted.set(false);
        }
    }

    /// VM_SHARED.
    pub(crate) fn is_shared(&self) -> bool {
        self.backing.as_ref().is_some_and(|backing| backing.shared)
    }

    /// VM_SHARED, and nobody wants to be told of writes: what is there may be written to at once.
    pub(crate) fn is_shared_unwatched(&self) -> bool {
        self.backing.as_ref().is_some_and(|backing| backing.shared && !backing.notify)
    }

    /// A VMA of the same kind at `bytes`, for fork, a split and mremap; `moved_by` bytes (wrapping) from this one.
    pub(crate) fn clone_at(&self, bytes: Bytes, moved_by: u64) -> Rc<Self> {
        let copy = VmaNode::new(bytes, self.flags(), self.backing.as_ref().map(|backing| backing.moved(moved_by)));
        copy.anon_vma.set(self.anon_vma.get());
        copy.origin.set(self.origin.get().wrapping_add((moved_by as i64 / PAGE_SIZE as i64) as u64));
        copy.linked.set(self.linked.get());
        copy.mlocked.set(self.mlocked.get());
        copy.accounted.set(self.accounted.get());
        copy
    }

    pub(crate) fn set_bytes(&self, bytes: Bytes) {
        self.bytes.set(bytes);
    }

    /// What the driver may know of it.
    pub(crate) fn view(&self) -> Vma {
        Vma { bytes: self.bytes(), flags: self.flags() }
    }
}

/// The VMAs of an address space, keyed by start. Disjoint.
pub(crate) struct VmaTree<L: Lab> {
    tree: RBTree<VmaAdapter<L>>,
}

impl<L: Lab> VmaTree<L> {
    pub(crate) fn new() -> Self {
        VmaTree { tree: RBTree::new(VmaAdapter::new()) }
    }

    /// `find_vma`: the lowest VMA with `end > addr`.
    pub(crate) fn find(&self, addr: u64) -> Option<Rc<VmaNode<L>>> {
        let below = self.tree.upper_bound(Bound::Included(&addr));
        match below.get() {
            Some(node) if node.bytes().end > addr => below.clone_pointer(),
            _ => self.tree.lower_bound(Bound::Excluded(&addr)).clone_pointer(),
        }
    }

    /// `vma_lookup`: the VMA that contains `addr`.
    pub(crate) fn lookup(&self, addr: u64) -> Option<Rc<VmaNode<L>>> {
        self.find(addr).filter(|node| node.bytes().contains(addr))
    }

    /// The VMAs that share a byte with `bytes`, in address order.
    pub(crate) fn overlapping(&self, bytes: Bytes) -> Vec<Rc<VmaNode<L>>> {
        let mut found = Vec::new();
        let mut at = bytes.start;
        while let Some(node) = self.find(at).filter(|node| node.bytes().overlaps(&bytes)) {
            at = node.bytes().end;
            found.push(node);
        }
        found
    }

    /// Whether a VMA that is in service shares a byte with `bytes`.
    pub(crate) fn any(&self, bytes: Bytes) -> bool {
        self.overlapping(bytes).iter().any(|node| !node.detached.get())
    }

    pub(crate) fn insert(&mut self, node: Rc<VmaNode<L>>) {
        debug_assert!(!self.any(node.bytes()), "VMAs are disjoint");
        self.tree.insert(node);
    }

    /// Takes the VMA that begins at `start` out of the tree.
    pub(crate) fn erase(&mut self, start: u64) -> Option<Rc<VmaNode<L>>> {
        self.tree.find_mut(&start).remove()
    }

    /// `__split_vma`: `node` keeps what lies below `at`, the new VMA (returned) has the rest.
    pub(crate) fn split(&mut self, node: &VmaNode<L>, at: u64) -> Rc<VmaNode<L>> {
        let bytes = node.bytes();
        assert!(bytes.start < at && at < bytes.end, "the cut lies inside the VMA");
        node.bytes.set(Bytes::new(bytes.start, at));
        let upper = node.clone_at(Bytes::new(at, bytes.end), 0);
        upper.locked.set(node.locked.get());
        self.insert(upper.clone());
        upper
    }

    /// All of them, in address order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &VmaNode<L>> {
        self.tree.iter()
    }
}
