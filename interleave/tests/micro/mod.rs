//! A page fault, an unmap and a garbage collector, as small as they can be: the model on which checkers are compared.
//!
//! `munmap` takes mmap_lock for write, marks the interval as being invalidated, clears the GPU entry under the notifier
//! lock, hands the range to the collector and frees the page. `fault` waits until no invalidation runs, remembers the
//! sequence, looks the page up under mmap_lock, and under the notifier lock asks whether the sequence has moved before
//! it writes the entry. Whoever forgets to ask leaves an entry that names a freed page.

#![allow(dead_code)] // each test file uses its part

use interleave::lab::{Gate, Invariant, Lab, Violation};
use interleave::{Execution, Launch, Program};
use model::platform::{Mutex, Plain, RwSem, SpinLock};
use std::marker::PhantomData;
use std::rc::Rc;

/// Which of the models: how many of each, and whether the bug is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) faults: usize,
    pub(crate) collector: bool,
    /// Whether faults wait for a running invalidation.
    pub(crate) waits: bool,
    /// Whether faults forget to compare the sequence.
    pub(crate) no_retry_check: bool,
}

/// One fault, no waiting, no collector.
pub(crate) const N1X: Shape = Shape { faults: 1, collector: false, waits: false, no_retry_check: false };
/// One fault, no waiting.
pub(crate) const N1: Shape = Shape { collector: true, ..N1X };
/// One fault.
pub(crate) const M1: Shape = Shape { waits: true, ..N1 };
/// Two faults.
pub(crate) const M2: Shape = Shape { faults: 2, ..M1 };
/// Three faults.
pub(crate) const M3: Shape = Shape { faults: 3, ..M1 };

impl Shape {
    /// The same with the bug in.
    pub(crate) const fn buggy(self) -> Shape {
        Shape { no_retry_check: true, ..self }
    }
}

/// The world, on the primitives of any lab.
pub(crate) struct World<L: Lab> {
    shape: Shape,
    mmap_lock: L::RwSem<()>,
    /// The invalidation sequence.
    subscriptions: L::SpinLock<u32>,
    /// 1 while an invalidation runs; changed under `subscriptions`.
    active: L::Gate,
    notifier_lock: L::RwSem<()>,
    svm_lock: L::Mutex<()>,
    gc_list: L::SpinLock<u32>,
    /// Under `notifier_lock`.
    interval_seq: L::Plain<u32>,
    /// Under `mmap_lock`.
    page_valid: L::Plain<bool>,
    /// Under `notifier_lock`; between faults under `svm_lock`.
    pte: L::Plain<bool>,
    /// Under `notifier_lock`.
    unmapped: L::Plain<bool>,
    /// Under `svm_lock`.
    range: L::Plain<bool>,
}

impl<L: Lab> World<L> {
    pub(crate) fn new(shape: Shape) -> Self {
        World {
            shape,
            mmap_lock: RwSem::new("mmap_lock", ()).unwrap(),
            subscriptions: SpinLock::new("subscriptions", 0).unwrap(),
            active: Gate::new("active", 0),
            notifier_lock: RwSem::new("notifier_lock", ()).unwrap(),
            svm_lock: Mutex::new("svm_lock", ()).unwrap(),
            gc_list: SpinLock::new("gc_list", 0).unwrap(),
            interval_seq: Plain::new(0),
            page_valid: Plain::new(true),
            pte: Plain::new(true),
            unmapped: Plain::new(false),
            range: Plain::new(true),
        }
    }

    pub(crate) fn munmap(&self) {
        let _mmap = self.mmap_lock.write();
        let seq = {
            let mut seq = self.subscriptions.lock();
            *seq += 1;
            if self.shape.waits {
                self.active.store(1);
            }
            *seq
        };
        {
            let _notifier = self.notifier_lock.write();
            self.interval_seq.set(seq);
            self.pte.set(false);
            self.unmapped.set(true);
            *self.gc_list.lock() += 1;
        }
        self.page_valid.set(false);
        if self.shape.waits {
            let _seq = self.subscriptions.lock();
            self.active.store(0);
        }
    }

    /// Waits until nothing is being invalidated; the sequence then.
    fn read_begin(&self) -> u32 {
        loop {
            {
                let seq = self.subscriptions.lock();
                if self.active.peek() == 0 {
                    return *seq;
                }
            }
            self.active.wait_until(0);
        }
    }

    pub(crate) fn fault(&self) {
        let _svm = self.svm_lock.lock();
        loop {
            let seq = self.read_begin();
            let found = {
                let _mmap = self.mmap_lock.read();
                self.page_valid.get()
            };
            if !found {
                return;
            }
            let _notifier = self.notifier_lock.read();
            if !self.shape.no_retry_check && self.interval_seq.get() != seq {
                continue;
            }
            self.pte.set(true);
            return;
        }
    }

    pub(crate) fn collect(&self) {
        let taken = {
            let mut list = self.gc_list.lock();
            let some = *list > 0;
            *list -= u32::from(some);
            some
        };
        if taken {
            let _svm = self.svm_lock.lock();
            self.range.set(false);
        }
    }

    pub(crate) fn check(&self) {
        if self.pte.get() && !self.page_valid.get() {
            L::fail(Violation::new(Invariant::I2, "the GPU entry names a page that was freed", None));
        }
    }
}

/// The model as a program of the lab `L`.
pub(crate) struct Micro<L>(pub(crate) Shape, PhantomData<L>);

impl<L> Micro<L> {
    pub(crate) const fn new(shape: Shape) -> Self {
        Micro(shape, PhantomData)
    }
}

struct Run<L: Lab>(Rc<World<L>>);

impl<L: Lab> Program for Micro<L> {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = Rc::new(World::<L>::new(self.0));
        let its = world.clone();
        launch.actor("munmap", move || its.munmap());
        for _ in 0..self.0.faults {
            let its = world.clone();
            launch.actor("fault", move || its.fault());
        }
        if self.0.collector {
            let its = world.clone();
            launch.actor("gc", move || its.collect());
        }
        Box::new(Run(world))
    }
}

impl<L: Lab> Execution for Run<L> {
    fn at_rest(&self) {
        self.0.check();
    }
}
