//! The KFD design, events that are no UNMAP, the restore work, and what each costs (spec kfd-svm 6, 12, 13, 14).

use crate::support::{BASE, Costs, World, pages};
use interleave::Sim;
use model::attr::{AttrType::*, Flags, UapiAttr};
use model::units::PAGE_SIZE;
use sim_gpu::Access as Wave;

#[test]
fn with_xnack_off_the_first_event_stops_the_process_and_the_restore_work_maps_what_was_hit() {
    let world = World::new(2, false, 16);
    world.set_access(pages(0, 7)).expect("SET_ATTR");
    world.set(pages(8, 15), &[UapiAttr::new(Access, 1), UapiAttr::new(Access, 2)]).expect("SET_ATTR");
    for gpu in &world.gpus {
        gpu.take();
    }
    world.mm.migrate_pages(pages(2, 2).bytes()).expect("migration");
    let first = Costs { quiesces: 1, ..Costs::default() };
    // Asked of one GPU, done on all.
    assert_eq!((world.gpus[0].take(), world.gpus[1].take()), (first, Costs::default()));
    assert!(!world.gpus[0].vm.running() && !world.gpus[1].vm.running());
    assert_eq!(world.mapped(0).len(), 16, "page tables stay as they are");

    world.mm.migrate_pages(pages(3, 3).bytes()).expect("migration");
    assert_eq!((world.gpus[0].take(), world.svms.inspect().evicted_ranges()), (Costs::default(), 2));
    let invalid: Vec<u64> = world.svms.inspect().ranges().map(|range| range.invalid).collect();
    assert_eq!(invalid, [2, 0]);

    Sim::run_pending();
    for gpu in &world.gpus {
        let Costs { dma_maps, dma_unmaps, clears, .. } = gpu.take();
        assert_eq!((dma_maps, dma_unmaps, clears), (8, 8, 0), "the whole range that was hit, and no other");
        assert!(gpu.vm.running());
        assert_eq!(gpu.vm.quiesce_count(), 0);
    }
    let invalid: Vec<u64> = world.svms.inspect().ranges().map(|range| range.invalid).collect();
    assert_eq!((invalid, world.svms.inspect().evicted_ranges()), (vec![0, 0], 0));
    world.check_entries();
    for gpu in &world.gpus {
        assert_eq!(gpu.vm.access((BASE + 2) * PAGE_SIZE, Wave::Read), Ok(BASE + 2));
    }
    world.end();
}

#[test]
fn with_xnack_on_the_intersection_is_unmapped_gpu_by_gpu() {
    let world = World::new(2, true, 16);
    let attrs = [UapiAttr::new(AccessInPlace, 1), UapiAttr::new(AccessInPlace, 2), UapiAttr::new(SetFlags, 0x20)];
    world.set(pages(0, 15), &attrs).expect("SET_ATTR");
    for gpu in &world.gpus {
        gpu.take();
    }
    world.mm.migrate_pages(pages(2, 2).bytes()).expect("migration");
    for (at, gpu) in world.gpus.iter().enumerate() {
        let want = Costs { clears: 1, flushes: 1, ..Costs::default() };
        assert_eq!(gpu.take(), want);
        assert_eq!(world.mapped(at), (0..16).filter(|&page| page != 2).collect::<Vec<_>>());
        assert!(gpu.vm.running());
    }
    assert!(world.svms.inspect().ranges().all(|range| range.mapped_to_gpu), "not the whole range");
    world.mm.madvise_dontneed(pages(0, 15).bytes()).expect("madvise");
    assert!(world.svms.inspect().ranges().all(|range| !range.mapped_to_gpu));
    assert_eq!(world.mapped(0), Vec::<u64>::new());
    world.end();
}

