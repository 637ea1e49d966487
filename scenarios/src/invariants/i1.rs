//! I1: once the callback for an interval has returned, no GPU access reaches the old pages.

use super::fail;
use crate::world::Device;
use interleave::lab::{Invariant, Lab};
use model::platform::{EventKind, MmuEvent};
use sim_gpu::Via;

/// Right after a driver callback returned: a GPU whose queues run has neither page-table nor TLB entry for any page of
/// the event. Accesses through what a stopped GPU still holds are judged when they happen.
pub fn after_callback<L: Lab>(device: &Device<L>, event: &MmuEvent) {
    if event.kind == EventKind::Release || !device.vm.running() {
        return;
    }
    for page in device.promises.among(event.bytes.pages()) {
        if let Some(reach) = device.vm.reaches(page).or_else(|| device.vm.tlb_reaches(page)) {
            let through = match reach.via {
                Via::Pte => "an entry",
                Via::Tlb => "a TLB entry",
            };
            let what = format!(
                "the callback for {} {} has returned, queues of {} run, and {through} still leads from page {page:#x} to \
                 frame {:#x}",
                event.kind.name(),
                event.bytes,
                device.name,
                reach.pfn,
            );
            fail::<L>(Invariant::I1, what, reach.unmapped_at.or(device.vm.queues_changed_at()));
        }
    }
}
