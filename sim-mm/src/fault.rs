//! CPU accesses and page faults.
//!
//! Answers to `mm/memory.c` (`handle_mm_fault`, `do_anonymous_page`, `wp_page_copy`, `do_huge_zero_wp_pmd`) and the
//! fault entry of an architecture. Making an entry present (first touch, file page, swap-in) or writable in place sends
//! no event (spec mm-events 2); copying the zero page does, and copying a page that others have, too (`cow`).

use crate::device::Folio;
use crate::interval::event;
use crate::memory::{BLOCK_PAGES, HUGE_ZERO_PFN, ZERO_PFN, is_zero_pfn};
use crate::migrate::FOLIO_LOCK;
use crate::pagetable::{PageTable, Prot, Pte, block_of};
use crate::space::{AddressSpace, Inner, MmapRead, Sigsegv, prot_of};
use crate::vma::VmaNode;
use interleave::lab::{Gate, Lab, Span, Visible};
use model::note;
use model::platform::{EventKind, RwSem, VmaFlags};
use model::units::{PAGE_SIZE, Pages};
use std::rc::Rc;

/// What ends a fault without the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FaultError {
    /// `VM_FAULT_ERROR`: it failed for good.
    Failed,
    /// `VM_FAULT_SIGBUS`: the page is in device memory and cannot be brought back.
    Sigbus,
    /// `VM_FAULT_RETRY`: it needs mmap_lock, the VMA's lock is not enough. Only without mmap_lock.
    Retry,
}

/// What stopped a pass over the entries.
enum Stop<L: Lab> {
    /// Nothing: all entries are as wanted.
    Done,
    /// The zero page (or the huge one) must be copied here, which sends an event.
    CopyZero(u64),
    /// A page that others may have, too: `do_wp_page`.
    Shared(u64, u64),
    /// A store to a page of a private file mapping that is not present: `do_cow_fault`.
    CopyFile(u64, u64),
    /// A migration entry: sleep until the migration is done.
    Migration(u64, Rc<L::Gate>),
    /// A page in device memory, or the first of a block of them.
    Device(Folio),
    /// No memory for a fault in this address space any more.
    Unstable,
}

/// Under what a page is faulted in.
pub(crate) enum Held<'a, 'b, L: Lab> {
    /// The VMA's lock alone.
    Vma,
    /// mmap_lock for read.
    Read(&'a MmapRead<'b, L>),
    /// mmap_lock for write.
    Write,
}

impl<L: Lab> Clone for Held<'_, '_, L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L: Lab> Copy for Held<'_, '_, L> {}

impl<L: Lab> AddressSpace<L> {
    /// A CPU load of the 64-bit word at `addr` (rounded down to a word), faulting as needed.
    ///
    /// # Errors
    /// [`Sigsegv`]: no VMA, or it is not readable, or a device does not give the page back.
    #[track_caller]
    pub fn load(&self, addr: u64) -> Result<u64, Sigsegv> {
        let value = self.inner.access(addr, None)?;
        note!(L, "CPU load {addr:#x} = {value:#x}");
        Ok(value)
    }

    /// A CPU store of a 64-bit word at `addr` (rounded down to a word), faulting as needed.
    ///
    /// # Errors
    /// [`Sigsegv`]: no VMA, or it is not writable, or a device does not give the page back.
    #[track_caller]
    pub fn store(&self, addr: u64, value: u64) -> Result<(), Sigsegv> {
        self.inner.access(addr, Some(value))?;
        note!(L, "CPU store {addr:#x} = {value:#x}");
        Ok(())
    }
}

