//! Mutants that somebody made up: each breaks one step of the protocol between driver and mm.

super::mutants! { 0:
    /// `range_map` writes PTEs without asking `pages_valid` under the notifier lock.
    SkipPagesValid("skip-pages-valid" of "kfd-userptr-retry-ignored") in "poc-v1 poc-v8 hardened":
        Stale, falls 1 2, by "GPUF or IOCTL, CPU-A", 2 threads, 1 preemptions;
    /// The notifier clears PTEs but does not flush the TLB.
    SkipTlbFlush("skip-tlb-flush" of "m-no-flush") in "poc-v1 poc-v8 kfd hardened":
        Stale, falls 1, by "CPU-A, HW", 2 threads, 0 preemptions;
    /// `get_pages` does not compare the notifier sequence under the notifier lock.
    SkipReadRetry("skip-read-retry" of "m-no-retry-check") in "poc-v1 poc-v8 kfd hardened":
        Stale, falls 1 2, by "GPUF or IOCTL, CPU-A", 2 threads, 1 preemptions;
    /// PTEs are written under the notifier lock without `noreclaim`, so the allocation of a page table may enter reclaim
    /// there.
    SkipNoReclaim("skip-noreclaim" of "mlx5-alloc-under-reclaim-lock") in "poc-v8 hardened":
        ReclaimDeadlock, falls 8, by "GPUF or IOCTL, KSWAPD", 2 threads, 1 preemptions;
    /// The sequence is taken after the walk.
    ReadBeginLate("m-read-begin-late") in "kfd hardened":
        Stale, falls 1 2, by "GPUF or IOCTL, CPU-A", 2 threads, 1 preemptions;
    /// The TLB is flushed, then the entries are cleared.
    FlushBeforeClear("m-flush-before-clear") in "kfd hardened":
        Stale, falls 1, by "CPU-A, HW", 2 threads, 1 preemptions;
    /// Queues resume though a range could not be mapped.
    ResumeEarly("m-resume-early") in "kfd hardened":
        Order, falls 7, by "RST, NOTIF", 2 threads, 1 preemptions;
    /// Each eviction stops the queues; the end of restore resumes them once.
    DoubleQuiesceSingleResume("m-double-quiesce-single-resume") in "kfd hardened":
        Counter, falls 5 6, by "NOTIF twice, RST", 2 threads, 1 preemptions;
    /// CLEAR destroys ranges as UNMAP does.
    ClearAsUnmap("m-event-filter-clear-as-unmap") in "kfd":
        Order, falls 7 9 11, by "CPU-A", 1 threads, 0 preemptions;
    /// The callback does its work and leaves the sequence as it was.
    NoSetSeq("m-no-set-seq") in "kfd hardened":
        Stale, falls 1 2, by "GPUF or IOCTL, NOTIF", 2 threads, 2 preemptions;
    /// The last page of an event is taken for the one after it.
    RangeEndOffByOne("m-range-end-off-by-one") in "kfd hardened":
        Bound, falls 1 2 3, by "CPU-A", 1 threads, 0 preemptions;
    /// "Try again" counts as mapped.
    EagainAsSuccess("m-eagain-as-success") in "kfd hardened":
        ErrorPath, falls 7, by "IOCTL, CPU-A", 2 threads, 1 preemptions;
    /// DMA mappings are taken back, then entries cleared and the TLB flushed.
    DmaUnmapBeforeFlush("m-dma-unmap-before-flush") in "hardened":
        Stale, falls 1 3, by "CPU-A, HW", 2 threads, 1 preemptions;
    /// The mark of a queued range is cleared when it is done, not when it is taken off.
    RequeueLost("m-requeue-lost") in "hardened":
        LostWork, falls 6 7, by "RST, NOTIF", 2 threads, 1 preemptions;
    /// A reference to the process is taken though the last one may have been put. (A queue's reference to a range can be
    /// late without harm: who queues holds the notifier lock for write, and no worker gets to its put without it.)
    PutBeforeGet("m-put-before-get") in "kfd":
        UseAfterFree, falls 4 5, by "GPUF, TEARDOWN", 2 threads, 1 preemptions;
    /// A range that was unmapped is collected and mapped again.
    UnmappedFlagUnchecked("m-unmapped-flag-unchecked") in "poc-v1 poc-v8":
        Order, falls 1 2 9, by "CPU-A, GPUF", 2 threads, 1 preemptions;
    /// Close waits for the workers, and says that there is no new work after that.
    CloseCancelOrder("m-close-cancel-order") in "hardened":
        LostWork, falls 12, by "TEARDOWN, NOTIF", 2 threads, 1 preemptions;
    /// After "busy" the walk goes on with the sequence of before.
    BusyNoNewSeq("m-busy-no-new-seq") in "poc-v1 poc-v8 hardened":
        Livelock, falls 6, by "GPUF or IOCTL, NOTIF", 2 threads, 1 preemptions;
    /// An attribute set in the middle of an interval loses what is behind it.
    AttrSplitLosesTail("m-attr-split-loses-tail") in "poc-v1 poc-v8 hardened":
        Bound, falls 7 9 11, by "IOCTL", 1 threads, 0 preemptions;
    /// The callback takes the notifier lock though the event must not block.
    BlockingInNonblock("m-blocking-in-nonblock") in "poc-v1 poc-v8 hardened":
        SelfDeadlock, falls 8, by "OOM reaper", 1 threads, 0 preemptions;
}
