//! The CPU touches a page in VRAM, and: a page in VRAM is free.
//!
//! Answers to `svm_migrate_to_ram` and `svm_migrate_folio_free`. Spec kfd-svm 10.

use super::Svms;
use super::bo::bo_of_page;
use super::mmap::ReadGuard;
use crate::Errno;
use crate::note;
use crate::platform::{DeviceMemory, Kernel, Mm, Plant, Platform, Shared};
use crate::units::{PAGE_SHIFT, Pages};

/// The `1 << granularity` pages around `page`, cut to `inside`.
pub(super) fn window(page: u64, granularity: u8, inside: Pages) -> Pages {
    let mask = (1u64 << granularity) - 1;
    Pages::new(page & !mask, page | mask).clip(&inside)
}

impl<P: Platform> Svms<P> {
    /// `svm_migrate_to_ram`: brings the granularity block around `addr` (bytes) to system memory. `mm` is the address
    /// space that faults, which after a fork may be another one than ours; `held` its mmap_lock (None: for write, which
    /// only our own `hmm_range_fault` holds there); `pfn` is the page, locked and referenced by the caller.
    ///
    /// # Errors
    /// `EFAULT` for SIGBUS, whatever went wrong. Ok where nothing was done, and the access faults again.
    pub fn migrate_to_ram(
        &self,
        mm: &P::Mm,
        held: Option<&ReadGuard<'_, P>>,
        addr: u64,
        pfn: u64,
    ) -> Result<(), Errno> {
        if bo_of_page::<P>(self.mm.zone_device_data(pfn)).is_none() || !self.mm.mmget_not_zero() {
            return Err(Errno::EFAULT);
        }
        if !mm.is_same(&self.mm) {
            if P::Kernel::planted(Plant::KfdCowChildOwner) {
                self.mm.mmput();
                return Err(Errno::EFAULT);
            }
            note!(P::Kernel, "CPU fault at {addr:#x} on VRAM: COW mapping in child process");
        }
        let result = match self.lookup_process() {
            true => {
                let result = self.migrate_to_ram_alive(mm, held, addr >> PAGE_SHIFT, pfn);
                self.put();
                result
            }
            false => Err(Errno::EFAULT),
        };
        self.mm.mmput();
        result.map_err(|error| {
            note!(P::Kernel, "CPU fault at {addr:#x} on VRAM: {error}, SIGBUS");
            Errno::EFAULT
        })
    }

    fn migrate_to_ram_alive(
        &self,
        mm: &P::Mm,
        held: Option<&ReadGuard<'_, P>>,
        page: u64,
        pfn: u64,
    ) -> Result<(), Errno> {
        if self.faulting_task.read_once() == P::Kernel::current_task() {
            note!(P::Kernel, "our own hmm_range_fault meets a page in VRAM of page {page:#x}: nothing is done");
            return Ok(());
        }
        let held = held.ok_or(Errno::EFAULT)?;
        let svms = self.lock_svms();
        let handle = self.range_from_addr(&svms, page).ok_or(Errno::EFAULT)?;
        let range = self.range(handle);
        let _migration = range.lock_migration();
        if range.actual_loc.read_once() == 0 {
            return Ok(());
        }
        let window = window(page, range.attrs.read_once().granularity, range.pages());
        let mm = if P::Kernel::planted(Plant::KfdCpuFaultOtherMm) { &self.mm } else { mm };
        self.migrate_vram_to_ram(mm, held, handle, window, Some(pfn))
    }

    /// `svm_migrate_folio_free`: `data` is what the page was initialised with. Any context.
    pub fn folio_free(&self, data: u64) {
        if let Some(bo) = bo_of_page::<P>(data) {
            self.bo_unref_async(bo);
        }
    }
}
