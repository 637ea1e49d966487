//! Suites `gpu` and `gpu-drm`: the driver whole, from the ioctl to the word that the GPU reads, on our port of drm_gpusvm and
//! on the kernel's own.

mod allocation;
mod churn;
mod faults;
mod input;
mod life;
mod memory;
mod queues;

use crate::device::uapi::*;
use crate::device::{Came, Gpu, OnFramework, attr, errno, framework, vm};
use crate::suite::{Args, Checks, Suite};
use memory::Memory;
use std::fmt::Debug;
use std::io;

pub(crate) const SUITE: Suite =
    Suite { name: "gpu", about: "the driver on the software GPU and our port of drm_gpusvm", run: on_port };
pub(crate) const DRM_SUITE: Suite =
    Suite { name: "gpu-drm", about: "the driver on the software GPU and the kernel's drm_gpusvm", run: on_drm };

const HARDENED: u32 = SVMLAB_DESIGN_HARDENED;
const POC_V1: u32 = SVMLAB_DESIGN_POC_V1;
const POC_V8: u32 = SVMLAB_DESIGN_POC_V8;

/// The GPU may access.
const ACCESS: &[(u32, u32)] = &[(attr::ACCESS, 1)];

/// A check of what every design does alike.
type Check = (&'static str, fn(u32) -> Result<(), String>);

const ALIKE: &[Check] = &[
    ("the GPU reads what the CPU wrote", loads),
    ("the framework is the one that was asked for", framework_asked),
    ("the CPU reads what the GPU wrote", stores),
    ("the GPU has no access that it was not given", outside),
    ("after munmap the GPU faults", munmap),
    ("after munmap of a part the GPU faults there and reads the rest", partial_munmap),
    ("the GPU does not write what the CPU may not", mprotect),
    ("after MADV_DONTNEED the GPU reads zeros", dontneed),
    ("what GET_ATTR, NODES and RANGES say", attributes),
    ("two processes, two address spaces", child),
];

/// What the first posting does not do. Of a huge page of which a part is unmapped it takes all attributes, because the
/// kernel splits that page first, which is an event for all of it. A stop that hung it does not count, and so does not undo.
/// And when a process ends while its restore worker has something to do, the worker goes round for ever, and with it waits
/// for ever who closes the file (race R3).
const OURS: &[Check] = &[
    ("a huge mapping: one leaf, of which a part can go", huge),
    ("a hang at the stop counts as stopped", queues::hangs),
    ("a process ends with work in flight", life::exit_in_flight),
];

fn on_port(checks: &mut Checks<'_>, args: &Args) {
    let _until_then = OnFramework::set(SVMLAB_FRAMEWORK_PORT);
    run(checks, args);
}

fn on_drm(checks: &mut Checks<'_>, args: &Args) {
    let _until_then = OnFramework::set(SVMLAB_FRAMEWORK_KERNEL);
    run(checks, args);
}

fn run(checks: &mut Checks<'_>, args: &Args) {
    for (name, design) in [("hardened", HARDENED), ("poc-v1", POC_V1)] {
        for (what, check) in ALIKE.iter().chain(queues::CHECKS).chain(life::CHECKS) {
            checks.check(&format!("{name}: {what}"), || check(design));
        }
    }
    for (what, check) in OURS {
        checks.check(&format!("hardened: {what}"), || check(HARDENED));
    }
    allocation::run(checks);
    faults::run(checks, args);
    input::run(checks);
    churn::run(checks, args);
}

/// An error of a call as text that says which.
fn called<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn same<T: PartialEq + Debug>(what: &str, is: T, want: T) -> Result<(), String> {
    if is == want { Ok(()) } else { Err(format!("{what}: it is {is:?}, and not {want:?}")) }
}

/// A VM and memory to which it has access.
fn with_access(design: u32, pages: u64) -> Result<(Gpu, Memory), String> {
    let gpu = called("CREATE", Gpu::create(&vm(design, 0)))?;
    let memory = called("mmap", Memory::new(pages, 2 << 20))?;
    (0..pages).for_each(|page| memory.set(page, 1000 + page));
    called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
    Ok((gpu, memory))
}

fn loads(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    for page in 0..16 {
        same("load", called("ACCESS", gpu.load(memory.page(page)))?, Came::Done(1000 + page))?;
    }
    memory.set(3, 7);
    same("a later store", called("ACCESS", gpu.load(memory.page(3)))?, Came::Done(7))
}

/// Told by who maps pages for DMA: our port through the GPU, drm_gpusvm itself.
fn framework_asked(design: u32) -> Result<(), String> {
    let (gpu, _memory) = with_access(design, 16)?;
    let mapped_by_gpu = called("STATE", gpu.state())?.dma_maps != 0;
    same("pages are mapped through the GPU", mapped_by_gpu, framework() == SVMLAB_FRAMEWORK_PORT)
}

fn munmap(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    same("before", called("ACCESS", gpu.load(memory.page(0)))?, Came::Done(1000))?;
    called("munmap", memory.unmap(0, 16))?;
    called("SETTLE", gpu.settle())?;
    same("after", called("ACCESS", gpu.load(memory.page(0)))?, Came::Not(SVMLAB_FAULT_INVALID))?;
    let state = called("STATE", gpu.state())?;
    same("ranges", state.ranges, 0)?;
    same("DMA mappings", state.dma_live, 0)
}

fn stores(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 4)?;
    same("store", called("ACCESS", gpu.store(memory.page(1), 5))?, Came::Done(5))?;
    same("the word", memory.get(1), 5)?;
    same("add", called("ACCESS", gpu.add(memory.page(1), 6))?, Came::Done(11))?;
    same("the word", memory.get(1), 11)?;
    same("its neighbour", memory.get(2), 1002)
}

