//! Pages that move to a device's memory and back: entries, events, references, contents.

use crate::common::device::{
    DATA, DEVICE, GPU, Log, OWNER, PEER, PEER_OWNER, SYSTEM, evict, hmm, moved, to_device, with_gpus,
};
use crate::common::{BASE, MIB2, NONE, RO, RW, World, pages, world};
use model::Errno;
use model::platform::EventKind::{Clear, Migrate, ProtectionVma, Unmap};
use model::platform::{DeviceMemory, HmmRequest, MigratePfn, MigrateSelect, MigrateVma, Mm, Owner, VmaFlags};
use model::units::{Bytes, PAGE_SIZE};
use sim_mm::{BLOCK_PAGES, Options, POISON, Prot, Pte, Sigsegv, device_pfn};
use std::rc::Rc;

const PAGE: u64 = PAGE_SIZE;
const FIRST: u64 = BASE / PAGE_SIZE;
const HUGE: MigrateSelect = MigrateSelect { compound: true, ..SYSTEM };

fn machine(options: Options) -> (World, Log) {
    let world = world(options);
    let log = with_gpus(&world);
    world.listen(0, Bytes::new(0, 1 << 46));
    (world, log)
}

fn small() -> (World, Log) {
    machine(Options::default())
}

/// Two written pages in the GPU's memory, the first word of each being its number plus one.
fn two_in_vram() -> (World, Log) {
    let (world, log) = small();
    world.mm.mmap(pages(0, 2), RW).unwrap();
    world.mm.store(BASE, 1).unwrap();
    world.mm.store(BASE + PAGE, 2).unwrap();
    assert_eq!(to_device(&world.mm, pages(0, 2), GPU, SYSTEM), Ok((2, 2)));
    world.events();
    (world, log)
}

fn dev(index: u64) -> u64 {
    device_pfn(GPU, index)
}

fn set_up(world: &World, bytes: Bytes, select: MigrateSelect) -> (MigrateVma, Vec<MigratePfn>, Result<u64, Errno>) {
    let args = MigrateVma { bytes, owner: OWNER, select, fault_page: None };
    let mut src = vec![MigratePfn::default(); (bytes.len() / PAGE) as usize];
    let held = world.mm.mmap_read_lock();
    let result = world.mm.migrate_vma_setup(&held, &args, &mut src);
    (args, src, result)
}

/// Gives up: no destinations.
fn abort(world: &World, args: &MigrateVma, src: &mut [MigratePfn]) {
    let held = world.mm.mmap_read_lock();
    let dst = vec![MigratePfn::default(); src.len()];
    world.mm.migrate_vma_pages(&held, args, src, &dst);
    world.mm.migrate_vma_finalize(&held, args, src, &dst);
}

// ---- to the device --------------------------------------------------------------------------------------------------

#[test]
fn pages_move_with_one_event_of_their_owner_and_keep_contents_and_rights() {
    let (world, log) = small();
    world.region(pages(0, 3));
    world.mm.store(BASE + PAGE, 7).unwrap();
    let old = world.pfn(pages(1, 2));
    assert_eq!(to_device(&world.mm, pages(0, 2), GPU, SYSTEM), Ok((2, 2)));
    let calls: Vec<_> = world.calls.borrow_mut().drain(..).map(|c| (c.kind, c.bytes, c.owner, c.blockable)).collect();
    assert_eq!(calls, [(Migrate, pages(0, 2), OWNER.0, true)]);
    assert_eq!(world.mm.peek_pte(FIRST + 1).pte, Pte::Device { pfn: dev(1), write: true });
    assert_eq!((world.mm.peek_word(BASE + PAGE), world.mm.peek_mapped(FIRST + 1)), (Some(7), None));
    assert!(!world.memory.is_live(old) && world.memory.is_live(dev(1)));
    assert_eq!((world.memory.map_count(dev(0)), world.memory.live_frames()), (1, 3));
    assert_eq!(world.mm.device_page(dev(1)).map(|page| (page.pagemap, page.owner)), Some((GPU, OWNER)));
    assert_eq!((world.mm.device_page(old), world.mm.zone_device_data(dev(1))), (None, DATA));
    assert!(log.freed.borrow().is_empty());
}

