//! `migrate_vma_*` and `migrate_device_*` on the scripted page map (spec mm-events 2.3, 2.4).

use super::frames::Frames;
use super::kernel::Reading;
use super::{Point, ScriptMm, Seq, holds, log, reached, shared};
use model::Errno;
use model::platform::*;
use model::units::{Bytes, PAGE_SHIFT};

const HUGE: usize = 512;

/// Slot, and how many slots belong to it.
fn elements(src: &[MigratePfn]) -> Vec<(usize, usize)> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < src.len() {
        let len = if src[at].compound { HUGE.min(src.len() - at) } else { 1 };
        all.push((at, len));
        at += len;
    }
    all
}

fn order_of(slot: &MigratePfn) -> u8 {
    if slot.compound { 9 } else { 0 }
}

impl ScriptMm {
    fn frames(&self) -> &Frames {
        &self.frames
    }

    fn event(&self, kind: EventKind, bytes: Bytes, owner: Owner) {
        log(format!("{} {bytes}", kind.name()));
        assert!(self.notify(&MmuEvent { kind, bytes, blockable: true, owner: owner.0 }), "it is blockable");
    }

    /// Takes the page out of the page table: a migration entry.
    fn collect(&self, page: u64, len: u64) {
        let mut state = self.state.borrow_mut();
        for page in page..page + len {
            let entry = state.pages.remove(&page).expect("it is mapped");
            state.migrating.insert(page, entry);
        }
    }

    /// The source page at the slot, if it may be collected.
    fn collectable(&self, args: &MigrateVma, page: u64) -> Option<HmmPfn> {
        let there = self.state.borrow().pages.get(&page).copied()?;
        let selected = match self.frames.device(there.pfn) {
            Some(device) => args.select.device_private && device.owner == args.owner,
            None => args.select.system,
        };
        (selected && self.frames.is_free_to_move(there.pfn, args.fault_page)).then_some(there)
    }

    /// Where a source has a huge folio and the destination single pages, the source is split.
    /// Each part comes out with `refs` references.
    fn split_where_needed(&self, src: &mut [MigratePfn], dst: &[MigratePfn], refs: u32) {
        for (at, len) in elements(src) {
            if src[at].compound && src[at].migrate && dst[at].valid && !dst[at].compound {
                self.frames.split(src[at].pfn, refs);
                for i in 0..len {
                    let pfn = src[at].pfn + i as u64;
                    src[at + i] = MigratePfn { pfn, compound: false, ..src[at] };
                }
            }
        }
    }

    /// What moves and what does not; the common part of the two `_pages`.
    fn hand_over(&self, src: &mut [MigratePfn], dst: &[MigratePfn], refs: u32) {
        assert!(shared(|s| s.copies_pending == 0), "pages change hands before the copy is complete");
        self.split_where_needed(src, dst, refs);
        for (at, _) in elements(src) {
            let raced = shared(|s| s.raced.contains(&src[at].pfn)) && src[at].valid;
            src[at].migrate &= dst[at].valid && !raced;
        }
    }

    /// New or old page into the page table at `page`, if that is one that maps it; both folios are unlocked and put.
    fn settle(&self, pages: Option<u64>, src: &MigratePfn, dst: &MigratePfn, fault_page: Option<u64>) {
        let frames = self.frames();
        let (order, moved) = (order_of(src), src.migrate && src.valid);
        if let Some(first) = pages {
            let mut state = self.state.borrow_mut();
            for i in 0..1 << order {
                if let Some(old) = state.migrating.remove(&(first + i)) {
                    let new = if moved { HmmPfn { pfn: dst.pfn + i, order, ..old } } else { old };
                    state.pages.insert(first + i, new);
                }
            }
        }
        if dst.valid {
            frames.with_folio(dst.pfn, |folio| folio.locked = false);
            if !moved && src.valid {
                frames.put(dst.pfn);
            }
        }
        if src.valid && frames.head(src.pfn).is_some() {
            if fault_page.and_then(|pfn| frames.head(pfn)) != Some(src.pfn) {
                frames.with_folio(src.pfn, |folio| folio.locked = false);
            }
            if moved && pages.is_some() {
                frames.put(src.pfn);
            }
        }
        if moved && pages.is_none() {
            // Nobody maps it, so the new page goes as well.
            frames.put(dst.pfn);
        }
    }

