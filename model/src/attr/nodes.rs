//! The nodes of the attribute tree: lookup, insertion, removal, walking.
//!
//! Source: spec amdgpu-svm 2.2, 4.1.

use super::types::Attrs;
use super::uapi::Uapi;
use crate::Errno;
use crate::list::{List, ListLink, ListNode};
use crate::platform::{Cache, Handle, Kernel, Objects, Plain};
use crate::tree::{Corrupt, IntervalTree, TreeLink, TreeNode};
use crate::units::Pages;

/// `struct amdgpu_svm_attr_range`: an interval of pages with its attributes. Everything in it is protected by the lock
/// around the tree that owns it.
pub struct AttrRange<K: Kernel> {
    tree: K::Plain<TreeLink<Self>>,
    list: K::Plain<ListLink<Self>>,
    pages: K::Plain<Pages>,
    attrs: K::Plain<Attrs>,
}

impl<K: Kernel> TreeNode<K> for AttrRange<K> {
    fn link(&self) -> &K::Plain<TreeLink<Self>> {
        &self.tree
    }
    fn first(&self) -> u64 {
        self.pages.get().first
    }
    fn last(&self) -> u64 {
        self.pages.get().last
    }
}
impl<K: Kernel> ListNode<K> for AttrRange<K> {
    fn link(&self) -> &K::Plain<ListLink<Self>> {
        &self.list
    }
}

/// Names a node (`struct amdgpu_svm_attr_range *`). Copying it takes no reference: nodes are not counted.
pub type AttrHandle<K> = Handle<AttrRange<K>>;

/// A node of the tree.
pub(super) type Node<K> = AttrHandle<K>;

/// What holds for a page, and up to where the same node or hole reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// A copy: the tree may change as soon as its lock is dropped.
    pub attrs: Attrs,
    /// Last page of the node or hole, `u64::MAX` behind the last node.
    pub last: u64,
}

/// An interval over which one node, or a hole, holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The interval.
    pub pages: Pages,
    /// The node's attributes, or the defaults.
    pub attrs: Attrs,
    /// Whether a node says so; false in a hole.
    pub stored: bool,
}

/// `struct amdgpu_svm_attr_tree` without its mutex: an interval tree and an address-ordered list of the same nodes.
///
/// Intervals are page numbers, inclusive, and never overlap. The tree owns its nodes; [`AttrTree::destroy`] frees them.
pub struct AttrTree<K: Kernel> {
    cache: K::Cache<AttrRange<K>>,
    tree: IntervalTree<K, AttrRange<K>>,
    list: List<K, AttrRange<K>>,
    defaults: Attrs,
    xnack_enabled: bool,
    uapi: Uapi,
}

