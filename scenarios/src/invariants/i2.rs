//! I2: a valid entry names the page the CPU named, with no more rights than VMA and attributes allow.

use super::fail;
use crate::world::{Device, World};
use interleave::lab::{Invariant, Lab};
use model::amdgpu::pte;
use model::attr::Attrs;
use model::units::{PAGE_SHIFT, Pages};

/// At rest, entry by entry: same frame as the CPU's page table, access granted, flags as the attributes say.
pub fn entries_are_right<L: Lab>(world: &World<L>, device: &Device<L>) {
    let gpu = device.vm.properties();
    for (page, entry) in device.vm.mapped() {
        let since = device.vm.dma_target(entry.addr).map(|target| target.mapped_at);
        let Some(vma) = world.mm.peek_vma(page << PAGE_SHIFT) else {
            fail::<L>(Invariant::I2, format!("page {page:#x} has a valid entry on {} and no VMA", device.name), since);
        };
        let Some(reach) = device.vm.reaches(page).filter(|reach| reach.live) else {
            if device.vm.running() {
                let what = format!(
                    "at rest queues of {} run, and the entry of page {page:#x} leads through a DMA mapping that was revoked",
                    device.name
                );
                fail::<L>(Invariant::I1, what, device.vm.dma_target(entry.addr).and_then(|target| target.unmapped_at));
            }
            continue;
        };
        let on_cpu = world.mm.peek_mapped(page);
        if on_cpu.map(|(pfn, _)| pfn) != Some(reach.pfn) {
            let what = format!(
                "page {page:#x} leads to frame {:#x} on {}, the CPU's page table says {}",
                reach.pfn,
                device.name,
                on_cpu.map_or("nothing".into(), |(pfn, _)| format!("{pfn:#x}")),
            );
            fail::<L>(Invariant::I2, what, since);
        }
        let attrs = attrs(device, page);
        if !attrs.has_access() {
            let what = format!("page {page:#x} has a valid entry on {}, its attributes give no access", device.name);
            fail::<L>(Invariant::I2, what, since);
        }
        let want = pte::pte_flags(&gpu, attrs.flags, !vma.flags.write);
        if entry.flags != want {
            let what = format!(
                "page {page:#x} is mapped {:?} on {}, its attributes ({:?}) and VMA say {want:?}",
                entry.flags, device.name, attrs.flags
            );
            fail::<L>(Invariant::I2, what, device.promises.last_but_one(page));
        }
    }
}

fn attrs<L: Lab>(device: &Device<L>, page: u64) -> Attrs {
    let mut found = None;
    device.svm().inspect().for_each_segment(Pages::new(page, page), |segment| found = Some(segment.attrs));
    found.expect("every page lies in a segment or a hole")
}
