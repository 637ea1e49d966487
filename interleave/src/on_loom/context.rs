//! What one execution keeps beside loom's own state: who holds and who waits for which lock, events, retries, work.
//!
//! Answers to `held_locks` of lockdep and to the hung-task report: loom by itself says "deadlock" and thread numbers.
//!
//! Loom's threads are coroutines on one OS thread, so an OS thread local is shared by them and needs no lock. It is
//! renewed when an execution begins. Nothing here is a scheduling point, and no borrow is held across one.

use super::Loom;
use super::check::Memory;
use super::work::{Queue, Runner};
use super::workers::Crew;
use crate::lab::{Invariant, Lab, Stamp, Violation};
use loom::thread::ThreadId;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::Location;
use std::rc::{Rc, Weak};

thread_local! {
    static NOW: RefCell<Context> = const { RefCell::new(Context::new(0, Memory::Weak)) };
}

struct Context {
    /// Which execution. 0 between checks.
    epoch: u64,
    memory: Memory,
    /// All threads but one have ended: operations apply at once and are no scheduling points.
    sequential: bool,
    events: u32,
    lock_ids: u32,
    tickets: u32,
    names: Vec<(ThreadId, String)>,
    holds: Vec<Entry>,
    waits: Vec<Entry>,
    retries: Vec<(ThreadId, u32, &'static str)>,
    /// Retries in a row, of one thread, between which no other did anything.
    lonely: u32,
    runner: Option<Runner>,
    queues: Vec<Weak<Queue>>,
    crew: Option<Rc<Crew>>,
    accusation: Option<Accusation>,
}

impl Context {
    const fn new(epoch: u64, memory: Memory) -> Self {
        Context {
            epoch,
            memory,
            sequential: false,
            events: 0,
            lock_ids: 0,
            tickets: 0,
            names: Vec::new(),
            holds: Vec::new(),
            waits: Vec::new(),
            retries: Vec::new(),
            lonely: 0,
            runner: None,
            queues: Vec::new(),
            crew: None,
            accusation: None,
        }
    }

    fn name_of(&self, thread: ThreadId) -> String {
        match self.names.iter().find(|(id, _)| *id == thread) {
            Some((_, name)) => name.clone(),
            // Debug is the only way to the number: "ThreadId(2)".
            None => format!("{thread:?}").replace("ThreadId(", "thread ").replace(')', ""),
        }
    }
}

/// How something is held or waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// `mutex_lock`.
    Mutex,
    /// `spin_lock`: the holder is atomic.
    Spin,
    /// `down_read`.
    Read,
    /// `down_write`.
    Write,
    /// `wait_event`, on the lab's gates.
    Gate,
    /// `flush_work` and relatives.
    Flush,
    /// `cancel_work_sync`.
    Cancel,
}

impl Mode {
    fn verb(self) -> &'static str {
        match self {
            Mode::Mutex => "mutex",
            Mode::Spin => "spinlock",
            Mode::Read => "down_read",
            Mode::Write => "down_write",
            Mode::Gate => "gate",
            Mode::Flush => "flush of",
            Mode::Cancel => "cancel of",
        }
    }
}

struct Entry {
    ticket: u32,
    thread: ThreadId,
    lock: u32,
    name: &'static str,
    mode: Mode,
    at: &'static Location<'static>,
}

/// One lock: its lockdep class and which of that class, in order of creation.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockId {
    /// The lockdep class.
    pub(super) name: &'static str,
    id: u32,
}

impl LockId {
    pub(super) fn new(name: &'static str) -> Self {
        NOW.with_borrow_mut(|now| {
            now.lock_ids += 1;
            LockId { name, id: now.lock_ids }
        })
    }
}

/// While it lives, a wait or a hold is on record.
#[derive(Debug)]
pub(super) struct Record {
    ticket: u32,
    epoch: u64,
}

impl Record {
    /// The wait is over: the lock is held from now on.
    pub(super) fn granted(&self) {
        NOW.with_borrow_mut(|now| {
            if now.epoch == self.epoch
                && let Some(at) = now.waits.iter().position(|e| e.ticket == self.ticket)
            {
                let entry = now.waits.remove(at);
                now.holds.push(entry);
            }
        });
    }

