//! Moving pages to a device's memory and back: the driver's view, [`model::platform::DeviceMemory`] for [`AddressSpace`].
//!
//! Answers to `mm/migrate_device.c`; the collecting phase is in [`crate::collect`]. Nothing is copied here: whoever
//! migrates copies between the phases. All or nothing is the caller's business too.
//!
//! | phase | events | entries |
//! |---|---|---|
//! | `migrate_vma_setup` | MIGRATE around collecting; CLEAR for other mappings | page -> migration entry |
//! | `migrate_vma_pages` | MIGRATE from the first hole on, around filling the holes | hole or zero page -> new page |
//! | `migrate_vma_finalize` | none | migration entry -> new page, or old page |
//! | `migrate_device_pfns` | a CLEAR for each entry | page -> migration entry |
//! | `migrate_device_pages`, `_finalize` | none | migration entry -> new page, or old page |

use crate::collect::migrate_event;
use crate::device::{Folio, is_device_pfn};
use crate::memory::{BLOCK_PAGES, HUGE_ZERO_PFN, Memory, is_zero_pfn};
use crate::migrate::FOLIO_LOCK;
use crate::pagetable::Pte;
use crate::rmap::Moves;
use crate::space::{AddressSpace, Inner, prot_of};
use interleave::lab::{Hold, Lab, Span, Visible};
use model::platform::{DeviceMemory, DevicePage, Kernel, MigratePfn, MigrateVma, VmaFlags};
use model::units::PAGE_SIZE;
use model::{Errno, note};

impl<L: Lab> DeviceMemory<L> for AddressSpace<L> {
    fn device_page(&self, pfn: u64) -> Option<DevicePage> {
        self.inner.memory.device_page(pfn)
    }

    fn zone_device_data(&self, pfn: u64) -> u64 {
        self.inner.memory.zone_device_data(pfn)
    }

    #[track_caller]
    fn set_zone_device_data(&self, pfn: u64, data: u64) {
        self.inner.memory.set_zone_device_data(pfn, data);
    }

    #[track_caller]
    fn zone_device_folio_init(&self, pfn: u64, order: u8, data: u64) {
        self.inner.memory.zone_device_folio_init(pfn, order, data);
    }

    #[track_caller]
    fn migrate_vma_setup(
        &self,
        _held: &Self::ReadGuard<'_>,
        args: &MigrateVma,
        src: &mut [MigratePfn],
    ) -> Result<u64, Errno> {
        self.inner.migrate_vma_setup(args, src)
    }

    #[track_caller]
    fn migrate_vma_pages(
        &self,
        _held: &Self::ReadGuard<'_>,
        args: &MigrateVma,
        src: &mut [MigratePfn],
        dst: &[MigratePfn],
    ) {
        self.inner.migrate_vma_pages(args, src, dst);
    }

    #[track_caller]
    fn migrate_vma_finalize(
        &self,
        _held: &Self::ReadGuard<'_>,
        args: &MigrateVma,
        src: &mut [MigratePfn],
        dst: &[MigratePfn],
    ) {
        self.inner.migrate_vma_finalize(args, src, dst);
    }

    #[track_caller]
    fn migrate_device_pfns(&self, src: &mut [MigratePfn]) -> u64 {
        self.inner.memory.migrate_device_pfns(src)
    }

    fn migrate_device_pages(&self, src: &mut [MigratePfn], dst: &[MigratePfn]) {
        // What belongs to no VMA has no holes to fill, and a folio is not split here: it does not move then.
        each_element(src, |src, at| {
            src[at].migrate &= src[at].valid && dst[at].valid && src[at].compound == dst[at].compound;
        });
    }

    #[track_caller]
    fn migrate_device_finalize(&self, src: &mut [MigratePfn], dst: &[MigratePfn]) {
        let memory = &self.inner.memory;
        let moves = moves_of(src, dst);
        if !moves.is_empty() {
            memory.remove_migration_ptes(&moves);
        }
        memory.unlock_and_put_both(src, dst, None);
    }

