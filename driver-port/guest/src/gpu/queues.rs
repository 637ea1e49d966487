//! Queues that are stopped and run again, and hardware that fails.

use super::*;
use crate::device::uapi::Hardware;

pub(super) const CHECKS: &[Check] = &[
    ("a load after MADV_DONTNEED waits for the restore", waits),
    ("a stop by somebody else nests with the driver's", nests),
    ("a failing allocation or mapping is told, and the next call repairs it", fails),
];

fn waits(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    let before = called("STATE", gpu.state())?;
    called("madvise", memory.advise(0, 16, libc::MADV_DONTNEED))?;
    // Nobody settles: the queues are stopped until the worker has mapped what is there now.
    same("load", called("ACCESS", gpu.load(memory.page(5)))?, Came::Done(0))?;
    let after = called("STATE", gpu.state())?;
    let (stops, resumes) = (after.quiesces - before.quiesces, after.resumes - before.resumes);
    if stops == 0 || stops != resumes {
        return Err(format!("{stops} stops and {resumes} resumes"));
    }
    Ok(())
}

fn nests(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    called("QUIESCE", gpu.happen(SVMLAB_HW_QUIESCE, 0))?;
    let stopped = Came::Not(SVMLAB_TIMEOUT_STOPPED);
    same("stopped", called("ACCESS", gpu.load_within(memory.page(0), 30))?, stopped)?;
    called("madvise", memory.advise(0, 16, libc::MADV_DONTNEED))?;
    called("SETTLE", gpu.settle())?;
    let state = called("STATE", gpu.state())?;
    same("stops", state.quiesced, 1)?;
    same("running", state.flags & SVMLAB_STATE_RUNNING, 0)?;
    same("still stopped", called("ACCESS", gpu.load_within(memory.page(0), 30))?, stopped)?;
    called("RESUME", gpu.happen(SVMLAB_HW_RESUME, 0))?;
    same("runs", called("ACCESS", gpu.load(memory.page(0)))?, Came::Done(0))?;
    match gpu.happen(SVMLAB_HW_RESUME, 0) {
        Err(error) if errno(&error) == libc::EINVAL => Ok(()),
        other => Err(format!("one RESUME too many: {other:?}")),
    }
}

fn injected(gpu: &Gpu, point: u32, error: i32) -> io::Result<()> {
    gpu.hardware(Hardware { what: SVMLAB_HW_FAIL, point, error: error as u32, value: 0 })
}

fn fail(gpu: &Gpu, point: u32, error: i32) -> Result<(), String> {
    called("FAIL", injected(gpu, point, error))
}

fn fails(design: u32) -> Result<(), String> {
    for (name, point, error) in [
        ("root", SVMLAB_POINT_RESERVE_ROOT, libc::ENOMEM),
        ("page table", SVMLAB_POINT_TABLE_ALLOC, libc::ENOMEM),
        ("DMA", SVMLAB_POINT_DMA_MAP, libc::EFAULT),
    ] {
        let gpu = called("CREATE", Gpu::create(&vm(design, 0)))?;
        let memory = called("mmap", Memory::new(16, 2 << 20))?;
        (0..16).for_each(|page| memory.set(page, page));
        if point == SVMLAB_POINT_DMA_MAP && framework() == SVMLAB_FRAMEWORK_KERNEL {
            // It maps without asking the GPU, and says so.
            match injected(&gpu, point, error) {
                Err(refused) if errno(&refused) == libc::EOPNOTSUPP => continue,
                other => return Err(format!("{name}: FAIL gives {other:?}")),
            }
        }
        fail(&gpu, point, error)?;
        match gpu.set_attr(memory.start, memory.size, ACCESS) {
            Err(told) if errno(&told) == error => {}
            other => return Err(format!("{name}: SET_ATTR gives {other:?}")),
        }
        called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
        called("SETTLE", gpu.settle())?;
        for page in [0, 15] {
            same(name, called("ACCESS", gpu.load(memory.page(page)))?, Came::Done(page))?;
        }
    }
    Ok(())
}

pub(super) fn hangs(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 4)?;
    fail(&gpu, SVMLAB_POINT_UNMAP_QUEUES, libc::EIO)?;
    called("madvise", memory.advise(0, 4, libc::MADV_DONTNEED))?;
    called("SETTLE", gpu.settle())?;
    same("load", called("ACCESS", gpu.load(memory.page(1)))?, Came::Done(0))?;
    same("stops", called("STATE", gpu.state())?.quiesced, 0)
}
