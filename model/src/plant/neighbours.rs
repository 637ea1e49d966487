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
    /// The references of a range are counted from one again when callbacks can see it already.
    Mlx5LiveBeforeInit("mlx5-live-before-init") in "poc-v1 hardened":
        Order, falls 4 5, by "IOCTL, NOTIF", 2 threads, 1 preemptions;
    /// Close looks whether work is pending, and then says that there is to be none.
    Mlx5CheckBeforeGrace("mlx5-check-before-grace") in "hardened":
        Order, falls 4 12, by "TEARDOWN, NOTIF", 2 threads, 1 preemptions;
    /// Close waits for what is on the workqueue, not for what a timer will put there.
    Mlx5FlushMissesDeferred("mlx5-flush-misses-deferred") in "hardened":
        LostWork, falls 4 12, by "TEARDOWN, NOTIF", 2 threads, 0 preemptions;
    /// Events of whoever collected pages once are taken for its own from then on.
    UvmIgnoreOwnInvalidations("uvm-ignore-own-invalidations") in "kfd":
        Stale, falls 1 6 10, by "IOCTL or GPUF, then CPUF", 1 threads, 0 preemptions;
    /// The old notifiers go before the new ones have come.
    UvmNotifierResizeGap("uvm-notifier-resize-gap") in "kfd":
        Stale, falls 1 2 3, by "IOCTL, KSWAPD", 2 threads, 1 preemptions;
    /// With its ranges the process frees their VRAM, whoever still has pages of it.
    UvmSpaceGonePagesStay("uvm-space-gone-pages-stay") in "kfd":
        UseAfterFree, falls 4 5 12, by "TEARDOWN, CPUF in a child", 2 threads, 0 preemptions;
    /// A fault that is served when the mm has gone counts as an error of the program.
    UvmStaleCancelAtExit("uvm-stale-cancel-at-exit") in "kfd":
        Order, falls 11, by "TEARDOWN, GPUF", 2 threads, 1 preemptions;
}
