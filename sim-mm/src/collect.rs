//! The first phase of a device migration: finding pages, locking them, putting migration entries in their place.
//!
//! Answers to `migrate_vma_collect`, `migrate_device_unmap` and `migrate_device_pfns` in `mm/migrate_device.c` (spec
//! mm-events 2, rows migrate_vma_setup and device eviction). In the kernel looking, locking and unmapping of a page is
//! one step under the page table lock; here they are three ("cpu page table", "memory", "cpu page table"), and an entry
//! that changed in between is not collected. Migration entries of others are not collected (for a huge one the kernel
//! waits).

use crate::device::Folio;
use crate::interval::event;
use crate::memory::{BLOCK_PAGES, Memory, is_file_pfn, is_zero_pfn};
use crate::migrate::FOLIO_LOCK;
use crate::pagetable::{Prot, Pte, block_of};
use crate::rmap::Moves;
use crate::space::Inner;
use interleave::lab::{Gate, Hold, Lab, Span, Visible};
use model::platform::{EventKind, MigratePfn, MigrateVma, MmuEvent, Plant};
use model::units::{PAGE_SIZE, Pages};
use model::{Errno, note};
use std::ops::Range;

/// A collected hole.
const HOLE: MigratePfn = MigratePfn { valid: false, migrate: true, write: false, compound: false, pfn: 0 };

/// A page to be locked, and the life in which it was seen. None: any; the page was not looked at.
#[derive(Clone, Copy)]
struct Seen {
    folio: Folio,
    generation: Option<u32>,
}

/// The MIGRATE event of a call.
pub(crate) fn migrate_event(args: &MigrateVma, first: u64) -> MmuEvent {
    let mut bytes = args.bytes;
    bytes.start = first * PAGE_SIZE;
    MmuEvent { owner: args.owner.0, ..event(EventKind::Migrate, bytes) }
}

/// Groups what follows each other in frame number: one scheduling point each.
pub(crate) fn runs(folios: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (pfn, count) in folios {
        match runs.last_mut() {
            Some((first, n)) if *first + *n == pfn => *n += count,
            _ => runs.push((pfn, count)),
        }
    }
    runs
}

impl<L: Lab> Memory<L> {
    /// `folio_trylock` with a reference, for each folio of one run of frames: which of them could be had. Not those that
    /// are free, another life, isolated, locked (but by the fault on `fault` itself) or, as far as only one entry ever
    /// mapped them, pinned. One scheduling point.
    #[track_caller]
    fn trylock(&self, seen: &[Seen], fault: Option<u64>) -> Vec<bool> {
        let (first, last) = (seen[0].folio.pfn, seen[seen.len() - 1].folio);
        self.inner.accesses.write(Span::new(first, last.pfn + last.count - 1));
        let mut state = self.inner.state.borrow_mut();
        let mut lock = |seen: &Seen| {
            let Folio { pfn, count, .. } = seen.folio;
            let ours = fault.is_some_and(|fault| (pfn..pfn + count).contains(&fault));
            let takable = |frame: crate::memory::Frame| {
                let pinned = !frame.shared && frame.refs > 1 + u32::from(ours);
                let taken = frame.refs > 0 || L::planted(Plant::DevicePageFreeCountOne);
                taken && !frame.isolated && (!frame.locked || ours) && !pinned
            };
            let same = seen.generation.is_none_or(|generation| state.frame(pfn).generation == generation);
            if !same || !state.all(pfn, count, takable) {
                return false;
            }
            state.each(pfn, count, |_, frame| {
                frame.locked = true;
                frame.refs += 1;
                None::<()>
            });
            true
        };
        seen.iter().map(&mut lock).collect()
    }

