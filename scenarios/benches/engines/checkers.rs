//! The micro-model on the types of loom and of shuttle, unwrapped but for the counting.
//!
//! Both have the interface of std, so one text serves both. Data without a lock of its own is a std atomic that neither
//! sees: it costs them next to nothing, where our engine checks each access for data races.

use crate::micro::{Flag, Lock, Locks, Plain, RwLock, STALE, Shape, World};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { executions: 0, operations: 0 }) };
}

/// What the models on this OS thread have done. Neither checker tells; both run all their threads on the OS thread that
/// called them.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) executions: u64,
    /// Locks taken, waits, notifications, spawns, joins: what our engine calls events, as far as these have them.
    pub(crate) operations: u64,
}

/// Takes the counts and starts again at 0.
pub(crate) fn take_counts() -> Counts {
    COUNTS.replace(Counts { executions: 0, operations: 0 })
}

fn operation() {
    COUNTS.set(Counts { operations: COUNTS.get().operations + 1, ..COUNTS.get() });
}

fn execution() {
    COUNTS.set(Counts { executions: COUNTS.get().executions + 1, ..COUNTS.get() });
}

impl Plain<u32> for AtomicU32 {
    fn new(value: u32) -> Self {
        AtomicU32::new(value)
    }
    fn get(&self) -> u32 {
        self.load(Relaxed)
    }
    fn set(&self, value: u32) {
        self.store(value, Relaxed);
    }
}

impl Plain<bool> for AtomicBool {
    fn new(value: bool) -> Self {
        AtomicBool::new(value)
    }
    fn get(&self) -> bool {
        self.load(Relaxed)
    }
    fn set(&self, value: bool) {
        self.store(value, Relaxed);
    }
}

/// Locks with threads.
pub(crate) trait Threads: Locks {
    type Thread;
    fn spawn(body: impl FnOnce() + Send + 'static) -> Self::Thread;
    fn join(thread: Self::Thread);
}

fn check<T: Locks>(world: &World<T>) {
    assert!(!world.is_stale(), "{STALE}");
}

/// The usual form: main spawns all actors, joins them, and looks.
pub(crate) fn full<T: Threads>(shape: Shape)
where
    World<T>: Send + Sync,
{
    execution();
    let world = Arc::new(World::<T>::new(shape));
    let mut threads = Vec::new();
    let its = world.clone();
    threads.push(T::spawn(move || its.munmap()));
    for _ in 0..shape.faults {
        let its = world.clone();
        threads.push(T::spawn(move || its.fault()));
    }
    if shape.collector {
        let its = world.clone();
        threads.push(T::spawn(move || its.collect()));
    }
    for thread in threads {
        T::join(thread);
    }
    check(&world);
}

/// Looks when the last reference goes.
struct Last<T: Locks>(World<T>);

impl<T: Locks> Drop for Last<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            check(&self.0);
        }
    }
}

/// The leanest form: main is an actor, and nobody is joined.
pub(crate) fn lean<T: Threads>(shape: Shape)
where
    World<T>: Send + Sync,
{
    execution();
    let world = Arc::new(Last(World::<T>::new(shape)));
    for _ in 0..shape.faults {
        let its = world.clone();
        T::spawn(move || its.0.fault());
    }
    if shape.collector {
        let its = world.clone();
        T::spawn(move || its.0.collect());
    }
    world.0.munmap();
}

/// `$types`: the locks and threads of the crate `$checker`.
macro_rules! checker {
    ($types:ident, $checker:ident) => {
        pub(crate) mod $checker {
            use super::*;
            use ::$checker::sync::{Condvar, Mutex, MutexGuard, RwLock as Rw, RwLockReadGuard, RwLockWriteGuard};
            use ::$checker::thread::{JoinHandle, spawn};

            pub(crate) struct $types;

            impl Locks for $types {
                type Lock = Mutex<u32>;
                type RwLock = Rw<()>;
                type Flag = Raised;
                type Number = AtomicU32;
                type Truth = AtomicBool;
            }

            impl Lock for Mutex<u32> {
                type Guard<'a> = MutexGuard<'a, u32>;
                fn sleeping(_name: &'static str) -> Self {
                    Mutex::new(0)
                }
                fn spinning(_name: &'static str) -> Self {
                    Mutex::new(0)
                }
                fn lock(&self) -> MutexGuard<'_, u32> {
                    operation();
                    Mutex::lock(self).unwrap()
                }
            }

            impl RwLock for Rw<()> {
                type ReadGuard<'a> = RwLockReadGuard<'a, ()>;
                type WriteGuard<'a> = RwLockWriteGuard<'a, ()>;
                fn new(_name: &'static str) -> Self {
                    Rw::new(())
                }
                fn read(&self) -> RwLockReadGuard<'_, ()> {
                    operation();
                    Rw::read(self).unwrap()
                }
                fn write(&self) -> RwLockWriteGuard<'_, ()> {
                    operation();
                    Rw::write(self).unwrap()
                }
            }

            pub(crate) struct Raised {
                raised: AtomicBool,
                queue: Condvar,
            }

            impl Flag<Mutex<u32>> for Raised {
                fn new(_name: &'static str) -> Self {
                    Raised { raised: AtomicBool::new(false), queue: Condvar::new() }
                }
                fn is_raised(&self) -> bool {
                    self.raised.load(Relaxed)
                }
                fn raise(&self) {
                    self.raised.store(true, Relaxed);
                }
                fn lower(&self) {
                    self.raised.store(false, Relaxed);
                    operation();
                    self.queue.notify_all();
                }
                fn wait<'a>(&self, _lock: &'a Mutex<u32>, guard: MutexGuard<'a, u32>) -> MutexGuard<'a, u32> {
                    operation();
                    self.queue.wait(guard).unwrap()
                }
            }

            impl Threads for $types {
                type Thread = JoinHandle<()>;
                fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
                    operation();
                    spawn(body)
                }
                fn join(thread: JoinHandle<()>) {
                    operation();
                    thread.join().unwrap();
                }
            }
        }
    };
}

checker!(OfLoom, loom);
checker!(OfShuttle, shuttle);