impl<L: Lab> Inner<L> {
    /// One access: a walk, then the access itself, faults in between. Between the two somebody may take the translation
    /// away; a TLB shootdown would wait for an access under way, here the access that lost walks again.
    #[track_caller]
    fn access(&self, addr: u64, store: Option<u64>) -> Result<u64, Sigsegv> {
        let page = addr / PAGE_SIZE;
        let mut device_faults = 0;
        let wanted = if store.is_some() { Prot::Write } else { Prot::Read };
        let translate = || match self.table.borrow().get(page).pte {
            Pte::Present { pfn, prot } if prot >= wanted => Some(pfn),
            _ => None,
        };
        loop {
            self.walks.read(Span::one(page));
            let Some(pfn) = translate() else {
                // A fault that does nothing (a timeslice) makes the thread spin here, with no lock held.
                if self.cpu_fault(addr, store.is_some())? {
                    device_faults += 1;
                    if device_faults > 1 {
                        L::retry_point("a device page faults again");
                    }
                }
                continue;
            };
            let still = || translate() == Some(pfn);
            let done = match store {
                None => self.memory.load_if(pfn, addr, still),
                Some(value) => self.memory.store_if(self.id, pfn, addr, value, still),
            };
            if let Some(value) = done {
                return Ok(value);
            }
        }
    }

    /// `do_user_addr_fault`: under the VMA lock alone when that can be had and is enough, else under mmap_lock. Returns
    /// whether a device was asked for the page.
    #[track_caller]
    fn cpu_fault(&self, addr: u64, write: bool) -> Result<bool, Sigsegv> {
        let page = Pages::new(addr / PAGE_SIZE, addr / PAGE_SIZE);
        let fault = |held: Held<'_, '_, L>, vma: &VmaNode<L>| match accessible(vma.flags(), write) {
            true => self.handle_mm_fault(held, vma, page, write),
            false => Err(FaultError::Failed),
        };
        let mut result = Err(FaultError::Retry);
        if let Some(held) = self.vma_read_lock(addr) {
            result = fault(Held::Vma, &held.vma);
            held.unlock();
        }
        if result == Err(FaultError::Retry) {
            let held = self.mmap_lock.read();
            let vma = self.vmas.borrow().lookup(addr);
            result = vma.map_or(Err(FaultError::Failed), |vma| fault(Held::Read(&held), &vma));
        }
        result.map_err(|error| {
            let bus = error == FaultError::Sigbus;
            let (signal, access) =
                (if bus { "SIGBUS" } else { "SIGSEGV" }, if write { "store to" } else { "load from" });
            note!(L, "{signal}: {access} {addr:#x}");
            Sigsegv { addr, write, bus }
        })
    }

    /// `handle_mm_fault` on each page of `pages`, all inside `vma`, whose flags allow the access. Sleeps on migration entries and locked device pages. One scheduling
    /// point for all pages that need no event. A page in device memory is asked back once; whether it came is seen by
    /// who faults again. Returns whether there was one.
    #[track_caller]
    pub(crate) fn handle_mm_fault(
        &self,
        held: Held<'_, '_, L>,
        vma: &VmaNode<L>,
        pages: Pages,
        write: bool,
    ) -> Result<bool, FaultError> {
        if vma.flags().io || vma.flags().pfnmap {
            return Err(FaultError::Failed);
        }
        let mut device = false;
        // Any fault may meet a migration entry.
        L::wait_map(FOLIO_LOCK);
        let mut from = pages.first;
        while from <= pages.last {
            let rest = Pages::new(from, pages.last);
            let reach = if self.huge(vma) { block_of(rest.first).hull(&block_of(rest.last)) } else { rest };
            self.walks.write(Span::new(reach.first, reach.last));
            let stop = self.fault_in(vma, rest, write);
            from = match stop {
                Stop::Done => pages.last + 1,
                Stop::Unstable => return Err(FaultError::Failed),
                Stop::Device(folio) => {
                    let held = match held {
                        Held::Vma => return Err(FaultError::Retry),
                        Held::Read(guard) => Some(guard),
                        Held::Write => None,
                    };
                    self.device_fault(held, rest.first.max(folio.page), folio)?;
                    device = true;
                    folio.page + folio.count
                }
                Stop::CopyZero(page) => {
                    self.anon_vma_prepare(vma);
                    self.copy_zero_page(vma, page);
                    page + 1
                }
                Stop::Shared(page, pfn) => {
                    self.do_wp_page(vma, page, pfn);
                    page
                }
                Stop::CopyFile(page, pfn) => {
                    self.do_cow_fault(vma, page, pfn);
                    page
                }
                Stop::Migration(page, gate) => {
                    note!(L, "fault on page {page:#x}: waits for the migration of it");
                    gate.wait_until(1);
                    page
                }
            };
        }
        Ok(device)
    }

