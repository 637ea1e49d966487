//! One thread replaces a mapping over and over while the GPU reads it: no load may see what was replaced before it began.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PAGES: u64 = 24;

pub(super) fn run(checks: &mut Checks<'_>, args: &Args) {
    let millis = args.number("churn", 700);
    for (name, xnack) in [("XNACK off", 0), ("XNACK on", 1)] {
        let duration = Duration::from_millis(millis);
        checks.check(&format!("hardened, {name}: churn"), || churn(xnack, duration));
    }
}

/// What the threads share.
struct Shared {
    gpu: Gpu,
    memory: Memory,
    /// The generation that is complete: its words are written, and access is given.
    complete: AtomicU64,
    over: AtomicBool,
}

fn churn(xnack: i32, duration: Duration) -> Result<String, String> {
    let shared = Shared {
        gpu: called("CREATE", Gpu::create(&vm(HARDENED, xnack)))?,
        memory: called("mmap", Memory::new(PAGES, 2 << 20))?,
        complete: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let done = std::thread::scope(|scope| {
        let waves = [0, 7].map(|from| {
            let shared = &shared;
            scope.spawn(move || wave(shared, from))
        });
        let mapped = map_anew(&shared, xnack == 1, duration);
        shared.over.store(true, Ordering::Relaxed);
        let mut loads = 0;
        for wave in waves {
            loads += wave.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))?;
        }
        mapped.map(|generations| (generations, loads))
    });
    let (generations, loads) = done?;
    called("SETTLE", shared.gpu.settle())?;
    if generations < 3 || loads < 3 {
        return Err(format!("{generations} generations and {loads} loads are too few to say anything"));
    }
    Ok(format!("{generations} generations, {loads} loads"))
}

/// `retries`: the GPU maps by itself, and must not find nothing, because that ends its faults there for good.
fn map_anew(shared: &Shared, retries: bool, duration: Duration) -> Result<u64, String> {
    let Shared { gpu, memory, complete, .. } = shared;
    let start = Instant::now();
    let mut generation = 0;
    while start.elapsed() < duration {
        generation += 1;
        match generation % 3 {
            0 => called("mmap", memory.map_again())?,
            1 if !retries => {
                called("munmap", memory.unmap(0, PAGES))?;
                called("mmap", memory.map_again())?;
            }
            _ => called("madvise", memory.advise(0, PAGES, libc::MADV_DONTNEED))?,
        }
        (0..PAGES).for_each(|page| memory.set(page, generation));
        if !retries {
            called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
        }
        complete.store(generation, Ordering::SeqCst);
    }
    Ok(generation)
}

fn wave(shared: &Shared, from: u64) -> Result<u64, String> {
    let mut loads = 0;
    for at in from.. {
        if shared.over.load(Ordering::Relaxed) {
            break;
        }
        let before = shared.complete.load(Ordering::SeqCst);
        let came = called("ACCESS", shared.gpu.load(shared.memory.page(at % PAGES)))?;
        // The one that was being made may have become complete meanwhile, and the next be begun.
        let after = shared.complete.load(Ordering::SeqCst) + 1;
        if let Came::Done(value) = came {
            loads += 1;
            // 0: a fresh page, whose word was not written yet.
            if value != 0 && !(before..=after).contains(&value) {
                return Err(format!("a load between generations {before} and {after} saw {value:#x}"));
            }
        }
    }
    Ok(loads)
}
