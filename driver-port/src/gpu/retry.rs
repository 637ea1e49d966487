//! Retry faults: the rings they come through, the interrupt handler, and how the driver tells a stale one.
//!
//! Answers to `amdgpu_ih.c` (rings, `amdgpu_ih_wait_on_checkpoint_process_ts`), `amdgpu_irq.c` (dispatch, delegation) and
//! `amdgpu_gmc_handle_retry_fault` (spec amdgpu-svm 7.4, kfd-svm 7 and 8). The way of a fault is that of the simulator:
//!
//! | step | without a retry CAM | with one |
//! |---|---|---|
//! | *raise*, the access still in flight | an entry in ih1, with a time | the CAM looks for the page: there, no entry; else an entry in ih |
//! | *delegate* | | the primary interrupt moves what is in ih to ih_soft |
//! | *interrupt* | the work item is queued | the same |
//! | *take*, in the handler | the read pointer moves on **before** the fault is handled; the filter drops duplicates | the read pointer moves on |
//! | *handle* | the VM layer, `amdgpu_vm_handle_fault` | the same |
//! | *answer* | the wave goes on | the CAM slot is free, then waves go on |
//!
//! A wave raises one entry and sleeps until that is answered. One whose fault was dropped as a duplicate would raise more
//! of them until the filter forgets the address; time jumps by the filter's timeout instead.

use super::board::{Board, WaitWord};
use super::filter::{FAULT_TIMEOUT, Filter};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use model::platform::{
    Cache, ClientId, FaultTime, Handle, Kernel, Objects, Plain, QueueKind, RetryFault, Shared, SpinLock, Work,
    WorkFunc, WorkQueue,
};
use model::units::PAGE_SHIFT;
use model::{Errno, note};

/// Entries of a ring, and slots of the CAM.
pub const RING: usize = 1024;
/// How long a drain waits at most, in milliseconds (`amdgpu_ih_wait_on_checkpoint_process_ts`).
pub const DRAIN_MS: u64 = 1000;

/// How a GPU with XNACK on raises retry faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetryConfig {
    /// Whether it has a retry CAM (`adev->irq.retry_cam_enabled`).
    pub cam: bool,
    /// What its clock says when it is switched on.
    pub clock: FaultTime,
}

/// What the VM layer made of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultVerdict {
    /// It is dealt with: mapped, dropped as stale, or an entry that ends it is written. The wave tries again.
    Handled,
    /// Nobody can deal with it, and the GPU's side shall write the no-retry entry: the wave gets a real fault.
    NoRetry,
}

/// An entry of a ring, and who waits for its answer. Counted: the ring, the CAM and each waiter have a reference.
pub struct Entry<K: Kernel, B: Board> {
    /// Set when it is raised, under the lock of the rings.
    fault: K::Plain<RetryFault>,
    /// 1 when it is answered.
    answered: B::WaitWord,
    /// Dropped by the filter. Ordered by `answered`.
    duplicate: AtomicBool,
    references: AtomicU32,
}

/// A reference to an entry.
pub type EntryRef<K, B> = Handle<Entry<K, B>>;

/// A queue of entries in a fixed array.
struct Ring<K: Kernel, B: Board> {
    slots: K::Array<Option<EntryRef<K, B>>>,
    head: usize,
    len: usize,
}

impl<K: Kernel, B: Board> Ring<K, B> {
    fn new() -> Result<Self, Errno> {
        Ok(Ring { slots: K::alloc_array(RING, None)?, head: 0, len: 0 })
    }
    fn has_room(&self) -> bool {
        self.len < RING
    }
    fn push(&mut self, entry: EntryRef<K, B>) {
        self.slots[(self.head + self.len) % RING] = Some(entry);
        self.len += 1;
    }
    fn pop(&mut self) -> Option<EntryRef<K, B>> {
        self.len = self.len.checked_sub(1)?;
        let entry = self.slots[self.head].take();
        self.head = (self.head + 1) % RING;
        entry
    }
    fn newest(&self) -> Option<EntryRef<K, B>> {
        self.slots[(self.head + self.len.checked_sub(1)?) % RING]
    }
}

/// The byte address of a page that waits, and the entry that will answer.
type CamSlot<K, B> = (u64, EntryRef<K, B>);

struct Rings<K: Kernel, B: Board> {
    /// ih1, or with a CAM ih.
    primary: Ring<K, B>,
    soft: Ring<K, B>,
    cam: K::Array<Option<CamSlot<K, B>>>,
    filter: Filter<K>,
    /// The time of the newest entry there ever was.
    newest: FaultTime,
}

