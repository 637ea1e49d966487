//! The VM side of the posted driver: the hooks of patch 12, the way from a PASID to an instance, the fault handler, and
//! the races of spec amdgpu-svm 6.5 that need them.

use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Execution, Launch, Outcome, Program, Sim, explore};
use model::Errno;
use model::amdgpu::slabs::Slabs;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::amdgpu::vm::{Built, Handled, ManagerConfig, VmHandle, VmManager};
use model::amdgpu::{Design, IoctlArgs, Svm, SvmConfig, UserAttrs};
use model::attr::UapiAttr;
use model::gpusvm::ChunkSizes;
use model::platform::{ClientId, DmaAddr, FaultTime, GcVersion, GpuProperties, PteFlags, RetryFault, VmaFlags};
use model::units::Bytes;
use scenarios::lang::{self, parse};
use scenarios::world::{Simulated, World};
use sim_gpu::{GpuConfig, GpuVm, Kfd};
use sim_mm::{AddressSpace, Memory, Options};
use std::rc::Rc;

type P = Simulated<Sim>;

const BUF: Bytes = Bytes::new(0x200000, 0x204000);
const RW: VmaFlags =
    VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };
const DUMMY: DmaAddr = DmaAddr(0x7000);
const PASIDS: u32 = 4;

/// One GPU with a manager, and the process whose file it is.
struct Machine {
    mm: AddressSpace<Sim>,
    gpu: GpuVm<Sim>,
    manager: Rc<VmManager<P>>,
    slabs: Slabs<P>,
    design: Design,
    xnack: bool,
}

struct Setup {
    design: Design,
    built: Built,
    xnack: bool,
    dummy_page: Option<DmaAddr>,
}

const POC: Setup = Setup { design: Design::PocV1, built: Built::WithSvm, xnack: false, dummy_page: Some(DUMMY) };

fn gpu(memory: &Memory<Sim>, kfd: &Kfd<Sim>, domain: u8) -> GpuVm<Sim> {
    let properties = GpuProperties {
        gc: GcVersion(9, 4, 3),
        apu: false,
        multi_node: false,
        mtype_local: 0,
        noretry: false,
        sriov_without_xnack: false,
        max_pfn: 1 << 36,
        default_granularity: 9,
    };
    let name = ["gpu0", "gpu1"][usize::from(domain)];
    GpuVm::new(GpuConfig::new(name, domain, properties), memory, kfd).expect("setup")
}

impl Machine {
    fn new(setup: Setup) -> Self {
        let memory = Memory::new();
        let mm = AddressSpace::new(&memory, 0, Options::default()).expect("setup");
        mm.mmap(BUF, RW).expect("setup");
        mm.populate(BUF).expect("setup");
        let kfd = Kfd::new(|mm: &AddressSpace<Sim>| mm.id() == 0);
        let Setup { design, built, xnack, dummy_page } = setup;
        let manager = ManagerConfig { design, built, pasids: PASIDS, dummy_page };
        let manager = Rc::new(VmManager::<P>::new(manager).expect("setup"));
        let called = Rc::downgrade(&manager);
        mm.on_invalidate(Rc::new(move |entry, event, seq| {
            let manager = called.upgrade().expect("the manager outlives its notifiers");
            let vm = manager.lookup_by_pasid(entry.client.0).expect("the PASID outlives the notifiers");
            let done = manager.instance(vm).mmu_invalidate(entry.cookie, event, seq);
            manager.put_instance(vm);
            done
        }));
        Machine { gpu: gpu(&memory, &kfd, 0), mm, manager, slabs: Slabs::new().expect("setup"), design, xnack }
    }

    /// A graphics VM with this PASID.
    fn graphics(&self, pasid: u32) -> VmHandle<P> {
        self.manager.vm_init(pasid, self.gpu.clone()).expect("setup")
    }

    fn config(&self, pasid: u32) -> SvmConfig {
        SvmConfig { xnack: Some(self.xnack), ..SvmConfig::new(self.design, ClientId(pasid)) }
    }

