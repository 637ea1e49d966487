//! From frames to the entries that map them, and the entries that stand for frames on their way.
//!
//! Answers to `mm/rmap.c` (`try_to_migrate`, `try_to_unmap`) and to `remove_migration_ptes`, for everybody who takes a
//! page away from whoever maps it: compaction and reclaim, device migration, eviction from a device. The callbacks run
//! under `anon_vma` held for read, with the folio locked; mmap_lock is held only as far as the caller needs it for
//! itself.
//!
//! # Where a frame can be mapped
//! In the page tables of one family: the processes that fork from each other, which have "cpu page table" and `anon_vma`
//! in common, so that a search of them all is one step, and a fork or a move of mappings comes before or after it. Pages
//! of files stay where they are, so that nobody looks for them.
//!
//! Who moves, splits or reclaims one folio goes through the VMAs that may map it ([`Inner::unmap_folio`]), those that have
//! the folio's `anon_vma` in their chain: each gets an event for its part of the folio, mapped there or not, until no entry
//! is left. Who moves many (device memory) looks for the places where they *are* mapped, with one event for each.
//! Either way the search is repeated until it finds nothing more (a fork may copy an entry between search and change).
//!
//! A process without [`Options::shares`](crate::Options) has no relatives and moves no mappings: its pages are where they
//! were found, and one search is enough.

use crate::device::{Folio, is_device_pfn};
use crate::interval::event;
use crate::memory::{Anon, BLOCK_PAGES, Memory, ZERO_PFN};
use crate::migrate::{FOLIO_LOCK, Isolated};
use crate::pagetable::{Prot, Pte};
use crate::space::{Inner, prot_of};
use crate::vma::VmaNode;
use interleave::lab::{Gate, Lab, Span, Visible};
use model::note;
use model::platform::{EventKind, RwSem, Vma};
use model::units::{Bytes, PAGE_SIZE, Pages};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Every page there is.
const EVERYWHERE: Pages = Pages::new(0, u64::MAX / PAGE_SIZE);

/// Frames that are on their way, and where to: to themselves when they stay.
#[derive(Default)]
pub(crate) struct Moves {
    /// By first source frame: how many, and the first new frame. What is in one run is one folio.
    runs: BTreeMap<u64, (u64, u64)>,
}

impl Moves {
    /// One folio.
    pub(crate) fn of(from: u64, count: u64, to: u64) -> Self {
        let mut moves = Moves::default();
        moves.insert(from, count, to);
        moves
    }

    pub(crate) fn insert(&mut self, from: u64, count: u64, to: u64) {
        self.runs.insert(from, (count, to));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The first frame of the run that has the frame, where the frame goes, and how many frames from it on go along.
    fn run(&self, pfn: u64) -> Option<(u64, u64, u64)> {
        let (&from, &(count, to)) = self.runs.range(..=pfn).next_back()?;
        (pfn < from + count).then(|| (from, pfn - from + to, from + count - pfn))
    }

    /// Whether all of the frames are among them.
    fn covers(&self, pfn: u64, count: u64) -> bool {
        let mut at = pfn;
        while at < pfn + count {
            match self.run(at) {
                Some((_, _, reach)) => at += reach,
                None => return false,
            }
        }
        true
    }
}

/// What a folio is unmapped for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum For {
    /// To be moved: huge entries stay huge (`try_to_migrate`).
    Migration,
    /// To come apart (`unmap_folio`).
    Split,
    /// To be written to swap (`try_to_unmap`): mlocked VMAs keep their entries.
    Swap,
    /// To be dropped, if nobody has stored to it since MADV_FREE.
    Drop,
}

/// What the migration entries of one call have in common.
pub(crate) struct Migration<L: Lab> {
    /// What they name it by.
    pub(crate) number: u32,
    /// What waiters sleep on until it is 1.
    pub(crate) gate: Rc<L::Gate>,
}

impl<L: Lab> Memory<L> {
    pub(crate) fn new_migration(&self) -> Migration<L> {
        let gate = Rc::new(L::Gate::new(FOLIO_LOCK, 0));
        let mut all = self.inner.migrations.borrow_mut();
        all.push(gate.clone());
        Migration { number: all.len() as u32 - 1, gate }
    }

    /// What somebody waits for who meets a migration entry.
    pub(crate) fn migration_gate(&self, number: u32) -> Rc<L::Gate> {
        self.inner.migrations.borrow()[number as usize].clone()
    }

