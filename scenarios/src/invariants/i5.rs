//! I5: counters balance.

use super::fail;
use crate::world::{Device, World};
use interleave::lab::{Invariant, Lab};

/// At rest: the driver's idea of having stopped the queues is KFD's count of it, and nothing counts as evicted.
pub fn counters_balance<L: Lab>(world: &World<L>, device: &Device<L>) {
    let inspect = device.svm().inspect();
    let believes = u32::from(inspect.queues_stopped());
    let counted = device.vm.quiesce_count();
    if world.gpus.len() == 1 && believes != counted {
        let what =
            format!("at rest the driver holds {believes} stop of the queues of {}, KFD counts {counted}", device.name);
        fail::<L>(Invariant::I5, what, device.vm.queues_changed_at());
    }
    if inspect.evicted_ranges() != 0 && believes == 0 {
        let what =
            format!("at rest {} evictions are counted on {} whose queues run", inspect.evicted_ranges(), device.name);
        fail::<L>(Invariant::I5, what, None);
    }
    if !device.exists() && !device.vm.dma_mappings().is_empty() {
        let what =
            format!("{} is gone and {} DMA mappings of it are left", device.name, device.vm.dma_mappings().len());
        fail::<L>(Invariant::I5, what, device.closed_at());
    }
}
