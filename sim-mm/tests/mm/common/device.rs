//! The smallest driver that has memory: copies at once, has no timeslice, and gives every page its place by number.

use super::{BASE, Space, World};
use model::Errno;
use model::platform::{DeviceMemory, HmmPfn, HmmRange, HmmRequest, MigratePfn, MigrateSelect, MigrateVma, Mm};
use model::platform::{Owner, PagemapId};
use model::units::{Bytes, PAGE_SIZE};
use sim_mm::{BLOCK_ORDER, BLOCK_PAGES, MmapRead, device_pfn};
use std::cell::RefCell;
use std::rc::Rc;

pub const GPU: PagemapId = PagemapId(0);
pub const OWNER: Owner = Owner(0xa);
/// Another GPU.
pub const PEER: PagemapId = PagemapId(1);
pub const PEER_OWNER: Owner = Owner(0xb);
/// The word that goes with every folio.
pub const DATA: u64 = 0x5a;

pub const SYSTEM: MigrateSelect = MigrateSelect { system: true, device_private: false, compound: false };
pub const DEVICE: MigrateSelect = MigrateSelect { system: false, device_private: true, compound: true };

/// What a mini driver keeps.
#[derive(Clone, Default)]
pub struct Log {
    /// Pagemaps and words of folios that were freed.
    pub freed: Rc<RefCell<Vec<(PagemapId, u64)>>>,
    /// Faults: address and frame.
    pub faults: Rc<RefCell<Vec<(u64, u64)>>>,
}

/// Two GPUs with memory. A CPU fault brings the folio back.
pub fn with_gpus(world: &World) -> Log {
    let log = Log::default();
    world.memory.add_pagemap(GPU, OWNER, 4096);
    world.memory.add_pagemap(PEER, PEER_OWNER, 4096);
    let freed = log.freed.clone();
    world.memory.on_folio_free(Rc::new(move |pagemap, data| freed.borrow_mut().push((pagemap, data))));
    let (inside, faults) = (world.clone(), log.faults.clone());
    world.mm.on_device_fault(Rc::new(move |pagemap, mm, held, addr, pfn| {
        faults.borrow_mut().push((addr, pfn));
        let owner = inside.memory.device_page(pfn).expect("a device page").owner;
        assert_eq!(inside.memory.device_page(pfn).map(|page| page.pagemap), Some(pagemap));
        let huge = mm.peek_pte(addr / PAGE_SIZE).order > 0;
        let size = if huge { BLOCK_PAGES * PAGE_SIZE } else { PAGE_SIZE };
        let start = addr / size * size;
        to_ram(mm, held.expect("no fault here holds it for write"), Bytes::new(start, start + size), owner, pfn)
    }));
    log
}

fn slots(bytes: Bytes) -> Vec<MigratePfn> {
    vec![MigratePfn::default(); (bytes.len() / PAGE_SIZE) as usize]
}

/// Slots and sizes of what is collected.
fn collected(src: &[MigratePfn]) -> Vec<(usize, MigratePfn, u8)> {
    let order = |slot: &MigratePfn| if slot.compound { BLOCK_ORDER } else { 0 };
    src.iter().enumerate().filter(|(_, slot)| slot.migrate).map(|(i, slot)| (i, *slot, order(slot))).collect()
}

pub fn moved(src: &[MigratePfn]) -> u64 {
    collected(src).iter().map(|(_, _, order)| 1 << order).sum()
}

/// Moves what can be moved of `bytes` to the pages of `gpu` whose numbers are those of the region's pages; returns how
/// many pages were collected and how many moved.
pub fn to_device(mm: &Space, bytes: Bytes, gpu: PagemapId, select: MigrateSelect) -> Result<(u64, u64), Errno> {
    to_device_at(mm, bytes, (gpu, (bytes.start - BASE) / PAGE_SIZE), select)
}

