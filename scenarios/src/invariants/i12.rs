//! I12: after close nothing runs and nothing refers back.

use super::fail;
use crate::world::{Device, World};
use interleave::lab::{Invariant, Lab};

/// At rest, after the process has ended: nobody keeps its address space.
pub fn nobody_keeps_the_mm<L: Lab>(world: &World<L>) {
    if world.ended() && !world.exited() {
        let what = format!("the process has ended, and {} users of its mm are left", world.mm.mm_users());
        fail::<L>(Invariant::I12, what, None);
    }
}

/// At rest, after the process has ended: nobody has a reference to what KFD knew of it, and no range is left.
pub fn nothing_is_left_of_a_process<L: Lab>(world: &World<L>, device: &Device<L>) {
    if !world.exited() {
        return;
    }
    let Some((references, ranges)) = device.view().process() else { return };
    if references != 0 || ranges != 0 {
        let what = format!("the process has ended, and {references} references to it and {ranges} ranges are left");
        fail::<L>(Invariant::I12, what, None);
    }
    if let Some(first) = device.vm.dma_mappings().first() {
        let what = format!("the process has ended, and pages are still DMA mapped for {}", device.name);
        fail::<L>(Invariant::I3, what, Some(first.mapped_at));
    }
}
