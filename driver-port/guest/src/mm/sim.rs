//! The same program in the simulated mm.

use super::op::{ARENA, Advice, Ask, BASE, FILE_PAGES, FILES, Op, PAGE, Program, Rights, Span, WORLD, What, Who};
use super::seen::{Event, KINDS, Kind, Outcome, Page, Seen, Slot, Space, Vma};
use interleave::Sim;
use model::Errno;
use model::platform::{ClientId, HmmPfn, HmmRange, HmmRequest, Mm, MmuEvent, NotifierEntry, Owner, VmaFlags};
use model::units::Bytes;
use sim_mm::{AddressSpace, Fault, File, Memory, Options, Prot, Pte, Remap, Sigsegv, SubId, is_zero_pfn};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

const WINDOW: Bytes = Bytes::new(BASE, BASE + WORLD * PAGE);
const DUMPED: Bytes = Bytes::new(BASE, BASE + ARENA * PAGE);
/// A page of the process that is not of the arena: no program has an empty address space.
const ELSEWHERE: Bytes = Bytes::new(0x40_0000, 0x40_1000);
/// Pages of what MAP_SHARED | MAP_ANONYMOUS maps.
const SHARED_PAGES: u64 = ARENA;
/// Files there can be in one memory: what a program maps as shared anonymous memory is a file, too.
const ALL_FILES: u32 = 8;
/// Shared anonymous mappings that a program may make.
pub(crate) const SHARED: u32 = ALL_FILES - FILES as u32;

/// A process: its address space, and what its notifiers were told since the last step.
struct Process {
    mm: AddressSpace<Sim>,
    sub: SubId,
    told: Rc<RefCell<Vec<Event>>>,
}

struct Machine {
    memory: Memory<Sim>,
    files: Vec<File<Sim>>,
    next_file: u32,
    next_id: u32,
    parent: Process,
    child: Option<Process>,
}

fn bytes(span: Span) -> Bytes {
    Bytes::new(span.addr(), span.addr() + span.len())
}

fn rights(rights: Rights) -> (bool, bool) {
    match rights {
        Rights::None => (false, false),
        Rights::Read => (true, false),
        Rights::Write => (false, true),
        Rights::Both => (true, true),
    }
}

impl Process {
    fn new(mm: AddressSpace<Sim>) -> Result<Self, Errno> {
        let told: Rc<RefCell<Vec<Event>>> = Rc::default();
        let depth = Rc::new(Cell::new(0));
        // The hooks own the address space, which owns them; clear_hooks at the end of the run unties that.
        let hear = |end_of: bool| {
            let (told, depth, mm) = (told.clone(), depth.clone(), mm.clone());
            move |event: &MmuEvent| {
                if end_of && event.bytes.overlaps(&WINDOW) {
                    depth.set(depth.get() - 1);
                }
                if event.bytes.overlaps(&WINDOW) {
                    let seen = see_event(&mm, event, end_of, depth.get());
                    told.borrow_mut().push(seen);
                }
                if !end_of && event.kind != model::platform::EventKind::Release {
                    depth.set(depth.get() + 1);
                }
            }
        };
        let call = hear(false);
        mm.on_invalidate(Rc::new({
            let mm = mm.clone();
            move |_, event, seq| {
                let sub = mm.notifiers().first().expect("one is registered").sub;
                mm.interval_set_seq(sub, seq);
                call(event);
                true
            }
        }));
        mm.on_invalidation_end(Rc::new(hear(true)));
        let sub = mm.interval_insert(NotifierEntry { client: ClientId(0), cookie: 0 }, WINDOW, |_| ())?;
        Ok(Process { mm, sub, told })
    }

    fn see(&self) -> Space {
        Space { events: self.told.take(), vmas: see_vmas(&self.mm, DUMPED), pages: see_pages(&self.mm) }
    }

    /// The end of the process; what its notifiers were told of it.
    fn end(&self) -> Space {
        self.mm.exit();
        let mut events = self.told.take();
        // A classic notifier, which is what tells the ends in the kernel, is released first.
        events.retain(|event| !event.end_of);
        self.mm.interval_remove(self.sub);
        Space { events, ..Space::default() }
    }
}

fn see_event(mm: &AddressSpace<Sim>, event: &MmuEvent, end_of: bool, depth: u8) -> Event {
    let kind = KINDS.iter().position(|name| *name == event.kind.name()).expect("all kinds have numbers");
    let part = event.bytes.clip(&WINDOW).pages();
    let mapped = |entry: &sim_mm::Entry| matches!(entry.pte, Pte::Present { prot, .. } if prot > Prot::None);
    let present =
        mm.peek_ptes().iter().filter(|(page, entry)| (part.first..=part.last).contains(page) && mapped(entry)).count();
    Event {
        end_of,
        kind,
        start: event.bytes.start,
        end: event.bytes.end,
        blockable: event.blockable,
        depth,
        vmas: see_vmas(mm, WINDOW),
        present: present as u32,
        lock: None,
    }
}

