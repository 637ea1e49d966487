//! The mirrored address space: mmap_lock, VMAs, interval notifiers, `hmm_range_fault`.
//!
//! Source: spec mm-events.md sections 1, 3, 4.

use super::{ClientId, Kernel, Owner};
use crate::Errno;
use crate::units::Bytes;
use core::fmt;

/// A process address space, as a counted-by-hand handle (`struct mm_struct *`). Cloning copies the pointer and takes no
/// reference.
pub trait Mm<K: Kernel>: Clone + 'static {
    /// mmap_lock held for read.
    type ReadGuard<'a>
    where
        Self: 'a;
    /// mmap_lock held for write.
    type WriteGuard<'a>
    where
        Self: 'a;
    /// A registered interval subscription (`struct mmu_interval_notifier *`).
    type Sub: Copy + Eq + fmt::Debug + 'static;

    /// Whether both are the same `struct mm_struct` (`current->mm == mm`).
    fn is_same(&self, other: &Self) -> bool;

    /// `mmgrab`: keeps the struct, not the address space.
    fn mmgrab(&self);
    /// `mmdrop`.
    fn mmdrop(&self);
    /// `mmget_not_zero`: keeps the address space; false when the process is gone.
    #[track_caller]
    fn mmget_not_zero(&self) -> bool;
    /// `mmput`: the last one runs `exit_mmap` in the caller.
    #[track_caller]
    fn mmput(&self);

    /// `mmap_read_lock`.
    #[track_caller]
    fn mmap_read_lock(&self) -> Self::ReadGuard<'_>;
    /// `find_vma`: the lowest VMA with `end > addr`. It may begin above `addr`.
    fn find_vma(&self, held: &Self::ReadGuard<'_>, addr: u64) -> Option<Vma>;

    /// `mmap_write_lock`.
    #[track_caller]
    fn mmap_write_lock(&self) -> Self::WriteGuard<'_>;
    /// `mmap_write_downgrade`: keeps the lock, for read.
    #[track_caller]
    fn mmap_write_downgrade<'a>(&'a self, held: Self::WriteGuard<'a>) -> Self::ReadGuard<'a>;
    /// [`Mm::find_vma`] by who holds mmap_lock for write.
    fn find_vma_write_locked(&self, held: &Self::WriteGuard<'_>, addr: u64) -> Option<Vma>;
    /// `vma_is_initial_heap` or `vma_is_initial_stack`.
    fn is_heap_or_stack(&self, _vma: &Vma) -> bool {
        false
    }

    /// `mmu_interval_notifier_insert`: from now on invalidations that hit `bytes` call the driver's
    /// `mmu_invalidate` of `entry`. Must be called without mmap_lock (the first one of an mm takes it for write).
    ///
    /// # Errors
    /// `ENOMEM`, `EINTR`, `EOVERFLOW` (empty or wrapping interval), `EINVAL` (mm_users is 0).
    ///
    /// `publish` is given the subscription before any callback of it can run: in the kernel the `mmu_interval_notifier`
    /// is part of the driver's object, so the first callback, which may come before the insertion has returned, can
    /// already set its sequence.
    #[track_caller]
    fn interval_insert(
        &self,
        entry: NotifierEntry,
        bytes: Bytes,
        publish: impl FnOnce(Self::Sub),
    ) -> Result<Self::Sub, Errno>;
    /// `mmu_interval_notifier_insert_locked`: the same by who holds mmap_lock for write.
    ///
    /// # Errors
    /// Those of [`Mm::interval_insert`].
    #[track_caller]
    fn interval_insert_locked(
        &self,
        held: &Self::WriteGuard<'_>,
        entry: NotifierEntry,
        bytes: Bytes,
        publish: impl FnOnce(Self::Sub),
    ) -> Result<Self::Sub, Errno>;
    /// `mmu_interval_notifier_remove`: sleeps until no callback runs and none will come. Not from a callback.
    #[track_caller]
    fn interval_remove(&self, sub: Self::Sub);
    /// `mmu_interval_set_seq`: only inside a callback, under the user lock.
    fn interval_set_seq(&self, sub: Self::Sub, seq: u64);
    /// `mmu_interval_read_begin`: sleeps while `sub` is being invalidated.
    #[track_caller]
    fn read_begin(&self, sub: Self::Sub) -> u64;
    /// `mmu_interval_read_retry`: whether a collision happened since `seq`. Under the user lock.
    fn read_retry(&self, sub: Self::Sub, seq: u64) -> bool;

    /// `hmm_range_fault` over `pfns.len()` pages from `range.start`; fills `pfns`.
    ///
    /// # Errors
    /// `EBUSY` (sequence collided, nothing else), `EFAULT` (hole, PROT_NONE, IO/PFNMAP VMA, failed fault),
    /// `EPERM` (write requested, VMA not writable), `ENOMEM`.
    #[track_caller]
    fn hmm_range_fault(
        &self,
        held: &Self::ReadGuard<'_>,
        range: &HmmRange<Self::Sub>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno>;
    /// [`Mm::hmm_range_fault`] by who holds mmap_lock for write. A foreign device page is faulted like any other, but
    /// whoever does this must be one whose `migrate_to_ram` does nothing for itself (KFD's `faulting_task`).
    ///
    /// # Errors
    /// Those of [`Mm::hmm_range_fault`].
    #[track_caller]
    fn hmm_range_fault_write_locked(
        &self,
        held: &Self::WriteGuard<'_>,
        range: &HmmRange<Self::Sub>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno>;
}

/// Whom an invalidation calls: the instance, and a word of the instance's choice (the notifier's handle).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NotifierEntry {
    /// The instance.
    pub client: ClientId,
    /// Given back unchanged to the callback.
    pub cookie: u64,
}

/// What the driver may know of a VMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vma {
    /// `[vm_start, vm_end)`.
    pub bytes: Bytes,
    /// `vm_flags`.
    pub flags: VmaFlags,
}

/// The part of `vm_flags` that matters here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct VmaFlags {
    /// VM_READ.
    pub read: bool,
    /// VM_WRITE.
    pub write: bool,
    /// VM_IO.
    pub io: bool,
    /// VM_PFNMAP.
    pub pfnmap: bool,
    /// VM_MIXEDMAP.
    pub mixedmap: bool,
    /// `vma_is_anonymous`.
    pub anon: bool,
    /// `is_vm_hugetlb_page`.
    pub hugetlb: bool,
}