    /// A write hold has become a read hold.
    pub(super) fn downgraded(&self) {
        NOW.with_borrow_mut(|now| {
            if let Some(entry) = now.holds.iter_mut().find(|e| e.ticket == self.ticket) {
                entry.mode = Mode::Read;
            }
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        NOW.with_borrow_mut(|now| {
            if now.epoch == self.epoch {
                now.holds.retain(|e| e.ticket != self.ticket);
                now.waits.retain(|e| e.ticket != self.ticket);
            }
        });
    }
}

/// The running thread is about to acquire `lock`. Sleeping in atomic context and acquiring what the thread holds
/// already are violations of I8 at once; a recursive `down_read` is not, it deadlocks only behind a queued writer.
#[track_caller]
pub(super) fn acquiring(lock: LockId, mode: Mode) -> Record {
    let at = Location::caller();
    if mode != Mode::Spin {
        might_sleep(lock.name);
    }
    let thread = this_thread();
    let found = NOW.with_borrow(|now| {
        let held = now
            .holds
            .iter()
            .find(|e| e.lock == lock.id && e.thread == thread && !(e.mode == Mode::Read && mode == Mode::Read))?;
        Some(format!(
            "self-deadlock: {} wants {} {} at {at} and holds it since {}",
            now.name_of(thread),
            mode.verb(),
            lock.name,
            held.at
        ))
    });
    if let Some(what) = found {
        Loom::fail(Violation::new(Invariant::I8, what, None));
    }
    record(lock, mode, thread, at)
}

/// The running thread is about to wait for something that is not a lock. A violation of I8 in atomic context.
#[track_caller]
pub(super) fn waiting(name: &'static str, mode: Mode) -> Record {
    might_sleep(name);
    record(LockId { name, id: 0 }, mode, this_thread(), Location::caller())
}

fn record(lock: LockId, mode: Mode, thread: ThreadId, at: &'static Location<'static>) -> Record {
    NOW.with_borrow_mut(|now| {
        now.events += 1;
        now.tickets += 1;
        let ticket = now.tickets;
        now.waits.push(Entry { ticket, thread, lock: lock.id, name: lock.name, mode, at });
        Record { ticket, epoch: now.epoch }
    })
}

/// `might_sleep()`: a violation of I8 when the running thread holds a spinlock.
#[track_caller]
pub(super) fn might_sleep(what: &str) {
    if !in_atomic() {
        return;
    }
    let at = Location::caller();
    let thread = this_thread();
    let what = NOW.with_borrow(|now| {
        let spin = now.holds.iter().rev().find(|e| e.mode == Mode::Spin && e.thread == thread);
        let spin = spin.map_or("a spinlock", |e| e.name);
        format!("sleeping in atomic context: {} may sleep in {what} at {at} and holds {spin}", now.name_of(thread))
    });
    Loom::fail(Violation::new(Invariant::I8, what, None));
}

/// Whether the running thread holds a spinlock.
pub(super) fn in_atomic() -> bool {
    // Who runs is asked only when it matters: the question is a hash look-up in loom.
    if !NOW.with_borrow(|now| now.holds.iter().any(|e| e.mode == Mode::Spin)) {
        return false;
    }
    let thread = this_thread();
    NOW.with_borrow(|now| now.holds.iter().any(|e| e.mode == Mode::Spin && e.thread == thread))
}

/// The running thread.
pub(super) fn this_thread() -> ThreadId {
    loom::thread::current().id()
}

/// The running thread's name, for messages.
pub(super) fn this_name() -> String {
    let thread = this_thread();
    NOW.with_borrow(|now| now.name_of(thread))
}

/// Names the running thread in messages.
pub(super) fn name_thread(name: &str) {
    let thread = this_thread();
    NOW.with_borrow_mut(|now| {
        now.names.retain(|(id, _)| *id != thread);
        now.names.push((thread, name.to_owned()));
    });
}

/// A new execution begins; whatever an earlier one left is dropped.
pub(super) fn begin(memory: Memory) {
    thread_local! {
        static EPOCHS: RefCell<u64> = const { RefCell::new(0) };
    }
    let epoch = EPOCHS.with_borrow_mut(|e| {
        *e += 1;
        *e
    });
    renew(epoch, memory);
}

/// No execution runs any more.
pub(super) fn end() {
    renew(0, Memory::Weak);
}

fn renew(epoch: u64, memory: Memory) {
    // The epoch changes before the old context falls: what its drop reaches (workqueues) must see that its execution
    // is over, and must find the context free to borrow.
    let old = NOW.replace(Context::new(epoch, memory));
    drop(old);
}

/// Which execution runs; objects of another one must not be touched.
pub(super) fn epoch() -> u64 {
    NOW.with_borrow(|now| now.epoch)
}

/// Whether all threads but the running one have ended.
pub(super) fn sequential() -> bool {
    NOW.with_borrow(|now| now.sequential)
}

/// All threads but the running one have ended.
pub(super) fn become_sequential() {
    NOW.with_borrow_mut(|now| now.sequential = true);
}

/// Whether a lockless word shows its newest value only.
pub(super) fn newest_only() -> bool {
    NOW.with_borrow(|now| now.sequential || now.memory == Memory::Sequential)
}

/// One operation happens.
pub(super) fn event() {
    NOW.with_borrow_mut(|now| now.events += 1);
}

/// The index of the newest operation.
pub(super) fn stamp() -> Stamp {
    NOW.with_borrow(|now| Stamp(now.events))
}

/// The running thread goes round a retry loop; returns how often it has in this execution.
pub(super) fn count_retry(why: &'static str) -> u32 {
    let thread = this_thread();
    NOW.with_borrow_mut(|now| {
        now.events += 1;
        match now.retries.iter_mut().find(|(id, ..)| *id == thread) {
            Some((_, count, last)) => {
                *count += 1;
                *last = why;
                *count
            }
            None => {
                now.retries.push((thread, 1, why));
                1
            }
        }
    })
}

/// Lets all others go first; returns how many times in a row there was nobody to do anything.
pub(super) fn yield_to_others() -> u32 {
    let before = stamp();
    loom::thread::yield_now();
    NOW.with_borrow_mut(|now| {
        now.lonely = if now.events == before.0 { now.lonely + 1 } else { 0 };
        now.lonely
    })
}

/// What a data race that loom sees means, when it means more than a data race.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accusation {
    /// What fell.
    pub(super) invariant: Invariant,
    /// "free of".
    pub(super) verb: &'static str,
    /// The class of the object.
    pub(super) name: &'static str,
    /// Which of its class.
    pub(super) index: u32,
    /// Who does it.
    pub(super) at: &'static Location<'static>,
}

impl Accusation {
    /// Runs `f` such that a data race in it is reported as this.
    pub(super) fn during<R>(self, f: impl FnOnce() -> R) -> R {
        NOW.with_borrow_mut(|now| now.accusation = Some(self));
        let result = f();
        NOW.with_borrow_mut(|now| now.accusation = None);
        result
    }
}

/// What a data race seen now means. For the panic hook: never blocks or panics.
pub(super) fn accusation() -> Option<Accusation> {
    NOW.with(|now| now.try_borrow().ok()?.accusation)
}

/// Who waits for what and holds what, one clause a waiter. For the panic hook: never blocks or panics.
pub(super) fn wait_for_graph() -> String {
    NOW.with(|now| {
        let Ok(now) = now.try_borrow() else { return String::new() };
        let mut text = String::new();
        for wait in &now.waits {
            let _ = write!(
                text,
                "{}{} waits for {} {} at {}",
                if text.is_empty() { "" } else { "; " },
                now.name_of(wait.thread),
                wait.mode.verb(),
                wait.name,
                wait.at
            );
            let held: Vec<String> = now
                .holds
                .iter()
                .filter(|e| e.thread == wait.thread)
                .map(|e| format!("{} {} since {}", e.mode.verb(), e.name, e.at))
                .collect();
            if !held.is_empty() {
                let _ = write!(text, " and holds {}", held.join(", "));
            }
        }
        text
    })
}

/// Who retries what, for the message of an execution without end. Never blocks or panics.
pub(super) fn retriers() -> String {
    NOW.with(|now| {
        let Ok(now) = now.try_borrow() else { return String::new() };
        let all: Vec<String> = now
            .retries
            .iter()
            .map(|(id, count, why)| format!("{} retried {why} {count} times", now.name_of(*id)))
            .collect();
        all.join("; ")
    })
}

/// What loom calls the threads in its messages, and their names. For the panic hook: never blocks or panics.
pub(super) fn thread_names() -> Vec<(String, String)> {
    NOW.with(|now| {
        let Ok(now) = now.try_borrow() else { return Vec::new() };
        let number = |id: &ThreadId| format!("{id:?}").replace("ThreadId(", "thread #").replace(')', "");
        now.names.iter().map(|(id, name)| (number(id), name.clone())).collect()
    })
}

/// What work items run.
pub(super) fn runner() -> Option<Runner> {
    NOW.with_borrow(|now| now.runner.clone())
}

/// Sets what work items run.
pub(super) fn set_runner(runner: Runner) {
    let old = NOW.with_borrow_mut(|now| now.runner.replace(runner));
    drop(old);
}

/// A workqueue was made.
pub(super) fn add_queue(queue: &Rc<Queue>) {
    NOW.with_borrow_mut(|now| now.queues.push(Rc::downgrade(queue)));
}

/// All workqueues of this execution that still exist, in order of creation.
pub(super) fn queues() -> Vec<Rc<Queue>> {
    NOW.with_borrow(|now| now.queues.iter().filter_map(Weak::upgrade).collect())
}

/// The same, unless somebody is at it. For the panic hook: never blocks or panics.
pub(super) fn queues_if_free() -> Option<Vec<Rc<Queue>>> {
    NOW.with(|now| Some(now.try_borrow().ok()?.queues.iter().filter_map(Weak::upgrade).collect()))
}

/// The threads that run work items; none until the actors start, and none at rest.
pub(super) fn crew() -> Option<Rc<Crew>> {
    NOW.with_borrow(|now| if now.sequential { None } else { now.crew.clone() })
}

/// Sets the threads that run work items.
pub(super) fn set_crew(crew: Rc<Crew>) {
    let old = NOW.with_borrow_mut(|now| now.crew.replace(crew));
    drop(old);
}