fn see_vmas(mm: &AddressSpace<Sim>, part: Bytes) -> Vec<Vma> {
    let inside = mm.peek_vma_details().into_iter().filter(|details| details.vma.bytes.overlaps(&part));
    inside
        .map(|details| Vma {
            start: details.vma.bytes.start,
            end: details.vma.bytes.end,
            read: details.vma.flags.read,
            write: details.vma.flags.write,
            shared: details.shared,
            file: details.file,
            locked: details.mlocked,
            hugepage: false,
            nohugepage: false,
            dontcopy: false,
        })
        .collect()
}

fn see_pages(mm: &AddressSpace<Sim>) -> Vec<(u64, Page)> {
    let see = |(page, entry): (u64, sim_mm::Entry)| {
        let (kind, write, frame, mapped) = match entry.pte {
            Pte::None => return None,
            Pte::Present { pfn, prot: Prot::None } => (Kind::ProtNone, false, pfn, true),
            Pte::Present { pfn, prot } => (Kind::Present, prot == Prot::Write, pfn, true),
            Pte::Migration { pfn, prot, .. } => (Kind::Migration, prot == Prot::Write, pfn, false),
            Pte::Device { pfn, write } => (Kind::Device, write, pfn, false),
            Pte::Swap { slot } => (Kind::Swap, false, slot, false),
        };
        let zero = mapped && is_zero_pfn(frame);
        let word = if mapped { mm.peek_word(page * PAGE).unwrap_or(0) } else { 0 };
        let mapcount = (mapped && !zero && entry.order == 0).then(|| mm.memory().map_count(frame));
        Some((page - BASE / PAGE, Page { kind, write, huge: entry.order > 0, zero, frame, word, mapcount }))
    };
    mm.peek_ptes().into_iter().filter(|(page, _)| DUMPED.contains(page * PAGE)).filter_map(see).collect()
}

/// Runs `program`, maybe with a fault planted in the simulated mm; the same form as [`Kernel::run`](super::kernel::Kernel::run).
///
/// # Errors
/// What the simulator does not have, by name.
pub(crate) fn run(program: &Program, fault: Option<Fault>) -> Result<Vec<Seen>, String> {
    let memory = Memory::new();
    let options = Options { thp: true, shares: true, merge: true, fault, ..Options::default() };
    let mm = AddressSpace::new(&memory, 0, options);
    let mm = mm.map_err(|error| error.to_string())?;
    let anon = flags(Rights::Both, true);
    mm.mmap(ELSEWHERE, anon).map_err(|error| error.to_string())?;
    let parent = Process::new(mm).map_err(|error| error.to_string())?;
    let mut machine = Machine { memory, files: Vec::new(), next_file: FILES.into(), next_id: 1, parent, child: None };
    let hooks = machine.parent.mm.clone();
    let result = machine.all(program);
    hooks.clear_hooks();
    if let Some(child) = &machine.child {
        child.mm.clear_hooks();
    }
    result
}

fn flags(allow: Rights, anon: bool) -> VmaFlags {
    let (read, write) = rights(allow);
    VmaFlags { read, write, anon, ..VmaFlags::default() }
}

fn done(result: Result<(), Errno>) -> Outcome {
    result.map_or_else(|errno| Outcome::Failed(errno as i32), |()| Outcome::Done)
}

fn accessed(result: Result<Option<u64>, Sigsegv>) -> Outcome {
    match result {
        Ok(Some(value)) => Outcome::Value(value),
        Ok(None) => Outcome::Done,
        Err(Sigsegv { bus: true, .. }) => Outcome::Bus,
        Err(Sigsegv { bus: false, .. }) => Outcome::Segv,
    }
}

impl Machine {
    fn all(&mut self, program: &Program) -> Result<Vec<Seen>, String> {
        let mut seen = Vec::new();
        for step in &program.0 {
            let outcome = match (step.who, step.op) {
                (Who::Parent, Op::Fork) => self.fork()?,
                (_, Op::Exit) => {
                    seen.push(self.end_child()?);
                    continue;
                }
                (who, op) => self.perform(who, op)?,
            };
            let spaces = std::iter::once(&self.parent).chain(&self.child).map(Process::see).collect();
            seen.push(Seen { outcome, spaces });
        }
        if self.child.is_some() {
            seen.push(self.end_child()?);
        }
        seen.push(Seen { outcome: Outcome::Done, spaces: vec![self.parent.end()] });
        Ok(seen)
    }

    fn fork(&mut self) -> Result<Outcome, String> {
        let mm = self.parent.mm.fork(self.next_id).map_err(|error| error.to_string())?;
        self.next_id += 1;
        self.child = Some(Process::new(mm).map_err(|error| error.to_string())?);
        Ok(Outcome::Done)
    }

