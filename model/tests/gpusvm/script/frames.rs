//! Page frames: contents, and for those that are counted (device memory, destinations of a migration) references and the
//! folio lock.

use super::{allocate, log, shared};
use model::Errno;
use model::platform::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A counted folio.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folio {
    pub(crate) order: u8,
    pub(crate) refs: u32,
    pub(crate) locked: bool,
    pub(crate) data: u64,
}

type OnFolio = Rc<dyn Fn(PagemapId, u64)>;
type OnSplit = Rc<dyn Fn(PagemapId, u64, u64)>;

#[derive(Default)]
struct State {
    /// First frame, how many, whose.
    pagemaps: Vec<(u64, u64, DevicePage)>,
    /// By first frame.
    folios: BTreeMap<u64, Folio>,
    contents: BTreeMap<u64, u64>,
    /// System frames that somebody holds or has locked: they are not collected.
    busy: BTreeSet<u64>,
    /// Free system frames that `alloc_folio` may still give; None: any number.
    room: Option<u64>,
    next: u64,
    /// Frames that `alloc_folio` leaves out after each.
    gap: u64,
    on_free: Option<OnFolio>,
    on_split: Option<OnSplit>,
}

/// All frames of the machine.
#[derive(Clone, Default)]
pub(crate) struct Frames(Rc<RefCell<State>>);

/// System frames that migrations get, from here on; aligned for huge folios.
const NEW: u64 = 0x10_0000;

impl Frames {
    /// `pages` device frames from `pfn` on.
    pub(crate) fn add_pagemap(&self, pfn: u64, pages: u64, page: DevicePage) {
        self.0.borrow_mut().pagemaps.push((pfn, pages, page));
    }
    pub(crate) fn on_free(&self, hook: OnFolio) {
        self.0.borrow_mut().on_free = Some(hook);
    }
    pub(crate) fn on_split(&self, hook: OnSplit) {
        self.0.borrow_mut().on_split = Some(hook);
    }
    pub(crate) fn device(&self, pfn: u64) -> Option<DevicePage> {
        let state = self.0.borrow();
        state.pagemaps.iter().find(|(first, pages, _)| (*first..first + pages).contains(&pfn)).map(|p| p.2)
    }

    /// Untouched system memory holds its frame number.
    pub(crate) fn content(&self, pfn: u64) -> u64 {
        self.0.borrow().contents.get(&pfn).copied().unwrap_or(pfn)
    }
    pub(crate) fn set_content(&self, pfn: u64, content: u64) {
        self.0.borrow_mut().contents.insert(pfn, content);
    }

    /// The first frame of the counted folio that holds `pfn`.
    pub(crate) fn head(&self, pfn: u64) -> Option<u64> {
        let state = self.0.borrow();
        let (head, folio) = state.folios.range(..=pfn).next_back()?;
        (pfn < head + (1 << folio.order)).then_some(*head)
    }
    pub(crate) fn folio(&self, pfn: u64) -> Option<Folio> {
        let head = self.head(pfn)?;
        self.0.borrow().folios.get(&head).copied()
    }
    /// Works on the folio that holds `pfn`.
    pub(crate) fn with_folio<R>(&self, pfn: u64, f: impl FnOnce(&mut Folio) -> R) -> R {
        let head = self.head(pfn).unwrap_or_else(|| panic!("frame {pfn:#x} is free"));
        f(self.0.borrow_mut().folios.get_mut(&head).expect("it was just there"))
    }
    /// How many counted folios there are, of a pagemap or of system memory.
    pub(crate) fn folios(&self, of: Option<PagemapId>) -> usize {
        self.folio_heads(of).len()
    }
    pub(crate) fn folio_heads(&self, of: Option<PagemapId>) -> Vec<u64> {
        let heads: Vec<u64> = self.0.borrow().folios.keys().copied().collect();
        heads.into_iter().filter(|&pfn| self.device(pfn).map(|d| d.pagemap) == of).collect()
    }
    pub(crate) fn locked(&self) -> usize {
        self.0.borrow().folios.values().filter(|folio| folio.locked).count()
    }

