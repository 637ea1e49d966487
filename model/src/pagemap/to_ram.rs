//! The CPU fault on a device page: `drm_pagemap_migrate_to_ram`, the pagemap's `migrate_to_ram` op. Spec drm-gpusvm 18;
//! the numbers are its.

use super::copy::{Buffers, put_destinations};
use super::{Pagemap, same_zdd};
use crate::Errno;
use crate::gpusvm::chunk::aligned_block;
use crate::note;
use crate::platform::{DeviceMemory, MigrateSelect, MigrateVma, Mm, Platform};
use crate::units::PAGE_SHIFT;

impl<P: Platform> Pagemap<P> {
    /// The CPU touched the byte address `addr`, where the device page `pfn` of this pagemap is mapped. Brings it back to
    /// system memory, and with it what came to the GPU with it and lies in the same aligned window of the VMA.
    ///
    /// `held` is mmap_lock of `mm` (the fault's), and the fault holds the page referenced and locked. Ok: the CPU tries
    /// again, whether anything moved or not: inside the timeslice nothing is done, and the CPU goes round. Sleeps.
    ///
    /// # Errors
    /// All mean SIGBUS: `ENOMEM`, `EINVAL` (from collecting), `EFAULT` (a page cannot be mapped), `ENODEV`.
    pub fn migrate_to_ram(
        &self,
        mm: &P::Mm,
        held: &<P::Mm as Mm<P::Kernel>>::ReadGuard<'_>,
        addr: u64,
        pfn: u64,
    ) -> Result<(), Errno> {
        let word = mm.zone_device_data(pfn);
        let devmem = self.devmem(self.zdd(self.zdd_of(word)).devmem);
        // 1
        if devmem.in_timeslice() {
            note!(P::Kernel, "migrate_to_ram: {addr:#x} is in its timeslice");
            return Ok(());
        }
        // 2: aligned as an address, not as it lies in the allocation; after an mremap the two can differ.
        let vma = mm.find_vma(held, addr).filter(|vma| vma.bytes.contains(addr)).ok_or(Errno::EFAULT)?;
        let bytes = aligned_block(addr, devmem.size()).map_or(vma.bytes, |window| window.clip(&vma.bytes));
        // 3
        let mut buffers = Buffers::<P>::new((bytes.len() >> PAGE_SHIFT) as usize)?;
        // 4
        let select = MigrateSelect { system: false, device_private: true, compound: true };
        let args = MigrateVma { bytes, owner: self.owner, select, fault_page: Some(pfn) };
        if mm.migrate_vma_setup(held, &args, buffers.src())? == 0 {
            note!(P::Kernel, "migrate_to_ram: somebody else was faster at {addr:#x}");
            return Ok(());
        }
        // 5 to 7: of the pages in the window only those that came with the faulting one.
        let result = self.copy_to_ram(mm, &mut buffers, |from, its| self.is_own(mm, from) && same_zdd(its, word));
        // 8
        let (src, dst) = buffers.both();
        if result.is_err() {
            put_destinations::<P>(mm, dst);
        }
        mm.migrate_vma_pages(held, &args, src, dst);
        self.mark_migrated(mm, src);
        mm.migrate_vma_finalize(held, &args, src, dst);
        note!(P::Kernel, "migrate_to_ram: {bytes} around {addr:#x} gives {result:?}");
        result
    }
}
