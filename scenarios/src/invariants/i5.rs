//! I5: counters balance.

use super::fail;
use crate::world::{Device, World};
use interleave::lab::{Invariant, Lab};

/// At rest: KFD counts as many stops of the process as the instances believe to hold, together, because each of them stops
/// the whole process.
pub fn stops_balance<L: Lab>(world: &World<L>) {
    let believed: u32 = world.gpus.iter().filter(|d| d.exists()).map(|d| d.view().stops_held()).sum();
    for device in &world.gpus {
        let counted = device.vm.quiesce_count();
        if believed != counted {
            let name = &device.name;
            let what =
                format!("at rest the driver holds {believed} stops of the queues of {name}, KFD counts {counted}");
            fail::<L>(Invariant::I5, what, device.vm.queues_changed_at());
        }
    }
}

/// At rest: nothing counts as evicted while the queues run (`poc-v1`; `hardened` keeps no such count).
pub fn evictions_balance<L: Lab>(device: &Device<L>) {
    let view = device.view();
    if device.is_open() && view.evicted_ranges() != 0 && view.stops_held() == 0 {
        let what =
            format!("at rest {} evictions are counted on {}, whose queues run", view.evicted_ranges(), device.name);
        fail::<L>(Invariant::I5, what, None);
    }
}

/// At rest: each range has one reference for the tree and one for the queue it is on. The end of the process changes
/// nothing in that.
pub fn references_balance<L: Lab>(device: &Device<L>) {
    device.view().for_each_range(|bytes, references, holders| {
        if references != holders {
            let what = format!("at rest range {bytes} has {references} references for {holders} holders");
            fail::<L>(Invariant::I5, what, None);
        }
    });
}

/// After fini: no DMA mapping of the instance is left.
pub fn nothing_is_mapped_after_fini<L: Lab>(device: &Device<L>) {
    let left = device.vm.dma_mappings();
    if let Some(first) = left.first() {
        let what = format!("{} is torn down and {} DMA mappings of it are left", device.name, left.len());
        fail::<L>(Invariant::I5, what, Some(first.mapped_at));
    }
}
