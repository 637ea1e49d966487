//! `poc-v8`: the ioctl's operations, the notifier's two phases, the GC and what attributes take back.

use crate::machine::*;
use interleave::Sim;
use model::Errno;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_RESET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::amdgpu::{Design, IoctlArgs};
use model::attr::v4::{ACCESS_IN_PLACE, ACCESS_INACCESSIBLE, AttrTypeV4};
use model::attr::{Access, Uapi, UapiAttr};
use model::platform::VmaFlags;
use model::units::{Bytes, Pages};
use std::rc::Rc;

const EXEC: UapiAttr = AttrTypeV4::GpuExec.with(1);

fn plain() -> Rc<Machine> {
    let m = machine(0x20);
    m.sequential();
    m
}

/// Two ranges of 16 pages, mapped.
fn mapped() -> Rc<Machine> {
    let m = plain();
    m.fault(BASE).unwrap();
    m.fault(BASE + 0x10).unwrap();
    assert_eq!(m.ranges().len(), 2);
    m.updates();
    m.flushes();
    m.tick(10);
    m
}

#[test]
fn the_design_says_how_it_is_used() {
    assert_eq!(Design::from_name("poc-v8"), Some(Design::PocV8));
    assert!(Design::PocV8.created_by_ioctl() && !Design::PocV1.created_by_ioctl());
    assert_eq!((Design::PocV8.uapi(), Design::Hardened.uapi()), (Uapi::V4, Uapi::V1));
}

#[test]
fn what_the_ioctl_refuses_and_in_which_order() {
    let m = plain();
    let good = bytes(BASE, 4);
    let call = |operation, bytes: Bytes, nattr, attrs_ptr_null, attrs: &[UapiAttr]| {
        let args = IoctlArgs { start_addr: bytes.start, size: bytes.len(), operation, nattr, attrs_ptr_null };
        m.svm().ioctl(&args, &mut User(attrs.to_vec()))
    };
    const SET: u32 = AMDGPU_SVM_OP_SET_ATTR;
    const GET: u32 = AMDGPU_SVM_OP_GET_ATTR;
    const RESET: u32 = AMDGPU_SVM_OP_RESET_ATTR;
    let einval = Err(Errno::EINVAL);
    let unaligned = Bytes::new(good.start + 1, good.end);
    let (zero, empty) = (Bytes::new(0, 0x1000), Bytes::new(0x1000, 0x1000));
    for operation in [SET, GET, RESET] {
        for bad in [unaligned, zero, empty] {
            assert_eq!(call(operation, bad, 1, false, &[EXEC]), einval, "{operation} {bad}");
        }
    }
    for operation in [SET, GET, 3] {
        assert_eq!(call(operation, good, 0, false, &[]), einval);
        assert_eq!(call(operation, good, 65, false, &[EXEC; 65]), einval);
        assert_eq!(call(operation, good, 1, true, &[EXEC]), einval);
    }
    assert_eq!(call(3, good, 1, false, &[EXEC]), einval, "an operation that is none");
    assert_eq!(call(RESET, good, 0, true, &[]), Ok(()), "RESET looks at no array");
    assert_eq!(call(SET, good, 1, false, &[AttrTypeV4::Access.with(3)]), einval);
    // Attributes before the interval, the interval before the VMAs.
    let wrap = Bytes::new(0x2000, 0x1000);
    let wrapping = |operation, attr: UapiAttr| {
        let args =
            IoctlArgs { start_addr: wrap.start, size: u64::MAX - 0xfff, operation, nattr: 1, attrs_ptr_null: false };
        m.svm().ioctl(&args, &mut User(vec![attr]))
    };
    for operation in [SET, GET, RESET] {
        assert_eq!(wrapping(operation, EXEC), einval, "{operation}");
    }
    for operation in [SET, GET] {
        assert_eq!(call(operation, bytes(BASE + 0x1f, 2), 1, false, &[EXEC]), Err(Errno::EFAULT), "a hole");
    }
    m.mm.mmap(bytes(BASE + 0x20, 1), VmaFlags { pfnmap: true, anon: false, ..RW }).unwrap();
    for operation in [SET, GET] {
        assert_eq!(call(operation, bytes(BASE + 0x1f, 2), 1, false, &[EXEC]), Err(Errno::EOPNOTSUPP));
    }
    assert!(m.nodes().is_empty(), "nothing is stored before all checks have passed");
    assert_eq!(call(GET, good, 1, false, &[UapiAttr { ty: 11, value: 0 }]), einval);
}