#[test]
fn holes_and_zero_pages_are_filled_inside_a_second_event_from_the_first_hole_on() {
    let (world, _) = small();
    world.mm.mmap(pages(0, 4), RW).unwrap();
    world.mm.store(BASE, 5).unwrap();
    world.mm.load(BASE + 2 * PAGE).unwrap();
    world.events();
    let inside = world.clone();
    let filled = Rc::new(std::cell::RefCell::new(Vec::new()));
    let see = filled.clone();
    world.inside(move |_| {
        see.borrow_mut().push(inside.mm.peek_device(FIRST + 1).is_some());
        true
    });
    assert_eq!(to_device(&world.mm, pages(0, 4), GPU, SYSTEM), Ok((4, 4)));
    assert_eq!(world.events(), [(Migrate, pages(0, 4)), (Migrate, pages(1, 4))]);
    assert_eq!(*filled.borrow(), [false, false], "filled after the second start");
    for page in 1..4 {
        assert_eq!(world.mm.peek_device(FIRST + page), Some((dev(page), true)));
    }
    assert_eq!(world.mm.load(BASE + 3 * PAGE), Ok(0));
}

#[test]
fn zero_pages_are_collected_with_system_memory_only_and_holes_in_anonymous_memory_only() {
    let (world, _) = small();
    world.mm.mmap(pages(0, 2), RW).unwrap();
    world.mm.load(BASE).unwrap();
    let (args, mut src, result) = set_up(&world, pages(0, 2), DEVICE);
    assert_eq!((result, src[0].migrate, src[1].migrate), (Ok(1), false, true));
    abort(&world, &args, &mut src);
    world.mm.mmap(pages(0, 2), VmaFlags { anon: false, ..RW }).unwrap();
    assert_eq!(set_up(&world, pages(0, 2), SYSTEM).2, Ok(0));
}

#[test]
fn a_filled_hole_allows_what_the_vma_allows() {
    let (world, _) = small();
    world.mm.mmap(pages(0, 1), RO).unwrap();
    assert_eq!(to_device(&world.mm, pages(0, 1), GPU, SYSTEM), Ok((1, 1)));
    assert_eq!(world.mm.peek_device(FIRST), Some((dev(0), false)));
    assert_eq!(world.mm.load(BASE), Ok(0));
    assert_eq!(world.mm.peek_mapped(FIRST).map(|(_, write)| write), Some(false));
}

#[test]
fn giving_up_puts_everything_back_without_an_event() {
    let (world, _) = small();
    world.region(pages(0, 2));
    world.mm.mmap(pages(2, 3), RW).unwrap();
    let before = world.mm.peek_ptes();
    let (args, mut src, result) = set_up(&world, pages(0, 2), SYSTEM);
    assert_eq!(result, Ok(2));
    assert!(src.iter().all(|slot| slot.valid && slot.migrate && slot.write));
    assert!(matches!(world.mm.peek_pte(FIRST).pte, Pte::Migration { .. }));
    world.events();
    abort(&world, &args, &mut src);
    assert_eq!((world.events(), world.mm.peek_ptes()), (vec![], before));
    assert!(src.iter().all(|slot| !slot.migrate));
}

#[test]
fn a_page_that_somebody_has_locked_is_not_collected() {
    let (world, _) = small();
    world.region(pages(0, 2));
    let (first, mut own, result) = set_up(&world, pages(0, 1), SYSTEM);
    assert_eq!(result, Ok(1));
    let (second, mut src, result) = set_up(&world, pages(0, 2), SYSTEM);
    assert_eq!((result, src[0]), (Ok(1), MigratePfn::default()));
    assert_eq!(world.mm.migrate_pages(pages(0, 2)), Ok(0), "nor do others move it");
    abort(&world, &second, &mut src);
    abort(&world, &first, &mut own);
    assert_eq!(to_device(&world.mm, pages(0, 2), GPU, SYSTEM), Ok((2, 2)));
}