    /// Locks what can be locked and returns it.
    #[track_caller]
    fn trylock_all(&self, mut seen: &[Seen], fault: Option<u64>) -> Vec<Folio> {
        let mut locked = Vec::new();
        while !seen.is_empty() {
            let follows = |pair: &&[Seen]| pair[0].folio.pfn + pair[0].folio.count == pair[1].folio.pfn;
            let run = 1 + seen.windows(2).take_while(follows).count();
            let (now, rest) = seen.split_at(run);
            let had = self.trylock(now, fault);
            locked.extend(now.iter().zip(had).filter(|(_, had)| *had).map(|(seen, _)| seen.folio));
            seen = rest;
        }
        locked
    }

    /// `migrate_vma_check_page` and `folio_mapped`, after unmapping, for a run of frames that the caller has locked:
    /// those that somebody else still has. One scheduling point.
    #[track_caller]
    fn held_by_others(&self, first: u64, count: u64, fault: &Range<u64>) -> Vec<u64> {
        self.inner.accesses.read(Span::new(first, first + count - 1));
        let mut held = Vec::new();
        self.inner.state.borrow_mut().each(first, count, |pfn, frame| {
            if frame.maps > 0 || frame.refs > 1 + u32::from(fault.contains(&pfn)) {
                held.push(pfn);
            }
            None::<()>
        });
        held
    }

    /// Whether more than one entry may map any of the folios.
    pub(crate) fn any_shared(&self, folios: &[Folio]) -> bool {
        let mut state = self.inner.state.borrow_mut();
        folios.iter().any(|f| !state.all(f.pfn, f.count, |frame| !frame.shared))
    }

    /// Unlocks and puts folios that the caller has locked; the one of the fault stays locked.
    #[track_caller]
    pub(crate) fn unlock_and_put(&self, folios: impl IntoIterator<Item = (u64, u64)>, fault: Option<u64>) {
        let ours = |pfn: u64, count: u64| fault.is_some_and(|fault| (pfn..pfn + count).contains(&fault));
        let (faults, others): (Vec<_>, Vec<_>) = folios.into_iter().partition(|&(pfn, count)| ours(pfn, count));
        for (pfn, count) in runs(others) {
            self.release(pfn, count, true);
        }
        for (pfn, count) in faults {
            self.release(pfn, count, false);
        }
    }
}

impl<L: Lab> Inner<L> {
    /// `migrate_vma_setup`; the caller holds mmap_lock for read.
    #[track_caller]
    pub(crate) fn migrate_vma_setup(&self, args: &MigrateVma, src: &mut [MigratePfn]) -> Result<u64, Errno> {
        let aligned = args.bytes.start.is_multiple_of(PAGE_SIZE) && args.bytes.end.is_multiple_of(PAGE_SIZE);
        if !aligned || args.bytes.is_empty() || src.len() as u64 != args.bytes.pages().count() {
            return Err(Errno::EINVAL);
        }
        let vma = self.vmas.borrow().lookup(args.bytes.start).ok_or(Errno::EINVAL)?;
        let flags = vma.flags();
        if !vma.bytes().covers(&args.bytes) || flags.io || flags.pfnmap || flags.mixedmap || flags.hugetlb {
            return Err(Errno::EINVAL);
        }
        if args.fault_page.is_some_and(|pfn| self.memory.device_page(pfn).is_none()) {
            return Err(Errno::EINVAL);
        }
        let pages = args.bytes.pages();
        let migrate = self.notifiers.start(migrate_event(args, pages.first)).expect("blockable events do not fail");
        let seen = loop {
            self.walks.read(Span::new(pages.first, pages.last));
            src.fill(MigratePfn::default());
            match self.look(flags.anon, args, pages, src) {
                Ok(seen) => break seen,
                // The huge mapping is not to be moved as one: split it, with a CLEAR inside this event.
                Err(page) => self.split_huge_pmd(page),
            }
        };
        let locked = self.memory.trylock_all(&seen, args.fault_page);
        let migration = self.memory.new_migration();
        let (mut collected, mut lost) = (Vec::new(), Vec::new());
        let any_locked = !locked.is_empty();
        if any_locked {
            L::acquire_map(FOLIO_LOCK, Hold::Begin);
            self.walks.write(Span::new(pages.first, pages.last));
            for folio in locked {
                match self.make_migration_entry(folio, migration.number) {
                    Some(prot) => {
                        src[(folio.page - pages.first) as usize] = MigratePfn {
                            valid: true,
                            migrate: true,
                            write: prot == Prot::Write,
                            compound: folio.count > 1,
                            pfn: folio.pfn,
                        };
                        collected.push(folio);
                    }
                    None => lost.push((folio.pfn, folio.count)),
                }
            }
        }
        self.notifiers.end(migrate);
        self.memory.unlock_and_put(lost, args.fault_page);
        let any_entry = !collected.is_empty();

        // migrate_device_unmap: mappings of other processes.
        if self.memory.any_shared(&collected) {
            let mut moves = Moves::default();
            collected.iter().for_each(|folio| moves.insert(folio.pfn, folio.count, folio.pfn));
            self.try_to_unmap(None, &moves, &migration);
            let kept = self.memory.give_up_held(&collected, args.fault_page);
            for folio in collected.extract_if(.., |folio| !kept.contains(&folio.pfn)) {
                src[(folio.page - pages.first) as usize] = MigratePfn::default();
            }
        }
        match collected.first() {
            Some(first) => self.memory.open_on_unlock(first.pfn, &migration.gate),
            None if any_locked => {
                // Somebody may already sleep on an entry that is back.
                if any_entry {
                    migration.gate.store(1);
                }
                L::release_map(FOLIO_LOCK, Hold::Begin);
            }
            None => {}
        }
        let count = cpages(src);
        note!(L, "migrate_vma_setup {}: {count} of {} page(s) collected", args.bytes, src.len());
        Ok(count)
    }

