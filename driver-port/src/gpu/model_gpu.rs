//! [`SwGpu`] as the driver sees it.

use super::board::{Board, MmIdentity};
use super::vm::{RootReserved, SwGpu};
use crate::gate::{self, Kind};
use core::panic::Location;
use model::Errno;
use model::platform::{
    DmaAddr, DmaDirection, FaultTime, Fence, Gpu, GpuProperties, Kernel, PteUpdate, RetryFaults, Vram,
};

impl<K: Kernel, B: Board, M: MmIdentity + Clone + 'static> Gpu<K, M> for SwGpu<K, B> {
    type RootReserved<'a>
        = RootReserved<'a, K>
    where
        Self: 'a;

    fn properties(&self) -> GpuProperties {
        self.config.properties
    }
    #[track_caller]
    fn reserve_root(&self) -> Result<Self::RootReserved<'_>, Errno> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).reserve_root(0)
    }
    #[track_caller]
    fn reserve_root_after(&self, others: u8) -> Result<Self::RootReserved<'_>, Errno> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).reserve_root(others)
    }
    #[track_caller]
    fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).update_range(update)
    }
    #[track_caller]
    fn update_pdes(&self, root: &Self::RootReserved<'_>) -> Result<(), Errno> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).update_pdes(root)
    }
    #[track_caller]
    fn wait_fence(&self, fence: Fence) {
        gate::point(Kind::Gpu, Location::caller());
        (**self).wait_fence(fence);
    }
    #[track_caller]
    fn flush_tlb(&self) {
        gate::point(Kind::Gpu, Location::caller());
        (**self).flush_tlb();
    }
    #[track_caller]
    fn quiesce_mm(&self, mm: &M) -> Result<(), Errno> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).quiesce_mm(mm.identity())
    }
    #[track_caller]
    fn resume_mm(&self, mm: &M) -> Result<(), Errno> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).resume_mm(mm.identity())
    }
    #[track_caller]
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).dma_map(pfn, order, direction)
    }
    #[track_caller]
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        gate::point(Kind::Gpu, Location::caller());
        (**self).dma_unmap(addr, order, direction);
    }
}

/// No memory of its own.
impl<K: Kernel, B: Board> Vram<K> for SwGpu<K, B> {}

impl<K: Kernel, B: Board> RetryFaults<K> for SwGpu<K, B> {
    #[track_caller]
    fn fault_checkpoint(&self) -> Option<FaultTime> {
        gate::point(Kind::Gpu, Location::caller());
        (**self).fault_checkpoint()
    }
    #[track_caller]
    fn drain_retry_faults(&self) {
        gate::point(Kind::Gpu, Location::caller());
        (**self).drain_retry_faults();
    }
    #[track_caller]
    fn filter_remove(&self, addr: u64) {
        gate::point(Kind::Gpu, Location::caller());
        (**self).filter_remove(addr);
    }
    fn in_reset(&self) -> bool {
        (**self).in_reset()
    }
}
