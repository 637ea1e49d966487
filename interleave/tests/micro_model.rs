//! The engine on the micro-model, whose distinct schedules were counted by hand and by three other checkers.

mod micro;

use interleave::lab::Invariant;
use interleave::{
    Config, End, Execution, Failure, Launch, Outcome, Program, Sim, Strategy, explore, replay, shrink, shrink_until,
};
use micro::{M1, M2, M3, M4, M5, Micro, N1, N1X, Shape};
use model::platform::{Kernel, Mutex, RwSem};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

const REDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: true };
const UNREDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: false };
const LADDER: [(&str, Shape, u64); 7] = [
    ("n1x", N1X, 4),
    ("n1", N1, 9),
    ("m1", M1, 14),
    ("m2", M2, 62),
    ("m3", M3, 318),
    ("m4", M4, 1_920),
    ("m5", M5, 13_440),
];

fn search(program: &dyn Program, strategy: Strategy) -> Outcome {
    explore(program, &Config { strategy, count_distinct: true, ..Config::default() }, None, None)
}

fn micro(shape: Shape) -> Micro<Sim> {
    Micro::new(shape)
}

#[test]
fn each_distinct_schedule_is_executed_exactly_once() {
    for (name, shape, distinct) in LADDER {
        let outcome = search(&micro(shape), REDUCED);
        assert_eq!(outcome.end, End::Exhausted, "{name}");
        assert_eq!(outcome.stats.distinct, distinct, "{name}");
        assert_eq!(outcome.stats.executions, distinct, "{name}: executions beyond the minimum");
        assert_eq!(outcome.stats.cut, 0, "{name}");
    }
}

/// A writer of a rwsem has two scheduling points (queueing, taking) and an invalidation two more (the gate), so there are
/// more interleavings than of acquires alone; the classes are the same.
#[test]
fn the_unreduced_search_finds_the_same_classes_in_many_more_executions() {
    for ((name, shape, distinct), executions) in LADDER.into_iter().zip([33, 338, 760]) {
        let full = search(&micro(shape), UNREDUCED);
        assert_eq!((full.end, full.stats.distinct), (End::Exhausted, distinct), "{name}");
        assert_eq!(full.stats.executions, executions, "{name}");
        assert_eq!(full.classes, search(&micro(shape), REDUCED).classes, "{name}");
    }
}

fn found(shape: Shape, strategy: Strategy) -> Failure {
    let outcome = search(&micro(shape), strategy);
    assert_eq!(outcome.end, End::Violated);
    let failure = outcome.failure.expect("a violated search has a failure");
    assert_eq!(failure.violation.invariant, Invariant::I2);
    failure
}

#[test]
fn the_missing_retry_check_is_found() {
    for shape in [M1.buggy(), M2.buggy(), M3.buggy()] {
        found(shape, REDUCED);
    }
}

#[test]
fn random_and_pct_find_it_too() {
    for seed in 0..20 {
        found(M2.buggy(), Strategy::Random { seed });
        found(M2.buggy(), Strategy::Pct { seed, depth: 3 });
    }
}

#[test]
fn it_needs_exactly_one_preemption() {
    let bounded = |preemptions| Strategy::Exhaustive { preemptions: Some(preemptions), reduction: false };
    let outcome = search(&micro(M1.buggy()), bounded(0));
    assert_eq!((outcome.end, outcome.failure), (End::Exhausted, None));
    found(M1.buggy(), bounded(1));
}

#[test]
fn a_bound_on_preemptions_is_exact() {
    let executions = |shape, preemptions| {
        let outcome = search(&micro(shape), Strategy::Exhaustive { preemptions, reduction: false });
        assert_eq!(outcome.end, End::Exhausted);
        outcome.stats.executions
    };
    // Three actors that never preempt each other: as many executions as orders, since nobody has to wait.
    assert_eq!(executions(N1, Some(0)), 6);
    let ladder: Vec<u64> = (0..40).map(|bound| executions(N1X, Some(bound))).collect();
    assert!(ladder.is_sorted(), "{ladder:?}");
    assert_eq!(ladder[39], executions(N1X, Some(u32::MAX)));
}

/// Fault until its check, the whole of munmap, the rest of the fault, and the collector: four blocks.
#[test]
fn the_failure_shrinks_to_one_preemption() {
    let config = Config::default();
    for strategy in [REDUCED, Strategy::Random { seed: 7 }] {
        let program = micro(M1.buggy());
        let failure = found(M1.buggy(), strategy);
        let small = shrink(&program, &config, &failure, 2_000);
        assert_eq!(small.violation.invariant, Invariant::I2);
        assert_eq!(small.context_switches, 3, "{:?}", small.schedule);
        assert_eq!(small.schedule.context_switches(), 3);
        let timeline = replay(&program, &config, &small.schedule).expect("a shrunk schedule fits");
        assert_eq!(timeline.violation, Some(small.violation));
        assert_eq!(timeline.steps.iter().filter(|step| step.switch).count(), 3);
    }
}