#[test]
fn get_answers_by_value_and_reset_gives_the_defaults_back() {
    let m = plain();
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::Access.with(ACCESS_IN_PLACE), EXEC]).unwrap();
    let ask = [AttrTypeV4::Access.with(77), AttrTypeV4::GpuExec.with(77)];
    assert_eq!(
        m.get(bytes(BASE, 0x20), &ask),
        (Ok(()), vec![AttrTypeV4::Access.with(ACCESS_IN_PLACE), AttrTypeV4::GpuExec.with(1)])
    );
    m.fault(BASE).unwrap();
    let entry = m.gpu.vm.pte(BASE);
    m.reset(bytes(BASE + 4, 4)).unwrap();
    let pages: Vec<_> = m.nodes().into_iter().map(|(pages, _)| pages).collect();
    assert_eq!(pages, [Pages::new(BASE, BASE + 3), Pages::new(BASE + 8, BASE + 0x1f)]);
    assert_eq!(m.get(bytes(BASE + 4, 4), &ask).1, [AttrTypeV4::Access.with(2), AttrTypeV4::GpuExec.with(0)]);
    assert_eq!(m.gpu.vm.pte(BASE), entry, "what is mapped stays as it is mapped");
    assert_eq!(m.gpu.vm.pte(BASE + 4).flags, entry.flags, "also where the attributes went");
    // Pages without a VMA can be reset.
    m.mm.munmap(bytes(BASE, 0x20)).unwrap();
    m.reset(bytes(BASE, 0x20)).unwrap();
    assert!(m.nodes().is_empty());
}

#[test]
fn set_get_and_reset_wait_for_the_gc() {
    for operation in ["set", "get", "reset"] {
        let m = mapped();
        m.mm.munmap(bytes(BASE, 1)).unwrap();
        assert!(m.svm().inspect().has_pending_work());
        match operation {
            "set" => m.set(bytes(BASE + 1, 1), &[EXEC]).unwrap(),
            "get" => m.get(bytes(BASE + 1, 1), &[EXEC]).0.unwrap(),
            _ => m.reset(bytes(BASE + 1, 1)).unwrap(),
        }
        assert!(!m.svm().inspect().has_pending_work(), "{operation}");
    }
}

#[test]
fn an_event_clears_its_intersection_flushes_once_and_unmaps_the_dma_of_whole_ranges() {
    let m = mapped();
    // The last page of the first range and the first of the second.
    let unmapped = Rc::new(std::cell::Cell::new(None));
    let (seen, script) = (unmapped.clone(), m.script.clone());
    *m.script.at_dma_unmap.borrow_mut() = Some(Box::new(move || seen.set(Some(script.flushes.get()))));
    m.mm.madvise_dontneed(bytes(BASE + 0xf, 2)).unwrap();
    let cleared: Vec<_> = m.updates().iter().map(|update| (update.pages, update.unlocked)).collect();
    assert_eq!(cleared, [(Pages::new(BASE + 0xf, BASE + 0xf), true), (Pages::new(BASE + 0x10, BASE + 0x10), true)]);
    assert_eq!(unmapped.get(), Some(1), "the DMA mappings go after the one flush");
    assert_eq!(m.flushes(), 1);
    assert!(m.gpu.vm.dma_mappings().is_empty());
    assert_eq!(m.mapped().len(), 30, "the other entries stay, and lead nowhere (R27)");
    let ranges = m.ranges();
    assert!(ranges.iter().all(|range| !range.gpu_mapped && !range.in_queue && !range.flags.unmapped));
    // What does not count as mapped is not cleared again, and nothing is flushed.
    m.mm.madvise_dontneed(bytes(BASE, 0x20)).unwrap();
    assert!(m.updates().is_empty());
    assert_eq!(m.flushes(), 0);
    assert_eq!(m.mapped().len(), 30);
}

#[test]
fn an_unmap_marks_and_queues_and_the_gc_removes_without_a_rebuild() {
    let m = mapped();
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::GpuReadMostly.with(1)]).unwrap();
    m.fault(BASE).unwrap();
    let before = m.nodes();
    m.mm.munmap(bytes(BASE + 1, 1)).unwrap();
    let range = m.ranges()[0];
    assert!(range.flags.unmapped && range.flags.partial_unmap && range.in_queue && !range.gpu_mapped);
    assert_eq!(range.references, 2);
    m.svm().inspect().check();
    Sim::run_pending();
    assert_eq!(m.ranges().len(), 1);
    assert_eq!(m.nodes(), before, "attributes survive munmap");
    assert_eq!(m.mapped().len(), 15, "the range is gone, its other entries are not");
    assert!(!m.svm().inspect().has_pending_work());
}

#[test]
fn two_unmaps_before_the_gc_are_one_entry_of_the_queue() {
    let m = mapped();
    m.mm.munmap(bytes(BASE + 1, 1)).unwrap();
    m.mm.munmap(bytes(BASE + 3, 1)).unwrap();
    assert_eq!(m.ranges()[0].references, 2);
    m.svm().inspect().check();
    Sim::run_pending();
    assert_eq!(m.ranges().len(), 1);
}

#[test]
fn closing_looks_away() {
    let m = mapped();
    m.svm().close();
    // The pages change their protection and stay; were they freed, the lab would say so (see the races).
    m.mm.mprotect(bytes(BASE, 0x20), true, false).unwrap();
    assert!(m.updates().is_empty());
    assert!(m.ranges().iter().all(|range| range.gpu_mapped));
}

