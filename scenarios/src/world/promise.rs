//! Which pages a SET_ATTR has promised to the GPU: the ground truth that I7 is judged by.
//!
//! With XNACK off the GPU cannot fault and retry, so a SET_ATTR that returned 0 with access in its request is a promise
//! that the pages stay usable until the application takes them back (docs/invariants.md).

use interleave::lab::Stamp;
use model::units::Pages;
use std::cell::RefCell;

/// Promises of one GPU over the pages of the scenario's regions.
pub struct Promises {
    /// In order, disjoint, each with the index of its first page's slot. Regions may be terabytes apart.
    parts: Vec<(Pages, usize)>,
    slots: RefCell<Vec<Slot>>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// When the SET_ATTR returned that promised this page.
    promised: Option<Stamp>,
    /// When the application last finished taking this page back.
    taken_back: Option<Stamp>,
    /// Calls under way that change what the page may be used for; meanwhile nothing can be counted on.
    changing: u32,
    /// Whether writes are not part of the promise: some SET_ATTR asked for a read-only mapping.
    read_only: bool,
    /// When one last finished asking for that.
    forbidden: Option<Stamp>,
    /// When a SET_ATTR on it last returned 0, and when the one before that did.
    returned: [Option<Stamp>; 2],
}

/// A call that takes pages back, or changes what they may be used for.
#[derive(Clone, Copy)]
#[must_use = "say when the call has returned"]
pub struct Change {
    pages: Pages,
    takes_back: bool,
    forbids_writes: bool,
}

impl Change {
    /// An munmap, a MAP_FIXED mapping, a NO_ACCESS request: the pages are the application's no longer.
    pub const TAKE_BACK: Change = Change { pages: Pages::EMPTY, takes_back: true, forbids_writes: false };
    /// A SET_ATTR that asks for read-only entries.
    pub const FORBID_WRITES: Change = Change { pages: Pages::EMPTY, takes_back: false, forbids_writes: true };
    /// An mprotect: the promise stands, but until the call has returned nobody can say what is allowed.
    pub const REPROTECT: Change = Change { pages: Pages::EMPTY, takes_back: false, forbids_writes: false };
}

impl Promises {
    /// No promise on any page of the regions; pages outside are never promised.
    pub fn new(mut regions: Vec<Pages>) -> Self {
        regions.sort_by_key(|pages| pages.first);
        let (mut parts, mut slots) = (Vec::<(Pages, usize)>::new(), 0);
        for region in regions {
            let from = parts.last().map_or(0, |(before, _)| before.last + 1).max(region.first);
            if from <= region.last {
                let part = Pages::new(from, region.last);
                parts.push((part, slots));
                slots += part.count() as usize;
            }
        }
        Promises { parts, slots: RefCell::new(vec![Slot::default(); slots]) }
    }

