//! [`GpuVm`] as the driver sees it.

use crate::vm::{GpuVm, RootReserved};
use interleave::lab::Lab;
use model::Errno;
use model::platform::{
    CopyJob, DmaAddr, DmaDirection, FaultTime, Fence, Gpu, GpuProperties, Interconnect, Owner, PagemapId, PteUpdate,
    RetryFaults, Vram, VramBlock,
};
use model::units::PAGE_SHIFT;

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

impl<L: Lab> Vram<L> for GpuVm<L> {
    fn pagemap(&self) -> Option<PagemapId> {
        self.vram().map(|vram| vram.pagemap)
    }
    fn owner(&self) -> Owner {
        self.vram().map_or(Owner::NONE, |vram| vram.owner)
    }
    fn vram_size(&self) -> u64 {
        self.vram().map_or(0, |vram| vram.pages << PAGE_SHIFT)
    }
    #[track_caller]
    fn vram_alloc(&self, pages: u64) -> Result<VramBlock, Errno> {
        GpuVm::vram_alloc(self, pages)
    }
    #[track_caller]
    fn vram_free(&self, block: VramBlock) {
        GpuVm::vram_free(self, block);
    }
    #[track_caller]
    fn copy(&self, copies: &[CopyJob]) -> Result<Fence, Errno> {
        GpuVm::copy(self, copies)
    }
    #[track_caller]
    fn device_map(&self, pfn: u64, order: u8) -> Result<(DmaAddr, Interconnect), Errno> {
        GpuVm::device_map(self, pfn, order)
    }
    #[track_caller]
    fn device_unmap(&self, addr: DmaAddr, proto: Interconnect, order: u8) {
        GpuVm::device_unmap(self, addr, proto, order);
    }
}

impl<L: Lab> RetryFaults<L> for GpuVm<L> {
    #[track_caller]
    fn fault_checkpoint(&self) -> Option<FaultTime> {
        GpuVm::fault_checkpoint(self)
    }
    #[track_caller]
    fn drain_retry_faults(&self) {
        GpuVm::drain_retry_faults(self);
    }
    #[track_caller]
    fn filter_remove(&self, addr: u64) {
        GpuVm::filter_remove(self, addr);
    }
    #[track_caller]
    fn in_reset(&self) -> bool {
        GpuVm::in_reset(self)
    }
}
