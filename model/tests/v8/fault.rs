//! `poc-v8`'s fault path, step by step: what each check does, and in which order they come.

use crate::machine::*;
use interleave::Sim;
use model::Errno;
use model::amdgpu::{Design, Svm, SvmConfig};
use model::attr::v4::{ACCESS_INACCESSIBLE, AttrTypeV4};
use model::attr::{Access, Location};
use model::platform::{ClientId, FaultTime, PteFlags, VmaFlags};
use model::units::Pages;
use sim_gpu::inject::Point;
use sim_gpu::{GpuConfig, GpuVm, Kfd, properties};
use sim_mm::AddressSpace;
use std::rc::Rc;

fn plain() -> Rc<Machine> {
    let m = machine(0x20);
    m.sequential();
    m
}

/// Whether nothing was done at all.
fn untouched(m: &Machine) -> bool {
    m.nodes().is_empty() && m.ranges().is_empty() && m.mapped().is_empty()
}

#[test]
fn a_first_fault_gives_default_attributes_and_maps_a_range() {
    let m = plain();
    assert_eq!(m.fault(BASE + 3), Ok(()));
    let nodes = m.nodes();
    assert_eq!(nodes.len(), 1);
    let (pages, attrs) = nodes[0];
    assert_eq!(pages, Pages::new(BASE, BASE + 0x1f), "VMA, granularity block and gap, whichever is least");
    assert_eq!((attrs.access, attrs.preferred_loc), (Access::Enable, Location::UNDEFINED));
    // A VMA of 32 pages: 64 KiB are the largest chunk.
    assert_eq!(m.mapped(), (BASE..BASE + 0x10).collect::<Vec<_>>());
    assert_eq!(m.read(BASE + 3).unwrap(), BASE + 3);
    assert!(m.ranges()[0].gpu_mapped);
    // Without waiting and without flushing.
    assert_eq!(m.flushes(), 0);
    assert!(m.updates().iter().all(|update| !update.flush && !update.unlocked));
    assert_eq!(m.mm.mm_users(), 1, "the reference to the address space is put");
}

#[test]
fn the_default_node_fills_the_gap_between_neighbours_only() {
    let m = plain();
    let gran = AttrTypeV4::Granularity.with(5);
    m.set(bytes(BASE, 2), &[gran]).unwrap();
    m.set(bytes(BASE + 8, 2), &[gran]).unwrap();
    m.fault(BASE + 4).unwrap();
    let pages: Vec<_> = m.nodes().into_iter().map(|(pages, _)| pages).collect();
    assert_eq!(pages[1], Pages::new(BASE + 2, BASE + 7));
    // The fault window is the node: single pages are all that fits around page 4.
    assert_eq!(m.mapped(), [BASE + 4]);
}

#[test]
fn the_default_node_stays_in_the_block_of_the_default_granularity() {
    let m = machine(0x400);
    m.sequential();
    m.fault(BASE + 0x210).unwrap();
    assert_eq!(m.nodes()[0].0, Pages::new(BASE + 0x200, BASE + 0x3ff), "granularity 9 is 512 pages");
}

#[test]
fn in_reset_nothing_is_looked_at() {
    let m = plain();
    m.script.in_reset.set(true);
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(untouched(&m));
}

#[test]
fn closing_drops_faults() {
    let m = plain();
    m.svm().close();
    assert_eq!(m.script.drains.get(), 1, "close waits for the rings");
    m.svm().close();
    assert_eq!(m.script.drains.get(), 1, "and only once");
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(untouched(&m));
}

#[test]
fn a_dying_process_drops_faults() {
    let m = plain();
    m.mm.exit();
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(untouched(&m));
}

#[test]
fn without_xnack_there_is_no_instance() {
    let m = plain();
    let kfd = Kfd::new(|mm: &AddressSpace<Sim>| mm.id() == 1);
    let config = GpuConfig::new("gpu1", 1, properties::GFX1100);
    let gpu = TestGpu { vm: GpuVm::new(config, &m.memory, &kfd).unwrap(), script: m.script.clone() };
    let init = |xnack| {
        let config = SvmConfig { xnack, ..SvmConfig::new(Design::PocV8, ClientId(1)) };
        Svm::<Simulated>::init(config, m.mm.clone(), gpu.clone()).map(|svm| svm.xnack_enabled()).err()
    };
    assert_eq!(init(None), Some(Errno::EOPNOTSUPP), "GFX11 does not retry");
    assert_eq!(init(Some(false)), Some(Errno::EOPNOTSUPP));
    assert_eq!(init(Some(true)), None);
    assert!(m.svm().xnack_enabled(), "GFX9.4.3 does");
}