    fn make_compute(&self, vm: VmHandle<P>, config: SvmConfig) -> Result<(), Errno> {
        self.manager.make_compute(vm, &self.slabs, config, self.mm.clone())
    }

    fn compute(&self, pasid: u32) -> VmHandle<P> {
        let vm = self.graphics(pasid);
        self.make_compute(vm, self.config(pasid)).expect("setup");
        vm
    }

    fn set(&self, vm: VmHandle<P>, current: &AddressSpace<Sim>, attrs: &[UapiAttr]) -> Result<(), Errno> {
        ioctl(&self.manager, &self.slabs, vm, current, AMDGPU_SVM_OP_SET_ATTR, attrs)
    }

    fn fault(&self, pasid: u32, write: bool) -> Handled {
        self.manager.vm_handle_fault(pasid, fault(BUF.start, write), || panic!("KFD is not asked"))
    }
}

struct User(Vec<UapiAttr>);
impl UserAttrs for User {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.0.copy_from_slice(attrs);
        Ok(())
    }
}

fn fault(addr: u64, write: bool) -> RetryFault {
    RetryFault { addr, write, time: FaultTime::default() }
}

fn ioctl(
    manager: &VmManager<P>,
    slabs: &Slabs<P>,
    vm: VmHandle<P>,
    current: &AddressSpace<Sim>,
    operation: u32,
    attrs: &[UapiAttr],
) -> Result<(), Errno> {
    let nattr = attrs.len() as u32;
    let args = IoctlArgs { start_addr: BUF.start, size: BUF.len(), operation, nattr, attrs_ptr_null: false };
    manager.ioctl(vm, slabs, current, &args, &mut User(attrs.to_vec()))
}

const ACCESS: UapiAttr = UapiAttr { ty: 2, value: 1 };
const NO_ACCESS: UapiAttr = UapiAttr { ty: 4, value: 1 };

#[test]
fn a_vm_gets_its_instance_when_it_is_made_a_compute_vm_and_only_once() {
    let m = Machine::new(POC);
    let vm = m.graphics(1);
    assert!(!m.manager.is_compute(vm) && !m.manager.is_enabled(vm) && !m.slabs.exist());
    assert_eq!(m.set(vm, &m.mm, &[ACCESS]), Err(Errno::EOPNOTSUPP), "rule 1");
    m.make_compute(vm, m.config(1)).unwrap();
    let first = m.manager.svm_of(vm).expect("published");
    assert!(m.manager.is_compute(vm) && m.slabs.exist());
    m.make_compute(vm, m.config(1)).unwrap();
    assert_eq!(m.manager.svm_of(vm), Some(first), "vm.svm already set: nothing");
    assert_eq!(m.manager.live_instances(), 1);
    assert_eq!(m.set(vm, &m.mm, &[ACCESS]), Ok(()));
    // Another PASID beyond the table is refused, and the VM with it.
    assert_eq!(m.manager.vm_init(PASIDS, m.gpu.clone()), Err(Errno::EINVAL));
}

#[test]
fn without_the_option_everything_succeeds_in_doing_nothing() {
    let m = Machine::new(Setup { built: Built::WithoutSvm, ..POC });
    let vm = m.compute(1);
    assert!(m.manager.is_compute(vm) && !m.manager.is_enabled(vm) && !m.slabs.exist());
    assert_eq!(m.set(vm, &m.mm, &[ACCESS]), Err(Errno::EOPNOTSUPP));
    assert_eq!(m.manager.handle_fault(1, fault(BUF.start, false)), Err(Errno::EOPNOTSUPP));
    let mut asked = 0;
    let answer = m.manager.vm_handle_fault(1, fault(BUF.start, false), || {
        asked += 1;
        Ok(())
    });
    assert_eq!((answer, asked), (Handled::Kfd, 1), "KFD's SVM keeps its faults");
    m.manager.close(vm);
    m.manager.vm_fini(vm);
    assert_eq!(m.manager.live_instances(), 0);
}