#[test]
fn a_hole_that_is_filled_meanwhile_does_not_move() {
    let (world, log) = small();
    world.mm.mmap(pages(0, 2), RW).unwrap();
    let (args, mut src, result) = set_up(&world, pages(0, 2), SYSTEM);
    assert_eq!(result, Ok(2));
    world.mm.store(BASE, 9).unwrap();
    let held = world.mm.mmap_read_lock();
    let dst = [0, 1].map(|i| {
        world.mm.zone_device_folio_init(dev(i), 0, DATA);
        MigratePfn { valid: true, pfn: dev(i), ..MigratePfn::default() }
    });
    world.mm.migrate_vma_pages(&held, &args, &mut src, &dst);
    assert_eq!([src[0].migrate, src[1].migrate], [false, true]);
    world.mm.migrate_vma_finalize(&held, &args, &mut src, &dst);
    drop(held);
    assert_eq!(world.mm.load(BASE), Ok(9));
    assert_eq!(*log.freed.borrow(), [(GPU, DATA)], "the page that was not used");
    assert_eq!(world.mm.peek_device(FIRST + 1), Some((dev(1), true)));
}

#[test]
fn a_page_that_is_zapped_meanwhile_takes_its_destination_along() {
    let (world, log) = small();
    world.region(pages(0, 1));
    let (args, mut src, _) = set_up(&world, pages(0, 1), SYSTEM);
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    let held = world.mm.mmap_read_lock();
    world.mm.zone_device_folio_init(dev(0), 0, DATA);
    let dst = [MigratePfn { valid: true, pfn: dev(0), ..MigratePfn::default() }];
    world.mm.migrate_vma_pages(&held, &args, &mut src, &dst);
    world.mm.migrate_vma_finalize(&held, &args, &mut src, &dst);
    drop(held);
    assert_eq!((world.memory.live_frames(), log.freed.borrow().len()), (0, 1));
    assert_eq!(world.mm.load(BASE), Ok(0));
}

#[test]
fn only_ranges_inside_one_ordinary_vma_can_be_collected() {
    let (world, _) = small();
    world.mm.mmap(pages(0, 2), RW).unwrap();
    world.mm.mmap(pages(2, 3), VmaFlags { pfnmap: true, ..RW }).unwrap();
    world.mm.mmap(pages(3, 4), VmaFlags { io: true, ..RW }).unwrap();
    for bytes in [pages(1, 3), pages(2, 3), pages(3, 4), pages(4, 5), pages(0, 0)] {
        assert_eq!(set_up(&world, bytes, SYSTEM).2, Err(Errno::EINVAL), "{bytes}");
    }
    assert_eq!(world.events(), [], "no event either");
}

// ---- back -----------------------------------------------------------------------------------------------------------

#[test]
fn a_cpu_access_brings_the_page_back_and_frees_the_devices() {
    let (world, log) = two_in_vram();
    assert_eq!(world.mm.load(BASE + PAGE), Ok(2));
    let calls: Vec<_> = world.calls.borrow_mut().drain(..).map(|c| (c.kind, c.bytes, c.owner)).collect();
    assert_eq!(calls, [(Migrate, pages(1, 2), OWNER.0)]);
    assert_eq!(*log.faults.borrow(), [(BASE + PAGE, dev(1))]);
    assert_eq!(*log.freed.borrow(), [(GPU, DATA)]);
    assert_eq!(world.mm.peek_mapped(FIRST + 1).map(|(_, write)| write), Some(true));
    assert_eq!(world.mm.peek_device(FIRST), Some((dev(0), true)), "the other one stays");
    assert_eq!((world.memory.is_live(dev(1)), world.memory.load(dev(1), 0)), (false, POISON));
    world.mm.store(BASE, 8).unwrap();
    assert_eq!((world.mm.load(BASE), log.freed.borrow().len()), (Ok(8), 2));
}

