//! All other events: queues stop (XNACK off), or the mapping goes (XNACK on).
//!
//! Answers to `svm_range_evict`. Spec kfd-svm 6.

use super::locks::RangeLocked;
use super::range::Handle;
use super::{RESTORE_DELAY_MS, Svms};
use crate::attr::Flags;
use crate::note;
use crate::platform::{Atomic, DelayedWork, Gpu, Kernel, Plant, Platform, Shared};
use crate::units::Pages;

impl<P: Platform> Svms<P> {
    /// `svm_range_evict`.
    pub(super) fn evict(&self, locked: &RangeLocked<'_, P>, handle: Handle<P>, pages: Pages) {
        if P::Kernel::planted(Plant::KfdProcessRefAsArgument) {
            let found = self.lookup_process();
            note!(P::Kernel, "tells the process, found: {found}");
        }
        let range = self.range(handle);
        if !self.config.xnack || range.attrs.read_once().flags.has(Flags::GPU_ALWAYS_MAPPED) {
            self.evict_by_stopping(locked, handle, pages);
            return;
        }
        let mut next = self.first_child(handle);
        while let Some(child) = next {
            let child_range = self.range(child);
            let _nested = child_range.lock_child(locked);
            let part = child_range.pages().clip(&pages);
            if !part.is_empty() {
                let _ = self.unmap_from_gpus(child_range, part);
            }
            next = self.next_child(child);
        }
        let part = range.pages().clip(&pages);
        if !part.is_empty() {
            let _ = self.unmap_from_gpus(range, part);
        }
    }

    /// GPU page tables stay as they are: it is the stopped queues that keep the GPU away.
    fn evict_by_stopping(&self, locked: &RangeLocked<'_, P>, handle: Handle<P>, pages: Pages) {
        let range = self.range(handle);
        let mut mapped = range.mapped_to_gpu.read_once();
        let mut next = self.first_child(handle);
        while let Some(child) = next {
            let child_range = self.range(child);
            if child_range.mapped_to_gpu.read_once() {
                mapped = true;
                let _nested = child_range.lock_child(locked);
                if child_range.pages().overlaps(&pages) {
                    child_range.invalid.inc_return();
                }
            }
            next = self.next_child(child);
        }
        if !mapped {
            return;
        }
        if range.pages().overlaps(&pages) {
            range.invalid.inc_return();
        }
        let evicted = self.evicted_ranges.inc_return();
        note!(P::Kernel, "evicted_ranges {}->{evicted}", evicted - 1);
        if evicted != 1 && !P::Kernel::planted(Plant::DoubleQuiesceSingleResume) {
            return;
        }
        // The process has its queues on all GPUs; one call stops all of them.
        if let Some(gpu) = self.gpu(0)
            && let Err(error) = gpu.quiesce_mm(&self.mm)
        {
            note!(P::Kernel, "quiesce failed with {error}; the notifier goes on");
        }
        self.restore_work.queue(RESTORE_DELAY_MS);
    }
}
