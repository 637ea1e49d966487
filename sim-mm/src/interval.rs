//! Interval notifiers: who is told of an invalidation, and how a reader learns that it collided with one.
//!
//! Answers to the interval part of `mm/mmu_notifier.c` (spec mm-events 1). There is one sequence number per mm. It is
//! odd while at least one running invalidation hit a subscription; the tree of subscriptions is frozen then, insertions
//! and removals are deferred to the end of the epoch, which comes when **all** running invalidations have ended.
//! Waiting is per mm, collision is per subscription.
//!
//! Left out: classic (hlist) notifiers and two-pass subscriptions, which no driver here uses.
//!
//! # Locking
//! `mn_lock` (a spinlock) orders everything but a subscription's own sequence number: `set_seq` writes that under the
//! *user's* lock while `read_begin` reads it under `mn_lock`, so it is an object of its own, "invalidate_seq".
//! `read_retry` reads it without a scheduling point: the user's lock, which its caller holds, orders it.
//!
//! The lock-order validator is told of two maps. Callbacks run inside [`NOTIFIER_MAP`], as in the kernel, and readers
//! and removals touch it. An invalidation is inside [`EPOCH`] from its start to its end, and whoever may have to wait for
//! the end touches that: the kernel has no map for this, so it does not see what is done between start and end.

use crate::costs::Tally;
use interleave::lab::{Gate, Hold, Invariant, Lab, NOTIFIER_MAP, Span, Stamp, Violation, Visible};
use model::platform::{EventKind, MmuEvent, NotifierEntry, Plant, SpinLock};
use model::units::Bytes;
use model::{Errno, note};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

/// What an event's `owner` holds unless its kind gives it a meaning: nothing that may be relied upon.
pub const UNINITIALISED_OWNER: u64 = 0x6b6b_6b6b_6b6b_6b6b;

/// The gate that readers sleep on, and the map of the invalidations that run.
const EPOCH: &str = "invalidation epoch";

/// A registered interval subscription.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub(crate) u32);

impl fmt::Debug for SubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sub{}", self.0)
    }
}

/// Calls the driver: entry, event, sequence number. False means "would have to sleep" and is allowed for a
/// non-blockable event only.
pub type InvalidateFn = Rc<dyn Fn(NotifierEntry, &MmuEvent, u64) -> bool>;
/// Told of what no device may reach any more.
pub type ReturnedFn = Rc<dyn Fn(&MmuEvent)>;

/// Where a subscription stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubState {
    /// Inserted during an epoch; comes into the tree when that ends. Callbacks do not reach it yet.
    InsertDeferred,
    /// In the tree.
    InTree,
    /// Removed during an epoch: still in the tree, still called, gone when the epoch ends.
    RemoveDeferred,
    /// Gone.
    Removed,
}

/// A look at one subscription, for checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubView {
    /// Which.
    pub sub: SubId,
    /// Whom it calls.
    pub entry: NotifierEntry,
    /// Where it listens.
    pub bytes: Bytes,
    /// Its own sequence number (always odd).
    pub seq: u64,
    /// Where it stands.
    pub state: SubState,
}

struct Sub {
    entry: NotifierEntry,
    bytes: Bytes,
    /// `interval_sub->invalidate_seq`.
    seq: u64,
    state: SubState,
    /// When its removal returned.
    removed_at: Option<Stamp>,
}

struct State {
    /// `invalidate_seq` of the mm.
    seq: u64,
    /// `active_invalidate_ranges`.
    active: u32,
    /// Every subscription there ever was; the index is the id.
    subs: Vec<Sub>,
    /// Those in the tree, by (start, id).
    tree: BTreeSet<(u64, u32)>,
    /// `deferred_list`: a stack.
    deferred: Vec<u32>,
}

impl State {
    /// `mn_itree_is_invalidating`.
    fn odd(&self) -> bool {
        self.seq & 1 == 1
    }

    fn overlapping(&self, bytes: Bytes) -> Vec<SubId> {
        let before_end = self.tree.range(..(bytes.end, 0)).map(|&(_, id)| id);
        before_end.filter(|&id| self.subs[id as usize].bytes.overlaps(&bytes)).map(SubId).collect()
    }

    fn enter_tree(&mut self, id: u32) {
        let sub = &mut self.subs[id as usize];
        sub.state = SubState::InTree;
        self.tree.insert((sub.bytes.start, id));
    }

    fn leave_tree(&mut self, id: u32) {
        let sub = &mut self.subs[id as usize];
        sub.state = SubState::Removed;
        self.tree.remove(&(sub.bytes.start, id));
    }
}

