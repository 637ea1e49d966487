//! UNMAP: the range splits, inside the callback. What is left keeps its mappings, its VRAM and its attributes.
//!
//! Answers to `svm_range_unmap_from_cpu`, `svm_range_unmap_split`, `svm_range_unmap_from_gpus`. Spec kfd-svm 5.

use super::Svms;
use super::locks::RangeLocked;
use super::range::{Handle, Range, WorkOp};
use crate::Errno;
use crate::note;
use crate::platform::{
    Atomic, DeviceMemory, Gpu, Kernel, Mm, Plant, Platform, PteFlags, PteUpdate, RetryFaults, Shared, SpinLock, Work,
};
use crate::units::Pages;

impl<P: Platform> Svms<P> {
    /// `svm_range_unmap_from_cpu`. `pages` is the event, clipped to the notifier's interval.
    pub(super) fn unmap_from_cpu(&self, locked: &RangeLocked<'_, P>, handle: Handle<P>, pages: Pages) {
        let range = self.range(handle);
        // 1. Nothing here schedules a resume.
        if range.queue_refcount.load() != 0 {
            let own = range.pages();
            note!(P::Kernel, "range {own} holds a user queue and is unmapped: queues are stopped for good");
            if self.gpu(0).is_some_and(|gpu| gpu.quiesce_mm(&self.mm).is_ok()) {
                self.queue_stops.inc_return();
            }
        }
        // 2.
        if !self.lookup_process() {
            return;
        }
        // 3.
        for (index, gpu) in self.gpus_of(self.supported()) {
            if let Some(newest) = gpu.fault_checkpoint() {
                self.checkpoint[index].write_once(Some(newest));
            }
        }
        let unmap_parent = pages.covers(&range.pages());
        // 4, 5: the children first.
        let mut next = self.first_child(handle);
        while let Some(child) = next {
            let child_range = self.range(child);
            let _nested = child_range.lock_child(locked);
            self.unmap_part(child_range, pages);
            // The walk goes on from here, and so over what the child's own split has just appended.
            if self.unmap_split(handle, child, pages).is_err() {
                break;
            }
            next = self.next_child(child);
        }
        self.unmap_part(range, pages);
        let _ = self.unmap_split(handle, handle, pages);
        // 6.
        let op = if unmap_parent { WorkOp::UnmapRange } else { WorkOp::UpdateRangeNotifier };
        self.add_list_work(handle, op);
        self.put();
    }

    fn unmap_part(&self, range: &Range<P>, pages: Pages) {
        let part = range.pages().clip(&pages);
        if !part.is_empty() {
            // Nobody looks at the error.
            let _ = self.unmap_from_gpus(range, part);
        }
    }

    /// `svm_range_unmap_from_gpus`: clears `part`, one GPU after the other: PTEs, wait, TLB. PR is held (or CH).
    ///
    /// # Errors
    /// Those of the update; the GPUs after it still have the mapping.
    pub(super) fn unmap_from_gpus(&self, range: &Range<P>, part: Pages) -> Result<(), Errno> {
        if !range.mapped_to_gpu.read_once() {
            return Ok(());
        }
        if range.pages() == part {
            range.mapped_to_gpu.write_once(false);
        }
        for (_, gpu) in self.gpus_of(range.attrs.read_once().accessible()) {
            if P::Kernel::planted(Plant::FlushBeforeClear) {
                gpu.flush_tlb();
            }
            let fence = gpu.update_range(&PteUpdate {
                unlocked: true,
                flush: true,
                allow_override: false,
                pages: part,
                flags: PteFlags::NONE,
                addr: None,
            })?;
            if P::Kernel::planted(Plant::MigrateLazyBatchOrder) {
                gpu.flush_tlb();
            }
            if let Some(fence) = fence {
                gpu.wait_fence(fence);
            }
            if P::Kernel::planted(Plant::MigrateLazyBatchOrder) {
                continue;
            }
            if !P::Kernel::planted(Plant::SkipTlbFlush) && !P::Kernel::planted(Plant::FlushBeforeClear) {
                gpu.flush_tlb();
            }
        }
        Ok(())
    }

    /// `svm_range_unmap_split`: the table of spec kfd-svm 5. `range` is `parent` or a child of it.
    ///
    /// # Errors
    /// That of a split. The original looks at no error and follows a NULL; here that is said, at this one place, and the
    /// bookkeeping of the event ends.
    fn unmap_split(&self, parent: Handle<P>, range: Handle<P>, pages: Pages) -> Result<(), Errno> {
        if self.op(range) == WorkOp::UnmapRange {
            return Ok(());
        }
        let own = self.range(range).pages();
        if !own.overlaps(&pages) {
            return Ok(());
        }
        let split = |of: Handle<P>, keep: Pages| {
            self.split(of, keep).inspect_err(|error| {
                P::Kernel::warn(format_args!("unmap_split: {own} cannot be split ({error}), and NULL is used"));
            })
        };
        // The kernel's pointers: `tail` and `head` are `prange` until a split makes them something else.
        let (mut head, mut tail) = (range, range);
        if pages.first > own.first {
            tail = split(range, Pages::new(own.first, pages.first - 1))?;
        }
        if pages.last < own.last {
            let of_tail = self.range(tail).pages();
            head = split(tail, Pages::new(pages.last + 1, of_tail.last))?;
        }
        if head != range && tail != range {
            self.add_child_op(parent, head, WorkOp::UnmapRange);
            self.add_child_op(parent, tail, WorkOp::AddRange);
        } else if tail != range {
            self.add_child_op(parent, tail, WorkOp::UnmapRange);
        } else if head != range {
            self.add_child_op(parent, head, WorkOp::UnmapRange);
        } else if parent != range {
            self.range(range).op.write_once(WorkOp::UnmapRange);
        }
        Ok(())
    }

    /// `svm_range_add_child`.
    fn add_child_op(&self, parent: Handle<P>, child: Handle<P>, op: WorkOp) {
        self.range(child).op.write_once(op);
        let own = self.range(child).pages();
        let of = self.range(parent).pages();
        note!(P::Kernel, "child {own} of range {of}: {op:?}");
        self.add_child(parent, child);
    }

    /// `svm_range_add_list_work` and `schedule_deferred_list_work`. The process keeps its address space until the work
    /// is done; when that is on its way out, nothing is queued.
    fn add_list_work(&self, handle: Handle<P>, op: WorkOp) {
        let range = self.range(handle);
        let deferred = self.deferred.lock();
        if self.on_deferred_list(&deferred, handle) && !P::Kernel::planted(Plant::Mlx5DoubleQueueDestroy) {
            if range.op.read_once() != WorkOp::UnmapRange {
                range.op.write_once(op);
            }
        } else if P::Kernel::planted(Plant::KfdNotifierMmUsersZero)
            || P::Kernel::planted(Plant::KfdDeferredMmRef)
            || self.mm.mmget_not_zero()
        {
            range.op.write_once(op);
            deferred.push_back(&self.ranges, handle);
            let own = range.pages();
            note!(P::Kernel, "range {own} waits for the deferred work: {op:?}");
        } else {
            let own = range.pages();
            note!(P::Kernel, "the process is exiting: range {own} is not queued");
            if P::Kernel::planted(Plant::Mlx5DyingSkipsRelease) {
                range.op.write_once(WorkOp::UnmapRange);
            }
        }
        if !deferred.is_empty() {
            self.deferred_work.queue();
        }
    }

    /// The `mmput` for what `add_list_work` took.
    pub(super) fn put_list_work(&self) {
        self.mm.mmput_async();
    }
}
