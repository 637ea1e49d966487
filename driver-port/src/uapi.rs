//! `kmod/svmlab_drm.h` in Rust: what user space and the module say to each other.
//!
//! What each field means is said in the header; `tests/uapi_header.rs` holds every size, offset and number against it.
//! Plain data without a pointer in it: any bytes are a value of each type.

#![allow(missing_docs)] // the header is the documentation

/// `_IOWR('d', DRM_COMMAND_BASE + number, T)`.
const fn drm_iowr<T>(number: u32) -> u64 {
    3 << 30 | (size_of::<T>() as u64) << 16 | (b'd' as u64) << 8 | (DRM_COMMAND_BASE + number) as u64
}

/// First number of a driver's own ioctls in DRM.
pub const DRM_COMMAND_BASE: u32 = 0x40;
const BASE: u32 = 0x40;

macro_rules! structs {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $ty:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name { $(pub $field: $ty),* }
    )* };
}

structs! {
    /// `struct drm_amdgpu_svm_attribute`.
    struct SvmAttribute { attr_type: u32, value: u32 }
    /// `struct drm_amdgpu_gem_svm`.
    struct GemSvm { start_addr: u64, size: u64, operation: u32, nattr: u32, attrs_ptr: u64 }
    /// `struct svmlab_create`.
    struct Create {
        design: u32, framework: u32, xnack: i32, gpu: u32, gc: u32, flags: u32, mtype_local: u32, granularity: i32,
        max_pfn: u64, notifier_size: u64, chunk_sizes: u64, vram_size: u64, retry_clock: u64, reserved: u64,
    }
    /// `struct svmlab_close`.
    struct Close { what: u32, pad: u32 }
    /// `struct svmlab_access`.
    struct Access { addr: u64, value: u64, op: u32, outcome: u32 }
    /// `struct svmlab_accesses`.
    struct Accesses { accesses_ptr: u64, count: u32, timeout_ms: u32, flags: u32, done: u32 }
    /// `struct svmlab_settle`.
    struct Settle { timeout_ms: u32, rounds: u32 }
    /// `struct svmlab_state`.
    struct State {
        flags: u32, quiesced: u32, evicted_ranges: u64, references: u64, ranges: u64, faults_pending: u64,
        tlb_entries: u64, mapped: u64, dma_live: u64, pte_writes: u64, pages_written: u64, pte_clears: u64,
        tlb_flushes: u64, dma_maps: u64, dma_unmaps: u64, pages_copied: u64, quiesces: u64, resumes: u64,
        accesses: u64, faults: u64, retry_faults: u64, reserved: [u64; 2],
    }
    /// `struct svmlab_range`.
    struct Range { start: u64, end: u64, pte_flags: u64, attr_flags: u32, flags: u32, references: u64 }
    /// `struct svmlab_ranges`.
    struct Ranges { ranges_ptr: u64, count: u32, pad: u32 }
    /// `struct svmlab_node`.
    struct Node {
        first: u64, last: u64, preferred_loc: i32, prefetch_loc: i32, flags: u32, granularity: u32, access: u32, pad: u32,
    }
    /// `struct svmlab_nodes`.
    struct Nodes { nodes_ptr: u64, count: u32, pad: u32 }
    /// `struct svmlab_page`.
    struct Page { pte_flags: u64, cached_flags: u64, flags: u32, pad: u32 }
    /// `struct svmlab_mapped`.
    struct Mapped { start: u64, pages_ptr: u64, count: u32, valid: u32 }
    /// `struct svmlab_hardware`.
    struct Hardware { what: u32, point: u32, error: u32, value: u32 }
    /// `struct svmlab_log`.
    struct Log { text_ptr: u64, size: u32, flags: u32, lost: u64 }
    /// `struct svmlab_gate_step`.
    struct GateStep { place: u64, actor: u32, pad: u32 }
    /// `struct svmlab_gate`.
    struct Gate {
        what: u32, actor: u32, place: u64, steps_ptr: u64, count: u32, timeout_ms: u32, passed: u32, held: u32,
        skipped: u32, late: u32, late_step: u32, pad: u32,
    }
}