/// `enum mmu_notifier_event`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum EventKind {
    /// MMU_NOTIFY_UNMAP.
    Unmap,
    /// MMU_NOTIFY_CLEAR.
    Clear,
    /// MMU_NOTIFY_PROTECTION_VMA.
    ProtectionVma,
    /// MMU_NOTIFY_PROTECTION_PAGE.
    ProtectionPage,
    /// MMU_NOTIFY_SOFT_DIRTY.
    SoftDirty,
    /// MMU_NOTIFY_RELEASE.
    Release,
    /// MMU_NOTIFY_MIGRATE.
    Migrate,
    /// MMU_NOTIFY_EXCLUSIVE.
    Exclusive,
}

impl EventKind {
    /// As the kernel spells it, without the prefix.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Unmap => "UNMAP",
            EventKind::Clear => "CLEAR",
            EventKind::ProtectionVma => "PROTECTION_VMA",
            EventKind::ProtectionPage => "PROTECTION_PAGE",
            EventKind::SoftDirty => "SOFT_DIRTY",
            EventKind::Release => "RELEASE",
            EventKind::Migrate => "MIGRATE",
            EventKind::Exclusive => "EXCLUSIVE",
        }
    }
}

/// `struct mmu_notifier_range`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmuEvent {
    /// What happens.
    pub kind: EventKind,
    /// Where.
    pub bytes: Bytes,
    /// Whether the callback may sleep.
    pub blockable: bool,
    /// The device-private owner; meaningful for MIGRATE and EXCLUSIVE only.
    pub owner: u64,
}

/// One slot of the hmm array.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HmmPfn {
    /// HMM_PFN_VALID.
    pub valid: bool,
    /// HMM_PFN_WRITE.
    pub write: bool,
    /// HMM_PFN_ERROR.
    pub error: bool,
    /// log2 pages of the CPU *mapping* this page is part of.
    pub order: u8,
    /// Page frame number; meaningful when `valid`.
    pub pfn: u64,
}

/// What is asked of `hmm_range_fault` (`struct hmm_range` without its array).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HmmRange<S> {
    /// The subscription that says whether the answer is still true.
    pub notifier: S,
    /// What `read_begin` returned for it.
    pub notifier_seq: u64,
    /// First byte address, page aligned.
    pub start: u64,
    /// For every page.
    pub request: HmmRequest,
    /// `dev_private_owner`: device pages of this owner are taken as they are, others are faulted back to system memory.
    pub owner: Owner,
}

/// What hmm is asked to bring about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HmmRequest {
    /// Look only; nothing is faulted in.
    Snapshot,
    /// HMM_PFN_REQ_FAULT.
    Read,
    /// HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE.
    Write,
}
