//! A balanced search tree of disjoint, inclusive `u64` intervals: what the driver and the framework use
//! `interval_tree.h` for.
//!
//! The kernel's interval trees allow overlaps and so need an augmented red-black tree. Attribute nodes, ranges and
//! notifiers never overlap among themselves, hence an ordinary ordered tree answers the same questions, and an
//! overlap is an error that can be reported instead of a state that has to be supported. The tree is an AVL tree with
//! parent links: no recursion, no allocation, and a shape that depends on nothing but the order of operations.
//!
//! Nodes live in a [`Cache`](crate::platform::Cache) and are linked by [`Handle`] through a [`Plain`] cell inside the object. Root and links
//! are plain cells on purpose: a reader without the lock that protects the tree is a data race that the lab reports, at
//! the line that called into the tree (hence `track_caller` everywhere, and no closures around accesses).
//! The tree takes no lock and knows none; the owner documents which lock protects it.
//!
//! Corruption is reported through [`Kernel::warn`] and then the operation does nothing: an insertion that overlaps,
//! an insertion of a node that is linked already, a removal of one that is not linked, or is linked elsewhere.

use crate::platform::{Handle, Kernel, Objects, Plain};
use core::cmp::Ordering;
use core::fmt;

/// An object that can be a node of one [`IntervalTree`] at a time.
///
/// The interval must not change while the node is linked: to resize, remove, change, insert.
pub trait TreeNode<K: Kernel>: Sized + 'static {
    /// The cell through which the tree links this object.
    fn link(&self) -> &K::Plain<TreeLink<Self>>;
    /// First element of the interval.
    #[track_caller]
    fn first(&self) -> u64;
    /// Last element of the interval, inclusive.
    #[track_caller]
    fn last(&self) -> u64;
}

/// `struct rb_node` embedded in an object. Starts out unlinked ([`TreeLink::default`]).
pub struct TreeLink<T> {
    parent: Option<Handle<T>>,
    left: Option<Handle<T>>,
    right: Option<Handle<T>>,
    /// Nodes on the longest way down to a leaf, this one included. 0 means not linked (`RB_EMPTY_NODE`).
    height: u8,
}

impl<T> TreeLink<T> {
    /// Not part of any tree.
    pub const UNLINKED: Self = TreeLink { parent: None, left: None, right: None, height: 0 };

    /// Whether the object is part of a tree.
    pub const fn is_linked(&self) -> bool {
        self.height != 0
    }
    /// Nodes on the longest way down to a leaf, this one included; 0 when not linked.
    pub const fn height(&self) -> u8 {
        self.height
    }
}
impl<T> Default for TreeLink<T> {
    fn default() -> Self {
        Self::UNLINKED
    }
}
impl<T> Clone for TreeLink<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for TreeLink<T> {}
impl<T> fmt::Debug for TreeLink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_linked() {
            return f.write_str("unlinked");
        }
        f.debug_struct("TreeLink")
            .field("parent", &self.parent)
            .field("left", &self.left)
            .field("right", &self.right)
            .field("height", &self.height)
            .finish()
    }
}

/// What a well-formedness check found wrong (invariant I9), and at which object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// What is wrong.
    pub what: &'static str,
    /// Slot and generation of the object, when there is one.
    pub at: Option<(u32, u32)>,
}

impl Corrupt {
    /// `what` is wrong at the object `at`.
    pub const fn at<T>(what: &'static str, at: Handle<T>) -> Self {
        Corrupt { what, at: Some((at.index, at.generation)) }
    }
}
impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((index, generation)) => write!(f, "{} at #{index}.{generation}", self.what),
            None => f.write_str(self.what),
        }
    }
}

/// `struct rb_root_cached` of disjoint intervals. Every method needs the lock that the owner assigns to the tree:
/// shared for looking, exclusive for changing.
pub struct IntervalTree<K: Kernel, T: TreeNode<K>> {
    root: K::Plain<Option<Handle<T>>>,
}

/// Which child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

impl<T> TreeLink<T> {
    fn child(&self, side: Side) -> Option<Handle<T>> {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }
    fn set_child(&mut self, side: Side, child: Option<Handle<T>>) {
        match side {
            Side::Left => self.left = child,
            Side::Right => self.right = child,
        }
    }
}

