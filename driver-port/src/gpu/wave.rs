//! Loads and stores of a shader: how an access becomes a page, and what it gets when it does not.
//!
//! An access waits until the queues run; then it is in flight: translated by the TLB, or by a walk that fills it, and the
//! word behind the bus address is read or written, whoever has the page by then.
//!
//! With XNACK off faults come back to the caller. With XNACK on the access raises a retry fault before it is over, sleeps
//! until that is answered, and begins again; only the no-retry entry makes it a fault for the caller. A retry walks the
//! page table: when what refused the access was cached, that is dropped first.

use super::board::{Access, Board};
use super::page_table::Leaf;
use super::pte::Pte;
use super::queues::Refused;
use super::retry::{EntryRef, Raised, RetryRings};
use super::vm::Inner;
use model::Errno;
use model::platform::{Kernel, PteFlags, SpinLock};
use model::units::{PAGE_SHIFT, PAGE_SIZE};

/// How long an access may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// On the clock of [`Kernel::now_ms`].
    pub until_ms: u64,
}

/// What became of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The value read or stored, or the sum.
    Done(u64),
    /// It was refused for good.
    Fault(FaultKind),
    /// The queue is gone, and the wave with it.
    Destroyed,
    /// The queues were stopped until its time was over.
    Stopped,
    /// Its retry faults were not answered, or answered without effect, until its time was over.
    Unanswered,
    /// The entry names no memory.
    NoMemory,
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
}

/// How long a wave waits for room in the ring, in milliseconds.
const ROOM_MS: u64 = 2;

/// What an attempt came to.
enum Attempt<K: Kernel, B: Board> {
    Over(Outcome),
    /// It raised a fault; whether a cached entry refused it.
    Retry(Raised<K, B>, bool),
}

/// What an attempt raises its fault with.
struct Raising<'a, K: Kernel, B: Board> {
    rings: &'a RetryRings<K, B>,
    spare: EntryRef<K, B>,
    /// Its last fault was dropped as a duplicate.
    late: bool,
}

impl<K: Kernel, B: Board> Inner<K, B> {
    /// A wave reads or writes the 64-bit word at byte address `addr`, a multiple of eight. Sleeps while the queues are
    /// stopped, and with XNACK on until its retry faults are answered.
    ///
    /// # Errors
    /// `EINVAL`: `addr` is not aligned. `EINTR`: the task is being killed. `ENOMEM`: no memory for a retry fault.
    pub fn access(&self, addr: u64, access: Access, limit: Limit) -> Result<Outcome, Errno> {
        if !addr.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let outcome = match &self.retry {
            // Above what the page table reaches there is nothing to walk, and nothing to retry.
            _ if addr >> PAGE_SHIFT >= self.config.properties.max_pfn => Outcome::Fault(FaultKind::Invalid),
            None => match self.attempt(addr, access, limit, None)? {
                Attempt::Over(outcome) => outcome,
                Attempt::Retry(..) => Outcome::NoMemory,
            },
            Some(retry) => self.access_with_retry(retry, addr, access, limit)?,
        };
        match outcome {
            Outcome::Done(_) => self.costs.accesses.add(1),
            Outcome::Fault(_) => self.costs.faults.add(1),
            _ => {}
        }
        Ok(outcome)
    }

    fn access_with_retry(
        &self,
        retry: &RetryRings<K, B>,
        addr: u64,
        access: Access,
        limit: Limit,
    ) -> Result<Outcome, Errno> {
        let mut late = false;
        loop {
            let spare = retry.alloc()?;
            let attempt = self.attempt(addr, access, limit, Some(Raising { rings: retry, spare, late }));
            let (raised, cached) = match attempt {
                Ok(Attempt::Retry(raised, cached)) => (raised, cached),
                Ok(Attempt::Over(outcome)) => {
                    retry.put(spare);
                    return Ok(outcome);
                }
                Err(errno) => {
                    retry.put(spare);
                    return Err(errno);
                }
            };
            let answer = match raised {
                Raised::New(entry) => {
                    self.costs.retry_faults.add(1);
                    let answer = retry.await_answer(entry, limit.until_ms);
                    retry.put(entry);
                    answer
                }
                Raised::Joined(entry) => {
                    retry.put(spare);
                    let answer = retry.await_answer(entry, limit.until_ms);
                    retry.put(entry);
                    answer
                }
                Raised::Full => {
                    // Nobody answers the spare entry.
                    let until = limit.until_ms.min(K::now_ms() + ROOM_MS);
                    let answer = retry.await_answer(spare, until);
                    retry.put(spare);
                    match answer {
                        Err(Errno::ETIME) if K::now_ms() < limit.until_ms => Ok(late),
                        other => other,
                    }
                }
            };
            late = match answer {
                Ok(duplicate) => duplicate,
                Err(Errno::ETIME) => return Ok(Outcome::Unanswered),
                Err(errno) => return Err(errno),
            };
            if cached {
                self.queues().tlb.lock().forget(addr >> PAGE_SHIFT);
            }
            if K::now_ms() >= limit.until_ms {
                return Ok(Outcome::Unanswered);
            }
            K::retry_point("a GPU access: its retry fault is answered");
        }
    }

    /// One time through the hardware.
    fn attempt(
        &self,
        addr: u64,
        access: Access,
        limit: Limit,
        raising: Option<Raising<'_, K, B>>,
    ) -> Result<Attempt<K, B>, Errno> {
        let (page, offset) = (addr >> PAGE_SHIFT, addr & (PAGE_SIZE - 1));
        let in_flight = match self.queues().enter(limit) {
            Ok(in_flight) => in_flight,
            Err(Refused::Destroyed) => return Ok(Attempt::Over(Outcome::Destroyed)),
            Err(Refused::Stopped) => return Ok(Attempt::Over(Outcome::Stopped)),
            Err(Refused::Killed) => return Err(Errno::EINTR),
        };
        let (result, cached) = self.translate(page, access);
        let attempt = match (result, raising) {
            (Ok(pte), _) => {
                let value = self.board.word(pte.addr() + offset, access);
                Attempt::Over(value.map_or(Outcome::NoMemory, Outcome::Done))
            }
            (Err(kind), Some(Raising { rings, spare, late })) if kind != FaultKind::NoRetry => {
                Attempt::Retry(rings.raise(page, access.is_write(), late, spare), cached)
            }
            (Err(kind), _) => Attempt::Over(Outcome::Fault(kind)),
        };
        drop(in_flight);
        Ok(attempt)
    }

    /// The TLB, or a walk that fills it, and whether it was the TLB.
    fn translate(&self, page: u64, access: Access) -> (Result<Pte, FaultKind>, bool) {
        let tlb = &self.queues().tlb;
        let hit = tlb.lock().lookup(page);
        let pte = match hit {
            Some(Leaf { pte, .. }) => pte,
            None => {
                // A flush waits for this access to be over, so it does not miss what is filled in here.
                let leaf = self.table.walk(page);
                tlb.lock().fill(page, leaf);
                leaf.pte
            }
        };
        let checked = if pte.is_no_retry() {
            Err(FaultKind::NoRetry)
        } else if !pte.is_valid() {
            Err(FaultKind::Invalid)
        } else if access.is_write() && !pte.flags().has(PteFlags::WRITEABLE) {
            Err(FaultKind::NotWriteable)
        } else if !access.is_write() && !pte.flags().has(PteFlags::READABLE) {
            Err(FaultKind::NotReadable)
        } else {
            Ok(pte)
        };
        (checked, hit.is_some())
    }
}