#[test]
fn a_page_that_does_not_come_back_is_sigbus() {
    let (world, _) = small();
    world.region(pages(0, 1));
    to_device(&world.mm, pages(0, 1), GPU, SYSTEM).unwrap();
    world.mm.clear_hooks();
    world.mm.on_device_fault(Rc::new(|_, _, _, _, _| Err(Errno::ENOMEM)));
    assert_eq!(world.mm.load(BASE + 8), Err(Sigsegv { addr: BASE + 8, write: false, bus: true }));
    assert_eq!(world.mm.peek_device(FIRST), Some((dev(0), true)));
    // The lock is given back.
    assert_eq!(world.mm.store(BASE, 1), Err(Sigsegv { addr: BASE, write: true, bus: true }));
}

#[test]
fn eviction_works_from_the_pages_with_a_clear_for_each_and_no_lock() {
    let (world, log) = two_in_vram();
    assert_eq!(evict(&world.mm, 8), 2, "free pages are skipped");
    assert_eq!(world.events(), [(Clear, pages(0, 1)), (Clear, pages(1, 2))]);
    assert_eq!((world.mm.load(BASE), world.mm.load(BASE + PAGE)), (Ok(1), Ok(2)));
    assert_eq!((log.freed.borrow().len(), log.faults.borrow().len()), (2, 0));
    assert_eq!(evict(&world.mm, 8), 0);
}

#[test]
fn eviction_skips_what_somebody_has_locked() {
    let (world, _) = two_in_vram();
    let (args, mut src, result) = set_up(&world, pages(0, 1), DEVICE);
    assert_eq!(result, Ok(1));
    assert_eq!(evict(&world.mm, 2), 1);
    abort(&world, &args, &mut src);
    assert_eq!(world.mm.peek_device(FIRST), Some((dev(0), true)));
    assert_eq!(evict(&world.mm, 2), 1);
}

#[test]
fn pages_move_from_one_device_to_another_of_the_same_owner_only() {
    let (world, log) = two_in_vram();
    let peer = MigrateSelect { device_private: true, ..SYSTEM };
    assert_eq!(to_device(&world.mm, pages(0, 2), PEER, peer), Ok((0, 0)), "PEER has another owner");
    let held = world.mm.mmap_read_lock();
    let args = MigrateVma { bytes: pages(0, 1), owner: OWNER, select: peer, fault_page: None };
    let mut src = [MigratePfn::default()];
    assert_eq!(world.mm.migrate_vma_setup(&held, &args, &mut src), Ok(1));
    let to = device_pfn(PEER, 3);
    world.mm.zone_device_folio_init(to, 0, 9);
    world.memory.copy(src[0].pfn, to, 1);
    let dst = [MigratePfn { valid: true, pfn: to, ..MigratePfn::default() }];
    world.mm.migrate_vma_pages(&held, &args, &mut src, &dst);
    world.mm.migrate_vma_finalize(&held, &args, &mut src, &dst);
    drop(held);
    assert_eq!((world.mm.peek_device(FIRST), world.mm.peek_word(BASE)), (Some((to, true)), Some(1)));
    assert_eq!(*log.freed.borrow(), [(GPU, DATA)]);
}

#[test]
fn a_freed_device_page_can_be_used_again_and_is_another_life() {
    let (world, _) = two_in_vram();
    let life = world.memory.generation(dev(0));
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
    assert_eq!(world.memory.load(dev(0), 0), POISON);
    assert_eq!(to_device(&world.mm, pages(0, 1), GPU, SYSTEM), Ok((1, 1)));
    assert_eq!((world.memory.generation(dev(0)), world.memory.load(dev(0), 0)), (life + 2, 0));
}

#[test]
fn an_unused_destination_goes_back() {
    let (world, log) = small();
    let ram = world.mm.alloc_folio(0).unwrap();
    world.mm.zone_device_folio_init(dev(0), 0, 3);
    assert_eq!(world.memory.live_frames(), 2);
    world.mm.set_zone_device_data(dev(0), 4);
    world.mm.put_new_folio(ram, 0);
    world.mm.put_new_folio(dev(0), 0);
    assert_eq!((world.memory.live_frames(), &*log.freed.borrow()), (0, &vec![(GPU, 4)]));
}