impl<K: Kernel, T: TreeNode<K>> Default for IntervalTree<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kernel, T: TreeNode<K>> IntervalTree<K, T> {
    /// An empty tree.
    pub fn new() -> Self {
        IntervalTree { root: K::Plain::new(None) }
    }

    /// Whether nothing is linked.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.root.get().is_none()
    }

    /// Links `node`, in O(log n). Warns, and changes nothing, when the interval is empty, overlaps a linked one, or the
    /// node is linked already (in this tree or another).
    #[track_caller]
    pub fn insert(&self, cache: &K::Cache<T>, node: Handle<T>) {
        let object = cache.get(node);
        let (first, last) = (object.first(), object.last());
        if object.link().get().is_linked() {
            return K::warn(format_args!("tree: {node:?} {first:#x}-{last:#x} is inserted but is linked already"));
        }
        if first > last {
            return K::warn(format_args!("tree: {node:?} {first:#x}-{last:#x} is inserted but is empty"));
        }
        let mut place = None;
        let mut next = self.root.get();
        while let Some(at) = next {
            let other = cache.get(at);
            let side = if last < other.first() {
                Side::Left
            } else if first > other.last() {
                Side::Right
            } else {
                let (a, b) = (other.first(), other.last());
                return K::warn(format_args!("tree: {node:?} {first:#x}-{last:#x} overlaps {at:?} {a:#x}-{b:#x}"));
            };
            place = Some((at, side));
            next = other.link().get().child(side);
        }
        object.link().set(TreeLink { parent: place.map(|(p, _)| p), height: 1, ..TreeLink::UNLINKED });
        match place {
            None => self.root.set(Some(node)),
            Some((parent, side)) => {
                Self::change(cache, parent, |l| l.set_child(side, Some(node)));
                self.rebalance(cache, Some(parent));
            }
        }
    }

    /// Unlinks `node`, in O(log n). The object itself is left alone. Warns, and changes nothing, when the node is not
    /// linked in this tree.
    #[track_caller]
    pub fn remove(&self, cache: &K::Cache<T>, node: Handle<T>) {
        let link = Self::link(cache, node);
        if !link.is_linked() {
            return K::warn(format_args!("tree: {node:?} is removed but is not linked"));
        }
        if Some(Self::top(cache, node)) != self.root.get() {
            return K::warn(format_args!("tree: {node:?} is removed from a tree that it is not in"));
        }
        // Where heights may have changed, lowest place first.
        let shrunk = match (link.left, link.right) {
            (Some(left), Some(right)) => {
                // The successor takes the node's place; it has no left child.
                let heir = Self::outermost(cache, right, Side::Left);
                let heir_link = Self::link(cache, heir);
                let shrunk = if heir == right {
                    heir
                } else {
                    let above = heir_link.parent.unwrap_or(right);
                    Self::change(cache, above, |l| l.left = heir_link.right);
                    Self::adopt(cache, heir_link.right, above);
                    Self::change(cache, heir, |l| l.right = Some(right));
                    Self::adopt(cache, Some(right), heir);
                    above
                };
                Self::change(cache, heir, |l| {
                    l.left = Some(left);
                    l.height = link.height;
                });
                Self::adopt(cache, Some(left), heir);
                self.replace(cache, link.parent, node, Some(heir));
                Some(shrunk)
            }
            (child, None) | (None, child) => {
                self.replace(cache, link.parent, node, child);
                link.parent
            }
        };
        cache.get(node).link().set(TreeLink::UNLINKED);
        self.rebalance(cache, shrunk);
    }

    /// The lowest node with `node.first <= last` and `first <= node.last`: `interval_tree_iter_first`, to the letter,
    /// so an inverted query (`first > last`) finds a node that reaches over both ends.
    #[track_caller]
    pub fn first_overlap(&self, cache: &K::Cache<T>, first: u64, last: u64) -> Option<Handle<T>> {
        let mut best = None;
        let mut next = self.root.get();
        while let Some(at) = next {
            let object = cache.get(at);
            let link = object.link().get();
            if object.last() >= first {
                best = Some(at);
                next = link.left;
            } else {
                next = link.right;
            }
        }
        if cache.get(best?).first() <= last { best } else { None }
    }

    /// The node after `node` when it begins at or before `last`: `interval_tree_iter_next`.
    #[track_caller]
    pub fn next_overlap(&self, cache: &K::Cache<T>, node: Handle<T>, last: u64) -> Option<Handle<T>> {
        let next = self.next(cache, node)?;
        if cache.get(next).first() <= last { Some(next) } else { None }
    }

    /// The lowest node.
    #[track_caller]
    pub fn first(&self, cache: &K::Cache<T>) -> Option<Handle<T>> {
        Some(Self::outermost(cache, self.root.get()?, Side::Left))
    }

    /// The highest node.
    #[track_caller]
    pub fn last(&self, cache: &K::Cache<T>) -> Option<Handle<T>> {
        Some(Self::outermost(cache, self.root.get()?, Side::Right))
    }

    /// The next higher node. None for an unlinked node.
    #[track_caller]
    pub fn next(&self, cache: &K::Cache<T>, node: Handle<T>) -> Option<Handle<T>> {
        Self::neighbour(cache, node, Side::Right)
    }

    /// The next lower node. None for an unlinked node.
    #[track_caller]
    pub fn prev(&self, cache: &K::Cache<T>, node: Handle<T>) -> Option<Handle<T>> {
        Self::neighbour(cache, node, Side::Left)
    }

    /// Whether the tree is well formed (invariant I9): links agree both ways, intervals are ordered and disjoint,
    /// heights are right and balanced. Returns the number of nodes. Terminates on any tree.
    ///
    /// # Errors
    /// What is wrong first, in address order of discovery.
    #[track_caller]
    pub fn check(&self, cache: &K::Cache<T>) -> Result<usize, Corrupt> {
        let Some(mut at) = self.root.get() else { return Ok(0) };
        if Self::link(cache, at).parent.is_some() {
            return Err(Corrupt::at("tree: the root has a parent", at));
        }
        let mut from = None;
        let mut below: Option<u64> = None;
        let mut count = 0;
        loop {
            let object = cache.get(at);
            let link = object.link().get();
            // Down: parents name us (checked in `check_links` before we went down), so `from == parent` is an arrival.
            let arrived = from == link.parent;
            if arrived {
                Self::check_links(cache, at, &link)?;
                if let Some(left) = link.left {
                    (from, at) = (Some(at), left);
                    continue;
                }
            }
            if arrived || from == link.left {
                if object.first() > object.last() {
                    return Err(Corrupt::at("tree: empty interval", at));
                }
                if below.is_some_and(|b| b >= object.first()) {
                    return Err(Corrupt::at("tree: intervals overlap or are out of order", at));
                }
                below = Some(object.last());
                count += 1;
                if let Some(right) = link.right {
                    (from, at) = (Some(at), right);
                    continue;
                }
            }
            match link.parent {
                Some(parent) => (from, at) = (Some(at), parent),
                None => return Ok(count),
            }
        }
    }

    /// What [`check`](Self::check) asks of one node. Heights shrink on the way down, so that no cycle can pass.
    #[track_caller]
    fn check_links(cache: &K::Cache<T>, at: Handle<T>, link: &TreeLink<T>) -> Result<(), Corrupt> {
        if !link.is_linked() {
            return Err(Corrupt::at("tree: reachable node says it is not linked", at));
        }
        if link.left.is_some() && link.left == link.right {
            return Err(Corrupt::at("tree: both children are the same node", at));
        }
        let mut heights = [0; 2];
        for (height, child) in heights.iter_mut().zip([link.left, link.right]) {
            let Some(child) = child else { continue };
            let child_link = Self::link(cache, child);
            if child_link.parent != Some(at) {
                return Err(Corrupt::at("tree: child does not name its parent", child));
            }
            *height = child_link.height;
        }
        let [left, right] = heights;
        if link.height != left.max(right).saturating_add(1) {
            return Err(Corrupt::at("tree: wrong height", at));
        }
        if left.abs_diff(right) > 1 {
            return Err(Corrupt::at("tree: out of balance", at));
        }
        Ok(())
    }

    #[track_caller]
    fn link(cache: &K::Cache<T>, node: Handle<T>) -> TreeLink<T> {
        cache.get(node).link().get()
    }

    #[track_caller]
    fn change(cache: &K::Cache<T>, node: Handle<T>, f: impl FnOnce(&mut TreeLink<T>)) {
        cache.get(node).link().with_mut(f);
    }

    #[track_caller]
    fn adopt(cache: &K::Cache<T>, child: Option<Handle<T>>, parent: Handle<T>) {
        if let Some(child) = child {
            Self::change(cache, child, |l| l.parent = Some(parent));
        }
    }

    #[track_caller]
    fn height(cache: &K::Cache<T>, node: Option<Handle<T>>) -> u8 {
        match node {
            Some(node) => Self::link(cache, node).height,
            None => 0,
        }
    }

    /// The root above `node`.
    #[track_caller]
    fn top(cache: &K::Cache<T>, mut node: Handle<T>) -> Handle<T> {
        while let Some(parent) = Self::link(cache, node).parent {
            node = parent;
        }
        node
    }

    /// The last node on the way down on one side.
    #[track_caller]
    fn outermost(cache: &K::Cache<T>, mut node: Handle<T>, side: Side) -> Handle<T> {
        while let Some(child) = Self::link(cache, node).child(side) {
            node = child;
        }
        node
    }

    /// In-order neighbour on one side.
    #[track_caller]
    fn neighbour(cache: &K::Cache<T>, node: Handle<T>, side: Side) -> Option<Handle<T>> {
        let mut link = Self::link(cache, node);
        if let Some(child) = link.child(side) {
            return Some(Self::outermost(cache, child, side.other()));
        }
        let mut below = node;
        while let Some(parent) = link.parent {
            link = Self::link(cache, parent);
            if link.child(side) != Some(below) {
                return Some(parent);
            }
            below = parent;
        }
        None
    }

    /// Puts `new` where `old` is linked below `parent` (or at the root), both ways.
    #[track_caller]
    fn replace(&self, cache: &K::Cache<T>, parent: Option<Handle<T>>, old: Handle<T>, new: Option<Handle<T>>) {
        match parent {
            None => self.root.set(new),
            Some(parent) => Self::change(cache, parent, |l| {
                let side = if l.left == Some(old) { Side::Left } else { Side::Right };
                l.set_child(side, new);
            }),
        }
        if let Some(new) = new {
            Self::change(cache, new, |l| l.parent = parent);
        }
    }

    /// Restores heights and balance from `from` upwards; stops where nothing changes any more.
    #[track_caller]
    fn rebalance(&self, cache: &K::Cache<T>, from: Option<Handle<T>>) {
        let mut next = from;
        while let Some(at) = next {
            let link = Self::link(cache, at);
            let (left, right) = (Self::height(cache, link.left), Self::height(cache, link.right));
            let heavy = match left.cmp(&right) {
                Ordering::Less => Side::Right,
                _ => Side::Left,
            };
            let height = if left.abs_diff(right) <= 1 {
                let height = 1 + left.max(right);
                if height != link.height {
                    Self::change(cache, at, |l| l.height = height);
                }
                height
            } else {
                self.straighten(cache, at, heavy)
            };
            if height == link.height {
                return;
            }
            next = link.parent;
        }
    }

    /// One or two rotations at `at`, whose subtree on the `heavy` side is two higher. Returns the new height.
    #[track_caller]
    fn straighten(&self, cache: &K::Cache<T>, at: Handle<T>, heavy: Side) -> u8 {
        let Some(child) = Self::link(cache, at).child(heavy) else { return 0 };
        let link = Self::link(cache, child);
        let (outer, inner) = (Self::height(cache, link.child(heavy)), Self::height(cache, link.child(heavy.other())));
        if inner > outer {
            self.rotate(cache, child, heavy.other());
        }
        let top = self.rotate(cache, at, heavy);
        Self::link(cache, top).height
    }

    /// Lifts the child of `at` on side `side` above `at`; returns it.
    #[track_caller]
    fn rotate(&self, cache: &K::Cache<T>, at: Handle<T>, side: Side) -> Handle<T> {
        let link = Self::link(cache, at);
        let Some(up) = link.child(side) else { return at };
        let between = Self::link(cache, up).child(side.other());
        self.replace(cache, link.parent, at, Some(up));
        Self::change(cache, at, |l| {
            l.set_child(side, between);
            l.parent = Some(up);
        });
        Self::adopt(cache, between, at);
        Self::change(cache, up, |l| l.set_child(side.other(), Some(at)));
        for node in [at, up] {
            let link = Self::link(cache, node);
            let height = 1 + Self::height(cache, link.left).max(Self::height(cache, link.right));
            Self::change(cache, node, |l| l.height = height);
        }
        up
    }
}