    fn end_child(&mut self) -> Result<Seen, String> {
        let child = self.child.take().ok_or("there is no child")?;
        let mm = child.mm.clone();
        let last = child.end();
        mm.clear_hooks();
        Ok(Seen { outcome: Outcome::Done, spaces: vec![self.parent.see(), last] })
    }

    fn file(&mut self, file: u8) -> File<Sim> {
        if self.files.is_empty() {
            self.files = (0..FILES).map(|id| File::shmem(&self.memory, id.into(), FILE_PAGES)).collect();
        }
        self.files[usize::from(file)].clone()
    }

    fn perform(&mut self, who: Who, op: Op) -> Result<Outcome, String> {
        let beyond = || Err(format!("sim-mm has no {op}"));
        let mapped = match op {
            Op::Mmap(_, _, What::File(file, _) | What::Private(file, _)) => Some(self.file(file)),
            Op::Mmap(_, _, What::Shared) => {
                if self.next_file == ALL_FILES {
                    return Err("sim-mm has six shared anonymous mappings".into());
                }
                self.next_file += 1;
                Some(File::new(&self.memory, self.next_file - 1, SHARED_PAGES))
            }
            _ => None,
        };
        let process = match who {
            Who::Parent => &self.parent,
            Who::Child => self.child.as_ref().ok_or("there is no child")?,
        };
        let mm = &process.mm;
        Ok(match op {
            Op::Mmap(span, allow, what) => {
                let (at, private) = (bytes(span), flags(allow, false));
                match (what, mapped) {
                    (What::Shared, Some(file)) => done(mm.mmap_shared(at, private, &file)),
                    (What::File(_, offset), Some(file)) => done(mm.mmap_file(at, private, &file, offset, true)),
                    (What::Private(_, offset), Some(file)) => done(mm.mmap_file(at, private, &file, offset, false)),
                    (What::Hugetlb, _) => done(mm.mmap(at, VmaFlags { hugetlb: true, ..flags(allow, true) })),
                    _ => done(mm.mmap(at, flags(allow, true))),
                }
            }
            Op::Munmap(span) => done(mm.munmap(bytes(span))),
            Op::Mremap(from, len, to, keep_old) => {
                let to = to.map(|page| BASE + page * PAGE);
                done(mm.mremap(bytes(from), len * PAGE, Remap { to, keep_old }))
            }
            Op::Mprotect(span, allow) => {
                let (read, write) = rights(allow);
                done(mm.mprotect(bytes(span), read, write))
            }
            Op::Madvise(span, advice) => match advice {
                Advice::Dontneed => done(mm.madvise_dontneed(bytes(span))),
                Advice::Free => done(mm.madvise_free(bytes(span))),
                Advice::Cold => done(mm.madvise_cold(bytes(span))),
                Advice::Pageout => done(mm.madvise_pageout(bytes(span))),
                Advice::Collapse => done(mm.madvise_collapse(bytes(span))),
                _ => return beyond(),
            },
            Op::Mlock(span) => done(mm.mlock(bytes(span), true)),
            Op::Munlock(span) => done(mm.mlock(bytes(span), false)),
            Op::Load(page) => accessed(mm.load(BASE + page * PAGE).map(Some)),
            Op::Store(page, value) => accessed(mm.store(BASE + page * PAGE, value).map(|()| None)),
            Op::Hmm(span, ask) => hmm(process, span, ask),
            Op::Split(span) => done(mm.split_folios(bytes(span))),
            Op::Migrate(span) => done(mm.migrate_pages(bytes(span)).map(|_| ())),
            _ => return beyond(),
        })
    }
}

fn hmm(process: &Process, span: Span, ask: Ask) -> Outcome {
    let request = match ask {
        Ask::Look => HmmRequest::Snapshot,
        Ask::Read => HmmRequest::Read,
        Ask::Write => HmmRequest::Write,
    };
    let mm = &process.mm;
    loop {
        let seq = mm.read_begin(process.sub);
        let mut pfns = vec![HmmPfn::default(); span.count as usize];
        let held = mm.mmap_read_lock();
        let range =
            HmmRange { notifier: process.sub, notifier_seq: seq, start: span.addr(), request, owner: Owner::NONE };
        match mm.hmm_range_fault(&held, &range, &mut pfns) {
            Err(Errno::EBUSY) => {}
            Err(errno) => return Outcome::Failed(errno as i32),
            Ok(()) if mm.read_retry(process.sub, seq) => {}
            Ok(()) => {
                let slot = |pfn: &HmmPfn| Slot {
                    valid: pfn.valid,
                    write: pfn.write,
                    error: pfn.error,
                    order: pfn.order,
                    frame: if pfn.valid { pfn.pfn } else { 0 },
                };
                return Outcome::Hmm(pfns.iter().map(slot).collect());
            }
        }
    }
}