#[test]
fn a_fault_goes_to_whom_the_vm_belongs() {
    // Nobody's.
    let m = Machine::new(POC);
    assert_eq!(m.fault(2, false), Handled::NoVm);
    assert_eq!(m.fault(PASIDS + 9, false), Handled::NoVm);

    // Graphics: the dummy page, or nothing.
    m.graphics(2);
    assert_eq!(m.fault(2, false), Handled::Dummy);
    let pte = m.gpu.pte(0x200);
    assert!(pte.is_valid() && pte.addr == DUMMY.0 && pte.flags.has(PteFlags::WRITEABLE | PteFlags::EXECUTABLE));
    let silent = Machine::new(Setup { dummy_page: None, ..POC });
    silent.graphics(2);
    assert_eq!(silent.fault(2, false), Handled::Silent);
    assert_eq!(silent.gpu.pte(0x200).flags, PteFlags::NONE);

    // Compute with SVM, which V1 refuses, XNACK being off: no retry, and KFD is not asked.
    let m = Machine::new(POC);
    let vm = m.compute(1);
    m.set(vm, &m.mm, &[NO_ACCESS]).unwrap();
    assert_eq!(m.manager.handle_fault(1, fault(BUF.start, false)), Err(Errno::EOPNOTSUPP));
    let answer = m.fault(1, false);
    assert_eq!((answer, answer.is_handled()), (Handled::NoRetry, false));
    assert_eq!(m.gpu.pte(0x200).flags, PteFlags::NORETRY);

    // Compute without an instance: KFD's, and when KFD does not know either, no retry.
    let m = Machine::new(Setup { built: Built::WithoutSvm, ..POC });
    m.compute(1);
    assert_eq!(m.manager.vm_handle_fault(1, fault(BUF.start, true), || Err(Errno::EFAULT)), Handled::NoRetry);
    m.gpu.unplug();
    assert_eq!(
        m.manager.vm_handle_fault(1, fault(BUF.start, true), || Err(Errno::EFAULT)),
        Handled::Failed(Errno::ENODEV)
    );
}

#[test]
fn with_xnack_a_fault_maps_what_has_access_and_says_yes_to_what_has_none() {
    let m = Machine::new(Setup { xnack: true, ..POC });
    let vm = m.compute(1);
    assert_eq!(m.set(vm, &m.mm, &[ACCESS]), Ok(()));
    assert!(!m.gpu.pte(0x200).is_valid(), "access alone maps nothing when the GPU can fault");
    assert_eq!(m.fault(1, false), Handled::Svm);
    assert!(m.gpu.pte(0x200).flags.has(PteFlags::WRITEABLE));
    assert!(!m.gpu.pte(0x201).is_valid(), "one page");

    // A write to a read-only VMA: mapped for reading, and the answer is yes. The GPU comes back for ever (R33).
    m.mm.mprotect(BUF, true, false).unwrap();
    assert_eq!(m.fault(1, true), Handled::Svm);
    assert!(m.gpu.pte(0x200).is_valid() && !m.gpu.pte(0x200).flags.has(PteFlags::WRITEABLE));

    // No access: nothing is mapped, and the answer is yes all the same.
    assert_eq!(m.set(vm, &m.mm, &[NO_ACCESS]), Ok(()));
    m.mm.mprotect(BUF, true, true).unwrap();
    assert_eq!(m.fault(1, false), Handled::Svm);
    assert!(!m.gpu.pte(0x200).is_valid());

    // A hole.
    assert_eq!(m.manager.handle_fault(1, fault(0x900000, false)), Err(Errno::EFAULT));
    // Closing.
    m.manager.close(vm);
    assert_eq!(m.manager.handle_fault(1, fault(BUF.start, false)), Err(Errno::EAGAIN));
}

