//! Loads and stores of a shader: how an access becomes a frame, and what it gets when it does not.
//!
//! Five scheduling points: *enter* (waits until the queues run, then the access is in flight), *translate* (TLB, or a
//! page walk that fills the TLB), *bus* (the DMA mapping), *data* (the frame), *leave*. Between them everything may
//! change under the access, which is the point. Revocation is judged on the bus and a freed frame at the data, each at
//! the scheduling point that conflicts with it, so executions that a reduction takes for equal get the same verdict.
//!
//! With XNACK off faults come back to the caller: whether one is fatal (invariants I7 and I11) is for others to say. With
//! XNACK on the access [raises a retry fault](crate::retry) before it leaves, sleeps until that is answered, and begins
//! again; only the no-retry entry makes it a fault for the caller. A retry walks the page table: when what refused the
//! access was cached, one scheduling point drops that first.
//!
//! An access that reaches memory it must not reach does not come back: it is a violation
//! of I1 (revoked DMA mapping, freed frame) or I2 (a write through a read-only DMA mapping, an address that leads
//! nowhere).

use crate::iommu::{Space, Target};
use crate::page_table::Pte;
use crate::retry::Entry;
use crate::vm::GpuVm;
use interleave::lab::{Invariant, Lab, Span, Stamp, Violation, Visible};
use model::note;
use model::platform::{DmaDirection, PteFlags};
use model::units::{PAGE_SHIFT, PAGE_SIZE};
use std::fmt;
use std::rc::Rc;

/// What a wave does to a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Loads it.
    Read,
    /// Stores a value.
    Write(u64),
}

impl Access {
    /// Whether it is a store.
    pub const fn is_write(self) -> bool {
        matches!(self, Access::Write(_))
    }
    const fn name(self) -> &'static str {
        if self.is_write() { "write" } else { "read" }
    }
}

/// An access that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpuFault {
    /// Page of the GPU address.
    pub page: u64,
    /// Whether it was a store.
    pub write: bool,
    /// Why.
    pub kind: FaultKind,
    /// The event of the translation; of the wave's end for [`FaultKind::Destroyed`].
    pub at: Stamp,
}

/// Why an access was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// No valid entry.
    Invalid,
    /// A load through an entry without READABLE.
    NotReadable,
    /// A store through an entry without WRITEABLE. A cached entry decides as well, however stale.
    NotWriteable,
    /// The entry that ends retry faults.
    NoRetry,
    /// No fault of memory: the wave's queue is gone.
    Destroyed,
}

impl fmt::Display for GpuFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.write { "write" } else { "read" };
        let why = match self.kind {
            FaultKind::Invalid => "no valid entry",
            FaultKind::NotReadable => "entry not readable",
            FaultKind::NotWriteable => "entry not writeable",
            FaultKind::NoRetry => "no-retry entry",
            FaultKind::Destroyed => "queue destroyed",
        };
        write!(f, "GPU {access} of page {:#x}: {why}", self.page)
    }
}

/// A translation and where it came from.
#[derive(Clone, Copy)]
struct Translation {
    pte: Pte,
    /// The walk that filled the TLB entry, when it was a hit.
    cached: Option<Stamp>,
}

/// What an attempt came to.
enum Attempt<L: Lab> {
    /// The access is over.
    Over(Result<u64, GpuFault>),
    /// It raised a retry fault; whether a cached entry refused it.
    Retry(Rc<Entry<L>>, bool),
}

/// The attempts so far.
#[derive(Default)]
struct Retried {
    times: u32,
    /// The last fault was dropped as a duplicate.
    late: bool,
}

impl<L: Lab> GpuVm<L> {
    /// A wave reads or writes the 64-bit word at byte address `addr`. Returns the value read or written. Sleeps while
    /// the queues are stopped, and with XNACK on until its retry faults are answered.
    ///
    /// # Errors
    /// [`GpuFault`]: nothing was read or written.
    ///
    /// # Panics
    /// When `addr` is not a multiple of eight.
    #[track_caller]
    pub fn access(&self, addr: u64, access: Access) -> Result<u64, GpuFault> {
        assert!(addr.is_multiple_of(8), "a word is aligned: {addr:#x}");
        let (page, offset) = (addr >> PAGE_SHIFT, addr & (PAGE_SIZE - 1));
        let mut retried = Retried::default();
        let result = loop {
            match self.attempt(page, offset, access, retried.late) {
                Attempt::Over(result) => break result,
                Attempt::Retry(entry, cached) => self.wait_for_retry(page, &entry, cached, &mut retried),
            }
        };
        match result {
            Ok(value) if access.is_write() => {
                note!(L, "{}: GPU write page {page:#x} <- {value:#x}", self.name());
            }
            Ok(value) => note!(L, "{}: GPU read page {page:#x} -> {value:#x}", self.name()),
            Err(fault) => note!(L, "{}: {fault}", self.name()),
        }
        result
    }

