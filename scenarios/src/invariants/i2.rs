//! I2: a valid entry names the page the CPU named, with no more rights than VMA and attributes allow, and writes to no
//! page that others have, too.

use super::fail;
use crate::world::{Device, World};
use interleave::lab::{Invariant, Lab};
use model::attr::Segment;
use model::platform::{Interconnect, PteFlags};
use model::units::{PAGE_SHIFT, Pages};
use sim_gpu::page_table::Pte;

/// At rest, entry by entry: same frame as the CPU's page table, access granted, flags as the attributes say.
pub fn entries_are_right<L: Lab>(world: &World<L>, device: &Device<L>) {
    let mapped = device.vm.mapped();
    let segments = segments(device, &mapped);
    let mut segment = 0;
    for (page, entry) in mapped {
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
        let on_cpu = world.mm.peek_mapped(page).or_else(|| world.mm.peek_device(page));
        let in_vram = world.mm.peek_device(page).is_some();
        if on_cpu.map(|(pfn, _)| pfn) != Some(reach.pfn) {
            let what = format!(
                "page {page:#x} leads to frame {:#x} on {}, the CPU's page table says {}",
                reach.pfn,
                device.name,
                on_cpu.map_or("nothing".into(), |(pfn, _)| format!("{pfn:#x}")),
            );
            fail::<L>(Invariant::I2, what, since);
        }
        if entry.flags.has(PteFlags::WRITEABLE) && world.mm.peek_copies_on_write(page) {
            let what = format!(
                "{} may write to frame {:#x} through page {page:#x}, and others have that frame, too: the CPU would copy it",
                device.name, reach.pfn
            );
            fail::<L>(Invariant::I2, what, since);
        }
        // A device page's CPU entry says nothing about who may write: it became readable when something was reprotected.
        if !in_vram && entry.flags.has(PteFlags::WRITEABLE) && on_cpu.is_some_and(|(_, writable)| !writable) {
            let what = format!(
                "page {page:#x} is writable on {}, and the CPU's page table has frame {:#x} there for reading only",
                device.name, reach.pfn
            );
            fail::<L>(Invariant::I2, what, since);
        }
        // Pages and segments come in the same order.
        segment += segments[segment..].iter().take_while(|s| s.pages.last < page).count();
        let attrs = segments[segment].attrs;
        if !attrs.has_access() {
            let what = format!("page {page:#x} has a valid entry on {}, its attributes give no access", device.name);
            fail::<L>(Invariant::I2, what, since);
        }
        let proto = match in_vram {
            false => Interconnect::System,
            true if entry.flags.has(PteFlags::SYSTEM) => Interconnect::PeerVram,
            true => Interconnect::Vram,
        };
        let want = device.view().pte_flags(&device.vm, page, &attrs, !vma.flags.write, proto);
        if let Some(want) = want.filter(|want| *want != entry.flags) {
            let what = format!(
                "page {page:#x} is mapped {:?} on {}, its attributes ({:?}) and VMA say {want:?}",
                entry.flags, device.name, attrs.flags
            );
            fail::<L>(Invariant::I2, what, device.promises.last_but_one(page));
        }
    }
}

/// The attributes of all that lies between the first and the last of `mapped`, holes included.
fn segments<L: Lab>(device: &Device<L>, mapped: &[(u64, Pte)]) -> Vec<Segment> {
    let mut found = Vec::new();
    if let (Some(&(first, _)), Some(&(last, _))) = (mapped.first(), mapped.last()) {
        device.view().for_each_segment(Pages::new(first, last), |segment| found.push(segment));
    }
    found
}