#[test]
fn faults_up_to_the_checkpoint_are_stale_and_the_first_newer_one_ends_it() {
    let m = plain();
    m.fault_at(BASE, false, 5).unwrap();
    m.script.checkpoint.set(Some(FaultTime(100)));
    m.mm.munmap(bytes(BASE + 1, 1)).unwrap();
    m.tick(10);
    assert!(m.filter_removed().is_empty());
    for stale in [1, 99, 100, (1 << 48) - 5] {
        assert_eq!(m.fault_at(BASE, false, stale), Ok(()));
        assert_eq!(m.filter_removed(), [BASE << 12], "time {stale}");
        assert!(m.ranges().is_empty(), "time {stale} is not newer than 100, wrapping at 48 bits");
    }
    assert_eq!(m.fault_at(BASE, false, 101), Ok(()));
    assert!(m.filter_removed().is_empty());
    assert_eq!(m.ranges().len(), 1);
    // The checkpoint is gone: an old time passes now.
    assert_eq!(m.fault_at(BASE + 0x10, false, 50), Ok(()));
    assert!(m.filter_removed().is_empty());
    assert_eq!(m.ranges().len(), 2);
}

#[test]
fn only_an_unmap_that_hits_a_range_takes_a_checkpoint_and_an_empty_ring_takes_none() {
    let m = plain();
    m.script.checkpoint.set(Some(FaultTime(100)));
    m.mm.munmap(bytes(BASE + 0x1f, 1)).unwrap();
    m.fault_at(BASE, false, 1).unwrap();
    assert_eq!(m.ranges().len(), 1, "no notifier was there to be called");
    m.mm.migrate_pages(bytes(BASE, 1)).unwrap();
    m.tick(10);
    m.fault_at(BASE, false, 1).unwrap();
    assert!(m.mapped().contains(&BASE), "CLEAR is no UNMAP");
    m.script.checkpoint.set(None);
    m.mm.munmap(bytes(BASE + 1, 1)).unwrap();
    m.tick(10);
    m.fault_at(BASE, false, 1).unwrap();
    assert_eq!(m.ranges()[0].bytes, bytes(BASE, 1), "nothing was stale");
}

#[test]
fn a_fault_where_there_is_no_vma_is_reported_as_handled() {
    let m = plain();
    assert_eq!(m.fault(BASE + 0x100), Ok(()));
    assert!(untouched(&m));
    // With attributes that outlived the munmap too.
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::GpuExec.with(1)]).unwrap();
    m.mm.munmap(bytes(BASE, 0x20)).unwrap();
    assert_eq!(m.nodes().len(), 1, "attributes survive munmap");
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(m.ranges().is_empty());
}

#[test]
fn a_fault_on_device_memory_of_the_cpu_is_not() {
    let m = plain();
    m.mm.mmap(bytes(BASE + 0x100, 1), VmaFlags { io: true, anon: false, ..RW }).unwrap();
    assert_eq!(m.fault(BASE + 0x100), Err(Errno::EOPNOTSUPP));
    assert!(untouched(&m));
}

#[test]
fn the_vma_must_allow_the_access() {
    let m = plain();
    m.mm.mprotect(bytes(BASE, 0x20), true, false).unwrap();
    assert_eq!(m.write_fault(BASE), Err(Errno::EPERM));
    assert!(m.ranges().is_empty());
    assert_eq!(m.fault(BASE), Ok(()), "a load of the same page is fine");
    let flags = m.gpu.vm.pte(BASE).flags;
    assert!(flags.has(PteFlags::READABLE) && !flags.has(PteFlags::WRITEABLE), "mapped read-only: {flags:?}");
    let m = plain();
    m.mm.mprotect(bytes(BASE, 0x20), false, false).unwrap();
    assert_eq!(m.fault(BASE), Err(Errno::EPERM));
}

