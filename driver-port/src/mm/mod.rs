//! [`model::platform::Mm`] on `struct mm_struct`.

mod device_memory;
mod hmm;
mod sub;

pub use hmm::decode as decode_hmm_pfn;
pub use sub::Sub;

use crate::ffi::{self, RawMm, RawVma};
use crate::gate::{self, Kind};
use crate::kernel::LinuxKernel;
use core::marker::PhantomData;
use core::mem;
use core::panic::Location;
use core::ptr::NonNull;
use model::Errno;
use model::platform::{HmmPfn, HmmRange, Mm, NotifierEntry, Vma, VmaFlags};
use model::units::Bytes;

/// `struct mm_struct *`, counted by hand.
///
/// # Invariants
/// The `mm_struct` is there: whoever uses the handle holds a grab (`mmgrab`) or more.
#[derive(Clone)]
pub struct LinuxMm {
    raw: NonNull<RawMm>,
}

// SAFETY: an mm may be used by any task that has a reference.
unsafe impl Send for LinuxMm {}
// SAFETY: an mm may be used by any task that has a reference.
unsafe impl Sync for LinuxMm {}

impl LinuxMm {
    /// Takes no reference.
    ///
    /// # Safety
    /// `raw` is a `struct mm_struct` that stays until the last use of what this returns and of its clones.
    pub unsafe fn from_raw(raw: NonNull<RawMm>) -> Self {
        LinuxMm { raw }
    }

    /// The `struct mm_struct`.
    pub fn as_raw(&self) -> *mut RawMm {
        self.raw.as_ptr()
    }

    /// Runs `f` with the proof that mmap_lock is held for read, where the caller of this module took it.
    ///
    /// # Safety
    /// The running task holds mmap_lock, for read or write, until this returns.
    pub unsafe fn with_read_locked<R>(&self, f: impl FnOnce(&MmReadGuard<'_>) -> R) -> R {
        let guard = mem::ManuallyDrop::new(MmReadGuard::of(self));
        f(&guard)
    }

    fn find_vma_locked(&self, addr: u64) -> Option<Vma> {
        let mut vma = RawVma::default();
        // SAFETY: the mm is there, mmap_lock is held by whoever calls (each has a guard), and C fills `vma`.
        unsafe { ffi::svmlab_c_find_vma(self.as_raw(), addr, &mut vma) }
            .then(|| Vma { bytes: Bytes::new(vma.start, vma.end), flags: vma_flags(vma.flags) })
    }
}

fn vma_flags(raw: u32) -> VmaFlags {
    let has = |bit| raw & bit != 0;
    VmaFlags {
        read: has(ffi::VMA_READ),
        write: has(ffi::VMA_WRITE),
        io: has(ffi::VMA_IO),
        pfnmap: has(ffi::VMA_PFNMAP),
        mixedmap: has(ffi::VMA_MIXEDMAP),
        anon: has(ffi::VMA_ANON),
        hugetlb: has(ffi::VMA_HUGETLB),
    }
}

/// mmap_lock held for read until dropped.
pub struct MmReadGuard<'a> {
    mm: &'a LinuxMm,
    /// It is released by the task that took it.
    not_send: PhantomData<*mut ()>,
}

impl<'a> MmReadGuard<'a> {
    fn of(mm: &'a LinuxMm) -> Self {
        MmReadGuard { mm, not_send: PhantomData }
    }
}

impl Drop for MmReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: this task holds it for read.
        unsafe { ffi::svmlab_c_mmap_read_unlock(self.mm.as_raw()) }
    }
}

/// mmap_lock held for write until dropped.
pub struct MmWriteGuard<'a> {
    mm: &'a LinuxMm,
    /// It is released by the task that took it.
    not_send: PhantomData<*mut ()>,
}

impl Drop for MmWriteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: this task holds it for write.
        unsafe { ffi::svmlab_c_mmap_write_unlock(self.mm.as_raw()) }
    }
}

impl Mm<LinuxKernel> for LinuxMm {
    type ReadGuard<'a> = MmReadGuard<'a>;
    type WriteGuard<'a> = MmWriteGuard<'a>;
    type Sub = Sub;

    fn is_same(&self, other: &Self) -> bool {
        self.raw == other.raw
    }

