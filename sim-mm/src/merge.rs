//! Neighbours that say the same become one VMA.
//!
//! Answers to `vma_merge_existing_range`, `vma_merge_new_range` and `find_mergeable_anon_vma` in `mm/vma.c`. Two VMAs are
//! one when they map the same object, adjacent parts of it, with the same flags, and when their anonymous pages can be
//! found through one `anon_vma`. Only with [`Options::merge`](crate::Options::merge).

use crate::space::Inner;
use crate::vma::{AnonVma, VmaNode};
use interleave::lab::Lab;
use model::units::{Bytes, PAGE_SIZE};
use std::rc::Rc;

/// Same object, same numbering of its pages, and flags that `flags_agree`.
fn continues<L: Lab>(low: &VmaNode<L>, high: &VmaNode<L>, flags_agree: bool) -> bool {
    let same_object = match (&low.backing, &high.backing) {
        (None, None) => true,
        (Some(low), Some(high)) => low.file.is(&high.file) && low.shared == high.shared,
        _ => false,
    };
    let special = |vma: &VmaNode<L>| vma.flags().io || vma.flags().pfnmap || vma.flags().mixedmap;
    low.bytes().end == high.bytes().start
        && low.origin.get() == high.origin.get()
        && low.mlocked.get() == high.mlocked.get()
        && low.accounted.get() == high.accounted.get()
        && low.flags().hugetlb == high.flags().hugetlb
        && same_object
        && flags_agree
        && !special(low)
        && !special(high)
}

/// `is_mergeable_anon_vma`, for a VMA that comes to `target`.
fn anon_agrees<L: Lab>(target: &VmaNode<L>, comes: &VmaNode<L>) -> bool {
    match (target.anon_vma.get(), comes.anon_vma.get()) {
        (None, None) => true,
        (None, Some(one)) | (Some(one), None) => !one.inherited,
        (Some(one), Some(other)) => one.number == other.number,
    }
}

impl<L: Lab> Inner<L> {
    /// The VMAs in `bytes`, and with [`Options::merge`](crate::Options::merge) also those that touch it: what an
    /// operation on `bytes` has to lock. (The kernel locks a neighbour only when it does merge.)
    pub(crate) fn with_neighbours(&self, bytes: Bytes) -> Vec<Rc<VmaNode<L>>> {
        let reach = match self.options.merge {
            true => Bytes::new(bytes.start.saturating_sub(PAGE_SIZE), bytes.end + PAGE_SIZE),
            false => bytes,
        };
        self.vmas.borrow().overlapping(reach)
    }

    /// Merges `vma`, which is new or was changed, with its neighbours where they agree. They are all locked. Returns
    /// what it is part of now.
    pub(crate) fn merge(&self, vma: Rc<VmaNode<L>>) -> Rc<VmaNode<L>> {
        self.merge_unless(vma, |_| false)
    }

    /// As [`Inner::merge`], with what is above it only.
    pub(crate) fn merge_up(&self, vma: Rc<VmaNode<L>>) -> Rc<VmaNode<L>> {
        let start = vma.bytes().start;
        self.merge_unless(vma, |near| near.bytes().start < start)
    }

    /// As [`Inner::merge`]; never with `apart`.
    pub(crate) fn merge_copy(&self, vma: Rc<VmaNode<L>>, apart: Option<&Rc<VmaNode<L>>>) -> Rc<VmaNode<L>> {
        self.merge_unless(vma, |near| apart.is_some_and(|apart| Rc::ptr_eq(apart, near)))
    }

    fn merge_unless(&self, vma: Rc<VmaNode<L>>, not: impl Fn(&Rc<VmaNode<L>>) -> bool) -> Rc<VmaNode<L>> {
        if !self.options.merge {
            return vma;
        }
        let bytes = vma.bytes();
        let mut tree = self.vmas.borrow_mut();
        let near = |at: Option<u64>| at.and_then(|at| tree.lookup(at)).filter(|near| !not(near));
        let mut low = near(bytes.start.checked_sub(1));
        low = low.filter(|low| continues(low, &vma, low.flags() == vma.flags()) && anon_agrees(low, &vma));
        let mut high = near(Some(bytes.end));
        high = high.filter(|high| continues(&vma, high, high.flags() == vma.flags()) && anon_agrees(high, &vma));
        if let (Some(low), Some(other)) = (&low, &high) {
            // Both agree with what is between them, but maybe not with each other.
            let [one, two] = [low, other].map(|vma| vma.anon_vma.get().map(|anon| anon.number));
            if one.is_some() && two.is_some() && one != two {
                high = None;
            }
        }
        let anon = [low.as_ref(), high.as_ref(), Some(&vma)].into_iter().flatten().find_map(|vma| vma.anon_vma.get());
        let (whole, rest) = match (low, high) {
            (None, None) => return vma,
            (Some(low), high) => (low, [Some(vma), high]),
            (None, Some(high)) => (high, [Some(vma), None]),
        };
        let mut all = whole.bytes();
        for gone in rest.into_iter().flatten() {
            all = Bytes::new(all.start.min(gone.bytes().start), all.end.max(gone.bytes().end));
            gone.detached.set(true);
            tree.erase(gone.bytes().start);
        }
        tree.erase(whole.bytes().start);
        whole.set_bytes(all);
        whole.anon_vma.set(anon);
        whole.linked.set(self.memory.next_link());
        tree.insert(whole.clone());
        whole
    }

    /// `anon_vma_prepare`: a neighbour's where one could become one VMA with it but for what may be accessed, else a new
    /// one.
    pub(crate) fn anon_vma_prepare(&self, vma: &VmaNode<L>) {
        if vma.anon_vma.get().is_some() {
            return;
        }
        let reusable = |vma: Rc<VmaNode<L>>| vma.anon_vma.get().filter(|anon| !anon.inherited);
        let bytes = vma.bytes();
        let tree = self.vmas.borrow();
        let next = tree.lookup(bytes.end).filter(|next| continues(vma, next, true)).and_then(reusable);
        let prev = || {
            let prev = tree.lookup(bytes.start.checked_sub(1)?);
            prev.filter(|prev| continues(prev, vma, true)).and_then(reusable)
        };
        vma.anon_vma.set(Some(next.or_else(prev).unwrap_or_else(|| self.new_anon_vma(None))));
        vma.linked.set(self.memory.next_link());
    }

    /// A new one; `parent`: the one of the VMA that is forked.
    pub(crate) fn new_anon_vma(&self, parent: Option<AnonVma>) -> AnonVma {
        let number = self.memory.new_anon_vma(parent.map(|anon| anon.number));
        AnonVma { number, inherited: parent.is_some() }
    }
}
