//! A kernel for tests of data structures: the lab's, used sequentially, with three things to look at and to turn:
//! warnings are collected and returned from (as a real kernel does, so that "and changes nothing" can be claimed), live
//! objects are counted, and allocations can be made to fail.

use interleave::Sim;
use model::Errno;
use model::platform::{Cache, ClientId, Handle, Kernel, Objects, QueueKind, WorkFunc, WorkQueue};
use std::cell::{Cell, RefCell};
use std::fmt;

/// See the module.
pub(crate) struct Probe;

thread_local! {
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static BUDGET: Cell<Option<u32>> = const { Cell::new(None) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

impl Probe {
    /// The warnings since the last call.
    pub(crate) fn warnings() -> Vec<String> {
        WARNINGS.take()
    }
    /// That many allocations succeed from now on, then all fail; None: all succeed.
    pub(crate) fn allow_allocations(budget: Option<u32>) {
        BUDGET.set(budget);
    }
    /// Objects allocated and not freed, in all caches.
    pub(crate) fn live_objects() -> i64 {
        LIVE.get()
    }
    /// Forgets what earlier tests on this thread left behind.
    pub(crate) fn reset() {
        WARNINGS.take();
        BUDGET.set(None);
        LIVE.set(0);
    }
}

type SimOf<T> = <Sim as Kernel>::Cache<T>;

/// The lab's cache, counted and with failing allocations.
pub(crate) struct ProbeCache<T: 'static>(SimOf<T>);

impl<T: 'static> Objects<T> for ProbeCache<T> {
    fn get(&self, handle: Handle<T>) -> &T {
        self.0.get(handle)
    }
}

impl<T: 'static> Cache<T> for ProbeCache<T> {
    fn new(name: &'static str) -> Result<Self, Errno> {
        SimOf::<T>::new(name).map(ProbeCache)
    }
    fn alloc_or(&self, value: T, undo: impl FnOnce(&T)) -> Result<Handle<T>, Errno> {
        if let Some(left) = BUDGET.get() {
            let Some(less) = left.checked_sub(1) else {
                undo(&value);
                return Err(Errno::ENOMEM);
            };
            BUDGET.set(Some(less));
        }
        let handle = self.0.alloc_or(value, undo)?;
        LIVE.set(LIVE.get() + 1);
        Ok(handle)
    }
    fn free(&self, handle: Handle<T>) {
        self.0.free(handle);
        LIVE.set(LIVE.get() - 1);
    }
}

/// The lab's workqueue.
pub(crate) struct ProbeQueue(<Sim as Kernel>::WorkQueue);

impl WorkQueue<Probe> for ProbeQueue {
    fn work(&self, client: ClientId, func: WorkFunc) -> Result<<Sim as Kernel>::Work, Errno> {
        self.0.work(client, func)
    }
    fn delayed_work(&self, client: ClientId, func: WorkFunc) -> Result<<Sim as Kernel>::DelayedWork, Errno> {
        self.0.delayed_work(client, func)
    }
    fn flush(&self) {
        self.0.flush();
    }
    fn destroy(&self) {
        self.0.destroy();
    }
}

impl Kernel for Probe {
    type Mutex<T: 'static> = <Sim as Kernel>::Mutex<T>;
    type SpinLock<T: 'static> = <Sim as Kernel>::SpinLock<T>;
    type RwSem<T: 'static> = <Sim as Kernel>::RwSem<T>;
    type Atomic = <Sim as Kernel>::Atomic;
    type Shared<T: Copy + PartialEq + fmt::Debug + 'static> = <Sim as Kernel>::Shared<T>;
    type Plain<T: 'static> = <Sim as Kernel>::Plain<T>;
    type Cache<T: 'static> = ProbeCache<T>;
    type Array<T: Copy + 'static> = <Sim as Kernel>::Array<T>;
    type WorkQueue = ProbeQueue;
    type Work = <Sim as Kernel>::Work;
    type DelayedWork = <Sim as Kernel>::DelayedWork;
    type Completion = <Sim as Kernel>::Completion;
    type NoReclaim = <Sim as Kernel>::NoReclaim;

    fn alloc_array<T: Copy + 'static>(len: usize, fill: T) -> Result<Self::Array<T>, Errno> {
        Sim::alloc_array(len, fill)
    }
    fn alloc_workqueue(name: &'static str, kind: QueueKind) -> Result<Self::WorkQueue, Errno> {
        Sim::alloc_workqueue(name, kind).map(ProbeQueue)
    }
    fn noreclaim() -> Self::NoReclaim {
        Sim::noreclaim()
    }
    fn now_ms() -> u64 {
        Sim::now_ms()
    }
    fn retry_point(why: &'static str) {
        Sim::retry_point(why);
    }
    fn warn(what: fmt::Arguments<'_>) {
        WARNINGS.with_borrow_mut(|w| w.push(what.to_string()));
    }
}
