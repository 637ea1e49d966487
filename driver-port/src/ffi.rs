//! The C functions, as `kmod/shim.h` declares them, one block a file. What each is for, and what must hold when it is
//! called, is said where it is defined.
//!
//! Structures of the kernel are opaque here: their layout depends on its configuration, and only C reads it.

use core::ffi::{c_char, c_int, c_void};
use core::marker::{PhantomData, PhantomPinned};

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        pub struct $name {
            bytes: [u8; 0],
            // Neither Send nor Sync nor Unpin, because nobody here knows what it is.
            marker: PhantomData<(*mut u8, PhantomPinned)>,
        }
    )*};
}

pub mod gpusvm;

opaque! {
    /// `struct mutex`.
    RawMutex;
    /// `spinlock_t`.
    RawSpinLock;
    /// `struct rw_semaphore`.
    RawRwSem;
    /// A `struct kmem_cache` and its name.
    RawCache;
    /// A `struct workqueue_struct`, and whether it was destroyed.
    RawWorkQueue;
    /// A `struct work_struct` with its queue, instance and function.
    RawWork;
    /// The same with a timer: `struct delayed_work`.
    RawDelayedWork;
    /// `struct mm_struct`.
    RawMm;
    /// A `struct mmu_interval_notifier` with its instance and cookie.
    RawSub;
    /// `struct device`.
    RawDevice;
    /// An `atomic64_t` and its wait queue.
    RawWord;
    /// A `struct mmu_notifier`.
    RawProcess;
    /// A task of a self-test.
    RawThread;
}

/// What `svmlab_c_find_vma` tells of a VMA.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawVma {
    /// `vm_start`.
    pub start: u64,
    /// `vm_end`.
    pub end: u64,
    /// `SVMLAB_VMA_*`.
    pub flags: u32,
}

/// Where in the source a visible operation is: a place of [`core::panic::Location`] in C's terms.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawPlace {
    /// Not terminated.
    pub file: *const u8,
    /// Bytes of it.
    pub file_len: usize,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// `SVMLAB_VMA_READ`: VM_READ.
pub const VMA_READ: u32 = 1 << 0;
/// `SVMLAB_VMA_WRITE`: VM_WRITE.
pub const VMA_WRITE: u32 = 1 << 1;
/// `SVMLAB_VMA_IO`: VM_IO.
pub const VMA_IO: u32 = 1 << 2;
/// `SVMLAB_VMA_PFNMAP`: VM_PFNMAP.
pub const VMA_PFNMAP: u32 = 1 << 3;
/// `SVMLAB_VMA_MIXEDMAP`: VM_MIXEDMAP.
pub const VMA_MIXEDMAP: u32 = 1 << 4;
/// `SVMLAB_VMA_ANON`: `vma_is_anonymous`.
pub const VMA_ANON: u32 = 1 << 5;
/// `SVMLAB_VMA_HUGETLB`: `is_vm_hugetlb_page`.
pub const VMA_HUGETLB: u32 = 1 << 6;

// lock.c
unsafe extern "C" {
    /// `mutex_init` of a new one, of the lock class `name`; NULL without memory.
    pub fn svmlab_c_mutex_new(name: *const u8, len: usize) -> *mut RawMutex;
    /// Frees an unlocked one.
    pub fn svmlab_c_mutex_free(lock: *mut RawMutex);
    /// `mutex_lock_nested`. Sleeps.
    pub fn svmlab_c_mutex_lock(lock: *mut RawMutex, subclass: u32);
    /// `mutex_unlock`.
    pub fn svmlab_c_mutex_unlock(lock: *mut RawMutex);
    /// `spin_lock_init` of a new one; NULL without memory.
    pub fn svmlab_c_spin_new(name: *const u8, len: usize) -> *mut RawSpinLock;
    /// Frees an unlocked one.
    pub fn svmlab_c_spin_free(lock: *mut RawSpinLock);
    /// `spin_lock`.
    pub fn svmlab_c_spin_lock(lock: *mut RawSpinLock);
    /// `spin_unlock`.
    pub fn svmlab_c_spin_unlock(lock: *mut RawSpinLock);
    /// `init_rwsem` of a new one; NULL without memory.
    pub fn svmlab_c_rwsem_new(name: *const u8, len: usize) -> *mut RawRwSem;
    /// Frees an unlocked one.
    pub fn svmlab_c_rwsem_free(sem: *mut RawRwSem);
    /// `down_read`. Sleeps.
    pub fn svmlab_c_rwsem_down_read(sem: *mut RawRwSem);
    /// `up_read`.
    pub fn svmlab_c_rwsem_up_read(sem: *mut RawRwSem);
    /// `down_write`. Sleeps.
    pub fn svmlab_c_rwsem_down_write(sem: *mut RawRwSem);
    /// `up_write`.
    pub fn svmlab_c_rwsem_up_write(sem: *mut RawRwSem);
    /// `downgrade_write`.
    pub fn svmlab_c_rwsem_downgrade(sem: *mut RawRwSem);
    /// `preempt_disable`.
    pub fn svmlab_c_preempt_disable();
    /// `preempt_enable`.
    pub fn svmlab_c_preempt_enable();
    /// `wait_var_event` until `*done` is not 0. Sleeps.
    pub fn svmlab_c_wait_done(done: *const u32);
    /// `store_release_wake_up` of 1. Any context.
    pub fn svmlab_c_set_done(done: *mut u32);
    /// `cond_resched`.
    pub fn svmlab_c_cond_resched();
    /// `current`.
    pub fn svmlab_c_current() -> u64;
    /// Jiffies as milliseconds.
    pub fn svmlab_c_now_ms() -> u64;
}

