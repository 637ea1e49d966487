//! The KFD design and device memory: migration, shared buffer objects, CPU faults, eviction (spec kfd-svm 10).

use crate::support::{BASE, World, pages};
use interleave::Sim;
use model::attr::{AttrType::*, Flags, UapiAttr};
use model::kfd::inspect::RangeView;
use model::platform::{FaultTime, RetryFault};
use model::units::PAGE_SIZE;

const PREFETCH: UapiAttr = UapiAttr::new(PrefetchLoc, 1);

fn ranges(world: &World) -> Vec<RangeView> {
    world.svms.inspect().ranges().collect()
}

fn vram(world: &World) -> Vec<u64> {
    (0..16).filter(|page| world.is_on_device(BASE + page)).collect()
}

#[test]
fn a_prefetch_moves_the_range_and_maps_vram() {
    let world = World::with_vram(1, false, 8, 64);
    world.set(pages(0, 7), &[UapiAttr::new(Access, 1), PREFETCH]).expect("SET_ATTR");
    let view = ranges(&world)[0];
    assert_eq!((view.actual_loc, view.vram_pages, view.svm_bo.is_some()), (1, 8, true));
    assert_eq!((vram(&world), world.mapped(0)), ((0..8).collect(), (0..8).collect()));
    for page in 0..8 {
        assert_eq!(world.gpu_read(0, page), Ok(BASE + page), "the contents came along");
    }
    world.check_entries();
    // All goes with the range.
    world.mm.munmap(pages(0, 7).bytes()).expect("munmap");
    Sim::run_pending();
    assert_eq!((world.ranges(), world.svms.inspect().svm_bos()), (vec![], 0));
    world.end();
}

#[test]
fn a_cpu_fault_brings_the_granularity_block_back_and_the_rest_stays() {
    let world = World::with_vram(1, false, 8, 64);
    let attrs = [UapiAttr::new(Access, 1), PREFETCH, UapiAttr::new(Granularity, 1)];
    world.set(pages(0, 7), &attrs).expect("SET_ATTR");
    assert_eq!(world.mm.load((BASE + 5) * PAGE_SIZE), Ok(BASE + 5));
    assert_eq!(vram(&world), [0, 1, 2, 3, 6, 7]);
    let view = ranges(&world)[0];
    assert_eq!((view.actual_loc, view.vram_pages, view.invalid > 0), (1, 6, true));
    Sim::run_pending();
    assert_eq!(world.mapped(0), (0..8).collect::<Vec<_>>(), "RAM and VRAM in one range");
    world.check_entries();
    // The last one takes the buffer object with it.
    for page in [0, 2, 7] {
        assert_eq!(world.mm.load((BASE + page) * PAGE_SIZE), Ok(BASE + page));
    }
    let view = ranges(&world)[0];
    assert_eq!((view.actual_loc, view.vram_pages, view.svm_bo), (0, 0, None));
    Sim::run_pending();
    assert_eq!(world.svms.inspect().svm_bos(), 0);
    world.check_entries();
    world.end();
}

#[test]
fn ranges_that_were_split_share_the_buffer_object_until_the_last_one_goes() {
    let world = World::with_vram(1, false, 16, 64);
    world.set(pages(0, 15), &[UapiAttr::new(Access, 1), PREFETCH]).expect("SET_ATTR");
    world.mm.munmap(pages(4, 7).bytes()).expect("munmap");
    Sim::run_pending();
    let views = ranges(&world);
    assert_eq!(views.iter().map(|view| view.vram_pages).collect::<Vec<_>>(), [4, 8]);
    assert!(views[0].svm_bo.is_some() && views[0].svm_bo == views[1].svm_bo);
    assert_eq!(vram(&world), [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15], "nothing moved");
    for page in [0, 8, 15] {
        assert_eq!(world.gpu_read(0, page), Ok(BASE + page));
    }
    // Offsets are right: the tail comes back to where it belongs.
    world.set(pages(8, 15), &[UapiAttr::new(PrefetchLoc, 0)]).expect("SET_ATTR");
    Sim::run_pending();
    assert_eq!((vram(&world), world.svms.inspect().svm_bos()), (vec![0, 1, 2, 3], 1));
    assert_eq!(world.mm.load((BASE + 12) * PAGE_SIZE), Ok(BASE + 12));
    world.mm.munmap(pages(0, 3).bytes()).expect("munmap");
    Sim::run_pending();
    assert_eq!(world.svms.inspect().svm_bos(), 0);
    world.end();
}

