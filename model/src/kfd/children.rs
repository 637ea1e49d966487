//! The list of a range's children: what an UNMAP event split off and the deferred work has not taken over yet.
//!
//! Answers to `prange->child_list`, which is a list head in a parent and a list entry in a child. It is walked by the
//! callback under the parent's lock and by lookups without it, and taken apart by the deferred work without it (spec
//! kfd-svm 5.1), so it is made of lockless words. A walk that stands on a child while that is taken off goes round for ever in
//! the kernel (`list_del_init` makes the entry point to itself); here it warns.

use super::Svms;
use super::range::Handle;
use crate::platform::{Kernel, Objects, Platform, Shared};
use core::fmt;

/// A range's `child_list`.
pub(crate) struct ChildList<P: Platform> {
    /// As a parent.
    first: Option<Handle<P>>,
    /// As a child.
    next: Next<P>,
}

/// What follows a child.
enum Next<P: Platform> {
    /// It is nobody's child.
    Off,
    /// Its parent: it is the last.
    End,
    Child(Handle<P>),
}

impl<P: Platform> ChildList<P> {
    /// No children and nobody's child.
    pub(super) const EMPTY: Self = ChildList { first: None, next: Next::Off };

    /// Whether there are no children.
    pub(super) fn is_childless(&self) -> bool {
        self.first.is_none()
    }
    /// `list_empty(&prange->child_list)`, which does not tell a parent from a child.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && matches!(self.next, Next::Off)
    }
}
impl<P: Platform> Clone for Next<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Platform> Copy for Next<P> {}
impl<P: Platform> PartialEq for Next<P> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Next::Off, Next::Off) | (Next::End, Next::End) => true,
            (Next::Child(a), Next::Child(b)) => a == b,
            _ => false,
        }
    }
}
impl<P: Platform> Clone for ChildList<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Platform> Copy for ChildList<P> {}
impl<P: Platform> PartialEq for ChildList<P> {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first && self.next == other.next
    }
}
impl<P: Platform> fmt::Debug for ChildList<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.next) {
            (None, Next::Off) => f.write_str("empty"),
            (Some(first), Next::Off) => write!(f, "first child {first:?}"),
            (_, Next::End) => f.write_str("last child"),
            (_, Next::Child(next)) => write!(f, "child before {next:?}"),
        }
    }
}

impl<P: Platform> Svms<P> {
    /// The first child.
    #[track_caller]
    pub(super) fn first_child(&self, parent: Handle<P>) -> Option<Handle<P>> {
        self.ranges.get(parent).children.read_once().first
    }

    /// The child after `child`, where the caller stands on `child`.
    #[track_caller]
    pub(super) fn next_child(&self, child: Handle<P>) -> Option<Handle<P>> {
        match self.ranges.get(child).children.read_once().next {
            Next::Child(next) => Some(next),
            Next::End => None,
            Next::Off => {
                P::Kernel::warn(format_args!(
                    "child_list: {child:?} is taken off under a walk that stands on it, which so never ends"
                ));
                None
            }
        }
    }

    /// `list_add_tail`. PR of the parent is held.
    pub(super) fn add_child(&self, parent: Handle<P>, child: Handle<P>) {
        let entry = &self.ranges.get(child).children;
        entry.write_once(ChildList { next: Next::End, ..entry.read_once() });
        let head = &self.ranges.get(parent).children;
        let Some(mut last) = head.read_once().first else {
            head.write_once(ChildList { first: Some(child), ..head.read_once() });
            return;
        };
        loop {
            let entry = &self.ranges.get(last).children;
            match entry.read_once() {
                ChildList { next: Next::Child(next), .. } => last = next,
                list => return entry.write_once(ChildList { next: Next::Child(child), ..list }),
            }
        }
    }

    /// `list_del_init` of the first child. SV and MG are held, PR is not.
    pub(super) fn pop_child(&self, parent: Handle<P>) -> Option<Handle<P>> {
        let head = &self.ranges.get(parent).children;
        let list = head.read_once();
        let child = list.first?;
        let entry = &self.ranges.get(child).children;
        let first = match entry.read_once().next {
            Next::Child(next) => Some(next),
            Next::End | Next::Off => None,
        };
        head.write_once(ChildList { first, ..list });
        entry.write_once(ChildList::EMPTY);
        Some(child)
    }
}