// mem.c
unsafe extern "C" {
    /// The cache for objects of this name, size and alignment, made by whoever asks first; NULL without memory. Sleeps.
    pub fn svmlab_c_cache_get(name: *const u8, len: usize, size: u32, align: u32) -> *mut RawCache;
    /// `kmem_cache_alloc(GFP_KERNEL)`; NULL without memory. Sleeps.
    pub fn svmlab_c_cache_alloc(cache: *mut RawCache) -> *mut c_void;
    /// `kmem_cache_free`.
    pub fn svmlab_c_cache_free(cache: *mut RawCache, object: *mut c_void);
    /// `kvmalloc(GFP_KERNEL)`; NULL without memory, or for more than `INT_MAX`. Sleeps.
    pub fn svmlab_c_kvmalloc(size: usize) -> *mut c_void;
    /// `kvfree`. Not from atomic context.
    pub fn svmlab_c_kvfree(memory: *mut c_void);
    /// `memalloc_noreclaim_save`.
    pub fn svmlab_c_noreclaim_save() -> u32;
    /// `memalloc_noreclaim_restore`.
    pub fn svmlab_c_noreclaim_restore(flags: u32);
}

// work.c
unsafe extern "C" {
    /// `alloc_workqueue(WQ_UNBOUND)` or `alloc_ordered_workqueue`; NULL without memory. Sleeps.
    pub fn svmlab_c_wq_new(name: *const u8, len: usize, ordered: bool) -> *mut RawWorkQueue;
    /// `flush_workqueue`. Sleeps.
    pub fn svmlab_c_wq_flush(wq: *mut RawWorkQueue);
    /// `destroy_workqueue`, once; from then on queueing is refused with a warning. Sleeps.
    pub fn svmlab_c_wq_destroy(wq: *mut RawWorkQueue);
    /// Drops the reference of whoever made it; destroys it when that was not done. Sleeps.
    pub fn svmlab_c_wq_put(wq: *mut RawWorkQueue);
    /// `INIT_WORK`; NULL without memory.
    pub fn svmlab_c_work_new(wq: *mut RawWorkQueue, client: u32, func: u32) -> *mut RawWork;
    /// Frees one that is neither pending nor running.
    pub fn svmlab_c_work_free(work: *mut RawWork);
    /// `queue_work`. Any context.
    pub fn svmlab_c_work_queue(work: *mut RawWork) -> bool;
    /// `flush_work`. Sleeps.
    pub fn svmlab_c_work_flush(work: *mut RawWork);
    /// `cancel_work_sync`. Sleeps.
    pub fn svmlab_c_work_cancel_sync(work: *mut RawWork) -> bool;
    /// `INIT_DELAYED_WORK`; NULL without memory.
    pub fn svmlab_c_dwork_new(wq: *mut RawWorkQueue, client: u32, func: u32) -> *mut RawDelayedWork;
    /// Frees one that is neither pending nor running.
    pub fn svmlab_c_dwork_free(work: *mut RawDelayedWork);
    /// `queue_delayed_work`. Any context.
    pub fn svmlab_c_dwork_queue(work: *mut RawDelayedWork, delay_ms: u64) -> bool;
    /// `flush_delayed_work`. Sleeps.
    pub fn svmlab_c_dwork_flush(work: *mut RawDelayedWork);
    /// `cancel_delayed_work_sync`. Sleeps.
    pub fn svmlab_c_dwork_cancel_sync(work: *mut RawDelayedWork) -> bool;
}

