//! The user queues of one process on one GPU, and what stops them.
//!
//! Answers to `qcm_process_device` and the device queue manager's `evict_process_queues` and `restore_process_queues`
//! (spec amdgpu-svm, appendix B). There is one per VM: the dqm lock is the device's in the kernel, here it is the
//! process-device's, which orders the same things as long as a GPU serves one process.
//!
//! # Waves and stopping
//!
//! Two gates. `accesses in flight` counts accesses between enter and leave and carries a flag while the queues are
//! unmapped. `queues` says whether waves may try. A wave adds itself first and looks at the flag in what it gets back:
//! either the stopper sees the wave and waits for it, or the wave sees the stopper and steps back. Stopping closes
//! `queues` before it raises the flag, so a wave that steps back has something to sleep on.
//!
//! # Translations do not survive a stop
//!
//! Who maps the queues again drops what the VM's TLB holds: the scheduler's firmware does it when it maps the process,
//! and without that firmware `restore_process_queues_nocpsch` does it itself. KFD counts on it: with XNACK off its
//! restore worker writes new PTEs over old ones and asks for no flush. No scheduling point of its own: nothing is in
//! flight, and the step that lets accesses in again orders it before them.

use crate::inject::{Injected, Point};
use crate::tlb::Tlb;
use interleave::lab::{Gate, Invariant, Lab, Stamp, Violation};
use model::Errno;
use model::note;
use model::platform::Mutex;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// In the word of `accesses in flight`: the queues are unmapped.
const UNMAPPED: u64 = 1 << 32;
/// In the word of `accesses in flight`: how many there are.
const COUNT: u64 = UNMAPPED - 1;

/// Values of the gate `queues`.
mod state {
    /// Unmapped; waves wait.
    pub(super) const STOPPED: u64 = 0;
    /// Mapped; waves run.
    pub(super) const RUNNING: u64 = 1;
    /// Destroyed; waves are gone.
    pub(super) const DESTROYED: u64 = 2;
}

/// The queues were destroyed: the wave is no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destroyed;

/// `qpd->evicted` and its neighbours, under the dqm lock.
struct Qpd {
    evicted: u32,
    destroyed: bool,
}

/// The queues of one process on one GPU.
pub struct Queues<L: Lab> {
    gpu: &'static str,
    dqm: L::Mutex<Qpd>,
    queues: L::Gate,
    in_flight: L::Gate,
    injected: Injected,
    tlb: Rc<RefCell<Tlb>>,
    /// Copies of what the gates and the lock order, for peeks only.
    running: Cell<bool>,
    evicted: Cell<u32>,
    changed_at: Cell<Option<Stamp>>,
}

