//! What the primitives of the controlled back end promise, each as a small program that is searched.

mod choices;
mod primitives;
mod races;
mod rest;
mod searching;
mod sleeping;
mod timers;
mod work;

use interleave::lab::{Lab, Violation};
use interleave::{Config, End, Execution, Launch, Outcome, Program, Sim, explore};
use model::platform::{ClientId, Kernel, Mutex as _, Plain as _, QueueKind, SpinLock as _};
use std::rc::Rc;

type Mutex = <Sim as Kernel>::Mutex<()>;
type SpinLock = <Sim as Kernel>::SpinLock<()>;
type Atomic = <Sim as Kernel>::Atomic;
type Shared = <Sim as Kernel>::Shared<u64>;
type Plain = <Sim as Kernel>::Plain<u64>;
type Cache = <Sim as Kernel>::Cache<u64>;
type Gate = <Sim as Lab>::Gate;
type Queue = <Sim as Kernel>::WorkQueue;

const CLIENT: ClientId = ClientId(0);

fn mutex(name: &'static str) -> Rc<Mutex> {
    Rc::new(Mutex::new(name, ()).unwrap())
}
fn spin() -> Rc<SpinLock> {
    Rc::new(SpinLock::new("spin", ()).unwrap())
}
fn queue(kind: QueueKind) -> Queue {
    Sim::alloc_workqueue("wq", kind).unwrap()
}
fn unbound() -> Queue {
    queue(QueueKind::Unbound)
}

type Check = Box<dyn Fn()>;

/// A program whose setup is a closure; what that returns is the final check.
pub(crate) struct Small(Box<dyn Fn(&mut Launch) -> Check>);

impl Small {
    pub(crate) fn new(start: impl Fn(&mut Launch) + 'static) -> Self {
        Small::checked(move |launch| {
            start(launch);
            Box::new(|| ())
        })
    }
    pub(crate) fn checked(start: impl Fn(&mut Launch) -> Check + 'static) -> Self {
        Small(Box::new(start))
    }
}

struct Run(Check);

impl Program for Small {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        Box::new(Run((self.0)(launch)))
    }
}

impl Execution for Run {
    fn at_rest(&self) {
        (self.0)();
    }
}

/// Every interleaving.
pub(crate) fn search(program: &Small) -> Outcome {
    explore(program, &Config::default(), None, None)
}

/// The violation that some interleaving has.
#[track_caller]
pub(crate) fn found(program: &Small) -> Violation {
    let outcome = search(program);
    assert_eq!(outcome.end, End::Violated, "{:?}", outcome.stats);
    outcome.failure.expect("a violated search has a failure").violation
}

/// No interleaving violates anything.
#[track_caller]
pub(crate) fn holds(program: &Small) {
    let outcome = search(program);
    assert_eq!((outcome.end, outcome.failure), (End::Exhausted, None), "{:?}", outcome.stats);
}

/// Two threads change a word; `lock` says whether under a lock.
fn two_writers(lock: bool) -> Small {
    Small::new(move |launch| {
        let (mutex, word) = (mutex("lock"), Rc::new(Plain::new(0)));
        for name in ["first", "second"] {
            let (mutex, word) = (mutex.clone(), word.clone());
            launch.actor(name, move || {
                let _held = lock.then(|| mutex.lock());
                word.set(word.get() + 1);
            });
        }
    })
}
