//! How random programs run: what each statement does, and what the actors see of it.
//!
//! What is seen is written so that the order of any two dependent operations can be told from it: a search that leaves
//! an order out leaves an outcome out.

use super::generate::RandomProgram;
use super::stmt::{ITEMS, LOCKS, Stmt};
use crate::Sim;
use crate::lab::{Gate, Lab, Span, Visible};
use crate::sim::{SimMutex, SimMutexGuard, SimRcu, SimRcuGuard, SimReadGuard, SimRwSem, SimWriteGuard};
use model::platform::{
    Atomic, ClientId, DelayedWork, Kernel, Mutex, Plain, QueueKind, RwSem, Shared, SpinLock, Work, WorkFunc, WorkQueue,
};
use std::cell::{Cell, RefCell};
use std::ops::DerefMut;

type MutexGuard<'a> = <<Sim as Kernel>::Mutex<u64> as Mutex<u64>>::Guard<'a>;
type SpinGuard<'a> = <<Sim as Kernel>::SpinLock<u64> as SpinLock<u64>>::Guard<'a>;
type ReadGuard<'a> = <<Sim as Kernel>::RwSem<u64> as RwSem<u64>>::ReadGuard<'a>;
type WriteGuard<'a> = <<Sim as Kernel>::RwSem<u64> as RwSem<u64>>::WriteGuard<'a>;

