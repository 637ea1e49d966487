//! Moving pages between RAM and VRAM, as many as can be moved: a part of what was asked for counts as success.
//!
//! Answers to `kfd_migrate.c`. Spec kfd-svm 10. MM is held for read and MG; SV as well, except by the worker that empties a
//! buffer object.

use super::Svms;
use super::bo::{BoHandle, page_data};
use super::mmap::{Mmap, ReadGuard};
use super::range::{Handle, Range};
use crate::Errno;
use crate::note;
use crate::platform::{
    CopyJob, DeviceMemory, DmaAddr, DmaDirection, Fence, Gpu, KArray, Kernel, MigratePfn, MigrateSelect, MigrateVma,
    Mm, Objects, Plant, Platform, Shared, Vram,
};
use crate::units::{Bytes, PAGE_SHIFT, PAGE_SIZE, Pages};

/// Copies that are not queued yet (`svm_migrate_copy_memory_gart`), the last fence, and the pages DMA mapped for it.
struct Copies<'a, P: Platform> {
    gpu: &'a P::Gpu,
    jobs: KArray<P, CopyJob>,
    pending: usize,
    fence: Option<Fence>,
    scratch: KArray<P, Option<DmaAddr>>,
}

impl<'a, P: Platform> Copies<'a, P> {
    fn new(gpu: &'a P::Gpu, npages: usize) -> Result<Self, Errno> {
        let jobs = P::Kernel::alloc_array(npages, CopyJob { from: 0, to: 0, pages: 0 })?;
        let scratch = P::Kernel::alloc_array(npages, None)?;
        Ok(Copies { gpu, jobs, pending: 0, fence: None, scratch })
    }

    /// Maps a page of system memory so that the copy engine reaches it.
    fn map(&mut self, at: usize, pfn: u64) -> Result<(), Errno> {
        self.scratch[at] = Some(self.gpu.dma_map(pfn, 0, DmaDirection::Bidirectional)?);
        Ok(())
    }

    /// One more page.
    fn add(&mut self, from: u64, to: u64) {
        if let Some(last) = self.pending.checked_sub(1).map(|last| &mut self.jobs[last])
            && last.from + last.pages == from
            && last.to + last.pages == to
        {
            last.pages += 1;
            return;
        }
        self.jobs[self.pending] = CopyJob { from, to, pages: 1 };
        self.pending += 1;
    }

    /// Queues what there is.
    fn submit(&mut self) -> Result<(), Errno> {
        if self.pending > 0 {
            self.fence = Some(self.gpu.copy(&self.jobs[..self.pending])?);
            self.pending = 0;
        }
        Ok(())
    }

    /// `svm_migrate_copy_done`.
    fn wait(&mut self) {
        if let Some(fence) = self.fence.take() {
            self.gpu.wait_fence(fence);
        }
    }

    /// `svm_range_dma_unmap_dev`.
    fn unmap(&mut self) {
        for slot in self.scratch.iter_mut() {
            if let Some(addr) = slot.take() {
                self.gpu.dma_unmap(addr, 0, DmaDirection::Bidirectional);
            }
        }
    }
}

/// `svm_migrate_successful_pages`.
fn successful(src: &[MigratePfn], dst: &[MigratePfn]) -> u64 {
    src.iter().zip(dst).filter(|(src, dst)| src.migrate && dst.valid).count() as u64
}

impl<P: Platform> Svms<P> {
    /// `svm_migrate_to_vram`: `window`, inside the range, to the GPU with the id `to`.
    ///
    /// # Errors
    /// `EFAULT` (not inside), `ENODEV` (no such GPU), `ENOSPC` (larger than VRAM), `EDEADLK` (another GPU has pages that
    /// cannot be brought to RAM), `ENOMEM`, and those of the copy.
    pub(super) fn migrate_to_vram(
        &self,
        mmap: &ReadGuard<'_, P>,
        handle: Handle<P>,
        to: u32,
        window: Pages,
    ) -> Result<(), Errno> {
        let range = self.range(handle);
        let actual_loc = range.actual_loc.read_once();
        if actual_loc != 0 && actual_loc != to {
            // svm_migrate_vram_to_vram: everything to RAM first.
            let mut retries = 3;
            loop {
                self.migrate_vram_to_ram(&self.mm, mmap, handle, range.pages(), None)?;
                retries -= 1;
                if range.actual_loc.read_once() == 0 || retries == 0 {
                    break;
                }
            }
            if range.actual_loc.read_once() != 0 {
                return Err(Errno::EDEADLK);
            }
        }
        self.migrate_ram_to_vram(mmap, handle, to, window)
    }

