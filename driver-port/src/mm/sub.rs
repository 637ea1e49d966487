//! Interval notifiers.

use super::LinuxMm;
use crate::errno;
use crate::ffi::{self, RawSub};
use core::fmt;
use core::ptr::NonNull;
use model::Errno;
use model::platform::NotifierEntry;
use model::units::Bytes;

/// A registered `struct mmu_interval_notifier`, in memory of its own that goes with its removal.
///
/// # Invariants
/// Between insertion and removal `raw` is live. Whoever has a copy of the handle uses it only then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sub {
    raw: NonNull<RawSub>,
}

// SAFETY: a subscription may be used by any task.
unsafe impl Send for Sub {}
// SAFETY: a subscription may be used by any task.
unsafe impl Sync for Sub {}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sub {:x}", self.raw.as_ptr() as usize)
    }
}

impl Sub {
    /// `locked`: mmap_lock is held for write; otherwise it is not held.
    pub(super) fn insert(
        mm: &LinuxMm,
        entry: NotifierEntry,
        bytes: Bytes,
        locked: bool,
        publish: impl FnOnce(Sub),
    ) -> Result<Sub, Errno> {
        // SAFETY: no precondition.
        let raw = unsafe { ffi::svmlab_c_sub_new(entry.client.0, entry.cookie) };
        let sub = Sub { raw: NonNull::new(raw).ok_or(Errno::ENOMEM)? };
        // Before the first callback, which may come before the insertion has returned.
        publish(sub);
        // SAFETY: the subscription is new, the mm is there, and mmap_lock is as `locked` says.
        let ret = unsafe { ffi::svmlab_c_sub_insert(raw, mm.as_raw(), bytes.start, bytes.len(), locked) };
        match errno::check(ret) {
            Ok(()) => Ok(sub),
            Err(error) => {
                // SAFETY: it was not inserted, so nobody calls it; what was published the caller takes back.
                unsafe { ffi::svmlab_c_sub_free(raw) };
                Err(error)
            }
        }
    }

    pub(super) fn remove(self) {
        // SAFETY: it is inserted; the model removes it once, and not from a callback.
        unsafe { ffi::svmlab_c_sub_remove(self.raw.as_ptr()) }
    }

    pub(super) fn set_seq(self, seq: u64) {
        // SAFETY: it is inserted, and the running task is in its callback.
        unsafe { ffi::svmlab_c_sub_set_seq(self.raw.as_ptr(), seq) }
    }

    pub(super) fn read_begin(self) -> u64 {
        // SAFETY: it is inserted.
        unsafe { ffi::svmlab_c_sub_read_begin(self.raw.as_ptr()) }
    }

    pub(super) fn read_retry(self, seq: u64) -> bool {
        // SAFETY: it is inserted.
        unsafe { ffi::svmlab_c_sub_read_retry(self.raw.as_ptr(), seq) }
    }

    pub(super) fn as_raw(self) -> *mut RawSub {
        self.raw.as_ptr()
    }
}
