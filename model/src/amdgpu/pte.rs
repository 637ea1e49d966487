//! PTE flags by GC generation and attribute flags: the table of `amdgpu_svm_range.c` and what the gmc code adds to it. The
//! first posting knows system memory only ([`pte_flags`]); later ones decide segment by segment, by what is behind it
//! ([`segment_pte_flags`]).
//!
//! Source: spec amdgpu-svm 3.1, 7.3.

use crate::attr::Flags;
use crate::platform::{GcVersion, GpuProperties, Interconnect, Mtype, PteFlags};

/// `AMDGPU_VM_*` mapping flags: what the gmc code turns into PTE bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MappingFlags {
    /// Memory type.
    pub mtype: Mtype,
    /// AMDGPU_VM_PAGE_EXECUTABLE.
    pub executable: bool,
}

/// The mapping flags for system memory with attribute flags `flags`.
pub const fn mapping_flags(gpu: &GpuProperties, flags: Flags) -> MappingFlags {
    MappingFlags { mtype: memory_type(gpu, flags), executable: flags.has(Flags::GPU_EXEC) }
}

/// The PTE bits for a system memory page with attribute flags `flags`. `read_only` is the mapping loop's fallback for a
/// VMA without write permission; it takes WRITEABLE away as GPU_RO does.
pub fn pte_flags(gpu: &GpuProperties, flags: Flags, read_only: bool) -> PteFlags {
    let MappingFlags { mtype, executable } = mapping_flags(gpu, flags);
    let mut pte = (PteFlags::VALID | PteFlags::SYSTEM | PteFlags::SNOOPED | PteFlags::READABLE).with_mtype(mtype);
    if gpu.gc >= GcVersion(12, 0, 0) {
        pte = pte | PteFlags::IS_PTE;
    }
    if executable {
        pte = pte | PteFlags::EXECUTABLE;
    }
    if !flags.has(Flags::GPU_RO) && !read_only {
        pte = pte | PteFlags::WRITEABLE;
    }
    pte
}

/// `range_attr_pte_flags` of V6 and later: the PTE bits for a segment that is reached by `proto`.
///
/// No GPU here is attached to the CPU by XGMI (9.4.2 would then snoop its own memory), none of 12.1.0 is of the first
/// revision or does bus atomics. Peers count as of the same hive.
pub fn segment_pte_flags(gpu: &GpuProperties, flags: Flags, read_only: bool, proto: Interconnect) -> PteFlags {
    let local = matches!(proto, Interconnect::Vram);
    let mut pte = pte_flags(gpu, flags, read_only).without(PteFlags(3 << PteFlags::MTYPE_SHIFT));
    pte = pte.with_mtype(segment_memory_type(gpu, flags, proto));
    if local {
        pte = pte.without(PteFlags::SYSTEM);
        if !matches!(gpu.gc, GcVersion(9, 4, 3 | 4) | GcVersion(9, 5, 0) | GcVersion(12, 1, 0)) {
            pte = pte.without(PteFlags::SNOOPED);
        }
    }
    pte
}

/// The memory type of a segment.
const fn segment_memory_type(gpu: &GpuProperties, flags: Flags, proto: Interconnect) -> Mtype {
    let ext = flags.has(Flags::EXT_COHERENT);
    let coherent = ext || flags.has(Flags::COHERENT);
    match (gpu.gc, proto) {
        (GcVersion(9, 4, 1 | 2), Interconnect::Vram) => {
            if coherent {
                Mtype::Cc
            } else {
                Mtype::Rw
            }
        }
        (GcVersion(9, 4, 3 | 4) | GcVersion(9, 5, 0), Interconnect::Vram) => {
            if ext {
                Mtype::Cc
            } else {
                local_type(gpu)
            }
        }
        (GcVersion(9, 4, 3 | 4) | GcVersion(9, 5, 0), Interconnect::PeerVram) => {
            if ext {
                Mtype::Uc
            } else {
                Mtype::Nc
            }
        }
        // Unlike in the other rows, 2 is not CC here.
        (GcVersion(12, 1, 0), Interconnect::Vram) => match gpu.mtype_local {
            0 => Mtype::Rw,
            _ => Mtype::Nc,
        },
        // System memory and peers; EXT_COHERENT makes no difference in this revision.
        (GcVersion(12, 1, 0), _) => Mtype::Uc,
        _ => memory_type(gpu, flags),
    }
}

/// The memory type of system memory.
const fn memory_type(gpu: &GpuProperties, flags: Flags) -> Mtype {
    let ext = flags.has(Flags::EXT_COHERENT);
    let coherent = ext || flags.has(Flags::COHERENT);
    match gpu.gc {
        GcVersion(9, 4, 3 | 4) | GcVersion(9, 5, 0) => {
            if gpu.apu && !gpu.multi_node {
                // All memory is local to it.
                if ext { Mtype::Cc } else { local_type(gpu) }
            } else if gpu.apu {
                // Whether a page is local is known only page by page, later, in the gmc code.
                if ext { Mtype::Uc } else { Mtype::Nc }
            } else {
                let before_9_5_0 = matches!(gpu.gc, GcVersion(9, 4, _));
                if before_9_5_0 || ext { Mtype::Uc } else { Mtype::Nc }
            }
        }
        GcVersion(12, 0, 0 | 1) => Mtype::Nc,
        // 9.4.1, 9.4.2, 11.0.0 to 11.0.4, 11.5.0 to 11.5.3 have rows of their own in the driver, with the same answer.
        _ => {
            if coherent {
                Mtype::Uc
            } else {
                Mtype::Nc
            }
        }
    }
}

/// Module parameter `mtype_local`.
const fn local_type(gpu: &GpuProperties) -> Mtype {
    match gpu.mtype_local {
        1 => Mtype::Nc,
        2 => Mtype::Cc,
        _ => Mtype::Rw,
    }
}
