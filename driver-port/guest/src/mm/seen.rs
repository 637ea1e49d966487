//! What one side saw of a step, and how two sides differ.
//!
//! Both sides are brought into one form: events as calls and ends with what stood in the VMA tree and in the page table
//! at that moment, VMAs, and page-table entries page by page. Frame numbers say nothing beyond which are equal: they
//! are numbered in the order in which they appear before and after the step.

use super::op::{BASE, PAGE};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// 0.
    Done,
    /// An errno.
    Failed(i32),
    /// A load gave this.
    Value(u64),
    /// SIGSEGV.
    Segv,
    /// SIGBUS.
    Bus,
    /// What `hmm_range_fault` said of each page.
    Hmm(Vec<Slot>),
}

/// One page of an answer of `hmm_range_fault`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) valid: bool,
    pub(crate) write: bool,
    pub(crate) error: bool,
    pub(crate) order: u8,
    /// Which frame; numbered as those of the entries.
    pub(crate) frame: u64,
}

/// `MMU_NOTIFY_*`, as the kernel numbers them.
pub(crate) const KINDS: [&str; 8] =
    ["UNMAP", "CLEAR", "PROTECTION_VMA", "PROTECTION_PAGE", "SOFT_DIRTY", "RELEASE", "MIGRATE", "EXCLUSIVE"];

/// A call of the notifier, or the end of what it announced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    pub(crate) end_of: bool,
    pub(crate) kind: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) blockable: bool,
    /// How many others of the address space were running.
    pub(crate) depth: u8,
    /// The VMA tree then.
    pub(crate) vmas: Vec<Vma>,
    /// Pages of the event that were mapped then.
    pub(crate) present: u32,
    /// How mmap_lock was held: kernel only.
    pub(crate) lock: Option<u8>,
}

/// What both sides know of a VMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vma {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) shared: bool,
    pub(crate) file: bool,
    pub(crate) locked: bool,
    pub(crate) hugepage: bool,
    pub(crate) nohugepage: bool,
    pub(crate) dontcopy: bool,
}

/// What stands in a page-table entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Present,
    ProtNone,
    Swap,
    Migration,
    Device,
    Exclusive,
    Guard,
    Marker,
    Other,
}

/// One page that has an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) kind: Kind,
    pub(crate) write: bool,
    pub(crate) huge: bool,
    pub(crate) zero: bool,
    /// Frame or swap slot; a number of the side's own.
    pub(crate) frame: u64,
    /// The first word, of a mapped page.
    pub(crate) word: u64,
    /// Entries that map it; None where the two sides count different things (large folios, the zero page).
    pub(crate) mapcount: Option<u32>,
}

/// One process after a step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Space {
    pub(crate) events: Vec<Event>,
    pub(crate) vmas: Vec<Vma>,
    /// By page of the arena, in order; empty entries are not there.
    pub(crate) pages: Vec<(u64, Page)>,
}

/// What one side saw of one step: how it ended, and the process and its child (as far as they live or have just ended).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) spaces: Vec<Space>,
}

/// Numbers frames by appearance.
#[derive(Default)]
struct Names(BTreeMap<(bool, u64), u64>);

impl Names {
    fn name(&mut self, page: &Page) -> u64 {
        self.frame(page.kind == Kind::Swap, page.frame)
    }

    fn frame(&mut self, swap: bool, frame: u64) -> u64 {
        let next = self.0.len() as u64 + 1;
        *self.0.entry((swap, frame)).or_insert(next)
    }

    fn spaces(&mut self, seen: &Seen) -> Vec<Space> {
        let rename = |space: &Space| {
            let pages = space.pages.iter().map(|&(at, ref page)| {
                let frame =
                    if page.zero || matches!(page.kind, Kind::Guard | Kind::Marker) { 0 } else { self.name(page) };
                (at, Page { frame, ..*page })
            });
            Space { pages: pages.collect(), ..space.clone() }
        };
        seen.spaces.iter().map(rename).collect()
    }
}

/// The step with frames numbered, given what was there before it.
fn named(before: Option<&Seen>, seen: &Seen) -> Seen {
    let mut names = Names::default();
    if let Some(before) = before {
        names.spaces(before);
    }
    let spaces = names.spaces(seen);
    let outcome = match &seen.outcome {
        Outcome::Hmm(slots) => {
            let zero: Vec<u64> =
                seen.spaces.iter().flat_map(|s| &s.pages).filter(|(_, p)| p.zero).map(|(_, p)| p.frame).collect();
            let name = |slot: &Slot| match slot.valid {
                true if zero.contains(&slot.frame) => Slot { frame: 0, ..*slot },
                true => Slot { frame: names.frame(false, slot.frame), ..*slot },
                false => Slot { frame: 0, ..*slot },
            };
            Outcome::Hmm(slots.iter().map(name).collect())
        }
        other => other.clone(),
    };
    Seen { outcome, spaces }
}

