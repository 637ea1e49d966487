//! The user queues of one process on one GPU, and what stops them.
//!
//! Answers to `qcm_process_device` and the device queue manager's `evict_process_queues` and `restore_process_queues`
//! (spec amdgpu-svm, appendix B). There is one per VM: the dqm lock is the device's in the kernel, here it is the
//! process-device's, which orders the same things as long as a GPU serves one process.
//!
//! # Waves and stopping
//!
//! An access waits until the queues run, takes the rwsem "accesses in flight" for read, and looks again. Who stops them
//! first says so and then takes the rwsem for write: either the stopper waits for the access, or the access sees the
//! stopper and steps back.
//!
//! # Translations do not survive a stop
//!
//! Who maps the queues again drops what the VM's TLB holds, as the scheduler's firmware (or
//! `restore_process_queues_nocpsch`) does. KFD counts on it.

use super::board::{Board, WaitWord};
use super::inject::{Injected, Point};
use super::tlb::Tlb;
use super::wave::Limit;
use core::sync::atomic::{AtomicU32, Ordering};
use model::platform::{Kernel, Mutex, RwSem, SpinLock};
use model::{Errno, note};

/// Values of the gate.
mod state {
    /// Unmapped; waves wait.
    pub(super) const STOPPED: u64 = 0;
    /// Mapped; waves run.
    pub(super) const RUNNING: u64 = 1;
    /// Destroyed; waves are gone.
    pub(super) const DESTROYED: u64 = 2;
}

/// Why a wave could not begin an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is no queue to run on any more.
    Destroyed,
    /// The queues were stopped until its time was over.
    Stopped,
    /// Its task is being killed.
    Killed,
}

/// `qpd->evicted` and its neighbours, under the dqm lock.
pub(super) struct Qpd {
    evicted: u32,
    destroyed: bool,
}

/// The queues of one process on one GPU, and the TLB that their accesses go through.
pub struct Queues<K: Kernel, B: Board> {
    dqm: K::Mutex<Qpd>,
    gate: B::WaitWord,
    flight: K::RwSem<()>,
    pub(super) tlb: K::SpinLock<Tlb<K>>,
    pub(super) injected: Injected<K>,
    /// Copy of `qpd.evicted` for those who only look.
    evicted: AtomicU32,
    /// Who may free this; under the lock of [`Kfd`](super::Kfd).
    pub(super) pins: K::Plain<u32>,
}

/// An access in flight, until dropped.
pub(super) type InFlight<'a, K> = <<K as Kernel>::RwSem<()> as RwSem<()>>::ReadGuard<'a>;

