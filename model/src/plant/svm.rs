//! amdgpu's SVM on drm_gpusvm, as it was posted, and what of xe is in the same place.

super::mutants! { 2:
    /// The callback takes the driver's lock.
    RfcAbbaEvictionVsNotifier("rfc-abba-eviction-vs-notifier") in "hardened":
        LockOrder, falls 8, by "GPUF or IOCTL, NOTIF", 2 threads, 1 preemptions;
    /// The notifier lock is dropped between the look at the queue and the resume.
    KfdUserptrResumeVsEvict("kfd-userptr-resume-vs-evict") in "hardened":
        Atomicity, falls 5 7, by "RST, NOTIF", 2 threads, 2 preemptions;
    /// A hole is a reason to try again.
    KfdRestoreSpinsOnMissingVma("kfd-restore-spins-on-missing-vma") in "hardened":
        Livelock, falls 6, by "CPU-A, RST", 2 threads, 1 preemptions;
    /// Close waits for the workers; what is queued later runs.
    XeGcRequeueAfterClose("xe-gc-requeue-after-close") in "hardened":
        LostWork, falls 4 12, by "TEARDOWN, NOTIF", 2 threads, 1 preemptions;
    /// The callback clears entries and leaves DMA mappings to the worker.
    XeUserptrDmaLeft("xe-userptr-dma-left-after-notifier") in "hardened":
        Stale, falls 3, by "NOTIF, HW", 2 threads, 1 preemptions;
    /// The way back of a split leaves the part that was made first in the tree.
    XeRemapUnwindBounds("xe-remap-unwind-bounds") in "poc-v1 poc-v8 hardened":
        Bound, falls 9, by "IOCTL", 1 threads, 0 preemptions;
}
