//! Operations of a scenario as system calls of the process that runs.

#![allow(unsafe_code)] // system calls that change mappings

use crate::touch;
use model::units::Bytes;
use scenarios::conform::Part;
use scenarios::lang::{Advice, Area, OpKind, Prot, Region, RegionKind};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

/// What a system call returned.
fn part(result: io::Result<()>) -> Part {
    Part::Returned(result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0))
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn start(bytes: Bytes) -> *mut libc::c_void {
    bytes.start as *mut libc::c_void
}

fn len(bytes: Bytes) -> usize {
    bytes.len() as usize
}

const fn prot_bits(prot: Prot) -> i32 {
    (if prot.read { libc::PROT_READ } else { 0 }) | (if prot.write { libc::PROT_WRITE } else { 0 })
}

fn map(bytes: Bytes, prot: Prot, flags: i32, file: Option<(&File, u64)>) -> io::Result<()> {
    let (fd, offset) = file.map_or((-1, 0), |(file, offset)| (file.as_raw_fd(), offset));
    // SAFETY: the regions of a scenario lie below everything that the process has of its own.
    let at =
        unsafe { libc::mmap(start(bytes), len(bytes), prot_bits(prot), flags | libc::MAP_FIXED, fd, offset as i64) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn advise(bytes: Bytes, advice: i32) -> io::Result<()> {
    // SAFETY: as for `map`.
    check(unsafe { libc::madvise(start(bytes), len(bytes), advice) }.into())
}

/// What mm_populate does, for write where the mapping allows it: errors are nobody's business.
fn populate(bytes: Bytes, prot: Prot) {
    let advice = if prot.write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    let _ = advise(bytes, advice);
}

/// A file that only this process has, with zeroes for `bytes`.
fn file_for(bytes: Bytes) -> io::Result<File> {
    // SAFETY: the name is a C string, and the descriptor is the file's from here on.
    let file = unsafe {
        let fd = libc::memfd_create(c"region".as_ptr(), libc::MFD_CLOEXEC);
        check(fd.into())?;
        File::from_raw_fd(fd)
    };
    file.set_len(bytes.len())?;
    Ok(file)
}

/// Bus address of a hole in every PC's memory, which /dev/mem maps.
pub(crate) const HOLE: u64 = 0xa_0000;
/// How long that is.
pub(crate) const HOLE_LEN: u64 = 0x2_0000;

/// Maps a region as it is when the scenario begins.
///
/// # Errors
/// Of the system calls.
pub(crate) fn map_region(region: &Region) -> io::Result<()> {
    let (bytes, prot) = (region.bytes, region.prot);
    match region.kind {
        RegionKind::Anon => map(bytes, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?,
        RegionKind::Hugetlb => {
            map(bytes, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB, None)?;
        }
        RegionKind::Shared => map(bytes, prot, libc::MAP_SHARED | libc::MAP_ANONYMOUS, None)?,
        RegionKind::File => map(bytes, prot, libc::MAP_SHARED, Some((&file_for(bytes)?, 0)))?,
        RegionKind::FilePrivate => map(bytes, prot, libc::MAP_PRIVATE, Some((&file_for(bytes)?, 0)))?,
        RegionKind::Io | RegionKind::PfnMap => {
            let memory = File::options().read(true).write(true).open("/dev/mem")?;
            map(bytes, prot, libc::MAP_SHARED, Some((&memory, HOLE)))?;
        }
        RegionKind::MixedMap => return Err(io::ErrorKind::Unsupported.into()),
    }
    if region.populate {
        populate(bytes, prot);
    }
    Ok(())
}

/// Whether the processes of a scenario get transparent huge pages. Inherited by forks.
///
/// # Errors
/// As prctl says.
pub(crate) fn allow_huge_pages(allow: bool) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, i64::from(!allow), 0, 0, 0) }.into())
}

/// The first byte of each page.
pub(crate) fn pages_of(area: &Area) -> impl Iterator<Item = u64> {
    let pages = area.bytes.pages();
    (pages.first..=pages.last).map(|page| page << 12)
}

