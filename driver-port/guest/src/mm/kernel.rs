//! A program in the kernel that runs.
//!
//! A process of its own per program (the *subject*) performs the steps one after the other and writes after each one
//! down what it gave, what the notifiers were told, and what stands in VMA tree and page table then. It is single
//! threaded and does nothing else, so that events of the arena are the operation's. A child that it forks does its
//! steps on command. The board on which they write is memory that all of them share.

use super::op::{
    ADVICE, ARENA, Advice, Ask, BASE, FILE_PAGES, FILES, Op, PAGE, Program, Rights, Span, Uffd, WORLD, What, Who,
};
use super::seen::{Event, Kind, Outcome, Page, Seen, Slot, Space, Vma};
use super::sys::{Board, RawEvent, RawPages, RawVma, Watcher, check};
use crate::touch;
use std::io;

/// What both notifiers report.
const WINDOW: (u64, u64) = (BASE, BASE + WORLD * PAGE);
/// What of it is looked at.
const DUMPED: (u64, u64) = (BASE, BASE + ARENA * PAGE);
/// Children that one program may have one after the other, and the process itself.
const WATCHERS: usize = 8;
const BOARD: usize = 64 << 20;
/// VMAs that one call may report; more is a failure of the call.
const MOST_VMAS: usize = 8192;
/// Words of the part of the board that a child answers on.
const MAIL: usize = 8 + ARENA as usize;

const TAG_DONE: u64 = 0;
const TAG_FAILED: u64 = 1;
const TAG_VALUE: u64 = 2;
const TAG_SIGNAL: u64 = 3;
const TAG_HMM: u64 = 4;

/// What the suite keeps from program to program.
pub(crate) struct Kernel {
    watchers: Vec<Watcher>,
    board: Board,
}

/// How a step ended, in words: tag, value, number of slots; and the slots.
struct Raw {
    tag: u64,
    value: u64,
    slots: Vec<u64>,
}

impl Raw {
    fn done() -> Self {
        Raw { tag: TAG_DONE, value: 0, slots: Vec::new() }
    }

    fn of(result: io::Result<i64>) -> Self {
        match result {
            Ok(_) => Raw::done(),
            Err(error) => Raw { tag: TAG_FAILED, value: error.raw_os_error().unwrap_or(0) as u64, slots: Vec::new() },
        }
    }

    fn access(result: Result<u64, i32>, load: bool) -> Self {
        match result {
            Ok(value) if load => Raw { tag: TAG_VALUE, value, slots: Vec::new() },
            Ok(_) => Raw::done(),
            Err(signal) => Raw { tag: TAG_SIGNAL, value: signal as u64, slots: Vec::new() },
        }
    }
}

impl Kernel {
    /// Opens what all programs use.
    ///
    /// # Errors
    /// The module is not loaded, or memory is short.
    pub(crate) fn new() -> io::Result<Self> {
        touch::catch_faults()?;
        let watchers = (0..WATCHERS).map(|_| Watcher::open()).collect::<io::Result<_>>()?;
        Ok(Kernel { watchers, board: Board::new(BOARD)? })
    }

    /// Runs `program`; what was seen of each step, of the end of the child if it still lives, and of the end.
    ///
    /// # Errors
    /// The laboratory failed: the program says nothing then.
    pub(crate) fn run(&self, program: &Program) -> io::Result<Vec<Seen>> {
        self.board.rewind();
        let mail: &mut [u64] = self.board.take(MAIL);
        // SAFETY: the suite is single threaded, so that the new process may do anything.
        let pid = check(unsafe { libc::fork() }.into())?;
        if pid == 0 {
            let code = match Subject::new(self, mail).and_then(|mut subject| subject.run(program)) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("mm: subject of `{program}`: {error}");
                    1
                }
            };
            // SAFETY: ends this process; nothing of the suite's is to be dropped in it.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        check(unsafe { libc::waitpid(pid as i32, &mut status, 0) }.into())?;
        if status != 0 {
            self.forget();
            return Err(io::Error::other(format!("the subject ended with status {status:#x}")));
        }
        // The end itself is not on the board yet: the notifiers still have it.
        write_space(&self.board, &self.watchers[0], false)?;
        self.forget();
        self.board.rewind();
        let _: &mut [u64] = self.board.take(MAIL);
        let mut seen = Vec::new();
        loop {
            let head: &[u64] = self.board.take(4);
            if head[0] == u64::MAX {
                break;
            }
            seen.push(read_step(&self.board, head));
        }
        seen.push(Seen { outcome: Outcome::Done, spaces: vec![read_space(&self.board)] });
        Ok(seen)
    }

    fn forget(&self) {
        self.watchers.iter().for_each(|watcher| {
            let _ = watcher.unwatch();
        });
    }
}