#[test]
fn inaccessible_pages_are_mapped_all_the_same() {
    let m = plain();
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::Access.with(ACCESS_INACCESSIBLE)]).unwrap();
    assert_eq!(m.fault(BASE), Ok(()));
    assert_eq!(m.read(BASE).unwrap(), BASE, "nobody asks for access in the posting's fault path");
}

#[test]
fn a_store_to_a_range_that_is_read_only_for_the_gpu_goes_round_for_ever() {
    let m = plain();
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::GpuRo.with(1)]).unwrap();
    for _ in 0..3 {
        assert_eq!(m.write_fault(BASE), Ok(()), "handled, it says");
        m.tick(10);
    }
    assert!(!m.gpu.vm.pte(BASE).flags.has(PteFlags::WRITEABLE));
}

#[test]
fn a_second_fault_within_two_milliseconds_is_a_duplicate_whatever_happened_since() {
    let m = plain();
    m.fault(BASE).unwrap();
    m.mm.migrate_pages(bytes(BASE, 1)).unwrap();
    assert!(!m.mapped().contains(&BASE));
    m.tick(1);
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(!m.mapped().contains(&BASE), "dropped, although the page is not mapped");
    assert!(m.filter_removed().is_empty(), "and the filter is not told");
    m.tick(1);
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(m.mapped().contains(&BASE));
}

#[test]
fn a_valid_range_is_left_alone_and_other_attribute_flags_make_it_invalid() {
    let m = plain();
    m.fault(BASE).unwrap();
    m.tick(10);
    m.updates();
    m.fault(BASE + 1).unwrap();
    assert!(m.updates().is_empty());
    assert_eq!(m.ranges()[0].bytes, bytes(BASE, 0x10));
    // An in-place change of the whole node zaps the range but keeps it; the next fault maps with the new flags.
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::GpuExec.with(1)]).unwrap();
    assert!(m.mapped().is_empty());
    assert_eq!(m.ranges().len(), 1);
    m.fault(BASE).unwrap();
    assert!(m.gpu.vm.pte(BASE).flags.has(PteFlags::EXECUTABLE));
}

#[test]
fn no_pages_is_tried_three_times_and_then_reported_as_handled() {
    let m = plain();
    for _ in 0..3 {
        m.gpu.vm.injected().add(Point::DmaMap, Errno::EFAULT);
    }
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(m.mapped().is_empty(), "three attempts, each met by an error");
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(m.mapped().contains(&BASE), "a fourth would have come through");
    let m = plain();
    for _ in 0..2 {
        m.gpu.vm.injected().add(Point::DmaMap, Errno::EFAULT);
    }
    assert_eq!(m.fault(BASE), Ok(()));
    assert!(m.mapped().contains(&BASE), "the third attempt came through");
}

#[test]
fn no_memory_is_returned_at_once() {
    let m = plain();
    m.gpu.vm.injected().add(Point::DmaMap, Errno::ENOMEM);
    assert_eq!(m.fault(BASE), Err(Errno::ENOMEM));
    assert!(m.mapped().is_empty());
}

#[test]
fn errors_of_mapping_are_returned() {
    let m = plain();
    m.gpu.vm.injected().add(Point::TableAlloc, Errno::ENOMEM);
    assert_eq!(m.fault(BASE), Err(Errno::ENOMEM));
    let m = plain();
    m.gpu.vm.evict_page_tables();
    assert_eq!(m.fault(BASE), Err(Errno::EBUSY));
}

#[test]
fn an_invalidation_between_collecting_and_mapping_is_tried_again() {
    let m = plain();
    let mm = m.mm.clone();
    *m.script.before_reserve.borrow_mut() = Some(Box::new(move || {
        mm.migrate_pages(bytes(BASE, 1)).unwrap();
    }));
    assert_eq!(m.fault(BASE), Ok(()));
    assert_eq!(m.read(BASE).unwrap(), BASE);
    assert!(m.filter_removed().is_empty());
}

