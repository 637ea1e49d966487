//! `drm_gpusvm` as its driver sees it: the trait through which [`amdgpu`](crate::amdgpu) talks to the framework.
//!
//! [`gpusvm`](crate::gpusvm) is our port of it and what the simulator runs; a kernel module can also put the kernel's own
//! `drm_gpusvm` behind the trait, so that the port is held against the original with the same driver on top. Which one a
//! platform has is [`Platform::Framework`], a type that stands for the framework: it names the types that belong together,
//! an [`Instance`] (`struct drm_gpusvm`), its part of a [`Range`], its notifiers and the notifier lock's guards.
//!
//! | file | what |
//! |---|---|
//! | `config` | what an instance is made with, per-call options |
//! | `locks` | the notifier lock's guards, and the tokens that say what is held |
//! | `range` | the range: the framework's part and the driver's |
//!
//! # Lock contract (spec drm-gpusvm 2)
//!
//! "Driver lock" is the driver's own lock around everything (amdgpu: `svm_lock`, exclusive), proved by a
//! [`DriverLocked`]. "NL" is the notifier lock, one rwsem per instance.
//!
//! | data | to change it | to look at it |
//! |---|---|---|
//! | tree of notifiers | driver lock | driver lock |
//! | a notifier's tree of ranges | driver lock **and** NL for *read* | driver lock, or NL for *write* |
//! | flag word, DMA array contents | driver lock and NL for read, or NL for write | NL; flag word: also as a hint |
//! | the DMA array itself | driver lock; freed under NL too | driver lock; NL if the flag word says it is mapped |
//! | `notifier_seq` | driver lock | driver lock |
//!
//! A tree may change under a *read* lock because all that change it hold the driver lock, and the only reader without
//! the driver lock is the callback, which holds NL for write.
//!
//! Order: driver lock, mmap_lock (read), NL. NL is never held while mmap_lock is taken. Whoever holds NL must not enter
//! reclaim: the kernel tells lockdep so when an instance is created. `read_begin` and the removal of an interval notifier
//! wait for running invalidations: never under NL.

mod config;
mod locks;
mod range;

pub use config::{ChunkSizes, Config, Ctx};
pub use locks::{DriverLocked, NotifierHeld, NotifierRead, NotifierWrite, TreeAccess};
pub use range::{Range, RangeFlags, RangeHandle};

use crate::Errno;
use crate::platform::{DmaAddr, DmaDirection, Handle, Interconnect, KRwSem, Objects, Platform};
use crate::units::Bytes;

/// A framework, by the types that belong to it. `R` is what the driver adds to each range.
pub trait Framework<P: Platform>: Sized + 'static {
    /// `struct drm_gpusvm`.
    type Instance<R: 'static>: Instance<P, R>;
    /// The framework's part of a range (`struct drm_gpusvm_range`).
    type RangeBase<R: 'static>: RangeBase;
    /// `struct drm_gpusvm_notifier`. The driver never looks inside.
    type Notifier<R: 'static>;
    /// The notifier lock held for read.
    type ReadGuard<'a>;
    /// The notifier lock held for write, by the callback.
    type WriteGuard<'a>;
}

/// What the framework knows of a range.
pub trait RangeBase: 'static {
    /// See [`Range::bytes`].
    fn bytes(&self) -> Bytes;
    /// See [`Range::flags`].
    #[track_caller]
    fn flags(&self) -> RangeFlags;
    /// See [`Range::refcount`].
    #[track_caller]
    fn refcount(&self) -> u64;
}

/// A reference to a notifier; not counted.
pub type NotifierHandle<P, R> = Handle<<<P as Platform>::Framework as Framework<P>>::Notifier<R>>;

/// The instance with which a driver that adds `R` to each range runs on platform `P`.
pub type InstanceOf<P, R> = <<P as Platform>::Framework as Framework<P>>::Instance<R>;

/// One DMA mapping (`struct drm_pagemap_addr`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaEntry {
    /// Bus address of its first byte.
    pub addr: DmaAddr,
    /// log2 of its pages.
    pub order: u8,
    /// How it is reached.
    pub proto: Interconnect,
    /// What it was mapped for.
    pub direction: DmaDirection,
}

/// One instance of the framework (`struct drm_gpusvm`), embedded in the driver's own. `R` is what the driver adds to each
/// range.
///
/// Not counted. [`Instance::fini`] must have been called before it is dropped. The driver's callback is not here: the
/// framework calls the driver's `invalidate` op, [`Svm::invalidate`](crate::amdgpu::Svm::invalidate), with the notifier lock
/// held for write.
pub trait Instance<P: Platform, R: 'static>: Sized + 'static {
    /// Where ranges live.
    type Ranges: Objects<Range<P, R>>;

    /// `drm_gpusvm_init`. Takes an `mmgrab` on `mm`, given back by [`fini`](Self::fini). Spec drm-gpusvm 4.
    ///
    /// # Errors
    /// `EINVAL` (no chunk sizes), `ENOMEM`.
    fn new(config: Config, mm: P::Mm, gpu: P::Gpu) -> Result<Self, Errno>;