/// Writes down on the board what a watcher has to say, as [`read_space`] reads it.
fn write_space(board: &Board, watcher: &Watcher, dump: bool) -> io::Result<()> {
    let head: &mut [u64] = board.take(4);
    head.fill(0);
    // The log comes in one call, and its VMAs stand behind its events: how many these are is known before.
    let events = watcher.logged()?;
    let (log, vmas) = (board.take::<RawEvent>(events), board.room::<RawVma>(MOST_VMAS));
    let (events, vmas) = watcher.events(log, vmas)?;
    board.take::<RawVma>(vmas);
    (head[0], head[1]) = (events as u64, vmas as u64);
    if dump {
        let vmas = watcher.vmas(DUMPED, board.room(MOST_VMAS))?;
        board.take::<RawVma>(vmas);
        let pages = watcher.pages(DUMPED, board.room(ARENA as usize))?;
        board.take::<RawPages>(pages);
        (head[2], head[3]) = (vmas as u64, pages as u64);
    }
    Ok(())
}

fn read_space(board: &Board) -> Space {
    let head: &[u64] = board.take(4);
    let [events, event_vmas, vmas, pages] = [head[0], head[1], head[2], head[3]].map(|n| n as usize);
    // In the order in which they were written.
    let events: &[RawEvent] = board.take(events);
    let event_vmas: &[RawVma] = board.take(event_vmas);
    let vmas: &[RawVma] = board.take(vmas);
    let pages: &[RawPages] = board.take(pages);
    space(events, event_vmas, pages, vmas)
}

fn read_step(board: &Board, head: &[u64]) -> Seen {
    let (tag, value, slots, spaces) = (head[0], head[1], head[2] as usize, head[3] as usize);
    let slots: &[u64] = board.take(slots);
    let outcome = match tag {
        TAG_DONE => Outcome::Done,
        TAG_FAILED => Outcome::Failed(value as i32),
        TAG_VALUE => Outcome::Value(value),
        TAG_SIGNAL if value as i32 == libc::SIGBUS => Outcome::Bus,
        TAG_SIGNAL => Outcome::Segv,
        _ => Outcome::Hmm(slots.iter().map(|&slot| hmm_slot(slot)).collect()),
    };
    Seen { outcome, spaces: (0..spaces).map(|_| read_space(board)).collect() }
}

fn hmm_slot(raw: u64) -> Slot {
    let valid = raw >> 63 & 1 == 1;
    Slot {
        valid,
        write: raw >> 62 & 1 == 1,
        error: raw >> 61 & 1 == 1,
        order: (raw >> 48 & 0x1f) as u8,
        frame: raw & ((1 << 48) - 1),
    }
}

// ---- the common form ------------------------------------------------------------------------------------------------

fn space(events: &[RawEvent], event_vmas: &[RawVma], pages: &[RawPages], vmas: &[RawVma]) -> Space {
    let mut out = Space { vmas: vmas.iter().map(vma).collect(), ..Space::default() };
    for raw in events {
        // A classic notifier's start says again what the interval notifier was told.
        if raw.what == 1 {
            let same = out.events.last().is_some_and(|last| {
                !last.end_of && (last.kind, last.start, last.end) == (raw.event.into(), raw.start, raw.end)
            });
            assert!(same, "the two kinds of notifiers are told the same");
            continue;
        }
        let first = raw.first_vma as usize;
        out.events.push(Event {
            end_of: raw.what == 2,
            kind: raw.event.into(),
            start: raw.start,
            end: raw.end,
            blockable: raw.blockable != 0,
            depth: raw.depth,
            vmas: event_vmas[first..first + usize::from(raw.vmas)].iter().map(vma).collect(),
            present: raw.present,
            lock: Some(raw.mmap_lock),
        });
    }
    for run in pages {
        for i in 0..u64::from(run.count) {
            let small_zero = run.flags & 1 << 4 != 0 && run.flags & 1 << 3 == 0;
            let at = (run.start - BASE) / PAGE + i;
            out.pages.push((at, page(run, if small_zero || run.kind == 9 { 0 } else { i })));
        }
    }
    out
}

