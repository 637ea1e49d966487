//! What the lock-order validator predicts, and what it must not: each planted mistake has a correct twin.
//!
//! Unless said otherwise one execution is run, and it does not deadlock.

mod contexts;
mod liveness;
mod order;
mod parts;
mod reads;
mod reclaim;
mod waiting;

use interleave::lockdep::{LockReport, Pattern};
use interleave::{Config, End, Execution, Launch, Limits, Outcome, Program, Sim, explore};
use model::platform::{ClientId, Kernel, Mutex as _, RwSem as _, SpinLock as _};
use std::rc::Rc;

type Mutex = <Sim as Kernel>::Mutex<()>;
type SpinLock = <Sim as Kernel>::SpinLock<()>;
type RwSem = <Sim as Kernel>::RwSem<()>;

const CLIENT: ClientId = ClientId(0);

fn mutex(name: &'static str) -> Rc<Mutex> {
    Rc::new(Mutex::new(name, ()).unwrap())
}
fn spin(name: &'static str) -> Rc<SpinLock> {
    Rc::new(SpinLock::new(name, ()).unwrap())
}
fn rwsem(name: &'static str) -> Rc<RwSem> {
    Rc::new(RwSem::new(name, ()).unwrap())
}

struct Small<F>(F);
struct Nothing;

impl<F: Fn(&mut Launch)> Program for Small<F> {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        (self.0)(launch);
        Box::new(Nothing)
    }
}
impl Execution for Nothing {
    fn at_rest(&self) {}
}

fn run(start: impl Fn(&mut Launch), executions: Option<u64>) -> Outcome {
    let limits = Limits { executions, ..Limits::default() };
    explore(&Small(start), &Config { limits, ..Config::default() }, None, None)
}

/// What the first execution teaches; it violates nothing.
#[track_caller]
fn first(start: impl Fn(&mut Launch)) -> Vec<LockReport> {
    let outcome = run(start, Some(1));
    assert_eq!(outcome.failure, None, "the first execution is to be a good one");
    outcome.predicted
}

/// The one thing that the first execution predicts.
#[track_caller]
fn predicted(start: impl Fn(&mut Launch)) -> LockReport {
    let mut reports = first(start);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    reports.remove(0)
}

/// Not even all executions together predict anything.
#[track_caller]
fn clean(start: impl Fn(&mut Launch)) {
    let outcome = run(start, None);
    assert_eq!((outcome.end, outcome.failure), (End::Exhausted, None));
    assert_eq!(outcome.predicted, []);
}

#[track_caller]
fn assert_is(report: &LockReport, pattern: Pattern, cycle: &str) {
    assert_eq!((report.pattern, report.cycle().as_str()), (pattern, cycle), "{report}");
}
