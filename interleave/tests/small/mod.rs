//! Programs made of closures.

use interleave::lab::Violation;
use interleave::{Config, End, Execution, Launch, Outcome, Program, explore};

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
