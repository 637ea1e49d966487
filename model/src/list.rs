//! A doubly linked list of objects that handles name ([`Objects`]): what the driver uses `list.h` for (work queues of ranges, the
//! address-ordered list of attribute nodes).
//!
//! Like [`crate::tree`], it links by [`Handle`] through a [`Plain`] cell inside the object, allocates nothing and takes
//! no lock; the owner documents which lock protects it. Misuse is reported through [`Kernel::warn`], as with
//! `CONFIG_DEBUG_LIST`, and then the operation does nothing: adding an object that is on a list already, removing one
//! that is on none, or one whose neighbours do not name it.

use crate::platform::{Handle, Kernel, Objects, Plain};
use crate::tree::Corrupt;
use core::fmt;
use core::marker::PhantomData;

/// An object that can be on one [`List`] of the kind `Tag` at a time. An object with several `list_head`s implements this
/// once for each, with a marker type of its own as the tag.
pub trait ListNode<K: Kernel, Tag = ()>: Sized + 'static {
    /// The cell through which the list links this object.
    fn link(&self) -> &K::Plain<ListLink<Self>>;
}

/// `struct list_head` embedded in an object. Starts out unlinked ([`ListLink::default`]).
pub struct ListLink<T> {
    prev: Option<Handle<T>>,
    next: Option<Handle<T>>,
    linked: bool,
}

impl<T> ListLink<T> {
    /// On no list.
    pub const UNLINKED: Self = ListLink { prev: None, next: None, linked: false };

    /// Whether the object is on a list (`!list_empty(&object->node)`).
    pub const fn is_linked(&self) -> bool {
        self.linked
    }
}
impl<T> Default for ListLink<T> {
    fn default() -> Self {
        Self::UNLINKED
    }
}
impl<T> Clone for ListLink<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for ListLink<T> {}
impl<T> fmt::Debug for ListLink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.linked {
            return f.write_str("unlinked");
        }
        f.debug_struct("ListLink").field("prev", &self.prev).field("next", &self.next).finish()
    }
}

/// First and last object.
struct Ends<T> {
    head: Option<Handle<T>>,
    tail: Option<Handle<T>>,
}
impl<T> Clone for Ends<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Ends<T> {}

/// A list head. Every method needs the lock that the owner assigns to the list: shared for looking, exclusive for
/// changing.
pub struct List<K: Kernel, T: ListNode<K, Tag>, Tag = ()> {
    ends: K::Plain<Ends<T>>,
    tag: PhantomData<fn() -> Tag>,
}

impl<K: Kernel, T: ListNode<K, Tag>, Tag> Default for List<K, T, Tag> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kernel, T: ListNode<K, Tag>, Tag> List<K, T, Tag> {
    /// An empty list.
    pub fn new() -> Self {
        List { ends: K::Plain::new(Ends { head: None, tail: None }), tag: PhantomData }
    }

