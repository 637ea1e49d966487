//! The MMU notifier callback.
//!
//! Two passes over the ranges that the event touches. First every mapped one leaves the GPU, *whole*, and the TLB is
//! flushed once. Then every one is DMA unmapped, whole again, and queued if somebody has to look at it.

use super::super::range::{Handle, SvmRange};
use super::super::{RESTORE_DELAY_MS, Svm};
use super::{Queued, RangeState};
use crate::framework::{Instance, NotifierHandle, NotifierWrite, TreeAccess};
use crate::note;
use crate::platform::{DelayedWork, EventKind, Gpu, Kernel, MmuEvent, Plain, Plant, Platform, Work};
use crate::units::PAGE_SHIFT;

impl<P: Platform> Svm<P> {
    /// The framework's `invalidate` hook: NL-W held, inside an MMU notifier.
    pub(crate) fn hardened_invalidate(
        &self,
        nl: &NotifierWrite<'_, P>,
        notifier: NotifierHandle<P, SvmRange<P>>,
        event: &MmuEvent,
    ) {
        let held = nl.held();
        let _driver = P::Kernel::planted(Plant::RfcAbbaEvictionVsNotifier).then(|| self.lock_svm());
        if event.kind == EventKind::Release && !self.hardened.gate.with(|g| g.mm_gone) {
            // From here on there is nothing to map. The queues, if stopped, stay so until fini.
            self.hardened.gate.with_mut(|g| g.mm_gone = true);
        }
        let access = TreeAccess::Callback(nl);
        let mut hit = event.bytes;
        if P::Kernel::planted(Plant::RangeEndOffByOne) {
            hit.end -= 1 << PAGE_SHIFT;
        }
        let each = |f: &mut dyn FnMut(Handle<P>)| {
            let mut next = self.gpusvm.first_range(notifier, hit, access);
            while let Some(handle) = next {
                f(handle);
                next = self.gpusvm.next_range(handle, hit.end, access);
            }
        };
        if P::Kernel::planted(Plant::FlushBeforeClear) {
            self.gpu.flush_tlb();
        }

        let mut zapped = false;
        each(&mut |handle| {
            let range = self.gpusvm.range(handle);
            if P::Kernel::planted(Plant::DmaUnmapBeforeFlush) {
                self.gpusvm.unmap_pages_in_notifier(nl, handle);
            }
            let RangeState { mapped, attr_flags, .. } = range.driver.state.get();
            if mapped && self.is_eager(attr_flags) {
                self.stop_queues(held);
            }
            match self.zap(held, handle) {
                Ok(false) => {}
                Ok(true) => {
                    note!(
                        P::Kernel,
                        "{} {} hits range {}: PTEs of the whole range cleared",
                        event.kind.name(),
                        event.bytes,
                        range.bytes()
                    );
                    zapped = true;
                }
                // The pages go whatever we say, so nobody may run until the entries are gone too.
                Err(_) => self.stop_queues(held),
            }
        });
        if zapped && !P::Kernel::planted(Plant::SkipTlbFlush) && !P::Kernel::planted(Plant::FlushBeforeClear) {
            self.gpu.flush_tlb();
        }

        let mut queued = false;
        let gate = self.hardened.gate.get();
        each(&mut |handle| {
            if !P::Kernel::planted(Plant::XeUserptrDmaLeft) {
                self.gpusvm.unmap_pages_in_notifier(nl, handle);
            }
            if event.kind == EventKind::Unmap {
                self.gpusvm.set_unmapped(nl, handle, event.bytes);
            }
            let RangeState { mapped, attr_flags, .. } = self.gpusvm.range(handle).driver.state.get();
            let due = event.kind == EventKind::Unmap || mapped || self.is_eager(attr_flags);
            if due && !gate.mm_gone {
                self.push(held, handle, Queued::Pending, event.kind.name());
                queued = true;
            }
        });
        if queued && !gate.closing {
            if event.kind == EventKind::Unmap {
                self.gc_work.queue();
            } else {
                // Evictions come in bunches; wait for the others.
                self.restore_work.queue(RESTORE_DELAY_MS);
            }
        }
    }
}
