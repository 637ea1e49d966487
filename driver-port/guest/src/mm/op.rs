//! What a program may do, and how it is written down.
//!
//! A program is a list of steps; a step is an operation by the process or by its child. Places are pages of the
//! [arena](ARENA), counted from its start. The text form has one step a line (or separated by `;`), so that a
//! counterexample is a file, and a file is a program:
//!
//! ```text
//! mmap 0+8 rw anon
//! store 3 7
//! fork
//! child: store 3 8
//! ```

use std::fmt;
use std::str::FromStr;

/// Where programs play. Alone in its 512 GiB, and aligned to 2 MiB.
pub(crate) const BASE: u64 = 0x1000_0000_0000;
/// Pages of it: five blocks of 2 MiB.
pub(crate) const ARENA: u64 = 5 * 512;
/// Pages in which notifiers listen, from the start of the arena on: two entries of the 512 GiB level.
pub(crate) const WORLD: u64 = 2 << 27;
/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Files that a program may map; each is a memfd.
pub(crate) const FILES: u8 = 2;
/// Pages of a file at the beginning.
pub(crate) const FILE_PAGES: u64 = 1024;

/// Pages `[first, first + count)` of the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Span {
    /// Address of the first byte.
    pub(crate) fn addr(self) -> u64 {
        BASE + self.first * PAGE
    }

    /// Length in bytes.
    pub(crate) fn len(self) -> u64 {
        self.count * PAGE
    }

    /// One past the last page.
    pub(crate) fn end(self) -> u64 {
        self.first + self.count
    }
}

/// PROT_READ and PROT_WRITE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rights {
    None,
    Read,
    Write,
    Both,
}

/// What is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// MAP_PRIVATE | MAP_ANONYMOUS.
    Anon,
    /// MAP_SHARED | MAP_ANONYMOUS.
    Shared,
    /// A file from one of its pages on, MAP_PRIVATE.
    Private(u8, u64),
    /// The same, MAP_SHARED.
    File(u8, u64),
    /// MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, pages of 2 MiB.
    Hugetlb,
}

/// `madvise`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Advice {
    Dontneed,
    Free,
    Cold,
    Pageout,
    Hugepage,
    Nohugepage,
    Collapse,
    PopulateRead,
    PopulateWrite,
    Remove,
    GuardInstall,
    GuardRemove,
    Dontfork,
    Dofork,
    Willneed,
    /// KSM, which only runs when it is told to.
    Mergeable,
}

/// What `hmm_range_fault` is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Look,
    Read,
    Write,
}

/// userfaultfd, on one descriptor that a program has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Uffd {
    RegisterMissing,
    RegisterWp,
    Unregister,
    Zeropage,
    /// From the first page of the arena's last block.
    Copy,
    /// The same place.
    Move,
    Protect,
    Unprotect,
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// MAP_FIXED.
    Mmap(Span, Rights, What),
    Munmap(Span),
    /// From, new length in pages, whereto (MREMAP_MAYMOVE | MREMAP_FIXED), MREMAP_DONTUNMAP.
    Mremap(Span, u64, Option<u64>, bool),
    Mprotect(Span, Rights),
    Madvise(Span, Advice),
    Mlock(Span),
    Munlock(Span),
    Load(u64),
    Store(u64, u64),
    Hmm(Span, Ask),
    /// The process forks; the new process is the child from then on. Only while there is none.
    Fork,
    /// The child exits.
    Exit,
    /// A file gets this many pages.
    Truncate(u8, u64),
    /// FALLOC_FL_PUNCH_HOLE.
    Punch(u8, Span),
    /// `make_device_exclusive` on a page.
    Exclusive(u64),
    /// `move_pages` to the other NUMA node, from wherever it is.
    Migrate(Span),
    /// Folios in the span come apart, as debugfs lets one ask.
    Split(Span),
    /// Writes 4 to `clear_refs`: soft-dirty tracking starts anew.
    ClearRefs,
    /// One round of the same-page merger over what is mergeable.
    Ksm,
    Uffd(Span, Uffd),
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Parent,
    Child,
}

/// An operation by somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) who: Who,
    pub(crate) op: Op,
}

/// What is run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Program(pub(crate) Vec<Step>);

