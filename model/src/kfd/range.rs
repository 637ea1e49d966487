//! The range: the unit that has attributes, a notifier and DMA addresses, and that splits.
//!
//! Answers to `struct svm_range`, `svm_range_new`, `svm_range_free`. Spec kfd-svm 1.

use super::Svms;
use super::attrs::Attrs;
use super::bo::BoHandle;
use super::children::ChildList;
use super::dma::DmaSlot;
use super::gpus::MAX_GPUS;
use crate::Errno;
use crate::list::{ListLink, ListNode};
use crate::note;
use crate::platform::{
    Atomic, Cache, KArray, KAtomic, KMutex, KPlain, KShared, Mm, Mutex, Objects, Plain, Platform, Shared,
};
use crate::tree::{TreeLink, TreeNode};
use crate::units::Pages;
use core::fmt;

/// A pointer to a [`Range`]. Ranges are not counted.
pub(crate) type Handle<P> = crate::platform::Handle<Range<P>>;

/// A registered interval notifier, and where it listens.
pub(crate) type Notifier<P> = (<<P as Platform>::Mm as Mm<<P as Platform>::Kernel>>::Sub, Pages);

/// `prange->list`: in [`Svms`], or about to be.
pub(crate) struct All;
/// `prange->update_list`: local to a SET_ATTR.
pub(crate) struct Update;
/// `prange->deferred_list`.
pub(crate) struct Deferred;
/// `prange->svm_bo_list`.
pub(crate) struct OfBo;

/// `enum svm_work_list_ops`: what the deferred work does with a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkOp {
    /// SVM_OP_NULL.
    Null,
    /// SVM_OP_UNMAP_RANGE.
    UnmapRange,
    /// SVM_OP_UPDATE_RANGE_NOTIFIER.
    UpdateRangeNotifier,
    /// SVM_OP_ADD_RANGE.
    AddRange,
}

/// Where the range's VRAM is: `svm_bo`, `ttm_res`, `offset`.
pub(crate) struct BoRef<P: Platform> {
    /// Stays set when `has_res` is gone, until the buffer object's release clears it.
    pub(super) bo: Option<BoHandle<P>>,
    /// `ttm_res`: we hold a reference.
    pub(super) has_res: bool,
    /// Pages from the start of the buffer object to our first page.
    pub(super) offset: u64,
}
impl<P: Platform> BoRef<P> {
    pub(super) const NONE: Self = BoRef { bo: None, has_res: false, offset: 0 };
}
impl<P: Platform> Clone for BoRef<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Platform> Copy for BoRef<P> {}
impl<P: Platform> PartialEq for BoRef<P> {
    fn eq(&self, o: &Self) -> bool {
        (self.bo, self.has_res, self.offset) == (o.bo, o.has_res, o.offset)
    }
}
impl<P: Platform> fmt::Debug for BoRef<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bo {
            Some(bo) if self.has_res => write!(f, "{bo:?}+{:#x}", self.offset),
            Some(bo) => write!(f, "{bo:?} let go"),
            None => f.write_str("none"),
        }
    }
}

/// `struct svm_range`. See [`super::locks`] for what protects what.
pub(crate) struct Range<P: Platform> {
    /// `start`, `last`. Changed under PR; read by all.
    pub(super) bounds: KShared<P, Pages>,
    /// `it_node`: the bounds under which it is in the tree, which lag behind. SV.
    pub(super) node: KPlain<P, Pages>,
    tree_link: KPlain<P, TreeLink<Range<P>>>,
    list: KPlain<P, ListLink<Range<P>>>,
    update_list: KPlain<P, ListLink<Range<P>>>,
    deferred_list: KPlain<P, ListLink<Range<P>>>,
    svm_bo_list: KPlain<P, ListLink<Range<P>>>,
    /// `child_list`.
    pub(super) children: KShared<P, ChildList<P>>,
    /// Changed under MM-W and SV, with no callback running.
    pub(super) notifier: KPlain<P, Option<Notifier<P>>>,
    /// PR. Use [`Range::lock`].
    pub(super) lock: KMutex<P, ()>,
    /// MG.
    pub(super) migrate_mutex: KMutex<P, ()>,
    /// Changed under MM-W and SV; read by callbacks.
    pub(super) attrs: KShared<P, Attrs>,
    /// 0: RAM; else the id of the GPU that has at least one page. MG, and PR in splits.
    pub(super) actual_loc: KShared<P, u32>,
    /// Pages believed to be in VRAM. MG, and PR in splits.
    pub(super) vram_pages: KShared<P, u64>,
    /// PR.
    pub(super) bo: KShared<P, BoRef<P>>,
    /// By GPU, one slot a page. MG when mapped, PR when split.
    pub(super) dma: [KPlain<P, Option<KArray<P, DmaSlot>>>; MAX_GPUS],
    /// Events since it was last mapped.
    pub(super) invalid: KAtomic<P>,
    /// User queues that live in it.
    pub(super) queue_refcount: KAtomic<P>,
    /// PR.
    pub(super) mapped_to_gpu: KShared<P, bool>,
    /// When it was last mapped, milliseconds; None: long ago. MG.
    pub(super) validate_timestamp: KPlain<P, Option<u64>>,
    /// `work_item.op`. DL, or PR of the parent; read without.
    pub(super) op: KShared<P, WorkOp>,
}

