//! The checks around all others: is this the machine that a result may be believed of, and did the kernel stay well?

use crate::suite::{Args, Checks, Suite};
use rustix::system::{delete_module, finit_module, uname};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use std::ffi::CStr;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs before every suite, whichever are asked for.
pub(crate) const FIRST: Suite = Suite { name: "lab", about: "the machine, and the driver in it", run: first };

/// Runs after every suite.
pub(crate) const LAST: Suite = Suite { name: "kernel", about: "what the kernel has to say at the end", run: last };

/// The modules, and the file that names them one a line, each after those it needs.
const MODULES: &str = "/lib/modules";
const ORDER: &str = "/lib/modules/order";

fn first(checks: &mut Checks<'_>, _: &Args) {
    checks.check("Linux is 7.2 or later", version);
    checks.check("two CPUs run at the same time", two_cpus);
    checks.check("the clock is finer than the timer tick", clock);
    checks.check("freed pages are poisoned", poison);
    match fs::read_to_string(ORDER) {
        Ok(order) => order.lines().for_each(|module| {
            checks.check(&format!("module {module} loads"), || load(module));
        }),
        Err(error) => drop(checks.check("there are modules", || Err::<(), _>(error.to_string()))),
    }
}

fn last(checks: &mut Checks<'_>, args: &Args) {
    checks.check("module svmlab can be unloaded", || unload(c"svmlab"));
    // A kernel that looks for lost memory, when it was told to.
    if fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.split_whitespace().any(|word| word == "kmemleak=on")) {
        checks.check("no memory of the kernel is lost", lost_memory);
    }
    checks.check("no warning, oops or lockup has tainted the kernel", taint);
    // Of a report that is not ours the host decides.
    if args.get("hugetlb") != Some("only")
        && let Some(on) = lockdep()
    {
        checks.check("lockdep has looked at every lock to the end", || {
            if on { Ok(()) } else { Err("it is off since its first report; the kernel log has it") }
        });
    }
    checks.check("every argument was asked for", || match args.unknown() {
        none if none.is_empty() => Ok(()),
        some => Err(format!("no suite that ran knows {}", some.join(", "))),
    });
}

fn version() -> Result<String, String> {
    let uname = uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= (7, 2) => Ok(release.into_owned()),
        _ => Err(format!("it is {release}")),
    }
}

/// Without the second CPU every race test would pass. Two threads, each bound to a CPU of its own, answer each other.
fn two_cpus() -> Result<String, String> {
    // Few, because on a busy host an answer may take a slice of its time.
    const ROUNDS: usize = 100;
    let (turn, ready) = (AtomicUsize::new(0), Barrier::new(2));
    let side = |cpu: usize| -> Result<Duration, String> {
        let mut only = CpuSet::new();
        only.set(cpu);
        let bound = sched_setaffinity(None, &only).map_err(|error| format!("cannot run on CPU {cpu}: {error}"));
        ready.wait();
        bound?;
        let start = Instant::now();
        while turn.load(Ordering::Acquire) < ROUNDS {
            // the clock is slow to read in a virtual machine: not in the inner loop
            if (0..1 << 16).any(|_| turn.load(Ordering::Acquire) % 2 == cpu) {
                turn.fetch_add(1, Ordering::AcqRel);
            } else if start.elapsed() > Duration::from_secs(30) {
                return Err(format!("CPU {} does not answer", 1 - cpu));
            }
        }
        if sched_getcpu() == cpu { Ok(start.elapsed()) } else { Err(format!("moved away from CPU {cpu}")) }
    };
    let took = std::thread::scope(|scope| {
        let other = scope.spawn(|| side(1));
        let one = side(0);
        let other = other.join().map_err(|_| "the thread on CPU 1 panicked".to_owned())?;
        one.and_then(|took| other.map(|_| took))
    })?;
    Ok(format!("an answer takes {:.1} us", took.as_micros() as f64 / ROUNDS as f64))
}

fn clock() -> Result<String, String> {
    match fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource") {
        Ok(name) if name.trim() == "jiffies" => Err("it is the jiffies counter".to_owned()),
        Ok(name) => Ok(name.trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A stale entry that is read through must not find the old contents by luck.
fn poison() -> Result<(), String> {
    let line = fs::read_to_string("/proc/cmdline").map_err(|error| error.to_string())?;
    if line.split_whitespace().any(|word| word == "page_poison=1") {
        Ok(())
    } else {
        Err("page_poison=1 is not on the kernel command line".to_owned())
    }
}

fn load(module: &str) -> Result<(), String> {
    let file = File::open(Path::new(MODULES).join(module)).map_err(|error| error.to_string())?;
    finit_module(&file, c"", 0).map_err(|error| format!("{error}; the kernel log says why"))
}

/// Whoever used it is gone, and so is everything that it made; if not, the kernel's log says what is left.
fn unload(module: &CStr) -> Result<(), String> {
    delete_module(module, 0).map_err(|error| error.to_string())
}

fn lost_memory() -> Result<(), String> {
    const FILE: &str = "/sys/kernel/debug/kmemleak";
    let scan = || fs::write(FILE, "scan").map_err(|error| error.to_string());
    // What is found twice, a while apart, was not just on its way.
    scan()?;
    std::thread::sleep(Duration::from_secs(6));
    scan()?;
    match fs::read_to_string(FILE).map_err(|error| error.to_string())? {
        none if none.is_empty() => Ok(()),
        some => Err(some.lines().take(40).collect::<Vec<_>>().join("\n")),
    }
}

/// Whether lockdep is still on, after its first report it is not; None: the kernel has none.
pub(crate) fn lockdep() -> Option<bool> {
    let stats = fs::read_to_string("/proc/lockdep_stats").ok()?;
    stats.lines().find_map(|line| Some(line.trim().strip_prefix("debug_locks:")?.trim() == "1"))
}

/// Whether the kernel has KASAN.
pub(crate) fn kasan() -> bool {
    fs::read_to_string("/proc/kallsyms")
        .is_ok_and(|symbols| symbols.lines().any(|line| line.ends_with(" kasan_report")))
}

/// Bits of /proc/sys/kernel/tainted that an outside, unsigned module sets; any other means trouble.
/// Source: Documentation/admin-guide/tainted-kernels.rst
const EXPECTED_TAINT: u64 = 1 << 12 | 1 << 13;

fn taint() -> Result<(), String> {
    let text = fs::read_to_string("/proc/sys/kernel/tainted").map_err(|error| error.to_string())?;
    let bits: u64 = text.trim().parse().map_err(|error| format!("{text}: {error}"))?;
    if bits & !EXPECTED_TAINT == 0 {
        Ok(())
    } else {
        Err(format!("bits {:#x} of the taint are set; the kernel log says why", bits & !EXPECTED_TAINT))
    }
}
