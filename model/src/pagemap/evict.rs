//! `drm_pagemap_evict_to_ram`: a GPU takes its memory back from whatever processes have it. Spec drm-gpusvm 18.

use super::copy::{Buffers, put_destinations};
use super::{DevmemHandle, Pagemap};
use crate::Errno;
use crate::note;
use crate::platform::{DeviceMemory, Kernel, MigratePfn, Mm, Platform, VramBlock};

/// How often it is tried.
const ATTEMPTS: u32 = 3;

impl<P: Platform> Pagemap<P> {
    /// TTM wants `block` empty: finds its allocation, reserves it and evicts it. On success the block has been given back
    /// to the GPU, unless somebody else looks at the allocation right now and gives it back when done looking.
    ///
    /// Callable under mmap_lock, of whatever process, for read, and under other reservations. Sleeps.
    ///
    /// # Errors
    /// `EBUSY` (it is being allocated, filled, evicted by somebody else, or freed; or pages of it cannot be moved), and those
    /// of [`evict_to_ram`](Self::evict_to_ram).
    pub fn evict(&self, block: VramBlock) -> Result<(), Errno> {
        let devmem = self.devmem_find(block.pfn).ok_or(Errno::EBUSY)?;
        let result = if self.devmem_try_reserve(devmem) {
            let result = self.evict_to_ram(devmem);
            self.devmem_unreserve(devmem);
            result
        } else {
            note!(P::Kernel, "evict: the block at frame {:#x} is reserved", block.pfn);
            Err(Errno::EBUSY)
        };
        self.devmem_put(devmem);
        result
    }

    /// Moves every page of `devmem` to system memory, whoever has it mapped. The caller has reserved it and holds a
    /// reference; takes no mmap_lock. Done means that the last device folio is *freed*: a page that somebody holds a
    /// reference to, or has locked, makes it fail after three attempts, although its contents may have moved. Does not look
    /// at the timeslice. Causes CLEAR events; the last `mmput` runs elsewhere. Sleeps.
    ///
    /// # Errors
    /// `EFAULT` (the process it was allocated for is gone, even if a child of it still has the pages; or a page cannot be
    /// mapped), `ENOMEM`, `ENODEV`,
    /// `EBUSY` (pages are left).
    pub fn evict_to_ram(&self, devmem: DevmemHandle<P>) -> Result<(), Errno> {
        let object = self.devmem(devmem);
        let mut attempt = 1;
        loop {
            if !object.mm.mmget_not_zero() {
                return Err(Errno::EFAULT);
            }
            let result = self.evict_once(devmem);
            object.mm.mmput_async();
            if object.is_detached() {
                note!(P::Kernel, "evict: {:?} is empty", object.block());
                return Ok(());
            }
            if attempt == ATTEMPTS {
                note!(P::Kernel, "evict: {:?} is not empty after {ATTEMPTS} attempts", object.block());
                return result.and(Err(Errno::EBUSY));
            }
            attempt += 1;
            P::Kernel::retry_point("evict_to_ram: pages are left");
        }
    }

    /// One attempt.
    fn evict_once(&self, devmem: DevmemHandle<P>) -> Result<(), Errno> {
        let object = self.devmem(devmem);
        let block = object.block();
        let mut buffers = Buffers::<P>::new(block.pages as usize)?;
        for (i, page) in buffers.src().iter_mut().enumerate() {
            *page = MigratePfn { valid: true, pfn: block.pfn + i as u64, ..MigratePfn::default() };
        }
        let mm = &object.mm;
        mm.migrate_device_pfns(buffers.src());
        let result = self.copy_to_ram(mm, &mut buffers, |_, _| true);
        let (src, dst) = buffers.both();
        if result.is_err() {
            put_destinations::<P>(mm, dst);
        }
        mm.migrate_device_pages(src, dst);
        self.mark_migrated(mm, src);
        mm.migrate_device_finalize(src, dst);
        result
    }
}
