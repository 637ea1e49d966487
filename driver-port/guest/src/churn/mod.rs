//! Many threads at once: each changes its own pages in every way that the mm has, and after each change the GPU must see
//! what the CPU left there, and the CPU what the GPU left. Pages of different threads lie in the same ranges of the
//! driver, so that what one thread does hits what the others count on; forks, evictions of queues and flushes come in
//! between.
//!
//! A GPU that reads a page that was given back reads poison, or what another thread has there now: every value is written
//! once, so that neither can pass for the right one. That the kernel has nothing to say about it is the verdict's business.
//!
//! Arguments: `seconds` in all, `threads`, `seed`; `skip-flushes=N` leaves N flushes of the GPU's TLB out, which must be
//! seen.

mod worker;

use crate::driver::{Framework, Vm, in_child, on_cpus, prepare};
use crate::suite::{Args, Checks, Suite};
use scenarios::lang::{Design, GpuDecl};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use worker::{Shared, Worker};

/// The suite.
pub(crate) const SUITE: Suite =
    Suite { name: "churn", about: "threads that change memory under a GPU that uses it", run };

/// What is run.
#[derive(Clone, Copy)]
struct Round {
    framework: Framework,
    xnack: bool,
    threads: u64,
    seed: u64,
    time: Duration,
    /// TLB flushes that are left out, to see that it is seen.
    skip: u32,
}

fn run(checks: &mut Checks<'_>, args: &Args) {
    let (threads, seed) = (args.number("threads", 4), args.number("seed", 1));
    let time = Duration::from_secs(args.number("seconds", 12)) / 4;
    let skip = args.number("skip-flushes", 0) as u32;
    if !checks.check("the machine is prepared", prepare) {
        return;
    }
    for framework in Framework::ALL {
        for xnack in [true, false] {
            let mode = if xnack { "on" } else { "off" };
            let name = format!("{threads} threads on {framework}, XNACK {mode}: the GPU sees what is there");
            let round = Round { framework, xnack, threads, seed, time, skip };
            checks.check(&name, || in_child(|| in_process(round)));
        }
    }
}

fn in_process(round: Round) -> Result<String, String> {
    on_cpus(&[0, 1]).map_err(|error| error.to_string())?;
    let gpu = Vm::open()?;
    let mut decl = GpuDecl::new(GpuDecl::DEFAULT_NAME);
    decl.xnack = round.xnack;
    gpu.create(&decl, 0, Design::Hardened, round.framework).map_err(|error| format!("CREATE: {error}"))?;
    let shared = Shared {
        gpu: &gpu,
        threads: round.threads,
        xnack: round.xnack,
        forks: Mutex::new(()),
        over: AtomicBool::new(false),
    };
    worker::map_everything(&shared)?;
    gpu.skip_flushes(round.skip)?;
    let until = Instant::now() + round.time;
    let results: Vec<Result<u64, String>> = std::thread::scope(|scope| {
        let work = |number| {
            let shared = &shared;
            scope.spawn(move || {
                let result = Worker::new(shared, number, round.seed).work(until);
                if result.is_err() {
                    shared.over.store(true, Ordering::Relaxed);
                }
                result
            })
        };
        let threads: Vec<_> = (0..round.threads).map(work).collect();
        let disturbed = worker::disturb(&shared, until);
        let done = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())));
        done.chain([disturbed.map(|_| 0)]).collect()
    });
    let mut steps = 0;
    for result in results {
        steps += result?;
    }
    worker::after(&shared, round.framework)?;
    Ok(format!("{steps} changes, each looked at from both sides"))
}