// ---- other operations on device entries -----------------------------------------------------------------------------

#[test]
fn mprotect_in_any_direction_makes_device_entries_readable_until_they_are_back_and_written() {
    for (read, write) in [(true, false), (true, true), (false, false)] {
        let (world, _) = two_in_vram();
        if write {
            // RO to RW.
            world.mm.mprotect(pages(0, 2), true, false).unwrap();
            world.events();
        }
        world.mm.mprotect(pages(0, 2), read, write).unwrap();
        assert_eq!(world.events(), [(ProtectionVma, pages(0, 2))]);
        assert_eq!(world.mm.peek_device(FIRST), Some((dev(0), false)), "read {read} write {write}");
    }
    let (world, _) = two_in_vram();
    world.mm.mprotect(pages(0, 2), true, false).unwrap();
    world.mm.mprotect(pages(0, 2), true, true).unwrap();
    assert_eq!(world.mm.load(BASE), Ok(1));
    assert_eq!(world.mm.peek_mapped(FIRST).map(|(_, write)| write), Some(false));
    world.events();
    world.mm.store(BASE, 4).unwrap();
    assert_eq!((world.events(), world.mm.load(BASE)), (vec![], Ok(4)), "in place");
}

#[test]
fn the_numa_scan_makes_device_entries_readable_too() {
    let (world, _) = two_in_vram();
    world.mm.numa_scan(pages(0, 1)).unwrap();
    assert_eq!(world.mm.peek_device(FIRST), Some((dev(0), false)));
}

#[test]
fn what_is_evicted_below_prot_none_comes_back_inaccessible() {
    let (world, _) = two_in_vram();
    world.mm.mprotect(pages(0, 1), false, false).unwrap();
    assert_eq!(evict(&world.mm, 2), 2);
    assert_eq!(world.mm.load(BASE), Err(Sigsegv { addr: BASE, write: false, bus: false }));
    assert!(matches!(world.mm.peek_pte(FIRST).pte, Pte::Present { prot: Prot::None, .. }));
    world.mm.mprotect(pages(0, 1), true, true).unwrap();
    assert_eq!(world.mm.load(BASE), Ok(1));
}

#[test]
fn munmap_dontneed_and_exit_free_device_pages() {
    let (world, log) = two_in_vram();
    world.mm.munmap(pages(0, 1)).unwrap();
    assert_eq!(world.events(), [(Unmap, pages(0, 1))]);
    assert_eq!(log.freed.borrow().len(), 1);
    world.mm.madvise_dontneed(pages(1, 2)).unwrap();
    assert_eq!(world.events(), [(Clear, pages(1, 2))]);
    assert_eq!((log.freed.borrow().len(), world.mm.load(BASE + PAGE)), (2, Ok(0)));
    let (world, log) = two_in_vram();
    world.mm.exit();
    assert_eq!((log.freed.borrow().len(), world.memory.live_frames()), (2, 0));
}

#[test]
fn ordinary_migration_leaves_device_pages_alone() {
    let (world, _) = two_in_vram();
    assert_eq!((world.mm.migrate_pages(pages(0, 2)), world.events()), (Ok(0), vec![]));
}

#[test]
fn the_last_asynchronous_put_is_finished_elsewhere() {
    let (world, _) = two_in_vram();
    let asked = Rc::new(std::cell::Cell::new(0));
    let count = asked.clone();
    world.mm.on_async_put(Rc::new(move || count.set(count.get() + 1)));
    assert!(world.mm.mmget_not_zero());
    world.mm.mmput_async();
    assert_eq!(asked.get(), 0);
    world.mm.mmput_async();
    assert_eq!((asked.get(), world.memory.live_frames()), (1, 2));
    world.mm.finish_async_put();
    assert_eq!(world.memory.live_frames(), 0);
}

// ---- hmm ------------------------------------------------------------------------------------------------------------

