//! One process of KFD and its devices: who stops and starts the queues.
//!
//! Answers to `kgd2kfd_quiesce_mm`, `kgd2kfd_resume_mm`, `kfd_process_evict_queues` and
//! `kfd_process_restore_queues` (spec amdgpu-svm, appendix B). The calls nest per device and **the caller balances**.

use crate::queues::Queues;
use crate::vram::VramConfig;
use interleave::lab::Lab;
use model::Errno;
use model::note;
use model::platform::Shared;
use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

/// Whether an mm is the one that a process was made for.
type IsOurs = Box<dyn Fn(&dyn Any) -> bool>;
/// Called with a GPU's name when its queues run again.
type Resumed = Box<dyn Fn(&'static str)>;

struct Process<L: Lab> {
    /// Whether the process is in KFD's table.
    listed: L::Shared<bool>,
    is_ours: IsOurs,
    /// In the order in which they were added: `p->pdds`.
    devices: RefCell<Vec<Rc<Queues<L>>>>,
    resumed: OnceCell<Resumed>,
    /// The memories of the devices. Constant once the actors start.
    memories: RefCell<Vec<VramConfig>>,
}

/// A KFD process. A cheap handle; cloning copies the pointer.
pub struct Kfd<L: Lab>(Rc<Process<L>>);

impl<L: Lab> Clone for Kfd<L> {
    fn clone(&self) -> Self {
        Kfd(Rc::clone(&self.0))
    }
}

impl<L: Lab> Kfd<L> {
    /// The process whose address space is the `M` that `is_ours` recognises. It is in the table and has no device.
    pub fn new<M: 'static>(is_ours: impl Fn(&M) -> bool + 'static) -> Self {
        Kfd(Rc::new(Process {
            listed: L::Shared::new("kfd process table", true),
            is_ours: Box::new(move |mm| mm.downcast_ref::<M>().is_some_and(&is_ours)),
            devices: RefCell::default(),
            resumed: OnceCell::new(),
            memories: RefCell::default(),
        }))
    }

    /// Adds a device of the process; before the actors start.
    pub(crate) fn add_device(&self, queues: Rc<Queues<L>>) {
        self.0.devices.borrow_mut().push(queues);
    }

    /// Adds a device's memory; before the actors start.
    ///
    /// # Panics
    /// When there is one of that number.
    pub(crate) fn add_memory(&self, memory: VramConfig) {
        let mut memories = self.0.memories.borrow_mut();
        assert!(memories.iter().all(|other| other.pagemap != memory.pagemap), "two memories are {:?}", memory.pagemap);
        memories.push(memory);
    }

    /// Whose memory the frame is in.
    pub(crate) fn memory_of(&self, pfn: u64) -> Option<VramConfig> {
        self.0.memories.borrow().iter().find(|memory| memory.holds(pfn)).copied()
    }

    /// Whom to call in the step in which the queues of a GPU run again, with the GPU's name: the moment at which
    /// everything accessible must be mapped. No scheduling points inside. Set once, before the actors start; hold what
    /// holds this process weakly, or it is never freed.
    ///
    /// # Panics
    /// When set twice.
    pub fn on_resumed(&self, hook: impl Fn(&'static str) + 'static) {
        assert!(self.0.resumed.set(Box::new(hook)).is_ok(), "the hook is set once");
    }

    /// A copy, because nothing may stay borrowed across a scheduling point.
    fn devices(&self) -> Vec<Rc<Queues<L>>> {
        self.0.devices.borrow().clone()
    }

    /// `kfd_lookup_process_by_mm`. A scheduling point.
    ///
    /// # Errors
    /// `ESRCH`.
    #[track_caller]
    fn lookup(&self, mm: &dyn Any) -> Result<(), Errno> {
        if self.0.listed.read_once() && (self.0.is_ours)(mm) {
            return Ok(());
        }
        note!(L, "no KFD process has this mm");
        Err(Errno::ESRCH)
    }

    /// `kgd2kfd_quiesce_mm`: stops the queues on all devices, in order. Sleeps: waits for accesses in flight.
    ///
    /// # Errors
    /// `ESRCH`; what the **last** device said, EIO included; any other error of a device, after the devices before it
    /// were resumed again, while the one that failed keeps its count.
    #[track_caller]
    pub fn quiesce_mm(&self, mm: &dyn Any) -> Result<(), Errno> {
        self.lookup(mm)?;
        let devices = self.devices();
        let mut last = Ok(());
        for (at, device) in devices.iter().enumerate() {
            last = device.evict();
            if let Err(errno) = last
                && errno != Errno::EIO
            {
                for before in &devices[..at] {
                    // The kernel only logs a failure here.
                    let _ = before.restore(|| self.resumed(before));
                }
                return last;
            }
        }
        last
    }

    /// `kgd2kfd_resume_mm`: undoes one quiesce on all devices. Below zero is a violation of I5.
    ///
    /// # Errors
    /// `ESRCH`; the first error of a device, after all were tried.
    #[track_caller]
    pub fn resume_mm(&self, mm: &dyn Any) -> Result<(), Errno> {
        self.lookup(mm)?;
        let mut first = Ok(());
        for device in self.devices() {
            let result = device.restore(|| self.resumed(&device));
            first = first.and(result);
        }
        first
    }

    /// The process goes away (`kfd_process_notifier_release`): out of the table, then the queues of every device are
    /// destroyed. Waves that come later end.
    #[track_caller]
    pub fn release(&self) {
        self.0.listed.write_once(false);
        for device in self.devices() {
            device.destroy();
        }
    }

    fn resumed(&self, device: &Queues<L>) {
        if let Some(hook) = self.0.resumed.get() {
            hook(device.gpu());
        }
    }
}
