//! The buffer object behind the VRAM of one or several ranges.
//!
//! Answers to `struct svm_range_bo`, `svm_range_vram_node_new`, `_vram_node_free`, `svm_range_validate_svm_bo`,
//! `svm_range_bo_release`. Spec kfd-svm 1, 10. Each device page in use and each range has a reference.

use super::Svms;
use super::range::{BoRef, Handle, OfBo, Range};
use crate::Errno;
use crate::list::{List, ListLink, ListNode};
use crate::note;
use crate::platform::{
    Atomic, Cache, KAtomic, KPlain, KShared, KSpinLock, Kernel, Mm, Objects, Plain, Plant, Platform, Shared, SpinLock,
    Vram, VramBlock, Work,
};

/// A pointer to a [`Bo`].
pub(crate) type BoHandle<P> = crate::platform::Handle<Bo<P>>;

/// `struct svm_range_bo`.
pub(crate) struct Bo<P: Platform> {
    /// kref.
    refcount: KAtomic<P>,
    /// BL around `range_list`.
    ranges: KSpinLock<P, List<P::Kernel, Range<P>, OfBo>>,
    /// Constant.
    block: VramBlock,
    /// Constant: index of the GPU (`node`).
    gpu: usize,
    /// TTM wants it out.
    pub(super) evicting: KShared<P, bool>,
    /// The eviction fence is signalled.
    pub(super) fence_signalled: KShared<P, bool>,
    link: KPlain<P, ListLink<Bo<P>>>,
    /// Under `bo_list`: `eviction_work` is queued.
    pub(super) evict_queued: KPlain<P, bool>,
    /// Under `bo_list`: `release_work` is queued.
    release_queued: KPlain<P, bool>,
}

impl<P: Platform> ListNode<P::Kernel> for Bo<P> {
    fn link(&self) -> &KPlain<P, ListLink<Self>> {
        &self.link
    }
}

impl<P: Platform> Bo<P> {
    /// Index of the GPU whose memory it is.
    pub(super) fn gpu(&self) -> usize {
        self.gpu
    }
    /// Where it is.
    pub(super) fn block(&self) -> VramBlock {
        self.block
    }
    /// Who uses it.
    pub(super) fn refcount(&self) -> u64 {
        self.refcount.load()
    }
}

/// `zone_device_data` of a page of `bo`. 0 stands for none.
pub(super) fn page_data<P: Platform>(bo: BoHandle<P>) -> u64 {
    bo.to_bits() + 1
}

/// The buffer object that `data` stands for.
pub(super) fn bo_of_page<P: Platform>(data: u64) -> Option<BoHandle<P>> {
    data.checked_sub(1).map(BoHandle::<P>::from_bits)
}

impl<P: Platform> Svms<P> {
    /// `svm_range_bo_ref`: one more.
    pub(super) fn bo_ref(&self, bo: BoHandle<P>) {
        self.bos.get(bo).refcount.inc_return();
    }

    /// `svm_bo_ref_unless_zero`.
    pub(super) fn bo_ref_unless_zero(&self, bo: BoHandle<P>) -> bool {
        self.bos.get(bo).refcount.inc_unless_zero()
    }

    /// `svm_range_bo_unref`: the last one releases it. PR of no range that uses it may be held.
    pub(super) fn bo_unref(&self, bo: BoHandle<P>) {
        if self.bos.get(bo).refcount.dec_return() == 0 {
            self.bo_release(bo);
        }
    }

    /// `svm_range_bo_unref_async`: the last one has it released by a work item. Any context.
    pub(super) fn bo_unref_async(&self, bo: BoHandle<P>) {
        if self.bos.get(bo).refcount.dec_return() == 0 {
            let all = self.bo_list.lock();
            self.bos.get(bo).release_queued.set(true);
            self.release_bo_work.queue();
            drop(all);
        }
    }

    /// Adds `range` to the ranges of `bo`.
    pub(super) fn bo_add_range(&self, bo: BoHandle<P>, range: Handle<P>) {
        self.bos.get(bo).ranges.lock().push_front(&self.ranges, range);
    }

    /// Takes `range` off the ranges of `bo`, if it is still there.
    pub(super) fn bo_remove_range(&self, bo: BoHandle<P>, range: Handle<P>) {
        let ranges = self.bos.get(bo).ranges.lock();
        if self.is_on_bo_list(range) {
            ranges.remove(&self.ranges, range);
        }
    }

    /// The first range of `bo`, off its list.
    pub(super) fn bo_pop_range(&self, bo: BoHandle<P>) -> Option<Handle<P>> {
        self.bos.get(bo).ranges.lock().pop_front(&self.ranges)
    }

    /// Whether it is on the list of its buffer object. BL is held.
    fn is_on_bo_list(&self, range: Handle<P>) -> bool {
        <Range<P> as ListNode<P::Kernel, OfBo>>::link(self.range(range)).with(ListLink::is_linked)
    }