    /// `drm_gpusvm_driver_set_lock`: which lock the driver lock is, for lockdep. Once, before the first call that needs it;
    /// `lock` must live as long as the instance. A framework that has the proof in its signatures does nothing.
    fn driver_set_lock(&self, _lock: &KRwSem<P, ()>) {}

    /// `drm_gpusvm_fini`: unregisters every notifier, removes every range, drops the mm. Spec drm-gpusvm 4.
    ///
    /// For each notifier the subscription goes first, so from there on no invalidation arrives for ranges that are
    /// still DMA mapped: the GPU must already be unable to use the mappings. Sleeps while an invalidation runs. Takes
    /// NL for read.
    fn fini(&self, locked: DriverLocked<'_>);

    /// The address space. The instance keeps the struct alive (`mmgrab`), not the address space.
    fn mm(&self) -> &P::Mm;

    /// `drm_gpusvm_notifier_lock`: NL for read, until dropped. Inside mmap_lock and the driver lock. Not recursive.
    #[track_caller]
    fn notifier_lock(&self) -> NotifierRead<'_, P>;

    /// `drm_gpusvm_notifier_find`: the lowest notifier that overlaps `bytes`.
    #[track_caller]
    fn first_notifier(&self, locked: DriverLocked<'_>, bytes: Bytes) -> Option<NotifierHandle<P, R>>;

    /// The notifier after `notifier`, when it begins below `end`. `notifier` must still be linked: to remove while
    /// walking, ask for the next one first. Spec drm-gpusvm 3.
    #[track_caller]
    fn next_notifier(
        &self,
        locked: DriverLocked<'_>,
        notifier: NotifierHandle<P, R>,
        end: u64,
    ) -> Option<NotifierHandle<P, R>>;

    /// `drm_gpusvm_range_find`: the lowest range of `notifier` that overlaps `bytes`.
    #[track_caller]
    fn first_range(
        &self,
        notifier: NotifierHandle<P, R>,
        bytes: Bytes,
        access: TreeAccess<'_, '_, P>,
    ) -> Option<RangeHandle<P, R>>;

    /// The range after `range` in the same notifier, when it begins below `end`. `range` must still be in the tree: to
    /// remove while walking, ask for the next one first. Spec drm-gpusvm 3.
    #[track_caller]
    fn next_range(
        &self,
        range: RangeHandle<P, R>,
        end: u64,
        access: TreeAccess<'_, '_, P>,
    ) -> Option<RangeHandle<P, R>>;

    /// The range. Its memory is there as long as a reference is.
    #[track_caller]
    fn range(&self, range: RangeHandle<P, R>) -> &Range<P, R>;

    /// Where the ranges live, for lists of the driver's that are linked through their driver part.
    fn range_cache(&self) -> &Self::Ranges;

    /// `drm_gpusvm_range_get`: one more reference.
    #[track_caller]
    fn range_get(&self, range: RangeHandle<P, R>);

    /// `drm_gpusvm_range_put`: one reference less, and the last one frees the range with its driver part. Any context.
    #[track_caller]
    fn range_put(&self, range: RangeHandle<P, R>);

    /// `drm_gpusvm_range_find_or_insert`: the range that holds the byte address `fault`, or a new one inside `window` (the
    /// driver's own bounds, bytes) with `data` as the driver's part. Spec drm-gpusvm 6.
    ///
    /// A range that is there already is returned *as it is*: it may be `unmapped` and waiting for garbage collection,
    /// reach over the bounds of its VMA by now, or stick out of `window`. But the VMA is looked at before: where the
    /// VMA is gone, the answer is `ENOENT` even if the range still exists.
    ///
    /// Takes mmap_lock for read, and NL for read inside it; for a new notifier, before that, whatever registering it
    /// takes (mmap_lock for *write* for the first of an mm). May run the last `mmput`.
    ///
    /// # Errors
    /// In the order of the tests: `EINVAL` (`fault` outside the instance's window), `EFAULT` (the process is gone),
    /// `ENOMEM`, `EINTR`, `EOVERFLOW` (new notifier), `ENOENT` (no VMA at `fault`), `EPERM` (VMA not writable, and
    /// not `ctx.read_only`), `EIO` (VM_IO or VM_PFNMAP), `EINVAL` (no chunk fits), `ENOMEM` (the range).
    fn find_or_insert(
        &self,
        locked: DriverLocked<'_>,
        fault: u64,
        window: Bytes,
        ctx: &Ctx,
        data: impl FnOnce() -> R,
    ) -> Result<RangeHandle<P, R>, Errno>;

    /// `drm_gpusvm_range_remove`: DMA unmaps the range, takes it out of its notifier's tree and drops the tree's
    /// reference. The notifier goes with its last range. Spec drm-gpusvm 11.
    ///
    /// Takes NL for read. With the last range it then waits, driver lock held, for running invalidations to end. The
    /// GPU's own page tables must have been cleared before. Warns when no notifier is linked at the range (a range that
    /// was removed already).
    fn range_remove(&self, locked: DriverLocked<'_>, range: RangeHandle<P, R>);

    /// `drm_gpusvm_range_get_pages`: afterwards all pages of `range` are DMA mapped, or were a moment ago: only
    /// [`pages_valid`](Self::pages_valid) under NL says whether they still are. Spec drm-gpusvm 9.
    ///
    /// Takes, one after the other, mmap_lock for read and NL for read; allocates with neither held; waits for running
    /// invalidations. Faults pages in, for write unless `ctx.read_only`, and is not told whether a page came out
    /// writable: the right to write is the driver's to know. All or nothing. Two calls on one range at a time are not
    /// supported, hence the driver lock.
    ///
    /// # Errors
    /// `EBUSY` (invalidations got in the way for a second), `EFAULT` (`unmapped`, hole, no access, the process is gone,
    /// mapping failed, a system page though `ctx.devmem_only`), `EPERM` (a VMA of the range is not writable), `ENOMEM`,
    /// `EOPNOTSUPP` (device memory and system memory, or device memory of two migrations, and not `ctx.allow_mixed`; device
    /// memory of two GPUs).
    fn get_pages(&self, locked: DriverLocked<'_>, range: RangeHandle<P, R>, ctx: &Ctx) -> Result<(), Errno>;

    /// `drm_gpusvm_range_pages_valid`: whether the range is mapped, so that its DMA array may be used for as long as
    /// the notifier lock is held. Does **not** look at `unmapped`. Spec drm-gpusvm 9.
    #[track_caller]
    fn pages_valid(&self, held: NotifierHeld<'_>, range: RangeHandle<P, R>) -> bool;

    /// Walks the DMA mappings of `range` in address order: `f(page_index, entry)`, where `page_index` counts pages
    /// from the start of the range and the entry covers `1 << entry.order` of them. Ask
    /// [`pages_valid`](Self::pages_valid) under the same hold of NL before.
    ///
    /// # Errors
    /// `EINVAL` (no DMA array); what `f` says, at once.
    #[track_caller]
    fn for_each_dma(
        &self,
        held: NotifierHeld<'_>,
        range: RangeHandle<P, R>,
        f: impl FnMut(u64, DmaEntry) -> Result<(), Errno>,
    ) -> Result<(), Errno>;

    /// `drm_gpusvm_range_unmap_pages` outside of a notifier: DMA unmaps the whole range if it is mapped. Takes NL for
    /// read. The driver lock is held. Idempotent.
    fn unmap_pages(&self, range: RangeHandle<P, R>);

    /// `drm_gpusvm_range_unmap_pages` with `in_notifier`: the callback's duty for every range the event touches. The
    /// *whole* range is DMA unmapped, whatever part the event names. Idempotent.
    fn unmap_pages_in_notifier(&self, nl: &NotifierWrite<'_, P>, range: RangeHandle<P, R>);

    /// `drm_gpusvm_range_set_unmapped`: an UNMAP event took `event`. `partial_unmap` is set when the range sticks out
    /// of it, and stays set when a second event takes the rest. Spec drm-gpusvm 12.
    #[track_caller]
    fn set_unmapped(&self, nl: &NotifierWrite<'_, P>, range: RangeHandle<P, R>, event: Bytes);

    /// `drm_gpusvm_range_evict`: everything of a range back to system memory. Spec drm-gpusvm 13.
    ///
    /// Fills holes with zero pages and reads swapped-out pages in, device pages or not. Takes mmap_lock for read; waits for
    /// running invalidations; may run the last `mmput`.
    ///
    /// # Errors
    /// `EFAULT` (the process is gone, hole between VMAs, no read access, or a page could not be brought back), `ENOMEM`,
    /// `ETIME` (one second has passed, found after waiting for an invalidation), `EBUSY` (it has passed, found after a walk).
    fn range_evict(&self, locked: DriverLocked<'_>, range: RangeHandle<P, R>) -> Result<(), Errno>;

    /// `drm_gpusvm_has_mapping`: whether a range overlaps `bytes`, mapped or not. Spec drm-gpusvm 15.
    fn has_mapping(&self, locked: DriverLocked<'_>, bytes: Bytes) -> bool;

    /// `drm_gpusvm_find_vma_start`: where the first VMA that intersects `bytes` begins, which may be below
    /// `bytes.start`. None (the kernel's `ULONG_MAX`) when there is none or the process is gone. Takes and drops
    /// mmap_lock for read, and the last user's `mmput` may run here. Spec drm-gpusvm 15.
    fn find_vma_start(&self, bytes: Bytes) -> Option<u64>;

    /// Whether the trees are well formed (I9): each is balanced and sorted, and a linked notifier has at least one
    /// range, inside its window. Warns about what is not. Under the driver lock, or at rest.
    fn check(&self, locked: DriverLocked<'_>);
}