/// The first step at which two sides differ, and how.
pub(crate) fn difference(kernel: &[Seen], sim: &[Seen]) -> Option<(usize, String)> {
    let mut pairs = Pairs::default();
    for at in 0..kernel.len().max(sim.len()) {
        let (Some(k), Some(s)) = (kernel.get(at), sim.get(at)) else {
            return Some((at, "one side ends here".into()));
        };
        if same(k, s, &mut pairs) {
            continue;
        }
        let before = at.checked_sub(1);
        let (k, s) = (named(before.and_then(|at| kernel.get(at)), k), named(before.and_then(|at| sim.get(at)), s));
        return Some((at, differ(&k, &s).unwrap_or_else(|| "frames".into())));
    }
    None
}

/// Which frame of the one side is which of the other, in both directions; swap slots apart.
#[derive(Default)]
struct Pairs(FrameMap, FrameMap);

type FrameMap = HashMap<(bool, u64), u64, BuildHasherDefault<Mix>>;

/// A hash of frame numbers that costs little where every instruction is emulated.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

impl Pairs {
    /// Whether the two can be one, given all before.
    fn pair(&mut self, swap: bool, kernel: u64, sim: u64) -> bool {
        *self.0.entry((swap, kernel)).or_insert(sim) == sim && *self.1.entry((swap, sim)).or_insert(kernel) == kernel
    }

    fn pages(&mut self, kernel: &Page, sim: &Page) -> bool {
        let counted = kernel.mapcount.is_none() || sim.mapcount.is_none() || kernel.mapcount == sim.mapcount;
        let nameless = kernel.zero || matches!(kernel.kind, Kind::Guard | Kind::Marker);
        let like = |page: &Page| Page { frame: 0, mapcount: None, ..*page };
        counted
            && like(kernel) == like(sim)
            && (nameless || self.pair(kernel.kind == Kind::Swap, kernel.frame, sim.frame))
    }

    fn tables(&mut self, kernel: &Seen, sim: &Seen) -> bool {
        kernel.spaces.iter().zip(&sim.spaces).all(|(k, s)| {
            k.pages.len() == s.pages.len()
                && k.pages.iter().zip(&s.pages).all(|((at, k), (also, s))| at == also && self.pages(k, s))
        })
    }
}

/// Whether both saw the same, with frames named as `pairs` has them from the step before; which then has this step's.
fn same(kernel: &Seen, sim: &Seen, pairs: &mut Pairs) -> bool {
    let events = |k: &Space, s: &Space| {
        k.events.len() == s.events.len() && k.events.iter().zip(&s.events).all(|(k, s)| unlocked(k) == unlocked(s))
    };
    let spaces = kernel.spaces.len() == sim.spaces.len()
        && kernel.spaces.iter().zip(&sim.spaces).all(|(k, s)| k.vmas == s.vmas && events(k, s));
    let outcome = match (&kernel.outcome, &sim.outcome) {
        // Frames that no entry names any more are named by the ordered form only.
        (Outcome::Hmm(_), Outcome::Hmm(_)) => return differ_in_order(kernel, sim, pairs) && spaces,
        (one, other) => one == other,
    };
    outcome && spaces && {
        let fits = pairs.tables(kernel, sim);
        *pairs = Pairs::default();
        fits && pairs.tables(kernel, sim)
    }
}

fn differ_in_order(kernel: &Seen, sim: &Seen, pairs: &mut Pairs) -> bool {
    let fits = pairs.tables(kernel, sim);
    *pairs = Pairs::default();
    fits && pairs.tables(kernel, sim) && named(None, kernel).outcome == named(None, sim).outcome
}

/// An event as far as the simulator knows it.
fn unlocked(event: &Event) -> (bool, usize, u64, u64, bool, u8, u32, &[Vma]) {
    (event.end_of, event.kind, event.start, event.end, event.blockable, event.depth, event.present, &event.vmas)
}

/// How two steps differ, in words; None when only in which frames are which.
fn differ(kernel: &Seen, sim: &Seen) -> Option<String> {
    if kernel.outcome != sim.outcome {
        return Some(format!("outcome: kernel {:?}, simulator {:?}", kernel.outcome, sim.outcome));
    }
    if kernel.spaces.len() != sim.spaces.len() {
        return Some(format!("processes: kernel {}, simulator {}", kernel.spaces.len(), sim.spaces.len()));
    }
    for (who, (k, s)) in ["process", "child"].iter().zip(kernel.spaces.iter().zip(&sim.spaces)) {
        if !k.events.iter().map(unlocked).eq(s.events.iter().map(unlocked)) {
            return Some(format!("{who}, events:\n{}", beside(&events(&k.events), &events(&s.events))));
        }
        if k.vmas != s.vmas {
            return Some(format!("{who}, VMAs:\n{}", beside(&vmas(&k.vmas), &vmas(&s.vmas))));
        }
        let (k, s): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (k.pages.iter().copied().collect(), s.pages.iter().copied().collect());
        let mut lines = (Vec::new(), Vec::new());
        let all: std::collections::BTreeSet<u64> = k.keys().chain(s.keys()).copied().collect();
        for at in all {
            let (a, b) = (k.get(&at), s.get(&at));
            let same = match (a, b) {
                (Some(a), Some(b)) => {
                    let counted = a.mapcount.is_some() && b.mapcount.is_some();
                    let masked = |p: &Page| Page { mapcount: p.mapcount.filter(|_| counted), ..*p };
                    masked(a) == masked(b)
                }
                _ => false,
            };
            if !same {
                lines.0.push(page(at, a));
                lines.1.push(page(at, b));
            }
        }
        if !lines.0.is_empty() {
            lines.0.truncate(12);
            lines.1.truncate(12);
            return Some(format!("{who}, page table:\n{}", beside(&lines.0, &lines.1)));
        }
    }
    None
}

