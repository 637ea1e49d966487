//! A search that is split, saved, resumed or planned is the search it was.

mod micro;
#[allow(dead_code)] // to make programs smaller is the differential test's
use interleave::lockdep::Lessons;
use interleave::search::{Checkpoint, Crew, Plan, TaskEnd, explore_split};
use interleave::selftest::{Flavour, Observed, RandomProgram};
use interleave::{Config, End, Execution, Launch, Outcome, Program, Sim, Strategy, explore};
use micro::{M1, M2, M3, Micro, Shape};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Programs whose reduced search is longer are left out.
const MOST_EXECUTIONS: u64 = 4_000;

fn config(program: &RandomProgram) -> Config {
    Config {
        strategy: Strategy::Exhaustive { preemptions: None, reduction: true },
        free_timers: program.free_timers,
        free_retries: program.free_retries,
        count_distinct: true,
        keep_going: program.runs_to_the_end,
        ..Config::default()
    }
}

fn programs(from: u64) -> impl Iterator<Item = RandomProgram> {
    (from..).map(|seed| RandomProgram::generate(Flavour::ALL[(seed % Flavour::ALL.len() as u64) as usize], seed))
}

/// `program` alone, if it is small enough.
fn alone(program: &RandomProgram, config: &Config) -> Option<Outcome> {
    let mut limited = config.clone();
    limited.limits.executions = Some(MOST_EXECUTIONS);
    let outcome = explore(&Observed::new(program), &limited, None, None);
    (outcome.end != End::LimitReached).then_some(outcome)
}

fn same(a: &Outcome, b: &Outcome, what: &dyn std::fmt::Debug) {
    assert_eq!((a.end, a.stats), (b.end, b.stats), "{what:?}");
    assert_eq!(a.failure, b.failure, "{what:?}");
    assert_eq!(a.classes, b.classes, "{what:?}");
    assert_eq!(a.predicted, b.predicted, "{what:?}");
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number of programs"))
}

#[test]
fn the_number_of_threads_and_the_way_of_splitting_change_nothing() {
    let (mut used, mut failing, mut predicting, mut executions) = (0, 0, 0, 0);
    for program in programs(20_000) {
        if used == number("SVMLAB_SPLIT_PROGRAMS", 150) {
            break;
        }
        let mut config = config(&program);
        // Both a search that goes on after a violation and one that ends there.
        config.keep_going &= used % 2 == 0;
        let Some(one) = alone(&program, &config) else { continue };
        let make = || Box::new(Observed::new(&program)) as Box<dyn Program>;
        for (threads, eager) in [(1, false), (1, true), (2, true), (3, true), (4, true), (3, false)] {
            let split = explore_split(&make, &config, Crew { threads, eager, ..Crew::default() });
            same(&one, &split, &(threads, eager, &program));
        }
        used += 1;
        failing += u64::from(one.failure.is_some());
        predicting += u64::from(!one.predicted.is_empty());
        executions += one.stats.executions;
    }
    println!("{used} programs, {failing} with a violation, {predicting} with a prediction, {executions} executions");
    assert!(predicting * 10 > used as u64, "a deadlock is predicted of {predicting} of {used}: that says little");
    assert!(failing * 10 > used as u64, "{failing} of {used} fail: that says little");
}

/// So the progress of a search need not keep a set of what it has seen.
#[test]
fn distinct_executions_are_those_that_were_not_cut() {
    let (mut executions, mut distinct) = (0, 0);
    for program in programs(30_000).filter(|program| program.runs_to_the_end).take(300) {
        let Some(one) = alone(&program, &config(&program)) else { continue };
        assert_eq!(one.stats.executions - one.stats.cut, one.stats.distinct, "{program:?}");
        executions += one.stats.executions;
        distinct += one.stats.distinct;
    }
    println!("{distinct} distinct of {executions}");
}

#[test]
fn micro_models_are_the_same_in_parts() {
    let m4 = Shape { faults: 4, ..M1 };
    for shape in [M1, M2, M3, m4, M2.buggy(), M3.buggy(), m4.buggy()] {
        for reduction in [true, false] {
            if !reduction && shape.faults > 2 {
                continue;
            }
            let strategy = Strategy::Exhaustive { preemptions: None, reduction };
            let config = Config { strategy, count_distinct: true, keep_going: true, ..Config::default() };
            let make = || Box::new(Micro::<Sim>::new(shape)) as Box<dyn Program>;
            for config in [config.clone(), Config { keep_going: false, ..config }] {
                let one = explore(make().as_ref(), &config, None, None);
                for (threads, eager) in [(1, true), (2, true), (4, true), (2, false)] {
                    let split = explore_split(&make, &config, Crew { threads, eager, ..Crew::default() });
                    same(&one, &split, &(shape, threads, eager));
                }
            }
        }
    }
}

#[test]
fn a_bound_on_preemptions_can_be_split_and_a_limit_stays_exact() {
    let make = || Box::new(Micro::<Sim>::new(M2)) as Box<dyn Program>;
    let strategy = Strategy::Exhaustive { preemptions: Some(2), reduction: false };
    let mut config = Config { strategy, count_distinct: true, ..Config::default() };
    let one = explore(make().as_ref(), &config, None, None);
    same(&one, &explore_split(&make, &config, Crew { threads: 3, eager: true, ..Crew::default() }), &"bound");
    config.limits.executions = Some(17);
    let one = explore(make().as_ref(), &config, None, None);
    assert_eq!(one.end, End::LimitReached);
    same(&one, &explore_split(&make, &config, Crew { threads: 3, eager: true, ..Crew::default() }), &"limit");
}

