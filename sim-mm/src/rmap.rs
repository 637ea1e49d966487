//! From frames to the entries that map them, in whatever address space.
//!
//! Answers to the part of `mm/rmap.c` that device migration needs: `try_to_migrate` and `remove_migration_ptes`. The
//! kernel finds the entries through the anon_vma of a page; here a walk looks at every address space of the machine, in
//! the order of their ids ("cpu page table" of each, all pages). CLEAR goes where the page is mapped; the kernel sends it
//! to every VMA where the page could be.

use crate::device::{Folio, is_device_pfn};
use crate::interval::event;
use crate::memory::{BLOCK_PAGES, Memory};
use crate::pagetable::{Prot, Pte};
use crate::space::{Inner, prot_of};
use interleave::lab::{Lab, Span, Visible};
use model::note;
use model::platform::{EventKind, RwSem};
use model::units::{Bytes, PAGE_SIZE, Pages};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Every page there is.
const EVERYWHERE: Pages = Pages::new(0, u64::MAX / PAGE_SIZE);

/// Frames that move, and where to: to themselves when they stay.
#[derive(Default)]
pub(crate) struct Moves {
    /// By first source frame: how many, and the first new frame.
    runs: BTreeMap<u64, (u64, u64)>,
}

impl Moves {
    pub(crate) fn insert(&mut self, from: u64, count: u64, to: u64) {
        self.runs.insert(from, (count, to));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Where the frame goes, and how many frames from it on go along.
    fn get(&self, pfn: u64) -> Option<(u64, u64)> {
        let (&from, &(count, to)) = self.runs.range(..=pfn).next_back()?;
        (pfn < from + count).then(|| (pfn - from + to, from + count - pfn))
    }
}

/// One call's migration entries: the gate that waiters sleep on, and its number in each address space.
pub(crate) struct Migration<L: Lab> {
    pub(crate) gate: Rc<L::Gate>,
    numbers: BTreeMap<u32, u32>,
}

impl<L: Lab> Migration<L> {
    pub(crate) fn new(gate: L::Gate) -> Self {
        Migration { gate: Rc::new(gate), numbers: BTreeMap::new() }
    }

    pub(crate) fn number(&mut self, mm: &Inner<L>) -> u32 {
        *self.numbers.entry(mm.id).or_insert_with(|| {
            let mut migrations = mm.migrations.borrow_mut();
            migrations.push(self.gate.clone());
            migrations.len() as u32 - 1
        })
    }
}

impl<L: Lab> Memory<L> {
    /// An entry maps the frames, with references of its own.
    pub(crate) fn get_mapped(&self, first: u64, count: u64) {
        self.add_maps(first, count);
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.refs += 1;
            None::<()>
        });
    }
}

impl<L: Lab> Inner<L> {
    /// Turns the entry that maps the folio into a migration entry, inside the caller's step; the caller has a reference.
    /// Returns what the entry allowed; None when it is another one by now.
    pub(crate) fn make_migration_entry(&self, folio: Folio, migration: u32) -> Option<Prot> {
        let Folio { page, pfn, count } = folio;
        let mut table = self.table.borrow_mut();
        let entry = table.get(page);
        if (entry.order > 0) != (count > 1) {
            return None;
        }
        let prot = match entry.pte {
            Pte::Present { pfn: now, prot } if now == pfn => prot,
            Pte::Device { pfn: now, write } if now == pfn => [Prot::Read, Prot::Write][usize::from(write)],
            _ => return None,
        };
        let new = Pte::Migration { migration, pfn, prot };
        if count > 1 {
            table.set_block(page, new)
        } else {
            table.set(page, new)
        }
        self.memory.remove_maps(pfn, count);
        self.memory.put_not_last(pfn, count);
        Some(prot)
    }

