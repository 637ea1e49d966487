//! I6: everything queued is processed or cancelled, and queues do not stay stopped.

use super::fail;
use crate::world::{Device, World};
use interleave::lab::{Invariant, Lab};

/// At rest: no range waits for a worker, and the queues run.
pub fn nothing_is_left<L: Lab>(world: &World<L>, device: &Device<L>) {
    // Between close and fini a range may wait: fini is what comes for it.
    let waits_for_fini = !device.is_open() && !device.is_finished();
    if !waits_for_fini && device.view().has_pending_work() {
        let what = format!("at rest ranges of {} still wait for a worker that nothing will wake", device.name);
        fail::<L>(Invariant::I6, what, None);
    }
    if device.is_open() && !world.exited() && !device.vm.running() {
        let what = format!("at rest the queues of {} are stopped and nothing will resume them", device.name);
        fail::<L>(Invariant::I6, what, device.vm.queues_changed_at());
    }
}