    /// Whether nothing is on the list.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.ends.with(|e| e.head.is_none())
    }

    /// The first object.
    #[track_caller]
    pub fn front(&self) -> Option<Handle<T>> {
        self.ends.with(|e| e.head)
    }

    /// The last object.
    #[track_caller]
    pub fn back(&self) -> Option<Handle<T>> {
        self.ends.with(|e| e.tail)
    }

    /// The object after `node`. None for an unlinked one.
    #[track_caller]
    pub fn next(&self, cache: &impl Objects<T>, node: Handle<T>) -> Option<Handle<T>> {
        Self::link(cache, node).next
    }

    /// The object before `node`. None for an unlinked one.
    #[track_caller]
    pub fn prev(&self, cache: &impl Objects<T>, node: Handle<T>) -> Option<Handle<T>> {
        Self::link(cache, node).prev
    }

    /// From first to last. The successor is fetched before an object is handed out, so that the caller may remove (and
    /// free) that one object: `list_for_each_entry_safe`.
    #[track_caller]
    pub fn iter<'a, L: Objects<T>>(&'a self, cache: &'a L) -> Iter<'a, K, T, L, Tag> {
        Iter { cache, next: self.front(), of: PhantomData }
    }

    /// `list_add_tail`. Warns, and changes nothing, when `node` is on a list already.
    #[track_caller]
    pub fn push_back(&self, cache: &impl Objects<T>, node: Handle<T>) {
        self.insert_before(cache, None, node);
    }

    /// `list_add`. Warns like [`List::push_back`].
    #[track_caller]
    pub fn push_front(&self, cache: &impl Objects<T>, node: Handle<T>) {
        self.insert_before(cache, self.front(), node);
    }

    /// Links `node` just before `at`, or at the tail. Warns, and changes nothing, when `node` is on a list already, or
    /// `at` is on none, or its predecessor (or, of the first, this list's head) does not name it.
    #[track_caller]
    pub fn insert_before(&self, cache: &impl Objects<T>, at: Option<Handle<T>>, node: Handle<T>) {
        if Self::link(cache, node).linked {
            return K::warn(format_args!("list: {node:?} is added but is on a list already"));
        }
        let prev = match at {
            None => self.back(),
            Some(at) => {
                let link = Self::link(cache, at);
                if self.after(cache, link.prev) != Some(at) {
                    return K::warn(format_args!("list: {node:?} is added before {at:?}, which is not on this list"));
                }
                link.prev
            }
        };
        cache.get(node).link().set(ListLink { prev, next: at, linked: true });
        self.join(cache, prev, Some(node));
        self.join(cache, Some(node), at);
    }

    /// Takes the first object off the list.
    #[track_caller]
    pub fn pop_front(&self, cache: &impl Objects<T>) -> Option<Handle<T>> {
        let node = self.front()?;
        self.remove(cache, node);
        Some(node)
    }

    /// `list_del_init`. Warns, and changes nothing, when `node` is on no list, or its neighbours (or this list's ends)
    /// do not name it.
    #[track_caller]
    pub fn remove(&self, cache: &impl Objects<T>, node: Handle<T>) {
        let link = Self::link(cache, node);
        if !link.linked {
            return K::warn(format_args!("list: {node:?} is removed but is on no list"));
        }
        if self.after(cache, link.prev) != Some(node) || self.before(cache, link.next) != Some(node) {
            return K::warn(format_args!("list: {node:?} is removed but its neighbours do not name it"));
        }
        self.join(cache, link.prev, link.next);
        cache.get(node).link().set(ListLink::UNLINKED);
    }

    /// `list_move_tail` within this list. Warns like [`List::remove`].
    #[track_caller]
    pub fn move_to_tail(&self, cache: &impl Objects<T>, node: Handle<T>) {
        if self.back() == Some(node) {
            return;
        }
        self.remove(cache, node);
        if !Self::link(cache, node).linked {
            self.push_back(cache, node);
        }
    }

    /// Whether the list is well formed (invariant I9): links agree both ways and the ends are the ends. Returns the
    /// number of objects. Terminates on any list, because a link back into the list names a wrong predecessor.
    ///
    /// # Errors
    /// What is wrong first, from head to tail.
    #[track_caller]
    pub fn check(&self, cache: &impl Objects<T>) -> Result<usize, Corrupt> {
        let (mut prev, mut next, mut count) = (None, self.front(), 0);
        while let Some(at) = next {
            let link = Self::link(cache, at);
            if !link.linked {
                return Err(Corrupt::at("list: reachable object says it is on no list", at));
            }
            if link.prev != prev {
                return Err(Corrupt::at("list: object does not name its predecessor", at));
            }
            count += 1;
            (prev, next) = (Some(at), link.next);
        }
        if self.back() != prev {
            return Err(Corrupt { what: "list: the tail is not the last object", at: None });
        }
        Ok(count)
    }

    #[track_caller]
    fn link(cache: &impl Objects<T>, node: Handle<T>) -> ListLink<T> {
        cache.get(node).link().get()
    }

    /// Whom `node` (None: the list head) names as next.
    #[track_caller]
    fn after(&self, cache: &impl Objects<T>, node: Option<Handle<T>>) -> Option<Handle<T>> {
        match node {
            Some(node) => Self::link(cache, node).next,
            None => self.front(),
        }
    }

    /// Whom `node` (None: the list head) names as previous.
    #[track_caller]
    fn before(&self, cache: &impl Objects<T>, node: Option<Handle<T>>) -> Option<Handle<T>> {
        match node {
            Some(node) => Self::link(cache, node).prev,
            None => self.back(),
        }
    }

    /// Makes `a` and `b` neighbours; None stands for the list head.
    #[track_caller]
    fn join(&self, cache: &impl Objects<T>, a: Option<Handle<T>>, b: Option<Handle<T>>) {
        match a {
            None => self.ends.with_mut(|e| e.head = b),
            Some(a) => cache.get(a).link().with_mut(|l| l.next = b),
        }
        match b {
            None => self.ends.with_mut(|e| e.tail = a),
            Some(b) => cache.get(b).link().with_mut(|l| l.prev = a),
        }
    }
}

/// See [`List::iter`].
pub struct Iter<'a, K: Kernel, T: ListNode<K, Tag>, L: Objects<T>, Tag = ()> {
    cache: &'a L,
    next: Option<Handle<T>>,
    of: PhantomData<fn() -> (K, Tag)>,
}

impl<K: Kernel, T: ListNode<K, Tag>, L: Objects<T>, Tag> Iterator for Iter<'_, K, T, L, Tag> {
    type Item = Handle<T>;

    #[track_caller]
    fn next(&mut self) -> Option<Handle<T>> {
        let at = self.next?;
        self.next = self.cache.get(at).link().get().next;
        Some(at)
    }
}
