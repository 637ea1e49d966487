//! The port behind the trait that the driver knows: each call is the function of that name.

use super::{GpuSvm, Ported};
use crate::Errno;
use crate::framework::{
    Config, Ctx, DmaEntry, DriverLocked, Instance, NotifierHandle, NotifierHeld, NotifierRead, NotifierWrite, Range,
    RangeHandle, TreeAccess,
};
use crate::platform::KCache;
use crate::units::Bytes;

impl<P: Ported, R: 'static> Instance<P, R> for GpuSvm<P, R> {
    type Ranges = KCache<P, Range<P, R>>;

    fn new(config: Config, mm: P::Mm, gpu: P::Gpu) -> Result<Self, Errno> {
        GpuSvm::new(config, mm, gpu)
    }
    fn fini(&self, locked: DriverLocked<'_>) {
        GpuSvm::fini(self, locked);
    }
    fn mm(&self) -> &P::Mm {
        GpuSvm::mm(self)
    }
    fn notifier_lock(&self) -> NotifierRead<'_, P> {
        GpuSvm::notifier_lock(self)
    }
    fn first_notifier(&self, locked: DriverLocked<'_>, bytes: Bytes) -> Option<NotifierHandle<P, R>> {
        GpuSvm::first_notifier(self, locked, bytes)
    }
    fn next_notifier(
        &self,
        locked: DriverLocked<'_>,
        notifier: NotifierHandle<P, R>,
        end: u64,
    ) -> Option<NotifierHandle<P, R>> {
        GpuSvm::next_notifier(self, locked, notifier, end)
    }
    fn first_range(
        &self,
        notifier: NotifierHandle<P, R>,
        bytes: Bytes,
        access: TreeAccess<'_, '_, P>,
    ) -> Option<RangeHandle<P, R>> {
        GpuSvm::first_range(self, notifier, bytes, access)
    }
    fn next_range(
        &self,
        range: RangeHandle<P, R>,
        end: u64,
        access: TreeAccess<'_, '_, P>,
    ) -> Option<RangeHandle<P, R>> {
        GpuSvm::next_range(self, range, end, access)
    }
    fn range(&self, range: RangeHandle<P, R>) -> &Range<P, R> {
        GpuSvm::range(self, range)
    }
    fn range_cache(&self) -> &KCache<P, Range<P, R>> {
        GpuSvm::range_cache(self)
    }
    fn range_get(&self, range: RangeHandle<P, R>) {
        GpuSvm::range_get(self, range);
    }
    fn range_put(&self, range: RangeHandle<P, R>) {
        GpuSvm::range_put(self, range);
    }
    fn find_or_insert(
        &self,
        locked: DriverLocked<'_>,
        fault: u64,
        window: Bytes,
        ctx: &Ctx,
        data: impl FnOnce() -> R,
    ) -> Result<RangeHandle<P, R>, Errno> {
        GpuSvm::find_or_insert(self, locked, fault, window, ctx, data)
    }
    fn range_remove(&self, locked: DriverLocked<'_>, range: RangeHandle<P, R>) {
        GpuSvm::range_remove(self, locked, range);
    }
    fn get_pages(&self, locked: DriverLocked<'_>, range: RangeHandle<P, R>, ctx: &Ctx) -> Result<(), Errno> {
        GpuSvm::get_pages(self, locked, range, ctx)
    }
    fn pages_valid(&self, held: NotifierHeld<'_>, range: RangeHandle<P, R>) -> bool {
        GpuSvm::pages_valid(self, held, range)
    }
    fn for_each_dma(
        &self,
        held: NotifierHeld<'_>,
        range: RangeHandle<P, R>,
        f: impl FnMut(u64, DmaEntry) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        GpuSvm::for_each_dma(self, held, range, f)
    }
    fn unmap_pages(&self, range: RangeHandle<P, R>) {
        GpuSvm::unmap_pages(self, range);
    }
    fn unmap_pages_in_notifier(&self, nl: &NotifierWrite<'_, P>, range: RangeHandle<P, R>) {
        GpuSvm::unmap_pages_in_notifier(self, nl, range);
    }
    fn set_unmapped(&self, nl: &NotifierWrite<'_, P>, range: RangeHandle<P, R>, event: Bytes) {
        GpuSvm::set_unmapped(self, nl, range, event);
    }
    fn range_evict(&self, locked: DriverLocked<'_>, range: RangeHandle<P, R>) -> Result<(), Errno> {
        GpuSvm::range_evict(self, locked, range)
    }
    fn has_mapping(&self, locked: DriverLocked<'_>, bytes: Bytes) -> bool {
        GpuSvm::has_mapping(self, locked, bytes)
    }
    fn find_vma_start(&self, bytes: Bytes) -> Option<u64> {
        GpuSvm::find_vma_start(self, bytes)
    }
    fn check(&self, locked: DriverLocked<'_>) {
        GpuSvm::check(self, locked);
    }
}