    /// Looks at every entry (`migrate_vma_collect_pmd`, `_huge_pmd`, `_hole`): holes are collected at once, pages are
    /// what it returns.
    ///
    /// # Errors
    /// A page whose huge mapping has to be split first.
    fn look(&self, anon: bool, args: &MigrateVma, pages: Pages, src: &mut [MigratePfn]) -> Result<Vec<Seen>, u64> {
        let (select, table) = (args.select, self.table.borrow());
        let mut seen = Vec::new();
        let mut page = pages.first;
        while page <= pages.last {
            let entry = table.get(page);
            let slot = (page - pages.first) as usize;
            let block = block_of(page);
            let as_one = select.compound && page == block.first && pages.covers(&block);
            let huge = entry.order > 0;
            let next = if huge { block.last + 1 } else { page + 1 };
            let wanted = match entry.pte {
                Pte::None => {
                    if anon {
                        let compound = as_one && table.block_is_none(page);
                        src[slot] = MigratePfn { compound, ..HOLE };
                        if compound {
                            page = block.last + 1;
                            continue;
                        }
                    }
                    None
                }
                Pte::Present { pfn, .. } if is_zero_pfn(pfn) => {
                    if select.system && huge && !as_one {
                        return Err(page);
                    }
                    if select.system {
                        src[slot] = MigratePfn { compound: huge, ..HOLE };
                    }
                    None
                }
                // The kernel takes pages of files away and puts them back (migrate_vma_pages).
                Pte::Present { pfn, .. } => (select.system && !is_file_pfn(pfn)).then_some(pfn),
                Pte::Device { pfn, .. } => {
                    (select.device_private && self.memory.device_of(pfn).owner == args.owner).then_some(pfn)
                }
                Pte::Migration { .. } | Pte::Swap { .. } => None,
            };
            if let Some(pfn) = wanted {
                if huge && !as_one {
                    return Err(page);
                }
                let count = if huge { BLOCK_PAGES } else { 1 };
                seen.push(Seen { folio: Folio { page, pfn, count }, generation: Some(self.memory.generation(pfn)) });
            }
            page = next;
        }
        Ok(seen)
    }
}