    fn huge(&self, vma: &VmaNode<L>) -> bool {
        self.options.thp || vma.flags().hugetlb
    }

    /// Brings entries up to what the access needs, page by page, as far as no event is needed and nobody has to sleep.
    fn fault_in(&self, vma: &VmaNode<L>, pages: Pages, write: bool) -> Stop<L> {
        let mut table = self.table.borrow_mut();
        let mut page = pages.first;
        while page <= pages.last {
            let entry = table.get(page);
            let next = if entry.order > 0 { block_of(page).last + 1 } else { page + 1 };
            match entry.pte {
                Pte::None => {
                    if self.unstable.get() {
                        return Stop::Unstable;
                    }
                    if let Some(backing) = &vma.backing {
                        let pfn = backing.frame(page);
                        if write && !backing.shared {
                            self.anon_vma_prepare(vma);
                            return Stop::CopyFile(page, pfn);
                        }
                        table.set(page, self.map_file_page(vma, backing, pfn, write));
                    } else {
                        page = self.populate(&mut table, vma, page, write);
                        continue;
                    }
                }
                Pte::Swap { slot } => {
                    if self.unstable.get() {
                        return Stop::Unstable;
                    }
                    // do_swap_page: no event. An exclusive page is mapped writable at once.
                    let (pfn, alone) = self.memory.read_from_swap(slot, self.id, page);
                    self.memory.put_slot(slot);
                    self.memory.add_maps(pfn, 1);
                    self.memory.set_dirty_in(self.id, pfn, 1, alone && write);
                    if self.memory.anon_of(pfn, 1).is_none() {
                        self.set_anon(vma, page, pfn, 1, alone);
                    }
                    let most = if alone { Prot::Write } else { Prot::Read };
                    table.set(page, Pte::Present { pfn, prot: prot_of(vma.flags()).min(most) });
                    if write && !alone {
                        continue;
                    }
                }
                Pte::Migration { migration, .. } => {
                    return Stop::Migration(page, self.memory.migration_gate(migration));
                }
                Pte::Device { pfn, .. } => {
                    let (first, count) = if entry.order > 0 { (block_of(page).first, BLOCK_PAGES) } else { (page, 1) };
                    return Stop::Device(Folio { page: first, pfn: pfn - (page - first), count });
                }
                Pte::Present { pfn, prot: old } => {
                    let mut prot = old;
                    if prot == Prot::None {
                        // A NUMA hint: the access is what it asked for (do_numa_page).
                        let read_only = is_zero_pfn(pfn) || self.must_copy(vma, pfn);
                        prot = prot_of(vma.flags()).min(if read_only { Prot::Read } else { Prot::Write });
                    }
                    if write && prot == Prot::Read {
                        if is_zero_pfn(pfn) {
                            return Stop::CopyZero(page);
                        }
                        if self.must_copy(vma, pfn) {
                            self.anon_vma_prepare(vma);
                            return Stop::Shared(page, pfn);
                        }
                        // The page is ours alone: made writable in place, no event (wp_page_reuse).
                        prot = Prot::Write;
                        if !vma.is_shared() {
                            let first = if entry.order > 0 { pfn - (page - block_of(page).first) } else { pfn };
                            self.memory.set_dirty_in(self.id, first, 1 << entry.order, true);
                        }
                    }
                    if prot != old {
                        reprotect(&mut table, page, entry.order, prot);
                    }
                }
            }
            page = next;
        }
        Stop::Done
    }

