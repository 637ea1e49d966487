//! One GPU as seen by one VM of it: `amdgpu_vm`, the DMA API, KFD's queue control.
//!
//! Source: spec amdgpu-svm.md section 3.1 and appendix B.

use super::Kernel;
use crate::Errno;
use crate::units::Pages;
use core::fmt;
use core::ops::{BitAnd, BitOr, Not};

/// A GPU and the VM on it. A cheap handle; cloning copies the pointer.
pub trait Gpu<K: Kernel, M>: Clone + 'static {
    /// The VM's root page directory is reserved (drm_exec, one fence slot).
    type RootReserved<'a>
    where
        Self: 'a;

    /// What the hardware and the module parameters are. Constant.
    fn properties(&self) -> GpuProperties;

    /// `drm_exec` over the root page directory, not interruptible. RESV in the lock hierarchy: inside mmap_lock, outside
    /// notifier_lock.
    ///
    /// # Errors
    /// `ENOMEM`.
    #[track_caller]
    fn reserve_root(&self) -> Result<Self::RootReserved<'_>, Errno>;

    /// `amdgpu_vm_update_range`. Takes the VM's eviction lock.
    ///
    /// # Errors
    /// `ENODEV` (unplugged), `ENOMEM` (page tables), `EBUSY` (page tables are being evicted).
    #[track_caller]
    fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno>;
    /// `amdgpu_vm_update_pdes`; the root is reserved.
    ///
    /// # Errors
    /// `ENOMEM`, `ENODEV`.
    #[track_caller]
    fn update_pdes(&self, root: &Self::RootReserved<'_>) -> Result<(), Errno>;
    /// `dma_fence_wait(fence, false)`.
    #[track_caller]
    fn wait_fence(&self, fence: Fence);
    /// Heavyweight flush of the VM's PASID, skipped when no page-table update asked for one since the last
    /// (`amdgpu_vm_flush_compute_tlb`).
    #[track_caller]
    fn flush_tlb(&self);

    /// `kgd2kfd_quiesce_mm`: stops all queues of the process that owns `mm`, on all its devices; nests per device.
    ///
    /// # Errors
    /// `ESRCH` (no KFD process), `EIO` (hardware hang; counted as stopped).
    #[track_caller]
    fn quiesce_mm(&self, mm: &M) -> Result<(), Errno>;
    /// `kgd2kfd_resume_mm`: undoes one quiesce.
    ///
    /// # Errors
    /// `ESRCH`, `EIO`.
    #[track_caller]
    fn resume_mm(&self, mm: &M) -> Result<(), Errno>;

    /// `dma_map_page` of `1 << order` pages from `pfn`.
    ///
    /// # Errors
    /// `EFAULT` (the kernel's DMA_MAPPING_ERROR).
    #[track_caller]
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno>;
    /// `dma_unmap_page`.
    #[track_caller]
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection);
}

/// A bus address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct DmaAddr(pub u64);

/// `enum dma_data_direction`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaDirection {
    /// DMA_TO_DEVICE: the GPU only reads.
    ToDevice,
    /// DMA_BIDIRECTIONAL.
    Bidirectional,
}

/// The fence of a page-table update job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence(pub u64);

/// Arguments of `amdgpu_vm_update_range`. `immediate` is always false here and sync always none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PteUpdate {
    /// Called from a notifier: root not reserved, existing leaves only, never allocates; a huge leaf is cleared whole.
    pub unlocked: bool,
    /// The job's fence bumps the VM's TLB sequence.
    pub flush: bool,
    /// `allow_override`.
    pub allow_override: bool,
    /// GPU pages, inclusive.
    pub pages: Pages,
    /// PTE bits; [`PteFlags::NONE`] clears.
    pub flags: PteFlags,
    /// Bus address of the first page; the rest follows contiguously. None when clearing.
    pub addr: Option<DmaAddr>,
}

/// PTE bits (`AMDGPU_PTE_*`) plus a memory type field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PteFlags(pub u64);