    /// `svm_range_bo_release`.
    pub(super) fn bo_release(&self, handle: BoHandle<P>) {
        let bo = self.bos.get(handle);
        while let Some(range) = self.bo_pop_range(handle) {
            let range = self.range(range);
            let locked = range.lock();
            range.bo.write_once(BoRef::NONE);
            if range.actual_loc.read_once() != 0 {
                P::Kernel::warn(format_args!("svm_bo released, and range {} still has VRAM pages", range.pages()));
            }
            drop(locked);
        }
        bo.fence_signalled.write_once(true);
        if P::Kernel::planted(Plant::KfdEvictRefInWorker) {
            self.evict_bo_work.flush();
        }
        self.bo_list.lock().remove(&self.bos, handle);
        note!(P::Kernel, "svm_bo {handle:?} of GPU {} released", bo.gpu);
        if let Some(gpu) = self.gpu(bo.gpu) {
            gpu.vram_free(bo.block);
        }
        self.bos.free(handle);
        self.mm.mmdrop();
    }

    /// The work item `WorkFunc::ReleaseBo`: releases what lost its last reference in atomic context. Nothing held.
    pub fn release_bo_work(&self) {
        loop {
            let next = {
                let all = self.bo_list.lock();
                let mut found = all.iter(&self.bos).filter(|&bo| self.bos.get(bo).release_queued.get());
                let next = found.next();
                if let Some(bo) = next {
                    self.bos.get(bo).release_queued.set(false);
                }
                next
            };
            let Some(bo) = next else { break };
            self.bo_release(bo);
        }
    }

    /// `svm_range_vram_node_new`: the range has a buffer object of GPU `gpu` afterwards, as large as the range, cleared
    /// when it is new. MM and MG are held.
    ///
    /// # Errors
    /// `ESRCH` (the process is gone), `ENOMEM`.
    pub(super) fn vram_node_new(&self, gpu: usize, handle: Handle<P>) -> Result<(), Errno> {
        if self.validate_svm_bo(gpu, handle) {
            return Ok(());
        }
        let range = self.range(handle);
        if !self.mm.mmget_not_zero() {
            return Err(Errno::ESRCH);
        }
        // The eviction fence.
        self.mm.mmgrab();
        self.mm.mmput();
        let made = self.bo_create(gpu, range.pages().count());
        let bo = match made {
            Ok(bo) => bo,
            Err(error) => {
                self.mm.mmdrop();
                return Err(error);
            }
        };
        self.bo_list.lock().push_back(&self.bos, bo);
        range.bo.write_once(BoRef { bo: Some(bo), has_res: true, offset: 0 });
        self.bo_add_range(bo, handle);
        let own = range.pages();
        note!(P::Kernel, "svm_bo {bo:?} on GPU {gpu} for {own}");
        Ok(())
    }

    fn bo_create(&self, index: usize, pages: u64) -> Result<BoHandle<P>, Errno> {
        let gpu = self.gpu(index).ok_or(Errno::ENODEV)?;
        let ranges = SpinLock::new("svm_bo.list_lock", List::new())?;
        let block = gpu.vram_alloc(pages)?;
        let bo = Bo {
            refcount: Atomic::new("svm_bo.kref", 1),
            ranges,
            block,
            gpu: index,
            evicting: KShared::<P, _>::new("svm_bo.evicting", false),
            fence_signalled: KShared::<P, _>::new("svm_bo.eviction_fence", false),
            link: KPlain::<P, _>::new(ListLink::default()),
            evict_queued: KPlain::<P, _>::new(false),
            release_queued: KPlain::<P, _>::new(false),
        };
        self.bos.alloc(bo).inspect_err(|_| gpu.vram_free(block))
    }

    /// `svm_range_validate_svm_bo`: whether the range has one on that GPU already, with a reference. Waits where one is
    /// being evicted or released.
    fn validate_svm_bo(&self, gpu: usize, handle: Handle<P>) -> bool {
        let range = self.range(handle);
        {
            let locked = range.lock();
            let of_range = range.bo.read_once();
            let Some(bo) = of_range.bo else { return false };
            if of_range.has_res {
                return true;
            }
            if self.bo_ref_unless_zero(bo) {
                let object = self.bos.get(bo);
                if object.gpu != gpu {
                    // From GPU to GPU: a new one on the destination.
                    drop(locked);
                    self.bo_remove_range(bo, handle);
                    self.bo_unref(bo);
                    return false;
                }
                if !object.evicting.read_once() {
                    range.bo.write_once(BoRef { has_res: true, ..of_range });
                    return true;
                }
                drop(locked);
                // Wait for the eviction fence, then let it go.
                self.evict_bo_work.flush();
                self.bo_unref(bo);
            }
        }
        // Until a concurrent release has let go of the range.
        while range.bo.read_once().bo.is_some() {
            P::Kernel::retry_point("svm_range_validate_svm_bo: the buffer object is being released");
        }
        false
    }

    /// `svm_range_vram_node_free`: drops the range's reference; the range stays on the list of the buffer object.
    pub(super) fn vram_node_free(&self, handle: Handle<P>) {
        let range = self.range(handle);
        let bo = {
            let _locked = (!P::Kernel::planted(Plant::KfdSvmboDoubleUnref)).then(|| range.lock());
            let of_range = range.bo.read_once();
            if !of_range.has_res {
                return;
            }
            range.bo.write_once(BoRef { has_res: false, ..of_range });
            of_range.bo
        };
        if let Some(bo) = bo {
            self.bo_unref(bo);
        }
    }
}