    fn begin(&self) {
        shared(|s| assert!(!std::mem::replace(&mut s.migrating, true), "two migrations of one thread"));
    }
    fn end(&self) {
        shared(|s| assert!(std::mem::replace(&mut s.migrating, false), "finalize without setup"));
    }

    /// The page that maps the frame.
    fn rmap(&self, pfn: u64) -> Option<u64> {
        let state = self.state.borrow();
        let all = state.pages.iter().chain(&state.migrating);
        let mut found = all.filter(|(_, entry)| entry.pfn == pfn).map(|(page, _)| *page);
        found.next()
    }
}

impl DeviceMemory<Seq> for ScriptMm {
    fn device_page(&self, pfn: u64) -> Option<DevicePage> {
        self.frames.device(pfn)
    }
    fn zone_device_data(&self, pfn: u64) -> u64 {
        self.frames.with_folio(pfn, |folio| folio.data)
    }
    fn set_zone_device_data(&self, pfn: u64, data: u64) {
        self.frames.with_folio(pfn, |folio| {
            assert!(folio.locked, "the word changes under the folio lock");
            folio.data = data;
        });
    }
    fn zone_device_folio_init(&self, pfn: u64, order: u8, data: u64) {
        assert!(self.frames.device(pfn).is_some(), "{pfn:#x} is system memory");
        assert!(pfn.is_multiple_of(1 << order), "a folio of order {order} cannot begin at {pfn:#x}");
        self.frames.insert(pfn, order, data);
    }

    fn migrate_vma_setup(&self, _: &Reading<'_, ()>, args: &MigrateVma, src: &mut [MigratePfn]) -> Result<u64, Errno> {
        assert!(holds("mmap_lock") && !holds("notifier_lock"));
        log(format!("migrate_vma_setup {}", args.bytes));
        if let Some(error) = shared(|s| s.fail_setup.take()) {
            return Err(error);
        }
        assert_eq!(src.len() as u64, args.bytes.len() >> PAGE_SHIFT, "a slot a page");
        let vma = self.state.borrow().vmas.iter().find(|vma| vma.bytes.covers(&args.bytes)).copied();
        let vma = vma.ok_or(Errno::EINVAL)?;
        self.event(EventKind::Migrate, args.bytes, args.owner);
        reached(Point::Collecting);
        let (mut collected, mut i) = (0, 0);
        while i < src.len() {
            let page = (args.bytes.start >> PAGE_SHIFT) + i as u64;
            src[i] = MigratePfn::default();
            if !self.state.borrow().pages.contains_key(&page) {
                src[i].migrate = args.select.system && vma.flags.anon;
                collected += u64::from(src[i].migrate);
                i += 1;
                continue;
            }
            if let Some(there) = self.collectable(args, page) {
                let compound = args.select.compound && there.order == 9 && there.pfn.is_multiple_of(512);
                let len = if compound { HUGE } else { 1 };
                src[i] = MigratePfn { valid: true, migrate: true, write: there.write, compound, pfn: there.pfn };
                self.collect(page, len as u64);
                if self.frames.head(there.pfn).is_some() {
                    self.frames.with_folio(there.pfn, |folio| folio.locked = true);
                }
                collected += len as u64;
                i += len;
            } else {
                i += 1;
            }
        }
        if collected != 0 {
            self.begin();
        }
        reached(Point::Collected);
        Ok(collected)
    }