fn page(run: &RawPages, offset: u64) -> Page {
    let flag = |bit: u16| run.flags & 1 << bit != 0;
    let kind = match run.kind {
        1 => Kind::Present,
        2 => Kind::ProtNone,
        3 => Kind::Swap,
        4 => Kind::Migration,
        5 => Kind::Device,
        6 => Kind::Exclusive,
        8 => Kind::Guard,
        9 => Kind::Marker,
        _ => Kind::Other,
    };
    let mapped = matches!(kind, Kind::Present | Kind::ProtNone);
    Page {
        kind,
        write: flag(0),
        huge: flag(3),
        zero: flag(4),
        frame: run.pfn + offset,
        word: run.word,
        mapcount: (mapped && !flag(4) && !flag(9)).then_some(run.mapcount),
    }
}

fn vma(raw: &RawVma) -> Vma {
    let flag = |bit: u64| raw.flags >> bit & 1 == 1;
    Vma {
        start: raw.start,
        end: raw.end,
        read: flag(0),
        write: flag(1),
        shared: flag(3),
        file: raw.file != 0,
        locked: flag(13),
        hugepage: flag(29),
        nohugepage: flag(30),
        dontcopy: flag(17),
    }
}

// ---- the process that does it ---------------------------------------------------------------------------------------

struct Child {
    pid: i32,
    /// Which watcher has it.
    watcher: usize,
    command: i32,
    answer: i32,
}

struct Subject<'a> {
    kernel: &'a Kernel,
    mail: &'a mut [u64],
    files: Vec<i32>,
    uffd: Option<i32>,
    /// Watchers that were used.
    used: usize,
    /// Which watcher has this process.
    watcher: usize,
    child: Option<Child>,
}

impl<'a> Subject<'a> {
    fn new(kernel: &'a Kernel, mail: &'a mut [u64]) -> io::Result<Self> {
        limit_time();
        kernel.watchers[0].watch(WINDOW.0, WINDOW.1)?;
        Ok(Subject { kernel, mail, files: Vec::new(), uffd: None, used: 1, watcher: 0, child: None })
    }

    fn run(&mut self, program: &Program) -> io::Result<()> {
        let uses_files = |op: &Op| {
            matches!(op, Op::Mmap(_, _, What::File(..) | What::Private(..)) | Op::Truncate(..) | Op::Punch(..))
        };
        if program.0.iter().any(|step| uses_files(&step.op)) {
            self.files = (0..FILES).map(|_| memfd()).collect::<io::Result<_>>()?;
        }
        for (at, step) in program.0.iter().enumerate() {
            let raw = match (step.who, step.op) {
                (Who::Parent, Op::Fork) => self.fork(program)?,
                (_, Op::Exit) => {
                    self.end_child()?;
                    continue;
                }
                (Who::Parent, op) => self.perform(op),
                (Who::Child, _) => self.command(at as u64)?,
            };
            self.drain()?;
            self.record(&raw)?;
        }
        if self.child.is_some() {
            self.end_child()?;
        }
        self.kernel.board.take::<u64>(4)[0] = u64::MAX;
        Ok(())
    }

    /// Lets the CPU, which is the only one that programs run on, have no pages in its batches. A page that was just put on a
    /// list, or munlocked, has one more reference while it waits in one, and then a write fault copies it.
    fn drain(&self) -> io::Result<()> {
        const MADV_COLD: i32 = 20;
        let page = self.mail.as_ptr() as usize & !(PAGE as usize - 1);
        // SAFETY: the advice changes nothing that can be seen.
        check(unsafe { libc::madvise(page as *mut libc::c_void, PAGE as usize, MADV_COLD) }.into()).map(|_| ())
    }

    /// Writes down what there is now.
    fn record(&mut self, raw: &Raw) -> io::Result<()> {
        let board = &self.kernel.board;
        let mut watchers = vec![self.watcher];
        watchers.extend(self.child.as_ref().map(|child| child.watcher));
        let head: &mut [u64] = board.take(4);
        head.copy_from_slice(&[raw.tag, raw.value, raw.slots.len() as u64, watchers.len() as u64]);
        board.take::<u64>(raw.slots.len()).copy_from_slice(&raw.slots);
        for watcher in watchers {
            let watcher = &self.kernel.watchers[watcher];
            write_space(board, watcher, true)?;
        }
        Ok(())
    }

