//! VRAM pressure: a buffer object is emptied into system memory.
//!
//! Answers to `svm_range_schedule_evict_svm_bo`, `svm_range_evict_svm_bo_worker`. Spec kfd-svm 10.
//!
//! TTM waits for the eviction fence inside somebody's allocation, and an allocation of ours is made with MM for read and
//! MG held. The worker takes MM for read and MG of each range that shares the buffer object: with a writer of MM in the queue
//! between the two, or with a range of its own as the victim, nobody gets on.

use super::Svms;
use super::bo::BoHandle;
use super::range::BoRef;
use crate::Errno;
use crate::note;
use crate::platform::{Kernel, Mm, Objects, Plain, Plant, Platform, Shared, SpinLock, VramBlock, Work};

impl<P: Platform> Svms<P> {
    /// TTM wants `block` of GPU `gpu` empty, and waits. Inside somebody's `vram_alloc`, with whatever that holds.
    ///
    /// # Errors
    /// `ENOENT` (no buffer object of ours), `EBUSY` (it could not be emptied).
    pub fn evict_vram(&self, gpu: usize, block: VramBlock) -> Result<(), Errno> {
        {
            let all = self.bo_list.lock();
            let mut found = all.iter(&self.bos).filter(|&bo| {
                let bo = self.bos.get(bo);
                bo.gpu() == gpu && bo.block() == block
            });
            let bo = found.next().ok_or(Errno::ENOENT)?;
            let object = self.bos.get(bo);
            if !object.fence_signalled.read_once() {
                object.evicting.write_once(true);
                object.evict_queued.set(true);
                self.evict_bo_work.queue();
            }
        }
        self.evict_bo_work.flush();
        self.release_bo_work.flush();
        let all = self.bo_list.lock();
        let still_there = all.iter(&self.bos).any(|bo| {
            let bo = self.bos.get(bo);
            bo.gpu() == gpu && bo.block() == block
        });
        if still_there { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// The work item `WorkFunc::EvictBo`. Nothing held.
    pub fn evict_bo_work(&self) {
        loop {
            let next = {
                let all = self.bo_list.lock();
                let mut found = all.iter(&self.bos).filter(|&bo| self.bos.get(bo).evict_queued.get());
                let next = found.next();
                if let Some(bo) = next {
                    self.bos.get(bo).evict_queued.set(false);
                    // `svm_bo_ref_unless_zero`: under the lock here, because one work item serves all.
                    let counted = P::Kernel::planted(Plant::KfdFenceRcuNoRef) || self.bo_ref_unless_zero(bo);
                    Some(counted.then_some(bo))
                } else {
                    None
                }
            };
            match next {
                None => break,
                Some(None) => {} // freed while the eviction was pending
                Some(Some(bo)) if P::Kernel::planted(Plant::KfdFenceRcuNoRef) => {
                    if self.bo_ref_unless_zero(bo) {
                        self.evict_bo(bo);
                    }
                }
                Some(Some(bo)) => self.evict_bo(bo),
            }
        }
    }

    /// `svm_range_evict_svm_bo_worker`; the caller's reference is dropped.
    fn evict_bo(&self, handle: BoHandle<P>) {
        if !self.mm.mmget_not_zero() {
            return self.bo_unref(handle);
        }
        let mut result = Ok(());
        {
            let mmap = self.mm.mmap_read_lock();
            while result.is_ok()
                && let Some(range_handle) = self.bo_pop_range(handle)
            {
                let range = self.range(range_handle);
                let _migration = range.lock_migration();
                let mut retries = 3;
                loop {
                    result = self.migrate_vram_to_ram(&self.mm, &mmap, range_handle, range.pages(), None);
                    retries -= 1;
                    if result.is_err() || range.actual_loc.read_once() == 0 || retries == 0 {
                        break;
                    }
                }
                if range.actual_loc.read_once() == 0 || P::Kernel::planted(Plant::KfdEvictClearsBoOnFailure) {
                    let _locked = range.lock();
                    range.bo.write_once(BoRef::NONE);
                } else {
                    let own = range.pages();
                    note!(P::Kernel, "eviction: {own} keeps pages in VRAM");
                }
            }
            if P::Kernel::planted(Plant::OdpMmputUnderMutex) {
                self.mm.mmput();
            }
        }
        if !P::Kernel::planted(Plant::OdpMmputUnderMutex) {
            self.mm.mmput();
        }
        if P::Kernel::planted(Plant::KfdFencePutThenWait) {
            self.bo_unref(handle);
        }
        let bo = self.bos.get(handle);
        bo.fence_signalled.write_once(true);
        if result.is_ok() && bo.refcount() != 1 {
            // WARN_ONCE in the original.
            P::Kernel::warn(format_args!("eviction of svm_bo {handle:?}: this was not the last reference"));
        }
        if !P::Kernel::planted(Plant::KfdFencePutThenWait) {
            self.bo_unref(handle);
        }
    }
}