#[test]
fn the_pasid_names_the_vm_until_its_teardown_is_over_and_a_reference_outlives_it() {
    let m = Machine::new(Setup { xnack: true, ..POC });
    let vm = m.compute(1);
    let svm = m.manager.lookup_by_pasid(1).expect("by PASID");
    assert_eq!(m.manager.instance(svm).inspect().references(), 2);
    m.manager.vm_fini(vm);
    assert_eq!(m.manager.lookup_by_pasid(1), None);
    assert!(!m.manager.is_enabled(vm));
    assert_eq!(m.fault(1, false), Handled::NoVm);
    assert_eq!(m.manager.live_instances(), 1, "the fault handler's reference");
    m.manager.put_instance(svm);
    assert_eq!(m.manager.live_instances(), 0);
    m.manager.vm_free(vm);
}

#[test]
fn the_repaired_instance_lives_as_long_as_the_file() {
    let m = Machine::new(Setup { design: Design::Hardened, ..POC });
    let vm = m.compute(1);
    m.set(vm, &m.mm, &[ACCESS]).unwrap();
    m.manager.vm_fini(vm);
    assert_eq!(m.manager.lookup_by_pasid(1), None, "no new fault handler");
    assert_eq!(m.set(vm, &m.mm, &[ACCESS]), Err(Errno::EOPNOTSUPP));
    assert_eq!(ioctl(&m.manager, &m.slabs, vm, &m.mm, AMDGPU_SVM_OP_GET_ATTR, &[ACCESS]), Err(Errno::EOPNOTSUPP));
    assert_eq!(m.manager.live_instances(), 1);
    m.manager.vm_free(vm);
    assert_eq!(m.manager.live_instances(), 0);
}

/// Close says EAGAIN. The posted hook writes a no-retry entry for it; the repaired one lets the GPU ask again, until the PASID
/// names nothing any more.
#[test]
fn a_fault_while_the_vm_closes() {
    for (design, answer) in [(Design::PocV1, Handled::NoRetry), (Design::Hardened, Handled::Svm)] {
        let m = Machine::new(Setup { design, xnack: true, ..POC });
        let vm = m.compute(1);
        m.manager.close(vm);
        assert_eq!(m.manager.handle_fault(1, fault(BUF.start, false)), Err(Errno::EAGAIN));
        assert_eq!(m.fault(1, false), answer);
        m.manager.vm_fini(vm);
        assert_eq!(m.fault(1, false), Handled::NoVm);
    }
}

/// R38.
#[test]
fn a_vm_whose_svm_could_not_be_made_is_half_a_compute_vm() {
    for design in [Design::PocV1, Design::Hardened] {
        let m = Machine::new(Setup { design, ..POC });
        let vm = m.graphics(1);
        let bad = SvmConfig { chunk_sizes: ChunkSizes::EMPTY, ..m.config(1) };
        assert_eq!(m.make_compute(vm, bad), Err(Errno::EINVAL));
        assert!(!m.manager.is_enabled(vm));
        assert_eq!(m.set(vm, &m.mm, &[ACCESS]), Err(Errno::EOPNOTSUPP));
        assert_eq!(m.manager.live_instances(), 0);
        assert_eq!(m.manager.is_compute(vm), design == Design::PocV1, "{design:?}");
        // What that comes to: KFD gets the faults of a VM that DRM was to serve.
        let answer = m.manager.vm_handle_fault(1, fault(BUF.start, false), || Ok(()));
        assert_eq!(answer, if design == Design::PocV1 { Handled::Kfd } else { Handled::Dummy });
        // A second try heals it.
        assert_eq!(m.make_compute(vm, m.config(1)), Ok(()));
        assert!(m.manager.is_compute(vm) && m.manager.is_enabled(vm));
    }
}

/// R39.
#[test]
fn a_file_in_another_process_mirrors_the_first_one() {
    for design in [Design::PocV1, Design::Hardened] {
        let m = Machine::new(Setup { design, ..POC });
        let vm = m.compute(1);
        let other = AddressSpace::<Sim>::new(m.mm.memory(), 1, Options::default()).unwrap();
        let result = m.set(vm, &other, &[ACCESS]);
        match design {
            Design::PocV1 => {
                assert_eq!(result, Ok(()), "nothing is mapped there, but nobody looks there");
                assert!(m.gpu.pte(0x200).is_valid());
            }
            _ => {
                assert_eq!(result, Err(Errno::EPERM));
                assert!(!m.gpu.pte(0x200).is_valid());
            }
        }
    }
}