    /// `try_to_migrate` as far as this address space maps the frames of `moves`: a CLEAR for each entry. Returns the
    /// folios whose entries it was.
    #[track_caller]
    pub(crate) fn try_to_migrate(&self, moves: &Moves, migration: &mut Migration<L>) -> Vec<Folio> {
        self.walks.read(Span::ALL);
        let mut found = Vec::new();
        for (page, pte, count) in self.table.borrow().leaves(EVERYWHERE) {
            if let Pte::Present { pfn, .. } | Pte::Device { pfn, .. } = pte
                && moves_all(moves, pfn, count)
            {
                found.push(Folio { page, pfn, count });
            }
        }
        for &folio in &found {
            let _rmap = self.anon_vma.read();
            let pages = Pages::new(folio.page, folio.page + folio.count - 1);
            let clear = self.notifiers.start(event(EventKind::Clear, pages.bytes())).expect("blockable");
            self.walks.write(Span::new(pages.first, pages.last));
            let number = migration.number(self);
            self.make_migration_entry(folio, number);
            self.notifiers.end(clear);
            note!(L, "try_to_migrate: {pages} of mm{}, pfn {:#x}", self.id, folio.pfn);
        }
        found
    }

    /// `remove_migration_ptes` on the entries inside `pages`, inside the caller's step; `limit` says what the VMA around
    /// a page allows. No event.
    pub(crate) fn remove_migration_ptes(&self, pages: Pages, moves: &Moves, limit: impl Fn(u64) -> Option<Prot>) {
        let mut table = self.table.borrow_mut();
        let mut restore = Vec::new();
        for (page, pte, count) in table.leaves(pages) {
            let Pte::Migration { pfn, prot, .. } = pte else { continue };
            match moves.get(pfn) {
                Some((to, reach)) if reach >= count => restore.push((page, to, prot, count)),
                // The folio was split, this mapping of it was not.
                Some(_) => {
                    table.split_block(page);
                    let parts = (0..count).filter_map(|i| Some((page + i, moves.get(pfn + i)?.0, prot, 1)));
                    restore.extend(parts);
                }
                None => {}
            }
        }
        for (page, to, prot, count) in restore {
            let new = if is_device_pfn(to) {
                Pte::Device { pfn: to, write: prot == Prot::Write }
            } else {
                Pte::Present { pfn: to, prot: limit(page).map_or(prot, |limit| prot.min(limit)) }
            };
            if count > 1 {
                table.set_block(page, new)
            } else {
                table.set(page, new)
            }
            self.memory.get_mapped(to, count);
        }
    }

    /// The same wherever this address space has migration entries of the frames.
    #[track_caller]
    pub(crate) fn remove_migration_ptes_everywhere(&self, moves: &Moves) {
        // What a readable device entry becomes depends on the VMA, which no lock keeps as it is. If it changes after
        // this, its mprotect still has the entries before it.
        self.tree_accesses.read(Span::ALL);
        let vmas = self.vmas.borrow().overlapping(Bytes::new(0, u64::MAX));
        let vmas: Vec<_> = vmas.iter().map(|vma| vma.view()).collect();
        self.walks.write(Span::ALL);
        self.remove_migration_ptes(EVERYWHERE, moves, |page| {
            vmas.iter().find(|vma| vma.bytes.contains(page * PAGE_SIZE)).map(|vma| prot_of(vma.flags))
        });
    }
}