    fn fork(&mut self, program: &Program) -> io::Result<Raw> {
        if self.child.is_some() || self.used == WATCHERS {
            return Err(io::Error::other("a program has one child at a time, and seven in all"));
        }
        let (mut command, mut answer) = ([0; 2], [0; 2]);
        // SAFETY: both arrays outlive the calls.
        unsafe {
            check(libc::pipe(command.as_mut_ptr()).into())?;
            check(libc::pipe(answer.as_mut_ptr()).into())?;
        }
        let watcher = self.used;
        self.used += 1;
        // SAFETY: single threaded.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Ok(Raw::of(Err(io::Error::last_os_error())));
        }
        if pid == 0 {
            self.watcher = watcher;
            let served = self.serve(program, command[0], answer[1]);
            // SAFETY: ends this process.
            unsafe { libc::_exit(i32::from(served.is_err())) };
        }
        // SAFETY: the other ends are the child's.
        unsafe {
            libc::close(command[0]);
            libc::close(answer[1]);
        }
        let child = Child { pid, watcher, command: command[1], answer: answer[0] };
        wait_for(child.answer)?;
        self.child = Some(child);
        Ok(Raw::done())
    }

    /// The child: does the steps whose numbers come, answers with how they ended.
    fn serve(&mut self, program: &Program, command: i32, answer: i32) -> io::Result<()> {
        limit_time();
        self.kernel.watchers[self.watcher].watch(WINDOW.0, WINDOW.1)?;
        send(answer, 0)?;
        loop {
            let at = wait_for(command)?;
            let Some(step) = program.0.get(at as usize) else { return Ok(()) };
            let raw = self.perform(step.op);
            self.mail[..3].copy_from_slice(&[raw.tag, raw.value, raw.slots.len() as u64]);
            self.mail[8..8 + raw.slots.len()].copy_from_slice(&raw.slots);
            send(answer, 0)?;
        }
    }

    fn command(&mut self, at: u64) -> io::Result<Raw> {
        let child = self.child.as_ref().ok_or_else(|| io::Error::other("there is no child"))?;
        send(child.command, at)?;
        wait_for(child.answer)?;
        let slots = self.mail[8..8 + self.mail[2] as usize].to_vec();
        Ok(Raw { tag: self.mail[0], value: self.mail[1], slots })
    }

    fn end_child(&mut self) -> io::Result<()> {
        let child = self.child.take().ok_or_else(|| io::Error::other("there is no child"))?;
        send(child.command, u64::MAX)?;
        let mut status = 0;
        // SAFETY: `status` outlives the call; the descriptors are ours.
        unsafe {
            check(libc::waitpid(child.pid, &mut status, 0).into())?;
            libc::close(child.command);
            libc::close(child.answer);
        }
        if status != 0 {
            return Err(io::Error::other(format!("the child ended with status {status:#x}")));
        }
        // The child's end is what its notifiers were told last.
        let board = &self.kernel.board;
        board.take::<u64>(4).copy_from_slice(&[TAG_DONE, 0, 0, 2]);
        write_space(board, &self.kernel.watchers[self.watcher], true)?;
        write_space(board, &self.kernel.watchers[child.watcher], false)
    }

    // ---- operations ----------------------------------------------------------------------------------------------

    fn perform(&mut self, op: Op) -> Raw {
        match op {
            Op::Load(page) => Raw::access(touch::load(BASE + page * PAGE), true),
            Op::Store(page, value) => Raw::access(touch::store(BASE + page * PAGE, value).map(|()| 0), false),
            Op::Hmm(span, ask) => self.hmm(span, ask),
            Op::Exclusive(page) => {
                Raw::of(self.kernel.watchers[self.watcher].exclusive(BASE + page * PAGE).map(|()| 0))
            }
            Op::Uffd(span, what) => Raw::of(self.uffd(span, what)),
            Op::ClearRefs => Raw::of(std::fs::write("/proc/self/clear_refs", "4").map(|()| 0)),
            Op::Ksm => Raw::of(ksm_round().map(|()| 0)),
            Op::Migrate(span) => Raw::of(migrate(span)),
            Op::Split(span) => Raw::of(split(span).map(|()| 0)),
            _ => Raw::of(self.call(op)),
        }
    }

    fn hmm(&self, span: Span, ask: Ask) -> Raw {
        let mut slots = vec![0; span.count as usize];
        match self.kernel.watchers[self.watcher].fault(span.addr(), ask as u32, &mut slots) {
            Ok(()) => Raw { tag: TAG_HMM, value: 0, slots },
            Err(error) => Raw::of(Err(error)),
        }
    }

    /// The operations that are one system call on the arena.
    fn call(&self, op: Op) -> io::Result<i64> {
        // SAFETY: every call changes mappings of the arena only, where no Rust object lives.
        let result = unsafe {
            match op {
                Op::Mmap(span, rights, what) => {
                    let (fd, at, flags) = match what {
                        What::Anon => (-1, 0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
                        What::Shared => (-1, 0, libc::MAP_SHARED | libc::MAP_ANONYMOUS),
                        What::Hugetlb => (-1, 0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB),
                        What::Private(file, at) => (self.files[usize::from(file)], at, libc::MAP_PRIVATE),
                        What::File(file, at) => (self.files[usize::from(file)], at, libc::MAP_SHARED),
                    };
                    let at = (at * PAGE) as i64;
                    libc::mmap(ptr(span), len(span), prot(rights), flags | libc::MAP_FIXED, fd, at) as i64
                }
                Op::Munmap(span) => libc::munmap(ptr(span), len(span)).into(),
                Op::Mremap(from, pages, to, keep) => {
                    let flags = to.map_or(0, |_| libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED)
                        | if keep { libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP } else { 0 };
                    let target = BASE + to.unwrap_or(0) * PAGE;
                    libc::mremap(ptr(from), len(from), (pages * PAGE) as usize, flags, target) as i64
                }
                Op::Mprotect(span, rights) => libc::mprotect(ptr(span), len(span), prot(rights)).into(),
                Op::Madvise(span, advice) => libc::madvise(ptr(span), len(span), advice_number(advice)).into(),
                Op::Mlock(span) => libc::mlock(ptr(span), len(span)).into(),
                Op::Munlock(span) => libc::munlock(ptr(span), len(span)).into(),
                Op::Truncate(file, pages) => {
                    libc::ftruncate(self.files[usize::from(file)], (pages * PAGE) as i64).into()
                }
                Op::Punch(file, span) => {
                    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                    let (at, bytes) = ((span.first * PAGE) as i64, span.len() as i64);
                    libc::fallocate(self.files[usize::from(file)], mode, at, bytes).into()
                }
                _ => unreachable!("{op} is no plain call"),
            }
        };
        check(if result > 0 { 0 } else { result })
    }

    fn uffd(&mut self, span: Span, what: Uffd) -> io::Result<i64> {
        let fd = match self.uffd {
            Some(fd) => fd,
            None => {
                let fd = userfaultfd()?;
                self.uffd = Some(fd);
                fd
            }
        };
        let (start, bytes) = (span.addr(), span.len());
        let from = BASE + (ARENA - 512) * PAGE;
        const fn iowr(nr: u64, size: u64) -> u64 {
            3 << 30 | size << 16 | 0xaa << 8 | nr
        }
        const UNREGISTER: u64 = 2 << 30 | 16 << 16 | 0xaa << 8 | 1;
        let (request, mut arg): (u64, [u64; 5]) = match what {
            Uffd::RegisterMissing => (iowr(0, 32), [start, bytes, 1, 0, 0]),
            Uffd::RegisterWp => (iowr(0, 32), [start, bytes, 2, 0, 0]),
            Uffd::Unregister => (UNREGISTER, [start, bytes, 0, 0, 0]),
            Uffd::Copy => (iowr(3, 40), [start, from, bytes, 0, 0]),
            Uffd::Zeropage => (iowr(4, 32), [start, bytes, 0, 0, 0]),
            Uffd::Move => (iowr(5, 40), [start, from, bytes, 0, 0]),
            Uffd::Protect => (iowr(6, 24), [start, bytes, 1, 0, 0]),
            Uffd::Unprotect => (iowr(6, 24), [start, bytes, 0, 0, 0]),
        };
        // SAFETY: the argument is at least as large as the struct of each request.
        check(unsafe { libc::ioctl(fd, request, arg.as_mut_ptr()) }.into())
    }
}

