//! Other users of interval notifiers: RDMA on-demand paging, NVIDIA's UVM.

super::mutants! { 5:
    /// A range is queued for a worker without a look whether it is queued already.
    Mlx5DoubleQueueDestroy("mlx5-double-queue-destroy") in "kfd":
        UseAfterFree, falls 4 9, by "NOTIF twice", 2 threads, 1 preemptions;
    /// What is unmapped while the process exits is marked as on its way to be freed, and nobody frees it.
    Mlx5DyingSkipsRelease("mlx5-dying-skips-release") in "kfd":
        ReferenceLeak, falls 4 5 12, by "TEARDOWN", 2 threads, 1 preemptions;
    /// The last user of the mm is put with its lock held.
    OdpMmputUnderMutex("odp-mmput-under-mutex") in "kfd":
        SelfDeadlock, falls 8, by "EVICT, TEARDOWN", 2 threads, 1 preemptions;
    /// The answer of GET_ATTR is read off ranges without the lock that keeps them.
    UverbsReadAfterPublish("uverbs-read-after-publish") in "kfd":
        UseAfterFree, falls 4 9, by "IOCTL twice", 2 threads, 1 preemptions;
    /// Pages leave VRAM, and the range goes on counting them.
    UvmResidentBitLeft("uvm-resident-bit-left") in "kfd":
        WrongData, falls 6 9, by "anybody who moves pages", 1 threads, 0 preemptions;
    /// A subscription calls before the object that it calls for is complete.
    Mlx5NotifierBeforeObject("mlx5-notifier-before-object") in "poc-v1 poc-v8 hardened":
        Order, falls 4 9, by "IOCTL, NOTIF", 2 threads, 1 preemptions;
    /// Who refuses a non-blockable event keeps the lock.
    OdpNonblockMissedUnlock("odp-nonblock-missed-unlock") in "poc-v1 poc-v8 hardened":
        ErrorPath, falls 8, by "OOM reaper", 1 threads, 0 preemptions;
}