    #[track_caller]
    fn alloc_folio(&self, order: u8) -> Result<u64, Errno> {
        // For what an allocation says to the lock-order validator, and for its failure.
        <L as Kernel>::alloc_array(1, 0_u8)?;
        Ok(self.inner.memory.alloc_destination(order))
    }

    #[track_caller]
    fn put_new_folio(&self, pfn: u64, order: u8) {
        self.inner.memory.release(pfn, 1 << order, true);
    }

    #[track_caller]
    fn mmput_async(&self) {
        self.put_user_async();
    }
}

/// Calls `f` for the first slot of each element of `src`: a page, a hole, or a compound folio with its 512 slots.
fn each_element(src: &mut [MigratePfn], mut f: impl FnMut(&mut [MigratePfn], usize)) {
    let mut at = 0;
    while at < src.len() {
        let next = at + size(&src[at]) as usize;
        f(src, at);
        at = next;
    }
}

fn size(slot: &MigratePfn) -> u64 {
    if slot.compound { BLOCK_PAGES } else { 1 }
}

/// Where the frames of `src` go: to `dst` where they move, else nowhere.
fn moves_of(src: &[MigratePfn], dst: &[MigratePfn]) -> Moves {
    let mut moves = Moves::default();
    for (src, dst) in src.iter().zip(dst).filter(|(src, _)| src.valid) {
        let to = if src.migrate && dst.valid { dst.pfn } else { src.pfn };
        moves.insert(src.pfn, size(src), to);
    }
    moves
}

impl<L: Lab> Memory<L> {
    /// The end of a migration: destinations and sources are unlocked and put, whatever became of them. Where one is in a
    /// page table, the entry has a reference of its own.
    #[track_caller]
    fn unlock_and_put_both(&self, src: &[MigratePfn], dst: &[MigratePfn], fault: Option<u64>) {
        let folios = |slots: &[MigratePfn]| -> Vec<(u64, u64)> {
            slots.iter().filter(|slot| slot.valid).map(|slot| (slot.pfn, size(slot))).collect()
        };
        self.unlock_and_put(folios(dst), None);
        let sources = folios(src);
        let any = !sources.is_empty();
        self.unlock_and_put(sources, fault);
        if any {
            L::release_map(FOLIO_LOCK, Hold::Begin);
        }
    }
}

impl<L: Lab> Inner<L> {
    /// `migrate_vma_pages`; the caller holds mmap_lock for read.
    #[track_caller]
    fn migrate_vma_pages(&self, args: &MigrateVma, src: &mut [MigratePfn], dst: &[MigratePfn]) {
        let first = args.bytes.start / PAGE_SIZE;
        let vma = self.vmas.borrow().lookup(args.bytes.start);
        let flags = vma.as_ref().map(|vma| vma.flags());
        let (mut at, mut filling) = (0, None);
        while at < src.len() {
            let (page, count) = (first + at as u64, size(&src[at]) as usize);
            let hole = src[at].migrate && !src[at].valid;
            if !dst[at].valid {
                src[at].migrate = false;
            } else if src[at].migrate && src[at].compound && !dst[at].compound {
                // migrate_vma_split_unmapped_folio: its pages move by themselves, from here on.
                if src[at].valid {
                    self.split_huge_pmd(page);
                }
                let whole = MigratePfn { compound: false, ..src[at] };
                for (offset, slot) in (0..).zip(&mut src[at..at + count]) {
                    *slot = MigratePfn { pfn: if whole.valid { whole.pfn + offset } else { 0 }, ..whole };
                }
                continue;
            } else if !src[at].compound && dst[at].compound {
                src[at].migrate = false;
            } else if let (true, Some(flags)) = (hole, flags) {
                if filling.is_none() {
                    let migrate =
                        self.notifiers.start(migrate_event(args, page)).expect("blockable events do not fail");
                    filling = Some(migrate);
                    // anon_vma_prepare: from now on a fork copies entries.
                    vma.iter().for_each(|vma| self.anon_vma_prepare(vma));
                }
                let holes = self.fill_holes(first, at, src, dst, flags);
                at += holes;
                continue;
            }
            at += count;
        }
        if let Some(migrate) = filling {
            self.notifiers.end(migrate);
        }
        let moved = src.iter().filter(|slot| slot.migrate).map(size).sum::<u64>();
        note!(L, "migrate_vma_pages {}: {moved} of {} page(s) change hands", args.bytes, src.len());
    }