/// What became of a fault that was raised.
pub(super) enum Raised<K: Kernel, B: Board> {
    /// Wait for this; the spare entry is used.
    New(EntryRef<K, B>),
    /// The CAM has the page: wait for this; the spare entry is not used.
    Joined(EntryRef<K, B>),
    /// No room: raise it again later; the spare entry is not used.
    Full,
}

/// The retry faults of one GPU.
pub struct RetryRings<K: Kernel, B: Board> {
    cam: bool,
    rings: K::SpinLock<Rings<K, B>>,
    entries: K::Cache<Entry<K, B>>,
    work: K::Work,
    queue: K::WorkQueue,
    in_reset: K::Shared<bool>,
}

impl<K: Kernel, B: Board> RetryRings<K, B> {
    /// Empty rings, whose work item is [`WorkFunc::FaultInterrupt`] of `client`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(config: RetryConfig, client: ClientId) -> Result<Self, Errno> {
        let queue = K::alloc_workqueue("svmlab_ih", QueueKind::Unbound)?;
        let work = queue.work(client, WorkFunc::FaultInterrupt)?;
        let rings = Rings {
            primary: Ring::new()?,
            soft: Ring::new()?,
            cam: K::alloc_array(if config.cam { RING } else { 0 }, None)?,
            filter: Filter::new()?,
            newest: config.clock,
        };
        Ok(RetryRings {
            cam: config.cam,
            rings: SpinLock::new("retry fault rings", rings)?,
            entries: Cache::new("retry_fault")?,
            work,
            queue,
            in_reset: Shared::new("in_gpu_reset", false),
        })
    }

    /// An entry to raise a fault with. Sleeps.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn alloc(&self) -> Result<EntryRef<K, B>, Errno> {
        let fault = RetryFault { addr: 0, write: false, time: FaultTime(0) };
        let (answered, duplicate, references) = (WaitWord::new(0)?, AtomicBool::new(false), AtomicU32::new(1));
        self.entries.alloc(Entry { fault: Plain::new(fault), answered, duplicate, references })
    }

    fn entry(&self, entry: EntryRef<K, B>) -> &Entry<K, B> {
        self.entries.get(entry)
    }

    fn take_reference(&self, entry: EntryRef<K, B>) -> EntryRef<K, B> {
        self.entry(entry).references.fetch_add(1, Ordering::Relaxed);
        entry
    }

    /// Gives a reference back.
    pub(super) fn put(&self, entry: EntryRef<K, B>) {
        if self.entry(entry).references.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.entries.free(entry);
        }
    }

    /// An access to `page` found no translation. `late`: its last fault was dropped as a duplicate. In flight, so this does
    /// not sleep.
    pub(super) fn raise(&self, page: u64, write: bool, late: bool, spare: EntryRef<K, B>) -> Raised<K, B> {
        let addr = page << PAGE_SHIFT;
        {
            let mut guard = self.rings.lock();
            let rings = &mut *guard;
            let held = rings.cam.iter().flatten().find(|(held, _)| *held == addr).map(|(_, entry)| *entry);
            if let Some(entry) = held {
                return Raised::Joined(self.take_reference(entry));
            }
            let slot = rings.cam.iter().position(Option::is_none);
            let room = rings.primary.has_room() && (!self.cam || rings.soft.has_room() && slot.is_some());
            if !room {
                return Raised::Full;
            }
            let ticks = 1 + if late { FAULT_TIMEOUT } else { 0 };
            let time = FaultTime((rings.newest.0 + ticks) & ((1 << FaultTime::BITS) - 1));
            rings.newest = time;
            self.entry(spare).fault.set(RetryFault { addr, write, time });
            rings.primary.push(self.take_reference(spare));
            if let Some(slot) = slot {
                rings.cam[slot] = Some((addr, self.take_reference(spare)));
            }
        }
        note!(K, "retry fault of page {page:#x}");
        if self.cam {
            // The primary interrupt delegates.
            let mut guard = self.rings.lock();
            let rings = &mut *guard;
            while rings.soft.has_room()
                && let Some(entry) = rings.primary.pop()
            {
                rings.soft.push(entry);
            }
        }
        self.work.queue();
        Raised::New(spare)
    }

    /// Sleeps until the entry is answered; whether it was dropped as a duplicate.
    ///
    /// # Errors
    /// `ETIME`, `EINTR`.
    pub(super) fn await_answer(&self, entry: EntryRef<K, B>, until_ms: u64) -> Result<bool, Errno> {
        let entry = self.entry(entry);
        entry.answered.wait_while(0, until_ms, true)?;
        Ok(entry.duplicate.load(Ordering::Relaxed))
    }

    /// Moves the read pointer over one entry: the entry with the ring's reference, and whether it was the last.
    fn take(&self) -> Option<(EntryRef<K, B>, bool)> {
        let mut guard = self.rings.lock();
        let rings = &mut *guard;
        let ring = if self.cam { &mut rings.soft } else { &mut rings.primary };
        let taken = ring.pop()?;
        let last = ring.len == 0;
        let entry = self.entry(taken);
        let RetryFault { addr, time, .. } = entry.fault.get();
        entry.duplicate.store(!self.cam && rings.filter.is_duplicate(addr, time), Ordering::Relaxed);
        Some((taken, last))
    }

    /// The CAM slot is given back, waves go on.
    fn answer(&self, entry: EntryRef<K, B>) {
        let mut held = None;
        if self.cam {
            let mut guard = self.rings.lock();
            let slot = guard.cam.iter_mut().find(|slot| slot.is_some_and(|(_, other)| other == entry));
            held = slot.and_then(Option::take);
        }
        self.entry(entry).answered.store(1);
        if let Some((_, entry)) = held {
            self.put(entry);
        }
        self.put(entry);
    }

    /// `amdgpu_ih_process` of the ring that retry faults end in: the body of [`WorkFunc::FaultInterrupt`]. Sleeps as
    /// `handle` does.
    pub(super) fn handle(&self, mut handle: impl FnMut(RetryFault)) {
        while let Some((taken, last)) = self.take() {
            let entry = self.entry(taken);
            let fault = entry.fault.get();
            if entry.duplicate.load(Ordering::Relaxed) {
                note!(K, "fault at {:#x}, time {}: a duplicate, dropped", fault.addr, fault.time.0);
            } else {
                handle(fault);
            }
            self.answer(taken);
            if last {
                break;
            }
        }
    }

    /// The time of the newest entry of the retry ring, ih1 or with a CAM ih_soft; None when it is empty: an entry that the
    /// handler has taken is not in it any more, nor is one that ih has not passed on.
    pub(super) fn checkpoint(&self) -> Option<FaultTime> {
        let rings = self.rings.lock();
        let ring = if self.cam { &rings.soft } else { &rings.primary };
        ring.newest().map(|entry| self.entry(entry).fault.get().time)
    }

    /// Waits until the handler is done with everything that is in the rings now, up to [`DRAIN_MS`]. **An entry that it has
    /// taken already is not in a ring**: when that was the last, this returns at once, as in the kernel. Nothing in a reset.
    pub(super) fn drain(&self) {
        if self.in_reset() {
            return;
        }
        let newest = {
            let rings = self.rings.lock();
            let newest = rings.primary.newest().or(rings.soft.newest());
            newest.map(|entry| self.take_reference(entry))
        };
        if let Some(entry) = newest {
            if self.entry(entry).answered.wait_while(0, K::now_ms() + DRAIN_MS, false).is_err() {
                note!(K, "draining retry faults timed out");
            }
            self.put(entry);
        }
    }

    /// `amdgpu_gmc_filter_faults_remove`: faults at byte address `addr` raised from now on are no duplicates. Nothing to do
    /// with a CAM.
    pub(super) fn filter_remove(&self, addr: u64) {
        if !self.cam {
            let mut guard = self.rings.lock();
            let rings = &mut *guard;
            rings.filter.remove(addr >> PAGE_SHIFT << PAGE_SHIFT, rings.newest);
        }
    }

    /// `amdgpu_in_reset`.
    pub(super) fn in_reset(&self) -> bool {
        self.in_reset.read_once()
    }
    /// A reset of the GPU begins or is over, as far as retry faults can tell.
    pub(super) fn set_in_reset(&self, in_reset: bool) {
        self.in_reset.write_once(in_reset);
    }

    /// How many faults are in the rings.
    pub(super) fn pending(&self) -> usize {
        let rings = self.rings.lock();
        rings.primary.len + rings.soft.len
    }

    /// Waits for a handler that is queued or runs. Sleeps.
    pub(super) fn flush(&self) {
        self.work.flush();
    }

    /// Ends the handler for good: waits for it, and refuses more. Faults that are left are nobody's.
    pub(super) fn shut_down(&self) {
        self.queue.destroy();
        while let Some((entry, _)) = self.take() {
            self.answer(entry);
        }
    }
}