fn place(addr: u64) -> String {
    match addr.checked_sub(BASE) {
        Some(off) if off <= 1 << 40 && off % PAGE == 0 => format!("{}", off / PAGE),
        _ if addr == 0 => "first".into(),
        _ if addr >= u64::MAX - PAGE => "last".into(),
        _ => format!("{addr:#x}"),
    }
}

fn vma(vma: &Vma) -> String {
    let flag = |on: bool, letter: &str| if on { letter.to_string() } else { String::new() };
    format!(
        "{}..{} {}{}{}{}{}{}{}{}",
        place(vma.start),
        place(vma.end),
        if vma.read { "r" } else { "-" },
        if vma.write { "w" } else { "-" },
        flag(vma.shared, "s"),
        flag(vma.file, "f"),
        flag(vma.locked, "l"),
        flag(vma.hugepage, "H"),
        flag(vma.nohugepage, "N"),
        flag(vma.dontcopy, "D"),
    )
}

fn vmas(all: &[Vma]) -> Vec<String> {
    all.iter().map(vma).collect()
}

fn event(event: &Event) -> String {
    let mut text = format!(
        "{} {} {}..{}",
        if event.end_of { "end " } else { "call" },
        KINDS[event.kind],
        place(event.start),
        place(event.end)
    );
    if !event.blockable {
        text.push_str(" non-blockable");
    }
    if event.depth > 0 {
        let _ = write!(text, " depth {}", event.depth);
    }
    if event.lock.is_some() {
        let _ = write!(text, " mmap_lock {}", lock(event.lock));
    }
    let _ = write!(text, " present {} [{}]", event.present, vmas(&event.vmas).join(", "));
    text
}

fn events(all: &[Event]) -> Vec<String> {
    all.iter().map(event).collect()
}

fn page(at: u64, page: Option<&Page>) -> String {
    let Some(page) = page else { return format!("{at}: empty") };
    let flag = |on: bool, word: &'static str| if on { word } else { "" };
    let count = page.mapcount.map_or(String::new(), |count| format!(" x{count}"));
    format!(
        "{at}: {:?}{}{}{} #{} ={:#x}{count}",
        page.kind,
        flag(page.write, " writable"),
        flag(page.huge, " huge"),
        flag(page.zero, " zero"),
        page.frame,
        page.word,
    )
}

/// Lines of one side that are shown.
const MOST: usize = 16;

fn beside(kernel: &[String], sim: &[String]) -> String {
    let mut text = String::new();
    for (side, lines) in [("kernel   ", kernel), ("simulator", sim)] {
        if lines.is_empty() {
            let _ = writeln!(text, "      {side} (nothing)");
        }
        for line in lines.iter().take(MOST) {
            let _ = writeln!(text, "      {side} {line}");
        }
        if lines.len() > MOST {
            let _ = writeln!(text, "      {side} and {} more", lines.len() - MOST);
        }
    }
    text.trim_end().to_string()
}

/// The events of some steps in one line, each as `KIND first..end LOCK`: a `+` for each invalidation that it is nested
/// in, `gone` where no VMA stands in its range, `child:` before what the child's notifiers were told.
pub(crate) fn told(steps: &[Seen]) -> String {
    let mut all: Vec<String> = Vec::new();
    for step in steps {
        for (who, space) in ["", "child: "].iter().zip(&step.spaces) {
            for event in space.events.iter().filter(|event| !event.end_of) {
                let here = |vma: &Vma| vma.start < event.end && event.start < vma.end;
                all.push(format!(
                    "{who}{}{} {}..{} {}{}{}",
                    "+".repeat(event.depth.into()),
                    KINDS[event.kind],
                    place(event.start),
                    place(event.end),
                    lock(event.lock),
                    if event.vmas.iter().any(here) { "" } else { " gone" },
                    if event.blockable { "" } else { " non-blockable" },
                ));
            }
        }
    }
    all.join("; ")
}

fn lock(lock: Option<u8>) -> &'static str {
    lock.map_or("?", |lock| ["-", "R", "W"][usize::from(lock.min(2))])
}
