//! The MMU notifier callback, in two phases around one TLB flush. Spec amdgpu-svm 7.4.
//!
//! Not clean on purpose: PTEs are cleared for the intersection only while the DMA mapping of the *whole* range goes (race
//! R27), and a range that is not marked mapped yet keeps the PTEs that were just written (race R25).

use super::super::Svm;
use super::super::range::{Handle, SvmRange};
use crate::framework::{Instance, NotifierHandle, NotifierWrite, TreeAccess};
use crate::note;
use crate::platform::{Atomic, EventKind, Gpu, Kernel, MmuEvent, Plant, Platform, RetryFaults, Shared};

impl<P: Platform> Svm<P> {
    /// `amdgpu_svm_range_invalidate`, the framework's `invalidate` hook: NL-W held, inside an MMU notifier.
    pub(crate) fn v8_invalidate(
        &self,
        nl: &NotifierWrite<'_, P>,
        notifier: NotifierHandle<P, SvmRange<P>>,
        event: &MmuEvent,
    ) {
        if event.kind == EventKind::Release || self.v8().exiting.load() != 0 {
            return;
        }
        let access = TreeAccess::Callback(nl);
        let first = self.gpusvm.first_range(notifier, event.bytes, access);
        if first.is_none() {
            return;
        }
        if event.kind == EventKind::Unmap {
            self.v8_capture_checkpoint();
        }
        // Phase 1.
        let mut flush = false;
        let mut next = first;
        while let Some(handle) = next {
            flush |= self.v8_event_begin(nl, handle, event);
            next = self.gpusvm.next_range(handle, event.bytes.end, access);
        }
        if flush && !P::Kernel::planted(Plant::SkipTlbFlush) {
            self.gpu.flush_tlb();
        }
        // Phase 2.
        let mut next = first;
        while let Some(handle) = next {
            self.v8_event_end(nl, handle, event);
            next = self.gpusvm.next_range(handle, event.bytes.end, access);
        }
    }

    /// `capture_checkpoint_ts`: faults that are in the ring now are stale. With an empty ring the old word stays.
    fn v8_capture_checkpoint(&self) {
        if let Some(time) = self.gpu.fault_checkpoint() {
            note!(P::Kernel, "checkpoint: faults up to time {} are stale", time.0);
            self.v8().checkpoint_ts.write_once(time.0);
        }
    }

    /// `range_notifier_event_begin`: whether PTEs were cleared.
    fn v8_event_begin(&self, nl: &NotifierWrite<'_, P>, handle: Handle<P>, event: &MmuEvent) -> bool {
        let range = self.gpusvm.range(handle);
        if range.flags().unmapped || !range.driver.gpu_mapped.read_once() {
            note!(P::Kernel, "{} {}: range {} counts as not mapped", event.kind.name(), event.bytes, range.bytes());
            return false;
        }
        let part = range.bytes().clip(&event.bytes);
        // The result is ignored, as posted.
        let _ = self.gpu_unmap_unlocked(nl.held(), part);
        range.driver.gpu_mapped.write_once(false);
        note!(P::Kernel, "{} {} hits range {}: PTEs of {part} cleared", event.kind.name(), event.bytes, range.bytes());
        true
    }

    /// `range_notifier_event_end`.
    fn v8_event_end(&self, nl: &NotifierWrite<'_, P>, handle: Handle<P>, event: &MmuEvent) {
        self.gpusvm.unmap_pages_in_notifier(nl, handle);
        if event.kind == EventKind::Unmap {
            self.gpusvm.set_unmapped(nl, handle, event.bytes);
            let part = self.gpusvm.range(handle).bytes().clip(&event.bytes);
            self.v8_gc_enqueue(handle, part.pages());
        }
    }
}
