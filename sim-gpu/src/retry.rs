//! Retry faults: the rings they come through, the interrupt handler, and how the driver tells a stale one.
//!
//! Answers to `amdgpu_ih.c` (rings, `amdgpu_ih_wait_on_checkpoint_process_ts`), `amdgpu_irq.c` (dispatch, delegation) and
//! `amdgpu_gmc_handle_retry_fault` (spec amdgpu-svm 7.4, kfd-svm 7 and 8). With XNACK on an access that finds no
//! translation is not lost: the GPU says so in a ring and tries again.
//!
//! # The way of a fault
//!
//! | step | scheduling points | without a retry CAM | with one |
//! |---|---|---|---|
//! | *raise*, the access still in flight | 1 | an entry in ih1, with a time | the CAM looks for the page: there, no entry; else an entry in ih |
//! | *delegate* | 1, CAM only | | the primary interrupt moves what is in ih to ih_soft |
//! | *interrupt* | 1 | the work item of ih1 is queued | that of ih_soft |
//! | *take*, in the handler | 1 | the read pointer moves on **before** the fault is handled; the filter drops duplicates | the read pointer moves on |
//! | *handle* | the hook's | [`GpuVm::on_retry_fault`] | the same |
//! | *answer* | 1, CAM 2 | the wave goes on | the CAM slot is free, then waves go on |
//!
//! # What is not like hardware, and loses nothing
//!
//! - A wave raises one entry and sleeps until that is answered, instead of raising it over and over; then it tries the
//!   access again, and raises the next one if it must. So nobody polls. An entry that the driver finds when everything
//!   was answered by an munmap is as stale to it as a second entry of the same wave would be.
//! - A wave whose fault was dropped as a duplicate would raise more of them until the filter forgets the address. All of
//!   these would be dropped as well, so time jumps by the timeout of the filter instead.
//! - The primary interrupt of a fault runs on the actor that raised it, and there is no actor for the handler: it is the
//!   work item that it is in the kernel ([`WorkFunc::FaultInterrupt`]), and nothing is left over when no fault is in a
//!   ring. An instance ends with the entry that was the last when it took it; who raises another queues another.
//! - Rings never overflow.
//!
//! # Progress
//!
//! From the second answer on that leaves an access without translation the wave says so to the scheduler
//! ([`Kernel::retry_point`](model::platform::Kernel::retry_point)), so that answering for ever is a livelock (I6).

use crate::filter::{FAULT_TIMEOUT, Filter};
use crate::sdma::settle;
use crate::vm::GpuVm;
use interleave::lab::{Gate, Hold, Lab, Span, Visible};
use model::platform::{ClientId, FaultTime, QueueKind, RetryFault, Shared, Work, WorkFunc, WorkQueue};
use model::units::{PAGE_SHIFT, Pages};
use model::{Errno, note};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// How a GPU with XNACK on raises retry faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetryConfig {
    /// Whether it has a retry CAM (`adev->irq.retry_cam_enabled`).
    pub cam: bool,
    /// What its clock says when it is switched on.
    pub clock: FaultTime,
}

/// What `amdgpu_vm_handle_fault` came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultVerdict {
    /// It is dealt with: mapped, dropped as stale, or an entry that ends it is written. The wave tries again.
    Handled,
    /// Nobody can deal with it, and the GPU's side shall write the no-retry entry: the wave gets a real fault.
    NoRetry,
}

/// The pseudo lock of the handler: who drains waits for it.
const HANDLER: &str = "retry fault handler";

// Positions in `rings`.
const CAM: u64 = 0;
const PRIMARY: u64 = 1;
const SOFT: u64 = 2;

/// An entry of a ring, and who waits for its answer.
pub(crate) struct Entry<L: Lab> {
    fault: RetryFault,
    /// 1 when it is answered.
    answered: L::Gate,
    /// Dropped by the filter. Ordered by `answered`.
    duplicate: Cell<bool>,
}

struct Rings<L: Lab> {
    /// ih1, or with a CAM ih.
    primary: VecDeque<Rc<Entry<L>>>,
    soft: VecDeque<Rc<Entry<L>>>,
    cam: BTreeMap<u64, Rc<Entry<L>>>,
    filter: Filter,
    /// The time of the newest entry there ever was.
    newest: FaultTime,
}

impl<L: Lab> Rings<L> {
    fn new(newest: FaultTime) -> Self {
        let (primary, soft, cam, filter) = Default::default();
        Rings { primary, soft, cam, filter, newest }
    }
}

/// The hook for retry faults.
pub(crate) type OnRetryFault = Rc<dyn Fn(RetryFault) -> FaultVerdict>;