#[derive(Default)]
struct Hooks {
    invalidate: Option<InvalidateFn>,
    returned: Option<ReturnedFn>,
    ended: Option<ReturnedFn>,
}

/// `struct mmu_notifier_subscriptions`.
pub(crate) struct Subscriptions<L: Lab> {
    lock: L::SpinLock<()>,
    /// `non_block_start`: held around a callback that must not sleep, so that sleeping there is seen.
    non_block: L::SpinLock<()>,
    /// The subscriptions' own sequence numbers, indexed by subscription.
    seqs: L::Visible,
    /// The even sequence number with which the last odd epoch ended: what sleepers wait on.
    epoch: L::Gate,
    /// `mm_has_notifiers`: set by the first insertion under every mm lock there is, never cleared.
    pub(crate) has_itree: Cell<bool>,
    /// Under `lock`; a subscription's `seq` is under the user's lock and [`Subscriptions::seqs`] besides.
    state: RefCell<State>,
    hooks: RefCell<Hooks>,
    costs: Rc<Tally>,
}

/// A running invalidation: what `start` gave and `end` wants. One `end` for each successful `start`, in the same
/// thread.
#[must_use = "an invalidation that was started must be ended"]
pub(crate) struct Invalidation {
    event: MmuEvent,
    /// Whether there was anybody to tell when it began; mmap_lock or the like keeps that stable until the end.
    told: bool,
}

/// An event that says nothing about its owner.
pub(crate) fn event(kind: EventKind, bytes: Bytes) -> MmuEvent {
    MmuEvent { kind, bytes, blockable: true, owner: UNINITIALISED_OWNER }
}

/// `might_sleep`: a violation of I8 in atomic context.
#[track_caller]
pub(crate) fn might_sleep<L: Lab>(what: &str) {
    if L::in_atomic() {
        L::fail(Violation::new(Invariant::I8, format!("{what} may sleep, but a spinlock is held"), None));
    }
}

impl<L: Lab> Subscriptions<L> {
    pub(crate) fn new(costs: Rc<Tally>) -> Result<Self, Errno> {
        Ok(Subscriptions {
            lock: SpinLock::new("mn_lock", ())?,
            non_block: SpinLock::new("non_block", ())?,
            seqs: L::Visible::new("invalidate_seq"),
            epoch: L::Gate::new(EPOCH, 2),
            has_itree: Cell::new(false),
            state: RefCell::new(State {
                seq: 2,
                active: 0,
                subs: Vec::new(),
                tree: BTreeSet::new(),
                deferred: Vec::new(),
            }),
            hooks: RefCell::default(),
            costs,
        })
    }

    pub(crate) fn on_invalidate(&self, call: InvalidateFn) {
        let old = self.hooks.borrow_mut().invalidate.replace(call);
        assert!(old.is_none(), "the dispatcher is set once");
    }

    pub(crate) fn on_callback_returned(&self, call: ReturnedFn) {
        self.hooks.borrow_mut().returned = Some(call);
    }

    pub(crate) fn on_invalidation_end(&self, call: ReturnedFn) {
        self.hooks.borrow_mut().ended = Some(call);
    }

    pub(crate) fn clear_hooks(&self) {
        // Dropped after the borrow: a hook may own the last handle of something large.
        let _old = std::mem::take(&mut *self.hooks.borrow_mut());
    }

    // ---- invalidation ----------------------------------------------------------------------------------------------

    /// `mmu_notifier_invalidate_range_start`, or `_start_nonblock` when the event is not blockable (spec mm-events
    /// 1.2).
    ///
    /// # Errors
    /// `EAGAIN`: a callback of a non-blockable event would have had to sleep. The invalidation is over; the caller must
    /// change no PTE and not call `end`.
    #[track_caller]
    pub(crate) fn start(&self, event: MmuEvent) -> Result<Invalidation, Errno> {
        if event.blockable {
            might_sleep::<L>("mmu_notifier_invalidate_range_start");
        }
        let told = self.has_itree.get();
        if told {
            note!(L, "{} start {}", event.kind.name(), event.bytes);
            L::acquire_map(EPOCH, Hold::Begin);
            L::acquire_map(NOTIFIER_MAP, Hold::Exclusive);
            let result = self.invalidate(&event);
            L::release_map(NOTIFIER_MAP, Hold::Exclusive);
            if result.is_err() {
                L::release_map(EPOCH, Hold::Begin);
            }
            result?;
        }
        self.returned(&event);
        Ok(Invalidation { event, told })
    }