#[test]
fn with_xnack_on_a_range_that_is_always_mapped_stops_the_queues_all_the_same() {
    let world = World::new(1, true, 4);
    let always = UapiAttr::new(SetFlags, Flags::GPU_ALWAYS_MAPPED.0);
    world.set(pages(0, 3), &[UapiAttr::new(Access, 1), always]).expect("SET_ATTR");
    world.gpus[0].take();
    world.mm.migrate_pages(pages(1, 1).bytes()).expect("migration");
    assert_eq!(world.gpus[0].take(), Costs { quiesces: 1, ..Costs::default() });
    Sim::run_pending();
    assert!(world.gpus[0].vm.running());
    world.check_entries();
    world.end();
}

#[test]
fn an_event_on_a_range_that_is_not_mapped_costs_nothing() {
    for xnack in [false, true] {
        let world = World::new(1, xnack, 4);
        world.set(pages(0, 3), &[UapiAttr::new(Granularity, 4)]).expect("SET_ATTR");
        world.gpus[0].take();
        world.mm.migrate_pages(pages(0, 3).bytes()).expect("migration");
        assert_eq!(world.gpus[0].take(), Costs::default());
        assert_eq!(world.svms.inspect().evicted_ranges(), 0);
        world.end();
    }
}

#[test]
fn a_read_only_mapping_of_the_cpu_is_mapped_read_only() {
    let world = World::new(1, false, 4);
    world.mm.mprotect(pages(2, 3).bytes(), true, false).expect("mprotect");
    world.set_access(pages(0, 3)).expect("SET_ATTR");
    let write = |page: u64| world.gpus[0].vm.access((BASE + page) * PAGE_SIZE, Wave::Write(7)).is_ok();
    assert_eq!((write(1), write(2)), (true, false));
    world.end();
}

#[test]
fn a_queue_in_a_range_that_is_unmapped_stops_the_process_for_good() {
    let world = World::new(1, true, 8);
    let always = UapiAttr::new(SetFlags, Flags::GPU_ALWAYS_MAPPED.0);
    world.set(pages(0, 7), &[UapiAttr::new(Access, 1), UapiAttr::new(Granularity, 4)]).expect("SET_ATTR");
    assert!(world.svms.queue_buffer_get(0, pages(0, 3)).is_err(), "it must be always mapped");
    world.set(pages(0, 7), &[always]).expect("SET_ATTR");
    assert!(world.svms.queue_buffer_get(0, pages(0, 8)).is_err(), "all of it");
    world.svms.queue_buffer_get(0, pages(0, 3)).expect("it is always mapped");
    world.mm.munmap(pages(6, 7).bytes()).expect("munmap");
    assert!(!world.gpus[0].vm.running(), "the area is elsewhere in the range, which does not matter");
    Sim::run_pending();
    assert!(!world.gpus[0].vm.running(), "and nobody resumes");
    assert_eq!(world.svms.inspect().stops(), 1);
    let views: Vec<u64> = world.svms.inspect().ranges().map(|range| range.queue_refcount).collect();
    assert_eq!(views, [1]);
    world.svms.queue_buffer_put(pages(0, 3));
    world.end();
}

#[test]
fn after_the_process_has_left_the_table_an_unmap_does_nothing() {
    let world = World::new(1, false, 8);
    world.set_access(pages(0, 7)).expect("SET_ATTR");
    world.gpus[0].take();
    world.svms.process_release(|| ());
    world.kfd.release();
    world.mm.munmap(pages(0, 3).bytes()).expect("munmap");
    assert_eq!((world.gpus[0].take(), world.ranges()), (Costs::default(), vec![(0, 7)]));
    Sim::run_pending();
    assert_eq!((world.ranges(), world.mm.notifiers().len()), (vec![], 0));
    assert!(world.memory.any_dma().is_none());
    world.mm.clear_hooks();
}

#[test]
fn exit_mmap_after_the_release_finds_nothing_to_do() {
    let world = World::new(1, false, 8);
    world.set_access(pages(0, 7)).expect("SET_ATTR");
    world.svms.process_release(|| ());
    world.kfd.release();
    world.mm.exit();
    Sim::run_pending();
    assert_eq!((world.ranges(), world.mm.notifiers().len()), (vec![], 0));
    assert!(world.mm.freed_at().is_some(), "every reference is put");
    world.mm.clear_hooks();
}