fn outside(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 4)?;
    let invalid = Came::Not(SVMLAB_FAULT_INVALID);
    same("behind it", called("ACCESS", gpu.load(memory.page(4)))?, invalid)?;
    same("before it", called("ACCESS", gpu.load(memory.start - 8))?, invalid)?;
    same("page 0", called("ACCESS", gpu.load(0))?, invalid)?;
    same("far away", called("ACCESS", gpu.load(!7))?, invalid)
}

fn partial_munmap(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    called("munmap", memory.unmap(4, 4))?;
    called("SETTLE", gpu.settle())?;
    for page in 0..16 {
        let came = called("ACCESS", gpu.load(memory.page(page)))?;
        let want = if (4..8).contains(&page) { Came::Not(SVMLAB_FAULT_INVALID) } else { Came::Done(1000 + page) };
        same(&format!("page {page}"), came, want)?;
    }
    Ok(())
}

fn mprotect(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 4)?;
    called("mprotect", memory.protect(false))?;
    called("SETTLE", gpu.settle())?;
    if let Came::Done(_) = called("ACCESS", gpu.store(memory.page(1), 5))? {
        return Err("the GPU wrote what mprotect had made read-only".to_owned());
    }
    same("the word", memory.get(1), 1001)?;
    called("mprotect", memory.protect(true))?;
    called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
    same("store", called("ACCESS", gpu.store(memory.page(1), 5))?, Came::Done(5))
}

fn huge(design: u32) -> Result<(), String> {
    let gpu = called("CREATE", Gpu::create(&vm(design, 0)))?;
    let memory = called("mmap", Memory::new(1024, 2 << 20))?;
    called("madvise", memory.advise(0, 1024, libc::MADV_HUGEPAGE))?;
    (0..1024).for_each(|page| memory.set(page, page));
    called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
    same("mapped pages", called("STATE", gpu.state())?.mapped, 1024)?;
    let pages = called("MAPPED", gpu.mapped(memory.start, 1024))?;
    let leaves = pages.iter().filter(|page| page.flags & SVMLAB_PAGE_HUGE != 0).count();
    // Whether the CPU got huge pages is not ours to say; that it did is the rule on a machine that has just booted.
    same("pages in huge leaves", leaves, 1024)?;
    let odd = |page: &&Page| page.flags & SVMLAB_PAGE_SAME == 0;
    same("pages that are not the CPU's", pages.iter().filter(odd).count(), 0)?;
    for page in [0, 1, 511, 512, 1023] {
        same("load", called("ACCESS", gpu.load(memory.page(page)))?, Came::Done(page))?;
    }
    called("munmap", memory.unmap(512, 1))?;
    called("SETTLE", gpu.settle())?;
    for page in [0, 511, 513, 1023] {
        same("load", called("ACCESS", gpu.load(memory.page(page)))?, Came::Done(page))?;
    }
    same("the hole", called("ACCESS", gpu.load(memory.page(512)))?, Came::Not(SVMLAB_FAULT_INVALID))
}

