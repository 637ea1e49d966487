//! Suite `gpu`: the driver whole, from the ioctl to the word that the GPU reads.

mod memory;

use crate::device::uapi::*;
use crate::device::{Came, Gpu, attr, vm};
use crate::suite::{Args, Checks, Suite};
use memory::Memory;
use std::fmt::Debug;
use std::io;

pub(crate) const SUITE: Suite = Suite { name: "gpu", about: "the driver on the software GPU", run };

const DESIGNS: [(&str, u32); 2] = [("hardened", SVMLAB_DESIGN_HARDENED), ("poc-v1", SVMLAB_DESIGN_POC_V1)];

/// The GPU may access.
const ACCESS: &[(u32, u32)] = &[(attr::ACCESS, 1)];

fn run(checks: &mut Checks<'_>, _: &Args) {
    for (name, design) in DESIGNS {
        let mut check = |what: &str, f: fn(u32) -> Result<(), String>| {
            checks.check(&format!("{name}: {what}"), || f(design));
        };
        check("the GPU reads what the CPU wrote", loads);
        check("the CPU reads what the GPU wrote", stores);
        check("the GPU has no access that it was not given", outside);
        check("after munmap the GPU faults", munmap);
        check("after munmap of a part the GPU faults there and reads the rest", partial_munmap);
        check("the GPU does not write what the CPU may not", mprotect);
        check("after MADV_DONTNEED the GPU reads zeros", dontneed);
        check("two processes, two address spaces", child);
    }
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
