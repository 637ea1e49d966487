//! The GPUs of a process: indices, ids, bitmaps, and who is linked with whom.
//!
//! Answers to `kfd_process_gpuidx_from_gpuid` and `svm_nodes_in_same_hive`. Spec kfd-svm 1, 11.

use super::Svms;
use crate::platform::{Owner, Platform, Vram};
use core::fmt;

/// Most GPUs a process may have here (`MAX_GPU_INSTANCE`).
pub const MAX_GPUS: usize = 8;

/// A set of GPU indices (`DECLARE_BITMAP(MAX_GPU_INSTANCE)`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct GpuSet(pub u8);

impl GpuSet {
    /// No GPU.
    pub const EMPTY: GpuSet = GpuSet(0);

    /// The GPUs with indices below `count`.
    pub const fn first(count: usize) -> Self {
        GpuSet(((1u16 << count) - 1) as u8)
    }
    /// One GPU.
    pub const fn one(gpu: usize) -> Self {
        GpuSet(1 << gpu)
    }
    /// Whether no GPU is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Whether `gpu` is in it.
    pub const fn has(self, gpu: usize) -> bool {
        self.0 & (1 << gpu) != 0
    }
    /// With `gpu`.
    pub const fn with(self, gpu: usize) -> Self {
        GpuSet(self.0 | 1 << gpu)
    }
    /// Without `gpu`.
    pub const fn without(self, gpu: usize) -> Self {
        GpuSet(self.0 & !(1 << gpu))
    }
    /// In one of both.
    pub const fn or(self, other: GpuSet) -> Self {
        GpuSet(self.0 | other.0)
    }
    /// In both.
    pub const fn and(self, other: GpuSet) -> Self {
        GpuSet(self.0 & other.0)
    }
    /// The indices, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_GPUS).filter(move |&gpu| self.has(gpu))
    }
}
impl fmt::Debug for GpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<P: Platform> Svms<P> {
    /// The GPUs that SVM supports: all that there are (`bitmap_supported`).
    pub(super) fn supported(&self) -> GpuSet {
        GpuSet::first(self.config.gpus)
    }

    /// The GPU with this index, if there is one.
    pub(super) fn gpu(&self, gpu: usize) -> Option<&P::Gpu> {
        self.gpus.get(gpu)?.as_ref()
    }

    /// The GPUs of `set` that there are, in ascending order.
    pub(super) fn gpus_of(&self, set: GpuSet) -> impl Iterator<Item = (usize, &P::Gpu)> {
        set.iter().filter_map(|gpu| Some((gpu, self.gpu(gpu)?)))
    }

    /// `kfd_process_gpuidx_from_gpuid`.
    pub(super) fn gpu_index(&self, id: u32) -> Option<usize> {
        self.config.gpu_ids[..self.config.gpus].iter().position(|&other| other == id)
    }

    /// The id of a GPU.
    pub(super) fn gpu_id(&self, gpu: usize) -> u32 {
        self.config.gpu_ids[gpu]
    }

    /// `SVM_ADEV_PGMAP_OWNER`.
    pub(super) fn owner(&self, gpu: usize) -> Owner {
        self.gpu(gpu).map_or(Owner::NONE, Vram::owner)
    }

    /// `svm_nodes_in_same_hive`: GPUs in a hive share the owner of their pagemaps.
    pub(super) fn same_hive(&self, a: usize, b: usize) -> bool {
        a == b || (self.owner(a) != Owner::NONE && self.owner(a) == self.owner(b))
    }
}