    /// An entry maps the frames, with references of its own.
    pub(crate) fn get_mapped(&self, first: u64, count: u64) {
        self.add_maps(first, count);
        self.inner.state.borrow_mut().each(first, count, |_, frame| {
            frame.refs += 1;
            None::<()>
        });
    }

    /// Lets the migration entries of the frames, in whatever address space, map what `moves` says. No event.
    #[track_caller]
    pub(crate) fn remove_migration_ptes(&self, moves: &Moves) {
        for mm in self.families() {
            mm.remove_migration_ptes_everywhere(moves);
        }
    }

    /// Turns whatever maps the frames of `moves` into entries of `migration`, in all address spaces.
    #[track_caller]
    pub(crate) fn try_to_unmap(&self, moves: &Moves, migration: &Migration<L>) -> Vec<Folio> {
        self.families().iter().flat_map(|mm| mm.try_to_unmap(None, moves, migration)).collect()
    }
}

impl<L: Lab> Inner<L> {
    /// The processes that may map this one's pages, itself among them.
    fn relatives(&self) -> Vec<Rc<Inner<L>>> {
        self.memory.spaces().into_iter().filter(|mm| mm.family == self.family).collect()
    }

    // ---- away ------------------------------------------------------------------------------------------------------

    /// Makes every entry of the family that maps one of the frames of `moves` one that waits for `migration`; CLEAR
    /// around each place. The caller has a reference to each of the frames. `seen`: where this process maps them, when
    /// that is known. Returns what was mapped.
    #[track_caller]
    pub(crate) fn try_to_unmap(&self, seen: Option<Pages>, moves: &Moves, migration: &Migration<L>) -> Vec<Folio> {
        let mut unmapped = Vec::new();
        let _rmap = self.anon_vma.read();
        if let Some(pages) = seen.filter(|_| !self.options.shares) {
            self.unmap_at(pages, moves, migration, For::Migration, &mut unmapped);
            return unmapped;
        }
        loop {
            let places = self.find(moves);
            for (mm, pages) in &places {
                mm.unmap_at(*pages, moves, migration, For::Migration, &mut unmapped);
            }
            if places.is_empty() || !self.options.shares {
                return unmapped;
            }
        }
    }

    /// Takes one folio, of which the caller has a reference, away from whoever maps it, VMA by VMA. Returns what was mapped;
    /// what stays mapped does not want to go.
    #[track_caller]
    pub(crate) fn unmap_folio(
        &self,
        folio: &Isolated,
        moves: &Moves,
        migration: &Migration<L>,
        what_for: For,
    ) -> Vec<Folio> {
        let (from, count) = (folio.from, folio.pages.count());
        let mut unmapped = Vec::new();
        let _rmap = self.anon_vma.read();
        if !self.options.shares {
            for pages in self.parts_of(folio) {
                if !self.unmap_at(pages, moves, migration, what_for, &mut unmapped) {
                    break;
                }
            }
            return unmapped;
        }
        let mut been: Vec<(u32, Pages)> = Vec::new();
        for (mm, pages) in self.vmas_of(from, count) {
            if !been.is_empty() {
                self.walks.read(Span::ALL);
                if self.memory.folio_mapcount(from, count) == 0 {
                    break;
                }
            }
            been.push((mm.id, pages));
            if !mm.unmap_at(pages, moves, migration, what_for, &mut unmapped) {
                return unmapped;
            }
        }
        loop {
            let mut places = self.find(moves);
            places.retain(|(mm, pages)| !been.iter().any(|(id, part)| *id == mm.id && part.covers(pages)));
            for (mm, pages) in &places {
                been.push((mm.id, *pages));
                mm.unmap_at(*pages, moves, migration, what_for, &mut unmapped);
            }
            if places.is_empty() {
                return unmapped;
            }
        }
    }

    /// Where a process without relatives maps a folio: in one VMA, or, in small entries, in the parts of several.
    #[track_caller]
    fn parts_of(&self, folio: &Isolated) -> Vec<Pages> {
        if folio.pages.count() == 1 || self.table.borrow().block_leaf(folio.pages.first).is_some() {
            return vec![folio.pages];
        }
        self.tree_accesses.read(Span::new(folio.pages.first, folio.pages.last));
        let vmas = self.vmas.borrow().overlapping(folio.pages.bytes());
        match vmas.is_empty() {
            true => vec![folio.pages],
            false => vmas.iter().map(|vma| vma.bytes().clip(&folio.pages.bytes()).pages()).collect(),
        }
    }

