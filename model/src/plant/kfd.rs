//! The older driver: races of amdkfd and amdgpu that were fixed.

super::mutants! { 1:
    /// `vram_node_free` looks at the mark of the range's reference, and clears it, without the range's lock.
    KfdSvmboDoubleUnref("kfd-svmbo-double-unref") in "kfd":
        UseAfterFree, falls 4 5, by "NOTIF, last device page freed", 2 threads, 1 preemptions;
    /// The release callback, which may run where the last user of the mm is put, waits for the restore work.
    KfdRestoreFlushInRelease("kfd-restore-flush-in-release") in "kfd":
        SelfDeadlock, falls 8, by "RST, TEARDOWN", 2 threads, 1 preemptions;
    /// The callback takes a user of the mm and puts it when it is done.
    KfdMmputInNotifier("kfd-mmput-in-notifier") in "kfd":
        SelfDeadlock, falls 8 12, by "NOTIF, TEARDOWN", 2 threads, 1 preemptions;
    /// A range is queued for the deferred work though the mm has no users any more.
    KfdNotifierMmUsersZero("kfd-notifier-mm-users-zero") in "kfd":
        UseAfterFree, falls 4 5, by "TEARDOWN, GC", 2 threads, 1 preemptions;
    /// The deferred work, not who queues, takes a user of the mm, and gives up when there is none.
    KfdDeferredMmRef("kfd-deferred-mm-ref") in "kfd":
        UseAfterFree, falls 4 5 6 12, by "NOTIF, GC, TEARDOWN", 2 threads, 1 preemptions;
    /// The deferred work takes the lock that SET_ATTR holds while it waits for it.
    KfdIoctlMutexVsFlush("kfd-ioctl-mutex-vs-flush") in "kfd":
        LockOrder, falls 8, by "IOCTL, GC", 2 threads, 1 preemptions;
    /// The release of a buffer object waits for the work that evicts.
    KfdEvictRefInWorker("kfd-evict-ref-in-worker") in "kfd":
        LockOrder, falls 8 4, by "EVICT, GC", 2 threads, 1 preemptions;
    /// Whether a fault is older than the last munmap is asked before the locks are taken.
    KfdDrainCheckUnlocked("kfd-drain-check-unlocked") in "kfd":
        Order, falls 11, by "CPU-A, GC, GPUF", 2 threads, 1 preemptions;
    /// A fault that finds a range and no VMA is fatal, though the munmap is under way.
    KfdVmaGoneStaleFault("kfd-vma-gone-stale-fault") in "kfd":
        Order, falls 11, by "CPU-A, GPUF", 2 threads, 1 preemptions;
    /// The exit for stale faults does not release mmap_lock, which it has for write by then.
    KfdMmapLockModeMismatch("kfd-mmap-lock-mode-mismatch") in "kfd":
        ErrorPath, falls 8, by "GPUF, GC", 2 threads, 1 preemptions;
    /// Eviction lets the range forget its buffer object also where pages stayed in it.
    KfdEvictClearsBoOnFailure("kfd-evict-clears-bo-on-failure") in "kfd":
        ErrorPath, falls 3 9, by "EVICT, TEARDOWN", 2 threads, 1 preemptions;
    /// A CPU fault walks the address space of the range's process, whoever faults.
    KfdCpuFaultOtherMm("kfd-cpu-fault-other-mm") in "kfd":
        Order, falls 8 9 10 11, by "CPUF in a child, CPU-A", 2 threads, 1 preemptions;
    /// A CPU fault looks for the range in the process that faults only.
    KfdCowChildOwner("kfd-cow-child-owner") in "kfd":
        WrongData, falls 10 11, by "CPUF in a child", 2 threads, 1 preemptions;
    /// An eviction looks the process up to tell it, and keeps the reference.
    KfdProcessRefAsArgument("kfd-process-ref-as-argument") in "kfd":
        ReferenceLeak, falls 4 5 12, by "NOTIF", 1 threads, 0 preemptions;
    /// The worker that empties a buffer object drops it and then says on it that the fence is signalled.
    KfdFencePutThenWait("kfd-fence-put-then-wait") in "kfd":
        UseAfterFree, falls 4, by "EVICT", 2 threads, 0 preemptions;
    /// The worker that empties buffer objects takes its reference when it has left the list's lock.
    KfdFenceRcuNoRef("kfd-fence-rcu-no-ref") in "kfd":
        UseAfterFree, falls 4, by "EVICT, last device page freed", 2 threads, 1 preemptions;
}
