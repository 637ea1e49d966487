//! SET_ATTR: `svm_range_set_attr`, `svm_range_trigger_migration`. Spec kfd-svm 3.1, 10; the step numbers are those of 3.1.

use super::Svms;
use super::attrs::{LOCATION_SYSMEM, LOCATION_UNDEFINED};
use super::gpus::GpuSet;
use super::locks::SvmsLocked;
use super::mmap::{Mmap, ReadGuard};
use super::range::{Handle, Range};
use crate::Errno;
use crate::attr::{Flags, UapiAttr};
use crate::note;
use crate::platform::{Gpu, Kernel, Mm, Plant, Platform, Shared};
use crate::units::Pages;

impl<P: Platform> Svms<P> {
    /// `svm_range_set_attr`. Nothing held. What was done before an error stays; of several errors the last one is told.
    ///
    /// # Errors
    /// `EINVAL` (attributes), `EFAULT`, `EADDRINUSE` (the interval), `ENOMEM`; then those of migration and mapping,
    /// EAGAIN included.
    pub(super) fn set_attr(&self, pages: Pages, attrs: &[UapiAttr]) -> Result<(), Errno> {
        // 1.
        self.check_attrs(attrs)?;
        // 2.
        let _process_info = self.lock_process_info();
        // 3.
        let mmap = self.lock_and_flush_work();
        // 4.
        self.is_valid(Mmap::Write(&mmap), pages.bytes())?;
        // 5. Dropped before mmap_lock is.
        let svms = self.lock_svms();
        // 6.
        let change = match self.range_add(&svms, pages, attrs) {
            Ok(change) => change,
            Err(error) => {
                drop(svms);
                return Err(error);
            }
        };
        // 7. The originals leave the tree first; their notifiers go after the new ones have come.
        let cache = &self.ranges;
        for old in change.remove.iter(cache) {
            self.leave_tree(old);
        }
        if P::Kernel::planted(Plant::UvmNotifierResizeGap) {
            change.remove.iter(cache).for_each(|old| self.remove_notifier(old));
        }
        while let Some(new) = change.insert.pop_front(cache) {
            self.add_to_svms(&svms, new);
            self.add_notifier_locked(&mmap, new);
        }
        let mut update_mapping = false;
        for handle in change.update.iter(cache) {
            let range = self.range(handle);
            let (new, mapping) = self.apply(range.attrs.read_once(), attrs);
            range.attrs.write_once(new);
            update_mapping |= mapping;
        }
        while let Some(old) = change.remove.pop_front(cache) {
            self.unlink(&svms, old);
            self.remove_notifier(old);
            self.range_free(old, false);
        }
        // 8.
        let mmap = self.mm.mmap_write_downgrade(mmap);
        // 9.
        let mut result = Ok(());
        while let Some(handle) = change.update.pop_front(cache) {
            if let Err(error) = self.update_range(&svms, &mmap, handle, update_mapping) {
                let own = self.range(handle).pages();
                note!(P::Kernel, "SET_ATTR: {own} gives {error}");
                result = Err(error);
            }
        }
        // 10.
        while let Some(handle) = change.remap.pop_front(cache) {
            let range = self.range(handle);
            let _migration = range.lock_migration();
            let flush = range.mapped_to_gpu.read_once();
            let mapped = self.validate_and_map(&svms, Mmap::Read(&mmap), handle, range.pages(), None, true, flush);
            if let Err(error) = mapped {
                result = Err(error);
            }
        }
        // 11.
        drop(svms);
        result
    }

    /// Step 9 for one range.
    fn update_range(
        &self,
        svms: &SvmsLocked<'_, P>,
        mmap: &ReadGuard<'_, P>,
        handle: Handle<P>,
        update_mapping: bool,
    ) -> Result<(), Errno> {
        let range = self.range(handle);
        let _migration = range.lock_migration();
        let migrated = self.trigger_migration(mmap, handle)?;
        let always_mapped = range.attrs.read_once().flags.has(Flags::GPU_ALWAYS_MAPPED);
        if migrated && (!self.config.xnack || always_mapped) && range.mapped_to_gpu.read_once() {
            let own = range.pages();
            note!(P::Kernel, "{own}: migrated, the restore work will map it");
            return Ok(());
        }
        if !migrated && !update_mapping {
            return Ok(());
        }
        let flush_tlb = !migrated && update_mapping && range.mapped_to_gpu.read_once();
        match self.validate_and_map(svms, Mmap::Read(mmap), handle, range.pages(), None, true, flush_tlb) {
            Err(Errno::EAGAIN) if P::Kernel::planted(Plant::EagainAsSuccess) => Ok(()),
            mapped => mapped,
        }
    }

    /// `svm_range_trigger_migration`: whether pages were asked to move, to where `prefetch_loc` says. Also when they are there
    /// already: not all may be.
    fn trigger_migration(&self, mmap: &ReadGuard<'_, P>, handle: Handle<P>) -> Result<bool, Errno> {
        let range = self.range(handle);
        match self.best_prefetch_location(range) {
            LOCATION_UNDEFINED => Ok(false),
            LOCATION_SYSMEM if range.actual_loc.read_once() == 0 => Ok(false),
            LOCATION_SYSMEM => {
                self.migrate_vram_to_ram(&self.mm, mmap, handle, range.pages(), None)?;
                Ok(true)
            }
            gpu => {
                self.migrate_to_vram(mmap, handle, gpu, range.pages())?;
                Ok(true)
            }
        }
    }

    /// `svm_range_best_prefetch_location`: RAM when a GPU that must reach it in place is not linked to the one asked for.
    fn best_prefetch_location(&self, range: &Range<P>) -> u32 {
        let attrs = range.attrs.read_once();
        let wanted = attrs.prefetch_loc;
        if wanted == LOCATION_SYSMEM || wanted == LOCATION_UNDEFINED {
            return wanted;
        }
        let Some((index, gpu)) = self.gpu_index(wanted).and_then(|index| Some((index, self.gpu(index)?))) else {
            P::Kernel::warn(format_args!("prefetch to {wanted:#x}, which is no GPU of the process"));
            return LOCATION_SYSMEM;
        };
        if gpu.properties().apu {
            return LOCATION_SYSMEM;
        }
        let in_place: GpuSet = if self.config.xnack { attrs.aip } else { attrs.accessible() };
        match in_place.iter().all(|other| self.same_hive(other, index)) {
            true => wanted,
            false => LOCATION_SYSMEM,
        }
    }
}
