//! What the machine must have before a scenario begins, and what must keep still.

#![allow(unsafe_code)] // swapon

use crate::touch;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};

/// Huge pages in hugetlbfs's pool.
const HUGE_PAGES: u32 = 8;

/// Sets the machine up so that nothing but the operations changes page tables, and every operation finds what it needs.
///
/// # Errors
/// What cannot be had.
pub(crate) fn prepare() -> Result<(), String> {
    let thp = "/sys/kernel/mm/transparent_hugepage";
    // Processes that are to have none say so themselves.
    write(&format!("{thp}/enabled"), "always")?;
    // khugepaged would collapse what an operation has left small.
    write(&format!("{thp}/khugepaged/scan_sleep_millisecs"), "4000000000")?;
    write(&format!("{thp}/khugepaged/alloc_sleep_millisecs"), "4000000000")?;
    // A read fault on a file would map its neighbours, too, as far as they are in the page cache.
    write("/sys/kernel/debug/fault_around_bytes", "4096")?;
    write("/proc/sys/vm/nr_hugepages", &HUGE_PAGES.to_string())?;
    // What was stored on one CPU must not sit in its batch of pages while another looks for something to reclaim.
    on_cpus(&[0]).map_err(|error| format!("CPU affinity: {error}"))?;
    touch::catch_faults().map_err(|error| format!("signal handlers: {error}"))?;
    let swaps = fs::read_to_string("/proc/swaps").map_err(|error| format!("/proc/swaps: {error}"))?;
    if swaps.lines().count() > 1 { Ok(()) } else { swap().map_err(|error| format!("zram0: {error}")) }
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{path}: {error}"))
}

/// The calling thread, and what it starts from now on, runs on these CPUs only.
///
/// # Errors
/// There are none of them.
pub(crate) fn on_cpus(cpus: &[usize]) -> io::Result<()> {
    let mut only = rustix::thread::CpuSet::new();
    cpus.iter().for_each(|cpu| only.set(*cpu));
    Ok(rustix::thread::sched_setaffinity(None, &only)?)
}

/// A swap device in compressed memory.
fn swap() -> io::Result<()> {
    const SIZE: u64 = 128 << 20;
    fs::write("/sys/block/zram0/disksize", SIZE.to_string())?;
    // The header that mkswap writes: version, number of the last page, and a signature at the end of the page.
    let mut header = vec![0u8; 4096];
    header[1024..1028].copy_from_slice(&1u32.to_ne_bytes());
    header[1028..1032].copy_from_slice(&((SIZE >> 12) as u32 - 1).to_ne_bytes());
    header[4086..].copy_from_slice(b"SWAPSPACE2");
    let mut device = fs::OpenOptions::new().write(true).open("/dev/zram0")?;
    device.seek(SeekFrom::Start(0))?;
    device.write_all(&header)?;
    device.sync_all()?;
    drop(device);
    // SAFETY: the path is a C string.
    let result = unsafe { libc::swapon(c"/dev/zram0".as_ptr(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