const RIGHTS: [(Rights, &str); 4] =
    [(Rights::None, "none"), (Rights::Read, "r"), (Rights::Write, "w"), (Rights::Both, "rw")];
pub(crate) const ADVICE: [(Advice, &str, i32); 16] = [
    (Advice::Dontneed, "dontneed", libc::MADV_DONTNEED),
    (Advice::Free, "free", libc::MADV_FREE),
    (Advice::Cold, "cold", 20),
    (Advice::Pageout, "pageout", 21),
    (Advice::Hugepage, "hugepage", libc::MADV_HUGEPAGE),
    (Advice::Nohugepage, "nohugepage", libc::MADV_NOHUGEPAGE),
    (Advice::Collapse, "collapse", 25),
    (Advice::PopulateRead, "populate-read", 22),
    (Advice::PopulateWrite, "populate-write", 23),
    (Advice::Remove, "remove", libc::MADV_REMOVE),
    (Advice::GuardInstall, "guard-install", 102),
    (Advice::GuardRemove, "guard-remove", 103),
    (Advice::Dontfork, "dontfork", libc::MADV_DONTFORK),
    (Advice::Dofork, "dofork", libc::MADV_DOFORK),
    (Advice::Willneed, "willneed", libc::MADV_WILLNEED),
    (Advice::Mergeable, "mergeable", libc::MADV_MERGEABLE),
];
const ASKS: [(Ask, &str); 3] = [(Ask::Look, "look"), (Ask::Read, "read"), (Ask::Write, "write")];
const UFFDS: [(Uffd, &str); 8] = [
    (Uffd::RegisterMissing, "register-missing"),
    (Uffd::RegisterWp, "register-wp"),
    (Uffd::Unregister, "unregister"),
    (Uffd::Zeropage, "zeropage"),
    (Uffd::Copy, "copy"),
    (Uffd::Move, "move"),
    (Uffd::Protect, "protect"),
    (Uffd::Unprotect, "unprotect"),
];