    /// One time through the hardware, from enter to leave.
    #[track_caller]
    fn attempt(&self, page: u64, offset: u64, access: Access, late: bool) -> Attempt<L> {
        let fault = |kind| GpuFault { page, write: access.is_write(), kind, at: L::stamp() };
        if self.0.queues.enter().is_err() {
            note!(L, "{}: GPU {} of page {page:#x}: the queue is gone", self.name(), access.name());
            return Attempt::Over(Err(fault(FaultKind::Destroyed)));
        }
        let (result, cached) = self.translate(page, access);
        let attempt = match result {
            Ok(found) => Attempt::Over(Ok(self.data(page, offset, access, found))),
            Err(kind) => {
                let fault = fault(kind);
                let retries = kind != FaultKind::NoRetry && self.retries();
                let entry = if retries { self.raise_retry_fault(page, access.is_write(), late) } else { None };
                entry.map_or(Attempt::Over(Err(fault)), |entry| Attempt::Retry(entry, cached))
            }
        };
        self.0.queues.leave();
        attempt
    }

    /// Sleeps until the retry fault is answered.
    #[track_caller]
    fn wait_for_retry(&self, page: u64, entry: &Entry<L>, cached: bool, retried: &mut Retried) {
        retried.late = self.await_answer(entry);
        retried.times += 1;
        if cached {
            self.0.table.seen().invalidate(Span::one(page));
            self.0.tlb.borrow_mut().forget(page);
        }
        if retried.times > 1 {
            L::retry_point("a GPU access: its retry faults are answered, and it faults again");
        }
    }

    /// The TLB, or a walk that fills it, and whether it was the TLB; one scheduling point.
    #[track_caller]
    fn translate(&self, page: u64, access: Access) -> (Result<Translation, FaultKind>, bool) {
        self.0.table.seen().read(Span::one(page));
        let hit = self.0.tlb.borrow().lookup(page);
        let found = match hit {
            Some(cached) => Translation { pte: cached.pte, cached: Some(cached.filled_at) },
            None => {
                let leaf = self.0.table.walk(page);
                self.0.tlb.borrow_mut().fill(page, leaf, L::stamp());
                Translation { pte: leaf.pte, cached: None }
            }
        };
        let checked = if found.pte.is_no_retry() {
            Err(FaultKind::NoRetry)
        } else if !found.pte.is_valid() {
            Err(FaultKind::Invalid)
        } else if access.is_write() && !found.pte.flags.has(PteFlags::WRITEABLE) {
            Err(FaultKind::NotWriteable)
        } else if !access.is_write() && !found.pte.flags.has(PteFlags::READABLE) {
            Err(FaultKind::NotReadable)
        } else {
            Ok(found)
        };
        (checked, found.cached.is_some())
    }

    /// The bus and the frame behind the translation: two scheduling points, and the judgement on what was reached.
    #[track_caller]
    fn data(&self, page: u64, offset: u64, access: Access, found: Translation) -> u64 {
        let (iommu, frames) = (&self.0.iommu, self.0.iommu.frames());
        let place = || {
            let by = found.cached.map_or(String::new(), |at| format!(" by a TLB entry filled at event {}", at.0));
            let space = match found.pte.space() {
                Space::Bus => "bus",
                Space::Vram => "VRAM",
            };
            let addr = found.pte.addr;
            format!("{}: GPU {} of page {page:#x}, translated{by} to {space} {addr:#x},", self.name(), access.name())
        };
        let Some(target) = iommu.arrive(found.pte.space(), found.pte.addr) else {
            L::fail(Violation::new(Invariant::I2, format!("{} where nothing was ever mapped", place()), None))
        };
        let Target { pfn, generation, direction, mapped_at, unmapped_at } = target;
        if unmapped_at.is_some() {
            let after = if frames.alive(pfn, generation) { "" } else { ", and the frame was freed since" };
            let what = format!("{} reaches frame {pfn:#x}, whose DMA mapping is revoked{after}", place());
            L::fail(Violation::new(Invariant::I1, what, unmapped_at));
        }
        if access.is_write() && direction == DmaDirection::ToDevice {
            let what = format!("{} reaches frame {pfn:#x}, which is mapped for DMA to the device only", place());
            L::fail(Violation::new(Invariant::I2, what, Some(mapped_at)));
        }
        let value = match access {
            Access::Read => frames.load(pfn, offset),
            Access::Write(value) => {
                frames.store(pfn, offset, value);
                value
            }
        };
        if !frames.alive(pfn, generation) {
            let what = format!("{} reaches frame {pfn:#x}, which was freed", place());
            L::fail(Violation::new(Invariant::I1, what, frames.freed_at(pfn)));
        }
        value
    }
}
