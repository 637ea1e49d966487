//! Calls into the kernel: /dev/svmlab_mm, and what std does not have.

use std::io;

/// `struct svmlab_mm_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct RawEvent {
    pub(crate) what: u8,
    pub(crate) event: u8,
    pub(crate) blockable: u8,
    pub(crate) mmap_lock: u8,
    pub(crate) other_task: u8,
    pub(crate) depth: u8,
    pub(crate) vmas: u16,
    pub(crate) first_vma: u32,
    pub(crate) present: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) seq: u64,
    pub(crate) owner: u64,
}

/// `struct svmlab_mm_vma`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct RawVma {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) flags: u64,
    pub(crate) pgoff: u64,
    pub(crate) detached: u32,
    pub(crate) file: u32,
    pub(crate) anon_vma: u64,
}

/// `struct svmlab_mm_pages`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct RawPages {
    pub(crate) start: u64,
    pub(crate) count: u32,
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) pfn: u64,
    pub(crate) word: u64,
    pub(crate) mapcount: u32,
    pub(crate) reserved: u32,
}

#[repr(C)]
struct Watch {
    start: u64,
    end: u64,
}

/// `struct svmlab_mm_events`.
#[repr(C)]
struct Events {
    events: u64,
    vmas: u64,
    nr_events: u32,
    nr_vmas: u32,
    lost: u32,
    seq_odd: u32,
}

/// `struct svmlab_mm_dump`.
#[repr(C)]
struct Dump {
    start: u64,
    end: u64,
    to: u64,
    room: u32,
    found: u32,
}

/// `struct svmlab_mm_fault`.
#[repr(C)]
struct Fault {
    start: u64,
    end: u64,
    pfns: u64,
    request: u32,
    tries: u32,
}

const fn ioc(dir: u64, nr: u64, size: usize) -> u64 {
    dir << 30 | (size as u64) << 16 | (b'M' as u64) << 8 | nr
}

const WATCH: u64 = ioc(1, 0xe0, size_of::<Watch>());
const EVENTS: u64 = ioc(3, 0xe1, size_of::<Events>());
const VMAS: u64 = ioc(3, 0xe2, size_of::<Dump>());
const PAGES: u64 = ioc(3, 0xe6, size_of::<Dump>());
const FAULT: u64 = ioc(3, 0xe3, size_of::<Fault>());
const EXCLUSIVE: u64 = ioc(1, 0xe4, 8);
const UNWATCH: u64 = ioc(0, 0xe5, 0);

/// The result of a system call.
pub(crate) fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `/dev/svmlab_mm`, opened.
pub(crate) struct Watcher(i32);

impl Watcher {
    pub(crate) fn open() -> io::Result<Self> {
        let path = c"/dev/svmlab_mm";
        // SAFETY: the path is a C string.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        check(fd.into()).map(|fd| Watcher(fd as i32))
    }

    fn call<T>(&self, request: u64, arg: &mut T) -> io::Result<()> {
        // SAFETY: `arg` is the struct whose size is in `request`; the pointers in it are of buffers that the caller
        // borrows for the call.
        check(unsafe { libc::ioctl(self.0, request, std::ptr::from_mut(arg)) }.into()).map(|_| ())
    }

    /// Watches the calling process in `[start, end)`.
    pub(crate) fn watch(&self, start: u64, end: u64) -> io::Result<()> {
        self.call(WATCH, &mut Watch { start, end })
    }

    pub(crate) fn unwatch(&self) -> io::Result<()> {
        self.call(UNWATCH, &mut ())
    }

    /// Takes the log; how many events and VMAs there were. An error of kind `Other` when the log was too small.
    pub(crate) fn events(&self, events: &mut [RawEvent], vmas: &mut [RawVma]) -> io::Result<(usize, usize)> {
        let mut arg = Events {
            events: events.as_mut_ptr() as u64,
            vmas: vmas.as_mut_ptr() as u64,
            nr_events: events.len() as u32,
            nr_vmas: vmas.len() as u32,
            lost: 0,
            seq_odd: 0,
        };
        self.call(EVENTS, &mut arg)?;
        if arg.lost > 0 {
            return Err(io::Error::other(format!("{} events lost", arg.lost)));
        }
        Ok((arg.nr_events as usize, arg.nr_vmas as usize))
    }

