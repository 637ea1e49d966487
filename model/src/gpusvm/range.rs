//! The port's part of a range, and what is done with ranges.
//!
//! Answers to `struct drm_gpusvm_range` and its lookup, iteration, reference and removal functions. Spec drm-gpusvm 1,
//! 3, 11, 12.

use super::pages::Pages;
use super::{GpuSvm, LONG_MAX, Ported};
use crate::framework::{self, DriverLocked, NotifierHandle, NotifierWrite, Range, RangeFlags, RangeHandle, TreeAccess};
use crate::note;
use crate::platform::{Atomic, Cache, KAtomic, KCache, KPlain, KShared, Kernel, Mm, Objects, Plain, Shared};
use crate::tree::{TreeLink, TreeNode};
use crate::units::Bytes;

/// `struct drm_gpusvm_range` with its pages.
pub struct RangeBase<P: Ported, R: 'static> {
    /// Constant.
    bytes: Bytes,
    /// Constant. Dangles once the range is removed and was its notifier's last.
    pub(super) notifier: NotifierHandle<P, R>,
    /// `kref`: one for being in the tree.
    refcount: KAtomic<P>,
    /// In the notifier's tree: changed under the driver lock and NL for read.
    link: KPlain<P, TreeLink<Range<P, R>>>,
    pub(super) pages: Pages<P>,
}

impl<P: Ported, R: 'static> RangeBase<P, R> {
    /// `drm_gpusvm_range_alloc`: one reference, nothing mapped, a sequence number that never matches.
    pub(super) fn new(bytes: Bytes, notifier: NotifierHandle<P, R>, migrate_devmem: bool) -> Self {
        let flags = RangeFlags { migrate_devmem, ..RangeFlags::default() };
        RangeBase {
            bytes,
            notifier,
            refcount: KAtomic::<P>::new("range.refcount", 1),
            link: KPlain::<P, _>::new(TreeLink::default()),
            pages: Pages {
                dma_addr: KPlain::<P, _>::new(None),
                dpagemap: KPlain::<P, _>::new(None),
                notifier_seq: KPlain::<P, _>::new(LONG_MAX),
                flags: KShared::<P, _>::new("range.flags", flags),
            },
        }
    }

    /// The tree's reference only.
    pub(super) fn count_from_one(&self) {
        self.refcount.store(1);
    }

    /// The notifier it was created in. The handle dangles once the range has been removed.
    pub fn notifier(&self) -> NotifierHandle<P, R> {
        self.notifier
    }

    /// The notifier sequence at which `get_pages` last succeeded, `LONG_MAX` before. Nothing here judges validity by
    /// it: for ranges the flags do. Driver lock.
    #[track_caller]
    pub fn notifier_seq(&self, _locked: DriverLocked<'_>) -> u64 {
        self.pages.notifier_seq.get()
    }
}

impl<P: Ported, R: 'static> framework::RangeBase for RangeBase<P, R> {
    fn bytes(&self) -> Bytes {
        self.bytes
    }
    fn flags(&self) -> RangeFlags {
        self.pages.flags.read_once()
    }
    fn refcount(&self) -> u64 {
        self.refcount.load()
    }
}