    fn migrate_vma_pages(&self, _: &Reading<'_, ()>, args: &MigrateVma, src: &mut [MigratePfn], dst: &[MigratePfn]) {
        log("migrate_vma_pages");
        reached(Point::HandOver);
        self.hand_over(src, dst, 1);
        if src.iter().any(|slot| slot.migrate && !slot.valid) {
            self.event(EventKind::Migrate, args.bytes, args.owner);
        }
        for i in 0..src.len() {
            let page = (args.bytes.start >> PAGE_SHIFT) + i as u64;
            if src[i].migrate && !src[i].valid {
                // A fault was faster at this hole.
                if self.state.borrow().pages.contains_key(&page) {
                    src[i].migrate = false;
                    continue;
                }
                let entry = HmmPfn { valid: true, write: true, error: false, order: 0, pfn: dst[i].pfn };
                self.state.borrow_mut().pages.insert(page, entry);
            }
        }
    }

    fn migrate_vma_finalize(&self, _: &Reading<'_, ()>, args: &MigrateVma, src: &mut [MigratePfn], dst: &[MigratePfn]) {
        log("migrate_vma_finalize");
        for (at, _) in elements(src) {
            let page = (args.bytes.start >> PAGE_SHIFT) + at as u64;
            self.settle(Some(page), &src[at], &dst[at], args.fault_page);
            if dst[at].valid && !src[at].valid && !src[at].migrate {
                self.frames.put(dst[at].pfn);
            }
        }
        self.end();
    }

    fn migrate_device_pfns(&self, src: &mut [MigratePfn]) -> u64 {
        log("migrate_device_pfns");
        assert!(!holds("notifier_lock"));
        self.begin();
        reached(Point::Collecting);
        let (mut collected, mut i) = (0, 0);
        while i < src.len() {
            let pfn = src[i].pfn;
            let Some(folio) = self.frames.folio(pfn).filter(|_| self.frames.head(pfn) == Some(pfn)) else {
                src[i] = MigratePfn::default();
                i += 1;
                continue;
            };
            let len = 1 << folio.order;
            let compound = folio.order != 0;
            if folio.locked {
                src[i] = MigratePfn { compound, ..MigratePfn::default() };
            } else {
                self.frames.with_folio(pfn, |folio| {
                    folio.locked = true;
                    folio.refs += 1;
                });
                if let Some(page) = self.rmap(pfn) {
                    let bytes = Bytes::new(page << PAGE_SHIFT, (page + len as u64) << PAGE_SHIFT);
                    self.event(EventKind::Clear, bytes, Owner::NONE);
                    self.collect(page, len as u64);
                }
                src[i] = MigratePfn { valid: true, migrate: true, write: true, compound, pfn };
                collected += len as u64;
            }
            for slot in &mut src[i + 1..i + len] {
                *slot = MigratePfn::default();
            }
            i += len;
        }
        collected
    }
    fn migrate_device_pages(&self, src: &mut [MigratePfn], dst: &[MigratePfn]) {
        log("migrate_device_pages");
        // The mapping and the collection hold one each.
        self.hand_over(src, dst, 2);
    }
    fn migrate_device_finalize(&self, src: &mut [MigratePfn], dst: &[MigratePfn]) {
        log("migrate_device_finalize");
        for (at, _) in elements(src).into_iter().filter(|(at, _)| src[*at].valid) {
            let page = self.rmap(src[at].pfn);
            self.settle(page, &src[at], &dst[at], None);
            // The reference of the collection.
            self.frames.put(src[at].pfn);
        }
        self.end();
    }

    fn alloc_folio(&self, order: u8) -> Result<u64, Errno> {
        self.frames.alloc(order)
    }
    fn put_new_folio(&self, pfn: u64, order: u8) {
        self.frames.with_folio(pfn, |folio| {
            assert_eq!((folio.order, folio.locked), (order, true), "as it came");
            folio.locked = false;
        });
        self.frames.put(pfn);
    }
    fn mmput_async(&self) {
        reached(Point::MmputAsync);
        assert!(!holds("notifier_lock"));
        let mut state = self.state.borrow_mut();
        state.users = state.users.checked_sub(1).expect("I5: one mmput too many");
        log("mmput_async");
    }
}
