//! `hardened`: the posting's design, repaired: same objects, same framework, same ioctl, meant to hold in every
//! interleaving.
//!
//! One idea carries most of it. **The driver works under SL, the notifier under NL for write, and everything the two
//! share is under NL**: the queue of ranges with pending work, whether the queues are stopped, what of a range is on
//! the GPU. The driver changes such things under SL *and* NL for read, so that two of its threads exclude each other by
//! SL and the notifier by NL. There is no `gc_lock`, there are no atomic counters, and a decision made under NL cannot
//! be overtaken before it is carried out.
//!
//! # What differs from `poc-v1`, and which race it closes (spec amdgpu-svm 6)
//!
//! | here | closes |
//! |---|---|
//! | SET_ATTR holds SL over tree change, mapping and pending work; retries happen inside | R13, R15, R17 |
//! | the tree changes for the whole interval or not at all (`set`) | R16 for the tree, R22 |
//! | attributes survive munmap; holes are skipped when mapping | R9, R21, R22 |
//! | pending work is a whole range, never a hull; each membership of a queue has its own reference | R8, R9, L1 |
//! | only the holder of SL takes work from the queue, so a range never has two workers | R8, L1 |
//! | a range that failed waits on a second list for a timer; nothing drains the list it appends to | R3 |
//! | what cannot be mapped (no permission, no memory behind it) is left unmapped until the next event on it | R3, L3 |
//! | stop and resume are decided and done under NL: no gap, no counter | the gap at the end of `poc-v1`'s restore, I5 |
//! | a stop that failed is tried again at the next event; one that failed but was counted is undone (`quiesce`) | R5 |
//! | queues stop only when a *mapped* range is hit | R6 |
//! | `mapped` is set under NL before the first PTE is written, and cleared under NL after the last is | R25 |
//! | the notifier clears the *whole* range, flushes, then unmaps DMA; an eviction clears PTEs too | R27, R29, L3 |
//! | a range across a border of attributes, or of VMAs with different rights, is rebuilt in pieces | R18 |
//! | the window of a new range begins at the address to be mapped and ends with equal attributes | R19 |
//! | losing access clears PTEs | appendix C, I8 |
//! | a range marked unmapped is never mapped again: it is destroyed first | R23 |
//! | pages collected for reading are collected anew before they are mapped writeable | GPU writes to a zero page |
//! | a write fault on what may only be read is refused | R33 |
//! | process exit (RELEASE) clears everything and ends the work; the queues stay stopped until fini | R32 |
//! | close excludes the notifier when it says "no new work"; callbacks go on clearing until the end | R35, I12 |
//! | fini takes every range off the GPU, DMA included, before its notifier is unregistered | I1, I3 at the end |
//!
//! Not ours to close: R7 (KFD stops the whole process), R30 (page tables may be allocated under NL, without reclaim),
//! R31 (evicted page tables: `EBUSY`, tried again by timer with the queues stopped), R36 to R40.
//!
//! # What is promised
//!
//! With XNACK off: whenever the instance has not stopped the queues, every page that a SET_ATTR or a worker has mapped,
//! and that still has access and a VMA that permits it, is mapped. A page that could not be mapped for good (`EFAULT`,
//! `EPERM`, `EIO`) is unmapped, and the range stays so that the next event on it tries again. A DMA mapping that fails
//! is among these, because `EFAULT` is all the framework says. A SET_ATTR that meets such a page maps everything else,
//! and then says so; the tree keeps what was asked for. The attributes of the tree and the PTEs agree whenever SL is
//! free and nothing is queued.
//!
//! | file | what |
//! |---|---|
//! | `set` | SET_ATTR |
//! | `map` | the mapping pass over attribute runs, ranges and VMAs |
//! | `commit` | one range: collect pages, write PTEs |
//! | `retire` | take a range off the GPU, destroy it |
//! | `notifier` | the MMU callback |
//! | `queue` | the queue |
//! | `service` | the work, for both workers and SET_ATTR |
//! | `quiesce` | stop and resume |
//! | `lifecycle` | fault, close, fini |

pub(crate) mod commit;
pub(crate) mod lifecycle;
pub(crate) mod map;
pub(crate) mod notifier;
pub(crate) mod queue;
pub(crate) mod quiesce;
pub(crate) mod retire;
pub(crate) mod service;
pub(crate) mod set;

use super::range::Range;
use crate::Errno;
use crate::attr::{Attrs, Flags};
use crate::list::List;
use crate::platform::{KPlain, Plain, Platform, PteFlags};

/// What only this design keeps in an instance. Under NL (see [`super::locks`]) unless it says otherwise.
pub(crate) struct State<P: Platform> {
    /// Ranges with work to do.
    pub(crate) pending: List<P::Kernel, Range<P>>,
    /// Ranges whose work failed and is tried again by timer.
    pub(crate) retry: List<P::Kernel, Range<P>>,
    /// The rest.
    pub(crate) gate: KPlain<P, Gate>,
    /// Close has begun. Under SL: the driver's own copy of [`Gate::closing`].
    pub(crate) closed: KPlain<P, bool>,
}

impl<P: Platform> State<P> {
    pub(crate) fn new() -> Self {
        State { pending: List::new(), retry: List::new(), gate: Plain::new(Gate::default()), closed: Plain::new(false) }
    }
}

/// What may run. Under NL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Gate {
    /// KFD has counted one stop of ours.
    pub(crate) stopped: bool,
    /// Close has begun: no new work.
    pub(crate) closing: bool,
    /// The address space is dying: nothing can be mapped any more.
    pub(crate) mm_gone: bool,
}

/// Which queue a range is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Queued {
    /// None.
    #[default]
    No,
    /// `pending`. Holds one reference.
    Pending,
    /// `retry`. Holds one reference.
    Retry,
}

/// The part of a range that the notifier and the driver share. Under NL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RangeState {
    /// There may be PTEs of this range.
    pub(crate) mapped: bool,
    /// The flags that *all* its PTEs have; [`PteFlags::NONE`] when they are not all there.
    pub(crate) pte_flags: PteFlags,
    /// Attribute flags it was last mapped with.
    pub(crate) attr_flags: Flags,
    /// Queue membership.
    pub(crate) queued: Queued,
}

/// The part of a range that only holders of SL look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RangeOwned {
    /// Out of the tree; only a queue's reference keeps it. Its bounds are work still.
    pub(crate) removed: bool,
    /// The pages were collected for reading: they must not be mapped writeable.
    pub(crate) read_only_pages: bool,
}

/// Why a piece of work did not finish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unfinished {
    /// Try again later.
    Later(Errno),
    /// The address space is dying; nothing can be mapped any more.
    MmGone,
}

impl Unfinished {
    /// What user space is told.
    pub(crate) const fn errno(self) -> Errno {
        match self {
            Unfinished::Later(e) => e,
            Unfinished::MmGone => Errno::EFAULT,
        }
    }
}

/// Whether an error may go away by itself.
pub(crate) const fn is_transient(error: Errno) -> bool {
    matches!(error, Errno::EAGAIN | Errno::EBUSY | Errno::ENOMEM | Errno::EINTR)
}

/// What of the attributes a mapping depends on. Neighbours that agree in it may share a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MappingAttrs {
    /// Whether the GPU may access.
    pub(crate) access: bool,
    /// The attribute flags.
    pub(crate) flags: Flags,
}

impl From<Attrs> for MappingAttrs {
    fn from(attrs: Attrs) -> Self {
        MappingAttrs { access: attrs.has_access(), flags: attrs.flags }
    }
}