    /// `rmap_walk_anon`: the VMAs in which the folio may be mapped, and which pages that would be, in the order of the
    /// interval tree.
    #[track_caller]
    fn vmas_of(&self, from: u64, count: u64) -> Vec<(Rc<Inner<L>>, Pages)> {
        let Some(Anon { anon_vma, index }) = self.memory.anon_of(from, count) else { return Vec::new() };
        let mut found = Vec::new();
        for mm in self.relatives() {
            mm.tree_accesses.read(Span::ALL);
            for vma in mm.vmas.borrow().iter() {
                let Some(anon) = vma.anon_vma.get() else { continue };
                let (pages, origin) = (vma.bytes().pages(), vma.origin.get());
                let begin = pages.first.wrapping_sub(origin);
                let (first, end) = (index.max(begin), index.wrapping_add(count).min(begin.wrapping_add(pages.count())));
                if first < end && self.memory.anon_chain(anon.number).contains(&anon_vma) {
                    let part = Pages::new(first.wrapping_add(origin), (end - 1).wrapping_add(origin));
                    found.push((begin, vma.linked.get(), mm.clone(), part));
                }
            }
        }
        found.sort_by_key(|&(begin, linked, ..)| (begin, linked));
        found.into_iter().map(|(_, _, mm, part)| (mm, part)).collect()
    }

    /// `__folio_set_anon` and `folio_move_anon_rmap`: the frames are what `vma` has at `page`, alone or as one of a family.
    pub(crate) fn set_anon(&self, vma: &VmaNode<L>, page: u64, first: u64, count: u64, alone: bool) {
        let Some(anon) = vma.anon_vma.get() else { return };
        let anon_vma = if alone { anon.number } else { self.memory.anon_chain(anon.number)[0] };
        self.memory.set_anon(first, count, Anon { anon_vma, index: page.wrapping_sub(vma.origin.get()) });
    }

    /// `folio_maybe_mapped_shared`: whether more than one address space maps a page of the folio.
    #[track_caller]
    pub(crate) fn maybe_mapped_shared(&self, first: u64, count: u64) -> bool {
        if !self.options.shares || !self.memory.any_shared_in(first, count) {
            return false;
        }
        let maps = self.memory.folio_mapcount(first, count);
        if count == 1 || maps <= 1 {
            return maps > 1;
        }
        self.walks.read(Span::ALL);
        let folio = first..first + count;
        let maps_it = |mm: &&Rc<Inner<L>>| {
            let leaves = mm.table.borrow().leaves(EVERYWHERE);
            leaves.iter().any(|(_, _, pte)| matches!(pte, Pte::Present { pfn, .. } if folio.contains(pfn)))
        };
        self.relatives().iter().filter(maps_it).count() > 1
    }

    /// `split_folio` of the large folio at frame `from`, which the caller found mapped at `page`: CLEAR wherever it may be
    /// mapped, then small entries of small folios, and of the zero page where there is nothing but zeroes. Returns whether that could be done.
    #[track_caller]
    pub(crate) fn split_folio(&self, from: u64, page: u64, pfn: u64) -> bool {
        let Some(runs) = self.memory.isolate_parts(from) else { return false };
        let mut moves = Moves::default();
        runs.iter().for_each(|&(first, count)| moves.insert(first, count, first));
        let first = page.saturating_sub(pfn - from);
        let folio = Isolated { pages: Pages::new(first, first + BLOCK_PAGES - 1), from };
        let folio_lock = self.lock_folio();
        self.unmap_folio(&folio, &moves, &folio_lock, For::Split);
        self.memory.split_large(from);
        for mm in if self.options.shares { self.relatives() } else { Vec::new() } {
            mm.tree_accesses.read(Span::ALL);
        }
        if !self.options.shares {
            self.tree_accesses.read(Span::new(folio.pages.first, folio.pages.last));
        }
        self.replace_migration_entries(self.stays_at(folio.pages), &moves, |mm, old, _, prot| {
            let vma = mm.vmas.borrow().lookup(old.page * PAGE_SIZE);
            // try_to_map_unused_to_zeropage
            if let Some(vma) = vma.filter(|vma| !vma.mlocked.get() && mm.memory.is_zero_filled(old.pfn)) {
                return Pte::Present { pfn: ZERO_PFN, prot: prot_of(vma.flags()).min(Prot::Read) };
            }
            mm.memory.get_mapped(old.pfn, old.count);
            mm.memory.take_over(old.pfn, old.pfn, old.count);
            Pte::Present { pfn: old.pfn, prot }
        });
        note!(L, "folio of pfn {from:#x} split");
        self.unlock_folio(folio_lock);
        runs.iter().for_each(|&(first, count)| self.memory.putback(first, count));
        true
    }

