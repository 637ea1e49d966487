//! `drm_gpusvm_range_find_or_insert`: the range at an address, created if need be, and its notifier before it.
//! Spec drm-gpusvm 5, 6.

use super::{GpuSvm, Ported, RangeBase};
use crate::Errno;
use crate::framework::{Ctx, DriverLocked, NotifierHandle, Range, RangeHandle, TreeAccess};
use crate::note;
use crate::platform::{Cache, Kernel, Mm, Plant};
use crate::units::Bytes;

/// The arguments, for the steps under mmap_lock.
struct Request<'a> {
    fault: u64,
    window: Bytes,
    ctx: &'a Ctx,
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// Finds the range that holds the byte address `fault`, or creates one inside `window` (the driver's own bounds,
    /// bytes) with `data` as the driver's part. Spec drm-gpusvm 6.
    ///
    /// A range that is there already is returned *as it is*: it may be `unmapped` and waiting for garbage collection,
    /// reach over the bounds of its VMA by now, or stick out of `window`. But the VMA is looked at before: where the
    /// VMA is gone, the answer is `ENOENT` even if the range still exists.
    ///
    /// Takes mmap_lock for read, and NL for read inside it; for a new notifier, before that, whatever registering it
    /// takes (mmap_lock for *write* for the first of an mm). May run the last `mmput`.
    ///
    /// # Errors
    /// In the order of the tests: `EINVAL` (`fault` outside the instance's window), `EFAULT` (the process is gone),
    /// `ENOMEM`, `EINTR`, `EOVERFLOW` (new notifier), `ENOENT` (no VMA at `fault`), `EPERM` (VMA not writable, and
    /// not `ctx.read_only`), `EIO` (VM_IO or VM_PFNMAP), `EINVAL` (no chunk fits), `ENOMEM` (the range).
    pub fn find_or_insert(
        &self,
        locked: DriverLocked<'_>,
        fault: u64,
        window: Bytes,
        ctx: &Ctx,
        data: impl FnOnce() -> R,
    ) -> Result<RangeHandle<P, R>, Errno> {
        let (first, top) = (self.config.mm_start, self.config.mm_start.wrapping_add(self.config.mm_range));
        // The address just past the window passes.
        if fault < first || fault > top {
            return Err(Errno::EINVAL);
        }
        if !self.mm.mmget_not_zero() {
            return Err(Errno::EFAULT);
        }
        let hint = P::Kernel::planted(Plant::HmmDeadFlagHint);
        if hint {
            self.mm.mmput();
        }
        let result = self.find_or_insert_alive(locked, &Request { fault, window, ctx }, data);
        if !hint && (result.is_ok() || !P::Kernel::planted(Plant::NouveauBindMmLeak)) {
            self.mm.mmput();
        }
        if let Err(error) = result {
            note!(P::Kernel, "find_or_insert: {fault:#x} gives {error}");
        }
        result
    }

    /// Steps 4 to 14, with the address space kept alive.
    fn find_or_insert_alive(
        &self,
        locked: DriverLocked<'_>,
        request: &Request<'_>,
        data: impl FnOnce() -> R,
    ) -> Result<RangeHandle<P, R>, Errno> {
        let (notifier, new) = match self.find_notifier(locked, request.fault) {
            Some(notifier) => (notifier, false),
            None => (self.register_notifier(request.fault)?, true),
        };
        let mmap = self.mm.mmap_read_lock();
        let result = self.find_or_insert_mmap_locked(locked, &mmap, notifier, new, request, data);
        // First this, then the notifier: its removal waits for invalidations, whose owners may want mmap_lock.
        drop(mmap);
        if new && result.is_err() {
            self.unregister_notifier(notifier);
        }
        result
    }

    /// Steps 6 to 13, under mmap_lock for read.
    fn find_or_insert_mmap_locked(
        &self,
        locked: DriverLocked<'_>,
        mmap: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        notifier: NotifierHandle<P, R>,
        new: bool,
        request: &Request<'_>,
        data: impl FnOnce() -> R,
    ) -> Result<RangeHandle<P, R>, Errno> {
        let &Request { fault, window, ctx } = request;
        let vma = self.mm.find_vma(mmap, fault).filter(|vma| vma.bytes.contains(fault)).ok_or(Errno::ENOENT)?;
        if !ctx.read_only && !vma.flags.write {
            return Err(Errno::EPERM);
        }
        if vma.flags.io || vma.flags.pfnmap {
            return Err(Errno::EIO);
        }

        let at_fault = Bytes::new(fault, fault.wrapping_add(1));
        if let Some(range) = self.first_range(notifier, at_fault, TreeAccess::Driver(locked)) {
            note!(P::Kernel, "find_or_insert: {fault:#x} is in range {}", self.range(range).bytes());
            return Ok(range);
        }

        let migrate_devmem = ctx.devmem_possible && vma.flags.anon && !vma.flags.hugetlb;
        let bytes = self.choose_chunk(mmap, notifier, &vma, fault, window, ctx).ok_or(Errno::EINVAL)?;
        let driver = data();
        let range = self.ranges.alloc(Range::new(RangeBase::new(bytes, notifier, migrate_devmem), driver))?;

        let nl = self.notifier_lock();
        self.notifier(notifier).ranges.insert(&self.ranges, range);
        drop(nl);
        if P::Kernel::planted(Plant::Mlx5LiveBeforeInit) {
            self.range(range).base().count_from_one();
        }
        if new {
            self.link_notifier(locked, notifier);
        }
        note!(P::Kernel, "find_or_insert: new range {bytes} for {fault:#x}");
        Ok(range)
    }
}