// mm.c
unsafe extern "C" {
    /// `mmgrab`.
    pub fn svmlab_c_mmgrab(mm: *mut RawMm);
    /// `mmdrop`.
    pub fn svmlab_c_mmdrop(mm: *mut RawMm);
    /// `mmget_not_zero`.
    pub fn svmlab_c_mmget_not_zero(mm: *mut RawMm) -> bool;
    /// `mmput`. Sleeps.
    pub fn svmlab_c_mmput(mm: *mut RawMm);
    /// `mmput_async`.
    pub fn svmlab_c_mmput_async(mm: *mut RawMm);
    /// `mmap_read_lock`. Sleeps.
    pub fn svmlab_c_mmap_read_lock(mm: *mut RawMm);
    /// `mmap_read_unlock`.
    pub fn svmlab_c_mmap_read_unlock(mm: *mut RawMm);
    /// `mmap_write_lock`. Sleeps.
    pub fn svmlab_c_mmap_write_lock(mm: *mut RawMm);
    /// `mmap_write_unlock`.
    pub fn svmlab_c_mmap_write_unlock(mm: *mut RawMm);
    /// `mmap_write_downgrade`.
    pub fn svmlab_c_mmap_write_downgrade(mm: *mut RawMm);
    /// `find_vma`, with mmap_lock held: false when there is none.
    pub fn svmlab_c_find_vma(mm: *mut RawMm, addr: u64, vma: *mut RawVma) -> bool;
    /// Whether `[start, end)` would be `vma_is_initial_heap` or `vma_is_initial_stack`.
    pub fn svmlab_c_is_heap_or_stack(mm: *mut RawMm, start: u64, end: u64) -> bool;
    /// A subscription that is not inserted yet; NULL without memory.
    pub fn svmlab_c_sub_new(client: u32, cookie: u64) -> *mut RawSub;
    /// Frees one that is not inserted.
    pub fn svmlab_c_sub_free(sub: *mut RawSub);
    /// `mmu_interval_notifier_insert` (without mmap_lock) or, `locked`, `_insert_locked` (with it held for write). Sleeps.
    pub fn svmlab_c_sub_insert(sub: *mut RawSub, mm: *mut RawMm, start: u64, length: u64, locked: bool) -> c_int;
    /// `mmu_interval_notifier_remove`, and frees it. Sleeps.
    pub fn svmlab_c_sub_remove(sub: *mut RawSub);
    /// `mmu_interval_set_seq`, inside its callback.
    pub fn svmlab_c_sub_set_seq(sub: *mut RawSub, seq: u64);
    /// `mmu_interval_read_begin`. Sleeps.
    pub fn svmlab_c_sub_read_begin(sub: *mut RawSub) -> u64;
    /// `mmu_interval_read_retry`.
    pub fn svmlab_c_sub_read_retry(sub: *mut RawSub, seq: u64) -> bool;
    /// `hmm_range_fault` of `npages` pages from `start` into `pfns`, with mmap_lock held. Sleeps.
    pub fn svmlab_c_hmm_range_fault(
        sub: *mut RawSub,
        seq: u64,
        start: u64,
        npages: u64,
        request: u32,
        owner: u64,
        pfns: *mut u64,
    ) -> c_int;
}

/// `SVMLAB_BUS_LOAD`.
pub const BUS_LOAD: u32 = 0;
/// `SVMLAB_BUS_STORE`.
pub const BUS_STORE: u32 = 1;
/// `SVMLAB_BUS_ADD`: atomic.
pub const BUS_ADD: u32 = 2;

