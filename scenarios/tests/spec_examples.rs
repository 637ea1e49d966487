//! The worked examples of spec amdgpu-svm, appendix D, on the whole machine: driver, framework, mm and GPU. (D1 to D4
//! at the level of the attribute tree alone are in `model/tests/attr/examples.rs`.)

use interleave::Sim;
use model::Errno;
use model::amdgpu::inspect::RangeView;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::amdgpu::{IoctlArgs, Svm, UserAttrs};
use model::attr::{Flags, UapiAttr};
use model::platform::PteFlags;
use model::units::{Bytes, Pages};
use scenarios::lang::{Design, parse};
use scenarios::world::{Simulated, World};
use std::rc::Rc;

struct Machine(Rc<World<Sim>>);

struct User(Vec<UapiAttr>, Option<Errno>);
impl UserAttrs for User {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        self.1.map_or(Ok(()), Err)?;
        out.copy_from_slice(&self.0);
        Ok(())
    }
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.0.copy_from_slice(attrs);
        Ok(())
    }
}

const ACCESS: UapiAttr = UapiAttr { ty: 2, value: 1 };
const NO_ACCESS: UapiAttr = UapiAttr { ty: 4, value: 1 };
const fn set_flags(value: u32) -> UapiAttr {
    UapiAttr { ty: 5, value }
}
const fn clr_flags(value: u32) -> UapiAttr {
    UapiAttr { ty: 6, value }
}