/// Held until dropped; only the write guards are ever looked at again.
#[allow(dead_code)]
enum Guard<'a> {
    Mutex(MutexGuard<'a>),
    Spin(SpinGuard<'a>),
    Read(u8, ReadGuard<'a>),
    Write(u8, WriteGuard<'a>),
    Tried(SimMutexGuard<'a, u64>),
    TriedRead(SimReadGuard<'a, u64>),
    TriedWrite(SimWriteGuard<'a, u64>),
    Rcu(SimRcuGuard<'a>),
}

enum Item {
    Plain(<Sim as Kernel>::Work),
    Delayed(<Sim as Kernel>::DelayedWork),
}

/// Memory with a cache that all share: what the kinds of visible accesses are made for.
#[derive(Default)]
struct Cached {
    memory: [u64; 3],
    copies: [Option<u64>; 3],
}

/// By actor, then by subject: numbers that tell one outcome from another.
pub(super) type Outlook = Vec<Vec<u64>>;

/// Everything that a running program touches.
pub(super) struct World {
    pub(super) program: RandomProgram,
    mutexes: Vec<<Sim as Kernel>::Mutex<u64>>,
    sems: Vec<<Sim as Kernel>::RwSem<u64>>,
    spin: <Sim as Kernel>::SpinLock<u64>,
    tried: SimMutex<u64>,
    tried_sem: SimRwSem<u64>,
    srcu: SimRcu,
    /// Something to be reclaimed: who reads it in a section, and who changes it after a grace period.
    reclaimed: <Sim as Kernel>::Shared<u64>,
    atomics: [<Sim as Kernel>::Atomic; 2],
    shared: <Sim as Kernel>::Shared<u64>,
    gate: <Sim as Lab>::Gate,
    visible: <Sim as Lab>::Visible,
    cached: RefCell<Cached>,
    plain: <Sim as Kernel>::Plain<u64>,
    queues: Vec<<Sim as Kernel>::WorkQueue>,
    items: Vec<Item>,
    runs: Vec<Cell<bool>>,
    /// By actor: what it has seen, in order.
    seen: RefCell<Vec<Vec<u64>>>,
}

impl World {
    pub(super) fn new(program: RandomProgram) -> Self {
        let mut queues = Vec::new();
        let mut items = Vec::new();
        if program.uses_work() {
            queues.push(Sim::alloc_workqueue("unbound_wq", QueueKind::Unbound).unwrap());
            queues.push(Sim::alloc_workqueue("ordered_wq", QueueKind::Ordered).unwrap());
            for item in 0..ITEMS {
                let queue = &queues[usize::from(item / 2)];
                items.push(if !program.delayed[usize::from(item)] {
                    Item::Plain(queue.work(ClientId(u32::from(item)), WorkFunc::Gc).unwrap())
                } else {
                    Item::Delayed(queue.delayed_work(ClientId(u32::from(item)), WorkFunc::Restore).unwrap())
                });
            }
        }
        let actors = program.threads.len() + usize::from(ITEMS);
        World {
            program,
            mutexes: (0..LOCKS).map(|_| Mutex::new("mutex", 0).unwrap()).collect(),
            sems: (0..LOCKS).map(|_| RwSem::new("rwsem", 0).unwrap()).collect(),
            spin: SpinLock::new("spin", 0).unwrap(),
            tried: SimMutex::new_tried("tried", 0),
            tried_sem: SimRwSem::new_tried("tried_rwsem", 0),
            srcu: SimRcu::new_srcu("srcu"),
            reclaimed: Shared::new("reclaimed", 0),
            atomics: [Atomic::new("atomic0", 0), Atomic::new("atomic1", 0)],
            shared: Shared::new("shared", 0),
            gate: Gate::new("gate", 0),
            visible: Visible::new("visible"),
            cached: RefCell::default(),
            plain: Plain::new(0),
            queues,
            items,
            runs: (0..ITEMS).map(|_| Cell::new(false)).collect(),
            seen: RefCell::new(vec![Vec::new(); actors]),
        }
    }

    /// Notes what `actor` has seen; a number that no other place and no other past gives.
    fn saw(&self, actor: usize, value: u64) -> u64 {
        let mine = &mut self.seen.borrow_mut()[actor];
        mine.push(value);
        (actor as u64 + 1) << 32 | mine.len() as u64
    }

    pub(super) fn run(&self, actor: usize, body: &[Stmt]) {
        let mut held: Vec<Guard<'_>> = Vec::new();
        let mut skip = false;
        for stmt in body {
            if std::mem::take(&mut skip) && !stmt.is_lock() {
                continue;
            }
            match *stmt {
                Stmt::Lock(i) => {
                    let mut guard = self.mutexes[usize::from(i)].lock();
                    *guard = self.saw(actor, *guard);
                    held.push(Guard::Mutex(guard));
                }
                Stmt::Spin => {
                    let mut guard = self.spin.lock();
                    *guard = self.saw(actor, *guard);
                    held.push(Guard::Spin(guard));
                }
                Stmt::Read(i) => {
                    let guard = self.sems[usize::from(i)].read();
                    self.saw(actor, *guard);
                    held.push(Guard::Read(i, guard));
                }
                Stmt::Write(i) => {
                    let mut guard = self.sems[usize::from(i)].write();
                    *guard = self.saw(actor, *guard);
                    held.push(Guard::Write(i, guard));
                }
                Stmt::Downgrade(i) => {
                    let at = held.iter().position(|g| matches!(g, Guard::Write(lock, _) if *lock == i));
                    if let Some(at) = at
                        && let Guard::Write(_, guard) = held.remove(at)
                    {
                        held.insert(at, Guard::Read(i, <Sim as Kernel>::RwSem::<u64>::downgrade(guard)));
                    }
                }
                Stmt::Release(i) => {
                    if usize::from(i) < held.len() {
                        held.remove(usize::from(i));
                    }
                }
                Stmt::LockTried => {
                    let mut guard = self.tried.lock();
                    *guard = self.saw(actor, *guard);
                    held.push(Guard::Tried(guard));
                }
                Stmt::ReadTried => {
                    let guard = self.tried_sem.read();
                    self.saw(actor, *guard);
                    held.push(Guard::TriedRead(guard));
                }
                Stmt::WriteTried => {
                    let mut guard = self.tried_sem.write();
                    *guard = self.saw(actor, *guard);
                    held.push(Guard::TriedWrite(guard));
                }
                Stmt::RcuRead => {
                    let guard = self.srcu.read();
                    self.saw(actor, self.reclaimed.read_once());
                    held.push(Guard::Rcu(guard));
                }
                Stmt::Synchronize => {
                    if !held.iter().any(|guard| matches!(guard, Guard::Rcu(_))) {
                        self.srcu.synchronize();
                        self.reclaimed.write_once(self.saw(actor, 0));
                    }
                }
                Stmt::OnlyIf(i, odd) => {
                    let value = self.atomics[usize::from(i)].load();
                    self.saw(actor, value);
                    skip = (value % 2 == 1) != odd;
                }
                Stmt::Choose(alternatives) => {
                    let value = Sim::choose(alternatives);
                    self.saw(actor, value.into());
                    skip = value != 0;
                }
                Stmt::Allocate => {
                    let fails = Sim::alloc_array(1, 0_u8).is_err();
                    self.saw(actor, fails.into());
                    skip = fails;
                }
                Stmt::RetryUntil(value) => {
                    while self.gate.load() != u64::from(value) {
                        Sim::retry_point("the gate has another value");
                    }
                }
                Stmt::Queue(_) | Stmt::Flush(_) | Stmt::Cancel(_) | Stmt::FlushQueue(_) | Stmt::DestroyQueue(_) => {
                    self.run_work(actor, *stmt);
                }
                _ => self.run_word(actor, *stmt),
            }
        }
    }

    /// What trying for something to write came to.
    fn attempt(&self, actor: usize, guard: Option<impl DerefMut<Target = u64>>) {
        match guard {
            Some(mut guard) => *guard = self.saw(actor, *guard),
            None => {
                self.saw(actor, u64::MAX);
            }
        }
    }

    fn run_word(&self, actor: usize, stmt: Stmt) {
        let span = |first: u8, last: u8| Span::new(first.into(), last.into());
        match stmt {
            Stmt::TryLock => self.attempt(actor, self.tried.try_lock()),
            Stmt::TryWrite => self.attempt(actor, self.tried_sem.try_write()),
            Stmt::TryRead => {
                self.saw(actor, self.tried_sem.try_read().map_or(u64::MAX, |guard| *guard));
            }
            Stmt::Take => self.gate.take(),
            Stmt::TryTake => {
                self.saw(actor, self.gate.try_take().into());
            }
            Stmt::SpinUntil(odd) => {
                self.saw(actor, self.gate.spin_until(1, odd.into()));
            }
            Stmt::Load(i) => {
                self.saw(actor, self.atomics[usize::from(i)].load());
            }
            Stmt::Store(i) => {
                let value = self.saw(actor, 0);
                self.saw(actor, self.atomics[usize::from(i)].swap(value));
            }
            Stmt::Increment(i) => {
                self.saw(actor, self.atomics[usize::from(i)].inc_return());
            }
            Stmt::ReadOnce => {
                self.saw(actor, self.shared.read_once());
            }
            Stmt::WriteOnce => self.shared.write_once(self.saw(actor, 0)),
            Stmt::GateLoad => {
                self.saw(actor, self.gate.load());
            }
            Stmt::GateStore(value) => self.gate.store(value.into()),
            Stmt::GateAdd => {
                self.saw(actor, self.gate.add(1));
            }
            Stmt::WaitUntil(value) => self.gate.wait_until(value.into()),
            Stmt::WaitWhile(value) => {
                self.saw(actor, self.gate.wait_while(value.into()));
            }
            Stmt::Look(first, last) => {
                self.visible.read(span(first, last));
                let cached = &mut *self.cached.borrow_mut();
                for i in usize::from(first)..=usize::from(last) {
                    let memory = cached.memory[i];
                    self.saw(actor, *cached.copies[i].get_or_insert(memory));
                }
            }
            Stmt::Change(first, last) => {
                self.visible.write(span(first, last));
                let value = self.saw(actor, 0);
                for i in usize::from(first)..=usize::from(last) {
                    let old = std::mem::replace(&mut self.cached.borrow_mut().memory[i], value);
                    self.saw(actor, old);
                }
            }
            Stmt::Invalidate(first, last) => {
                self.visible.invalidate(span(first, last));
                self.cached.borrow_mut().copies[usize::from(first)..=usize::from(last)].fill(None);
            }
            Stmt::PlainRead => {
                self.saw(actor, self.plain.get());
            }
            Stmt::PlainWrite => self.plain.set(self.saw(actor, 0)),
            _ => unreachable!("{stmt:?} is no word's business"),
        }
    }

    fn run_work(&self, actor: usize, stmt: Stmt) {
        let said = match stmt {
            Stmt::Queue(i) => match &self.items[usize::from(i)] {
                Item::Plain(work) => work.queue(),
                Item::Delayed(work) => work.queue(10),
            },
            Stmt::Cancel(i) => match &self.items[usize::from(i)] {
                Item::Plain(work) => work.cancel_sync(),
                Item::Delayed(work) => work.cancel_sync(),
            },
            Stmt::Flush(i) => {
                match &self.items[usize::from(i)] {
                    Item::Plain(work) => work.flush(),
                    Item::Delayed(work) => work.flush(),
                }
                true
            }
            Stmt::FlushQueue(ordered) => {
                self.queues[usize::from(ordered)].flush();
                true
            }
            Stmt::DestroyQueue(ordered) => {
                self.queues[usize::from(ordered)].destroy();
                true
            }
            _ => unreachable!("{stmt:?} is no work item's business"),
        };
        self.saw(actor, said.into());
    }

    pub(super) fn run_item(&self, item: usize) {
        assert!(!self.runs[item].replace(true), "item {item} runs twice at once");
        assert!(item < 2 || !self.runs[5 - item].get(), "two items of an ordered queue run at once");
        self.saw(self.program.threads.len() + item, u64::MAX);
        self.run(self.program.threads.len() + item, &self.program.items[item]);
        self.runs[item].set(false);
    }

    /// What the actors have seen, and what is left, at rest.
    pub(super) fn end(&self) -> Outlook {
        let mut end = self.seen.borrow().clone();
        let cached = self.cached.borrow();
        end.push(cached.memory.to_vec());
        end.push(cached.copies.iter().map(|copy| copy.unwrap_or(u64::MAX)).collect());
        end.push(vec![self.gate.peek(), self.shared.read_once()]);
        end.push(self.mutexes.iter().map(|m| *m.lock()).chain(self.sems.iter().map(|s| *s.read())).collect());
        end
    }
}