    /// `svm_migrate_ram_to_vram`.
    fn migrate_ram_to_vram(
        &self,
        mmap: &ReadGuard<'_, P>,
        handle: Handle<P>,
        to: u32,
        window: Pages,
    ) -> Result<(), Errno> {
        let range = self.range(handle);
        let own = range.pages();
        if !own.covers(&window) {
            return Err(Errno::EFAULT);
        }
        let index = self.gpu_index(to).ok_or(Errno::ENODEV)?;
        let gpu = self.gpu(index).ok_or(Errno::ENODEV)?;
        if own.count() * PAGE_SIZE > gpu.vram_size() {
            return Err(Errno::ENOSPC);
        }
        self.vram_node_new(index, handle)?;
        let of_range = range.bo.read_once();
        let Some(bo) = of_range.bo else { return Err(Errno::EFAULT) };
        let mut offset = window.first - own.first + of_range.offset;
        let (mut moved, mut result) = (0, Ok(()));
        let bytes = window.bytes();
        let mut addr = bytes.start;
        while addr < bytes.end {
            let Some(vma) = self.vma_lookup(Mmap::Read(mmap), addr) else { break };
            let next = vma.bytes.end.min(bytes.end);
            match self.vma_to_vram(mmap, index, gpu, bo, Bytes::new(addr, next), offset) {
                Ok(pages) => moved += pages,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            offset += (next - addr) >> PAGE_SHIFT;
            addr = next;
        }
        note!(P::Kernel, "migrate {window} to GPU {index}: {moved} of {} pages, {result:?}", window.count());
        if moved > 0 {
            range.actual_loc.write_once(to);
            range.vram_pages.write_once(range.vram_pages.read_once() + moved);
        } else if range.actual_loc.read_once() == 0 {
            self.vram_node_free(handle);
        }
        result
    }

    /// `svm_migrate_vma_to_vram`: how many pages moved.
    fn vma_to_vram(
        &self,
        mmap: &ReadGuard<'_, P>,
        index: usize,
        gpu: &P::Gpu,
        bo: BoHandle<P>,
        bytes: Bytes,
        offset: u64,
    ) -> Result<u64, Errno> {
        let select = MigrateSelect { system: true, ..MigrateSelect::default() };
        let args = MigrateVma { bytes, owner: self.owner(index), select, fault_page: None };
        let npages = bytes.pages().count() as usize;
        let mut src = P::Kernel::alloc_array(npages, MigratePfn::default())?;
        let mut dst = P::Kernel::alloc_array(npages, MigratePfn::default())?;
        let mut copies = Copies::<P>::new(gpu, npages)?;
        if self.mm.migrate_vma_setup(mmap, &args, &mut src)? == 0 {
            return Ok(0);
        }
        let copied = self.copy_to_vram(bo, offset, &src, &mut dst, &mut copies);
        self.mm.migrate_vma_pages(mmap, &args, &mut src, &dst);
        copies.wait();
        self.mm.migrate_vma_finalize(mmap, &args, &mut src, &dst);
        let moved = successful(&src, &dst);
        copies.unmap();
        copied.map(|()| moved)
    }

    /// `svm_migrate_copy_to_vram`: gives every collected page its place in the buffer object. A hole gets a page that is
    /// zero already, and ends a copy.
    fn copy_to_vram(
        &self,
        bo: BoHandle<P>,
        offset: u64,
        src: &[MigratePfn],
        dst: &mut [MigratePfn],
        copies: &mut Copies<'_, P>,
    ) -> Result<(), Errno> {
        let first = self.bos.get(bo).block().pfn + offset;
        let result = (|| {
            for (i, page) in src.iter().enumerate() {
                if page.migrate {
                    let pfn = first + i as u64;
                    self.bo_ref(bo);
                    self.mm.zone_device_folio_init(pfn, 0, page_data::<P>(bo));
                    dst[i] = MigratePfn { valid: true, pfn, ..MigratePfn::default() };
                }
                if page.migrate && page.valid {
                    copies.map(i, page.pfn)?;
                    copies.add(page.pfn, first + i as u64);
                } else {
                    copies.submit()?;
                }
            }
            copies.submit()
        })();
        if result.is_err() {
            self.put_destinations(dst);
        }
        result
    }

    fn put_destinations(&self, dst: &mut [MigratePfn]) {
        for page in dst.iter_mut().filter(|page| page.valid) {
            self.mm.put_new_folio(page.pfn, 0);
            *page = MigratePfn::default();
        }
    }

    /// `svm_migrate_vram_to_ram`: `window`, inside the range, to system memory, as `mm` has it (a child, where that one
    /// faults; its mmap_lock is held). Nothing when the range has no VRAM.
    ///
    /// # Errors
    /// `EFAULT` (not inside, or a hole), `ENODEV`, `ENOMEM`, and those of the copy.
    pub(super) fn migrate_vram_to_ram(
        &self,
        mm: &P::Mm,
        mmap: &ReadGuard<'_, P>,
        handle: Handle<P>,
        window: Pages,
        fault_page: Option<u64>,
    ) -> Result<(), Errno> {
        let range = self.range(handle);
        let actual_loc = range.actual_loc.read_once();
        if actual_loc == 0 {
            return Ok(());
        }
        if !range.pages().covers(&window) {
            return Err(Errno::EFAULT);
        }
        let index = self.gpu_index(actual_loc).ok_or(Errno::ENODEV)?;
        let gpu = self.gpu(index).ok_or(Errno::ENODEV)?;
        let (mut moved, bytes) = (0, window.bytes());
        let mut addr = bytes.start;
        while addr < bytes.end {
            let vma = mm.find_vma(mmap, addr).filter(|vma| vma.bytes.contains(addr)).ok_or(Errno::EFAULT)?;
            let next = vma.bytes.end.min(bytes.end);
            moved += self.vma_to_ram(mm, mmap, index, gpu, Bytes::new(addr, next), fault_page)?;
            addr = next;
        }
        note!(P::Kernel, "migrate {window} from GPU {index} to RAM: {moved} of {} pages", window.count());
        self.left_vram(range, handle, moved);
        Ok(())
    }

    /// The end of `svm_migrate_vram_to_ram`.
    fn left_vram(&self, range: &Range<P>, handle: Handle<P>, moved: u64) {
        let before = range.vram_pages.read_once();
        if before < moved {
            // WARN_ONCE in the original, and then the counter wraps.
            P::Kernel::warn(format_args!("{} has {before} VRAM pages on record, {moved} moved", range.pages()));
        }
        let left = if P::Kernel::planted(Plant::UvmResidentBitLeft) { before } else { before.wrapping_sub(moved) };
        range.vram_pages.write_once(left);
        if left == 0 && range.bo.read_once().has_res {
            range.actual_loc.write_once(0);
            self.vram_node_free(handle);
        }
    }

    /// `svm_migrate_vma_to_ram`: how many pages moved.
    fn vma_to_ram(
        &self,
        mm: &P::Mm,
        mmap: &ReadGuard<'_, P>,
        index: usize,
        gpu: &P::Gpu,
        bytes: Bytes,
        fault_page: Option<u64>,
    ) -> Result<u64, Errno> {
        let select = MigrateSelect { device_private: true, ..MigrateSelect::default() };
        let args = MigrateVma { bytes, owner: self.owner(index), select, fault_page };
        let npages = bytes.pages().count() as usize;
        let mut src = P::Kernel::alloc_array(npages, MigratePfn::default())?;
        let mut dst = P::Kernel::alloc_array(npages, MigratePfn::default())?;
        let mut copies = Copies::<P>::new(gpu, npages)?;
        if mm.migrate_vma_setup(mmap, &args, &mut src)? == 0 {
            return Ok(0);
        }
        let copied = self.copy_to_ram(&src, &mut dst, &mut copies);
        mm.migrate_vma_pages(mmap, &args, &mut src, &dst);
        let moved = successful(&src, &dst);
        if !P::Kernel::planted(Plant::PagemapUseBeforeIdle) {
            copies.wait();
        }
        mm.migrate_vma_finalize(mmap, &args, &mut src, &dst);
        if copied.is_ok() || !P::Kernel::planted(Plant::PagemapDmaUnmapBeforeVerdict) {
            copies.unmap();
        }
        copied.map(|()| moved)
    }

    /// `svm_migrate_copy_to_ram`: a new page for every device page; where device pages do not follow each other, a new
    /// copy.
    fn copy_to_ram(&self, src: &[MigratePfn], dst: &mut [MigratePfn], copies: &mut Copies<'_, P>) -> Result<(), Errno> {
        let mut follows = None;
        let result = (|| {
            for (i, page) in src.iter().enumerate() {
                if !(page.valid && page.migrate && self.mm.device_page(page.pfn).is_some()) {
                    copies.submit()?;
                    continue;
                }
                if follows != Some(page.pfn) {
                    copies.submit()?;
                }
                follows = Some(page.pfn + 1);
                let pfn = self.mm.alloc_folio(0)?;
                dst[i] = MigratePfn { valid: true, pfn, ..MigratePfn::default() };
                copies.map(i, pfn)?;
                copies.add(page.pfn, pfn);
            }
            copies.submit()
        })();
        if result.is_err() && !P::Kernel::planted(Plant::NouveauCopyResultUnchecked) {
            self.put_destinations(dst);
        }
        result
    }
}
