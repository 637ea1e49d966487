//! The retry fault of a GPU (XNACK on).
//!
//! Answers to `svm_range_restore_pages`, `svm_range_create_unregistered_range`, `svm_range_best_restore_location`,
//! `svm_range_skip_recover`. Spec kfd-svm 3.3, 7; the step numbers are those of section 7.

use super::attrs::{LOCATION_SYSMEM, LOCATION_UNDEFINED};
use super::cpu_fault::window;
use super::locks::SvmsLocked;
use super::mmap::{Mmap, ReadGuard, WriteGuard};
use super::range::{Handle, Range, WorkOp};
use super::{RETRY_FAULT_PENDING_MS, Svms};
use crate::Errno;
use crate::note;
use crate::platform::{Atomic, Kernel, Mm, Plain, Plant, Platform, RetryFault, RetryFaults, Shared, SpinLock};
use crate::units::{PAGE_SHIFT, Pages};

/// Pages of the block in which a range for an unregistered address lies. Not the process's granularity: the default one.
const UNREGISTERED_PAGES: u64 = 512;

/// `svm_fault_allowed` and the like: what a fault turned out to be.
enum Fault {
    /// Dealt with, or stale, or a duplicate: the GPU may go on or retry.
    Done,
    /// Stale, and a later one at the same address must not be taken for a duplicate.
    Forget,
}