#[test]
fn when_no_attempt_is_left_the_gpu_may_fault_again() {
    let m = plain();
    let (mm, count) = (m.mm.clone(), Rc::new(std::cell::Cell::new(0)));
    let counted = count.clone();
    *m.script.always_before_reserve.borrow_mut() = Some(Box::new(move || {
        counted.set(counted.get() + 1);
        mm.migrate_pages(bytes(BASE, 1)).unwrap();
    }));
    assert_eq!(m.fault(BASE), Ok(()));
    assert_eq!(count.get(), 3);
    assert!(m.mapped().is_empty());
    assert_eq!(m.filter_removed(), [BASE << 12]);
}

#[test]
fn the_fault_runs_the_gc_first() {
    let m = plain();
    m.fault(BASE).unwrap();
    m.mm.munmap(bytes(BASE + 1, 1)).unwrap();
    assert!(m.ranges()[0].in_queue);
    m.fault(BASE).unwrap();
    let ranges: Vec<_> = m.ranges().into_iter().map(|range| range.bytes).collect();
    assert_eq!(ranges, [bytes(BASE, 1)], "the stale range is gone, and a new one fits in front of the hole");
    assert!(!m.svm().inspect().has_pending_work());
}

#[test]
fn a_preferred_location_on_the_gpu_migrates_before_it_maps_and_its_failure_is_the_fault_s() {
    let m = Machine::new(0x20, true);
    m.sequential();
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::PreferredLoc.with(1)]).unwrap();
    assert_eq!(m.script.vram_allocs.get(), 0, "PREFERRED_LOC moves nothing by itself");
    assert_eq!(m.fault(BASE), Err(Errno::ENOMEM));
    assert_eq!(m.script.vram_allocs.get(), 1);
    assert!(m.mapped().is_empty());
}

#[test]
fn prefetching_to_the_gpu_migrates_in_the_ioctl() {
    let m = Machine::new(0x20, true);
    m.sequential();
    let result = m.set(bytes(BASE, 0x20), &[AttrTypeV4::PrefetchLoc.with(1)]);
    assert_eq!((result, m.script.vram_allocs.get()), (Err(Errno::ENOMEM), 1));
    assert_eq!(m.nodes().len(), 1, "the tree keeps what it was told");
}

#[test]
fn without_device_memory_prefetching_maps_what_is_there_completely() {
    let m = plain();
    let prefetch = [AttrTypeV4::PrefetchLoc.with(1)];
    m.set(bytes(BASE, 0x20), &prefetch).unwrap();
    assert_eq!(m.mapped(), (BASE..BASE + 0x20).collect::<Vec<_>>());
    assert!(m.flushes() >= 2, "once for each range");
    assert_eq!(
        m.updates().iter().filter(|update| update.flush && !update.unlocked).count(),
        2,
        "the last segment of each"
    );
    // What is valid is skipped.
    m.set(bytes(BASE, 0x20), &prefetch).unwrap();
    assert!(m.updates().is_empty());
    // System memory is no prefetch, and takes the mappings back.
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::PrefetchLoc.with(Location::SYSMEM.raw())]).unwrap();
    assert!(m.mapped().is_empty());
}

#[test]
fn the_prefetch_window_begins_at_the_address() {
    let m = plain();
    m.set(bytes(BASE + 1, 0x1f), &[AttrTypeV4::PrefetchLoc.with(1)]).unwrap();
    assert!(!m.mapped().contains(&BASE), "V1's window would have reached down to the VMA's start");
    assert_eq!(m.mapped().len(), 0x1f);
}

#[test]
fn file_memory_that_prefers_the_gpu_is_never_mapped() {
    let m = Machine::new(0x20, true);
    m.sequential();
    m.mm.mmap(bytes(BASE + 0x100, 1), VmaFlags { anon: false, ..RW }).unwrap();
    m.set(bytes(BASE + 0x100, 1), &[AttrTypeV4::PreferredLoc.with(1)]).unwrap();
    assert_eq!(m.fault(BASE + 0x100), Ok(()), "devmem_only refuses the system page, once, and says handled");
    assert!(m.mapped().is_empty());
    assert_eq!(m.script.vram_allocs.get(), 0, "it may not migrate");
}
