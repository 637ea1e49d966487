//! The processes of KFD and their devices: who stops and starts the queues.
//!
//! Answers to `kfd_processes_table`, `kgd2kfd_quiesce_mm`, `kgd2kfd_resume_mm` and `kfd_process_notifier_release` (spec
//! amdgpu-svm, appendix B). A process is known by its mm; each of its VMs is a device of it, up to [`DEVICES`]. The calls
//! nest per device and **the caller balances**.

use super::board::Board;
use super::queues::Queues;
use model::platform::{Cache, Handle, Kernel, Objects, Plain, SpinLock};
use model::tree::{IntervalTree, TreeLink, TreeNode};
use model::{Errno, note};

/// GPUs of one process.
pub const DEVICES: usize = 8;

/// The queues of a device; pinned while held outside of the lock.
pub type QueuesHandle<K, B> = Handle<Queues<K, B>>;
type Devices<K, B> = [Option<QueuesHandle<K, B>>; DEVICES];

struct Process<K: Kernel, B: Board> {
    mm: u64,
    link: K::Plain<TreeLink<Process<K, B>>>,
    state: K::Plain<State<K, B>>,
}

/// Under the lock.
struct State<K: Kernel, B: Board> {
    /// Whether the process is in KFD's table.
    listed: bool,
    /// How many quiesces are not undone: what a device that comes begins with.
    depth: u32,
    devices: Devices<K, B>,
}

impl<K: Kernel, B: Board> TreeNode<K> for Process<K, B> {
    fn link(&self) -> &K::Plain<TreeLink<Self>> {
        &self.link
    }
    fn first(&self) -> u64 {
        self.mm
    }
    fn last(&self) -> u64 {
        self.mm
    }
}

/// All processes. One per module.
pub struct Kfd<K: Kernel, B: Board> {
    lock: K::SpinLock<()>,
    tree: IntervalTree<K, Process<K, B>>,
    processes: K::Cache<Process<K, B>>,
    queues: K::Cache<Queues<K, B>>,
}

/// That a VM is a device of a process; give it back with [`Kfd::leave`].
pub struct Membership<K: Kernel, B: Board> {
    mm: u64,
    number: usize,
    queues: QueuesHandle<K, B>,
}

