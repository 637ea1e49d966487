//! The reduction loses nothing: on random programs, the reduced and the unreduced search find the same happens-before
//! classes, the same verdicts, and the same things seen by the actors. More of it: `svmlab selftest engine`.

use interleave::selftest::{Flavour, MOST_EXECUTIONS, Observed, Options, RandomProgram, Report, Stmt, compare, run};
use interleave::{End, Strategy, explore, replay, shrink};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

/// `SVMLAB_FUZZ_PROGRAMS` from the environment, for the list of mutants: it wants to be quick.
fn programs(default: u64) -> u64 {
    let given = std::env::var("SVMLAB_FUZZ_PROGRAMS").ok();
    given.map_or(default, |text| text.parse().expect("SVMLAB_FUZZ_PROGRAMS is a number of programs"))
}

/// `SVMLAB_FUZZ_FLAVOUR`, likewise: one of them, for what is rare in the others.
fn flavours() -> Vec<Flavour> {
    let given = std::env::var("SVMLAB_FUZZ_FLAVOUR").ok();
    given.map_or(Flavour::ALL.to_vec(), |name| vec![name.parse().expect("SVMLAB_FUZZ_FLAVOUR is a flavour")])
}

fn report(options: &Options) -> Report {
    run(options, &AtomicBool::new(false), |_| {})
}

/// Every operation that the engine has. One that is not listed here has to be added, and to the statements of
/// `interleave::selftest` too.
const OPERATIONS: [&str; 30] = [
    "Begin",
    "CancelEnd",
    "Choose",
    "Flush",
    "GraceBegin",
    "GraceEnd",
    "Instance",
    "Invalidate",
    "Load",
    "Lock",
    "Queue",
    "RcuRead",
    "Read",
    "ReadLock",
    "Retry",
    "SpinLock",
    "SpinUntil",
    "Store",
    "Take",
    "TryLock",
    "TryRead",
    "Unlock",
    "UnlockRead",
    "Unqueue",
    "WaitUntil",
    "WaitWhile",
    "WorkStart",
    "Write",
    "WriteLock",
    "WriteQueue",
];

#[test]
fn the_reduced_search_finds_what_the_unreduced_one_finds() {
    let wanted = programs(600);
    let report = report(&Options { programs: wanted, flavours: flavours(), ..Options::default() });
    if let Some(it) = &report.difference {
        panic!(
            "{} {}: {}\n{}\nsmallest: {}\n{}",
            it.flavour, it.seed, it.what, it.program, it.smallest_what, it.smallest
        );
    }
    let total = report.total();
    for tally in report.flavours.iter().chain([&total]) {
        println!("{tally:?} {:.4}", tally.excess());
    }
    println!("{:?}", report.operations);
    assert_eq!(report.programs, wanted);
    if wanted < 600 || flavours().len() == 1 {
        return;
    }
    // Differences that cannot occur are not worth anything.
    assert!(report.seeds < 3 * wanted, "most programs are too big: {} of {} were used", wanted, report.seeds);
    let happened: Vec<&str> = report.operations.keys().map(String::as_str).collect();
    assert_eq!(happened, OPERATIONS);
    for (operation, programs) in &report.operations {
        assert!(*programs * 100 >= wanted, "{operation} happens in {programs} of {wanted} programs only");
    }
    let often = [
        ("a violation", total.failing),
        ("a deadlock", total.deadlocking),
        ("nested locks", report.nested),
        ("a search under a bound", total.bounded),
    ];
    for (what, programs) in often {
        assert!(programs * 20 >= wanted, "{programs} of {wanted} programs have {what}");
    }
    assert!(report.queued_writers * 40 >= wanted, "a writer queues in {} of {wanted} programs", report.queued_writers);
    assert!(report.recursive * 100 >= wanted, "{} of {wanted} programs take a lock twice", report.recursive);
    assert!(total.failing * 10 < 9 * wanted, "{} of {wanted} fail: that says little", total.failing);
    assert!(total.executions <= total.classes + total.classes / 50, "{total:?}");
}

#[test]
fn the_report_is_the_same_for_any_number_of_threads() {
    let on = |threads| {
        let threads = NonZeroUsize::new(threads).expect("not 0");
        report(&Options { programs: 40, seed: 1_000, threads, ..Options::default() })
    };
    let one = on(1);
    assert_eq!(one.programs, 40);
    assert_eq!(one, on(3));
}

#[test]
fn a_self_test_that_is_stopped_says_so() {
    let stop = AtomicBool::new(true);
    let report = run(&Options::default(), &stop, |_| {});
    assert!(report.interrupted && report.programs == 0, "{report:?}");
}

