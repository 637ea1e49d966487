//! `struct drm_gpusvm` as the driver's framework.

use super::range::{self, Ranges};
use super::{NotifierReadGuard, OnDrm};
use crate::ffi::gpusvm::{self as ffi, RawDma, RawGpuSvm, RawGpuSvmConfig, RawGpuSvmCtx, RawNotifier};
use crate::gate::{self, Kind};
use crate::{LinuxKernel, LinuxMm, errno};
use core::ffi::c_void;
use core::marker::PhantomData;
use core::panic::Location;
use core::ptr::{self, NonNull};
use model::Errno;
use model::framework::{
    Config, Ctx, DmaEntry, DriverLocked, Instance, NotifierHandle, NotifierHeld, NotifierRead, NotifierWrite, Range,
    RangeHandle, TreeAccess,
};
use model::platform::{DmaAddr, DmaDirection, Handle, Interconnect, KRwSem, Kernel, Objects};
use model::units::Bytes;

/// A `struct drm_gpusvm` on the heap, with the DRM device of this module.
///
/// # Invariants
/// `raw` is initialised by `drm_gpusvm_init` for ranges of `Range<P, R>`'s layout.
pub struct DrmInstance<P: OnDrm, R: 'static> {
    raw: NonNull<RawGpuSvm>,
    mm: LinuxMm,
    ranges: Ranges,
    of: PhantomData<fn() -> Range<P, R>>,
}

impl<P: OnDrm, R: 'static> DrmInstance<P, R> {
    fn notifier(raw: *mut RawNotifier) -> Option<NotifierHandle<P, R>> {
        (!raw.is_null()).then(|| Handle::from_bits(raw as u64))
    }

    fn notifier_bytes(notifier: NotifierHandle<P, R>) -> Bytes {
        let (mut start, mut end) = (0, 0);
        // SAFETY: whoever has the handle of a notifier holds the driver lock, under which it stays.
        unsafe { ffi::svmlab_c_gpusvm_notifier_bytes(to_notifier(notifier.to_bits()), &mut start, &mut end) };
        Bytes::new(start, end)
    }
}

fn to_notifier(bits: u64) -> *mut RawNotifier {
    bits as *mut RawNotifier
}

fn to_ctx(ctx: &Ctx) -> RawGpuSvmCtx {
    let flag = |set, bit| if set { bit } else { 0 };
    RawGpuSvmCtx {
        check_pages_threshold: ctx.check_pages_threshold,
        owner: ctx.owner.0,
        timeslice_ms: ctx.timeslice_ms,
        flags: flag(ctx.read_only, ffi::CTX_READ_ONLY)
            | flag(ctx.devmem_possible, ffi::CTX_DEVMEM_POSSIBLE)
            | flag(ctx.devmem_only, ffi::CTX_DEVMEM_ONLY)
            | flag(ctx.allow_mixed, ffi::CTX_ALLOW_MIXED),
    }
}

/// `enum drm_interconnect_protocol`, by its numbers; `gpusvm.c` asserts that they are these.
fn to_dma(raw: RawDma) -> DmaEntry {
    DmaEntry {
        addr: DmaAddr(raw.addr),
        order: raw.order,
        proto: match raw.proto {
            0 => Interconnect::System,
            1 => Interconnect::Vram,
            _ => Interconnect::PeerVram,
        },
        direction: if raw.to_device { DmaDirection::ToDevice } else { DmaDirection::Bidirectional },
    }
}

