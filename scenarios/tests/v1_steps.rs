//! Steps of the posted driver that no worked example (`spec_examples.rs`) and no attribute test of the model reaches:
//! the order of the ioctl's checks, what mapping may answer, GET over a mixed interval, the branches behind XNACK, what
//! events leave alone. Spec amdgpu-svm 1.3 to 1.6, 4.2 to 4.10.

use interleave::Sim;
use model::Errno;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::amdgpu::{IoctlArgs, Svm, UserAttrs};
use model::attr::UapiAttr;
use model::platform::PteFlags;
use model::units::{Bytes, PAGE_SIZE, Pages};
use scenarios::lang::{Design, parse};
use scenarios::world::{Simulated, World};
use sim_gpu::inject::Point;
use std::rc::Rc;

struct Machine(Rc<World<Sim>>);

/// User memory that may be unreadable or unwritable.
struct User {
    attrs: Vec<UapiAttr>,
    readable: bool,
    writable: bool,
}
impl UserAttrs for User {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        if !self.readable {
            return Err(Errno::EFAULT);
        }
        out.copy_from_slice(&self.attrs[..out.len()]);
        Ok(())
    }
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        if !self.writable {
            return Err(Errno::EFAULT);
        }
        self.attrs[..attrs.len()].copy_from_slice(attrs);
        Ok(())
    }
}

const ACCESS: UapiAttr = UapiAttr { ty: 2, value: 1 };
const IN_PLACE: UapiAttr = UapiAttr { ty: 3, value: 1 };
const NO_ACCESS: UapiAttr = UapiAttr { ty: 4, value: 1 };
const UNKNOWN: UapiAttr = UapiAttr { ty: 8, value: 1 };
const ALWAYS_MAPPED: UapiAttr = UapiAttr { ty: 5, value: 0x40 };
const GPU_EXEC: UapiAttr = UapiAttr { ty: 5, value: 0x10 };

const BUF: Bytes = Bytes::new(0x100000, 0x500000);

