//! Which pages a SET_ATTR has promised to the GPU: the ground truth that I7 is judged by.
//!
//! With XNACK off the GPU cannot fault and retry, so a SET_ATTR that returned 0 with access in its request is a promise
//! that the pages stay usable until the application takes them back (docs/invariants.md).

use interleave::lab::Stamp;
use model::units::Pages;
use std::cell::RefCell;

/// Promises of one GPU over the pages that the scenario's regions span.
pub struct Promises {
    span: Pages,
    slots: RefCell<Vec<Slot>>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// When the SET_ATTR returned that promised this page.
    promised: Option<Stamp>,
    /// When the application last began to take this page back.
    taken_back: Option<Stamp>,
    /// When a SET_ATTR on it last returned 0, and when the one before that did.
    returned: [Option<Stamp>; 2],
    /// Whether some SET_ATTR asked for a read-only mapping and none has taken that back.
    read_only: bool,
}

impl Promises {
    /// No promise on any page of `span`; pages outside are never promised.
    pub fn new(span: Pages) -> Self {
        Promises { span, slots: RefCell::new(vec![Slot::default(); span.count() as usize]) }
    }

    /// The pages that can be promised.
    pub fn span(&self) -> Pages {
        self.span
    }

    fn each(&self, pages: Pages, mut f: impl FnMut(&mut Slot)) {
        let inside = pages.clip(&self.span);
        if inside.is_empty() {
            return;
        }
        let mut slots = self.slots.borrow_mut();
        let from = (inside.first - self.span.first) as usize;
        slots[from..from + inside.count() as usize].iter_mut().for_each(&mut f);
    }

    /// A SET_ATTR that ran from `began` to `now` has returned 0 with access. Pages that were taken back meanwhile are
    /// not promised.
    pub fn promise(&self, pages: Pages, began: Stamp, now: Stamp) {
        self.each(pages, |slot| {
            if slot.taken_back.is_none_or(|at| at < began) {
                slot.promised = Some(now);
            }
        });
    }

    /// The application begins to unmap the pages or to withdraw the access.
    pub fn take_back(&self, pages: Pages, now: Stamp) {
        self.each(pages, |slot| {
            slot.promised = None;
            slot.taken_back = Some(now);
        });
    }

    /// A SET_ATTR on the pages has returned 0, whatever it asked for.
    pub fn returned(&self, pages: Pages, now: Stamp) {
        self.each(pages, |slot| slot.returned = [Some(now), slot.returned[0]]);
    }

    /// When the last SET_ATTR but one on `page` returned 0, or the last when there was only one.
    pub fn last_but_one(&self, page: u64) -> Option<Stamp> {
        let [last, before] = if self.span.contains(page) {
            self.slots.borrow()[(page - self.span.first) as usize].returned
        } else {
            [None, None]
        };
        before.or(last)
    }

    /// A SET_ATTR begins to make the pages read-only for the GPU.
    pub fn forbid_writes(&self, pages: Pages) {
        self.each(pages, |slot| slot.read_only = true);
    }

    /// A SET_ATTR has made the pages writable for the GPU.
    pub fn allow_writes(&self, pages: Pages) {
        self.each(pages, |slot| slot.read_only = false);
    }

    /// Whether a promise of `page` is one of writing, too.
    pub fn covers_writes(&self, page: u64) -> bool {
        self.span.contains(page) && !self.slots.borrow()[(page - self.span.first) as usize].read_only
    }

    /// When `page` was promised, if it is.
    pub fn of(&self, page: u64) -> Option<Stamp> {
        if !self.span.contains(page) {
            return None;
        }
        self.slots.borrow()[(page - self.span.first) as usize].promised
    }

    /// The promised pages with the time of their promise.
    pub fn pages(&self) -> Vec<(u64, Stamp)> {
        let slots = self.slots.borrow();
        slots.iter().enumerate().filter_map(|(i, s)| Some((self.span.first + i as u64, s.promised?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_unmapped_during_the_call_is_not_promised() {
        let p = Promises::new(Pages::new(0x10, 0x1f));
        p.take_back(Pages::new(0x12, 0x12), Stamp(5));
        p.promise(Pages::new(0x0, 0x13), Stamp(3), Stamp(9));
        assert_eq!(p.of(0x12), None);
        assert_eq!(p.of(0x13), Some(Stamp(9)));
        assert_eq!(p.of(0x14), None);
        assert_eq!(p.of(0x0), None, "outside the regions");
    }

    #[test]
    fn an_unmap_before_the_call_does_not_prevent_the_promise() {
        let p = Promises::new(Pages::new(0, 3));
        p.take_back(Pages::new(1, 1), Stamp(2));
        p.promise(Pages::new(0, 3), Stamp(3), Stamp(4));
        assert_eq!(p.pages().len(), 4);
        p.take_back(Pages::new(0, 0), Stamp(7));
        assert_eq!(p.pages(), [(1, Stamp(4)), (2, Stamp(4)), (3, Stamp(4))]);
    }
}