    /// `mmu_notifier_invalidate_range_end`.
    #[track_caller]
    pub(crate) fn end(&self, invalidation: Invalidation) {
        if invalidation.told {
            L::acquire_map(NOTIFIER_MAP, Hold::Exclusive);
            self.inv_end();
            L::release_map(NOTIFIER_MAP, Hold::Exclusive);
            L::release_map(EPOCH, Hold::Begin);
            note!(L, "{} end {}", invalidation.event.kind.name(), invalidation.event.bytes);
            let call = self.hooks.borrow().ended.clone();
            if let Some(call) = call {
                call(&invalidation.event);
            }
        }
    }

    /// `mn_itree_release`: a RELEASE of everything as a start and end of its own.
    #[track_caller]
    pub(crate) fn release(&self) {
        if !self.has_itree.get() {
            return;
        }
        let everything = MmuEvent { owner: 0, ..event(EventKind::Release, Bytes::new(0, u64::MAX)) };
        note!(L, "RELEASE");
        L::acquire_map(EPOCH, Hold::Begin);
        if self.invalidate(&everything).is_ok() {
            self.returned(&everything);
            self.inv_end();
        }
        L::release_map(EPOCH, Hold::Begin);
    }

    /// `mn_itree_invalidate`.
    #[track_caller]
    fn invalidate(&self, event: &MmuEvent) -> Result<(), Errno> {
        self.costs.add(|costs| costs.events += 1);
        let (hit, seq) = {
            let _held = self.lock.lock();
            let mut state = self.state.borrow_mut();
            state.active += 1;
            let hit = state.overlapping(event.bytes);
            if !hit.is_empty() {
                state.seq |= 1;
            }
            (hit, state.seq)
        };
        // The tree is frozen while the sequence is odd, so what was found under the lock is what the kernel's walk
        // without it finds.
        for sub in hit {
            let (entry, bytes) = {
                let state = self.state.borrow();
                let sub = &state.subs[sub.0 as usize];
                (sub.entry, sub.bytes)
            };
            let call = self.hooks.borrow().invalidate.clone();
            let call = call.expect("an interval notifier fires, but nobody dispatches: call on_invalidate first");
            self.costs.add(|costs| costs.callbacks += 1);
            let awake = (!event.blockable).then(|| self.non_block.lock());
            let done = call(entry, event, seq);
            drop(awake);
            if done {
                self.returned(&MmuEvent { bytes: event.bytes.clip(&bytes), ..*event });
            } else if event.blockable {
                L::warn(format_args!("{sub:?} refused a blockable {}", event.kind.name()));
            } else {
                note!(L, "{sub:?} would have to sleep: {} is given up", event.kind.name());
                if !L::planted(Plant::MmuRangeEndNotPaired) {
                    self.inv_end();
                }
                return Err(Errno::EAGAIN);
            }
        }
        Ok(())
    }

    fn returned(&self, event: &MmuEvent) {
        let call = self.hooks.borrow().returned.clone();
        if let Some(call) = call {
            call(event);
        }
    }

    /// `mn_itree_inv_end` (spec mm-events 1.4).
    #[track_caller]
    fn inv_end(&self) {
        let _held = self.lock.lock();
        let ended = {
            let mut state = self.state.borrow_mut();
            state.active -= 1;
            if state.active > 0 || !state.odd() {
                return;
            }
            state.seq += 1;
            while let Some(id) = state.deferred.pop() {
                match state.subs[id as usize].state {
                    SubState::InsertDeferred => state.enter_tree(id),
                    _ => state.leave_tree(id),
                }
            }
            state.seq
        };
        self.epoch.store(ended);
    }

    // ---- registration ----------------------------------------------------------------------------------------------

    /// `__mmu_interval_notifier_insert` (spec mm-events 1.6). `bytes` is checked by the caller.
    #[track_caller]
    pub(crate) fn insert(&self, entry: NotifierEntry, bytes: Bytes, publish: impl FnOnce(SubId)) -> SubId {
        let _held = self.lock.lock();
        let mut state = self.state.borrow_mut();
        let id = state.subs.len() as u32;
        state.subs.push(Sub { entry, bytes, seq: 0, state: SubState::InTree, removed_at: None });
        publish(SubId(id));
        let seq = if state.active == 0 {
            state.enter_tree(id);
            state.seq - 1
        } else {
            if state.odd() {
                state.subs[id as usize].state = SubState::InsertDeferred;
                state.deferred.push(id);
            } else {
                state.seq |= 1;
                state.enter_tree(id);
            }
            state.seq
        };
        state.subs[id as usize].seq = seq;
        SubId(id)
    }