/// What the memory of this process holds at `addr`, rights or not, nothing faulted in for good.
pub(crate) fn peek(addr: u64) -> Part {
    let mut word = [0; 8];
    let read = File::open("/proc/self/mem").and_then(|memory| memory.read_exact_at(&mut word, addr));
    read.map_or(Part::CpuFault, |()| Part::Word(u64::from_ne_bytes(word)))
}

/// Does an operation on memory; None when it is none.
pub(crate) fn perform(op: &OpKind) -> Option<Vec<Part>> {
    let one = |result| Some(vec![part(result)]);
    match op {
        // SAFETY: as for `map`; so are the other calls here.
        OpKind::Munmap { area } => one(check(unsafe { libc::munmap(start(area.bytes), len(area.bytes)) }.into())),
        OpKind::Mmap { area, prot, populate: now } => {
            let mapped = map(area.bytes, *prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None);
            let mut parts = vec![part(mapped)];
            if *now {
                populate(area.bytes, *prot);
                parts.push(Part::Returned(0));
            }
            Some(parts)
        }
        OpKind::Mprotect { area, prot, .. } => {
            // SAFETY: see above.
            one(check(unsafe { libc::mprotect(start(area.bytes), len(area.bytes), prot_bits(*prot)) }.into()))
        }
        OpKind::Mremap { area, to, len: new_len, keep, .. } => {
            let flags = to.as_ref().map_or(0, |_| libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED)
                | if *keep { libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP } else { 0 };
            let target = to.as_ref().map_or(std::ptr::null_mut(), |to| start(to.bytes));
            // SAFETY: see above.
            let at = unsafe { libc::mremap(start(area.bytes), len(area.bytes), *new_len as usize, flags, target) };
            one(if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) })
        }
        OpKind::Dontneed { area } => one(advise(area.bytes, libc::MADV_DONTNEED)),
        OpKind::Advise { advice, area } => one(match advice {
            // kswapd is told by nobody which pages to take; the system call takes the same way from there on.
            Advice::Reclaim | Advice::Pageout => advise(area.bytes, libc::MADV_PAGEOUT),
            Advice::Free => advise(area.bytes, libc::MADV_FREE),
            Advice::Cold => advise(area.bytes, libc::MADV_COLD),
            Advice::Collapse => advise(area.bytes, MADV_COLLAPSE),
            // SAFETY: see above.
            Advice::Mlock => check(unsafe { libc::mlock(start(area.bytes), len(area.bytes)) }.into()),
            // SAFETY: see above.
            Advice::Munlock => check(unsafe { libc::munlock(start(area.bytes), len(area.bytes)) }.into()),
            // Nobody can send the reaper for a process that is to live on; `fit` keeps it out.
            Advice::OomReap => Err(io::ErrorKind::Unsupported.into()),
        }),
        OpKind::Migrate { area } => one(migrate(area.bytes)),
        OpKind::Store { area, value, .. } => {
            let store = |page| touch::store(page, *value).map_or(Part::CpuFault, |()| Part::Stored);
            Some(pages_of(area).map(store).collect())
        }
        OpKind::Load { area, .. } => {
            Some(pages_of(area).map(|page| touch::load(page).map_or(Part::CpuFault, Part::Word)).collect())
        }
        _ => None,
    }
}

/// `include/uapi/asm-generic/mman-common.h`
const MADV_COLLAPSE: i32 = 25;

/// Moves the pages that are there to the memory node where they are not.
fn migrate(bytes: Bytes) -> io::Result<()> {
    const MPOL_MF_MOVE_ALL: i32 = 4;
    for page in bytes.pages().first..=bytes.pages().last {
        let address = (page << 12) as *mut libc::c_void;
        let mut node = -1i32;
        let call = |wanted: *const i32, status: &mut i32| {
            // SAFETY: one address, one node, one status, which all outlive the call.
            check(unsafe { libc::syscall(libc::SYS_move_pages, 0, 1, &address, wanted, status, MPOL_MF_MOVE_ALL) })
        };
        call(std::ptr::null(), &mut node)?;
        if node >= 0 {
            let other = 1 - node;
            call(&other, &mut node)?;
        }
    }
    Ok(())
}