    /// The pages that can be promised.
    pub fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.parts.iter().flat_map(|(part, _)| part.first..=part.last)
    }

    /// Those of `pages` that can be promised.
    pub fn among(&self, pages: Pages) -> impl Iterator<Item = u64> + '_ {
        let inside = self.parts.iter().map(move |(part, _)| part.clip(&pages)).filter(|inside| !inside.is_empty());
        inside.flat_map(|inside| inside.first..=inside.last)
    }

    fn each(&self, pages: Pages, mut f: impl FnMut(&mut Slot)) {
        let mut slots = self.slots.borrow_mut();
        for (part, at) in &self.parts {
            let inside = part.clip(&pages);
            if !inside.is_empty() {
                let from = at + (inside.first - part.first) as usize;
                slots[from..from + inside.count() as usize].iter_mut().for_each(&mut f);
            }
        }
    }

    fn slot(&self, page: u64) -> Slot {
        let part = self.parts.iter().find(|(part, _)| part.contains(page));
        part.map_or_else(Slot::default, |(part, at)| self.slots.borrow()[at + (page - part.first) as usize])
    }

    /// Everything is taken back for good: the file is closed.
    pub fn begin_taking_back_all(&self) {
        for (part, _) in &self.parts {
            let _ = self.begin(Change::TAKE_BACK, *part);
        }
    }

    /// A call that changes `pages` begins.
    pub fn begin(&self, change: Change, pages: Pages) -> Change {
        self.each(pages, |slot| {
            slot.changing += 1;
            slot.read_only |= change.forbids_writes;
            if change.takes_back {
                slot.promised = None;
            }
        });
        Change { pages, ..change }
    }

    /// The call has returned.
    pub fn end(&self, change: Change, now: Stamp) {
        self.each(change.pages, |slot| {
            slot.changing -= 1;
            if change.takes_back {
                slot.promised = None;
                slot.taken_back = Some(now);
            }
            if change.forbids_writes {
                slot.read_only = true;
                slot.forbidden = Some(now);
            }
        });
    }

    /// A SET_ATTR that ran from `began` to `now` has returned 0 with access. Pages that were taken back meanwhile, or
    /// are being taken back, are not promised.
    pub fn promise(&self, pages: Pages, began: Stamp, now: Stamp) {
        self.each(pages, |slot| {
            if slot.changing == 0 && slot.taken_back.is_none_or(|at| at <= began) {
                slot.promised = Some(now);
            }
        });
    }

    /// A SET_ATTR that ran from `began` has returned 0 and made the pages writable for the GPU.
    pub fn allow_writes(&self, pages: Pages, began: Stamp) {
        self.each(pages, |slot| {
            if slot.changing == 0 && slot.forbidden.is_none_or(|at| at <= began) {
                slot.read_only = false;
            }
        });
    }

    /// A SET_ATTR on the pages has returned 0, whatever it asked for.
    pub fn returned(&self, pages: Pages, now: Stamp) {
        self.each(pages, |slot| slot.returned = [Some(now), slot.returned[0]]);
    }

    /// When the last SET_ATTR but one on `page` returned 0, or the last when there was only one.
    pub fn last_but_one(&self, page: u64) -> Option<Stamp> {
        let [last, before] = self.slot(page).returned;
        before.or(last)
    }

    /// Whether a promise of `page` is one of writing, too.
    pub fn covers_writes(&self, page: u64) -> bool {
        !self.slot(page).read_only
    }

    /// When `page` was promised, if it can be counted on now.
    pub fn of(&self, page: u64) -> Option<Stamp> {
        let slot = self.slot(page);
        slot.promised.filter(|_| slot.changing == 0)
    }

    /// The pages that can be counted on now, with the time of their promise.
    pub fn pages(&self) -> Vec<(u64, Stamp)> {
        let slots = self.slots.borrow();
        let held = self.all().zip(slots.iter()).filter(|(_, slot)| slot.changing == 0);
        held.filter_map(|(page, slot)| Some((page, slot.promised?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_unmapped_during_the_call_is_not_promised() {
        let p = Promises::new(vec![Pages::new(0x10, 0x1f)]);
        let munmap = p.begin(Change::TAKE_BACK, Pages::new(0x12, 0x12));
        p.end(munmap, Stamp(5));
        p.promise(Pages::new(0x0, 0x13), Stamp(3), Stamp(9));
        assert_eq!(p.of(0x12), None);
        assert_eq!(p.of(0x13), Some(Stamp(9)));
        assert_eq!(p.of(0x14), None);
        assert_eq!(p.of(0x0), None, "outside the regions");
    }

    #[test]
    fn regions_far_apart_cost_their_own_pages_only() {
        let far = 1 << 50;
        // the third overlaps the second, the last lies within it
        let regions = [(far, far + 1), (0x10, 0x13), (0x12, 0x15), (0x11, 0x12)];
        let p = Promises::new(regions.iter().map(|&(first, last)| Pages::new(first, last)).collect());
        assert!(p.all().eq([0x10, 0x11, 0x12, 0x13, 0x14, 0x15, far, far + 1]));
        assert!(p.among(Pages::new(0x14, far)).eq([0x14, 0x15, far]));
        p.promise(Pages::new(0x13, far), Stamp(1), Stamp(2));
        assert_eq!(p.pages(), [0x13, 0x14, 0x15, far].map(|page| (page, Stamp(2))));
        assert_eq!((p.of(far), p.of(far + 1), p.of(0x16)), (Some(Stamp(2)), None, None));
    }

    #[test]
    fn an_unmap_before_the_call_does_not_prevent_the_promise() {
        let p = Promises::new(vec![Pages::new(0, 3)]);
        let munmap = p.begin(Change::TAKE_BACK, Pages::new(1, 1));
        p.end(munmap, Stamp(2));
        p.promise(Pages::new(0, 3), Stamp(3), Stamp(4));
        assert_eq!(p.pages().len(), 4);
        let munmap = p.begin(Change::TAKE_BACK, Pages::new(0, 0));
        assert_eq!(p.pages(), [(1, Stamp(4)), (2, Stamp(4)), (3, Stamp(4))]);
        p.end(munmap, Stamp(8));
    }

    #[test]
    fn what_is_being_taken_back_cannot_be_promised() {
        let p = Promises::new(vec![Pages::new(0, 0)]);
        let no_access = p.begin(Change::TAKE_BACK, Pages::new(0, 0));
        p.promise(Pages::new(0, 0), Stamp(2), Stamp(3));
        assert_eq!(p.of(0), None, "the withdrawal may still come");
        p.end(no_access, Stamp(4));
        assert_eq!(p.of(0), None);
    }

    #[test]
    fn during_mprotect_a_promise_is_not_counted_on() {
        let p = Promises::new(vec![Pages::new(0, 0)]);
        p.promise(Pages::new(0, 0), Stamp(1), Stamp(2));
        let mprotect = p.begin(Change::REPROTECT, Pages::new(0, 0));
        assert_eq!(p.of(0), None);
        p.end(mprotect, Stamp(3));
        assert_eq!(p.of(0), Some(Stamp(2)));
    }

    #[test]
    fn writes_are_promised_again_only_by_a_call_that_began_after_they_were_forbidden() {
        let p = Promises::new(vec![Pages::new(0, 0)]);
        let read_only = p.begin(Change::FORBID_WRITES, Pages::new(0, 0));
        p.allow_writes(Pages::new(0, 0), Stamp(2));
        assert!(!p.covers_writes(0));
        p.end(read_only, Stamp(4));
        p.allow_writes(Pages::new(0, 0), Stamp(3));
        assert!(!p.covers_writes(0), "the two overlapped: the read-only one may have come last");
        p.allow_writes(Pages::new(0, 0), Stamp(5));
        assert!(p.covers_writes(0));
    }
}
