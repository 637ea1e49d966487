//! mprotect and the NUMA hint scan: operations that change what present entries allow.
//!
//! Answers to `mm/mprotect.c` (spec mm-events 2.2) and `change_prot_numa`.

use crate::fault::Held;
use crate::interval::event;
use crate::memory::is_zero_pfn;
use crate::pagetable::{PUD_PAGES, Prot, Pte};
use crate::plant::Fault;
use crate::space::{AddressSpace, Inner, check_range, prot_of};
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, PAGE_SIZE, Pages};
use model::{Errno, note};

/// Pages below one entry of the 512 GiB level: at most one event for each.
const PGD_PAGES: u64 = PUD_PAGES * 512;

impl<L: Lab> AddressSpace<L> {
    /// `mprotect`. Per VMA: split, set flags, then PROTECTION_VMA around the change of its entries. A VMA whose flags
    /// do not change, or below which no page tables exist, sends nothing.
    ///
    /// # Errors
    /// `EINVAL` for the range; `ENOMEM` for a hole, with the VMAs before it changed.
    #[track_caller]
    pub fn mprotect(&self, bytes: Bytes, read: bool, write: bool) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        let held = mm.mmap_lock.write();
        let hit = mm.vmas.borrow().overlapping(bytes);
        mm.check_hugetlb_cuts(bytes, &hit)?;
        let span = mm.hull(bytes, &mm.with_neighbours(bytes));
        let (mut stepped, mut changed, mut at) = (false, 0, bytes.start);
        while at < bytes.end {
            let Some(vma) = mm.vmas.borrow().lookup(at) else { break };
            let part = Bytes::new(at, vma.bytes().end.min(bytes.end));
            at = part.end;
            let mut flags = vma.flags();
            let populate = vma.mlocked.get() && write && !flags.write && !vma.is_shared();
            if flags.read == read && flags.write == write {
                continue;
            }
            (flags.read, flags.write) = (read, write);
            stepped |= changed > 0;
            let locked = mm.with_neighbours(part);
            stepped |= mm.vma_start_write(&held, mm.hull(part, &locked), &locked);
            stepped |= mm.cut(&held, part);
            let vma = mm.vmas.borrow().lookup(part.start).expect("it was just cut out");
            vma.set_flags(flags);
            // What was merged has these flags already, so that the kernel goes on behind it, too.
            let vma = mm.merge(vma);
            at = vma.bytes().end;
            changed += 1;
            note!(L, "mprotect {part}: VMA flags set (read {read}, write {write})");
            let prot = prot_of(flags);
            stepped |= mm.change_protection(part.pages(), |pte| match pte {
                Pte::Present { pfn, .. } if is_zero_pfn(pfn) => Pte::Present { pfn, prot: prot.min(Prot::Read) },
                Pte::Present { pfn, .. } if mm.memory.is_shared(pfn) && !vma.is_shared_unwatched() => {
                    Pte::Present { pfn, prot: prot.min(Prot::Read) }
                }
                // Anonymous pages that are ours alone become writable at once (can_change_pte_writable).
                Pte::Present { pfn, .. } => Pte::Present { pfn, prot },
                // A readable migration entry stays readable, the rest comes with a fault.
                Pte::Migration { migration, pfn, prot: old } => {
                    let prot = if prot == Prot::Write && old != Prot::Write { Prot::Read } else { prot };
                    Pte::Migration { migration, pfn, prot }
                }
                // Readable whatever the direction, also to PROT_NONE (change_softleaf_pte).
                Pte::Device { pfn, .. } => Pte::Device { pfn, write: false },
                Pte::Swap { .. } | Pte::None => pte,
            });
            if populate {
                // Locked memory that becomes writable is copied now.
                let _ = mm.handle_mm_fault(Held::Write, &vma, part.pages(), true);
                stepped = true;
            }
        }
        if changed > 0 {
            let locked = mm.vmas.borrow().overlapping(Pages::new(span.first, span.last).bytes());
            mm.vma_end_write(span, &locked, stepped);
        }
        drop(held);
        if at < bytes.end { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// A NUMA hint scan (`change_prot_numa`, from `task_numa_work`): entries of accessible VMAs in `bytes` become
    /// prot-none, the pages stay, and the next access restores the entry without an event. PROTECTION_VMA under
    /// mmap_lock held for read.
    ///
    /// # Errors
    /// `EINVAL` for the range.
    #[track_caller]
    pub fn numa_scan(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        let _held = mm.mmap_lock.read();
        let hit = mm.vmas.borrow().overlapping(bytes);
        for vma in hit {
            let flags = vma.flags();
            if (!flags.read && !flags.write) || flags.io || flags.pfnmap || flags.mixedmap || flags.hugetlb {
                continue;
            }
            let pages = vma.bytes().clip(&bytes).pages();
            // No VMA lock keeps faults out here: where page tables exist is looked up at a scheduling point.
            mm.walks.read(Span::new(pages.first, pages.last));
            mm.change_protection(pages, |pte| match pte {
                Pte::Present { pfn, .. } if !is_zero_pfn(pfn) => Pte::Present { pfn, prot: Prot::None },
                // Nothing to be hinted at, but every pass of change_protection does this.
                Pte::Device { pfn, .. } => Pte::Device { pfn, write: false },
                other => other,
            });
        }
        Ok(())
    }
}

impl<L: Lab> Inner<L> {
    /// `change_protection`: for each 512 GiB in which page tables exist, PROTECTION_VMA from the first populated 1 GiB
    /// entry on, around the change. Returns whether there was any.
    #[track_caller]
    fn change_protection(&self, pages: Pages, change: impl Fn(Pte) -> Pte + Copy) -> bool {
        let mut any = false;
        let mut first = pages.first;
        while first <= pages.last {
            let chunk = Pages::new(first, pages.last.min((first / PGD_PAGES + 1) * PGD_PAGES - 1));
            first = chunk.last + 1;
            let Some(populated) = self.table.borrow().first_populated_pud(chunk) else { continue };
            let part = Pages::new(populated, chunk.last);
            let mut told = part.bytes();
            if self.has(Fault::ShortProtect) && part.count() > 1 {
                told.end -= PAGE_SIZE;
            }
            let protect =
                self.notifiers.start(event(EventKind::ProtectionVma, told)).expect("blockable events do not fail");
            self.change_entries(part, |table| table.rewrite(part, change));
            self.notifiers.end(protect);
            any = true;
        }
        any
    }
}
