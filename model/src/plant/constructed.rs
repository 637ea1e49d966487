//! Mutants that somebody made up: each breaks one step of the protocol between driver and mm.

super::mutants! { 0:
    /// `range_map` writes PTEs without asking `pages_valid` under the notifier lock.
    SkipPagesValid("skip-pages-valid") in "poc-v1 poc-v8 hardened":
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
}
