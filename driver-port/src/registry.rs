//! Which instance a callback or a work item belongs to.
//!
//! In C a driver finds its object with `container_of`; the model passes a number, the [`ClientId`], and this is where the
//! number is looked up. The number comes before the object, because an instance is made with its number, and the object
//! is published before anything of it can be called.

use crate::{errno, ffi};
use core::cell::Cell;
use core::ptr::NonNull;
use model::Errno;
use model::platform::{ClientId, MmuEvent, WorkFunc};

/// What an instance is called for by the kernel.
pub trait Client {
    /// The `invalidate` op of the interval notifier with this cookie: true, or false when it would have had to sleep and
    /// must not. Context: that of whoever changes the mapping, mmap_lock or rmap locks held, or reclaim.
    fn mmu_invalidate(&self, cookie: u64, event: &MmuEvent, seq: u64) -> bool;
    /// The `invalidate` op of drm_gpusvm: an event hits this notifier. The notifier lock is held for write, and whatever the
    /// context of [`Client::mmu_invalidate`] holds. Only an instance on [`DrmGpusvm`](crate::framework::DrmGpusvm) has such.
    ///
    /// # Safety
    /// The running task is in that op of this instance, for this notifier, until this returns.
    unsafe fn invalidate(&self, notifier: u64, event: &MmuEvent);
    /// A work item runs. Nothing held.
    fn work(&self, func: WorkFunc);
}

/// What the table points to: a fat pointer in memory of its own, since the table's entries are thin.
struct Entry {
    client: Cell<Option<NonNull<dyn Client>>>,
}

/// A number in the table, until dropped.
pub struct Registration {
    id: ClientId,
    entry: NonNull<Entry>,
}

impl Registration {
    /// Takes a number. Sleeps.
    ///
    /// # Errors
    /// `ENOMEM`; `EBUSY`: no number is left.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: any size may be asked for.
        let entry = NonNull::new(unsafe { ffi::svmlab_c_kvmalloc(size_of::<Entry>()) }).ok_or(Errno::ENOMEM)?;
        let entry = entry.cast::<Entry>();
        // SAFETY: it is ours, big enough, and kvmalloc aligns for any word.
        unsafe { entry.write(Entry { client: Cell::new(None) }) };
        // SAFETY: the entry outlives its place in the table, see drop.
        let id = unsafe { ffi::svmlab_c_registry_add(entry.as_ptr().cast()) };
        if id < 0 {
            // SAFETY: it came from kvmalloc, and the table did not take it.
            unsafe { ffi::svmlab_c_kvfree(entry.as_ptr().cast()) };
            return Err(errno::from_raw(id));
        }
        Ok(Registration { id: ClientId(id as u32), entry })
    }

    /// The number.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// From now on callbacks and work items with this number are `client`'s. Once.
    ///
    /// # Safety
    /// `client` stays where it is and alive, and may be called from any task, until every notifier and work item made with
    /// this number is gone; only then is this dropped. No notifier or work item with this number is live yet.
    pub unsafe fn publish(&self, client: NonNull<dyn Client>) {
        // SAFETY: the entry is ours, and nobody reads it before a notifier or work item with the number is live. Those
        // come later by the caller's promise, and making them live orders this write before the read.
        unsafe { self.entry.as_ref() }.client.set(Some(client));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: by the promise of publish nobody looks it up any more, so the entry has no reader.
        unsafe {
            ffi::svmlab_c_registry_remove(self.id.0);
            ffi::svmlab_c_kvfree(self.entry.as_ptr().cast());
        }
    }
}

/// Calls `f` with the instance of that number; None, with a warning, when there is none.
///
/// # Safety
/// A notifier or work item made with this number exists for the length of the call.
pub(crate) unsafe fn with<R>(id: ClientId, f: impl FnOnce(&dyn Client) -> R) -> Option<R> {
    // SAFETY: any number may be asked for.
    let entry = NonNull::new(unsafe { ffi::svmlab_c_registry_find(id.0) })?.cast::<Entry>();
    // SAFETY: the table holds entries only, and by the promise of publish this one and its client live as long as the
    // notifier or work item that calls.
    unsafe { entry.as_ref().client.get().map(|client| f(client.as_ref())) }
}
