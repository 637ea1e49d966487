//! Device memory: moving a range to the GPU, and what the platform calls when pages of it are wanted back. Spec amdgpu-svm
//! 7.4; the moving itself is [`crate::pagemap`].

use super::super::Svm;
use super::super::range::Handle;
use crate::Errno;
use crate::attr::Attrs;
use crate::framework::{Ctx, DriverLocked, Instance};
use crate::note;
use crate::pagemap::{MigrateDetails, Pagemap};
use crate::platform::{Mm, Owner, Platform, VramBlock};

impl<P: Platform> Svm<P> {
    /// `devmem_possible`.
    pub(super) fn v8_devmem_possible(&self) -> bool {
        self.v8().pagemap.is_some()
    }

    /// The `drm_gpusvm_ctx` that both ways of mapping start with. `read_only` is the caller's.
    pub(super) fn v8_ctx(&self, attrs: &Attrs) -> Ctx {
        let Some(pagemap) = &self.v8().pagemap else { return Ctx::default() };
        let vram = prefer_vram(attrs);
        Ctx {
            devmem_possible: true,
            check_pages_threshold: super::CHECK_PAGES_THRESHOLD,
            devmem_only: vram,
            timeslice_ms: if vram { super::TIMESLICE_MS } else { 0 },
            owner: pagemap.owner(),
            ..Ctx::default()
        }
    }

    /// `range_migrate_to_vram`: nothing where the range has device pages mapped already or may not have any. SL held; takes
    /// mmap_lock.
    ///
    /// # Errors
    /// Those of [`Pagemap::populate_mm`]; after `EBUSY` everything is brought back to system memory and it is tried once
    /// more.
    pub(super) fn v8_migrate_to_vram(
        &self,
        locked: DriverLocked<'_>,
        handle: Handle<P>,
        timeslice_ms: u64,
    ) -> Result<(), Errno> {
        let range = self.gpusvm.range(handle);
        let flags = range.flags();
        if !flags.migrate_devmem || flags.has_devmem_pages {
            return Ok(());
        }
        let pagemap = self.v8().pagemap.as_ref().ok_or(Errno::ENODEV)?;
        let details = MigrateDetails { timeslice_ms, ..MigrateDetails::default() };
        let mut retries = 1;
        loop {
            let result = pagemap.populate_mm(self.mm(), range.bytes(), &details);
            if result != Err(Errno::EBUSY) || retries == 0 {
                if let Err(e) = result {
                    note!(P::Kernel, "range {}: migration to the GPU failed with {e}", range.bytes());
                }
                return result;
            }
            retries -= 1;
            let _ = self.gpusvm.range_evict(locked, handle);
        }
    }

    /// The GPU's memory as this process has it. None: not `poc-v8`, or the GPU has none.
    ///
    /// It outlives the instance's use: pages of it stay in the process after [`Svm::fini`], and give their folios back
    /// through [`Svm::folio_free`] whenever they go.
    pub fn pagemap(&self) -> Option<&Pagemap<P>> {
        self.v8.as_ref()?.pagemap.as_ref()
    }

    /// The owner of this instance's device pages; [`Owner::NONE`] without.
    pub fn pagemap_owner(&self) -> Owner {
        self.pagemap().map_or(Owner::NONE, Pagemap::owner)
    }

    /// The pagemap's `migrate_to_ram` op: the CPU touched `addr` (bytes) of `mm`, this instance's or a child of it, where
    /// the device page `pfn` of this GPU is mapped. `held` is its mmap_lock, taken for the fault; the fault holds the page
    /// referenced and locked. Ok: the CPU tries again. Sleeps.
    ///
    /// # Errors
    /// All mean SIGBUS: those of [`Pagemap::migrate_to_ram`], and `EFAULT` without device memory.
    pub fn migrate_to_ram(
        &self,
        mm: &P::Mm,
        held: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        addr: u64,
        pfn: u64,
    ) -> Result<(), Errno> {
        self.pagemap().ok_or(Errno::EFAULT)?.migrate_to_ram(mm, held, addr, pfn)
    }

    /// The pagemap's `folio_free` op: the last reference to a device folio is gone; `data` is its `zone_device_data`. Any
    /// context; must be possible after [`Svm::fini`].
    pub fn folio_free(&self, data: u64) {
        if let Some(pagemap) = self.pagemap() {
            pagemap.folio_free(data);
        }
    }

    /// A device folio is about to become `folios` folios. Any context. See [`Pagemap::folio_split`].
    pub fn folio_split(&self, data: u64, folios: u64) {
        if let Some(pagemap) = self.pagemap() {
            pagemap.folio_split(data, folios);
        }
    }

    /// TTM wants the buffer object `block` empty, for somebody who allocates. Synchronous: no eviction fence, because one
    /// would have to be signalled by page faults. Sleeps; called with mmap_lock held for read and SL of whoever allocates.
    ///
    /// # Errors
    /// Those of [`Pagemap::evict`]; `EBUSY` without device memory.
    pub fn evict_vram(&self, block: VramBlock) -> Result<(), Errno> {
        self.pagemap().ok_or(Errno::EBUSY)?.evict(block)
    }
}

/// `attr_prefer_vram`: preferred or prefetched to this GPU, whatever access says.
pub(super) const fn prefer_vram(attrs: &Attrs) -> bool {
    attrs.preferred_loc.is_gpu() || attrs.prefetch_loc.is_gpu()
}
