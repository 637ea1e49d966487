//! `hmm_range_fault`: what the CPU page table says about a range, faulting pages in on request.
//!
//! Answers to `mm/hmm.c` (spec mm-events 3). EBUSY means exactly that the notifier sequence collided; every fault
//! inside restarts the walk at the faulted page, with a new check of the sequence. A walk without faults is followed by
//! no check: the caller asks `read_retry` under its lock. Device-private entries of the caller's owner are taken as they
//! are, and a write request is ignored for them; those of others are faulted back. Exclusive entries, swap and markers do
//! not exist here.

use crate::fault::Held;
use crate::interval::SubId;
use crate::memory::{BLOCK_ORDER, is_zero_pfn};
use crate::migrate::FOLIO_LOCK;
use crate::pagetable::{Prot, Pte, block_of};
use crate::space::Inner;
use crate::vma::VmaNode;
use interleave::lab::{Gate, Lab, Span, Visible};
use model::platform::{HmmPfn, HmmRange, HmmRequest, Owner, Plant};
use model::units::{PAGE_SIZE, Pages};
use model::{Errno, note};
use std::rc::Rc;

/// What a walk came to, short of an error.
enum Walk<L: Lab> {
    /// The end.
    Done,
    /// Fault these pages of the VMA in, for write or for read, and walk again from the first of them.
    Fault(Rc<VmaNode<L>>, Pages, bool),
    /// Wait for the migration of this page and walk again from it.
    Migration(u64, Rc<L::Gate>),
}

/// `hmm_pte_need_fault`: whether to fault, and for write.
fn need_fault(request: HmmRequest, valid: bool, writable: bool) -> Option<bool> {
    match request {
        HmmRequest::Snapshot => None,
        HmmRequest::Write if !writable => Some(true),
        _ if !valid => Some(false),
        _ => None,
    }
}

/// What the caller wants.
#[derive(Clone, Copy)]
struct Ask {
    request: HmmRequest,
    owner: Owner,
}

const ERROR: HmmPfn = HmmPfn { valid: false, write: false, error: true, order: 0, pfn: 0 };

impl<L: Lab> Inner<L> {
    /// See [`model::platform::Mm::hmm_range_fault`]; the caller holds mmap_lock.
    #[track_caller]
    pub(crate) fn hmm_range_fault(
        &self,
        held: Held<'_, '_, L>,
        range: &HmmRange<SubId>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        let HmmRange { notifier: sub, notifier_seq: seq, start, request, owner } = *range;
        let ask = Ask { request, owner };
        self.costs.add(|costs| {
            costs.hmm_calls += 1;
            costs.hmm_pages += pfns.len() as u64;
        });
        if pfns.is_empty() {
            return Ok(());
        }
        let first = start / PAGE_SIZE;
        let pages = Pages::new(first, first + pfns.len() as u64 - 1);
        let (mut last, mut faulted) = (first, None);
        L::wait_map(FOLIO_LOCK);
        loop {
            if self.notifiers.check_retry(sub, seq) {
                note!(L, "hmm_range_fault {}: EBUSY, {sub:?} was invalidated", pages.bytes());
                return Err(Errno::EBUSY);
            }
            let rest = Pages::new(last, pages.last);
            self.walks.read(Span::new(rest.first, rest.last));
            match self.walk(rest, &mut pfns[(last - first) as usize..], ask)? {
                Walk::Done => return Ok(()),
                Walk::Fault(vma, part, write) => {
                    last = part.first;
                    // hmm_vma_fault
                    let endless = L::planted(Plant::HmmWriteFaultLoop);
                    if write && !vma.flags().write && !endless {
                        return Err(Errno::EPERM);
                    }
                    // A fault that succeeds without progress (a timeslice) makes this loop spin, mmap_lock held.
                    if faulted == Some((last, write)) {
                        L::retry_point("hmm_range_fault: the same page again");
                    }
                    faulted = Some((last, write));
                    let write = write && (vma.flags().write || !endless);
                    self.handle_mm_fault(held, &vma, part, write).map_err(|_| Errno::EFAULT)?;
                }
                Walk::Migration(page, gate) => {
                    note!(L, "hmm_range_fault: waits for the migration of page {page:#x}");
                    last = page;
                    gate.wait_until(1);
                }
            }
        }
    }

    /// `walk_page_range(hmm_walk_ops)` over `pages`; `pfns` has one slot for each.
    fn walk(&self, pages: Pages, pfns: &mut [HmmPfn], ask: Ask) -> Result<Walk<L>, Errno> {
        let mut page = pages.first;
        while page <= pages.last {
            let vma = self.vmas.borrow().find(page * PAGE_SIZE);
            let from = vma.as_ref().map_or(u64::MAX, |vma| vma.bytes().start / PAGE_SIZE);
            let (part, usable) = match &vma {
                Some(vma) if from <= page => {
                    let part = Pages::new(page, pages.last.min(vma.bytes().pages().last));
                    let flags = vma.flags();
                    (part, flags.read && !flags.io && !flags.pfnmap)
                }
                _ => (Pages::new(page, pages.last.min(from - 1)), false),
            };
            let slots = &mut pfns[(part.first - pages.first) as usize..=(part.last - pages.first) as usize];
            match vma {
                Some(vma) if usable => match self.walk_vma(vma, part, slots, ask) {
                    Walk::Done => {}
                    stopped => return Ok(stopped),
                },
                // A hole (hmm_vma_walk_hole without a VMA), or a VMA that hmm_vma_walk_test skips.
                _ if ask.request == HmmRequest::Snapshot => slots.fill(ERROR),
                _ => return Err(Errno::EFAULT),
            }
            page = part.last + 1;
        }
        Ok(Walk::Done)
    }

    /// The part of the walk inside one VMA.
    fn walk_vma(&self, vma: Rc<VmaNode<L>>, pages: Pages, slots: &mut [HmmPfn], ask: Ask) -> Walk<L> {
        let table = self.table.borrow();
        let mut page = pages.first;
        while page <= pages.last {
            let entry = table.get(page);
            // To the end of the block, or of the range: how far a fault reaches, and a block entry.
            let block = Pages::new(page, pages.last.min(block_of(page).last));
            let whole = table.block_is_none(page) || entry.order > 0;
            let part = if whole { block } else { Pages::new(page, page) };
            let mut request = ask.request;
            let (valid, write, pfn) = match entry.pte {
                Pte::Present { pfn, prot } if prot > Prot::None => {
                    (true, prot == Prot::Write && !is_zero_pfn(pfn), pfn)
                }
                Pte::Device { pfn, write } if self.memory.device_of(pfn).owner == ask.owner => {
                    request = HmmRequest::Snapshot;
                    (true, write, pfn)
                }
                _ => (false, false, 0),
            };
            // Of another owner: an error as a huge entry, nothing as a small one.
            let error = matches!(entry.pte, Pte::Device { .. }) && !valid && entry.order > 0;
            if let Some(for_write) = need_fault(request, valid, write) {
                return match entry.pte {
                    Pte::Migration { migration, .. } => Walk::Migration(page, self.memory.migration_gate(migration)),
                    _ => Walk::Fault(vma.clone(), block, for_write),
                };
            }
            for at in part.first..=part.last {
                let pfn = if valid { pfn + (at - page) } else { 0 };
                let order = if valid && entry.order > 0 { BLOCK_ORDER } else { 0 };
                slots[(at - pages.first) as usize] = HmmPfn { valid, write, error, order, pfn };
            }
            page = part.last + 1;
        }
        Walk::Done
    }
}
