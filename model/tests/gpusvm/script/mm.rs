//! An address space without other threads: VMAs, pages, and the interval notifier protocol as far as one thread can see
//! it (spec mm-events 1, 3).

use super::frames::Frames;
use super::kernel::{Exclusive, Lock, Reading};
use super::{Point, Seq, allocate, holds, log, reached, shared};
use model::Errno;
use model::platform::*;
use model::units::{Bytes, PAGE_SHIFT};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The pagemap's `migrate_to_ram` op.
type DeviceFault = Rc<dyn Fn(PagemapId, &ScriptMm, &Reading<'_, ()>, u64, u64) -> Result<(), Errno>>;
type Dispatch = Rc<dyn Fn(NotifierEntry, &MmuEvent, u64) -> bool>;

#[derive(Clone, Copy)]
pub(super) struct Subscription {
    entry: NotifierEntry,
    bytes: Bytes,
    seq: u64,
    registered: bool,
}

pub(super) struct State {
    pub(super) users: u64,
    pub(super) grabs: u64,
    pub(super) vmas: Vec<Vma>,
    /// By page number. `write` is what the CPU entry allows.
    pub(super) pages: BTreeMap<u64, HmmPfn>,
    pub(super) next_pfn: u64,
    /// Odd while an invalidation runs.
    pub(super) seq: u64,
    pub(super) subs: Vec<Subscription>,
    pub(super) insert_fails: Option<Errno>,
    /// Answers `hmm_range_fault` is made to give before it works again.
    pub(super) walk_fails: Vec<Errno>,
    dispatch: Option<Dispatch>,
    /// What is between collecting and finalizing, by page number.
    pub(super) migrating: BTreeMap<u64, HmmPfn>,
    device_fault: Option<DeviceFault>,
}

/// The address space.
#[derive(Clone)]
pub(crate) struct ScriptMm {
    mmap_lock: Rc<Lock<()>>,
    pub(super) state: Rc<RefCell<State>>,
    pub(crate) frames: Frames,
}

impl ScriptMm {
    pub(crate) fn new(frames: Frames) -> Self {
        let state = State {
            users: 1,
            grabs: 0,
            vmas: Vec::new(),
            pages: BTreeMap::new(),
            next_pfn: 0x1000,
            seq: 2,
            subs: Vec::new(),
            insert_fails: None,
            walk_fails: Vec::new(),
            dispatch: None,
            migrating: BTreeMap::new(),
            device_fault: None,
        };
        let mmap_lock = <Lock<()> as RwSem<()>>::new("mmap_lock", ()).expect("a lock");
        ScriptMm { mmap_lock: Rc::new(mmap_lock), state: Rc::new(RefCell::new(state)), frames }
    }

    pub(crate) fn on_invalidate(&self, dispatch: Dispatch) {
        self.state.borrow_mut().dispatch = Some(dispatch);
    }

    pub(crate) fn map(&self, start: u64, end: u64, flags: VmaFlags) {
        let mut state = self.state.borrow_mut();
        state.vmas.push(Vma { bytes: Bytes::new(start, end), flags });
        state.vmas.sort_by_key(|vma| vma.bytes.start);
    }

    /// Takes `[start, end)` out of the VMAs and nothing else: munmap between its step 4 and its event.
    pub(crate) fn erase_vmas(&self, start: u64, end: u64) {
        let mut state = self.state.borrow_mut();
        let old = std::mem::take(&mut state.vmas);
        for vma in old {
            for part in [
                Bytes::new(vma.bytes.start, start.min(vma.bytes.end)),
                Bytes::new(end.max(vma.bytes.start), vma.bytes.end),
            ] {
                if !part.is_empty() {
                    state.vmas.push(Vma { bytes: part, ..vma });
                }
            }
        }
    }

    /// The whole of munmap.
    pub(crate) fn unmap(&self, start: u64, end: u64) {
        self.erase_vmas(start, end);
        self.invalidate(&super::event(EventKind::Unmap, start, end));
    }

    /// Puts pages there, mapped with CPU mappings of `order`; the first has frame `pfn`.
    pub(crate) fn populate(&self, start: u64, end: u64, pfn: u64, order: u8) {
        let mut state = self.state.borrow_mut();
        for (i, page) in (start >> PAGE_SHIFT..end >> PAGE_SHIFT).enumerate() {
            state.pages.insert(page, HmmPfn { valid: true, write: true, error: false, order, pfn: pfn + i as u64 });
        }
    }

    /// Counted folios of system memory that no page table entry maps.
    pub(crate) fn unmapped_folios(&self) -> usize {
        let state = self.state.borrow();
        self.frames.folio_heads(None).iter().filter(|&&pfn| !state.pages.values().any(|page| page.pfn == pfn)).count()
    }

    pub(crate) fn pfn(&self, addr: u64) -> Option<u64> {
        self.state.borrow().pages.get(&(addr >> PAGE_SHIFT)).map(|page| page.pfn)
    }

    /// An invalidation from start to end; pages in it are gone afterwards. False when a callback refused, and then they
    /// are not.
    pub(crate) fn invalidate(&self, event: &MmuEvent) -> bool {
        let ok = self.notify(event);
        if ok {
            let gone = event.bytes.start >> PAGE_SHIFT..event.bytes.end >> PAGE_SHIFT;
            let dropped = {
                let mut state = self.state.borrow_mut();
                let (dropped, kept) = std::mem::take(&mut state.pages).into_iter().partition(|(p, _)| gone.contains(p));
                state.pages = kept;
                let dropped: BTreeMap<_, _> = dropped;
                dropped
            };
            for page in dropped.values() {
                self.frames.put_page(page.pfn);
            }
        }
        ok
    }

    /// The callbacks of an event, between its start and its end.
    pub(super) fn notify(&self, event: &MmuEvent) -> bool {
        let (subs, seq, dispatch) = {
            let mut state = self.state.borrow_mut();
            state.seq |= 1;
            let dispatch = state.dispatch.clone().expect("a dispatcher");
            (state.subs.clone(), state.seq, dispatch)
        };
        let mut order: Vec<_> = subs.iter().filter(|s| s.registered && s.bytes.overlaps(&event.bytes)).collect();
        order.sort_by_key(|s| s.bytes.start);
        let mut ok = true;
        for sub in order {
            ok = dispatch(sub.entry, event, seq);
            if !ok {
                assert!(!event.blockable, "a blockable event is refused");
                break;
            }
        }
        self.state.borrow_mut().seq += 1;
        ok
    }

    pub(crate) fn on_device_fault(&self, hook: DeviceFault) {
        self.state.borrow_mut().device_fault = Some(hook);
    }

    /// A CPU access that meets a device page there; what comes of it.
    pub(super) fn device_fault(&self, held: &Reading<'_, ()>, of: PagemapId, addr: u64, pfn: u64) -> Result<(), Errno> {
        let hook = self.state.borrow().device_fault.clone().expect("who answers faults on device pages");
        self.frames.lock(pfn);
        let result = hook(of, self, held, addr, pfn);
        self.frames.unlock(pfn);
        result
    }

    /// The CPU reads a word: the contents of the page, which is faulted in and brought back from a device.
    ///
    /// # Errors
    /// `EFAULT` for SIGBUS and SIGSEGV.
    pub(crate) fn cpu_read(&self, addr: u64) -> Result<u64, Errno> {
        loop {
            let held = self.mmap_read_lock();
            let there = Self::page(&mut self.state.borrow_mut(), addr, HmmRequest::Read)?;
            let Some(device) = self.frames.device(there.pfn) else { return Ok(self.frames.content(there.pfn)) };
            self.device_fault(&held, device.pagemap, addr, there.pfn)?;
            drop(held);
            shared(|s| s.now_ms += 1);
        }
    }

    pub(crate) fn kill(&self) {
        self.state.borrow_mut().users = 0;
    }
    pub(crate) fn users(&self) -> u64 {
        self.state.borrow().users
    }
    pub(crate) fn grabs(&self) -> u64 {
        self.state.borrow().grabs
    }
    pub(crate) fn subscriptions(&self) -> usize {
        self.state.borrow().subs.iter().filter(|s| s.registered).count()
    }
    pub(crate) fn sub_seq(&self, sub: usize) -> u64 {
        self.state.borrow().subs[sub].seq
    }
    pub(crate) fn fail_insert(&self, error: Errno) {
        self.state.borrow_mut().insert_fails = Some(error);
    }
    /// The next walks give these, last one first.
    pub(crate) fn fail_walks(&self, errors: &[Errno]) {
        self.state.borrow_mut().walk_fails = errors.to_vec();
    }

    /// One page as hmm sees it, faulted in if asked.
    fn page(state: &mut State, addr: u64, request: HmmRequest) -> Result<HmmPfn, Errno> {
        let fault = request != HmmRequest::Snapshot;
        let Some(vma) = state.vmas.iter().find(|vma| vma.bytes.contains(addr)).copied() else {
            return if fault { Err(Errno::EFAULT) } else { Ok(HmmPfn { error: true, ..HmmPfn::default() }) };
        };
        if !vma.flags.read || vma.flags.io || vma.flags.pfnmap {
            return if fault { Err(Errno::EFAULT) } else { Ok(HmmPfn { error: true, ..HmmPfn::default() }) };
        }
        let page = addr >> PAGE_SHIFT;
        assert!(!state.migrating.contains_key(&page), "one thread would wait for its own migration");
        if let Some(&there) = state.pages.get(&page)
            && (request != HmmRequest::Write || there.write)
        {
            return Ok(there);
        }
        match request {
            HmmRequest::Snapshot => Ok(state.pages.get(&page).copied().unwrap_or_default()),
            HmmRequest::Write if !vma.flags.write => Err(Errno::EPERM),
            _ => {
                let pfn = state.next_pfn;
                state.next_pfn += 1;
                let new = HmmPfn { valid: true, write: vma.flags.write, error: false, order: 0, pfn };
                state.pages.insert(page, new);
                Ok(new)
            }
        }
    }
}

impl Mm<Seq> for ScriptMm {
    type ReadGuard<'a> = Reading<'a, ()>;
    type WriteGuard<'a> = Exclusive<'a, ()>;
    type Sub = usize;

    fn is_same(&self, _: &Self) -> bool {
        true // There is one.
    }
    fn mmgrab(&self) {
        self.state.borrow_mut().grabs += 1;
    }
    fn mmdrop(&self) {
        let mut state = self.state.borrow_mut();
        state.grabs = state.grabs.checked_sub(1).expect("I5: one mmdrop too many");
    }
    fn mmget_not_zero(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let alive = state.users > 0;
        state.users += u64::from(alive);
        log(if alive { "mmget" } else { "mmget: gone" });
        alive
    }
    fn mmput(&self) {
        assert!(!holds("mmap_lock") && !holds("notifier_lock"), "the last mmput would run exit_mmap under a lock");
        reached(Point::Mmput);
        let mut state = self.state.borrow_mut();
        state.users = state.users.checked_sub(1).expect("I5: one mmput too many");
        log("mmput");
    }

    fn mmap_read_lock(&self) -> Reading<'_, ()> {
        assert!(!holds("notifier_lock"), "mmap_lock is outside the notifier lock");
        RwSem::read(&*self.mmap_lock)
    }
    fn find_vma(&self, _: &Reading<'_, ()>, addr: u64) -> Option<Vma> {
        self.state.borrow().vmas.iter().find(|vma| vma.bytes.end > addr).copied()
    }

    fn mmap_write_lock(&self) -> Exclusive<'_, ()> {
        assert!(!holds("notifier_lock"), "mmap_lock is outside the notifier lock");
        RwSem::write(&*self.mmap_lock)
    }
    fn mmap_write_downgrade<'a>(&'a self, held: Exclusive<'a, ()>) -> Reading<'a, ()> {
        <Lock<()> as RwSem<()>>::downgrade(held)
    }
    fn find_vma_write_locked(&self, _: &Exclusive<'_, ()>, addr: u64) -> Option<Vma> {
        self.state.borrow().vmas.iter().find(|vma| vma.bytes.end > addr).copied()
    }
    fn interval_insert_locked(
        &self,
        _: &Exclusive<'_, ()>,
        _: NotifierEntry,
        _: Bytes,
        _: impl FnOnce(usize),
    ) -> Result<usize, Errno> {
        unreachable!("drm_gpusvm registers without mmap_lock")
    }
    fn hmm_range_fault_write_locked(
        &self,
        _: &Exclusive<'_, ()>,
        _: &HmmRange<usize>,
        _: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        unreachable!("drm_gpusvm takes mmap_lock for read")
    }

    fn interval_insert(&self, entry: NotifierEntry, bytes: Bytes, publish: impl FnOnce(usize)) -> Result<usize, Errno> {
        assert!(shared(|s| s.held.is_empty()), "the first registration takes mmap_lock for write");
        allocate("subscription")?;
        if bytes.is_empty() {
            return Err(Errno::EOVERFLOW);
        }
        if let Some(error) = self.state.borrow_mut().insert_fails.take() {
            return Err(error);
        }
        let sub = {
            let mut state = self.state.borrow_mut();
            let seq = state.seq - 1;
            state.subs.push(Subscription { entry, bytes, seq, registered: false });
            state.subs.len() - 1
        };
        publish(sub);
        self.state.borrow_mut().subs[sub].registered = true;
        log("interval insert");
        reached(Point::Inserted);
        Ok(sub)
    }
    fn interval_remove(&self, sub: usize) {
        assert!(!holds("mmap_lock") && !holds("notifier_lock"), "removal waits for who may want these");
        let mut state = self.state.borrow_mut();
        assert!(state.subs[sub].registered, "an interval notifier is removed twice");
        state.subs[sub].registered = false;
        log("interval remove");
    }
    fn interval_set_seq(&self, sub: usize, seq: u64) {
        assert!(holds("notifier_lock"), "the sequence is set under the user lock");
        self.state.borrow_mut().subs[sub].seq = seq;
    }
    fn read_begin(&self, sub: usize) -> u64 {
        assert!(!holds("notifier_lock"), "read_begin waits for callbacks, which take the notifier lock");
        log("read_begin");
        let seq = {
            let state = self.state.borrow();
            assert!(state.subs[sub].registered, "read_begin on a notifier that is not registered");
            assert_ne!(state.subs[sub].seq, state.seq, "one thread would wait for itself");
            state.subs[sub].seq
        };
        reached(Point::ReadBegun);
        seq
    }
    fn read_retry(&self, sub: usize, seq: u64) -> bool {
        assert!(holds("notifier_lock"), "read_retry is meaningful under the user lock");
        self.state.borrow().subs[sub].seq != seq
    }

    fn hmm_range_fault(
        &self,
        held: &Reading<'_, ()>,
        range: &HmmRange<usize>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        let HmmRange { notifier: sub, notifier_seq: seq, start, request, owner } = *range;
        log(format!("hmm {request:?}"));
        reached(Point::Walk);
        if let Some(error) = self.state.borrow_mut().walk_fails.pop() {
            return Err(error);
        }
        if self.state.borrow().subs[sub].seq != seq {
            return Err(Errno::EBUSY);
        }
        for (i, slot) in pfns.iter_mut().enumerate() {
            let addr = start + ((i as u64) << PAGE_SHIFT);
            loop {
                let page = Self::page(&mut self.state.borrow_mut(), addr, request)?;
                let foreign =
                    self.frames.device(page.pfn).filter(|d| page.valid && (owner == Owner::NONE || d.owner != owner));
                *slot = page;
                let Some(device) = foreign else { break };
                if request == HmmRequest::Snapshot {
                    *slot = HmmPfn::default();
                    break;
                }
                self.device_fault(held, device.pagemap, addr, page.pfn).map_err(|_| Errno::EFAULT)?;
                // The loop inside hmm_range_fault: no clock but the sequence.
                if self.state.borrow().subs[sub].seq != seq {
                    return Err(Errno::EBUSY);
                }
                shared(|s| s.now_ms += 1);
            }
        }
        reached(Point::Walked);
        Ok(())
    }
}
