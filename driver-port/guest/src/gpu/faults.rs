//! XNACK on: pages come by GPU fault.

use super::*;
use crate::device::uapi::Hardware;
use std::time::Duration;

/// How a VM retries: its design, and whether it has a retry CAM.
#[derive(Clone, Copy)]
struct Kind {
    design: u32,
    cam: bool,
}

/// Values of the argument `plant` that a check here must notice.
const SKIP_TLB_FLUSH: &str = "skip-tlb-flush";

pub(super) fn run(checks: &mut Checks<'_>, args: &Args) {
    let plant = args.get("plant").map(str::to_owned);
    for (name, design) in [("hardened", HARDENED), ("poc-v8", POC_V8)] {
        for (ring, cam) in [("", false), (", CAM", true)] {
            let kind = Kind { design, cam };
            let mut check = |what: &str, f: &dyn Fn(Kind) -> Result<(), String>| {
                checks.check(&format!("{name}, XNACK{ring}: {what}"), || f(kind));
            };
            check("a GPU fault maps the page", &maps);
            let what = match design {
                POC_V8 => "a fault where nothing is is dropped, and comes again",
                _ => "a fault where nothing is ends the wave",
            };
            check(what, &nothing);
            check("after munmap the GPU does not read the page", &|kind| unmapped(kind, plant.as_deref()));
            check("many waves fault at once", &many);
            if design == HARDENED {
                check("a fault while the page tables are evicted is raised again", &evicted);
                check("a fault that collides is raised again", &collides);
                check("a process ends while waves fault", &ends);
            }
        }
    }
}

fn create(kind: Kind) -> Result<Gpu, String> {
    let flags = if kind.cam { SVMLAB_GPU_RETRY_CAM } else { 0 };
    let gpu = called("CREATE", Gpu::create(&Create { flags, ..vm(kind.design, 1) }))?;
    // poc-v8 makes its instance in the first call, and without one a fault is nobody's.
    if kind.design == POC_V8 {
        called("RESET_ATTR", gpu.reset_attr(memory::PAGE, memory::PAGE))?;
    }
    Ok(gpu)
}

fn maps(kind: Kind) -> Result<(), String> {
    let gpu = create(kind)?;
    let memory = called("mmap", Memory::new(16, 2 << 20))?;
    memory.set(1, 7);
    same("load", called("ACCESS", gpu.load(memory.page(1)))?, Came::Done(7))?;
    same("a page that the CPU has not", called("ACCESS", gpu.load(memory.page(9)))?, Came::Done(0))?;
    same("store", called("ACCESS", gpu.store(memory.page(10), 8))?, Came::Done(8))?;
    same("the word", memory.get(10), 8)?;
    let state = called("STATE", gpu.state())?;
    same("XNACK", state.flags & SVMLAB_STATE_XNACK, SVMLAB_STATE_XNACK)?;
    if state.retry_faults == 0 {
        return Err("no retry fault was raised".to_owned());
    }
    called("madvise", memory.advise(0, 16, libc::MADV_DONTNEED))?;
    same("again", called("ACCESS", gpu.load(memory.page(1)))?, Came::Done(0))?;
    same("stops", called("STATE", gpu.state())?.quiesces, 0)
}

fn nothing(kind: Kind) -> Result<(), String> {
    let gpu = create(kind)?;
    let memory = called("mmap", Memory::new(16, 2 << 20))?;
    called("munmap", memory.unmap(0, 16))?;
    let (want, timeout_ms) = match kind.design {
        POC_V8 => (SVMLAB_TIMEOUT_RETRY, 500),
        _ => (SVMLAB_FAULT_NORETRY, 0),
    };
    same("load", called("ACCESS", gpu.load_within(memory.page(1), timeout_ms))?, Came::Not(want))?;
    // Where the page table does not reach there is nothing to retry.
    same("far away", called("ACCESS", gpu.load_within(!7, 500))?, Came::Not(SVMLAB_FAULT_INVALID))?;
    called("SETTLE", gpu.settle())?;
    same("waiting", called("STATE", gpu.state())?.faults_pending, 0)
}