impl<P: OnDrm, R: 'static> Instance<P, R> for DrmInstance<P, R> {
    type Ranges = Ranges;

    /// The GPU is not asked: `drm_gpusvm` maps for the device of the module, as the software GPU does.
    fn new(config: Config, mm: LinuxMm, _: P::Gpu) -> Result<Self, Errno> {
        let (size, align) = range::layout::<P, R>();
        let mut raw_config = RawGpuSvmConfig {
            name: config.name.as_ptr(),
            name_len: config.name.len(),
            mm_start: config.mm_start,
            mm_range: config.mm_range,
            notifier_size: config.notifier_size,
            chunk_sizes: [0; 8],
            num_chunks: config.chunk_sizes.as_slice().len() as u32,
            client: config.client.0,
            range_size: size as u32,
            range_align: align as u32,
            drop: range::drop_driver::<P, R>,
        };
        for (to, from) in raw_config.chunk_sizes.iter_mut().zip(config.chunk_sizes.as_slice()) {
            *to = *from;
        }
        let mut raw = ptr::null_mut();
        // SAFETY: C copies what it keeps of the configuration; the caller has the mm; C fills `raw` when it returns 0.
        errno::check(unsafe { ffi::svmlab_c_gpusvm_new(&raw_config, mm.as_raw(), &mut raw) })?;
        let raw = NonNull::new(raw).ok_or(Errno::ENOMEM)?;
        Ok(DrmInstance { raw, mm, ranges: Ranges, of: PhantomData })
    }

    fn driver_set_lock(&self, lock: &KRwSem<P, ()>) {
        // SAFETY: the instance is initialised, and the driver's lock outlives it; lockdep only looks at its map.
        unsafe { ffi::svmlab_c_gpusvm_set_lock(self.raw.as_ptr(), lock.as_raw()) }
    }

    fn fini(&self, _: DriverLocked<'_>) {
        // SAFETY: it is initialised, once taken down, and the driver lock is held.
        unsafe { ffi::svmlab_c_gpusvm_fini(self.raw.as_ptr()) }
    }

    fn mm(&self) -> &LinuxMm {
        &self.mm
    }

    #[track_caller]
    fn notifier_lock(&self) -> NotifierRead<'_, P> {
        gate::point(Kind::ReadLock, Location::caller());
        // SAFETY: the instance lives as long as the borrow of `self` does, which the guard keeps.
        NotifierRead::new(unsafe { NotifierReadGuard::lock(self.raw) })
    }

    fn first_notifier(&self, _: DriverLocked<'_>, bytes: Bytes) -> Option<NotifierHandle<P, R>> {
        // SAFETY: it is initialised, and the driver lock is held, under which the tree stays.
        Self::notifier(unsafe { ffi::svmlab_c_gpusvm_notifier_find(self.raw.as_ptr(), bytes.start, bytes.end) })
    }

    fn next_notifier(
        &self,
        _: DriverLocked<'_>,
        notifier: NotifierHandle<P, R>,
        end: u64,
    ) -> Option<NotifierHandle<P, R>> {
        // SAFETY: the driver lock is held, and the notifier is linked.
        Self::notifier(unsafe { ffi::svmlab_c_gpusvm_notifier_next(to_notifier(notifier.to_bits()), end) })
    }

    fn first_range(
        &self,
        notifier: NotifierHandle<P, R>,
        bytes: Bytes,
        _: TreeAccess<'_, '_, P>,
    ) -> Option<RangeHandle<P, R>> {
        let notifier = to_notifier(notifier.to_bits());
        // SAFETY: by `TreeAccess` the tree stays as it is meanwhile, and the notifier with it.
        range::from_raw(unsafe { ffi::svmlab_c_gpusvm_range_find(notifier, bytes.start, bytes.end) })
    }

    fn next_range(&self, range: RangeHandle<P, R>, end: u64, _: TreeAccess<'_, '_, P>) -> Option<RangeHandle<P, R>> {
        // SAFETY: by `TreeAccess` the tree stays as it is meanwhile; the range is in it.
        range::from_raw(unsafe { ffi::svmlab_c_gpusvm_range_next(range::to_raw(range), end) })
    }

    #[track_caller]
    fn range(&self, range: RangeHandle<P, R>) -> &Range<P, R> {
        self.ranges.get(range)
    }

    fn range_cache(&self) -> &Ranges {
        &self.ranges
    }

    #[track_caller]
    fn range_get(&self, range: RangeHandle<P, R>) {
        gate::point(Kind::Store, Location::caller());
        // SAFETY: the caller has a reference, or a lock under which the range stays.
        unsafe { ffi::svmlab_c_gpusvm_range_get(range::to_raw(range)) }
    }

    #[track_caller]
    fn range_put(&self, range: RangeHandle<P, R>) {
        gate::point(Kind::Store, Location::caller());
        // SAFETY: the caller has a reference, and uses it up.
        unsafe { ffi::svmlab_c_gpusvm_range_put(range::to_raw(range)) }
    }

    fn find_or_insert(
        &self,
        _: DriverLocked<'_>,
        fault: u64,
        window: Bytes,
        ctx: &Ctx,
        data: impl FnOnce() -> R,
    ) -> Result<RangeHandle<P, R>, Errno> {
        fn filler<P: OnDrm, R: 'static, D: FnOnce() -> R>(_: &Option<D>) -> ffi::RawFill {
            range::fill::<P, R, D>
        }
        let mut data = Some(data);
        let fill = filler::<P, R, _>(&data);
        let arg: *mut c_void = (&raw mut data).cast();
        let mut range = ptr::null_mut();
        // SAFETY: the driver lock is held; `arg` is what `fill` wants and lives until C returns; C fills `range` when it
        // returns 0.
        errno::check(unsafe {
            ffi::svmlab_c_gpusvm_find_or_insert(
                self.raw.as_ptr(),
                fault,
                window.start,
                window.end,
                &to_ctx(ctx),
                fill,
                arg,
                &mut range,
            )
        })?;
        range::from_raw(range).ok_or(Errno::ENOMEM)
    }

    fn range_remove(&self, _: DriverLocked<'_>, range: RangeHandle<P, R>) {
        // SAFETY: the driver lock is held, and the range is live.
        unsafe { ffi::svmlab_c_gpusvm_range_remove(self.raw.as_ptr(), range::to_raw(range)) }
    }

    fn get_pages(&self, _: DriverLocked<'_>, range: RangeHandle<P, R>, ctx: &Ctx) -> Result<(), Errno> {
        // SAFETY: the driver lock is held, and the range is live and in the tree.
        errno::check(unsafe { ffi::svmlab_c_gpusvm_get_pages(self.raw.as_ptr(), range::to_raw(range), &to_ctx(ctx)) })
    }

    #[track_caller]
    fn pages_valid(&self, _: NotifierHeld<'_>, range: RangeHandle<P, R>) -> bool {
        gate::point(Kind::Load, Location::caller());
        // SAFETY: the notifier lock is held, and the range is live.
        unsafe { ffi::svmlab_c_gpusvm_pages_valid(self.raw.as_ptr(), range::to_raw(range)) }
    }

    fn for_each_dma(
        &self,
        _: NotifierHeld<'_>,
        range: RangeHandle<P, R>,
        mut f: impl FnMut(u64, DmaEntry) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let npages = self.range(range).npages() as u64;
        let (mut page, mut slot) = (0, 0);
        while page < npages {
            let mut dma = RawDma::default();
            // SAFETY: the notifier lock is held, so the array stays; there are as many slots as mappings, and this one is
            // not behind the last, because the mappings together are the range.
            if !unsafe { ffi::svmlab_c_gpusvm_dma(range::to_raw(range), slot, &mut dma) } {
                return Err(Errno::EINVAL);
            }
            f(page, to_dma(dma))?;
            page += 1 << dma.order;
            slot += 1;
        }
        Ok(())
    }

    fn unmap_pages(&self, range: RangeHandle<P, R>) {
        // SAFETY: the range is live, and the driver lock is held, the notifier lock not.
        unsafe { ffi::svmlab_c_gpusvm_unmap_pages(self.raw.as_ptr(), range::to_raw(range), false) }
    }

    fn unmap_pages_in_notifier(&self, _: &NotifierWrite<'_, P>, range: RangeHandle<P, R>) {
        // SAFETY: the range is live, and the notifier lock is held for write.
        unsafe { ffi::svmlab_c_gpusvm_unmap_pages(self.raw.as_ptr(), range::to_raw(range), true) }
    }

    fn set_unmapped(&self, _: &NotifierWrite<'_, P>, range: RangeHandle<P, R>, event: Bytes) {
        // SAFETY: the range is live, and the notifier lock is held for write.
        unsafe { ffi::svmlab_c_gpusvm_set_unmapped(range::to_raw(range), event.start, event.end) }
    }

    fn range_evict(&self, _: DriverLocked<'_>, range: RangeHandle<P, R>) -> Result<(), Errno> {
        // SAFETY: the driver lock is held, and the range is live and in the tree.
        errno::check(unsafe { ffi::svmlab_c_gpusvm_range_evict(self.raw.as_ptr(), range::to_raw(range)) })
    }

    fn has_mapping(&self, _: DriverLocked<'_>, bytes: Bytes) -> bool {
        // SAFETY: the driver lock is held.
        unsafe { ffi::svmlab_c_gpusvm_has_mapping(self.raw.as_ptr(), bytes.start, bytes.end) }
    }

    fn find_vma_start(&self, bytes: Bytes) -> Option<u64> {
        // SAFETY: the instance is initialised; C takes what it needs of the mm.
        let start = unsafe { ffi::svmlab_c_gpusvm_find_vma_start(self.raw.as_ptr(), bytes.start, bytes.end) };
        (start != u64::MAX).then_some(start)
    }

    /// The shape of the trees is the kernel's business; what can be seen from here is their order and what is in them.
    fn check(&self, locked: DriverLocked<'_>) {
        let everything = Bytes::new(0, u64::MAX);
        let access = TreeAccess::Driver(locked);
        let mut end = 0;
        let mut next = self.first_notifier(locked, everything);
        while let Some(notifier) = next {
            let window = Self::notifier_bytes(notifier);
            let mut range = self.first_range(notifier, everything, access);
            if range.is_none() {
                LinuxKernel::warn(format_args!("notifier {window} is linked without a range"));
            }
            while let Some(at) = range {
                let bytes = self.range(at).bytes();
                if !window.covers(&bytes) || bytes.start < end {
                    LinuxKernel::warn(format_args!("range {bytes} of notifier {window} is out of its place"));
                }
                end = bytes.end;
                range = self.next_range(at, everything.end, access);
            }
            next = self.next_notifier(locked, notifier, everything.end);
        }
    }
}

impl<P: OnDrm, R: 'static> Drop for DrmInstance<P, R> {
    fn drop(&mut self) {
        // SAFETY: after fini, or before anything was in it, no notifier and no range of it is left.
        unsafe { ffi::svmlab_c_gpusvm_free(self.raw.as_ptr()) }
    }
}
