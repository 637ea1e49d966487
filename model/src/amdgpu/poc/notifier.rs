//! The MMU notifier callback. Spec amdgpu-svm 4.5.
//!
//! Not clean on purpose: PTEs are cleared for the intersection only while the DMA mapping of the *whole* range goes
//! (race R27); an eviction keeps PTEs and relies on stopped queues; queues stop for any overlap (race R6); RELEASE is
//! ignored (race R32).

use super::super::Svm;
use super::super::range::SvmRange;
use super::queue::QueueOp;
use crate::attr::Flags;
use crate::framework::{Instance, NotifierHandle, NotifierWrite, TreeAccess};
use crate::note;
use crate::platform::{Atomic, EventKind, Gpu, Kernel, MmuEvent, Plant, Platform, Shared};

/// Notifier operations, and what the ranges are queued for.
#[derive(Clone, Copy)]
struct Ops {
    clear_pte: bool,
    queue: Option<QueueOp>,
}

impl<P: Platform> Svm<P> {
    /// `amdgpu_svm_range_invalidate`, the framework's `invalidate` hook: NL-W held, inside an MMU notifier.
    pub(crate) fn poc_invalidate(
        &self,
        nl: &NotifierWrite<'_, P>,
        notifier: NotifierHandle<P, SvmRange<P>>,
        event: &MmuEvent,
    ) {
        if event.kind == EventKind::Release || self.poc.exiting.load() != 0 {
            return;
        }
        let access = TreeAccess::Callback(nl);
        if self.gpusvm.first_range(notifier, event.bytes, access).is_none() {
            return;
        }
        let ops = if event.kind == EventKind::Unmap {
            if !self.xnack_enabled {
                self.begin_restore();
            }
            Ops { clear_pte: true, queue: Some(QueueOp::Unmap) }
        } else if !self.xnack_enabled || self.has_always_mapped_range(nl, notifier, event) {
            self.begin_restore();
            Ops { clear_pte: false, queue: Some(QueueOp::Restore) }
        } else {
            Ops { clear_pte: true, queue: None }
        };
        self.process_ranges(nl, notifier, event, ops);
        if ops.clear_pte && !P::Kernel::planted(Plant::SkipTlbFlush) {
            self.gpu.flush_tlb();
        }
    }

    /// Whether an overlapping range was last programmed with ALWAYS_MAPPED.
    fn has_always_mapped_range(
        &self,
        nl: &NotifierWrite<'_, P>,
        notifier: NotifierHandle<P, SvmRange<P>>,
        event: &MmuEvent,
    ) -> bool {
        let access = TreeAccess::Callback(nl);
        let mut next = self.gpusvm.first_range(notifier, event.bytes, access);
        while let Some(handle) = next {
            let flags = self.gpusvm.range(handle).driver.attr_flags.read_once();
            if flags.has(Flags::GPU_ALWAYS_MAPPED) {
                return true;
            }
            next = self.gpusvm.next_range(handle, event.bytes.end, access);
        }
        false
    }

    /// Step 5: every overlapping range, in address order.
    fn process_ranges(
        &self,
        nl: &NotifierWrite<'_, P>,
        notifier: NotifierHandle<P, SvmRange<P>>,
        event: &MmuEvent,
        ops: Ops,
    ) {
        let access = TreeAccess::Callback(nl);
        let mut next = self.gpusvm.first_range(notifier, event.bytes, access);
        while let Some(handle) = next {
            let range = self.gpusvm.range(handle);
            let part = range.bytes().clip(&event.bytes);
            if ops.clear_pte {
                // The result is ignored, as posted.
                let _ = self.gpu_unmap_unlocked(nl.held(), part);
                range.driver.gpu_mapped.write_once(false);
            }
            self.gpusvm.unmap_pages_in_notifier(nl, handle);
            if ops.clear_pte {
                note!(
                    P::Kernel,
                    "{} {} hits range {}: PTEs of {} cleared, DMA of the whole range unmapped",
                    event.kind.name(),
                    event.bytes,
                    range.bytes(),
                    part
                );
            } else {
                note!(
                    P::Kernel,
                    "{} {} hits range {}: PTEs kept, DMA of the whole range unmapped",
                    event.kind.name(),
                    event.bytes,
                    range.bytes()
                );
            }
            if event.kind == EventKind::Unmap {
                self.gpusvm.set_unmapped(nl, handle, event.bytes);
            }
            if let Some(op) = ops.queue {
                self.enqueue(handle, part.pages(), op);
            }
            next = self.gpusvm.next_range(handle, event.bytes.end, access);
        }
    }
}