fn unmapped(kind: Kind, plant: Option<&str>) -> Result<(), String> {
    let gpu = create(kind)?;
    let memory = called("mmap", Memory::new(16, 2 << 20))?;
    (0..16).for_each(|page| memory.set(page, 500 + page));
    same("before", called("ACCESS", gpu.load(memory.page(2)))?, Came::Done(502))?;
    if plant == Some(SKIP_TLB_FLUSH) {
        called("SKIP_TLB_FLUSH", gpu.happen(SVMLAB_HW_SKIP_TLB_FLUSH, 100))?;
    }
    called("munmap", memory.unmap(0, 8))?;
    if let Came::Done(value) = called("ACCESS", gpu.load_within(memory.page(2), 500))? {
        return Err(format!("the GPU reads {value:#x} from a page that is not mapped any more"));
    }
    called("SETTLE", gpu.settle())?;
    same("the rest", called("ACCESS", gpu.load(memory.page(12)))?, Came::Done(512))
}

fn many(kind: Kind) -> Result<(), String> {
    let gpu = create(kind)?;
    let memory = called("mmap", Memory::new(256, 2 << 20))?;
    (0..256).for_each(|page| memory.set(page, page));
    let waves = std::thread::scope(|scope| {
        let wave = |from: u64| {
            let (gpu, memory) = (&gpu, &memory);
            scope.spawn(move || {
                (0..256).try_for_each(|at| {
                    let page = (at + from) % 256;
                    same("load", called("ACCESS", gpu.load(memory.page(page)))?, Came::Done(page))
                })
            })
        };
        let waves = [wave(0), wave(0), wave(100), wave(200)];
        waves.map(|wave| wave.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
    });
    waves.into_iter().collect()
}

/// TTM may take the page tables away at any time, and gives them back; no wave is to die of that.
fn evicted(kind: Kind) -> Result<(), String> {
    let gpu = create(kind)?;
    let memory = called("mmap", Memory::new(4, 2 << 20))?;
    memory.set(1, 7);
    called("EVICT_PAGE_TABLES", gpu.happen(SVMLAB_HW_EVICT_PAGE_TABLES, 0))?;
    let came = std::thread::scope(|scope| {
        let wave = scope.spawn(|| gpu.load(memory.page(1)));
        std::thread::sleep(Duration::from_millis(100));
        let validated = gpu.happen(SVMLAB_HW_VALIDATE, 0);
        let came = wave.join().map_err(|_| "the wave panicked".to_owned())?;
        called("VALIDATE", validated).and_then(|()| called("ACCESS", came))
    })?;
    same("load", came, Came::Done(7))
}

/// What a fault gets for pages that are invalidated all the time.
fn collides(kind: Kind) -> Result<(), String> {
    let gpu = create(kind)?;
    let memory = called("mmap", Memory::new(4, 2 << 20))?;
    memory.set(1, 7);
    let busy = Hardware { what: SVMLAB_HW_FAIL, point: SVMLAB_POINT_TABLE_ALLOC, error: libc::EBUSY as u32, value: 0 };
    called("FAIL", gpu.hardware(busy))?;
    same("load", called("ACCESS", gpu.load(memory.page(1)))?, Came::Done(7))
}

fn ends(kind: Kind) -> Result<(), String> {
    for round in 0..3u64 {
        memory::in_child(|| {
            let gpu = create(kind)?;
            let memory = called("mmap", Memory::new(64, 2 << 20))?;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    loop {
                        let _ = memory.advise(0, 64, libc::MADV_DONTNEED);
                    }
                });
                for from in [0, 32] {
                    let (gpu, memory) = (&gpu, &memory);
                    scope.spawn(move || {
                        for at in from.. {
                            let _ = gpu.store(memory.page(at % 64), at);
                        }
                    });
                }
                std::thread::sleep(Duration::from_millis(20 + 17 * round));
                memory::exit(0)
            })
        })?;
    }
    Ok(())
}