/// Each shows what a rule is for that random programs seldom need. The first four once made a difference: an ordered
/// queue holds a timer back, an instance that was cancelled could have started, a timer that is late now was early once.
/// The others are of mutants of the engine that had survived.
#[test]
fn programs_that_once_made_a_difference_make_none() {
    use Stmt::*;
    const NO_ITEMS: [&[Stmt]; 4] = [&[]; 4];
    let program = |threads: &[&[Stmt]], items: [&[Stmt]; 4], free_timers, free_retries| RandomProgram {
        threads: threads.iter().map(|body| body.to_vec()).collect(),
        items: items.iter().map(|body| body.to_vec()).collect(),
        delayed: [false, true, false, true],
        free_timers,
        free_retries,
        failures: 0,
        runs_to_the_end: true,
    };
    let once = [
        program(
            &[&[Queue(3), WriteOnce, Spin, Queue(3)], &[Spin], &[Queue(2)]],
            [&[ReadOnce, Load(0), Spin], &[OnlyIf(0, true), Queue(2)], &[Cancel(3), OnlyIf(0, false)], &[Spin]],
            2,
            1,
        ),
        program(
            &[&[Cancel(2), Queue(2)], &[ReadOnce, Cancel(0), Store(1), Queue(2)]],
            [&[Queue(3), Cancel(3)], &[Flush(2), Queue(3), WriteOnce], &[Lock(1), Flush(3)], &[Lock(1), Load(1), Spin]],
            2,
            0,
        ),
        program(
            &[&[Flush(2), Cancel(3), Queue(2)], &[Read(1), Release(0), Flush(1), Flush(2), Queue(2)]],
            [&[Read(1)], &[Cancel(2)], &[Lock(1), Cancel(3), Release(0), Queue(3)], &[Store(1)]],
            1,
            0,
        ),
        program(
            &[&[Queue(1), Queue(0)], &[Cancel(1), Queue(1)], &[FlushQueue(false)]],
            [&[ReadOnce, Flush(1)], &[Load(0)], &[Queue(3)], &[Load(1), Load(1), Load(1)]],
            0,
            0,
        ),
        // Where the rest is asleep, the writer that waits for its own read lock shows what no complete path does.
        program(&[&[Write(0)], &[Read(0)], &[Write(0), Release(0), Read(0), Write(0)]], NO_ITEMS, 0, 0),
        // The flush ends because of the cancel: what follows it has no race with what the canceller did before.
        program(&[&[Queue(0), Flush(0), Store(0)], &[Store(0), Cancel(0)]], NO_ITEMS, 0, 0),
        // Who wakes up because of an event and then runs comes after it, and so starts no execution that has not got it.
        program(&[&[Queue(1)], &[ReadOnce, Increment(1), Flush(1)], &[Load(1)]], NO_ITEMS, 0, 0),
        program(&[&[Queue(0)], &[ReadOnce, Increment(1), Flush(0)], &[Load(1)]], NO_ITEMS, 0, 0),
    ];
    for program in once {
        let compared = compare(&program, None).expect("small enough");
        assert_eq!(compared.verdict, Ok(()), "\n{program}");
    }
}

/// Programs of all flavours, small enough to be searched without reduction.
fn generated(from: u64) -> impl Iterator<Item = RandomProgram> {
    (from..).map(|seed| RandomProgram::generate(Flavour::ALL[(seed % Flavour::ALL.len() as u64) as usize], seed))
}

const REDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: true };

#[test]
fn random_schedules_show_nothing_that_the_exhaustive_search_does_not_have() {
    let mut seen = 0;
    for program in generated(7_000).filter(|program| program.runs_to_the_end).take(150) {
        let full = Observed::new(&program);
        let outcome = explore(&full, &full.config(REDUCED, MOST_EXECUTIONS), None, None);
        if outcome.end == End::LimitReached {
            continue;
        }
        for strategy in [Strategy::Random { seed: 1 }, Strategy::Pct { seed: 1, depth: 3 }] {
            let some = Observed::new(&program);
            let classes = explore(&some, &some.config(strategy, 60), None, None).classes;
            let other = classes.iter().find(|class| !outcome.classes.contains(class));
            assert_eq!(other, None, "a class of its own: {program:?}");
            assert!(some.outcomes().is_subset(&full.outcomes()), "{program:?}");
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen} searches are too few");
}

#[test]
fn every_failure_replays_bit_for_bit_and_shrinks_to_one_that_does() {
    let mut failures = 0;
    for program in generated(9_000).take(200) {
        let observed = Observed::new(&program);
        let config = observed.config(Strategy::Random { seed: 5 }, 60);
        let Some(failure) = explore(&observed, &config, None, None).failure else { continue };
        let small = shrink(&observed, &config, &failure, 300);
        assert!(small.context_switches <= failure.context_switches, "{program:?}");
        for failure in [&failure, &small] {
            let timeline = replay(&observed, &config, &failure.schedule).expect("the schedule of a failure fits");
            assert_eq!(timeline.violation.as_ref(), Some(&failure.violation), "{program:?}");
            assert_eq!(timeline.event_hash, failure.event_hash, "{program:?}");
            assert_eq!(timeline.steps.len(), failure.events as usize, "{program:?}");
        }
        assert_eq!(small.violation.invariant, failure.violation.invariant, "{program:?}");
        failures += 1;
    }
    assert!(failures > 20, "{failures} failures are too few");
}