#[test]
fn hmm_takes_own_device_pages_as_they_are_and_ignores_the_write_request() {
    let (world, log) = two_in_vram();
    world.mm.mprotect(pages(0, 1), true, false).unwrap();
    world.mm.mprotect(pages(0, 1), true, true).unwrap();
    for request in [HmmRequest::Snapshot, HmmRequest::Read, HmmRequest::Write] {
        let pfns = hmm(&world, 0, pages(0, 2), request, OWNER).unwrap();
        let seen: Vec<_> = pfns.iter().map(|p| (p.valid, p.write, p.error, p.order, p.pfn)).collect();
        assert_eq!(seen, [(true, false, false, 0, dev(0)), (true, true, false, 0, dev(1))]);
    }
    assert!(log.faults.borrow().is_empty());
}

#[test]
fn hmm_has_foreign_device_pages_brought_back_when_it_may_fault() {
    for owner in [Owner::NONE, PEER_OWNER] {
        let (world, log) = two_in_vram();
        let pfns = hmm(&world, 0, pages(0, 2), HmmRequest::Snapshot, owner).unwrap();
        assert!(pfns.iter().all(|pfn| !pfn.valid && !pfn.error));
        let pfns = hmm(&world, 0, pages(0, 2), HmmRequest::Write, owner).unwrap();
        assert!(pfns.iter().all(|pfn| pfn.valid && pfn.write && world.mm.device_page(pfn.pfn).is_none()));
        assert_eq!(log.faults.borrow().len(), 2);
    }
}

#[test]
fn hmm_says_efault_when_a_foreign_page_does_not_come_back() {
    let (world, _) = two_in_vram();
    let mm = world.mm.clone();
    mm.clear_hooks();
    mm.on_device_fault(Rc::new(|_, _, _, _, _| Err(Errno::ENODEV)));
    assert_eq!(hmm(&world, 0, pages(0, 1), HmmRequest::Read, Owner::NONE), Err(Errno::EFAULT));
}

// ---- huge -----------------------------------------------------------------------------------------------------------

fn huge_in_vram() -> (World, Log) {
    let (world, log) = machine(Options { thp: true, ..Options::default() });
    world.mm.mmap(pages(0, 512), RW).unwrap();
    world.mm.store(BASE + 5 * PAGE, 5).unwrap();
    world.events();
    assert_eq!(to_device(&world.mm, pages(0, 512), GPU, HUGE), Ok((512, 512)));
    assert_eq!(world.events(), [(Migrate, pages(0, 512))]);
    (world, log)
}

#[test]
fn a_huge_page_moves_as_one_and_comes_back_as_one() {
    let (world, log) = huge_in_vram();
    let entry = world.mm.peek_pte(FIRST + 5);
    assert_eq!((entry.pte, entry.order), (Pte::Device { pfn: dev(5), write: true }, 9));
    let pfns = hmm(&world, 0, pages(0, 512), HmmRequest::Write, OWNER).unwrap();
    assert!(pfns.iter().zip(0..).all(|(pfn, i)| pfn.valid && pfn.write && pfn.order == 9 && pfn.pfn == dev(i)));
    let pfns = hmm(&world, 0, pages(0, 512), HmmRequest::Snapshot, Owner::NONE).unwrap();
    assert!(pfns.iter().all(|pfn| pfn.error && !pfn.valid));
    assert_eq!(world.mm.load(BASE + 5 * PAGE), Ok(5));
    assert_eq!(*log.faults.borrow(), [(BASE + 5 * PAGE, dev(5))]);
    assert_eq!(world.events(), [(Migrate, pages(0, 512))]);
    assert_eq!(world.mm.peek_pte(FIRST).order, 9);
    assert_eq!((&*log.freed.borrow(), world.memory.live_frames()), (&vec![(GPU, DATA)], 512));
}

#[test]
fn eviction_moves_a_huge_page_as_one() {
    let (world, log) = huge_in_vram();
    assert_eq!(evict(&world.mm, 600), 512);
    assert_eq!(world.events(), [(Clear, pages(0, 512))]);
    assert_eq!((world.mm.peek_pte(FIRST).order, world.mm.load(BASE + 5 * PAGE)), (9, Ok(5)));
    assert_eq!(log.freed.borrow().len(), 1);
}

