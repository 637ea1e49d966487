//! The mm's conformance: the same program of operations in sim-mm and in the kernel that runs, step by step.

mod compare;
#[expect(unsafe_code, reason = "system calls that std and rustix do not have, on memory where no Rust object lives")]
mod kernel;
mod op;
mod programs;
mod rows;
mod seen;
mod sim;
#[expect(unsafe_code, reason = "as in kernel")]
mod sys;

use crate::suite::{Args, Checks, Suite};
use compare::Referee;
use kernel::Kernel;
use std::fs;

/// The suite.
pub(crate) const SUITE: Suite = Suite { name: "mm", about: "the simulated mm against the kernel's", run };

/// Sets the machine up so that nothing but the programs changes page tables.
fn prepare() -> Result<(), String> {
    let write = |path: &str, text: &str| fs::write(path, text).map_err(|error| format!("{path}: {error}"));
    let thp = "/sys/kernel/mm/transparent_hugepage";
    write(&format!("{thp}/enabled"), "always")?;
    // khugepaged would collapse what a program has left small.
    write(&format!("{thp}/khugepaged/scan_sleep_millisecs"), "4000000000")?;
    write(&format!("{thp}/khugepaged/alloc_sleep_millisecs"), "4000000000")?;
    write("/proc/sys/vm/nr_hugepages", "8")?;
    // A read fault on a file maps its neighbours, too, as far as they happen to be in the page cache.
    write("/sys/kernel/debug/fault_around_bytes", "4096")?;
    swap()
}

/// A swap device in compressed memory.
fn swap() -> Result<(), String> {
    let at = |error: std::io::Error| format!("zram0: {error}");
    fs::write("/sys/block/zram0/disksize", "256M").map_err(at)?;
    let mut device = vec![0u8; 4096];
    // The header that mkswap writes: version 1, last page, signature.
    let pages: u32 = 256 << 20 >> 12;
    device[1024..1028].copy_from_slice(&1u32.to_ne_bytes());
    device[1028..1032].copy_from_slice(&(pages - 1).to_ne_bytes());
    device[4086..].copy_from_slice(b"SWAPSPACE2");
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).open("/dev/zram0").map_err(at)?;
    file.write_all(&device).and_then(|()| file.sync_all()).map_err(at)?;
    drop(file);
    sys::swap_on(c"/dev/zram0").map_err(at)
}

fn run(checks: &mut Checks<'_>, args: &Args) {
    if !checks.check("the machine is prepared", prepare) {
        return;
    }
    let kernel = match Kernel::new() {
        Ok(kernel) => kernel,
        Err(error) => {
            checks.check("/dev/svmlab_mm opens", || Err::<(), _>(error));
            return;
        }
    };
    let plant = args.get("plant").map(|name| {
        sim::PLANTS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no plant {name}")).1
    });
    let referee = Referee { kernel: &kernel, plant };
    if let Some(text) = args.get("program") {
        checks.check("the program that was given", || referee.given(text));
        return;
    }
    let table = args.get("table").is_some();
    rows::run(checks, &referee, table);
    for (name, plant) in sim::PLANTS {
        let planted = Referee { kernel: &kernel, plant: Some(plant) };
        checks.check(&format!("a fault planted in the simulator is found: {name}"), || programs::find_plant(&planted));
    }
    let (count, seed) = (args.number("programs", 250), args.number("seed", 1));
    let verbose = args.get("verbose").is_some();
    programs::run_all(checks, &referee, count, seed, verbose);
}