impl PteFlags {
    /// Clears the entry.
    pub const NONE: PteFlags = PteFlags(0);
    /// Bit 0.
    pub const VALID: PteFlags = PteFlags(1 << 0);
    /// Bit 1.
    pub const SYSTEM: PteFlags = PteFlags(1 << 1);
    /// Bit 2.
    pub const SNOOPED: PteFlags = PteFlags(1 << 2);
    /// Bit 4.
    pub const EXECUTABLE: PteFlags = PteFlags(1 << 4);
    /// Bit 5.
    pub const READABLE: PteFlags = PteFlags(1 << 5);
    /// Bit 6.
    pub const WRITEABLE: PteFlags = PteFlags(1 << 6);
    /// Bit 63, GC 12 and later.
    pub const IS_PTE: PteFlags = PteFlags(1 << 63);
    /// `AMDGPU_VM_NORETRY_FLAGS`: without VALID, but with EXECUTABLE, PDE_PTE (54) and TF (56), a combination at which the
    /// GPU does not retry but reports a fault.
    pub const NORETRY: PteFlags = PteFlags(1 << 4 | 1 << 54 | 1 << 56);
    /// Where we keep the memory type (bits 48..50); the real field moves between generations.
    pub const MTYPE_SHIFT: u32 = 48;

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: PteFlags) -> bool {
        self.0 & other.0 == other.0
    }
    /// Without the bits of `other`.
    pub const fn without(self, other: PteFlags) -> PteFlags {
        PteFlags(self.0 & !other.0)
    }
    /// With a memory type.
    pub const fn with_mtype(self, mtype: Mtype) -> PteFlags {
        PteFlags(self.0 | (mtype as u64) << Self::MTYPE_SHIFT)
    }
    /// The memory type.
    pub const fn mtype(self) -> Mtype {
        match (self.0 >> Self::MTYPE_SHIFT) & 3 {
            0 => Mtype::Nc,
            1 => Mtype::Rw,
            2 => Mtype::Cc,
            _ => Mtype::Uc,
        }
    }
}
impl BitOr for PteFlags {
    type Output = PteFlags;
    fn bitor(self, o: PteFlags) -> PteFlags {
        PteFlags(self.0 | o.0)
    }
}
impl BitAnd for PteFlags {
    type Output = PteFlags;
    fn bitand(self, o: PteFlags) -> PteFlags {
        PteFlags(self.0 & o.0)
    }
}
impl Not for PteFlags {
    type Output = PteFlags;
    fn not(self) -> PteFlags {
        PteFlags(!self.0)
    }
}
impl fmt::Debug for PteFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has(PteFlags::VALID) {
            return f.write_str("invalid");
        }
        let bit = |b: PteFlags, c: char| if self.has(b) { c } else { '-' };
        write!(
            f,
            "{}{}{} {:?}",
            bit(PteFlags::READABLE, 'r'),
            bit(PteFlags::WRITEABLE, 'w'),
            bit(PteFlags::EXECUTABLE, 'x'),
            self.mtype()
        )
    }
}

/// Memory type of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u64)]
pub enum Mtype {
    /// Non-coherent, cached.
    Nc = 0,
    /// Read-write cached.
    Rw = 1,
    /// Cache coherent.
    Cc = 2,
    /// Uncached.
    Uc = 3,
}

/// GC IP version, as `IP_VERSION(major, minor, rev)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GcVersion(pub u8, pub u8, pub u8);

/// Constants of a GPU that decide PTE flags, XNACK and defaults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpuProperties {
    /// GC IP version.
    pub gc: GcVersion,
    /// `AMD_IS_APU`.
    pub apu: bool,
    /// More than one NUMA node.
    pub multi_node: bool,
    /// Module parameter `mtype_local`: 1 NC, 2 CC, else RW.
    pub mtype_local: u8,
    /// `amdgpu_noretry`.
    pub noretry: bool,
    /// SR-IOV guest whose host does not support XNACK.
    pub sriov_without_xnack: bool,
    /// `max_pfn` of the VM manager: pages of GPU VA space.
    pub max_pfn: u64,
    /// Module parameter `svm_default_granularity`, log2 pages.
    pub default_granularity: u8,
}
