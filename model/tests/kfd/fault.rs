//! The KFD design, retry faults: the checks in their order (spec kfd-svm 7), and ranges for addresses that no SET_ATTR
//! named (3.3).

use crate::support::{BASE, RW, World, pages};
use interleave::Sim;
use model::Errno;
use model::attr::{AttrType::*, UapiAttr};
use model::platform::{FaultTime, RetryFault};
use model::units::{PAGE_SIZE, Pages};

fn fault(page: u64) -> RetryFault {
    RetryFault { addr: (BASE + page) * PAGE_SIZE, write: false, time: FaultTime(100) }
}
fn write(page: u64) -> RetryFault {
    RetryFault { write: true, ..fault(page) }
}

#[test]
fn a_fault_maps_the_granularity_block_for_the_gpu_that_took_it() {
    let world = World::new(2, true, 16);
    world.set(pages(0, 15), &[UapiAttr::new(Granularity, 2)]).expect("SET_ATTR");
    assert_eq!(world.svms.handle_fault(1, fault(5)), Ok(()));
    assert_eq!((world.mapped(0), world.mapped(1)), (vec![], vec![4, 5, 6, 7]));
    world.check_entries();
    world.end();
}

#[test]
fn an_unregistered_address_gets_a_range_between_its_neighbours() {
    let world = World::new(1, true, 16);
    // Neighbours at 0..=3 and 12..=15.
    world.set(pages(0, 3), &[UapiAttr::new(Granularity, 2)]).expect("SET_ATTR");
    world.set(pages(12, 15), &[UapiAttr::new(Granularity, 2)]).expect("SET_ATTR");
    assert_eq!(world.svms.handle_fault(0, write(6)), Ok(()));
    assert_eq!((world.ranges(), world.mapped(0)), (vec![(0, 3), (4, 11), (12, 15)], (4..12).collect()));
    world.end();

    let world = World::new(1, true, 0);
    let all = Pages::new(0x100, 0x7ff);
    world.mm.mmap(all.bytes(), RW).expect("mmap");
    let at = RetryFault { addr: 0x310 * PAGE_SIZE, ..fault(0) };
    assert_eq!(world.svms.handle_fault(0, at), Ok(()));
    let made: Vec<Pages> = world.svms.inspect().ranges().map(|range| range.pages).collect();
    assert_eq!(made, [Pages::new(0x200, 0x3ff)], "the 2 MiB block");
    world.end();
}

#[test]
fn a_buffer_object_in_the_block_leaves_one_page_and_at_the_address_nothing() {
    let world = World::new(1, true, 16);
    world.gpus[0].bo.set(Some(pages(2, 3)));
    assert_eq!(world.svms.handle_fault(0, fault(2)), Err(Errno::EFAULT));
    assert_eq!(world.ranges(), []);
    assert_eq!(world.svms.handle_fault(0, fault(6)), Ok(()));
    assert_eq!((world.ranges(), world.mapped(0)), (vec![(6, 6)], vec![6]));
    world.end();
}

/// Each step is reached only because all before it let the fault through.
#[test]
fn the_checks_come_in_order() {
    // 1: XNACK off; no such GPU.
    let off = World::new(1, false, 4);
    assert_eq!(off.svms.handle_fault(0, fault(0)), Err(Errno::EFAULT));
    off.end();

    let world = World::new(1, true, 16);
    let gpu = &world.gpus[0];
    assert_eq!(world.svms.handle_fault(1, fault(0)), Err(Errno::EFAULT));
    world.mm.mprotect(pages(12, 12).bytes(), true, false).expect("mprotect");
    world.set(pages(0, 15), &[UapiAttr::new(Granularity, 0)]).expect("SET_ATTR");

    // 3: older than the checkpoint of a munmap, wherever it is; forgotten, so that the real one is seen.
    gpu.newest_fault.set(Some(FaultTime(100)));
    world.mm.munmap(pages(15, 15).bytes()).expect("munmap");
    assert_eq!((world.svms.handle_fault(0, fault(0)), world.mapped(0)), (Ok(()), vec![]));
    assert_eq!(gpu.forgotten.take(), [fault(0).addr]);
    // 6: newer, and the range that was cut does not wait for its removal: it is mapped, but not with children.
    let newer = |page| RetryFault { time: FaultTime(101), ..fault(page) };
    assert_eq!(world.svms.handle_fault(0, newer(15)), Ok(()));
    assert_eq!(gpu.forgotten.take(), [newer(15).addr], "the child waits for its removal");
    assert_eq!((world.svms.handle_fault(0, newer(0)), world.mapped(0)), (Ok(()), vec![]));
    assert_eq!(gpu.forgotten.take(), [newer(0).addr], "a range with children is not mapped (EAGAIN)");
    // The checkpoint was cleared by the first newer one: an old stamp passes now.
    Sim::run_pending();
    // 8: no permission.
    assert_eq!(world.svms.handle_fault(0, write(12)), Err(Errno::EPERM));
    // 9: no access.
    world.set(pages(4, 7), &[UapiAttr::new(NoAccess, 1)]).expect("SET_ATTR");
    assert_eq!(world.svms.handle_fault(0, fault(4)), Err(Errno::EACCES));
    // 11.
    assert_eq!((world.svms.handle_fault(0, fault(0)), world.mapped(0)), (Ok(()), vec![0]));
    // 7: the range was mapped a moment ago, also if another page of it faults.
    assert_eq!((world.svms.handle_fault(0, fault(1)), world.mapped(0)), (Ok(()), vec![0]));
    assert!(gpu.forgotten.take().is_empty());

    // 4: nothing there at all.
    assert_eq!(world.svms.handle_fault(0, fault(40)), Err(Errno::EFAULT));
    // 1: the process is gone.
    world.svms.process_release(|| ());
    assert_eq!(world.svms.handle_fault(0, fault(4)), Ok(()));
    world.end();
}