impl<K: Kernel> AttrTree<K> {
    /// [`AttrTree::with_uapi`], V1.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(xnack_enabled: bool, default_granularity: u8) -> Result<Self, Errno> {
        Self::with_uapi(Uapi::V1, xnack_enabled, default_granularity)
    }

    /// `attr_tree_create`, and the slab. Requests are numbered as `uapi` says; `default_granularity` is in log2 pages.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn with_uapi(uapi: Uapi, xnack_enabled: bool, default_granularity: u8) -> Result<Self, Errno> {
        Ok(AttrTree {
            cache: K::Cache::new("amdgpu_svm_attr_range_cache")?,
            tree: IntervalTree::new(),
            list: List::new(),
            defaults: Attrs::defaults(xnack_enabled, default_granularity),
            xnack_enabled,
            uapi,
        })
    }

    /// How requests are numbered.
    pub const fn uapi(&self) -> Uapi {
        self.uapi
    }

    /// `attr_tree_destroy`: frees all nodes, by way of the list. The tree is empty afterwards and may be used on.
    #[track_caller]
    pub fn destroy(&mut self) {
        while let Some(node) = self.list.front() {
            self.remove(node);
            self.cache.free(node);
        }
    }

    /// The attributes of a page that no node covers (`attr_set_default`).
    pub const fn defaults(&self) -> Attrs {
        self.defaults
    }

    /// Whether GPU faults are retried, as said at creation.
    pub const fn xnack_enabled(&self) -> bool {
        self.xnack_enabled
    }

    /// Whether no node is stored.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `attr_lookup_page_locked`.
    #[track_caller]
    pub fn lookup_page(&self, page: u64) -> Lookup {
        if let Some(node) = self.first_overlap(Pages::new(page, page)) {
            return Lookup { attrs: self.attrs_of(node), last: self.pages_of(node).last };
        }
        let mut found = Lookup { attrs: self.defaults, last: u64::MAX };
        if page == u64::MAX {
            return found;
        }
        if let Some(node) = self.first_overlap(Pages::new(page + 1, u64::MAX)) {
            let first = self.pages_of(node).first;
            if first > page {
                found.last = first - 1;
            }
        }
        found
    }

    /// `attr_get_bounds_locked` (V3 and later): the node that covers `page`, or else the gap between its neighbours.
    ///
    /// # Errors
    /// The gap: pages that no node covers, `page` among them.
    #[track_caller]
    pub fn bounds(&self, page: u64) -> Result<AttrHandle<K>, Pages> {
        if let Some(node) = self.first_overlap(Pages::new(page, page)) {
            return Ok(node);
        }
        let behind = match page {
            u64::MAX => None,
            page => self.first_overlap(Pages::new(page + 1, u64::MAX)),
        };
        let before = match behind {
            Some(behind) => self.list.prev(&self.cache, behind),
            None => self.list.back(),
        };
        let first = before.map_or(0, |node| self.pages_of(node).last + 1);
        let last = behind.map_or(u64::MAX, |node| self.pages_of(node).first - 1);
        Err(Pages::new(first, last))
    }

    /// What a node says. A handle of a freed node is a violation of I4 in the lab.
    #[track_caller]
    pub fn look(&self, node: AttrHandle<K>) -> Segment {
        Segment { pages: self.pages_of(node), attrs: self.attrs_of(node), stored: true }
    }

    /// `attr_range_alloc` and `attr_range_insert_locked`: a node over `pages`, which no node overlaps.
    ///
    /// # Errors
    /// `ENOMEM`.
    #[track_caller]
    pub fn insert_new(&mut self, pages: Pages, attrs: Attrs) -> Result<AttrHandle<K>, Errno> {
        let node = self.alloc(pages, attrs)?;
        self.insert(node);
        Ok(node)
    }

    /// The nodes in address order.
    pub fn nodes(&self) -> impl Iterator<Item = Segment> + '_ {
        self.list.iter(&self.cache).map(|node| Segment {
            pages: self.pages_of(node),
            attrs: self.attrs_of(node),
            stored: true,
        })
    }

    /// `pages` cut where nodes begin and end, holes included, in address order. Empty when `pages` is.
    pub fn segments(&self, pages: Pages) -> Segments<'_, K> {
        Segments { tree: self, pages, cursor: Some(pages.first), node: self.first_overlap(pages) }
    }

    /// Whether the tree is well formed (invariant I9): interval tree and list each, and that both hold the same nodes
    /// in the same order. Returns the number of nodes.
    ///
    /// # Errors
    /// What is wrong first.
    #[track_caller]
    pub fn check(&self) -> Result<usize, Corrupt> {
        let count = self.tree.check(&self.cache)?;
        if self.list.check(&self.cache)? != count {
            return Err(Corrupt { what: "attributes: tree and list differ in length", at: None });
        }
        let mut in_tree = self.tree.first(&self.cache);
        for node in self.list.iter(&self.cache) {
            if in_tree != Some(node) {
                return Err(Corrupt::at("attributes: tree and list differ in order", node));
            }
            in_tree = self.tree.next(&self.cache, node);
        }
        Ok(count)
    }

    /// `attr_alloc_range`: a node that is not linked yet. Sleeps and may enter reclaim.
    #[track_caller]
    pub(super) fn alloc(&self, pages: Pages, attrs: Attrs) -> Result<Node<K>, Errno> {
        self.cache.alloc(AttrRange {
            tree: K::Plain::new(TreeLink::UNLINKED),
            list: K::Plain::new(ListLink::UNLINKED),
            pages: K::Plain::new(pages),
            attrs: K::Plain::new(attrs),
        })
    }

    /// Frees a node that is not linked.
    #[track_caller]
    pub(super) fn free(&self, node: Node<K>) {
        self.cache.free(node);
    }

    /// `attr_insert_range_locked`. The caller guarantees that nothing overlaps.
    #[track_caller]
    pub(super) fn insert(&mut self, node: Node<K>) {
        let behind = self.first_overlap(Pages::new(self.pages_of(node).first, u64::MAX));
        self.list.insert_before(&self.cache, behind, node);
        self.tree.insert(&self.cache, node);
    }

    /// `attr_remove_range_locked`, without freeing.
    #[track_caller]
    pub(super) fn remove(&mut self, node: Node<K>) {
        self.tree.remove(&self.cache, node);
        self.list.remove(&self.cache, node);
    }

    /// Gives a linked node other bounds, which must not overlap another node.
    #[track_caller]
    pub(super) fn resize(&mut self, node: Node<K>, pages: Pages) {
        self.remove(node);
        self.set_pages(node, pages);
        self.insert(node);
    }

    /// Bounds of a node that is not linked.
    pub(super) fn set_pages(&mut self, node: Node<K>, pages: Pages) {
        self.cache.get(node).pages.set(pages);
    }

    pub(super) fn set_attrs(&mut self, node: Node<K>, attrs: Attrs) {
        self.cache.get(node).attrs.set(attrs);
    }

    pub(super) fn pages_of(&self, node: Node<K>) -> Pages {
        self.cache.get(node).pages.get()
    }

    pub(super) fn attrs_of(&self, node: Node<K>) -> Attrs {
        self.cache.get(node).attrs.get()
    }

    /// The lowest node that overlaps.
    pub(super) fn first_overlap(&self, pages: Pages) -> Option<Node<K>> {
        self.tree.first_overlap(&self.cache, pages.first, pages.last)
    }

    /// The node after `node`, when it overlaps too.
    pub(super) fn next_overlap(&self, node: Node<K>, pages: Pages) -> Option<Node<K>> {
        self.tree.next_overlap(&self.cache, node, pages.last)
    }
}

/// The cursor loop of `attr_get`. See [`AttrTree::segments`].
pub struct Segments<'a, K: Kernel> {
    tree: &'a AttrTree<K>,
    pages: Pages,
    /// None when the walk would wrap.
    cursor: Option<u64>,
    node: Option<Node<K>>,
}

impl<K: Kernel> Iterator for Segments<'_, K> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let Pages { last, .. } = self.pages;
        let cursor = self.cursor.filter(|&c| c <= last)?;
        let (end, attrs, stored) = loop {
            let Some(node) = self.node else { break (last, self.tree.defaults, false) };
            let at = self.tree.pages_of(node);
            if at.first > cursor {
                break (last.min(at.first - 1), self.tree.defaults, false);
            }
            self.node = self.tree.next_overlap(node, self.pages);
            if at.last >= cursor {
                break (last.min(at.last), self.tree.attrs_of(node), true);
            }
        };
        self.cursor = end.checked_add(1);
        Some(Segment { pages: Pages::new(cursor, end), attrs, stored })
    }
}