    /// First touch of `page` (`do_anonymous_page`, `do_huge_pmd_anonymous_page`); returns the next page to look at.
    fn populate(&self, table: &mut PageTable, vma: &VmaNode<L>, page: u64, write: bool) -> u64 {
        let (flags, block) = (vma.flags(), block_of(page));
        let huge = self.huge(vma) && vma.bytes().covers(&block.bytes()) && table.block_is_none(page);
        // The zero page needs none, the huge one does.
        if write || huge {
            self.anon_vma_prepare(vma);
        }
        if huge {
            let pte = if write || flags.hugetlb {
                let pfn = self.memory.alloc_block(self.id, block.first);
                self.memory.add_maps(pfn, BLOCK_PAGES);
                self.memory.set_dirty_in(self.id, pfn, BLOCK_PAGES, write);
                self.set_anon(vma, block.first, pfn, BLOCK_PAGES, true);
                Pte::Present { pfn, prot: prot_of(flags) }
            } else {
                Pte::Present { pfn: HUGE_ZERO_PFN, prot: Prot::Read }
            };
            table.set_block(page, pte);
            return block.last + 1;
        }
        let zero = Pte::Present { pfn: ZERO_PFN, prot: Prot::Read };
        table.set(page, if write { self.fresh_page(vma, page) } else { zero });
        page + 1
    }

    fn fresh_page(&self, vma: &VmaNode<L>, page: u64) -> Pte {
        let pfn = self.memory.alloc(self.id, page);
        self.memory.add_maps(pfn, 1);
        self.memory.set_dirty_in(self.id, pfn, 1, true);
        self.set_anon(vma, page, pfn, 1, true);
        Pte::Present { pfn, prot: Prot::Write }
    }

    /// Write fault on the zero page (`wp_page_copy`) or on the huge one (`do_huge_zero_wp_pmd`): CLEAR, then a page of
    /// our own where the zero page still is.
    #[track_caller]
    fn copy_zero_page(&self, vma: &VmaNode<L>, page: u64) {
        let huge = self.table.borrow().block_leaf(page).is_some();
        let span = if huge { block_of(page) } else { Pages::new(page, page) };
        let clear = self.notifiers.start(event(EventKind::Clear, span.bytes())).expect("blockable events do not fail");
        self.walks.write(Span::new(span.first, span.last));
        {
            let mut table = self.table.borrow_mut();
            match (huge, table.block_leaf(page)) {
                (true, Some(Pte::Present { pfn: HUGE_ZERO_PFN, .. })) => {
                    let pfn = self.memory.alloc_block(self.id, span.first);
                    self.memory.add_maps(pfn, BLOCK_PAGES);
                    self.memory.set_dirty_in(self.id, pfn, BLOCK_PAGES, true);
                    self.set_anon(vma, span.first, pfn, BLOCK_PAGES, true);
                    table.set_block(page, Pte::Present { pfn, prot: Prot::Write });
                }
                (false, None) => {
                    if matches!(table.get(page).pte, Pte::Present { pfn, .. } if is_zero_pfn(pfn)) {
                        table.set(page, self.fresh_page(vma, page));
                    }
                }
                // Somebody else was faster; the access faults again if it must.
                _ => {}
            }
        }
        self.notifiers.end(clear);
    }
}

/// `access_error`, the other way round; x86 can read what it can write.
fn accessible(flags: VmaFlags, write: bool) -> bool {
    flags.write || (!write && flags.read)
}

pub(crate) fn reprotect(table: &mut PageTable, page: u64, order: u8, prot: Prot) {
    let at = if order > 0 { block_of(page).first } else { page };
    match table.get(at).pte {
        Pte::Present { pfn, .. } if order > 0 => table.set_block(at, Pte::Present { pfn, prot }),
        Pte::Present { pfn, .. } => table.set(at, Pte::Present { pfn, prot }),
        _ => {}
    }
}