fn attributes(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    let read_only = [(attr::SET_FLAGS, attr::GPU_RO), (attr::GRANULARITY, 5)];
    called("SET_ATTR", gpu.set_attr(memory.page(4), 4 * memory::PAGE, &read_only))?;
    let nodes = called("NODES", gpu.nodes())?;
    let shape: Vec<(u64, u64, u32, u32)> = nodes
        .iter()
        .map(|n| (n.first - memory.page(0) / memory::PAGE, n.last - n.first, n.granularity, n.access))
        .collect();
    same("nodes", shape, vec![(0, 3, 9, 1), (4, 3, 5, 1), (8, 7, 9, 1)])?;
    let ask = [(attr::GRANULARITY, 0), (attr::ACCESS, 0), (attr::SET_FLAGS, 0)];
    let answers = called("GET_ATTR", gpu.get_attr(memory.start, memory.size, &ask))?;
    same("granularity", answers[0], (attr::GRANULARITY, 5))?;
    same("access", answers[1].0, attr::ACCESS)?;
    same("read-only for all", answers[2].1 & attr::GPU_RO, 0)?;
    let answers = called("GET_ATTR", gpu.get_attr(memory.page(4), memory::PAGE, &ask))?;
    same("read-only there", answers[2].1 & attr::GPU_RO, attr::GPU_RO)?;
    called("SETTLE", gpu.settle())?;
    same("a store there", called("ACCESS", gpu.store(memory.page(5), 1))?, Came::Not(SVMLAB_FAULT_WRITE))?;
    same("a load there", called("ACCESS", gpu.load(memory.page(5)))?, Came::Done(1005))?;
    let ranges = called("RANGES", gpu.ranges())?;
    same("ranges", ranges.len() as u64, called("STATE", gpu.state())?.ranges)?;
    let inside = |range: &Range| range.start >= memory.start && range.end <= memory.page(16);
    same("ranges lie in the mapping", ranges.iter().all(inside), true)?;
    let mapped = |range: &Range| range.flags & (SVMLAB_RANGE_GPU_MAPPED | SVMLAB_RANGE_HAS_DMA);
    let both = SVMLAB_RANGE_GPU_MAPPED | SVMLAB_RANGE_HAS_DMA;
    same("ranges are mapped", ranges.iter().all(|range| mapped(range) == both), true)
}

fn dontneed(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    called("madvise", memory.advise(2, 4, libc::MADV_DONTNEED))?;
    called("SETTLE", gpu.settle())?;
    same("page 1", called("ACCESS", gpu.load(memory.page(1)))?, Came::Done(1001))?;
    same("page 2", called("ACCESS", gpu.load(memory.page(2)))?, Came::Done(0))?;
    memory.set(3, 77);
    called("SETTLE", gpu.settle())?;
    same("page 3", called("ACCESS", gpu.load(memory.page(3)))?, Came::Done(77))
}

fn child(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 4)?;
    memory::in_child(|| {
        memory.set(0, 5);
        let own = called("CREATE", Gpu::create(&vm(design, 0)))?;
        called("SET_ATTR", own.set_attr(memory.start, memory.size, ACCESS))?;
        same("the child's", called("ACCESS", own.load(memory.page(0)))?, Came::Done(5))
    })?;
    called("SETTLE", gpu.settle())?;
    same("the parent's", called("ACCESS", gpu.load(memory.page(0)))?, Came::Done(1000))?;
    memory.set(0, 6);
    called("SETTLE", gpu.settle())?;
    same("the parent's", called("ACCESS", gpu.load(memory.page(0)))?, Came::Done(6))
}