    fn mmgrab(&self) {
        // SAFETY: the mm is there.
        unsafe { ffi::svmlab_c_mmgrab(self.as_raw()) }
    }

    fn mmdrop(&self) {
        // SAFETY: the caller gives up a grab it has.
        unsafe { ffi::svmlab_c_mmdrop(self.as_raw()) }
    }

    #[track_caller]
    fn mmget_not_zero(&self) -> bool {
        gate::point(Kind::Mm, Location::caller());
        // SAFETY: the mm is there.
        unsafe { ffi::svmlab_c_mmget_not_zero(self.as_raw()) }
    }

    #[track_caller]
    fn mmput(&self) {
        gate::point(Kind::Mm, Location::caller());
        // SAFETY: the caller gives up a user reference it has.
        unsafe { ffi::svmlab_c_mmput(self.as_raw()) }
    }

    #[track_caller]
    fn mmap_read_lock(&self) -> MmReadGuard<'_> {
        gate::point(Kind::ReadLock, Location::caller());
        // SAFETY: the mm is there.
        unsafe { ffi::svmlab_c_mmap_read_lock(self.as_raw()) }
        MmReadGuard::of(self)
    }

    fn find_vma(&self, _held: &MmReadGuard<'_>, addr: u64) -> Option<Vma> {
        self.find_vma_locked(addr)
    }

    #[track_caller]
    fn mmap_write_lock(&self) -> MmWriteGuard<'_> {
        gate::point(Kind::WriteLock, Location::caller());
        // SAFETY: the mm is there.
        unsafe { ffi::svmlab_c_mmap_write_lock(self.as_raw()) }
        MmWriteGuard { mm: self, not_send: PhantomData }
    }

    #[track_caller]
    fn mmap_write_downgrade<'a>(&'a self, held: MmWriteGuard<'a>) -> MmReadGuard<'a> {
        gate::point(Kind::Downgrade, Location::caller());
        mem::forget(held);
        // SAFETY: this task holds it for write, and the guard that would have released that is gone.
        unsafe { ffi::svmlab_c_mmap_write_downgrade(self.as_raw()) }
        MmReadGuard::of(self)
    }

    fn find_vma_write_locked(&self, _held: &MmWriteGuard<'_>, addr: u64) -> Option<Vma> {
        self.find_vma_locked(addr)
    }

    fn is_heap_or_stack(&self, vma: &Vma) -> bool {
        // SAFETY: the mm is there.
        unsafe { ffi::svmlab_c_is_heap_or_stack(self.as_raw(), vma.bytes.start, vma.bytes.end) }
    }

    #[track_caller]
    fn interval_insert(&self, entry: NotifierEntry, bytes: Bytes, publish: impl FnOnce(Sub)) -> Result<Sub, Errno> {
        gate::point(Kind::Mm, Location::caller());
        Sub::insert(self, entry, bytes, false, publish)
    }

    #[track_caller]
    fn interval_insert_locked(
        &self,
        _held: &MmWriteGuard<'_>,
        entry: NotifierEntry,
        bytes: Bytes,
        publish: impl FnOnce(Sub),
    ) -> Result<Sub, Errno> {
        gate::point(Kind::Mm, Location::caller());
        Sub::insert(self, entry, bytes, true, publish)
    }

    #[track_caller]
    fn interval_remove(&self, sub: Sub) {
        gate::point(Kind::Mm, Location::caller());
        sub.remove();
    }

    fn interval_set_seq(&self, sub: Sub, seq: u64) {
        sub.set_seq(seq);
    }

    #[track_caller]
    fn read_begin(&self, sub: Sub) -> u64 {
        gate::point(Kind::Mm, Location::caller());
        sub.read_begin()
    }

    fn read_retry(&self, sub: Sub, seq: u64) -> bool {
        sub.read_retry(seq)
    }

    #[track_caller]
    fn hmm_range_fault(
        &self,
        _held: &MmReadGuard<'_>,
        range: &HmmRange<Sub>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        gate::point(Kind::Mm, Location::caller());
        hmm::range_fault(range, pfns)
    }

    #[track_caller]
    fn hmm_range_fault_write_locked(
        &self,
        _held: &MmWriteGuard<'_>,
        range: &HmmRange<Sub>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        gate::point(Kind::Mm, Location::caller());
        hmm::range_fault(range, pfns)
    }
}