/// The posted driver on one GPU without XNACK, sequential, with `regions` mapped.
fn machine(gpu: &str, regions: &str) -> Machine {
    let text =
        format!("scenario \"example\" {{ about \"?\"; gpu {gpu}\n{regions}\nthread \"t\" {{ load \"buf\" }}\n}}");
    let scenario = parse("example.kdl", &text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    let world = World::<Sim>::build(Rc::new(scenario), Design::PocV1);
    let workers = Rc::downgrade(&world);
    Sim::on_work(move |client, func| workers.upgrade().expect("the world lives").run_work(client, func));
    Machine(world)
}

/// Pages 100 to 4ff mapped by the CPU, as the examples want it.
fn plain() -> Machine {
    machine("xnack=#false", "region \"buf\" at=0x100000 size=\"4M\" populate=#true")
}

impl Machine {
    fn svm(&self) -> &Svm<Simulated<Sim>> {
        self.0.gpus[0].svm()
    }
    fn call(&self, args: IoctlArgs, attrs: &[UapiAttr]) -> (Result<(), Errno>, Vec<UapiAttr>) {
        let mut user = User(attrs.to_vec(), None);
        (self.svm().ioctl(&args, &mut user), user.0)
    }
    fn args(operation: u32, bytes: Bytes, nattr: usize) -> IoctlArgs {
        IoctlArgs { start_addr: bytes.start, size: bytes.len(), operation, nattr: nattr as u32, attrs_ptr_null: false }
    }
    fn set(&self, pages: (u64, u64), attrs: &[UapiAttr]) -> Result<(), Errno> {
        let bytes = Pages::new(pages.0, pages.1).bytes();
        self.call(Self::args(AMDGPU_SVM_OP_SET_ATTR, bytes, attrs.len()), attrs).0
    }
    fn get(&self, pages: (u64, u64), ty: u32) -> UapiAttr {
        let bytes = Pages::new(pages.0, pages.1).bytes();
        let (result, answer) = self.call(Self::args(AMDGPU_SVM_OP_GET_ATTR, bytes, 1), &[UapiAttr { ty, value: 0 }]);
        result.expect("GET_ATTR");
        answer[0]
    }
    /// First page, last page and flags of each stored node.
    fn nodes(&self) -> Vec<(u64, u64, u32)> {
        let mut nodes = Vec::new();
        self.svm().inspect().for_each_node(|n| nodes.push((n.pages.first, n.pages.last, n.attrs.flags.0)));
        nodes
    }
    fn ranges(&self) -> Vec<RangeView> {
        self.svm().inspect().ranges().collect()
    }
    fn range_bytes(&self) -> Vec<(u64, u64)> {
        self.ranges().iter().map(|r| (r.bytes.start, r.bytes.end)).collect()
    }
    fn on_gpu(&self, page: u64) -> bool {
        self.0.gpus[0].vm.pte(page).is_valid()
    }
    fn quiesced(&self) -> u32 {
        self.0.gpus[0].vm.quiesce_count()
    }
    fn run_workers(&self) {
        Sim::run_pending();
    }
}

#[test]
fn d1_split_and_no_merge() {
    let m = plain();
    m.set((0x100, 0x1ff), &[ACCESS]).unwrap();
    m.set((0x140, 0x17f), &[set_flags(0x8)]).unwrap();
    let three = [(0x100, 0x13f, 0x3), (0x140, 0x17f, 0xb), (0x180, 0x1ff, 0x3)];
    assert_eq!(m.nodes(), three);
    assert_eq!(m.get((0x100, 0x1ff), 5).value, 0x3);
    assert_eq!(m.get((0x100, 0x1ff), 6).value, 0xffff_fff4);
    assert_eq!(m.get((0x100, 0x1ff), 2).ty, 2);
    m.set((0x140, 0x17f), &[clr_flags(0x8)]).unwrap();
    assert_eq!(m.nodes(), three.map(|(first, last, _)| (first, last, 0x3)), "equal neighbours stay apart");
    assert_eq!(m.get((0x0ff, 0x1ff), 2).ty, 4, "the hole has no access, so the answer is NO_ACCESS");
    assert_eq!(m.get((0x0ff, 0x1ff), 7).value, 9);
}

#[test]
fn d2_a_default_hole_stores_nothing() {
    let m = plain();
    m.set((0x100, 0x10f), &[NO_ACCESS]).unwrap();
    assert!(m.nodes().is_empty() && m.ranges().is_empty());
    let m = machine("xnack=#true", "region \"buf\" at=0x100000 size=\"4M\" populate=#true");
    m.set((0x100, 0x10f), &[NO_ACCESS]).unwrap();
    assert_eq!(m.nodes().len(), 1, "with XNACK on the default is access");
}

#[test]
fn d3_repeating_access_maps_again_repeating_flags_does_not() {
    let m = plain();
    m.set((0x200, 0x2ff), &[ACCESS]).unwrap();
    let before = m.nodes();
    // Somebody evicts; only a mapping pass brings the pages back at once.
    m.0.mm.migrate_pages(Bytes::new(0x20_0000, 0x20_1000)).unwrap();
    let evicted = m.svm().inspect().evicted_ranges();
    assert_eq!(evicted, 1);
    m.set((0x200, 0x2ff), &[set_flags(0x3)]).unwrap();
    assert_eq!(m.nodes(), before, "the same flags again change nothing");
    m.set((0x200, 0x2ff), &[ACCESS]).unwrap();
    assert_eq!(m.nodes(), before);
    assert!(m.on_gpu(0x200));
}

#[test]
fn d4_clearing_cuts_nodes() {
    let m = machine("xnack=#false", "region \"buf\" at=0x100000 size=\"1M\" populate=#true");
    m.set((0x100, 0x1ff), &[ACCESS]).unwrap();
    m.0.mm.munmap(Bytes::new(0x15_0000, 0x16_0000)).unwrap();
    m.run_workers();
    assert_eq!(m.nodes(), [(0x100, 0x14f, 3), (0x160, 0x1ff, 3)]);
    m.0.mm.munmap(Bytes::new(0x10_0000, 0x15_0000)).unwrap();
    m.run_workers();
    assert_eq!(m.nodes(), [(0x160, 0x1ff, 3)]);
}

#[test]
fn d5_chunking() {
    let m = machine("xnack=#false", "region \"buf\" at=0x1ff000 size=0x403000 populate=#true");
    m.set((0x1ff, 0x601), &[ACCESS]).unwrap();
    assert_eq!(
        m.range_bytes(),
        [
            (0x1f_f000, 0x20_0000),
            (0x20_0000, 0x40_0000),
            (0x40_0000, 0x60_0000),
            (0x60_0000, 0x60_1000),
            (0x60_1000, 0x60_2000)
        ]
    );
}

#[test]
fn d6_the_window_grows_to_the_left() {
    let buf = "region \"buf\" at=0x200000 size=\"4M\" populate=#true";
    let m = machine("xnack=#false", buf);
    m.set((0x300, 0x3ff), &[ACCESS]).unwrap();
    assert_eq!(m.range_bytes(), [(0x20_0000, 0x40_0000)]);
    assert!(m.on_gpu(0x200) && m.on_gpu(0x2ff), "pages without access get entries (R19)");

    let m = machine("xnack=#false", buf);
    m.set((0x300, 0x3fe), &[ACCESS]).unwrap();
    let ranges = m.range_bytes();
    assert_eq!(ranges.len(), 15 + 15);
    assert_eq!(ranges[0], (0x30_0000, 0x31_0000));
    assert_eq!(ranges[14], (0x3e_0000, 0x3f_0000));
    assert_eq!(ranges[15], (0x3f_0000, 0x3f_1000));
}

#[test]
fn d7_evict() {
    let m = machine("xnack=#false", "region \"buf\" at=0x200000 size=\"2M\" populate=#true");
    m.set((0x200, 0x3ff), &[ACCESS]).unwrap();
    m.0.mm.migrate_pages(Bytes::new(0x30_0000, 0x30_1000)).unwrap();
    let inspect = m.svm().inspect();
    assert_eq!((inspect.evicted_ranges(), m.quiesced()), (1, 1));
    assert!(inspect.queues_stopped() && inspect.has_pending_work());
    let range = m.ranges()[0];
    assert!(range.gpu_mapped && range.in_queue, "PTEs are kept, the driver still believes in them");
    assert!(m.on_gpu(0x200) && m.on_gpu(0x300));
    assert!(m.0.gpus[0].vm.dma_mappings().is_empty(), "all DMA of the range is unmapped");
    assert!(!range.flags.has_dma_mapping && !range.flags.unmapped);

    // The first run maps and arms itself again, the second finds the list empty and resumes.
    m.svm().restore_work();
    assert_eq!((inspect.evicted_ranges(), m.quiesced()), (1, 1), "not yet: something failed in this run");
    assert!(m.ranges()[0].gpu_mapped && !inspect.has_pending_work());
    m.svm().restore_work();
    assert_eq!((inspect.evicted_ranges(), m.quiesced()), (0, 0));
    assert_eq!(m.0.gpus[0].vm.dma_mappings().len(), 512);
}

#[test]
fn d8_partial_munmap() {
    let m = machine("xnack=#false", "region \"buf\" at=0x200000 size=\"2M\" populate=#true");
    m.set((0x200, 0x3ff), &[ACCESS]).unwrap();
    m.0.mm.munmap(Bytes::new(0x30_0000, 0x30_1000)).unwrap();
    let range = m.ranges()[0];
    assert!(range.flags.unmapped && range.flags.partial_unmap && !range.gpu_mapped);
    assert!(!m.on_gpu(0x300) && m.quiesced() == 1);
    assert!(m.0.gpus[0].vm.dma_mappings().is_empty());

    m.run_workers();
    assert_eq!(m.nodes(), [(0x200, 0x2ff, 3), (0x301, 0x3ff, 3)]);
    let ranges = m.range_bytes();
    assert_eq!(ranges.len(), 46);
    let sizes = |size| ranges.iter().filter(|(start, end)| end - start == size).count();
    assert_eq!((sizes(64 << 10), sizes(4 << 10)), (31, 15));
    assert_eq!(ranges[16], (0x30_1000, 0x30_2000), "the hole is skipped");
    assert_eq!(m.quiesced(), 0);
    assert!(m.on_gpu(0x2ff) && !m.on_gpu(0x300) && m.on_gpu(0x301));
}

#[test]
fn d9_full_munmap() {
    let m = machine(
        "xnack=#false",
        "region \"buf\" at=0x200000 size=\"2M\" populate=#true\nregion \"other\" at=0x800000 size=\"4K\"",
    );
    m.set((0x200, 0x3ff), &[ACCESS]).unwrap();
    m.0.mm.munmap(Bytes::new(0x20_0000, 0x40_0000)).unwrap();
    let flags = m.ranges()[0].flags;
    assert!(flags.unmapped && !flags.partial_unmap);
    m.run_workers();
    assert!(m.nodes().is_empty() && m.ranges().is_empty());
    assert_eq!(m.quiesced(), 0);
    assert!(!(0x200..0x400).any(|page| m.on_gpu(page)));
}

#[test]
fn d10_two_holes_lose_what_lies_between() {
    let m = machine("xnack=#false", "region \"buf\" at=0x200000 size=\"2M\" populate=#true");
    m.set((0x200, 0x3ff), &[ACCESS]).unwrap();
    m.0.mm.munmap(Bytes::new(0x30_0000, 0x30_1000)).unwrap();
    m.0.mm.munmap(Bytes::new(0x38_0000, 0x38_1000)).unwrap();
    assert!(m.0.mm.peek_vma(0x31_0000).is_some(), "the pages between were never unmapped");
    // I7 falls as soon as the queues resume; look before that.
    m.svm().gc_work();
    assert_eq!(m.nodes(), [(0x200, 0x2ff, 3), (0x381, 0x3ff, 3)], "one item, one hull: 301-37f lost their attributes");
    assert!(m.ranges().iter().all(|r| r.bytes.end <= 0x30_0000 || r.bytes.start >= 0x38_1000));
}

#[test]
fn d11_errors() {
    let m = plain();
    let good = Bytes::new(0x10_0000, 0x10_1000);
    let call = |args, attrs: &[UapiAttr]| m.call(args, attrs).0;
    assert_eq!(call(Machine::args(0, Bytes::new(0x10_0000, 0x10_0000), 1), &[ACCESS]), Err(Errno::EINVAL));
    assert_eq!(call(Machine::args(0, Bytes::new(0, 0x1000), 1), &[ACCESS]), Err(Errno::EINVAL));
    assert_eq!(call(Machine::args(0, good, 65), &[ACCESS; 65]), Err(Errno::EINVAL));
    assert_eq!(call(Machine::args(7, good, 1), &[ACCESS]), Err(Errno::EINVAL));
    let mut bad = User(vec![ACCESS], Some(Errno::EFAULT));
    assert_eq!(m.svm().ioctl(&Machine::args(7, good, 1), &mut bad), Err(Errno::EFAULT), "the copy comes first");

    assert_eq!(m.set((0x4ff, 0x500), &[ACCESS]), Err(Errno::EFAULT), "a hole in the VMAs");
    assert!(m.nodes().is_empty(), "and nothing is stored");

    m.0.mm.mprotect(good, false, false).unwrap();
    assert_eq!(m.set((0x100, 0x100), &[ACCESS]), Err(Errno::EFAULT), "PROT_NONE");
    assert_eq!(m.nodes(), [(0x100, 0x100, 3)], "the tree keeps what could not be mapped (R16)");

    let read_only = Bytes::new(0x11_0000, 0x11_1000);
    m.0.mm.mprotect(read_only, true, false).unwrap();
    m.set((0x110, 0x110), &[ACCESS]).unwrap();
    let range = m.svm().inspect().range_at(0x11_0000).expect("mapped");
    assert!(!range.pte_flags.has(PteFlags::WRITEABLE));
    assert_eq!(range.attr_flags, Flags::HOST_ACCESS | Flags::COHERENT);
    assert!(!m.0.gpus[0].vm.pte(0x110).flags.has(PteFlags::WRITEABLE));
}
