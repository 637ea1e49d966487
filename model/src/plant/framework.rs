//! drm_gpusvm, drm_pagemap, and what xe did with them.

super::mutants! { 3:
    /// Pages are published before the copy engine is done with them.
    PagemapUseBeforeIdle("pagemap-use-before-idle") in "poc-v8 kfd":
        Order, falls 1 10, by "GPUF or CPUF, copy engine", 2 threads, 1 preemptions;
    /// The pages of a copy that failed stay DMA mapped.
    PagemapDmaUnmapBeforeVerdict("pagemap-dma-unmap-before-verdict") in "poc-v8 kfd":
        ErrorPath, falls 3 5, by "anybody who moves pages", 1 threads, 0 preemptions;
    /// Entries are writable whatever was asked for.
    XeFlagsMaskGarbage("xe-flags-mask-garbage") in "kfd":
        WrongData, falls 2, by "GPUF or IOCTL", 1 threads, 0 preemptions;
    /// After a mapping failed nobody takes back those before it.
    GpusvmErrorPathSkipsUnmap("gpusvm-error-path-skips-unmap") in "poc-v1 poc-v8 hardened":
        ErrorPath, falls 3 5, by "GPUF or IOCTL", 1 threads, 0 preemptions;
    /// The word of a device page names its allocation and does not count.
    PagemapPageDataBackpointer("pagemap-page-data-backpointer") in "poc-v8":
        UseAfterFree, falls 4 5, by "CPUF, TEARDOWN", 2 threads, 1 preemptions;
    /// Pages are mapped before the sequence is compared.
    XeHmmTouchPagesUnlocked("xe-hmm-touch-pages-unlocked") in "poc-v1 poc-v8 hardened":
        Order, falls 3 4, by "GPUF or IOCTL, CPU-A", 2 threads, 1 preemptions;
    /// An eviction that gets no memory for its array keeps its user of the mm.
    GpusvmEvictMmLeak("gpusvm-evict-mm-leak") in "poc-v8":
        ReferenceLeak, falls 12, by "GPUF or IOCTL, without memory", 1 threads, 0 preemptions;
}