fn header() -> serde_json::Value {
    serde_json::json!({ "program": "p", "limit": 7 })
}

/// Sets the stop flag after so many executions.
struct Stopping {
    program: Box<dyn Program>,
    seen: Arc<AtomicU64>,
    most: u64,
    stop: Arc<AtomicBool>,
}

impl Program for Stopping {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        if self.seen.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.program.start(launch)
    }
}

/// Saves all the time, stops at every place where it was saved, and goes on from there through the file's text.
#[test]
fn a_search_resumed_from_any_checkpoint_ends_the_same() {
    let mut resumed = 0;
    for (nth, program) in programs(40_000).take(120).enumerate() {
        let config = config(&program);
        let Some(one) = alone(&program, &config) else { continue };
        if one.stats.executions < 30 {
            continue;
        }
        let make = || Box::new(Observed::new(&program)) as Box<dyn Program>;
        let texts = RefCell::new(Vec::new());
        let mut save = |checkpoint: &Checkpoint| texts.borrow_mut().push(checkpoint.to_text(&header()));
        let (threads, eager) = [(1, true), (2, true), (3, false)][nth % 3];
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let most = one.stats.executions * (1 + nth as u64 % 4) / 5;
        let stopping = || {
            let stopping = Stopping { program: make(), seen: seen.clone(), most, stop: stop.clone() };
            Box::new(stopping) as Box<dyn Program>
        };
        let save: (Duration, &mut dyn FnMut(&Checkpoint)) = (Duration::ZERO, &mut save);
        explore_split(
            &stopping,
            &config,
            Crew { threads, eager, stop: Some(&stop), save: Some(save), ..Crew::default() },
        );
        let texts = texts.into_inner();
        for text in [&texts[texts.len() / 2], texts.last().expect("it is saved at the end")] {
            let checkpoint = Checkpoint::parse(text, &header()).expect("what was saved can be read");
            let crew = Crew { threads: 1 + nth % 3, resume: Some(checkpoint), ..Crew::default() };
            same(&one, &explore_split(&make, &config, crew), &program);
            resumed += 1;
        }
    }
    assert!(resumed >= 20, "{resumed} are too few");
}

#[test]
fn a_checkpoint_of_anything_else_is_refused() {
    let make = || Box::new(Micro::<Sim>::new(M2)) as Box<dyn Program>;
    let mut text = String::new();
    let mut save = |checkpoint: &Checkpoint| text = checkpoint.to_text(&header());
    let stop = AtomicBool::new(true);
    let save: (Duration, &mut dyn FnMut(&Checkpoint)) = (Duration::ZERO, &mut save);
    explore_split(&make, &Config::default(), Crew { stop: Some(&stop), save: Some(save), ..Crew::default() });
    assert!(Checkpoint::parse(&text, &header()).is_ok());

    let refused = |text: &str, header| Checkpoint::parse(text, &header).expect_err("refused").to_string();
    let other = serde_json::json!({ "program": "q", "limit": 7 });
    assert_eq!(refused(&text, other), "it is of another search: `program` is \"p\" there and \"q\" here");
    let version = text.replace("svmlab-checkpoint 2", "svmlab-checkpoint 9");
    assert_eq!(refused(&version, header()), "line 1: expected `svmlab-checkpoint 2`, found `svmlab-checkpoint 9`");
    let what = "the checkpoint is damaged: it ends before its checksum";
    assert_eq!(refused(&text[..text.len() / 2], header()), what);
    for at in (0..text.len()).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        assert!(Checkpoint::parse(&String::from_utf8_lossy(&bytes), &header()).is_err(), "byte {at}");
    }
}

/// All tasks of a plan find what the search finds, and no two of them the same.
#[test]
fn the_tasks_of_a_plan_are_the_search() {
    let (mut used, mut plain, mut planned, mut tasks) = (0, 0, 0, 0);
    for program in programs(50_000).filter(|program| program.runs_to_the_end) {
        if used == number("SVMLAB_SPLIT_PROGRAMS", 150) {
            break;
        }
        let config = config(&program);
        let Some(one) = alone(&program, &config) else { continue };
        let make = || Box::new(Observed::new(&program)) as Box<dyn Program>;
        let plan = Plan::new(make().as_ref(), &config, [7, 64][used % 2]);
        assert_eq!(plan.hash(), Plan::new(make().as_ref(), &config, [7, 64][used % 2]).hash());
        let mut classes = BTreeSet::new();
        let mut violations = 0;
        let mut lessons = Lessons::default();
        for task in 0..plan.len() {
            let crew = Crew { threads: 1 + task % 2, eager: task % 3 == 0, ..Crew::default() };
            let result = plan.explore(task, &make, &config, crew).expect("nobody stops it");
            assert_eq!(result.end, TaskEnd::Exhausted, "it goes on after violations");
            lessons.add(result.lessons);
            for class in result.classes {
                assert!(classes.insert(class), "two tasks have a class: {program:?}");
            }
            planned += result.stats.executions;
            violations += result.stats.violations;
        }
        assert_eq!(classes.into_iter().collect::<Vec<_>>(), one.classes, "{program:?}");
        assert_eq!(violations > 0, one.failure.is_some());
        // The tasks see all executions, in another order: which edge closes a cycle may be another one.
        assert_eq!(lessons.predict().is_empty(), one.predicted.is_empty(), "{program:?}");
        used += 1;
        plain += one.stats.executions;
        tasks += plan.len();
    }
    println!("{used} programs, {tasks} tasks: {planned} executions, {plain} in one search");
}