// swgpu.c
unsafe extern "C" {
    /// `dma_map_page` of `1 << order` pages; all ones: it cannot be. Does not sleep.
    pub fn svmlab_c_dma_map(dev: *mut RawDevice, pfn: u64, order: u32, to_device: bool) -> u64;
    /// `dma_unmap_page`.
    pub fn svmlab_c_dma_unmap(dev: *mut RawDevice, addr: u64, order: u32, to_device: bool);
    /// The page frame behind a bus address; all ones: it is none of memory.
    pub fn svmlab_c_bus_pfn(dev: *mut RawDevice, addr: u64) -> u64;
    /// Reads or writes the aligned word at a bus address; false: no memory answers. Does not sleep.
    pub fn svmlab_c_bus_access(dev: *mut RawDevice, addr: u64, op: u32, value: *mut u64) -> bool;
    /// A word with this value; NULL without memory.
    pub fn svmlab_c_word_new(value: u64) -> *mut RawWord;
    /// Frees one that nobody waits for.
    pub fn svmlab_c_word_free(word: *mut RawWord);
    /// Acquires.
    pub fn svmlab_c_word_load(word: *mut RawWord) -> u64;
    /// Fully ordered, and wakes everybody. Any context.
    pub fn svmlab_c_word_store(word: *mut RawWord, value: u64);
    /// Sleeps while the word has this value, up to a time of `svmlab_c_now_ms`: 0, `-ETIME`, or `-EINTR` when killed.
    pub fn svmlab_c_word_wait(word: *mut RawWord, value: u64, until_ms: u64, killable: bool) -> c_int;
    /// `mmu_notifier_get` of the running task's mm, whose end is told to `svmlab_rs_process_release`; a negative errno as a
    /// pointer. Takes mmap_lock for write.
    pub fn svmlab_c_process_get(mm: *mut RawMm) -> *mut RawProcess;
    /// `mmu_notifier_put`.
    pub fn svmlab_c_process_put(process: *mut RawProcess);
    /// `hmm_range_fault` of `npages` pages that faults nothing in. The caller holds a user reference and not mmap_lock.
    pub fn svmlab_c_mm_snapshot(mm: *mut RawMm, start: u64, npages: u64, pfns: *mut u64) -> c_int;
    /// `copy_from_user`; false: EFAULT. Sleeps; mmap_lock is not held.
    pub fn svmlab_c_copy_from_user(to: *mut c_void, from: u64, size: usize) -> bool;
    /// `copy_to_user`; false: EFAULT. Sleeps; mmap_lock is not held.
    pub fn svmlab_c_copy_to_user(to: u64, from: *const c_void, size: usize) -> bool;
}

// registry.c
unsafe extern "C" {
    /// `xa_alloc` of `entry`; a negative errno, or its number. Sleeps.
    pub fn svmlab_c_registry_add(entry: *mut c_void) -> c_int;
    /// `xa_load`; NULL when there is none. Any context.
    pub fn svmlab_c_registry_find(id: u32) -> *mut c_void;
    /// `xa_erase`.
    pub fn svmlab_c_registry_remove(id: u32);
}

// log.c
unsafe extern "C" {
    /// Appends a line to the event log. Any context.
    pub fn svmlab_c_log(text: *const c_char, len: usize);
    /// `WARN` with this text and place.
    pub fn svmlab_c_warn(text: *const c_char, len: usize, place: *const RawPlace);
    /// Tells what and where, then `BUG`.
    pub fn svmlab_c_panic(text: *const c_char, len: usize, place: *const RawPlace) -> !;
}

// gate.c
#[cfg(feature = "lab")]
unsafe extern "C" {
    /// The running task is at this place, and a script is armed.
    pub fn svmlab_c_gate(place: u64, visible: bool);
    /// The work item whose begin is this place begins to run on this task, or has ended.
    pub fn svmlab_c_gate_work(place: u64, begins: bool);
}

// selftest.c
#[cfg(feature = "lab")]
unsafe extern "C" {
    /// Runs `run(arg)` in a task of its own, in the running task's address space; NULL: it cannot be started. Sleeps.
    pub fn svmlab_c_thread_run(run: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> *mut RawThread;
    /// Waits for its end, once. Sleeps.
    pub fn svmlab_c_thread_join(thread: *mut RawThread);
    /// Sleeps so long at least.
    pub fn svmlab_c_sleep_ms(ms: u32);
    /// `in_atomic`.
    pub fn svmlab_c_in_atomic() -> bool;
    /// Whether PF_MEMALLOC is set.
    pub fn svmlab_c_is_noreclaim() -> bool;
    /// The nth allocation of the running task fails, from 1; 0: none does. Whether one was still to fail, of any task.
    pub fn svmlab_c_fail_allocation(nth: u32) -> bool;
    /// Private anonymous memory of the running task, at `addr` unless that is 0; 0: it failed. Sleeps.
    pub fn svmlab_c_map(addr: u64, size: u64, write: bool) -> u64;
    /// `vm_munmap`. Sleeps.
    pub fn svmlab_c_unmap(addr: u64, size: u64) -> bool;
    /// `put_user`. Sleeps.
    pub fn svmlab_c_poke(addr: u64, value: u64) -> bool;
    /// The first word of a page frame that is there.
    pub fn svmlab_c_peek_frame(pfn: u64) -> u64;
    /// `current->mm`.
    pub fn svmlab_c_current_mm() -> *mut RawMm;
    /// `mm_users`, `mm_count`, `start_stack`.
    pub fn svmlab_c_mm_facts(mm: *mut RawMm, facts: *mut [u64; 3]);
}