/// A fault of the GPU against whatever the threads of a scenario do.
struct Fault {
    scenario: Rc<lang::Scenario>,
    design: lang::Design,
    /// The page may be accessed at any time, so the fault must be handled.
    legal: bool,
}

impl Program for Fault {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = World::<Sim>::build(self.scenario.clone(), self.design);
        let workers = Rc::downgrade(&world);
        launch.on_work(move |client, func| {
            if let Some(world) = workers.upgrade() {
                world.run_work(client, func);
            }
        });
        world.prepare();
        for (index, thread) in self.scenario.threads.iter().enumerate() {
            let world = world.clone();
            launch.actor(&thread.name, move || world.run_thread(index));
        }
        let (faulting, legal) = (world.clone(), self.legal);
        launch.actor("fault", move || {
            let answer = faulting.gpus[0].handle_fault(fault(BUF.start, false));
            if legal && !answer.is_handled() {
                let what = format!("a legal access is answered by {answer:?}");
                Sim::fail(Violation::new(Invariant::I11, what, None));
            }
        });
        Box::new(AtRest(world))
    }
}

struct AtRest(Rc<World<Sim>>);
impl Execution for AtRest {
    fn at_rest(&self) {
        self.0.at_rest();
    }
}

fn fault_against(ops: &str, legal: bool, design: lang::Design) -> Outcome {
    let text = format!(
        "scenario \"fault\" {{ about \"?\"; gpu xnack=#true\nregion \"buf\" at=0x200000 size=\"4K\" populate=#true\n\
         thread \"file\" {{ {ops} }}\n}}"
    );
    let scenario = parse("fault.kdl", &text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    explore(&Fault { scenario: Rc::new(scenario), design, legal }, &Config::default(), None, None)
}

/// R35, the lookup: fini does not take the pasids lock, so the handler's kref may come when the last one is gone.
#[test]
fn a_reference_may_be_taken_too_late() {
    let fell = fault_against("fini", false, lang::Design::PocV1);
    let violation = fell.failure.expect("R35").violation;
    assert_eq!(violation.invariant, Invariant::I4, "{violation:?}");
    assert!(violation.what.starts_with("amdgpu_svm #"), "{violation:?}");
    let repaired = fault_against("fini", false, lang::Design::Hardened);
    assert_eq!((repaired.failure.map(|f| f.violation), repaired.end), (None, End::Exhausted));
    assert!(repaired.stats.executions > 1);
}

/// Somebody who has a reference, against fini.
struct LetIn {
    design: Design,
    call: fn(&Svm<P>) -> Result<(), Errno>,
}

impl Program for LetIn {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let m = Machine::new(Setup { design: self.design, xnack: true, ..POC });
        let vm = m.compute(1);
        let svm = m.manager.lookup_by_pasid(1).expect("setup");
        let (manager, call) = (m.manager.clone(), self.call);
        launch.actor("call", move || {
            // Any answer will do.
            let _ = call(manager.instance(svm));
            manager.put_instance(svm);
        });
        let manager = m.manager.clone();
        launch.actor("file", move || manager.vm_fini(vm));
        Box::new(TornDown(m))
    }
}

struct TornDown(Machine);
impl Execution for TornDown {
    fn at_rest(&self) {
        if let Some(left) = self.0.gpu.dma_mappings().first() {
            Sim::fail(Violation::new(Invariant::I5, "a DMA mapping is left after fini", Some(left.mapped_at)));
        }
    }
}

