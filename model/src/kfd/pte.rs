//! PTE flags of a page of a range: `svm_range_get_pte_flags`. System memory is as in [`crate::amdgpu::pte`], whose table
//! comes from here; VRAM has rows of its own.

use crate::amdgpu::pte::pte_flags;
use crate::attr::Flags;
use crate::platform::{GcVersion, GpuProperties, Mtype, PteFlags};

/// Whose VRAM a page is in, as seen by the GPU that maps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VramOf {
    /// Its own.
    Own,
    /// That of a GPU in the same hive.
    SameHive,
    /// That of any other GPU.
    Foreign,
}

/// The PTE bits for a page with attribute flags `flags`, in system memory (`vram` None) or in VRAM. `read_only`: the VMA
/// may not be written.
pub fn svm_pte_flags(gpu: &GpuProperties, flags: Flags, vram: Option<VramOf>, read_only: bool) -> PteFlags {
    let system = pte_flags(gpu, flags, read_only);
    let Some(vram) = vram else { return system };
    let (mtype, snooped) = vram_type(gpu, flags, vram);
    let mtype_field = PteFlags(3 << PteFlags::MTYPE_SHIFT);
    let pte = system.without(mtype_field | PteFlags::SYSTEM | PteFlags::SNOOPED).with_mtype(mtype);
    if snooped { pte | PteFlags::SNOOPED } else { pte }
}

/// Memory type of VRAM, and whether the CPU's caches are snooped.
fn vram_type(gpu: &GpuProperties, flags: Flags, vram: VramOf) -> (Mtype, bool) {
    let ext = flags.has(Flags::EXT_COHERENT);
    let coherent = ext || flags.has(Flags::COHERENT);
    match gpu.gc {
        GcVersion(9, 4, 1 | 2) => match vram {
            VramOf::Own => (if coherent { Mtype::Cc } else { Mtype::Rw }, false),
            peer => (if coherent { Mtype::Uc } else { Mtype::Nc }, peer == VramOf::SameHive),
        },
        GcVersion(9, 4, 3 | 4) | GcVersion(9, 5, 0) => {
            let mtype = match vram {
                VramOf::Own if ext => Mtype::Cc,
                VramOf::Own => match gpu.mtype_local {
                    1 => Mtype::Nc,
                    2 => Mtype::Cc,
                    _ => Mtype::Rw,
                },
                VramOf::SameHive if !ext => Mtype::Nc,
                _ => Mtype::Uc,
            };
            (mtype, true)
        }
        GcVersion(12, 0, 0 | 1) => (Mtype::Nc, false),
        _ => (if coherent { Mtype::Uc } else { Mtype::Nc }, false),
    }
}