/// Ends the calling process after a while, so that a program which hangs is a failure. The machine's clock runs fast when
/// its host is busy.
fn limit_time() {
    const SECONDS: u32 = 600;
    // SAFETY: the signal ends the process, which is what is wanted.
    unsafe { libc::alarm(SECONDS) };
}

fn ptr(span: Span) -> *mut libc::c_void {
    span.addr() as *mut libc::c_void
}

fn len(span: Span) -> usize {
    span.len() as usize
}

fn prot(rights: Rights) -> i32 {
    match rights {
        Rights::None => libc::PROT_NONE,
        Rights::Read => libc::PROT_READ,
        Rights::Write => libc::PROT_WRITE,
        Rights::Both => libc::PROT_READ | libc::PROT_WRITE,
    }
}

fn advice_number(advice: Advice) -> i32 {
    ADVICE.iter().find(|(known, ..)| *known == advice).expect("every advice has a number").2
}

fn memfd() -> io::Result<i32> {
    // SAFETY: the name is a C string.
    let fd = check(unsafe { libc::memfd_create(c"mm".as_ptr(), libc::MFD_CLOEXEC) }.into())? as i32;
    // SAFETY: a call on a descriptor of ours.
    check(unsafe { libc::ftruncate(fd, (FILE_PAGES * PAGE) as i64) }.into())?;
    Ok(fd)
}