impl<K: Kernel, B: Board> Queues<K, B> {
    /// Queues that nobody has stopped yet and that do not run yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Queues {
            dqm: Mutex::new("dqm_lock", Qpd { evicted: 0, destroyed: false })?,
            gate: WaitWord::new(state::STOPPED)?,
            flight: RwSem::new("gpu accesses in flight", ())?,
            tlb: SpinLock::new("gpu tlb", Tlb::new()?)?,
            injected: Injected::new()?,
            evicted: AtomicU32::new(0),
            pins: model::platform::Plain::new(1),
        })
    }

    /// Gives them to a process: `join` publishes them and says how many quiesces of the process are not undone. Whoever
    /// finds them published waits until this is done.
    pub(super) fn start(&self, join: impl FnOnce() -> Result<u32, Errno>) -> Result<(), Errno> {
        let mut qpd = self.dqm.lock();
        qpd.evicted = join()?;
        self.evicted.store(qpd.evicted, Ordering::Relaxed);
        if qpd.evicted == 0 {
            self.gate.store(state::RUNNING);
        }
        Ok(())
    }

    /// Whether the queues are mapped; accesses that began before may be in flight when they are not.
    pub fn is_running(&self) -> bool {
        self.gate.load() == state::RUNNING
    }
    /// Whether they are gone.
    pub fn is_destroyed(&self) -> bool {
        self.gate.load() == state::DESTROYED
    }
    /// `qpd->evicted`: how many quiesces are not undone.
    pub fn evicted(&self) -> u32 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// An access begins: waits until the queues run. In flight until the guard is dropped; do not sleep for long.
    ///
    /// # Errors
    /// [`Refused`], and nothing is in flight.
    pub(super) fn enter(&self, limit: Limit) -> Result<InFlight<'_, K>, Refused> {
        loop {
            match self.gate.wait_while(state::STOPPED, limit.until_ms, true) {
                Ok(state::DESTROYED) => return Err(Refused::Destroyed),
                Ok(_) => {}
                Err(Errno::EINTR) => return Err(Refused::Killed),
                Err(_) => return Err(Refused::Stopped),
            }
            let flight = self.flight.read();
            if self.is_running() {
                return Ok(flight);
            }
        }
    }

    /// Drops all translations while no access is in flight; returns how many there were.
    pub(super) fn flush(&self) -> u64 {
        let _none_in_flight = self.flight.write();
        self.tlb.lock().flush()
    }

    /// `evict_process_queues`: counts, and the first one unmaps the queues and waits for accesses in flight. Later ones
    /// trust the count, also when the first one failed.
    ///
    /// # Errors
    /// What was injected at [`Point::UnmapQueues`]; it is counted all the same. EIO stops the queues, others do not.
    pub(super) fn evict(&self) -> Result<(), Errno> {
        let mut qpd = self.dqm.lock();
        let _noreclaim = K::noreclaim();
        qpd.evicted += 1;
        self.evicted.store(qpd.evicted, Ordering::Relaxed);
        if qpd.evicted > 1 || !self.is_running() {
            note!(K, "queues are stopped already (count {})", qpd.evicted);
            return Ok(());
        }
        let result = self.injected.check(Point::UnmapQueues);
        if let Err(errno) = result
            && errno != Errno::EIO
        {
            note!(K, "unmapping the queues failed with {errno}, they still run (count 1)");
            return result;
        }
        self.stop(state::STOPPED);
        note!(K, "queues stopped (count 1)");
        result
    }

    /// `restore_process_queues`: counts down, and the last one maps the queues. Warns when nobody has them quiesced.
    ///
    /// # Errors
    /// What was injected at [`Point::MapQueues`]: the count is zero and the queues stay stopped.
    pub(super) fn restore(&self) -> Result<(), Errno> {
        let mut qpd = self.dqm.lock();
        let _noreclaim = K::noreclaim();
        if qpd.evicted == 0 {
            K::warn(format_args!("the queues are resumed but nobody has them quiesced"));
            return Ok(());
        }
        qpd.evicted -= 1;
        self.evicted.store(qpd.evicted, Ordering::Relaxed);
        if qpd.evicted > 0 {
            note!(K, "queues stay stopped (count {})", qpd.evicted);
            return Ok(());
        }
        if qpd.destroyed || self.is_running() {
            return Ok(());
        }
        if let Err(errno) = self.injected.check(Point::MapQueues) {
            note!(K, "mapping the queues failed with {errno}, they stay stopped (count 0)");
            return Err(errno);
        }
        self.tlb.lock().flush();
        note!(K, "queues run (count 0)");
        self.gate.store(state::RUNNING);
        Ok(())
    }

    /// Destroys the queues: waits for accesses in flight; waves that come later end.
    pub(super) fn destroy(&self) {
        let mut qpd = self.dqm.lock();
        let _noreclaim = K::noreclaim();
        if !qpd.destroyed {
            qpd.destroyed = true;
            self.stop(state::DESTROYED);
            note!(K, "queues destroyed");
        }
    }

    /// Closes the gate, then waits for the accesses that came before.
    fn stop(&self, to: u64) {
        self.gate.store(to);
        drop(self.flight.write());
    }
}