#[test]
fn a_change_of_attributes_zaps_ranges_inside_and_destroys_those_that_cross() {
    let m = mapped();
    // Exactly the first range: zapped, kept, still DMA mapped.
    m.set(bytes(BASE, 0x10), &[EXEC]).unwrap();
    let ranges = m.ranges();
    assert_eq!(ranges.len(), 2);
    assert!(!ranges[0].gpu_mapped && ranges[0].flags.has_dma_mapping && ranges[1].gpu_mapped);
    assert_eq!(m.flushes(), 1);
    assert_eq!(m.mapped(), (BASE + 0x10..BASE + 0x20).collect::<Vec<_>>());
    // The middle of the second: gone, whole.
    m.set(bytes(BASE + 0x14, 4), &[EXEC]).unwrap();
    assert_eq!(m.ranges().len(), 1);
    assert!(m.mapped().is_empty());
    assert_eq!(m.flushes(), 1);
    // New ranges keep to the new bounds.
    for page in [BASE + 0x10, BASE + 0x14] {
        m.fault(page).unwrap();
    }
    let singles: Vec<_> = m.ranges()[1..].iter().map(|range| range.bytes).collect();
    assert_eq!(singles, [bytes(BASE + 0x10, 1), bytes(BASE + 0x14, 1)]);
    assert_eq!(m.ranges().iter().filter(|range| range.references != 1).count(), 0);
}

#[test]
fn what_takes_mappings_back_and_what_does_not() {
    for (attr, back) in [
        (AttrTypeV4::Access.with(ACCESS_INACCESSIBLE), true),
        (AttrTypeV4::Access.with(ACCESS_IN_PLACE), true),
        (EXEC, true),
        (AttrTypeV4::GpuReadMostly.with(1), true),
        (AttrTypeV4::PreferredLoc.with(0), true),
        (AttrTypeV4::PrefetchLoc.with(0), true),
        (AttrTypeV4::Granularity.with(4), false),
        (AttrTypeV4::Coherent.with(1), false),
    ] {
        let m = mapped();
        m.set(bytes(BASE, 0x20), &[attr]).unwrap();
        assert_eq!(m.mapped().is_empty(), back, "{attr:?}");
    }
    // Inside a node even the granularity does.
    let m = mapped();
    m.set(bytes(BASE, 0x10), &[AttrTypeV4::Granularity.with(4)]).unwrap();
    assert_eq!(m.mapped(), (BASE + 0x10..BASE + 0x20).collect::<Vec<_>>());
}

#[test]
fn a_destroyed_range_leaves_the_gc_s_queue() {
    let m = mapped();
    let inner = m.clone();
    // Between the ioctl's wait for the GC and its zapping somebody unmaps a page of the range.
    *m.script.before_reserve.borrow_mut() = Some(Box::new(move || inner.mm.munmap(bytes(BASE, 1)).unwrap()));
    m.set(bytes(BASE + 4, 4), &[EXEC]).unwrap();
    assert_eq!(m.ranges().len(), 1);
    assert!(!m.svm().inspect().has_pending_work());
    m.svm().inspect().check();
    Sim::run_pending();
}

#[test]
fn a_failing_zap_ends_the_ioctl_and_the_tree_stays_changed() {
    let m = mapped();
    m.gpu.vm.evict_page_tables();
    assert_eq!(m.set(bytes(BASE, 0x20), &[AttrTypeV4::Access.with(ACCESS_INACCESSIBLE)]), Err(Errno::EBUSY));
    assert_eq!(m.nodes()[0].1.access, Access::None);
    assert!(m.ranges().iter().all(|range| range.gpu_mapped));
}

#[test]
fn set_tries_again_when_an_invalidation_meets_a_prefetch() {
    let m = plain();
    let mm = m.mm.clone();
    *m.script.before_reserve.borrow_mut() = Some(Box::new(move || {
        // The first reservation is that of the zapping; the prefetch's own comes later.
        mm.migrate_pages(bytes(BASE, 1)).unwrap();
    }));
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::PrefetchLoc.with(1)]).unwrap();
    let (mm, count) = (m.mm.clone(), Rc::new(std::cell::Cell::new(0)));
    let counted = count.clone();
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::PrefetchLoc.with(0)]).unwrap();
    *m.script.always_before_reserve.borrow_mut() = Some(Box::new(move || {
        counted.set(counted.get() + 1);
        if counted.get() == 2 {
            mm.migrate_pages(bytes(BASE, 1)).unwrap();
        }
    }));
    m.set(bytes(BASE, 0x20), &[AttrTypeV4::PrefetchLoc.with(1)]).unwrap();
    assert!(count.get() > 3, "zap, EAGAIN, and once more");
    assert_eq!(m.mapped().len(), 0x20);
}

#[test]
fn fini_leaves_nothing_but_entries() {
    let m = mapped();
    m.mm.munmap(bytes(BASE, 1)).unwrap();
    m.svm().fini();
    assert!(m.ranges().is_empty() && m.nodes().is_empty());
    assert!(m.gpu.vm.dma_mappings().is_empty() && m.memory.any_dma().is_none());
    assert!(!m.mapped().is_empty(), "the VM is going away");
    assert!(m.svm().put());
}