macro_rules! consts {
    ($($name:ident: $ty:ty = $value:expr;)*) => {
        $(pub const $name: $ty = $value;)*
        /// Name and value of every constant, for the test that compares them with the header.
        #[doc(hidden)]
        pub const CONSTANTS: &[(&str, u64)] = &[$((stringify!($name), $name as u64)),*];
    };
}

consts! {
    AMDGPU_SVM_OP_SET_ATTR: u32 = 0;
    AMDGPU_SVM_OP_GET_ATTR: u32 = 1;
    AMDGPU_SVM_OP_RESET_ATTR: u32 = 2;

    DRM_IOCTL_AMDGPU_GEM_SVM: u64 = drm_iowr::<GemSvm>(0x1a);
    DRM_IOCTL_SVMLAB_CREATE: u64 = drm_iowr::<Create>(BASE);
    DRM_IOCTL_SVMLAB_CLOSE: u64 = drm_iowr::<Close>(BASE + 0x01);
    DRM_IOCTL_SVMLAB_ACCESS: u64 = drm_iowr::<Accesses>(BASE + 0x02);
    DRM_IOCTL_SVMLAB_SETTLE: u64 = drm_iowr::<Settle>(BASE + 0x03);
    DRM_IOCTL_SVMLAB_STATE: u64 = drm_iowr::<State>(BASE + 0x04);
    DRM_IOCTL_SVMLAB_RANGES: u64 = drm_iowr::<Ranges>(BASE + 0x05);
    DRM_IOCTL_SVMLAB_NODES: u64 = drm_iowr::<Nodes>(BASE + 0x06);
    DRM_IOCTL_SVMLAB_MAPPED: u64 = drm_iowr::<Mapped>(BASE + 0x07);
    DRM_IOCTL_SVMLAB_HARDWARE: u64 = drm_iowr::<Hardware>(BASE + 0x08);
    DRM_IOCTL_SVMLAB_LOG: u64 = drm_iowr::<Log>(BASE + 0x09);
    DRM_IOCTL_SVMLAB_GATE: u64 = drm_iowr::<Gate>(BASE + 0x0a);

    SVMLAB_DESIGN_POC_V1: u32 = 0;
    SVMLAB_DESIGN_HARDENED: u32 = 1;
    SVMLAB_DESIGN_POC_V8: u32 = 2;
    SVMLAB_FRAMEWORK_PORT: u32 = 0;
    SVMLAB_FRAMEWORK_KERNEL: u32 = 1;
    SVMLAB_MAX_GPUS: u32 = 8;

    SVMLAB_GPU_APU: u32 = 1 << 0;
    SVMLAB_GPU_MULTI_NODE: u32 = 1 << 1;
    SVMLAB_GPU_NORETRY: u32 = 1 << 2;
    SVMLAB_GPU_SRIOV_WITHOUT_XNACK: u32 = 1 << 3;
    SVMLAB_GPU_RETRY_CAM: u32 = 1 << 4;
    SVMLAB_WITHOUT_SVM: u32 = 1 << 5;

    SVMLAB_CLOSE: u32 = 0;
    SVMLAB_FINI: u32 = 1;

    SVMLAB_LOAD: u32 = 0;
    SVMLAB_STORE: u32 = 1;
    SVMLAB_ADD: u32 = 2;
    SVMLAB_DONE: u32 = 0;
    SVMLAB_FAULT_INVALID: u32 = 1;
    SVMLAB_FAULT_READ: u32 = 2;
    SVMLAB_FAULT_WRITE: u32 = 3;
    SVMLAB_FAULT_NORETRY: u32 = 4;
    SVMLAB_QUEUE_GONE: u32 = 5;
    SVMLAB_TIMEOUT_STOPPED: u32 = 6;
    SVMLAB_TIMEOUT_RETRY: u32 = 7;
    SVMLAB_NOT_TRIED: u32 = 8;
    SVMLAB_BUS_ERROR: u32 = 9;
    SVMLAB_MAX_ACCESSES: u32 = 1024;
    SVMLAB_MAX_TIMEOUT_MS: u32 = 60000;
    SVMLAB_ACCESS_STOP: u32 = 1 << 0;

    SVMLAB_STATE_RUNNING: u32 = 1 << 0;
    SVMLAB_STATE_DESTROYED: u32 = 1 << 1;
    SVMLAB_STATE_COMPUTE: u32 = 1 << 2;
    SVMLAB_STATE_INSTANCE: u32 = 1 << 3;
    SVMLAB_STATE_STOPPED_BY_US: u32 = 1 << 4;
    SVMLAB_STATE_EXITING: u32 = 1 << 5;
    SVMLAB_STATE_PENDING: u32 = 1 << 6;
    SVMLAB_STATE_XNACK: u32 = 1 << 7;
    SVMLAB_STATE_XNACK_DETECTED: u32 = 1 << 8;
    SVMLAB_STATE_GPU_ONLY: u32 = 1 << 31;

    SVMLAB_RANGE_GPU_MAPPED: u32 = 1 << 0;
    SVMLAB_RANGE_IN_QUEUE: u32 = 1 << 1;
    SVMLAB_RANGE_MIGRATE_DEVMEM: u32 = 1 << 2;
    SVMLAB_RANGE_UNMAPPED: u32 = 1 << 3;
    SVMLAB_RANGE_PARTIAL_UNMAP: u32 = 1 << 4;
    SVMLAB_RANGE_HAS_DEVMEM: u32 = 1 << 5;
    SVMLAB_RANGE_HAS_DMA: u32 = 1 << 6;
    SVMLAB_MAX_RANGES: u32 = 65536;

    SVMLAB_PAGE_VALID: u32 = 1 << 0;
    SVMLAB_PAGE_HUGE: u32 = 1 << 1;
    SVMLAB_PAGE_NORETRY: u32 = 1 << 2;
    SVMLAB_PAGE_SAME: u32 = 1 << 3;
    SVMLAB_PAGE_CACHED: u32 = 1 << 4;
    SVMLAB_PAGE_CACHED_SAME: u32 = 1 << 5;
    SVMLAB_PAGE_CPU: u32 = 1 << 6;
    SVMLAB_PAGE_CPU_WRITE: u32 = 1 << 7;
    SVMLAB_MAX_PAGES: u32 = 16384;

    SVMLAB_HW_FAIL: u32 = 0;
    SVMLAB_HW_SKIP_TLB_FLUSH: u32 = 1;
    SVMLAB_HW_EVICT_PAGE_TABLES: u32 = 2;
    SVMLAB_HW_VALIDATE: u32 = 3;
    SVMLAB_HW_UNPLUG: u32 = 4;
    SVMLAB_HW_RESET: u32 = 5;
    SVMLAB_HW_QUIESCE: u32 = 6;
    SVMLAB_HW_RESUME: u32 = 7;
    SVMLAB_HW_FLUSH_TLB: u32 = 8;
    SVMLAB_HW_FAIL_ALLOCATION: u32 = 9;
    SVMLAB_POINT_RESERVE_ROOT: u32 = 0;
    SVMLAB_POINT_TABLE_ALLOC: u32 = 1;
    SVMLAB_POINT_DMA_MAP: u32 = 2;
    SVMLAB_POINT_UNMAP_QUEUES: u32 = 3;
    SVMLAB_POINT_MAP_QUEUES: u32 = 4;

    SVMLAB_LOG_ON: u32 = 1 << 0;
    SVMLAB_LOG_OFF: u32 = 1 << 1;
    SVMLAB_LOG_DRAIN: u32 = 1 << 2;
    SVMLAB_MAX_LOG: u32 = 1 << 20;

    SVMLAB_GATE_ARM: u32 = 0;
    SVMLAB_GATE_ENTER: u32 = 1;
    SVMLAB_GATE_POINT: u32 = 2;
    SVMLAB_GATE_LEAVE: u32 = 3;
    SVMLAB_GATE_DISARM: u32 = 4;
    SVMLAB_GATE_STATE: u32 = 5;
    SVMLAB_GATE_ACTORS: u32 = 16;
    SVMLAB_GATE_STEPS: u32 = 65536;
    SVMLAB_GATE_TIMEOUT_MS: u32 = 10000;
    SVMLAB_GATE_ANYWHERE: u32 = 0;
}

/// `SVMLAB_GC()`.
pub const fn gc(major: u8, minor: u8, rev: u8) -> u32 {
    (major as u32) << 16 | (minor as u32) << 8 | rev as u32
}