#[test]
fn a_part_of_a_huge_device_page_can_go_and_the_folio_ends_with_its_last_page() {
    let (world, log) = huge_in_vram();
    world.mm.munmap(pages(0, 4)).unwrap();
    assert_eq!(world.events(), [(Clear, pages(0, 512)), (Unmap, pages(0, 4))]);
    assert_eq!((log.freed.borrow().len(), world.memory.live_frames()), (0, 508));
    assert_eq!(world.mm.load(BASE + 5 * PAGE), Ok(5), "page by page now");
    assert_eq!((world.mm.peek_pte(FIRST + 5).order, world.memory.is_live(dev(6))), (0, true));
    assert_eq!(evict(&world.mm, 512), 507);
    assert_eq!((log.freed.borrow().len(), world.memory.live_frames()), (1, 508));
}

#[test]
fn a_huge_page_that_finds_no_huge_destination_moves_page_by_page() {
    let (world, log) = huge_in_vram();
    let (args, mut src, result) = set_up(&world, pages(0, 512), DEVICE);
    assert_eq!((result, src[0].compound), (Ok(512), true));
    world.events();
    let held = world.mm.mmap_read_lock();
    let dst: Vec<_> = (0..512)
        .map(|i| {
            let pfn = world.mm.alloc_folio(0).unwrap();
            world.memory.copy(dev(i), pfn, 1);
            MigratePfn { valid: true, pfn, ..MigratePfn::default() }
        })
        .collect();
    world.mm.migrate_vma_pages(&held, &args, &mut src, &dst);
    assert_eq!(moved(&src), 512);
    world.mm.migrate_vma_finalize(&held, &args, &mut src, &dst);
    drop(held);
    assert_eq!(world.events(), [(Clear, pages(0, 512))], "the split");
    assert_eq!((world.mm.peek_pte(FIRST).order, world.mm.load(BASE + 5 * PAGE)), (0, Ok(5)));
    assert_eq!((log.freed.borrow().len(), world.memory.live_frames()), (1, 512));
}

#[test]
fn a_huge_page_is_split_when_it_cannot_move_as_one() {
    for (bytes, select) in [(pages(0, 512), SYSTEM), (pages(0, 2), HUGE)] {
        let (world, _) = machine(Options { thp: true, ..Options::default() });
        world.region(pages(0, 512));
        world.mm.store(BASE, 3).unwrap();
        world.events();
        let count = bytes.len() / PAGE;
        assert_eq!(to_device(&world.mm, bytes, GPU, select), Ok((count, count)));
        assert_eq!(world.events(), [(Migrate, bytes), (Clear, pages(0, 512))]);
        assert_eq!((world.mm.peek_pte(FIRST).order, world.mm.load(BASE)), (0, Ok(3)));
    }
}

#[test]
fn an_empty_block_is_filled_as_one() {
    for touch in [false, true] {
        let (world, _) = machine(Options { thp: true, ..Options::default() });
        world.mm.mmap(Bytes::new(BASE, BASE + 2 * MIB2), RW).unwrap();
        if touch {
            world.mm.load(BASE).unwrap();
        }
        assert_eq!(to_device(&world.mm, pages(0, BLOCK_PAGES), GPU, HUGE), Ok((512, 512)));
        assert_eq!(world.events(), [(Migrate, pages(0, 512)), (Migrate, pages(0, 512))]);
        assert_eq!(world.mm.peek_pte(FIRST).order, 9);
        assert_eq!((world.mm.load(BASE), world.mm.peek_pte(FIRST).order), (Ok(0), 9));
    }
}

#[test]
fn prot_none_on_a_huge_device_page_keeps_it() {
    let (world, _) = huge_in_vram();
    world.mm.mprotect(pages(0, 512), NONE.read, NONE.write).unwrap();
    assert_eq!(world.mm.peek_device(FIRST + 1), Some((dev(1), false)));
    assert_eq!(world.mm.peek_pte(FIRST).order, 9);
}