/// The same, to the pages of the GPU from the named one on, which must be free.
pub fn to_device_at(
    mm: &Space,
    bytes: Bytes,
    (gpu, index): (PagemapId, u64),
    select: MigrateSelect,
) -> Result<(u64, u64), Errno> {
    let held = mm.mmap_read_lock();
    let owner = if gpu == GPU { OWNER } else { PEER_OWNER };
    let args = MigrateVma { bytes, owner, select, fault_page: None };
    let (mut src, mut dst) = (slots(bytes), slots(bytes));
    let collected_pages = mm.migrate_vma_setup(&held, &args, &mut src)?;
    if collected_pages == 0 {
        return Ok((0, 0));
    }
    for (i, slot, order) in collected(&src) {
        let pfn = device_pfn(gpu, index + i as u64);
        mm.zone_device_folio_init(pfn, order, DATA);
        if slot.valid {
            mm.memory().copy(slot.pfn, pfn, 1 << order);
        }
        dst[i] = MigratePfn { valid: true, pfn, compound: slot.compound, ..MigratePfn::default() };
    }
    mm.migrate_vma_pages(&held, &args, &mut src, &dst);
    let moved = moved(&src);
    mm.migrate_vma_finalize(&held, &args, &mut src, &dst);
    Ok((collected_pages, moved))
}

/// System memory for what is collected in `src`, with the contents.
pub fn ram_for(mm: &Space, src: &[MigratePfn]) -> Result<Vec<MigratePfn>, Errno> {
    let mut dst = vec![MigratePfn::default(); src.len()];
    for (i, slot, order) in collected(src).into_iter().filter(|(_, slot, _)| slot.valid) {
        let pfn = mm.alloc_folio(order)?;
        mm.memory().copy(slot.pfn, pfn, 1 << order);
        dst[i] = MigratePfn { valid: true, pfn, compound: slot.compound, ..MigratePfn::default() };
    }
    Ok(dst)
}

/// `migrate_to_ram`.
pub fn to_ram(
    mm: &Space,
    held: &MmapRead<'_, interleave::Sim>,
    bytes: Bytes,
    owner: Owner,
    fault: u64,
) -> Result<(), Errno> {
    let args = MigrateVma { bytes, owner, select: DEVICE, fault_page: Some(fault) };
    let mut src = slots(bytes);
    if mm.migrate_vma_setup(held, &args, &mut src)? == 0 {
        return Ok(());
    }
    let dst = ram_for(mm, &src)?;
    mm.migrate_vma_pages(held, &args, &mut src, &dst);
    mm.migrate_vma_finalize(held, &args, &mut src, &dst);
    Ok(())
}

/// Empties the first `pages` pages of the GPU's memory; returns how many moved.
pub fn evict(mm: &Space, pages: u64) -> u64 {
    let name = |index| MigratePfn { valid: true, pfn: device_pfn(GPU, index), ..MigratePfn::default() };
    let mut src: Vec<MigratePfn> = (0..pages).map(name).collect();
    mm.migrate_device_pfns(&mut src);
    let dst = ram_for(mm, &src).expect("allocations do not fail here");
    mm.migrate_device_pages(&mut src, &dst);
    let moved = moved(&src);
    mm.migrate_device_finalize(&mut src, &dst);
    moved
}

/// hmm over `bytes` until it is no collision.
pub fn hmm(world: &World, cookie: u64, bytes: Bytes, request: HmmRequest, owner: Owner) -> Result<Vec<HmmPfn>, Errno> {
    let sub = world.sub(cookie);
    loop {
        let seq = world.mm.read_begin(sub);
        let mut pfns = vec![HmmPfn::default(); (bytes.len() / PAGE_SIZE) as usize];
        let held = world.mm.mmap_read_lock();
        let range = HmmRange { notifier: sub, notifier_seq: seq, start: bytes.start, request, owner };
        match world.mm.hmm_range_fault(&held, &range, &mut pfns) {
            Err(Errno::EBUSY) => {}
            result => return result.map(|()| pfns),
        }
    }
}