/// A descriptor with what the operations need; a fault that it would have to be told of is a SIGBUS.
fn userfaultfd() -> io::Result<i32> {
    const SIGBUS: u64 = 1 << 7;
    const WP: u64 = 1;
    const MOVE: u64 = 1 << 16;
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) })? as i32;
    let mut api: [u64; 3] = [0xaa, SIGBUS | WP | MOVE, 0];
    // SAFETY: struct uffdio_api is three words.
    check(unsafe { libc::ioctl(fd, 3 << 30 | 24 << 16 | 0xaa << 8 | 0x3f, api.as_mut_ptr()) }.into())?;
    Ok(fd)
}

/// Moves the pages that are there to the node where they are not, folio by folio: what went along with a page before it is
/// where it should be.
fn migrate(span: Span) -> io::Result<i64> {
    const MPOL_MF_MOVE_ALL: i32 = 4;
    let call = |page: u64, node: Option<i32>| -> io::Result<i32> {
        let address = (BASE + page * PAGE) as *mut libc::c_void;
        let (node, mut status) = (node.as_ref().map_or(std::ptr::null(), std::ptr::from_ref), -1);
        // SAFETY: one address, at most one node, one status.
        check(unsafe { libc::syscall(libc::SYS_move_pages, 0, 1, &address, node, &mut status, MPOL_MF_MOVE_ALL) })?;
        Ok(status)
    };
    let pages = span.first..span.end();
    let nodes = pages.clone().map(|page| call(page, None)).collect::<io::Result<Vec<_>>>()?;
    for (page, node) in pages.zip(nodes).filter(|(_, node)| *node >= 0) {
        call(page, Some(1 - node))?;
    }
    Ok(0)
}

/// Splits the large folios of the span.
fn split(span: Span) -> io::Result<()> {
    let end = span.addr() + span.len();
    std::fs::write("/sys/kernel/debug/split_huge_pages", format!("{},{:#x},{end:#x}", std::process::id(), span.addr()))
}

/// Lets the same-page merger go over everything twice.
fn ksm_round() -> io::Result<()> {
    let scans = || -> io::Result<u64> {
        let text = std::fs::read_to_string("/sys/kernel/mm/ksm/full_scans")?;
        text.trim().parse().map_err(io::Error::other)
    };
    let until = scans()? + 3;
    std::fs::write("/sys/kernel/mm/ksm/sleep_millisecs", "1")?;
    std::fs::write("/sys/kernel/mm/ksm/run", "1")?;
    for _ in 0..5000 {
        if scans()? >= until {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    std::fs::write("/sys/kernel/mm/ksm/run", "0")
}

fn send(fd: i32, word: u64) -> io::Result<()> {
    // SAFETY: eight bytes of ours.
    check(unsafe { libc::write(fd, std::ptr::from_ref(&word).cast(), 8) } as i64).map(|_| ())
}

fn wait_for(fd: i32) -> io::Result<u64> {
    let mut word = 0u64;
    // SAFETY: eight bytes of ours.
    let got = check(unsafe { libc::read(fd, std::ptr::from_mut(&mut word).cast(), 8) } as i64)?;
    if got == 8 { Ok(word) } else { Err(io::Error::other("the other process is gone")) }
}