#[test]
fn vram_pressure_empties_every_range_of_the_buffer_object() {
    let world = World::with_vram(1, false, 16, 16);
    world.set(pages(0, 7), &[UapiAttr::new(Access, 1), PREFETCH]).expect("SET_ATTR");
    world.mm.munmap(pages(3, 3).bytes()).expect("munmap");
    Sim::run_pending();
    world.evict_everything(0);
    assert_eq!((vram(&world), world.svms.inspect().svm_bos()), (vec![], 0));
    Sim::run_pending();
    assert_eq!(world.mapped(0), [0, 1, 2, 4, 5, 6, 7]);
    for page in [0, 7] {
        assert_eq!(world.gpu_read(0, page), Ok(BASE + page));
    }
    world.check_entries();
    world.end();
}

#[test]
fn an_allocation_that_does_not_fit_evicts_another_range() {
    let world = World::with_vram(1, false, 16, 8);
    world.set(pages(0, 7), &[UapiAttr::new(Access, 1), PREFETCH]).expect("SET_ATTR");
    world.set(pages(8, 15), &[UapiAttr::new(Access, 1), PREFETCH]).expect("SET_ATTR");
    assert_eq!(vram(&world), (8..16).collect::<Vec<_>>());
    Sim::run_pending();
    assert_eq!(world.mapped(0), (0..16).collect::<Vec<_>>());
    world.check_entries();
    // Pages in VRAM keep their buffer object, also without the process in the table.
    world.mm.munmap(pages(0, 15).bytes()).expect("munmap");
    world.end();
}

#[test]
fn a_fault_migrates_to_the_gpu_that_took_it_and_between_gpus_through_ram() {
    let world = World::with_vram(2, true, 8, 64);
    world.set_access(pages(0, 7)).expect("SET_ATTR");
    let fault = RetryFault { addr: (BASE + 2) * PAGE_SIZE, write: true, time: FaultTime(1) };
    assert_eq!(world.svms.handle_fault(0, fault), Ok(()));
    assert_eq!((ranges(&world)[0].actual_loc, world.mapped(0)), (1, (0..8).collect()));
    // A second fault within 2 ms would be a duplicate, and no time passes here.
    world.set(pages(0, 7), &[UapiAttr::new(PrefetchLoc, 2)]).expect("SET_ATTR");
    assert_eq!((ranges(&world)[0].actual_loc, world.mapped(0), world.mapped(1)), (2, vec![], (0..8).collect()));
    assert_eq!(world.gpu_read(1, 2), Ok(BASE + 2));
    Sim::run_pending();
    assert_eq!(world.svms.inspect().svm_bos(), 1);
    world.check_entries();
    // Pages in VRAM keep their buffer object, also without the process in the table.
    world.mm.munmap(pages(0, 7).bytes()).expect("munmap");
    world.end();
}

#[test]
fn a_prefetch_goes_to_ram_when_a_gpu_without_a_link_needs_access() {
    let world = World::with_vram(2, false, 8, 64);
    world.set(pages(0, 7), &[UapiAttr::new(Access, 1), UapiAttr::new(Access, 2), PREFETCH]).expect("SET_ATTR");
    assert_eq!((vram(&world), world.mapped(0).len(), world.mapped(1).len()), (vec![], 8, 8));
    world.end();
}

#[test]
fn flags_of_vram() {
    let world = World::with_vram(1, false, 8, 64);
    let flags = UapiAttr::new(ClrFlags, Flags::COHERENT.0);
    world.set(pages(0, 7), &[UapiAttr::new(Access, 1), PREFETCH, flags]).expect("SET_ATTR");
    for (page, pte) in world.gpus[0].vm.mapped() {
        assert_eq!(Some(pte.flags), world.svms.inspect().pte_flags(0, page, false));
        assert!(!pte.flags.has(model::platform::PteFlags::SYSTEM));
    }
    // Pages in VRAM keep their buffer object, also without the process in the table.
    world.mm.munmap(pages(0, 7).bytes()).expect("munmap");
    world.end();
}