/// R35: the reference keeps the struct, and nothing in it.
#[test]
fn a_fault_that_was_let_in_finds_the_instance_taken_down() {
    let fault: fn(&Svm<P>) -> Result<(), Errno> = |svm| svm.handle_fault(fault(BUF.start, false));
    let look: fn(&Svm<P>) -> Result<(), Errno> = |svm| svm.get_attr(BUF.start, BUF.len(), &mut [ACCESS]);
    for (call, only_looks) in [(fault, false), (look, true)] {
        let fell = explore(&LetIn { design: Design::PocV1, call }, &Config::default(), None, None);
        let violation = fell.failure.expect("R35").violation;
        assert!([Invariant::I4, Invariant::I5].contains(&violation.invariant), "{violation:?}");
        // Who only looks can find nothing but the tree.
        let tree = violation.what.starts_with("amdgpu_svm_attr_tree");
        assert!(tree || !only_looks, "{violation:?}");
        let repaired = explore(&LetIn { design: Design::Hardened, call }, &Config::default(), None, None);
        assert_eq!((repaired.failure.map(|f| f.violation), repaired.end), (None, End::Exhausted));
        assert!(repaired.stats.executions > 1);
    }
}

/// Against a munmap the protocol of the mapping loop holds, in both designs.
#[test]
fn a_fault_against_a_munmap_holds() {
    for design in [lang::Design::PocV1, lang::Design::Hardened] {
        let outcome = fault_against("munmap \"buf\"", false, design);
        assert_eq!((outcome.failure.map(|f| f.violation), outcome.end), (None, End::Exhausted), "{design}");
        assert!(outcome.stats.executions > 1);
    }
}

/// New: what came in between (EAGAIN) is taken for a refusal, and the wave is ended by a no-retry entry. Not reachable as
/// posted, XNACK being off.
#[test]
fn a_fault_against_a_migration_ends_the_wave_in_the_posted_driver() {
    let fell = fault_against("migrate \"buf\"", true, lang::Design::PocV1);
    let violation = fell.failure.expect("EAGAIN is taken for a refusal").violation;
    assert_eq!(violation.invariant, Invariant::I11, "{violation:?}");
    let repaired = fault_against("migrate \"buf\"", true, lang::Design::Hardened);
    assert_eq!((repaired.failure.map(|f| f.violation), repaired.end), (None, End::Exhausted));
}

/// Two files, each on its own GPU, are the first of the module.
struct TwoFirst(Design);

impl Program for TwoFirst {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let design = self.0;
        let memory = Memory::new();
        let mm = AddressSpace::<Sim>::new(&memory, 0, Options::default()).expect("setup");
        let kfd = Kfd::new(|mm: &AddressSpace<Sim>| mm.id() == 0);
        let slabs = Rc::new(Slabs::<P>::new().expect("setup"));
        for domain in 0..2 {
            let manager = ManagerConfig { design, built: Built::WithSvm, pasids: 2, dummy_page: None };
            let manager = Rc::new(VmManager::<P>::new(manager).expect("setup"));
            let vm = manager.vm_init(1, gpu(&memory, &kfd, domain)).expect("setup");
            let (mm, slabs) = (mm.clone(), slabs.clone());
            launch.actor(["first", "second"][usize::from(domain)], move || {
                let config = SvmConfig::new(design, ClientId(u32::from(domain)));
                let made = manager.make_compute(vm, &slabs, config, mm);
                if let Err(errno) = made {
                    Sim::fail(Violation::new(Invariant::I11, format!("make_compute: {errno}"), None));
                }
                manager.vm_fini(vm);
            });
        }
        Box::new(BothExist(slabs))
    }
}

struct BothExist(Rc<Slabs<P>>);
impl Execution for BothExist {
    fn at_rest(&self) {
        assert!(self.0.exist());
    }
}

/// R37.
#[test]
fn two_first_users_create_the_slabs_twice() {
    let fell = explore(&TwoFirst(Design::PocV1), &Config::default(), None, None);
    let violation = fell.failure.expect("R37").violation;
    assert_eq!(violation.invariant, Invariant::I9, "{violation:?}");
    assert!(violation.what.contains("amdgpu_svm_range_cache exists already"), "{violation:?}");
    let repaired = explore(&TwoFirst(Design::Hardened), &Config::default(), None, None);
    assert_eq!((repaired.failure.map(|f| f.violation), repaired.end), (None, End::Exhausted));
    assert!(repaired.stats.executions > 1);
}