    /// Where the family maps frames of `moves`: whose page table, and which pages in a row map one folio.
    #[track_caller]
    fn find(&self, moves: &Moves) -> Vec<(Rc<Inner<L>>, Pages)> {
        self.walks.read(Span::ALL);
        let mut places: Vec<(Rc<Inner<L>>, Pages)> = Vec::new();
        for mm in self.relatives() {
            // The last place of this process, and of which folio it is.
            let mut last = None;
            for (page, count, pte) in mm.table.borrow().leaves(EVERYWHERE) {
                let (Pte::Present { pfn, .. } | Pte::Device { pfn, .. }) = pte else { continue };
                if !moves.covers(pfn, count) {
                    continue;
                }
                let folio = moves.run(pfn).map(|(from, ..)| from);
                match places.last_mut() {
                    Some((_, pages)) if last == folio && pages.last + 1 == page => {
                        *pages = Pages::new(pages.first, page + count - 1);
                    }
                    _ => places.push((mm.clone(), Pages::new(page, page + count - 1))),
                }
                last = folio;
            }
        }
        places
    }

    /// One place. After start the entries are looked at again: they may be gone, or be of another page by now. Returns
    /// whether nothing stayed that should have gone.
    #[track_caller]
    fn unmap_at(
        &self,
        pages: Pages,
        moves: &Moves,
        migration: &Migration<L>,
        what_for: For,
        unmapped: &mut Vec<Folio>,
    ) -> bool {
        let clear = self.notifiers.start(event(EventKind::Clear, pages.bytes())).expect("blockable");
        let span = Span::new(pages.first, pages.last);
        let reclaim = matches!(what_for, For::Swap | For::Drop);
        if reclaim && self.options.shares {
            self.tree_accesses.read(span);
        }
        self.walks.write(span);
        let mlocked = |page: u64| self.vmas.borrow().lookup(page * PAGE_SIZE).is_some_and(|vma| vma.mlocked.get());
        let mut all = true;
        let mut leaves = self.table.borrow().leaves(pages);
        if matches!(what_for, For::Split | For::Swap) && leaves.iter().any(|&(_, count, _)| count > 1) {
            for (page, ..) in leaves.iter().filter(|&&(_, count, pte)| count > 1 && maps(pte, count, moves)) {
                self.table.borrow_mut().split_block(*page);
            }
            leaves = self.table.borrow().leaves(pages);
        }
        for (page, count, pte) in leaves {
            let (Pte::Present { pfn, .. } | Pte::Device { pfn, .. }) = pte else { continue };
            let folio = Folio { page, pfn, count };
            // A huge mapping that stands where a single page was is not the folio.
            if !pages.covers(&Pages::new(page, page + count - 1)) || !moves.covers(pfn, count) {
                continue;
            }
            // try_to_unmap_one gives up at the first entry that it may not take.
            let stays = reclaim && mlocked(page)
                || what_for == For::Drop && !(pfn..pfn + count).all(|pfn| self.memory.drops(pfn));
            if stays {
                all = false;
                break;
            }
            if self.make_migration_entry(folio, migration.number).is_some() {
                unmapped.push(folio);
            }
        }
        self.notifiers.end(clear);
        note!(L, "unmapped {pages} of mm{}", self.id);
        all
    }

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
        table.set_leaf(page, count, Pte::Migration { migration, pfn, prot });
        self.memory.remove_maps(pfn, count);
        self.memory.put_not_last(pfn, count);
        Some(prot)
    }

    // ---- and back --------------------------------------------------------------------------------------------------

    /// Lets `change` say what stands in place of each migration entry of a frame of `moves`, at `seen` of this process or
    /// (None) anywhere in the family: it is told whose entry it is, which pages and frames it stands for, where they go,
    /// and the right. No event.
    #[track_caller]
    pub(crate) fn replace_migration_entries(
        &self,
        seen: Option<Pages>,
        moves: &Moves,
        mut change: impl FnMut(&Inner<L>, Folio, u64, Prot) -> Pte,
    ) {
        if let Some(pages) = seen {
            self.walks.write(Span::new(pages.first, pages.last));
            return self.replace_at(pages, moves, &mut change);
        }
        // Somewhere else by now, or in a child: mremap and fork take them along.
        let _rmap = self.options.shares.then(|| self.anon_vma.read());
        self.walks.write(Span::ALL);
        self.relatives().iter().for_each(|mm| mm.replace_at(EVERYWHERE, moves, &mut change));
    }

    fn replace_at(&self, pages: Pages, moves: &Moves, change: &mut impl FnMut(&Inner<L>, Folio, u64, Prot) -> Pte) {
        let mut table = self.table.borrow_mut();
        for (page, count, pte) in table.leaves(pages) {
            let Pte::Migration { pfn, prot, .. } = pte else { continue };
            if let Some((_, to, reach)) = moves.run(pfn)
                && reach >= count
            {
                match change(self, Folio { page, pfn, count }, to, prot) {
                    Pte::None if count == BLOCK_PAGES => table.clear_block(page),
                    pte => table.set_leaf(page, count, pte),
                }
            } else if (pfn..pfn + count).any(|pfn| moves.run(pfn).is_some()) {
                // The folio was split, this mapping of it was not.
                table.split_block(page);
                for at in 0..count {
                    if let Some((_, to, _)) = moves.run(pfn + at) {
                        let folio = Folio { page: page + at, pfn: pfn + at, count: 1 };
                        table.set(page + at, change(self, folio, to, prot));
                    }
                }
            }
        }
    }

    /// What a frame's migration entry becomes at the end of a device migration, inside the caller's step: an entry with
    /// a reference of its own. `limit`: what the VMA allows.
    pub(crate) fn new_entry(&self, folio: Folio, to: u64, prot: Prot, limit: Option<Prot>) -> Pte {
        if self.memory.is_shared(folio.pfn) {
            self.memory.set_shared(to, folio.count, true);
        }
        self.memory.get_mapped(to, folio.count);
        self.memory.take_over(folio.pfn, to, folio.count);
        match is_device_pfn(to) {
            true => Pte::Device { pfn: to, write: prot == Prot::Write },
            false => Pte::Present { pfn: to, prot: limit.map_or(prot, |limit| prot.min(limit)) },
        }
    }

    /// The end of a device migration wherever the family has migration entries of the frames.
    #[track_caller]
    pub(crate) fn remove_migration_ptes_everywhere(&self, moves: &Moves) {
        // What a readable device entry becomes depends on the VMA, which no lock keeps as it is. If it changes after
        // this, its mprotect still has the entries before it. A VMA that is not there yet comes with a fork.
        let mut views: BTreeMap<u32, Vec<Vma>> = BTreeMap::new();
        for mm in self.relatives() {
            mm.tree_accesses.read(Span::ALL);
            let vmas = mm.vmas.borrow().overlapping(Bytes::new(0, u64::MAX));
            views.insert(mm.id, vmas.iter().map(|vma| vma.view()).collect());
        }
        self.replace_migration_entries(None, moves, |mm, folio, to, prot| {
            let at = folio.page * PAGE_SIZE;
            let seen = views.get(&mm.id).and_then(|vmas| vmas.iter().find(|vma| vma.bytes.contains(at)));
            let flags = seen.map(|vma| vma.flags).or_else(|| mm.vmas.borrow().lookup(at).map(|vma| vma.flags()));
            mm.new_entry(folio, to, prot, flags.map(prot_of))
        });
    }
}

/// Whether the leaf maps what moves.
fn maps(pte: Pte, count: u64, moves: &Moves) -> bool {
    matches!(pte, Pte::Present { pfn, .. } | Pte::Device { pfn, .. } if moves.covers(pfn, count))
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
        let parent = AddressSpace::new(&memory, 0, Options { shares: true, ..Options::default() }).unwrap();
        let freed = Rc::new(Cell::new(0));
        let count = freed.clone();
        memory.add_pagemap(PagemapId(0), Owner(1), 16);
        memory.on_folio_free(Rc::new(move |_, _| count.set(count.get() + 1)));
        parent.mmap(ONE, RW).unwrap();
        parent.store(AT, 7).unwrap();
        if vram {
            assert!(migrate(&parent, VRAM));
        }
        let child = parent.fork(1).unwrap();
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