/// The retry faults of one GPU.
pub(crate) struct RetryRings<L: Lab> {
    cam: bool,
    seen: L::Visible,
    rings: RefCell<Rings<L>>,
    work: L::Work,
    _queue: L::WorkQueue,
    hook: OnceCell<OnRetryFault>,
    in_reset: L::Shared<bool>,
}

impl<L: Lab> RetryRings<L> {
    pub(crate) fn new(config: RetryConfig, client: ClientId) -> Result<Self, Errno> {
        let queue = L::alloc_workqueue("events", QueueKind::Unbound)?;
        let work = queue.work(client, WorkFunc::FaultInterrupt)?;
        Ok(RetryRings {
            cam: config.cam,
            seen: L::Visible::new("retry fault rings"),
            rings: RefCell::new(Rings::new(config.clock)),
            work,
            _queue: queue,
            hook: OnceCell::new(),
            in_reset: L::Shared::new("in_gpu_reset", false),
        })
    }

    /// The ring that the handler reads.
    const fn handled(&self) -> u64 {
        if self.cam { SOFT } else { PRIMARY }
    }

    /// An access to `page` found no translation; what to wait for.
    #[track_caller]
    fn raise(&self, gpu: &str, page: u64, write: bool, late: bool) -> Rc<Entry<L>> {
        let addr = page << PAGE_SHIFT;
        self.seen.write(if self.cam { Span::new(CAM, PRIMARY) } else { Span::one(PRIMARY) });
        let held = self.rings.borrow().cam.get(&addr).cloned();
        if let Some(entry) = held {
            note!(L, "{gpu}: page {page:#x} faults, the CAM has it already (time {})", entry.fault.time.0);
            return entry;
        }
        let entry = {
            let mut rings = self.rings.borrow_mut();
            let ticks = 1 + if late { FAULT_TIMEOUT } else { 0 };
            let time = FaultTime((rings.newest.0 + ticks) & ((1 << FaultTime::BITS) - 1));
            rings.newest = time;
            let answered = L::Gate::new("answer to a retry fault", 0);
            let fault = RetryFault { addr, write, time };
            let entry = Rc::new(Entry { fault, answered, duplicate: Cell::new(false) });
            rings.primary.push_back(Rc::clone(&entry));
            if self.cam {
                rings.cam.insert(addr, Rc::clone(&entry));
            }
            entry
        };
        note!(L, "{gpu}: retry fault of page {page:#x}, time {}", entry.fault.time.0);
        if self.cam {
            self.seen.write(Span::new(PRIMARY, SOFT));
            let rings = &mut *self.rings.borrow_mut();
            rings.soft.append(&mut rings.primary);
        }
        self.work.queue();
        entry
    }

    /// Moves the read pointer over one entry: the entry, whether it is to be dropped, and whether it was the last.
    #[track_caller]
    fn take(&self) -> Option<(Rc<Entry<L>>, bool)> {
        self.seen.write(Span::one(self.handled()));
        let rings = &mut *self.rings.borrow_mut();
        let ring = if self.cam { &mut rings.soft } else { &mut rings.primary };
        let entry = ring.pop_front()?;
        let last = ring.is_empty();
        let RetryFault { addr, time, .. } = entry.fault;
        entry.duplicate.set(!self.cam && rings.filter.is_duplicate(addr, time));
        Some((entry, last))
    }

    /// The CAM slot is given back, waves go on.
    #[track_caller]
    fn answer(&self, entry: &Entry<L>) {
        if self.cam {
            self.seen.write(Span::one(CAM));
            self.rings.borrow_mut().cam.remove(&entry.fault.addr);
        }
        entry.answered.store(1);
    }
}

impl<L: Lab> GpuVm<L> {
    /// What decides on a retry fault: the VM layer, `amdgpu_vm_handle_fault`. Runs in a work item and may sleep. Without
    /// it every fault is [`FaultVerdict::NoRetry`]. Hold what holds this GPU weakly, or it is never freed.
    ///
    /// # Panics
    /// When set twice.
    pub fn on_retry_fault(&self, hook: OnRetryFault) {
        if let Some(retry) = &self.0.retry {
            assert!(retry.hook.set(hook).is_ok(), "the hook is set once");
        }
    }

    /// Whether an access without translation is tried again (XNACK on).
    pub fn retries(&self) -> bool {
        self.0.retry.is_some()
    }

    /// The access raises a retry fault; what to wait for, nothing with XNACK off.
    #[track_caller]
    pub(crate) fn raise_retry_fault(&self, page: u64, write: bool, late: bool) -> Option<Rc<Entry<L>>> {
        self.0.retry.as_ref().map(|retry| retry.raise(self.name(), page, write, late))
    }

