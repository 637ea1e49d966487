//! From CREATE to the end of file and process, in every order that user space can bring about.

use super::memory::in_child;
use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    ("CLOSE, then FINI, then release", hooks),
    ("a file outlives the process that made the VM", orphan),
    ("files of two GPUs stop together", two_gpus),
];

fn hooks(design: u32) -> Result<(), String> {
    let (gpu, memory) = with_access(design, 16)?;
    called("CLOSE", gpu.hook(SVMLAB_CLOSE))?;
    let state = called("STATE", gpu.state())?;
    same("exiting", state.flags & SVMLAB_STATE_EXITING, SVMLAB_STATE_EXITING)?;
    called("munmap", memory.unmap(0, 4))?;
    called("FINI", gpu.hook(SVMLAB_FINI))?;
    let state = called("STATE", gpu.state())?;
    same("instance", state.flags & SVMLAB_STATE_INSTANCE, 0)?;
    same("DMA mappings", state.dma_live, 0)?;
    called("FINI again", gpu.hook(SVMLAB_FINI))?;
    called("CLOSE again", gpu.hook(SVMLAB_CLOSE))?;
    match gpu.set_attr(memory.page(4), memory::PAGE, ACCESS) {
        Err(_) => Ok(()),
        Ok(()) => Err("SET_ATTR succeeds after FINI".to_owned()),
    }
}

fn orphan(design: u32) -> Result<(), String> {
    let gpu = called("open", Gpu::open())?;
    let memory = called("mmap", Memory::new(16, 2 << 20))?;
    memory.set(0, 3);
    in_child(|| {
        called("CREATE", gpu.make(&vm(design, 0)))?;
        called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
        same("load", called("ACCESS", gpu.load(memory.page(0)))?, Came::Done(3))
    })?;
    let state = called("STATE", gpu.state())?;
    same("destroyed", state.flags & SVMLAB_STATE_DESTROYED, SVMLAB_STATE_DESTROYED)?;
    same("load", called("ACCESS", gpu.load(memory.page(0)))?, Came::Not(SVMLAB_QUEUE_GONE))?;
    if gpu.set_attr(memory.start, memory.size, ACCESS).is_ok() {
        return Err("SET_ATTR mirrors a process that is gone".to_owned());
    }
    called("MAPPED", gpu.mapped(memory.start, 16)).map(drop)?;
    called("SETTLE", gpu.settle()).map(drop)
}

pub(super) fn exit_in_flight(design: u32) -> Result<(), String> {
    for round in 0..4u64 {
        in_child(|| {
            let gpu = called("CREATE", Gpu::create(&vm(design, 0)))?;
            let memory = called("mmap", Memory::new(64, 2 << 20))?;
            (0..64).for_each(|page| memory.set(page, page));
            called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    loop {
                        let _ = memory.advise(0, 32, libc::MADV_DONTNEED);
                    }
                });
                scope.spawn(|| {
                    loop {
                        let _ = gpu.load(memory.page(3));
                        let _ = gpu.load(memory.page(40));
                    }
                });
                scope.spawn(|| {
                    loop {
                        let _ = gpu.set_attr(memory.start, memory.size, ACCESS);
                    }
                });
                std::thread::sleep(Duration::from_millis(20 + 17 * round));
                // The end of the process, with all of them at it.
                memory::exit(0)
            })
        })?;
    }
    Ok(())
}

/// One process, two GPUs: an invalidation on one stops the queues of both.
fn two_gpus(design: u32) -> Result<(), String> {
    let (first, memory) = with_access(design, 4)?;
    let second = called("CREATE", Gpu::create(&Create { gpu: 1, ..vm(design, 0) }))?;
    called("SET_ATTR", second.set_attr(memory.start, memory.size, ACCESS))?;
    called("QUIESCE", first.happen(SVMLAB_HW_QUIESCE, 0))?;
    let stopped = Came::Not(SVMLAB_TIMEOUT_STOPPED);
    same("the other", called("ACCESS", second.load_within(memory.page(0), 30))?, stopped)?;
    drop(first);
    same("the other runs again", called("ACCESS", second.load(memory.page(0)))?, Came::Done(1000))?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let remap = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                memory.advise(0, 4, libc::MADV_DONTNEED).expect("madvise of our own memory");
            }
        });
        let loads = (0..200).try_for_each(|_| match called("ACCESS", second.load(memory.page(1)))? {
            Came::Done(0 | 1001) => Ok(()),
            other => Err(format!("a load came to {other:?}")),
        });
        over.store(true, Ordering::Relaxed);
        remap.join().map_err(|_| "madvise failed".to_owned()).and(loads)
    })
}