impl<K: Kernel, B: Board> Kfd<K, B> {
    /// Without processes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Kfd {
            lock: SpinLock::new("kfd_processes", ())?,
            tree: IntervalTree::new(),
            processes: Cache::new("kfd_process")?,
            queues: Cache::new("kfd_queues")?,
        })
    }

    /// Under the lock.
    fn find(&self, mm: u64) -> Option<&Process<K, B>> {
        self.tree.first_overlap(&self.processes, mm, mm).map(|handle| self.processes.get(handle))
    }

    /// Device `number` of the process with this mm, which is made when it is the first; its queues run unless the process
    /// is quiesced. Sleeps.
    ///
    /// # Errors
    /// `ENOMEM`; `EINVAL`: no such number; `EBUSY`: the process has that device; `ESRCH`: it is going away.
    pub fn join(&self, mm: u64, number: usize) -> Result<Membership<K, B>, Errno> {
        if number >= DEVICES {
            return Err(Errno::EINVAL);
        }
        let queues = self.queues.alloc(Queues::new()?)?;
        let state = State { listed: true, depth: 0, devices: [None; DEVICES] };
        let process = Process { mm, link: Plain::new(TreeLink::default()), state: Plain::new(state) };
        let spare = self.processes.alloc(process).inspect_err(|_| self.queues.free(queues))?;
        let mut used = false;
        let joined = self.queues.get(queues).start(|| {
            let _lock = self.lock.lock();
            let process = match self.find(mm) {
                Some(process) => process,
                None => {
                    self.tree.insert(&self.processes, spare);
                    used = true;
                    self.processes.get(spare)
                }
            };
            process.state.with_mut(|state| match &mut state.devices[number] {
                _ if !state.listed => Err(Errno::ESRCH),
                Some(_) => Err(Errno::EBUSY),
                place => {
                    *place = Some(queues);
                    Ok(state.depth)
                }
            })
        });
        if !used {
            self.processes.free(spare);
        }
        joined.inspect_err(|_| self.queues.free(queues))?;
        Ok(Membership { mm, number, queues })
    }

    /// The device leaves; its process goes with the last one. Nothing uses its queues any more but who has pinned them.
    pub fn leave(&self, membership: &Membership<K, B>) {
        let mut last = None;
        {
            let _lock = self.lock.lock();
            if let Some(handle) = self.tree.first_overlap(&self.processes, membership.mm, membership.mm) {
                let empty = self.processes.get(handle).state.with_mut(|state| {
                    state.devices[membership.number] = None;
                    state.devices.iter().all(Option::is_none)
                });
                if empty {
                    self.tree.remove(&self.processes, handle);
                    last = Some(handle);
                }
            }
        }
        if let Some(process) = last {
            self.processes.free(process);
        }
        self.unpin(membership.queues);
    }

    /// The queues of a device that has not left.
    pub fn queues(&self, membership: &Membership<K, B>) -> &Queues<K, B> {
        self.queues.get(membership.queues)
    }

    /// The devices of the process, pinned, and what `f` does to it, in one.
    fn pin(&self, mm: u64, f: impl FnOnce(&mut State<K, B>) -> bool) -> Result<Devices<K, B>, Errno> {
        let _lock = self.lock.lock();
        let found = self.find(mm).and_then(|process| process.state.with_mut(|s| f(s).then_some(s.devices)));
        let Some(devices) = found else {
            note!(K, "no KFD process has this mm");
            return Err(Errno::ESRCH);
        };
        for queues in devices.iter().flatten() {
            self.queues.get(*queues).pins.with_mut(|pins| *pins += 1);
        }
        Ok(devices)
    }

    fn unpin(&self, queues: QueuesHandle<K, B>) {
        let last = {
            let _lock = self.lock.lock();
            self.queues.get(queues).pins.with_mut(|pins| {
                *pins -= 1;
                *pins == 0
            })
        };
        if last {
            self.queues.free(queues);
        }
    }

    /// `kgd2kfd_quiesce_mm`: stops the queues on all devices, in order. Sleeps: waits for accesses in flight.
    ///
    /// # Errors
    /// `ESRCH`; what the **last** device said, EIO included; any other error of a device, after the devices before it were
    /// resumed again, while the one that failed keeps its count.
    pub fn quiesce_mm(&self, mm: u64) -> Result<(), Errno> {
        let devices = self.pin(mm, |process| {
            process.depth += u32::from(process.listed);
            process.listed
        })?;
        let mut last = Ok(());
        for (at, queues) in devices.iter().enumerate() {
            let Some(queues) = queues else { continue };
            last = self.queues.get(*queues).evict();
            if last.is_err_and(|errno| errno != Errno::EIO) {
                for before in devices[..at].iter().flatten() {
                    // The kernel only logs a failure here.
                    let _ = self.queues.get(*before).restore();
                }
                self.undo_depth(mm);
                break;
            }
        }
        devices.iter().flatten().for_each(|queues| self.unpin(*queues));
        last
    }

    fn undo_depth(&self, mm: u64) {
        let _lock = self.lock.lock();
        if let Some(process) = self.find(mm) {
            process.state.with_mut(|process| process.depth = process.depth.saturating_sub(1));
        }
    }

    /// `kgd2kfd_resume_mm`: undoes one quiesce on all devices. Warns below zero.
    ///
    /// # Errors
    /// `ESRCH`; the first error of a device, after all were tried.
    pub fn resume_mm(&self, mm: u64) -> Result<(), Errno> {
        let devices = self.pin(mm, |process| {
            process.depth = process.depth.saturating_sub(u32::from(process.listed));
            process.listed
        })?;
        let mut first = Ok(());
        for queues in devices.iter().flatten() {
            first = first.and(self.queues.get(*queues).restore());
            self.unpin(*queues);
        }
        first
    }

    /// The process goes away (`kfd_process_notifier_release`): out of the table, then the queues of every device are
    /// destroyed. Waves that come later end. Nothing when KFD does not know it. Sleeps.
    pub fn release(&self, mm: u64) {
        let Ok(devices) = self.pin(mm, |process| core::mem::take(&mut process.listed)) else { return };
        for queues in devices.iter().flatten() {
            self.queues.get(*queues).destroy();
            self.unpin(*queues);
        }
    }
}

#[cfg(doc)]
use super::board::MmIdentity;