    pub(crate) fn insert(&self, pfn: u64, order: u8, data: u64) {
        for page in pfn..pfn + (1 << order) {
            assert_eq!(self.head(page), None, "frame {page:#x} is in use");
        }
        let folio = Folio { order, refs: 1, locked: true, data };
        self.0.borrow_mut().folios.insert(pfn, folio);
    }
    /// A fault's hold of a page.
    pub(crate) fn lock(&self, pfn: u64) {
        self.with_folio(pfn, |folio| {
            assert!(!folio.locked, "one thread would wait for itself");
            folio.locked = true;
            folio.refs += 1;
        });
    }
    pub(crate) fn unlock(&self, pfn: u64) {
        self.with_folio(pfn, |folio| folio.locked = false);
        self.put(pfn);
    }
    pub(crate) fn get(&self, pfn: u64) {
        self.with_folio(pfn, |folio| folio.refs += 1);
    }
    /// One reference less; frees the folio with the last one.
    pub(crate) fn put(&self, pfn: u64) {
        let head = self.head(pfn).unwrap_or_else(|| panic!("I5: frame {pfn:#x} is put and free"));
        let folio = self.with_folio(head, |folio| {
            folio.refs -= 1;
            *folio
        });
        if folio.refs != 0 {
            return;
        }
        assert!(!folio.locked, "a locked folio is freed");
        self.0.borrow_mut().folios.remove(&head);
        if let Some(device) = self.device(head) {
            log(format!("folio_free {head:#x}"));
            let hook = self.0.borrow().on_free.clone().expect("who takes the folio");
            hook(device.pagemap, folio.data);
        }
    }
    /// A mapping of the page is gone; not counted for memory that is not.
    pub(crate) fn put_page(&self, pfn: u64) {
        match self.head(pfn) {
            Some(head) if head == pfn => self.put(pfn),
            Some(_) | None => (),
        }
    }
    /// Single pages with `refs` references each; what else the folio had stays with the first.
    pub(crate) fn split(&self, pfn: u64, refs: u32) {
        let folio = self.folio(pfn).expect("it is there");
        let pages = 1 << folio.order;
        let device = self.device(pfn).expect("only device folios are split here");
        let hook = self.0.borrow().on_split.clone().expect("who is told");
        hook(device.pagemap, folio.data, pages);
        let mut state = self.0.borrow_mut();
        for page in pfn..pfn + pages {
            let refs = if page == pfn { folio.refs } else { refs };
            state.folios.insert(page, Folio { order: 0, refs, ..folio });
        }
    }

    /// Somebody holds the system page, or has it locked.
    pub(crate) fn set_busy(&self, pfn: u64, busy: bool) {
        let mut state = self.0.borrow_mut();
        let _ = if busy { state.busy.insert(pfn) } else { state.busy.remove(&pfn) };
    }
    /// Whether the page can be taken from its mapping: nobody else holds it.
    pub(crate) fn is_free_to_move(&self, pfn: u64, fault_page: Option<u64>) -> bool {
        if self.0.borrow().busy.contains(&pfn) {
            return false;
        }
        match self.folio(pfn) {
            None => true,
            Some(_) if fault_page.is_some() && self.head(pfn) == fault_page.and_then(|pfn| self.head(pfn)) => true,
            // A device page can be collected while somebody holds it, not while it is locked.
            Some(folio) => !folio.locked && (self.device(pfn).is_some() || folio.refs == 1),
        }
    }

    /// From now on no two new system pages are neighbours.
    pub(crate) fn scatter(&self) {
        self.0.borrow_mut().gap = 1;
    }
    pub(crate) fn limit_room(&self, pages: u64) {
        self.0.borrow_mut().room = Some(pages);
    }
    pub(crate) fn alloc(&self, order: u8) -> Result<u64, Errno> {
        allocate("folio")?;
        if order != 0 && shared(|s| s.no_huge) {
            return Err(Errno::ENOMEM);
        }
        let pages = 1 << order;
        let pfn = {
            let mut state = self.0.borrow_mut();
            if let Some(room) = &mut state.room {
                *room = room.checked_sub(pages).ok_or(Errno::ENOMEM)?;
            }
            let pfn = (NEW + state.next).next_multiple_of(pages);
            state.next = pfn + pages + state.gap - NEW;
            pfn
        };
        self.insert(pfn, order, 0);
        // Contents undefined: nobody must ever read this.
        for page in pfn..pfn + pages {
            self.set_content(page, 0xdead);
        }
        Ok(pfn)
    }
}