/// The four blocks are known to be needed: every execution with two switches has been looked at.
#[test]
fn what_is_called_the_fewest_context_switches_is() {
    let config = Config::default();
    let (program, failure) = (micro(M1.buggy()), found(M1.buggy(), Strategy::Random { seed: 7 }));
    let known = shrink_until(&program, &config, &failure, 2_000, None);
    assert_eq!((known.failure.context_switches, known.is_fewest), (3, true));
    assert!(known.executions < 2_000, "{}", known.executions);
    // A handful of executions is not enough to say so, and a stop flag that is set leaves the failure as it is.
    assert!(!shrink_until(&program, &config, &failure, 20, None).is_fewest);
    let stopped = shrink_until(&program, &config, &failure, 2_000, Some(&AtomicBool::new(true)));
    assert_eq!((stopped.failure, stopped.is_fewest, stopped.executions), (failure, false, 0));
}

#[test]
fn a_failure_replays_bit_for_bit() {
    let (program, config) = (micro(M2.buggy()), Config::default());
    let failure = found(M2.buggy(), REDUCED);
    let first = replay(&program, &config, &failure.schedule).unwrap();
    let second = replay(&program, &config, &failure.schedule).unwrap();
    assert_eq!(first.event_hash, failure.event_hash);
    assert_eq!(second.event_hash, failure.event_hash);
    assert_eq!(first.violation, Some(failure.violation));
    assert_eq!(first.steps, second.steps);
    assert_eq!(first.steps.len(), failure.events as usize);
    let actors: Vec<usize> = failure.schedule.choices.iter().map(|actor| usize::from(*actor)).collect();
    assert_eq!(first.steps.iter().map(|step| step.actor).collect::<Vec<_>>(), actors);
}

/// Two readers and a mutex: a deadlock only because a queued writer keeps the second reader out.
struct FairDeadlock {
    writer: bool,
}

/// One reader that comes twice.
struct RecursiveRead;

struct Nothing;
impl Execution for Nothing {
    fn at_rest(&self) {}
}

fn rwsem() -> Rc<<Sim as Kernel>::RwSem<()>> {
    Rc::new(RwSem::new("mmap_lock", ()).unwrap())
}

impl Program for FairDeadlock {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let m = rwsem();
        let a: Rc<<Sim as Kernel>::Mutex<()>> = Rc::new(Mutex::new("svm_lock", ()).unwrap());
        let (its_m, its_a) = (m.clone(), a.clone());
        launch.actor("fault", move || {
            let _m = its_m.read();
            let _a = its_a.lock();
        });
        let its_m = m.clone();
        launch.actor("ioctl", move || {
            let _a = a.lock();
            let _m = its_m.read();
        });
        if self.writer {
            launch.actor("munmap", move || drop(m.write()));
        }
        Box::new(Nothing)
    }
}

impl Program for RecursiveRead {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let m = rwsem();
        let its = m.clone();
        launch.actor("reader", move || {
            let _first = its.read();
            let _second = its.read();
        });
        launch.actor("writer", move || drop(m.write()));
        Box::new(Nothing)
    }
}

#[test]
fn a_queued_writer_makes_two_readers_deadlock() {
    for strategy in [REDUCED, UNREDUCED] {
        let outcome = search(&FairDeadlock { writer: true }, strategy);
        let failure = outcome.failure.expect("the deadlock is found");
        assert_eq!(failure.violation.invariant, Invariant::I8);
        let what = failure.violation.what;
        assert!(what.contains("ioctl waits for mmap_lock for read, behind a queued writer"), "{what}");
        assert!(what.contains("cycle fault -> ioctl -> "), "{what}");
    }
    assert_eq!(search(&FairDeadlock { writer: false }, REDUCED).end, End::Exhausted);
}

#[test]
fn a_recursive_read_with_a_writer_about_deadlocks() {
    let failure = search(&RecursiveRead, REDUCED).failure.expect("the deadlock is found");
    assert_eq!(failure.violation.invariant, Invariant::I8);
    assert_eq!(
        failure.violation.what,
        "deadlock: reader waits for mmap_lock for read, behind a queued writer (with writer, reader); \
         writer waits for mmap_lock for write (with reader) — cycle reader -> writer -> reader"
    );
}