    /// Sleeps until the fault is answered; whether it was dropped as a duplicate.
    #[track_caller]
    pub(crate) fn await_answer(&self, entry: &Entry<L>) -> bool {
        if let Some(retry) = &self.0.retry {
            settle::<L>(&retry.work, &entry.answered);
        }
        entry.duplicate.get()
    }

    /// `amdgpu_ih_process` of the ring that retry faults end in: the body of [`WorkFunc::FaultInterrupt`].
    #[track_caller]
    pub(crate) fn handle_retry_faults(&self) {
        let Some(retry) = &self.0.retry else { return };
        while let Some((entry, last)) = retry.take() {
            let RetryFault { addr, time, .. } = entry.fault;
            if entry.duplicate.get() {
                note!(L, "{}: fault at {addr:#x}, time {}: a duplicate, dropped", self.name(), time.0);
            } else {
                L::acquire_map(HANDLER, Hold::Exclusive);
                let verdict = retry.hook.get().map_or(FaultVerdict::NoRetry, |hook| hook(entry.fault));
                L::release_map(HANDLER, Hold::Exclusive);
                note!(L, "{}: fault at {addr:#x}, time {}: {verdict:?}", self.name(), time.0);
                if verdict == FaultVerdict::NoRetry
                    && let Err(errno) = self.write_no_retry(Pages::new(addr >> PAGE_SHIFT, addr >> PAGE_SHIFT))
                {
                    // The wave will fault again.
                    note!(L, "{}: cannot handle the fault at {addr:#x} ({errno})", self.name());
                }
            }
            retry.answer(&entry);
            if last {
                break;
            }
        }
    }

    /// The time of the newest entry of the retry ring, ih1 or with a CAM ih_soft; None when it is empty: an entry that
    /// the handler has taken is not in it any more, nor is one that ih has not passed on. A scheduling point.
    #[track_caller]
    pub fn fault_checkpoint(&self) -> Option<FaultTime> {
        let retry = self.0.retry.as_ref()?;
        retry.seen.read(Span::one(retry.handled()));
        let rings = retry.rings.borrow();
        let ring = if retry.cam { &rings.soft } else { &rings.primary };
        ring.back().map(|entry| entry.fault.time)
    }

    /// Waits until the handler is done with everything that is in the rings now. **An entry that it has taken already is
    /// not in a ring**: when that was the last, this returns at once, as in the kernel (`rptr == wptr`). Nothing in a
    /// reset. May time out where the search allows failures. Sleeps.
    #[track_caller]
    pub fn drain_retry_faults(&self) {
        let Some(retry) = &self.0.retry else { return };
        L::wait_map(HANDLER);
        if self.in_reset() {
            return;
        }
        retry.seen.read(Span::new(PRIMARY, SOFT));
        let newest = {
            let rings = retry.rings.borrow();
            rings.primary.back().or(rings.soft.back()).cloned()
        };
        let Some(entry) = newest else {
            note!(L, "{}: no retry fault to drain", self.name());
            return;
        };
        if L::fails() {
            note!(L, "{}: draining retry faults timed out", self.name());
            return;
        }
        settle::<L>(&retry.work, &entry.answered);
        note!(L, "{}: retry faults up to time {} drained", self.name(), entry.fault.time.0);
    }

    /// `amdgpu_gmc_filter_faults_remove`: faults at byte address `addr` raised from now on are no duplicates. Nothing to
    /// do with a CAM; else a scheduling point.
    #[track_caller]
    pub fn filter_remove(&self, addr: u64) {
        let Some(retry) = self.0.retry.as_ref().filter(|retry| !retry.cam) else { return };
        retry.seen.write(Span::one(PRIMARY));
        let rings = &mut *retry.rings.borrow_mut();
        rings.filter.remove(addr >> PAGE_SHIFT << PAGE_SHIFT, rings.newest);
    }

    /// `amdgpu_in_reset`. A scheduling point with XNACK on.
    #[track_caller]
    pub fn in_reset(&self) -> bool {
        self.0.retry.as_ref().is_some_and(|retry| retry.in_reset.read_once())
    }

    /// A reset of the GPU begins or is over, as far as retry faults can tell.
    #[track_caller]
    pub fn set_in_reset(&self, in_reset: bool) {
        if let Some(retry) = &self.0.retry {
            retry.in_reset.write_once(in_reset);
        }
    }

    /// How many faults are in the rings. No scheduling point.
    pub fn faults_pending(&self) -> usize {
        self.0.retry.as_ref().map_or(0, |retry| {
            let rings = retry.rings.borrow();
            rings.primary.len() + rings.soft.len()
        })
    }
}
