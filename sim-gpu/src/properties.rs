//! A few GPUs by name: the constants from which the driver derives PTE flags, XNACK and defaults.

use model::platform::{GcVersion, GpuProperties};

/// `vm_manager.max_pfn` of a 48-bit GPU address space, in 4 KiB pages.
pub const MAX_PFN_48: u64 = 1 << 36;

const fn discrete(gc: GcVersion) -> GpuProperties {
    GpuProperties {
        gc,
        apu: false,
        multi_node: false,
        mtype_local: 0,
        noretry: true,
        sriov_without_xnack: false,
        max_pfn: MAX_PFN_48,
        default_granularity: 9,
    }
}

/// MI200: XNACK per process.
pub const GFX90A: GpuProperties = discrete(GcVersion(9, 4, 2));
/// MI300X: XNACK per process.
pub const GFX942: GpuProperties = discrete(GcVersion(9, 4, 3));
/// MI300A, one NUMA node: memory types follow `mtype_local`.
pub const GFX942_APU: GpuProperties = GpuProperties { apu: true, ..GFX942 };
/// Navi 31: no XNACK.
pub const GFX1100: GpuProperties = discrete(GcVersion(11, 0, 0));
/// Navi 48: no XNACK, PTEs carry IS_PTE.
pub const GFX1201: GpuProperties = discrete(GcVersion(12, 0, 1));

/// Looks a GPU up by its compiler target name.
pub fn by_name(name: &str) -> Option<GpuProperties> {
    match name {
        "gfx90a" => Some(GFX90A),
        "gfx942" => Some(GFX942),
        "gfx942-apu" => Some(GFX942_APU),
        "gfx1100" => Some(GFX1100),
        "gfx1201" => Some(GFX1201),
        _ => None,
    }
}