fn machine(gpu: &str, regions: &str) -> Machine {
    let text = format!("scenario \"steps\" {{ about \"?\"; gpu {gpu}\n{regions}\nthread \"t\" {{ load \"buf\" }}\n}}");
    let scenario = parse("steps.kdl", &text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    let world = World::<Sim>::build(Rc::new(scenario), Design::PocV1);
    let workers = Rc::downgrade(&world);
    Sim::on_work(move |client, func| workers.upgrade().expect("the world lives").run_work(client, func));
    Machine(world)
}

/// Pages 100 to 4ff.
fn plain(xnack: bool) -> Machine {
    machine(&format!("xnack=#{xnack}"), "region \"buf\" at=0x100000 size=\"4M\" populate=#true")
}

impl Machine {
    fn svm(&self) -> &Svm<Simulated<Sim>> {
        self.0.gpus[0].svm()
    }
    fn ioctl(&self, args: IoctlArgs, user: &mut User) -> Result<(), Errno> {
        self.svm().ioctl(&args, user)
    }
    fn set(&self, pages: (u64, u64), attrs: &[UapiAttr]) -> Result<(), Errno> {
        let bytes = Pages::new(pages.0, pages.1).bytes();
        let mut user = User { attrs: attrs.to_vec(), readable: true, writable: false };
        self.ioctl(IoctlArgs { nattr: attrs.len() as u32, ..good(AMDGPU_SVM_OP_SET_ATTR, bytes) }, &mut user)
    }
    /// The answers to all questions that may be asked, in the order of their numbers; the value asked with is 77.
    fn get(&self, pages: (u64, u64)) -> Vec<(u32, u32)> {
        let bytes = Pages::new(pages.0, pages.1).bytes();
        let attrs: Vec<UapiAttr> = [0, 1, 2, 5, 6, 7].map(|ty| UapiAttr { ty, value: 77 }).to_vec();
        let mut user = User { attrs, readable: true, writable: true };
        self.ioctl(IoctlArgs { nattr: 6, ..good(AMDGPU_SVM_OP_GET_ATTR, bytes) }, &mut user).expect("GET_ATTR");
        user.attrs.iter().map(|a| (a.ty, a.value)).collect()
    }
    fn nodes(&self) -> usize {
        let mut count = 0;
        self.svm().inspect().for_each_node(|_| count += 1);
        count
    }
    fn pte(&self, page: u64) -> PteFlags {
        self.0.gpus[0].vm.pte(page).flags
    }
    fn on_gpu(&self, page: u64) -> bool {
        self.pte(page).has(PteFlags::VALID)
    }
    fn quiesced(&self) -> u32 {
        self.0.gpus[0].vm.quiesce_count()
    }
}

fn good(operation: u32, bytes: Bytes) -> IoctlArgs {
    IoctlArgs { start_addr: bytes.start, size: bytes.len(), operation, nattr: 1, attrs_ptr_null: false }
}

/// Each row breaks one rule and all that come after it; the errno tells which one was looked at.
fn fault(addr: u64) -> model::platform::RetryFault {
    model::platform::RetryFault { addr, write: true, time: model::platform::FaultTime::default() }
}

#[test]
fn the_first_rule_that_fails_wins() {
    let m = plain(false);
    let mut bad = User { attrs: vec![UNKNOWN; 64], readable: false, writable: false };
    let base = IoctlArgs { start_addr: 0x900000, size: PAGE_SIZE, operation: 9, nattr: 1, attrs_ptr_null: false };
    let mut refused = |args: IoctlArgs| m.ioctl(args, &mut bad);
    // 2 to 5 against 6 (EFAULT).
    assert_eq!(refused(IoctlArgs { start_addr: 0x900001, ..base }), Err(Errno::EINVAL), "2: start");
    assert_eq!(refused(IoctlArgs { size: 1, ..base }), Err(Errno::EINVAL), "2: size");
    assert_eq!(refused(IoctlArgs { start_addr: 0, ..base }), Err(Errno::EINVAL), "3: start");
    assert_eq!(refused(IoctlArgs { size: 0, ..base }), Err(Errno::EINVAL), "3: size");
    assert_eq!(refused(IoctlArgs { nattr: 0, ..base }), Err(Errno::EINVAL), "4: none");
    assert_eq!(refused(IoctlArgs { nattr: 65, ..base }), Err(Errno::EINVAL), "4: too many");
    assert_eq!(refused(IoctlArgs { attrs_ptr_null: true, ..base }), Err(Errno::EINVAL), "5");
    assert_eq!(refused(IoctlArgs { nattr: 64, ..base }), Err(Errno::EFAULT), "6, before the operation is looked at");
    // 7 to 9 against 11 (EFAULT: nothing is mapped at 0x900000).
    let mut user = User { attrs: vec![ACCESS], readable: true, writable: true };
    assert_eq!(m.ioctl(base, &mut user), Err(Errno::EINVAL), "7");
    let set = IoctlArgs { operation: AMDGPU_SVM_OP_SET_ATTR, ..base };
    assert_eq!(m.ioctl(set, &mut user), Err(Errno::EFAULT), "11");
    user.attrs[0] = UNKNOWN;
    assert_eq!(m.ioctl(set, &mut user), Err(Errno::EINVAL), "8");
    user.attrs[0] = ACCESS;
    let wraps = IoctlArgs { start_addr: 0x10_0000, size: 0u64.wrapping_sub(0x1_0000), ..set };
    assert_eq!(m.ioctl(wraps, &mut user), Err(Errno::EINVAL), "9: start above last");
    assert_eq!(m.nodes(), 0, "nothing was stored");
}

#[test]
fn memory_that_is_not_ordinary_is_refused_before_anything_is_stored() {
    for kind in ["io", "pfnmap", "mixedmap"] {
        let regions = format!(
            "region \"buf\" at=0x100000 size=\"64K\" populate=#true\nregion \"dev\" at=0x110000 size=\"4K\" kind=\"{kind}\""
        );
        let m = machine("xnack=#false", &regions);
        assert_eq!(m.set((0x100, 0x110), &[ACCESS]), Err(Errno::EFAULT), "{kind}");
        assert_eq!(m.nodes(), 0, "{kind}");
        assert_eq!(m.set((0x100, 0x10f), &[ACCESS]), Ok(()), "{kind}: the part before it");
    }
}

#[test]
fn a_get_that_may_not_be_asked_leaves_user_memory_alone() {
    let m = plain(false);
    for ty in [3, 4, 8] {
        let attrs = vec![UapiAttr { ty: 7, value: 77 }, UapiAttr { ty, value: 1 }];
        let mut user = User { attrs: attrs.clone(), readable: true, writable: true };
        let args = IoctlArgs { nattr: 2, ..good(AMDGPU_SVM_OP_GET_ATTR, BUF) };
        assert_eq!(m.ioctl(args, &mut user), Err(Errno::EINVAL), "type {ty}");
        assert_eq!(user.attrs, attrs, "the kernel's copy was changed, user memory was not");
    }
    let mut user = User { attrs: vec![UapiAttr { ty: 7, value: 1 }], readable: true, writable: false };
    assert_eq!(m.ioctl(good(AMDGPU_SVM_OP_GET_ATTR, BUF), &mut user), Err(Errno::EFAULT), "the copy back");
}

#[test]
fn get_merges_segments_and_counts_holes_as_defaults_even_where_nothing_is_mapped() {
    let m = plain(false);
    // Defaults: undefined locations, no access, HOST_ACCESS|COHERENT, granularity 9. No VMA is looked for.
    let defaults = vec![(0, u32::MAX), (1, u32::MAX), (4, 77), (5, 0x3), (6, !0x3), (7, 9)];
    assert_eq!(m.get((0x9000, 0x9fff)), defaults);
    m.set((0x100, 0x1ff), &[IN_PLACE, UapiAttr { ty: 0, value: 5 }, UapiAttr { ty: 1, value: 0 }, GPU_EXEC]).unwrap();
    m.set((0x180, 0x1ff), &[UapiAttr { ty: 7, value: 3 }, UapiAttr { ty: 6, value: 0x1 }]).unwrap();
    assert_eq!(m.get((0x100, 0x17f)), [(0, 5), (1, 0), (3, 77), (5, 0x13), (6, !0x13), (7, 9)]);
    assert_eq!(m.get((0x100, 0x1ff)), [(0, 5), (1, 0), (3, 77), (5, 0x12), (6, !0x13), (7, 3)]);
    // One page of a hole makes the locations undefined and the access none.
    assert_eq!(m.get((0x0ff, 0x1ff)), [(0, u32::MAX), (1, u32::MAX), (4, 77), (5, 0x2), (6, !0x13), (7, 3)]);
    m.set((0x200, 0x2ff), &[ACCESS]).unwrap();
    assert_eq!(m.get((0x1ff, 0x200))[2].0, 4, "ENABLE and IN_PLACE differ, so the answer is NO_ACCESS");
}

/// Spec 1.4: what mapping answers ends the call, and the tree keeps what it was told.
#[test]
fn an_error_of_mapping_ends_the_call_and_the_tree_keeps_the_rest() {
    for (errno, break_it) in [
        (Errno::EBUSY, (|m| m.0.gpus[0].vm.evict_page_tables()) as fn(&Machine)),
        (Errno::ENODEV, |m| m.0.gpus[0].vm.unplug()),
        (Errno::ENOMEM, |m| m.0.gpus[0].vm.injected().add(Point::TableAlloc, Errno::ENOMEM)),
        (Errno::ENOMEM, |m| m.0.gpus[0].vm.injected().add(Point::ReserveRoot, Errno::ENOMEM)),
        (Errno::EFAULT, |m| m.0.gpus[0].vm.injected().add(Point::DmaMap, Errno::EFAULT)),
    ] {
        let m = plain(false);
        break_it(&m);
        assert_eq!(m.set((0x100, 0x10f), &[ACCESS]), Err(errno));
        assert_eq!(m.nodes(), 1, "{errno}");
        assert!(!m.on_gpu(0x100), "{errno}");
    }
    // What only the framework can answer (ENOENT, EPERM, EIO, EINVAL) is in `model/tests/gpusvm/find_or_insert.rs`.
}

#[test]
fn without_xnack_every_access_maps_and_taking_it_away_unmaps_nothing() {
    let m = plain(false);
    m.set((0x100, 0x10f), &[UapiAttr { ty: 7, value: 0xff }]).unwrap();
    assert!(!m.on_gpu(0x100), "granularity alone maps nothing");
    assert_eq!(m.get((0x100, 0x10f))[5], (7, 0x3f), "and is cut");
    m.set((0x100, 0x10f), &[GPU_EXEC]).unwrap();
    assert!(!m.on_gpu(0x100), "a PTE flag without access maps nothing");
    m.set((0x100, 0x10f), &[IN_PLACE]).unwrap();
    assert!(m.pte(0x100).has(PteFlags::EXECUTABLE | PteFlags::WRITEABLE));
    m.set((0x100, 0x10f), &[NO_ACCESS]).unwrap();
    assert!(m.on_gpu(0x100), "the entries stay, as in KFD");
    // A location maps nothing either, with or without access.
    m.set((0x200, 0x20f), &[ACCESS]).unwrap();
    let before = m.0.gpus[0].vm.dma_mappings().len();
    m.set((0x200, 0x20f), &[UapiAttr { ty: 1, value: 1 }]).unwrap();
    assert_eq!(m.0.gpus[0].vm.dma_mappings().len(), before);
}

#[test]
fn with_xnack_only_what_is_always_mapped_is_mapped_by_the_ioctl_and_kept_by_evictions() {
    let m = plain(true);
    m.set((0x100, 0x10f), &[ACCESS]).unwrap();
    assert!(!m.on_gpu(0x100));
    m.set((0x100, 0x10f), &[ALWAYS_MAPPED]).unwrap();
    assert!(m.on_gpu(0x100) && m.on_gpu(0x10f), "a mapping flag with access maps");
    m.0.mm.migrate_pages(Bytes::new(0x10_0000, 0x10_1000)).unwrap();
    assert!(m.on_gpu(0x100), "the entry is kept");
    assert_eq!(m.quiesced(), 1, "so the queues stop although the GPU could fault");
    Sim::run_pending();
    assert_eq!(m.quiesced(), 0);
    assert!(m.0.gpus[0].vm.reaches(0x100).is_some_and(|reach| reach.live));
    // The flag first, then access.
    m.set((0x200, 0x20f), &[NO_ACCESS, ALWAYS_MAPPED]).unwrap();
    assert!(!m.on_gpu(0x200));
    m.set((0x200, 0x20f), &[ACCESS]).unwrap();
    assert!(m.on_gpu(0x200));
}

#[test]
fn with_xnack_events_clear_entries_and_stop_nothing() {
    let m = plain(true);
    assert!(m.0.gpus[0].handle_fault(fault(0x20_0000)).is_handled());
    assert!(m.0.gpus[0].handle_fault(fault(0x20_1000)).is_handled());
    assert!(m.on_gpu(0x200) && m.on_gpu(0x201));
    m.0.mm.migrate_pages(Bytes::new(0x20_0000, 0x20_1000)).unwrap();
    assert!(!m.on_gpu(0x200) && m.on_gpu(0x201) && m.quiesced() == 0);
    assert!(!m.svm().inspect().has_pending_work(), "a fault will bring it back");
    // UNMAP: cleared and queued for GC, nothing stopped; the GC removes the range and maps nothing.
    m.0.mm.munmap(Bytes::new(0x20_1000, 0x20_2000)).unwrap();
    assert!(!m.on_gpu(0x201) && m.quiesced() == 0 && m.svm().inspect().has_pending_work());
    Sim::run_pending();
    let ranges: Vec<u64> = m.svm().inspect().ranges().map(|r| r.bytes.start).collect();
    assert_eq!(ranges, [0x20_0000]);
}

/// R32.
#[test]
fn release_is_ignored() {
    let m = plain(false);
    m.set((0x100, 0x10f), &[ACCESS]).unwrap();
    let mappings = m.0.gpus[0].vm.dma_mappings().len();
    let event = model::platform::MmuEvent {
        kind: model::platform::EventKind::Release,
        bytes: Bytes::new(0, u64::MAX),
        blockable: true,
        owner: 0,
    };
    for view in m.0.mm.notifiers() {
        assert!(m.svm().mmu_invalidate(view.entry.cookie, &event, 2));
    }
    assert!(m.on_gpu(0x100) && m.quiesced() == 0);
    assert_eq!(m.0.gpus[0].vm.dma_mappings().len(), mappings);
}

/// R5.
#[test]
fn a_stop_that_fails_is_forgotten_and_the_notifier_goes_on() {
    let m = plain(false);
    m.set((0x100, 0x10f), &[ACCESS]).unwrap();
    m.0.gpus[0].vm.injected().add(Point::UnmapQueues, Errno::EIO);
    m.0.mm.migrate_pages(Bytes::new(0x10_0000, 0x10_1000)).unwrap();
    let inspect = m.svm().inspect();
    assert_eq!((inspect.evicted_ranges(), inspect.queues_stopped()), (1, false));
    assert_eq!(m.quiesced(), 1, "KFD counts a hang as stopped");
    m.svm().restore_work();
    m.svm().restore_work();
    assert_eq!((inspect.evicted_ranges(), m.quiesced()), (0, 1), "nobody gives the stop back");
}