impl<L: Lab> Memory<L> {
    /// The end of `migrate_device_unmap`: puts folios that somebody else still has back where they were, unlocks and
    /// puts them. Returns the first frames of the others.
    #[track_caller]
    fn give_up_held(&self, folios: &[Folio], fault: Option<u64>) -> Vec<u64> {
        let of_fault = fault.and_then(|fault| folios.iter().find(|f| (f.pfn..f.pfn + f.count).contains(&fault)));
        let of_fault = of_fault.map_or(0..0, |f| f.pfn..f.pfn + f.count);
        let held: Vec<u64> = runs(folios.iter().map(|f| (f.pfn, f.count)))
            .into_iter()
            .flat_map(|(first, count)| self.held_by_others(first, count, &of_fault))
            .collect();
        let is_held = |f: &Folio| held.iter().any(|pfn| (f.pfn..f.pfn + f.count).contains(pfn));
        let (held, kept): (Vec<Folio>, Vec<Folio>) = folios.iter().partition(|f| is_held(f));
        if !held.is_empty() {
            let mut moves = Moves::default();
            held.iter().for_each(|folio| moves.insert(folio.pfn, folio.count, folio.pfn));
            self.remove_migration_ptes(&moves);
            self.unlock_and_put(held.iter().map(|f| (f.pfn, f.count)), fault);
        }
        kept.iter().map(|folio| folio.pfn).collect()
    }

    /// `migrate_device_pfns`.
    #[track_caller]
    pub(crate) fn migrate_device_pfns(&self, src: &mut [MigratePfn]) -> u64 {
        // migrate_device_pfn_lock: page by page; the folio is made out below.
        let seen: Vec<Seen> = (0..)
            .zip(src.iter())
            .filter(|(_, slot)| slot.valid)
            .map(|(page, slot)| Seen { folio: Folio { page, pfn: slot.pfn, count: 1 }, generation: None })
            .collect();
        src.fill(MigratePfn::default());
        let locked = self.trylock_all(&seen, None);
        if locked.is_empty() {
            return 0;
        }
        L::acquire_map(FOLIO_LOCK, Hold::Begin);
        let mut moves = Moves::default();
        locked.iter().for_each(|folio| moves.insert(folio.pfn, 1, folio.pfn));
        let migration = self.new_migration();
        let unmapped = self.try_to_unmap(&moves, &migration);
        let huge: Vec<u64> = unmapped.iter().filter(|folio| folio.count > 1).map(|folio| folio.pfn).collect();
        let kept = self.give_up_held(&locked, None);
        for folio in locked.iter().filter(|folio| kept.contains(&folio.pfn)) {
            src[folio.page as usize] =
                MigratePfn { valid: true, migrate: true, pfn: folio.pfn, ..MigratePfn::default() };
        }
        // What was mapped as one, and is all here, goes as one.
        for at in 0..src.len() {
            let (whole, first) = (at..at + BLOCK_PAGES as usize, src[at].pfn);
            let follow = |slots: &[MigratePfn]| (first..).zip(slots).all(|(pfn, s)| s.valid && s.pfn == pfn);
            if src[at].valid && huge.contains(&first) && src.get(whole.clone()).is_some_and(follow) {
                src[whole].fill(MigratePfn::default());
                src[at] =
                    MigratePfn { valid: true, migrate: true, compound: true, pfn: first, ..MigratePfn::default() };
            }
        }
        match src.iter().find(|slot| slot.valid) {
            Some(first) => self.open_on_unlock(first.pfn, &migration.gate),
            None => {
                migration.gate.store(1);
                L::release_map(FOLIO_LOCK, Hold::Begin);
            }
        }
        let count = cpages(src);
        note!(L, "migrate_device_pfns: {count} of {} page(s) collected", src.len());
        count
    }
}

/// Slots collected; a compound one counts its pages.
fn cpages(src: &[MigratePfn]) -> u64 {
    let size = |slot: &MigratePfn| if slot.compound { BLOCK_PAGES } else { 1 };
    src.iter().filter(|slot| slot.migrate).map(size).sum()
}