    /// `migrate_vma_insert_page` and `_huge_pmd_page` on the holes from slot `at` on that follow each other, in one step.
    /// Returns how many slots that were.
    #[track_caller]
    fn fill_holes(&self, first: u64, at: usize, src: &mut [MigratePfn], dst: &[MigratePfn], flags: VmaFlags) -> usize {
        let mut end = at;
        while let (Some(from), Some(to)) = (src.get(end), dst.get(end)) {
            if from.valid || !from.migrate || !to.valid || from.compound != to.compound {
                break;
            }
            end += size(from) as usize;
        }
        self.walks.write(Span::new(first + at as u64, first + end as u64 - 1));
        let mut slot = at;
        while slot < end {
            let count = size(&src[slot]);
            let folio = Folio { page: first + slot as u64, pfn: dst[slot].pfn, count };
            if !self.insert_folio(folio, flags) {
                src[slot].migrate = false;
            }
            slot += count as usize;
        }
        end - at
    }

    /// Puts a new folio where nothing is, or the zero page; false when something else is there by now. Inside the
    /// caller's step.
    fn insert_folio(&self, folio: Folio, flags: VmaFlags) -> bool {
        let Folio { page, pfn, count } = folio;
        let new = match is_device_pfn(pfn) {
            true => Pte::Device { pfn, write: flags.write },
            false => Pte::Present { pfn, prot: prot_of(flags) },
        };
        let mut table = self.table.borrow_mut();
        if self.unstable.get() {
            return false;
        }
        let zero_block = matches!(table.block_leaf(page), Some(Pte::Present { pfn: HUGE_ZERO_PFN, .. }));
        if count > 1 {
            if !table.block_is_none(page) && !zero_block {
                return false;
            }
            table.set_block(page, new);
        } else {
            match table.get(page).pte {
                Pte::None => {}
                Pte::Present { pfn, .. } if is_zero_pfn(pfn) => table.split_block(page),
                _ => return false,
            }
            table.set(page, new);
        }
        drop(table);
        self.memory.get_mapped(pfn, count);
        true
    }

    /// `migrate_vma_finalize`; the caller holds mmap_lock for read.
    #[track_caller]
    fn migrate_vma_finalize(&self, args: &MigrateVma, src: &[MigratePfn], dst: &[MigratePfn]) {
        let moves = moves_of(src, dst);
        if !moves.is_empty() {
            let folios = src.iter().filter(|slot| slot.valid);
            let folios: Vec<Folio> = folios.map(|slot| Folio { page: 0, pfn: slot.pfn, count: size(slot) }).collect();
            if self.memory.any_shared(&folios) {
                self.remove_migration_ptes_everywhere(&moves);
            } else {
                // mmap_lock keeps them where they were.
                let limit = self.vmas.borrow().lookup(args.bytes.start).map(|vma| prot_of(vma.flags()));
                self.replace_migration_entries(Some(args.bytes.pages()), &moves, |mm, folio, to, prot| {
                    mm.new_entry(folio, to, prot, limit)
                });
            }
        }
        self.memory.unlock_and_put_both(src, dst, args.fault_page);
        note!(L, "migrate_vma_finalize {}", args.bytes);
    }
}