impl<P: Ported, R: 'static> TreeNode<P::Kernel> for Range<P, R> {
    fn link(&self) -> &KPlain<P, TreeLink<Self>> {
        &self.base().link
    }
    fn first(&self) -> u64 {
        self.base().bytes.start
    }
    fn last(&self) -> u64 {
        self.base().bytes.end - 1
    }
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// The range. A handle of a freed one is a violation of I4 in the lab.
    #[track_caller]
    pub fn range(&self, range: RangeHandle<P, R>) -> &Range<P, R> {
        self.ranges.get(range)
    }

    /// Where the ranges live, for lists of the driver's that are linked through their driver part.
    pub fn range_cache(&self) -> &KCache<P, Range<P, R>> {
        &self.ranges
    }

    /// `drm_gpusvm_range_get`: one more reference.
    #[track_caller]
    pub fn range_get(&self, range: RangeHandle<P, R>) {
        self.range(range).base().refcount.inc_return();
    }

    /// `drm_gpusvm_range_put`: one reference less, and the last one frees the range with its driver part. Any context.
    #[track_caller]
    pub fn range_put(&self, range: RangeHandle<P, R>) {
        let object = self.range(range);
        let left = object.base().refcount.dec_return();
        if left == 0 {
            note!(P::Kernel, "range {} freed", object.bytes());
            self.ranges.free(range);
        }
    }

    /// `drm_gpusvm_range_find`: the lowest range of `notifier` that overlaps `bytes`.
    #[track_caller]
    pub fn first_range(
        &self,
        notifier: NotifierHandle<P, R>,
        bytes: Bytes,
        _access: TreeAccess<'_, '_, P>,
    ) -> Option<RangeHandle<P, R>> {
        let ranges = &self.notifier(notifier).ranges;
        ranges.first_overlap(&self.ranges, bytes.start, bytes.end.wrapping_sub(1))
    }

    /// The range after `range` in the same notifier, when it begins below `end`. `range` must still be in the tree: to
    /// remove while walking, ask for the next one first. Spec drm-gpusvm 3.
    #[track_caller]
    pub fn next_range(
        &self,
        range: RangeHandle<P, R>,
        end: u64,
        _access: TreeAccess<'_, '_, P>,
    ) -> Option<RangeHandle<P, R>> {
        let ranges = &self.notifier(self.range(range).base().notifier).ranges;
        ranges.next(&self.ranges, range).filter(|&next| self.range(next).bytes().start < end)
    }

    /// `drm_gpusvm_range_set_unmapped`: an UNMAP event took `event`. `partial_unmap` is set when the range sticks out
    /// of it, and stays set when a second event takes the rest. Spec drm-gpusvm 12.
    #[track_caller]
    pub fn set_unmapped(&self, _held: &NotifierWrite<'_, P>, range: RangeHandle<P, R>, event: Bytes) {
        let object = self.range(range);
        let mut flags = object.base().pages.flags.read_once();
        flags.unmapped = true;
        if object.bytes().start < event.start || object.bytes().end > event.end {
            flags.partial_unmap = true;
        }
        object.base().pages.flags.write_once(flags);
        let how = if flags.partial_unmap { "unmapped in part" } else { "unmapped" };
        note!(P::Kernel, "set_unmapped: range {} {how} by {event}", object.bytes());
    }

    /// `drm_gpusvm_range_remove`: DMA unmaps the range, takes it out of its notifier's tree and drops the tree's
    /// reference. The notifier goes with its last range. Spec drm-gpusvm 11.
    ///
    /// Takes NL for read. With the last range it then waits, driver lock held, for running invalidations to end. The
    /// GPU's own page tables must have been cleared before. Warns when no notifier is linked at the range (a range that
    /// was removed already, or never inserted) and when the range is not in the tree.
    pub fn range_remove(&self, locked: DriverLocked<'_>, range: RangeHandle<P, R>) {
        let (bytes, npages) = (self.range(range).bytes(), self.range(range).npages());
        let Some(notifier) = self.find_notifier(locked, bytes.start) else {
            return P::Kernel::warn(format_args!("range_remove: no notifier at range {bytes}"));
        };

        let nl = self.notifier_lock();
        self.unmap_locked(nl.held(), range, npages);
        self.free_dma_addr(nl.held(), range);
        self.notifier(notifier).ranges.remove(&self.ranges, range);
        drop(nl);
        note!(P::Kernel, "range_remove: range {bytes} is out of the tree");
        self.range_put(range);

        if self.notifier(notifier).ranges.is_empty() {
            // Fini has unregistered it already.
            if !self.notifier(notifier).removed.get() {
                self.mm.interval_remove(self.notifier(notifier).sub());
            }
            self.root.remove(&self.notifiers, notifier);
            note!(P::Kernel, "range_remove: notifier {} removed with its last range", self.notifier(notifier).bytes());
            self.notifiers.free(notifier);
        }
    }
}
