//! The entries of the museum, and those that have no place here.

use crate::lang::Design;

/// An entry without a place, and why.
pub struct Absent {
    /// Its name.
    pub entry: &'static str,
    /// The reason.
    pub why: &'static str,
}

/// Every entry: real bugs by where they were found, then what was made up.
pub const ENTRIES: &[&str] = &[
    "kfd-svmbo-double-unref",
    "kfd-restore-flush-in-release",
    "kfd-mmput-in-notifier",
    "kfd-notifier-mm-users-zero",
    "kfd-deferred-mm-ref",
    "kfd-ioctl-mutex-vs-flush",
    "kfd-evict-ref-in-worker",
    "kfd-drain-check-unlocked",
    "kfd-vma-gone-stale-fault",
    "kfd-mmap-lock-mode-mismatch",
    "kfd-restore-spins-on-missing-vma",
    "kfd-userptr-retry-ignored",
    "kfd-userptr-resume-vs-evict",
    "kfd-evict-clears-bo-on-failure",
    "kfd-cpu-fault-other-mm",
    "kfd-cow-child-owner",
    "kfd-process-ref-as-argument",
    "kfd-range-clone-new-locks",
    "kfd-fence-put-then-wait",
    "kfd-vm-acquire-lost-owner",
    "kfd-pasid-ownership-order",
    "kfd-fence-rcu-no-ref",
    "amdgpu-userptr-shared-hmm-range",
    "amdgpu-find-vma-unlocked",
    "rfc-unmap-while-restoring",
    "rfc-gc-double-add",
    "rfc-abba-eviction-vs-notifier",
    "rfc-prefetch-swallowed",
    "rfc-quiesce-failure-forgotten",
    "gpusvm-error-path-skips-unmap",
    "gpusvm-evict-mm-leak",
    "pagemap-use-before-idle",
    "pagemap-provider-unbound",
    "pagemap-page-data-backpointer",
    "pagemap-dma-unmap-before-verdict",
    "xe-gc-requeue-after-close",
    "xe-devpage-fault-livelock",
    "xe-userptr-efault-stale-list",
    "xe-userptr-dma-left-after-notifier",
    "xe-hmm-touch-pages-unlocked",
    "xe-flags-mask-garbage",
    "xe-zap-vs-unbind-tree",
    "xe-prefetch-eagain-loop",
    "xe-id-published-early",
    "xe-remap-unwind-bounds",
    "xe-alloc-hook-errptr",
    "mmu-range-end-not-paired",
    "hmm-mirror-uaf-grace",
    "hmm-nonblock-unwind",
    "hmm-dead-flag-hint",
    "hmm-write-fault-loop",
    "hmm-swap-lock-starvation",
    "migrate-collect-flush-outside-lock",
    "migrate-lazy-batch-order",
    "device-page-free-count-one",
    "hmm-device-owner-missing",
    "nouveau-dmem-relock",
    "nouveau-bind-mm-leak",
    "nouveau-evict-before-fini",
    "nouveau-copy-result-unchecked",
    "ppc-uvmem-free-unset",
    "mlx5-notifier-before-object",
    "mlx5-live-before-init",
    "mlx5-check-before-grace",
    "mlx5-flush-misses-deferred",
    "mlx5-double-queue-destroy",
    "mlx5-revoke-vs-invalidate",
    "mlx5-alloc-under-reclaim-lock",
    "odp-mmput-under-mutex",
    "odp-nonblock-missed-unlock",
    "mlx5-dying-skips-release",
    "uverbs-read-after-publish",
    "uvm-ignore-own-invalidations",
    "uvm-notifier-resize-gap",
    "uvm-space-gone-pages-stay",
    "uvm-stale-cancel-at-exit",
    "uvm-fatal-fault-reissue",
    "uvm-resident-bit-left",
    "m-no-retry-check",
    "m-read-begin-late",
    "m-flush-before-clear",
    "m-no-flush",
    "m-resume-early",
    "m-double-quiesce-single-resume",
    "m-requeue-lost",
    "m-put-before-get",
    "m-unmapped-flag-unchecked",
    "m-event-filter-clear-as-unmap",
    "m-no-set-seq",
    "m-range-end-off-by-one",
    "m-attr-split-loses-tail",
    "m-dma-unmap-before-flush",
    "m-blocking-in-nonblock",
    "m-close-cancel-order",
    "m-eagain-as-success",
    "m-busy-no-new-seq",
];

/// Entries that have no place in what is modelled here.
pub const ABSENT: &[Absent] = &[
    Absent {
        entry: "amdgpu-find-vma-unlocked",
        why: "the mm's lookup takes the guard of mmap_lock as an argument: a lookup without the lock does not compile",
    },
    Absent {
        entry: "migrate-collect-flush-outside-lock",
        why: "about the CPU's TLB; loads and stores of the simulated CPU walk its page table each time",
    },
    Absent {
        entry: "hmm-swap-lock-starvation",
        why: "about a holder that waits for the spinner's CPU; every actor here has a processor of its own",
    },
    Absent {
        entry: "xe-alloc-hook-errptr",
        why: "two conventions for errors in pointers; allocation returns a Result here, and there is only one",
    },
    Absent {
        entry: "pagemap-provider-unbound",
        why: "about the code of a driver that is unloaded while another holds its object; drivers here stay loaded",
    },
    Absent {
        entry: "nouveau-dmem-relock",
        why: "lists are reached through the guard of their lock: to go on without it does not compile",
    },
    Absent {
        entry: "uvm-fatal-fault-reissue",
        why: "a hole that is filled again before the verdict was a hole: either answer to the fault is right here",
    },
];

/// An entry that nobody has to plant: a specimen has it.
pub struct Native {
    /// Its name.
    pub entry: &'static str,
    /// The design.
    pub design: Design,
    /// The scenario of the corpus that finds it.
    pub scenario: &'static str,
}

/// Entries that a design has as it was posted, or as it is in the kernel.
pub const NATIVE: &[Native] = &[
    Native { entry: "rfc-unmap-while-restoring", design: Design::PocV1, scenario: "restore-vs-munmap" },
    Native { entry: "rfc-gc-double-add", design: Design::PocV8, scenario: "mremap-vram" },
];

/// Why a planted bug is missed, as far as that is known. The chapter tells it of those that are missed.
pub const HOLES: &[Absent] = &[
    Absent {
        entry: "kfd-vma-gone-stale-fault",
        why: "comes to pass, and nothing falls: no invariant says that a fault raised while the memory was there must not be \
              refused",
    },
    Absent {
        entry: "kfd-cpu-fault-other-mm",
        why: "the simulated mm does not check that the mmap_lock it is shown is its own",
    },
    Absent {
        entry: "kfd-fence-rcu-no-ref",
        why: "where the last page goes while its buffer object is picked, kfd warns (I9) without any bug, and what falls anyway \
              does not count",
    },
];
