//! Memory of the process that comes and goes, and processes.

#![allow(unsafe_code)] // mmap, fork, and words in memory that may be gone

use std::io;

pub(super) const PAGE: u64 = 4096;

/// An anonymous mapping that is unmapped on drop, in as far as it is still there.
pub(super) struct Memory {
    pub(super) start: u64,
    pub(super) size: u64,
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Memory {
    /// `pages` pages, readable and writable, aligned to `align` bytes, so that nothing else is near.
    pub(super) fn new(pages: u64, align: u64) -> io::Result<Memory> {
        let (size, room) = (pages * PAGE, pages * PAGE + align);
        // SAFETY: new mappings only.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                room as usize,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = (at as u64).next_multiple_of(align);
        // SAFETY: it is our own, and nobody uses it yet. Small pages, unless somebody asks for others.
        check(unsafe { libc::munmap(at, room as usize) })?;
        let memory = Memory { start, size };
        memory.map_again()?;
        // SAFETY: the mapping that was just made.
        check(unsafe { libc::madvise(start as *mut _, size as usize, libc::MADV_NOHUGEPAGE) })?;
        Ok(memory)
    }

    /// The address of page `index`.
    pub(super) fn page(&self, index: u64) -> u64 {
        self.start + index * PAGE
    }

    /// Puts fresh memory in its place.
    pub(super) fn map_again(&self) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: what it replaces is our own mapping, of which no references are held.
        let at = unsafe { libc::mmap(self.start as *mut _, self.size as usize, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The CPU stores a word at the start of page `index`, which is mapped.
    pub(super) fn set(&self, index: u64, value: u64) {
        // SAFETY: ours, mapped and writable by the caller's word; the GPU may look at the same time, hence volatile.
        unsafe { (self.page(index) as *mut u64).write_volatile(value) }
    }

    /// The CPU loads it.
    pub(super) fn get(&self, index: u64) -> u64 {
        // SAFETY: ours, mapped and readable by the caller's word.
        unsafe { (self.page(index) as *const u64).read_volatile() }
    }

    /// `munmap` of some pages.
    pub(super) fn unmap(&self, first: u64, count: u64) -> io::Result<()> {
        // SAFETY: our own mapping, of which no references are held.
        check(unsafe { libc::munmap(self.page(first) as *mut _, (count * PAGE) as usize) })
    }

    /// `mprotect` of all: whether it can be written.
    pub(super) fn protect(&self, write: bool) -> io::Result<()> {
        let rights = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        // SAFETY: our own mapping, of which no references are held.
        check(unsafe { libc::mprotect(self.start as *mut _, self.size as usize, rights) })
    }

    /// `madvise` of some pages.
    pub(super) fn advise(&self, first: u64, count: u64, advice: i32) -> io::Result<()> {
        // SAFETY: our own mapping, of which no references are held.
        check(unsafe { libc::madvise(self.page(first) as *mut _, (count * PAGE) as usize, advice) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = self.unmap(0, self.size / PAGE);
    }
}

/// Runs `f` in a process of its own and waits for it; what it returned, an error as its text. It must not panic.
pub(super) fn in_child(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut pipe = [0; 2];
    // SAFETY: an array of two.
    check(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) }).map_err(|e| e.to_string())?;
    // SAFETY: this program has no other threads here, so the child may do what it likes.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(format!("fork: {}", io::Error::last_os_error()));
    }
    if child == 0 {
        let text = f().err().unwrap_or_default();
        // SAFETY: ours; then the end, without anybody's destructors.
        unsafe {
            libc::write(pipe[1], text.as_ptr().cast(), text.len());
            libc::_exit(i32::from(!text.is_empty()));
        }
    }
    let (mut status, mut text) = (0, vec![0u8; 4096]);
    // SAFETY: ours; the child is ours to wait for.
    let read = unsafe {
        libc::close(pipe[1]);
        let read = libc::read(pipe[0], text.as_mut_ptr().cast(), text.len());
        libc::close(pipe[0]);
        libc::waitpid(child, &mut status, 0);
        read
    };
    text.truncate(read.max(0) as usize);
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(()),
        (true, _) => Err(format!("in the child: {}", String::from_utf8_lossy(&text))),
        _ => Err(format!("the child died with status {status:#x}")),
    }
}

/// Ends the process at once, whatever its other threads do.
pub(super) fn exit(status: i32) -> ! {
    // SAFETY: nothing is left to be done by anybody.
    unsafe { libc::_exit(status) }
}