impl<L: Lab> Queues<L> {
    /// Queues of a GPU named `gpu`, running; their accesses go through `tlb`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(gpu: &'static str, tlb: Rc<RefCell<Tlb>>) -> Result<Self, Errno> {
        Ok(Queues {
            gpu,
            dqm: <L::Mutex<Qpd> as Mutex<Qpd>>::new("dqm_lock", Qpd { evicted: 0, destroyed: false })?,
            queues: L::Gate::new("queues", state::RUNNING),
            in_flight: L::Gate::new("accesses in flight", 0),
            injected: Injected::default(),
            tlb,
            running: Cell::new(true),
            evicted: Cell::new(0),
            changed_at: Cell::new(None),
        })
    }

    /// The GPU's name.
    pub fn gpu(&self) -> &'static str {
        self.gpu
    }
    /// Failures to come.
    pub fn injected(&self) -> &Injected {
        &self.injected
    }
    /// Whether the queues are mapped; accesses that entered before may be in flight when they are not. No scheduling
    /// point.
    pub fn is_running(&self) -> bool {
        self.running.get()
    }
    /// `qpd->evicted`: how many quiesces are not undone. No scheduling point.
    pub fn evicted(&self) -> u32 {
        self.evicted.get()
    }
    /// When the queues were last stopped, started or destroyed. No scheduling point.
    pub fn changed_at(&self) -> Option<Stamp> {
        self.changed_at.get()
    }
    /// How many accesses are in flight; a wave that is about to step back counts. No scheduling point.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.peek() & COUNT
    }

    /// An access starts: waits until the queues run, and counts as in flight. One scheduling point when they do.
    ///
    /// # Errors
    /// [`Destroyed`]: there is no queue to run on any more, and nothing is in flight.
    #[track_caller]
    pub(crate) fn enter(&self) -> Result<(), Destroyed> {
        loop {
            if self.in_flight.add(1) & UNMAPPED == 0 {
                return Ok(());
            }
            self.in_flight.add(-1);
            if self.queues.wait_while(state::STOPPED) == state::DESTROYED {
                return Err(Destroyed);
            }
        }
    }

    /// The access is over. One scheduling point.
    #[track_caller]
    pub(crate) fn leave(&self) {
        self.in_flight.add(-1);
    }

    /// Waits until no access is in flight.
    #[track_caller]
    pub(crate) fn drain(&self) {
        let mut word = self.in_flight.load();
        while word & COUNT != 0 {
            word = self.in_flight.wait_while(word);
        }
    }

    /// `evict_process_queues`: counts, and the first one unmaps the queues and waits for accesses in flight. Later ones
    /// trust the count, also when the first one failed.
    ///
    /// # Errors
    /// What was injected at [`Point::UnmapQueues`]; it is counted all the same. EIO stops the queues, others do not.
    #[track_caller]
    pub(crate) fn evict(&self) -> Result<(), Errno> {
        let mut qpd = self.dqm.lock();
        let _noreclaim = L::noreclaim();
        qpd.evicted += 1;
        self.evicted.set(qpd.evicted);
        if qpd.evicted > 1 {
            note!(L, "{}: queues are stopped already (count {})", self.gpu, qpd.evicted);
            return Ok(());
        }
        if !self.running.get() {
            // Destroyed, or the last resume could not map them.
            return Ok(());
        }
        let result = self.injected.check(Point::UnmapQueues);
        if let Err(errno) = result
            && errno != Errno::EIO
        {
            note!(L, "{}: unmapping the queues failed with {errno}, they still run (count 1)", self.gpu);
            return result;
        }
        self.stop(state::STOPPED);
        note!(L, "{}: queues stopped (count 1)", self.gpu);
        result
    }

    /// `restore_process_queues`: counts down, and the last one maps the queues. Calls `resumed` in the very step in
    /// which waves can run again. Below zero is a violation of I5.
    ///
    /// # Errors
    /// What was injected at [`Point::MapQueues`]: the count is zero and the queues stay stopped.
    #[track_caller]
    pub(crate) fn restore(&self, resumed: impl FnOnce()) -> Result<(), Errno> {
        let mut qpd = self.dqm.lock();
        let _noreclaim = L::noreclaim();
        if qpd.evicted == 0 {
            let what = format!("{}: the queues are resumed but nobody has them quiesced", self.gpu);
            L::fail(Violation::new(Invariant::I5, what, self.changed_at.get()));
        }
        qpd.evicted -= 1;
        self.evicted.set(qpd.evicted);
        if qpd.evicted > 0 {
            note!(L, "{}: queues stay stopped (count {})", self.gpu, qpd.evicted);
            return Ok(());
        }
        if qpd.destroyed || self.running.get() {
            return Ok(());
        }
        if let Err(errno) = self.injected.check(Point::MapQueues) {
            note!(L, "{}: mapping the queues failed with {errno}, they stay stopped (count 0)", self.gpu);
            return Err(errno);
        }
        self.in_flight.add(-(UNMAPPED as i64));
        self.tlb.borrow_mut().flush();
        self.running.set(true);
        self.changed_at.set(Some(L::stamp()));
        note!(L, "{}: queues run (count 0)", self.gpu);
        resumed();
        self.queues.store(state::RUNNING);
        Ok(())
    }

    /// Destroys the queues: waits for accesses in flight; waves that come later end.
    #[track_caller]
    pub(crate) fn destroy(&self) {
        let mut qpd = self.dqm.lock();
        let _noreclaim = L::noreclaim();
        if qpd.destroyed {
            return;
        }
        qpd.destroyed = true;
        if self.running.get() {
            self.stop(state::DESTROYED);
        } else {
            self.queues.store(state::DESTROYED);
        }
        note!(L, "{}: queues destroyed", self.gpu);
    }

    /// Closes the gate, raises the flag, waits for the accesses that came before.
    #[track_caller]
    fn stop(&self, to: u64) {
        self.queues.store(to);
        self.in_flight.add(UNMAPPED as i64);
        self.running.set(false);
        self.changed_at.set(Some(L::stamp()));
        self.in_flight.wait_until(UNMAPPED);
    }
}
