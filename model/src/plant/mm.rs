//! The core mm, HMM, nouveau, KVM: what lies below a driver.

super::mutants! { 4:
    /// A callback refuses a non-blockable event, and what was started for it is not ended.
    MmuRangeEndNotPaired("mmu-range-end-not-paired") in "kfd hardened":
        Counter, falls 5 6 8, by "OOM reaper, two subscribers", 2 threads, 0 preemptions;
    /// The removal of a subscription returns although a callback of it may run.
    HmmMirrorUafGrace("hmm-mirror-uaf-grace") in "kfd hardened":
        UseAfterFree, falls 4, by "CPU-A, IOCTL or GC", 2 threads, 1 preemptions;
    /// The walk asks the mm to fault for write where the VMA is read-only, and goes round.
    HmmWriteFaultLoop("hmm-write-fault-loop") in "poc-v1 poc-v8 kfd hardened":
        Livelock, falls 6, by "GPUF or IOCTL", 1 threads, 0 preemptions;
    /// The walk is not told whose device pages are acceptable.
    HmmDeviceOwnerMissing("hmm-device-owner-missing") in "kfd":
        WrongData, falls 6 11, by "GPUF", 1 threads, 0 preemptions;
    /// Destinations of a copy that could not be queued are migrated to all the same.
    NouveauCopyResultUnchecked("nouveau-copy-result-unchecked") in "kfd":
        WrongData, falls 10, by "CPUF, copy engine", 1 threads, 0 preemptions;
    /// A lookup that finds nothing keeps its user of the mm.
    NouveauBindMmLeak("nouveau-bind-mm-leak") in "poc-v1 poc-v8 hardened":
        ReferenceLeak, falls 12, by "IOCTL", 1 threads, 0 preemptions;
    /// A callback counts an eviction, and then refuses the event.
    HmmNonblockUnwind("hmm-nonblock-unwind") in "poc-v1":
        Counter, falls 1 5 6 7, by "OOM reaper", 2 threads, 0 preemptions;
    /// That the mm had users a moment ago is enough to register with it.
    HmmDeadFlagHint("hmm-dead-flag-hint") in "poc-v1 poc-v8 hardened":
        Atomicity, falls 1 4 5 9 12, by "IOCTL or GPUF, TEARDOWN", 2 threads, 1 preemptions;
    /// What was set up of a migration that fails is freed as if it had never been told whose it is.
    PpcUvmemFreeUnset("ppc-uvmem-free-unset") in "poc-v8":
        ErrorPath, falls 4 5, by "GPUF or IOCTL, without memory", 1 threads, 0 preemptions;
    /// A page that is free counts one reference, and so can be taken by who looks at frames.
    DevicePageFreeCountOne("device-page-free-count-one") in "poc-v8":
        Aba, falls 3 4 5, by "CPUF, EVICT", 2 threads, 0 preemptions;
    /// The TLB is flushed when entries were told to change, not when they have.
    MigrateLazyBatchOrder("migrate-lazy-batch-order") in "kfd":
        Order, falls 1, by "CPU-A, HW, copy engine", 2 threads, 1 preemptions;
}