    /// How many events there are in the log.
    pub(crate) fn logged(&self) -> io::Result<usize> {
        let mut arg = Events { events: 0, vmas: 0, nr_events: 0, nr_vmas: 0, lost: 0, seq_odd: 0 };
        match self.call(EVENTS, &mut arg) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Ok(arg.nr_events as usize),
            result => result.map(|()| 0),
        }
    }

    /// VMAs in `[start, end)`.
    pub(crate) fn vmas(&self, (start, end): (u64, u64), vmas: &mut [RawVma]) -> io::Result<usize> {
        let mut arg = Dump { start, end, to: vmas.as_mut_ptr() as u64, room: vmas.len() as u32, found: 0 };
        self.call(VMAS, &mut arg)?;
        Ok(arg.found as usize)
    }

    /// Page-table entries in `[start, end)`.
    pub(crate) fn pages(&self, (start, end): (u64, u64), pages: &mut [RawPages]) -> io::Result<usize> {
        let mut arg = Dump { start, end, to: pages.as_mut_ptr() as u64, room: pages.len() as u32, found: 0 };
        self.call(PAGES, &mut arg)?;
        Ok(arg.found as usize)
    }

    /// `hmm_range_fault`; `pfns` has a slot for each page.
    pub(crate) fn fault(&self, start: u64, request: u32, pfns: &mut [u64]) -> io::Result<()> {
        let end = start + pfns.len() as u64 * super::op::PAGE;
        self.call(FAULT, &mut Fault { start, end, pfns: pfns.as_mut_ptr() as u64, request, tries: 0 })
    }

    /// `make_device_exclusive`.
    pub(crate) fn exclusive(&self, addr: u64) -> io::Result<()> {
        self.call(EXCLUSIVE, &mut [addr])
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and nobody uses it any more.
        unsafe { libc::close(self.0) };
    }
}

// ---- memory that processes share ------------------------------------------------------------------------------------

/// Anonymous shared memory, inherited by forks, from which slices are taken one after the other.
pub(crate) struct Board {
    base: *mut u8,
    len: usize,
}

/// The offset of the first slice: the two words before it are the position and the number of records.
const FIRST: usize = 64;

impl Board {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let board = Board { base: base.cast(), len };
        board.rewind();
        Ok(board)
    }

    fn position(&self) -> *mut usize {
        self.base.cast()
    }

    /// Back to the first slice.
    pub(crate) fn rewind(&self) {
        // SAFETY: the first word of the mapping; one process uses the board at a time.
        unsafe { self.position().write(FIRST) };
    }

    /// The next slice as [`Board::take`] will give it, which may take less of it.
    #[expect(clippy::mut_from_ref, reason = "as for take")]
    pub(crate) fn room<T: Copy>(&self, count: usize) -> &mut [T] {
        // SAFETY: as for `rewind`.
        let at = unsafe { self.position().read() };
        let slice = self.take(count);
        // SAFETY: as for `rewind`. The slice ends before the next one is taken: callers use it for one system call.
        unsafe { self.position().write(at) };
        slice
    }

    /// The next slice. Writers and readers must ask for the same slices in the same order.
    ///
    /// The type must be one of which all bit patterns are values.
    #[expect(clippy::mut_from_ref, reason = "each slice is handed out once between two rewinds")]
    pub(crate) fn take<T: Copy>(&self, count: usize) -> &mut [T] {
        // SAFETY: as for `rewind`.
        let at = unsafe { self.position().read() }.next_multiple_of(8);
        let end = at + count * size_of::<T>();
        assert!(end <= self.len, "the board is full");
        // SAFETY: as for `rewind`.
        unsafe { self.position().write(end) };
        // SAFETY: inside the mapping, aligned to 8, handed out once; all callers use plain integers.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(at).cast::<T>(), count) }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: nobody borrows from it any more.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}