    /// `mmu_interval_notifier_remove` (spec mm-events 1.7). Sleeps until no callback runs and none will come.
    #[track_caller]
    pub(crate) fn remove(&self, sub: SubId) {
        might_sleep::<L>("mmu_interval_notifier_remove");
        Self::may_wait();
        let wait = {
            let _held = self.lock.lock();
            self.check_alive(sub);
            let mut state = self.state.borrow_mut();
            let stands = state.subs[sub.0 as usize].state;
            match stands {
                SubState::RemoveDeferred | SubState::Removed => {
                    drop(state);
                    let what = format!("{sub:?} is removed twice at the same time");
                    L::fail(Violation::new(Invariant::I4, what, None));
                }
                SubState::InsertDeferred => {
                    state.deferred.retain(|&id| id != sub.0);
                    state.subs[sub.0 as usize].state = SubState::Removed;
                    None
                }
                _ if state.odd() => {
                    state.subs[sub.0 as usize].state = SubState::RemoveDeferred;
                    state.deferred.push(sub.0);
                    Some(state.seq)
                }
                _ => {
                    state.leave_tree(sub.0);
                    None
                }
            }
        };
        if let Some(seq) = wait.filter(|_| !L::planted(Plant::HmmMirrorUafGrace)) {
            note!(L, "{sub:?}: removal waits for the invalidations that run (seq {seq})");
            self.wait_past(seq);
        }
        // From here on the driver may free it: a step of its own, which whoever still uses it comes before or after.
        self.seqs.write(Span::one(sub.0.into()));
        self.state.borrow_mut().subs[sub.0 as usize].removed_at = Some(L::stamp());
    }

    /// The caller may have to wait for invalidations that run; the validator wants to know it also when it has not to.
    #[track_caller]
    fn may_wait() {
        L::wait_map(NOTIFIER_MAP);
        L::wait_map(EPOCH);
    }

    /// Sleeps until the mm's sequence differs from the odd `seq`, the one of an epoch that runs or ran.
    #[track_caller]
    fn wait_past(&self, seq: u64) {
        self.epoch.wait_while(seq - 1);
    }

    // ---- readers ---------------------------------------------------------------------------------------------------

    /// `mmu_interval_read_begin` (spec mm-events 1.5). May return a value that is already stale.
    #[track_caller]
    pub(crate) fn read_begin(&self, sub: SubId) -> u64 {
        might_sleep::<L>("mmu_interval_read_begin");
        Self::may_wait();
        let (seq, busy) = {
            let _held = self.lock.lock();
            self.seqs.read(Span::one(sub.0.into()));
            self.check_alive(sub);
            let state = self.state.borrow();
            let seq = state.subs[sub.0 as usize].seq;
            (seq, seq == state.seq)
        };
        if busy {
            note!(L, "{sub:?} is being invalidated (seq {seq}): read_begin waits");
            self.wait_past(seq);
        }
        seq
    }

    /// `mmu_interval_set_seq`: only inside a callback, under the user's lock.
    #[track_caller]
    pub(crate) fn set_seq(&self, sub: SubId, seq: u64) {
        self.seqs.write(Span::one(sub.0.into()));
        self.check_alive(sub);
        self.state.borrow_mut().subs[sub.0 as usize].seq = seq;
    }

    /// `mmu_interval_read_retry`: under the user's lock, so no scheduling point.
    #[track_caller]
    pub(crate) fn read_retry(&self, sub: SubId, seq: u64) -> bool {
        self.check_alive(sub);
        self.state.borrow().subs[sub.0 as usize].seq != seq
    }

    /// `mmu_interval_check_retry`: without the lock; false is not reliable. A scheduling point.
    #[track_caller]
    pub(crate) fn check_retry(&self, sub: SubId, seq: u64) -> bool {
        self.seqs.read(Span::one(sub.0.into()));
        self.read_retry(sub, seq)
    }

    /// A subscription whose removal has returned may be freed memory.
    #[track_caller]
    fn check_alive(&self, sub: SubId) {
        let removed_at = self.state.borrow().subs[sub.0 as usize].removed_at;
        if let Some(at) = removed_at {
            let what = format!("{sub:?} is used after its removal returned");
            L::fail(Violation::new(Invariant::I4, what, Some(at)));
        }
    }

    // ---- looking without a scheduling point -------------------------------------------------------------------------

    pub(crate) fn views(&self) -> Vec<SubView> {
        let state = self.state.borrow();
        let view = |(id, sub): (usize, &Sub)| SubView {
            sub: SubId(id as u32),
            entry: sub.entry,
            bytes: sub.bytes,
            seq: sub.seq,
            state: sub.state,
        };
        state.subs.iter().enumerate().map(view).filter(|view| view.state != SubState::Removed).collect()
    }

    /// Sequence number of the mm and running invalidations.
    pub(crate) fn epoch(&self) -> (u64, u32) {
        let state = self.state.borrow();
        (state.seq, state.active)
    }
}