fn moves_all(moves: &Moves, pfn: u64, count: u64) -> bool {
    let mut at = pfn;
    while at < pfn + count {
        match moves.get(at) {
            Some((_, reach)) => at += reach,
            None => return false,
        }
    }
    debug_assert!(count == 1 || count == BLOCK_PAGES);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{AddressSpace, Options};
    use interleave::Sim;
    use model::platform::{DeviceMemory, MigratePfn, MigrateSelect, MigrateVma, Mm, Owner, PagemapId, VmaFlags};
    use model::units::Bytes;
    use std::cell::Cell;

    const AT: u64 = 0x20_0000;
    const ONE: Bytes = Bytes::new(AT, AT + PAGE_SIZE);
    const RW: VmaFlags =
        VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };
    const VRAM: u64 = crate::device::device_pfn(PagemapId(0), 0);

    /// Parent and child after a fork, both with the same readable entry; the word is 7.
    fn family(vram: bool) -> (AddressSpace<Sim>, AddressSpace<Sim>, Rc<Cell<u32>>) {
        let memory = Memory::new();
        let [parent, child] = [0, 1].map(|id| AddressSpace::new(&memory, id, Options::default()).unwrap());
        let freed = Rc::new(Cell::new(0));
        let count = freed.clone();
        memory.add_pagemap(PagemapId(0), Owner(1), 16);
        memory.on_folio_free(Rc::new(move |_, _| count.set(count.get() + 1)));
        for mm in [&parent, &child] {
            mm.mmap(ONE, RW).unwrap();
        }
        parent.store(AT, 7).unwrap();
        if vram {
            assert!(migrate(&parent, VRAM));
        }
        parent.mprotect(ONE, true, false).unwrap();
        let entry = parent.peek_pte(AT / PAGE_SIZE).pte;
        let (Pte::Present { pfn, .. } | Pte::Device { pfn, .. }) = entry else { panic!("{entry:?}") };
        child.inner.table.borrow_mut().set(AT / PAGE_SIZE, entry);
        memory.get_mapped(pfn, 1);
        (parent, child, freed)
    }

    /// Moves the page to `to`, or to system memory when that is 0; whether it was collected.
    fn migrate(mm: &AddressSpace<Sim>, to: u64) -> bool {
        let held = mm.mmap_read_lock();
        let select = MigrateSelect { system: to != 0, device_private: to == 0, compound: false };
        let args = MigrateVma { bytes: ONE, owner: Owner(1), select, fault_page: None };
        let mut src = [MigratePfn::default()];
        if mm.migrate_vma_setup(&held, &args, &mut src).unwrap() == 0 {
            return false;
        }
        let pfn = if to == 0 { mm.alloc_folio(0).unwrap() } else { to };
        if to != 0 {
            mm.zone_device_folio_init(to, 0, 0);
        }
        mm.memory().copy(src[0].pfn, pfn, 1);
        let dst = [MigratePfn { valid: true, pfn, ..MigratePfn::default() }];
        mm.migrate_vma_pages(&held, &args, &mut src, &dst);
        mm.migrate_vma_finalize(&held, &args, &mut src, &dst);
        true
    }

    fn both_have(parent: &AddressSpace<Sim>, child: &AddressSpace<Sim>) -> u64 {
        let [one, other] = [parent, child].map(|mm| mm.peek_pte(AT / PAGE_SIZE).pte);
        let (Pte::Present { pfn, .. } | Pte::Device { pfn, .. }) = one else { panic!("{one:?}") };
        assert_eq!(one, other);
        assert_eq!((parent.memory().map_count(pfn), parent.memory().live_frames()), (2, 1));
        assert_eq!((parent.peek_word(AT), child.peek_word(AT)), (Some(7), Some(7)));
        pfn
    }

    #[test]
    fn a_page_of_two_processes_moves_in_both() {
        let (parent, child, freed) = family(false);
        assert!(migrate(&parent, VRAM));
        assert_eq!(both_have(&parent, &child), VRAM);
        assert!(migrate(&child, 0));
        assert!(!is_device_pfn(both_have(&parent, &child)));
        assert_eq!(freed.get(), 1);
    }

    #[test]
    fn eviction_finds_both_mappings() {
        let (parent, child, freed) = family(true);
        let mut src = [MigratePfn { valid: true, pfn: VRAM, ..MigratePfn::default() }];
        assert_eq!(parent.migrate_device_pfns(&mut src), 1);
        let pfn = parent.alloc_folio(0).unwrap();
        parent.memory().copy(VRAM, pfn, 1);
        let dst = [MigratePfn { valid: true, pfn, ..MigratePfn::default() }];
        parent.migrate_device_pages(&mut src, &dst);
        parent.migrate_device_finalize(&mut src, &dst);
        assert_eq!((both_have(&parent, &child), freed.get()), (pfn, 1));
    }

    #[test]
    fn a_page_that_somebody_holds_stays_in_both() {
        let (parent, child, _) = family(false);
        let pfn = both_have(&parent, &child);
        // A pin.
        parent.memory().inner.state.borrow_mut().each(pfn, 1, |_, frame| {
            frame.refs += 1;
            None::<()>
        });
        assert!(!migrate(&parent, VRAM));
        assert_eq!(both_have(&parent, &child), pfn);
        parent.memory().put_not_last(pfn, 1);
        assert!(migrate(&parent, VRAM));
    }
}
