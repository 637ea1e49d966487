//! [`GpuVm`] as the driver sees it.

use crate::vm::{GpuVm, RootReserved};
use interleave::lab::Lab;
use model::Errno;
use model::platform::{DmaAddr, DmaDirection, Fence, Gpu, GpuProperties, PteUpdate, RetryFaults, Vram};

impl<L: Lab, M: Clone + 'static> Gpu<L, M> for GpuVm<L> {
    type RootReserved<'a>
        = RootReserved<'a, L>
    where
        Self: 'a;

    fn properties(&self) -> GpuProperties {
        GpuVm::properties(self)
    }
    #[track_caller]
    fn reserve_root(&self) -> Result<Self::RootReserved<'_>, Errno> {
        GpuVm::reserve_root(self)
    }
    #[track_caller]
    fn reserve_root_after(&self, others: u8) -> Result<Self::RootReserved<'_>, Errno> {
        L::nested(others, || GpuVm::reserve_root(self))
    }
    #[track_caller]
    fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno> {
        GpuVm::update_range(self, update)
    }
    #[track_caller]
    fn update_pdes(&self, root: &Self::RootReserved<'_>) -> Result<(), Errno> {
        GpuVm::update_pdes(self, root)
    }
    #[track_caller]
    fn wait_fence(&self, fence: Fence) {
        GpuVm::wait_fence(self, fence);
    }
    #[track_caller]
    fn flush_tlb(&self) {
        GpuVm::flush_tlb(self);
    }
    #[track_caller]
    fn quiesce_mm(&self, mm: &M) -> Result<(), Errno> {
        GpuVm::quiesce_mm(self, mm)
    }
    #[track_caller]
    fn resume_mm(&self, mm: &M) -> Result<(), Errno> {
        GpuVm::resume_mm(self, mm)
    }
    #[track_caller]
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        GpuVm::dma_map(self, pfn, order, direction)
    }
    #[track_caller]
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        GpuVm::dma_unmap(self, addr, order, direction);
    }
}

impl<L: Lab> Vram<L> for GpuVm<L> {}
impl<L: Lab> RetryFaults<L> for GpuVm<L> {}
