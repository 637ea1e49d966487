//! I7: in no-retry mode queues run only while every accessible interval is mapped.
//!
//! What is accessible is what a SET_ATTR promised ([`Promises`](crate::world::Promises)) and the VMA allows now.

use super::fail;
use crate::world::{Device, World};
use interleave::lab::{Invariant, Lab};
use model::units::PAGE_SHIFT;

/// Whether the VMA allows the access at this moment, and the attributes do not forbid it.
fn allowed<L: Lab>(world: &World<L>, device: &Device<L>, page: u64, write: bool) -> bool {
    let Some(vma) = world.mm.peek_vma(page << PAGE_SHIFT) else { return false };
    vma.flags.read && (!write || vma.flags.write && device.promises.covers_writes(page))
}

/// A wave took a fault that is not retried: fatal for the application. It must not have been promised the page.
pub fn judge_fault<L: Lab>(world: &World<L>, device: &Device<L>, page: u64, write: bool) {
    if device.view().xnack_enabled() {
        return; // a fault is an answer there, not the end
    }
    if let Some(promised) = device.promises.of(page)
        && allowed(world, device, page, write)
    {
        let access = if write { "writes" } else { "reads" };
        let what =
            format!("{} {access} page {page:#x}, which SET_ATTR had promised, and takes a fatal fault", device.name);
        fail::<L>(Invariant::I7, what, Some(promised));
    }
}

/// Queues start to run again.
pub fn at_resume<L: Lab>(world: &World<L>, gpu: &str) {
    for device in world.gpus.iter().filter(|d| d.vm.name() == gpu && d.is_open()) {
        every_promise_is_mapped(world, device, "queues resume");
    }
}

/// Nothing runs any more.
pub fn promises_are_kept<L: Lab>(world: &World<L>, device: &Device<L>) {
    if device.vm.running() {
        every_promise_is_mapped(world, device, "everything is at rest");
    }
}

fn every_promise_is_mapped<L: Lab>(world: &World<L>, device: &Device<L>, when: &str) {
    if device.view().xnack_enabled() {
        return;
    }
    for (page, promised) in device.promises.pages() {
        if !allowed(world, device, page, false) {
            continue;
        }
        match device.vm.reaches(page) {
            None => {
                let what = format!(
                    "{when}, and page {page:#x}, promised by SET_ATTR and mapped by the CPU, has no entry on {}",
                    device.name
                );
                fail::<L>(Invariant::I7, what, Some(promised));
            }
            Some(reach) if !reach.live => {
                let what = format!(
                    "{when}, and the entry of page {page:#x} on {} leads through a DMA mapping that was revoked",
                    device.name
                );
                fail::<L>(Invariant::I7, what, reach.unmapped_at);
            }
            Some(_) => {}
        }
    }
}
