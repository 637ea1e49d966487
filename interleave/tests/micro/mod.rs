//! A page fault, an unmap and a garbage collector, as small as they can be: the model on which checkers are compared.
//!
//! `munmap` takes mmap_lock for write, marks the interval as being invalidated, clears the GPU entry under the notifier
//! lock, hands the range to the collector and frees the page. `fault` waits until no invalidation runs, remembers the
//! sequence, looks the page up under mmap_lock, and under the notifier lock asks whether the sequence has moved before
//! it writes the entry. Whoever forgets to ask leaves an entry that names a freed page.
//!
//! The text is written once, on the few primitives of [`Locks`]: `ours` puts it on a lab of this crate, the benchmarks
//! put it on the types of other checkers.

#![allow(dead_code)] // each target uses its part

mod ours;

pub(crate) use ours::Micro;

use std::ops::DerefMut;

/// What the model is built of.
pub(crate) trait Locks: 'static {
    /// A mutex or a spinlock: nothing here sleeps under one, so they are the same to a checker.
    type Lock: Lock;
    type RwLock: RwLock;
    type Flag: Flag<Self::Lock>;
    type Number: Plain<u32>;
    type Truth: Plain<bool>;
}

/// A lock around a number.
pub(crate) trait Lock {
    type Guard<'a>: DerefMut<Target = u32>
    where
        Self: 'a;
    /// A mutex.
    fn sleeping(name: &'static str) -> Self;
    /// A spinlock.
    fn spinning(name: &'static str) -> Self;
    #[track_caller]
    fn lock(&self) -> Self::Guard<'_>;
}

/// A reader-writer lock around nothing.
pub(crate) trait RwLock {
    type ReadGuard<'a>
    where
        Self: 'a;
    type WriteGuard<'a>
    where
        Self: 'a;
    fn new(name: &'static str) -> Self;
    #[track_caller]
    fn read(&self) -> Self::ReadGuard<'_>;
    #[track_caller]
    fn write(&self) -> Self::WriteGuard<'_>;
}

/// A flag under a lock, with a wait queue.
pub(crate) trait Flag<L: Lock> {
    fn new(name: &'static str) -> Self;
    /// Only with the lock held.
    fn is_raised(&self) -> bool;
    /// Only with the lock held.
    #[track_caller]
    fn raise(&self);
    /// Only with the lock held; wakes who waits.
    #[track_caller]
    fn lower(&self);
    /// Gives the lock away, waits for a [`lower`](Flag::lower), takes the lock again. The flag may be up again by then.
    #[track_caller]
    fn wait<'a>(&self, lock: &'a L, guard: L::Guard<'a>) -> L::Guard<'a>;
}

/// Data whose lock lives elsewhere: no scheduling point.
pub(crate) trait Plain<T> {
    fn new(value: T) -> Self;
    #[track_caller]
    fn get(&self) -> T;
    #[track_caller]
    fn set(&self, value: T);
}

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
/// Four faults.
pub(crate) const M4: Shape = Shape { faults: 4, ..M1 };
/// Five faults.
pub(crate) const M5: Shape = Shape { faults: 5, ..M1 };
/// Six faults: eight actors.
pub(crate) const M6: Shape = Shape { faults: 6, ..M1 };

impl Shape {
    /// The same with the bug in.
    pub(crate) const fn buggy(self) -> Shape {
        Shape { no_retry_check: true, ..self }
    }
}

/// What is wrong when [`World::is_stale`].
pub(crate) const STALE: &str = "the GPU entry names a page that was freed";

/// The world, on the primitives of any checker.
pub(crate) struct World<L: Locks> {
    shape: Shape,
    mmap_lock: L::RwLock,
    /// Around the invalidation sequence.
    subscriptions: L::Lock,
    /// Up while an invalidation runs; under `subscriptions`.
    active: L::Flag,
    notifier_lock: L::RwLock,
    svm_lock: L::Lock,
    /// Around the number of ranges in it.
    gc_list: L::Lock,
    /// Under `notifier_lock`.
    interval_seq: L::Number,
    /// Under `mmap_lock`.
    page_valid: L::Truth,
    /// Under `notifier_lock`; between faults under `svm_lock`.
    pte: L::Truth,
    /// Under `notifier_lock`.
    unmapped: L::Truth,
    /// Under `svm_lock`.
    range: L::Truth,
}

impl<L: Locks> World<L> {
    pub(crate) fn new(shape: Shape) -> Self {
        World {
            shape,
            mmap_lock: RwLock::new("mmap_lock"),
            subscriptions: Lock::spinning("subscriptions"),
            active: Flag::new("active"),
            notifier_lock: RwLock::new("notifier_lock"),
            svm_lock: Lock::sleeping("svm_lock"),
            gc_list: Lock::spinning("gc_list"),
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
                self.active.raise();
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
            self.active.lower();
        }
    }

    /// Waits until nothing is being invalidated; the sequence then.
    fn read_begin(&self) -> u32 {
        let mut seq = self.subscriptions.lock();
        while self.active.is_raised() {
            seq = self.active.wait(&self.subscriptions, seq);
        }
        *seq
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

    /// The final check. Only when nobody runs.
    pub(crate) fn is_stale(&self) -> bool {
        self.pte.get() && !self.page_valid.get()
    }
}