impl<P: Platform> Svms<P> {
    /// `svm_range_restore_pages`: the retry fault `fault` of the GPU with index `gpu`, after `kfd_lookup_process_by_pasid`
    /// named us. Nothing held.
    ///
    /// # Errors
    /// The fault cannot be mended and the platform is to write a no-retry PTE: `EFAULT` (no such GPU, XNACK off, nothing
    /// there), `EPERM` (the VMA does not allow it), `EACCES` (no access for this GPU), and those of migration and mapping
    /// except EAGAIN.
    pub fn handle_fault(&self, gpu: usize, fault: RetryFault) -> Result<(), Errno> {
        let timestamp = P::Kernel::now_ms();
        // 1.
        if !self.lookup_process() {
            return Ok(());
        }
        let result = match self.gpu(gpu) {
            _ if self.drain_pagefaults.load() != 0 => Ok(Fault::Done),
            Some(_) if self.config.xnack => self.fault_alive(gpu, fault, timestamp),
            _ => Err(Errno::EFAULT),
        };
        self.put();
        note!(
            P::Kernel,
            "fault at {:#x} on GPU {gpu}: {}",
            fault.addr,
            match &result {
                Ok(_) => "answered",
                Err(Errno::EAGAIN) => "later",
                Err(_) => "refused",
            }
        );
        match result {
            Ok(Fault::Done) => Ok(()),
            Ok(Fault::Forget) | Err(Errno::EAGAIN) => {
                if let Some(gpu) = self.gpu(gpu) {
                    gpu.filter_remove(fault.addr);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn fault_alive(&self, gpu: usize, fault: RetryFault, timestamp: u64) -> Result<Fault, Errno> {
        if !self.mm.mmget_not_zero() {
            let fatal = P::Kernel::planted(Plant::UvmStaleCancelAtExit);
            return if fatal { Err(Errno::EFAULT) } else { Ok(Fault::Done) };
        }
        let result = self.fault_mmap(gpu, fault, timestamp);
        self.mm.mmput();
        result
    }

    /// Steps 2 to 4: the locks, and a range.
    fn fault_mmap(&self, gpu: usize, fault: RetryFault, timestamp: u64) -> Result<Fault, Errno> {
        let page = fault.addr >> PAGE_SHIFT;
        let early = P::Kernel::planted(Plant::KfdDrainCheckUnlocked);
        if early {
            self.check_checkpoint(gpu, fault)?;
        }
        // 2.
        {
            let mmap = self.mm.mmap_read_lock();
            let svms = self.lock_svms();
            // 3.
            if !early {
                self.check_checkpoint(gpu, fault)?;
            }
            // 4.
            if let Some(handle) = self.range_from_addr(&svms, page) {
                return self.fault_range(&svms, &mmap, gpu, fault, timestamp, handle);
            }
        }
        let mmap = self.mm.mmap_write_lock();
        let svms = self.lock_svms();
        if let Err(stale) = self.check_checkpoint(gpu, fault)
            && !early
        {
            if P::Kernel::planted(Plant::KfdMmapLockModeMismatch) {
                core::mem::forget(mmap);
            }
            return Err(stale);
        }
        let handle = match self.range_from_addr(&svms, page) {
            Some(handle) => handle,
            None => self.create_unregistered(&svms, &mmap, page).ok_or(Errno::EFAULT)?,
        };
        let mmap = self.mm.mmap_write_downgrade(mmap);
        let result = self.fault_range(&svms, &mmap, gpu, fault, timestamp, handle);
        drop(svms);
        result
    }

    /// Step 3: stale by its time stamp?
    fn check_checkpoint(&self, gpu: usize, fault: RetryFault) -> Result<(), Errno> {
        let Some(checkpoint) = self.checkpoint[gpu].read_once() else { return Ok(()) };
        if !fault.time.is_after(checkpoint) {
            note!(P::Kernel, "fault at {:#x} is older than the last munmap", fault.addr);
            return Err(Errno::EAGAIN);
        }
        self.checkpoint[gpu].write_once(None);
        Ok(())
    }

    /// Steps 5 to 11.
    fn fault_range(
        &self,
        svms: &SvmsLocked<'_, P>,
        mmap: &ReadGuard<'_, P>,
        gpu: usize,
        fault: RetryFault,
        timestamp: u64,
        handle: Handle<P>,
    ) -> Result<Fault, Errno> {
        let range = self.range(handle);
        let page = fault.addr >> PAGE_SHIFT;
        // 5.
        let _migration = range.lock_migration();
        // 6.
        if self.skip_recover(handle) {
            let own = range.pages();
            note!(P::Kernel, "range {own} waits for the deferred work");
            return Ok(Fault::Forget);
        }
        // 7.
        if range.validate_timestamp.get().is_some_and(|at| timestamp < at + RETRY_FAULT_PENDING_MS) {
            let own = range.pages();
            note!(P::Kernel, "range {own} was mapped a moment ago");
            return Ok(Fault::Done);
        }
        // 8.
        let Some(vma) = self.vma_lookup(Mmap::Read(mmap), fault.addr) else {
            let fatal = P::Kernel::planted(Plant::KfdVmaGoneStaleFault);
            return if fatal { Err(Errno::EFAULT) } else { Ok(Fault::Done) };
        };
        if !vma.flags.read || (fault.write && !vma.flags.write) {
            return Err(Errno::EPERM);
        }
        // 9.
        let best_loc = self.best_restore_location(range, gpu).ok_or(Errno::EACCES)?;
        // 10.
        let window = window(page, range.attrs.read_once().granularity, range.pages());
        self.fault_migrate(mmap, handle, best_loc, window)?;
        // 11.
        self.validate_and_map(svms, Mmap::Read(mmap), handle, window, Some(gpu), false, false)?;
        Ok(Fault::Done)
    }

    /// Step 10: to where it should be; to RAM where that does not work.
    fn fault_migrate(
        &self,
        mmap: &ReadGuard<'_, P>,
        handle: Handle<P>,
        best_loc: u32,
        window: Pages,
    ) -> Result<(), Errno> {
        let range = self.range(handle);
        if range.actual_loc.read_once() == 0 && best_loc == LOCATION_SYSMEM {
            return Ok(());
        }
        if best_loc == LOCATION_SYSMEM {
            return self.migrate_vram_to_ram(&self.mm, mmap, handle, window, None);
        }
        let Err(error) = self.migrate_to_vram(mmap, handle, best_loc, window) else { return Ok(()) };
        note!(P::Kernel, "migration of {window} to {best_loc:#x}: {error}, falling back to RAM");
        let actual_loc = range.actual_loc.read_once();
        if actual_loc != 0 && actual_loc != best_loc {
            self.migrate_vram_to_ram(&self.mm, mmap, handle, window, None)
        } else {
            Ok(())
        }
    }

    /// `svm_range_best_restore_location`. None: this GPU has no access.
    fn best_restore_location(&self, range: &Range<P>, gpu: usize) -> Option<u32> {
        use crate::platform::Gpu;
        let (attrs, id) = (range.attrs.read_once(), self.gpu_id(gpu));
        if self.gpu(gpu)?.properties().apu {
            return Some(LOCATION_SYSMEM);
        }
        match attrs.preferred_loc {
            LOCATION_UNDEFINED => {}
            preferred if preferred == id || preferred == LOCATION_SYSMEM => return Some(preferred),
            preferred => {
                if self.gpu_index(preferred).is_some_and(|other| self.same_hive(gpu, other)) {
                    return Some(preferred);
                }
            }
        }
        if attrs.access.has(gpu) {
            return Some(id);
        }
        if attrs.aip.has(gpu) {
            let actual_loc = range.actual_loc.read_once();
            let linked = self.gpu_index(actual_loc).is_some_and(|other| self.same_hive(gpu, other));
            return Some(if linked { actual_loc } else { LOCATION_SYSMEM });
        }
        None
    }

    /// `svm_range_skip_recover`. MG is held.
    fn skip_recover(&self, handle: Handle<P>) -> bool {
        let range = self.range(handle);
        {
            let deferred = self.deferred.lock();
            if !self.on_deferred_list(&deferred, handle) && range.children.read_once().is_empty() {
                return false;
            }
        }
        matches!(self.op(handle), WorkOp::UnmapRange | WorkOp::AddRange)
    }

    /// `svm_range_create_unregistered_range`: a range for an address that no SET_ATTR ever named. None: it cannot be.
    fn create_unregistered(&self, svms: &SvmsLocked<'_, P>, mmap: &WriteGuard<'_, P>, page: u64) -> Option<Handle<P>> {
        let (mut pages, heap_or_stack) = self.boundaries(mmap, page)?;
        // Whatever else it says is taken for "no".
        if let Ok(Some(mapping)) = self.check_vm(pages) {
            if mapping.contains(page) {
                return None;
            }
            pages = Pages::new(page, page);
        }
        let handle = self.range_new(pages).ok()?;
        if heap_or_stack {
            let range = self.range(handle);
            let attrs = range.attrs.read_once();
            range.attrs.write_once(super::Attrs { preferred_loc: LOCATION_SYSMEM, ..attrs });
        }
        self.add_to_svms(svms, handle);
        self.add_notifier_locked(mmap, handle);
        note!(P::Kernel, "new range {pages} for a fault at page {page:#x}");
        Some(handle)
    }

    /// `svm_range_get_range_boundaries`: what VMA, block and neighbours leave, and whether it is heap or stack.
    fn boundaries(&self, mmap: &WriteGuard<'_, P>, page: u64) -> Option<(Pages, bool)> {
        let vma = self.vma_lookup(Mmap::Write(mmap), page << PAGE_SHIFT)?;
        let block = Pages::new(page & !(UNREGISTERED_PAGES - 1), page | (UNREGISTERED_PAGES - 1));
        let mut pages = vma.bytes.pages().clip(&block);
        let after = self.objects.first_overlap(&self.ranges, page + 1, u64::MAX);
        if let Some(after) = after {
            pages.last = pages.last.min(self.range(after).node.get().first - 1);
        }
        let before = match after {
            Some(after) => self.objects.prev(&self.ranges, after),
            None => self.objects.last(&self.ranges),
        };
        if let Some(before) = before {
            let last = self.range(before).node.get().last;
            if last >= page {
                P::Kernel::warn(format_args!("overlap with the previous range at faulting page {page:#x}"));
                return None;
            }
            pages.first = pages.first.max(last + 1);
        }
        Some((pages, self.mm.is_heap_or_stack(&vma)))
    }
}