impl<P: Platform> Range<P> {
    /// `[start, last]`.
    #[track_caller]
    pub(super) fn pages(&self) -> Pages {
        self.bounds.read_once()
    }
}

impl<P: Platform> TreeNode<P::Kernel> for Range<P> {
    fn link(&self) -> &KPlain<P, TreeLink<Self>> {
        &self.tree_link
    }
    fn first(&self) -> u64 {
        self.node.get().first
    }
    fn last(&self) -> u64 {
        self.node.get().last
    }
}
impl<P: Platform> ListNode<P::Kernel, All> for Range<P> {
    fn link(&self) -> &KPlain<P, ListLink<Self>> {
        &self.list
    }
}
impl<P: Platform> ListNode<P::Kernel, Update> for Range<P> {
    fn link(&self) -> &KPlain<P, ListLink<Self>> {
        &self.update_list
    }
}
impl<P: Platform> ListNode<P::Kernel, Deferred> for Range<P> {
    fn link(&self) -> &KPlain<P, ListLink<Self>> {
        &self.deferred_list
    }
}
impl<P: Platform> ListNode<P::Kernel, OfBo> for Range<P> {
    fn link(&self) -> &KPlain<P, ListLink<Self>> {
        &self.svm_bo_list
    }
}

impl<P: Platform> Svms<P> {
    /// The range. A handle of a freed one is a violation of I4 in the lab.
    #[track_caller]
    pub(super) fn range(&self, range: Handle<P>) -> &Range<P> {
        self.ranges.get(range)
    }

    /// `svm_range_new`: with default attributes, nowhere inserted.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn range_new(&self, pages: Pages) -> Result<Handle<P>, Errno> {
        self.ranges.alloc(Range {
            bounds: KShared::<P, _>::new("prange.bounds", pages),
            node: KPlain::<P, _>::new(pages),
            tree_link: KPlain::<P, _>::new(TreeLink::default()),
            list: KPlain::<P, _>::new(ListLink::default()),
            update_list: KPlain::<P, _>::new(ListLink::default()),
            deferred_list: KPlain::<P, _>::new(ListLink::default()),
            svm_bo_list: KPlain::<P, _>::new(ListLink::default()),
            children: KShared::<P, _>::new("prange.child_list", ChildList::EMPTY),
            notifier: KPlain::<P, _>::new(None),
            lock: Mutex::new("prange.lock", ())?,
            migrate_mutex: Mutex::new("prange.migrate_mutex", ())?,
            attrs: KShared::<P, _>::new("prange.attrs", self.default_attrs()),
            actual_loc: KShared::<P, _>::new("prange.actual_loc", 0),
            vram_pages: KShared::<P, _>::new("prange.vram_pages", 0),
            bo: KShared::<P, _>::new("prange.svm_bo", BoRef::NONE),
            dma: core::array::from_fn(|_| KPlain::<P, _>::new(None)),
            invalid: Atomic::new("prange.invalid", 0),
            queue_refcount: Atomic::new("prange.queue_refcount", 0),
            mapped_to_gpu: KShared::<P, _>::new("prange.mapped_to_gpu", false),
            validate_timestamp: KPlain::<P, _>::new(None),
            op: KShared::<P, _>::new("prange.work_item", WorkOp::Null),
        })
    }

    /// `svm_range_free`. It is in no tree and has no notifier. DMA mappings are given back unless another range (a clone)
    /// has them now. A clone that never came into [`Svms`] stays on its buffer object's list, as in the original.
    pub(super) fn range_free(&self, range: Handle<P>, do_unmap: bool) {
        self.vram_node_free(range);
        if do_unmap {
            self.dma_unmap_range(range);
        }
        let own = self.range(range).pages();
        note!(P::Kernel, "range {own} freed");
        self.ranges.free(range);
    }
}