fn name<T: PartialEq + Copy>(names: &[(T, &'static str)], of: T) -> &'static str {
    names.iter().find(|(value, _)| *value == of).expect("every value has a name").1
}

fn named<T: Copy>(names: &[(T, &'static str)], word: &str) -> Option<T> {
    names.iter().find(|(_, name)| *name == word).map(|(value, _)| *value)
}

fn advice_names() -> [(Advice, &'static str); ADVICE.len()] {
    ADVICE.map(|(advice, name, _)| (advice, name))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.first, self.count)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Anon => write!(f, "anon"),
            What::Shared => write!(f, "shared"),
            What::Hugetlb => write!(f, "hugetlb"),
            What::Private(file, at) => write!(f, "private:{file}:{at}"),
            What::File(file, at) => write!(f, "file:{file}:{at}"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Mmap(span, rights, what) => write!(f, "mmap {span} {} {what}", name(&RIGHTS, *rights)),
            Op::Munmap(span) => write!(f, "munmap {span}"),
            Op::Mremap(span, len, to, keep) => {
                write!(f, "mremap {span} {len}")?;
                to.map_or(Ok(()), |to| write!(f, " to {to}"))?;
                if *keep { write!(f, " dontunmap") } else { Ok(()) }
            }
            Op::Mprotect(span, rights) => write!(f, "mprotect {span} {}", name(&RIGHTS, *rights)),
            Op::Madvise(span, advice) => write!(f, "madvise {span} {}", name(&advice_names(), *advice)),
            Op::Mlock(span) => write!(f, "mlock {span}"),
            Op::Munlock(span) => write!(f, "munlock {span}"),
            Op::Load(page) => write!(f, "load {page}"),
            Op::Store(page, value) => write!(f, "store {page} {value}"),
            Op::Hmm(span, ask) => write!(f, "hmm {span} {}", name(&ASKS, *ask)),
            Op::Fork => write!(f, "fork"),
            Op::Exit => write!(f, "exit"),
            Op::Truncate(file, pages) => write!(f, "truncate {file} {pages}"),
            Op::Punch(file, span) => write!(f, "punch {file} {span}"),
            Op::Exclusive(page) => write!(f, "exclusive {page}"),
            Op::Migrate(span) => write!(f, "migrate {span}"),
            Op::Split(span) => write!(f, "split {span}"),
            Op::ClearRefs => write!(f, "clear-refs"),
            Op::Ksm => write!(f, "ksm"),
            Op::Uffd(span, what) => write!(f, "uffd {span} {}", name(&UFFDS, *what)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Parent => write!(f, "{}", self.op),
            Who::Child => write!(f, "child: {}", self.op),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.0.iter().map(Step::to_string).collect();
        write!(f, "{}", steps.join("; "))
    }
}

fn number<T: FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

fn span(word: Option<&str>) -> Option<Span> {
    let (first, count) = word?.split_once('+')?;
    Some(Span { first: first.parse().ok()?, count: count.parse().ok()? })
}

fn what(word: &str) -> Option<What> {
    let mut parts = word.split(':');
    let kind = parts.next()?;
    let backing = (number(parts.next()), number(parts.next()));
    match (kind, backing) {
        ("anon", _) => Some(What::Anon),
        ("shared", _) => Some(What::Shared),
        ("hugetlb", _) => Some(What::Hugetlb),
        ("private", (Some(file), Some(at))) => Some(What::Private(file, at)),
        ("file", (Some(file), Some(at))) => Some(What::File(file, at)),
        _ => None,
    }
}

fn op(text: &str) -> Option<Op> {
    let mut words = text.split_whitespace();
    let verb = words.next()?;
    let mut next = || words.next();
    let op = match verb {
        "mmap" => Op::Mmap(span(next())?, named(&RIGHTS, next()?)?, what(next()?)?),
        "munmap" => Op::Munmap(span(next())?),
        "mremap" => {
            let (from, len) = (span(next())?, number(next())?);
            let (mut to, mut keep) = (None, false);
            while let Some(word) = next() {
                match word {
                    "to" => to = Some(number(next())?),
                    "dontunmap" => keep = true,
                    _ => return None,
                }
            }
            Op::Mremap(from, len, to, keep)
        }
        "mprotect" => Op::Mprotect(span(next())?, named(&RIGHTS, next()?)?),
        "madvise" => Op::Madvise(span(next())?, named(&advice_names(), next()?)?),
        "mlock" => Op::Mlock(span(next())?),
        "munlock" => Op::Munlock(span(next())?),
        "load" => Op::Load(number(next())?),
        "store" => Op::Store(number(next())?, number(next())?),
        "hmm" => Op::Hmm(span(next())?, named(&ASKS, next()?)?),
        "fork" => Op::Fork,
        "exit" => Op::Exit,
        "truncate" => Op::Truncate(number(next())?, number(next())?),
        "punch" => Op::Punch(number(next())?, span(next())?),
        "exclusive" => Op::Exclusive(number(next())?),
        "migrate" => Op::Migrate(span(next())?),
        "split" => Op::Split(span(next())?),
        "clear-refs" => Op::ClearRefs,
        "ksm" => Op::Ksm,
        "uffd" => Op::Uffd(span(next())?, named(&UFFDS, next()?)?),
        _ => return None,
    };
    next().is_none().then_some(op)
}

impl FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.split([';', '\n']).map(|line| line.split('#').next().unwrap_or("").trim());
        let step = |line: &str| {
            let (who, rest) = match line.strip_prefix("child:") {
                Some(rest) => (Who::Child, rest),
                None => (Who::Parent, line),
            };
            op(rest).map(|op| Step { who, op }).ok_or_else(|| format!("not an operation: {line}"))
        };
        lines.filter(|line| !line.is_empty()).map(step).collect::<Result<_, _>>().map(Program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_program_is_the_program() {
        let text = "mmap 0+8 rw anon; mmap 8+2 r file:1:3; store 3 7; mremap 0+4 2 to 512 dontunmap; fork; \
                    child: madvise 0+8 pageout; hmm 0+8 write; uffd 0+1 copy; punch 0 1+2";
        let program: Program = text.parse().unwrap();
        assert_eq!(program.0.len(), 9);
        assert_eq!(program.to_string().parse::<Program>(), Ok(program.clone()));
        assert_eq!(program.to_string(), text.split_whitespace().collect::<Vec<_>>().join(" "));
        assert!("mmap 0+8 rw".parse::<Program>().is_err());
        assert!("munmap 0+8 rw".parse::<Program>().is_err());
    }
}
