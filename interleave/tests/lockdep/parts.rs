//! What is predicted does not depend on how a search is cut: over threads, over interruptions, over machines.

use super::*;
use interleave::lockdep::Lessons;
use interleave::search::{Checkpoint, Crew, Plan, explore_split};
use model::platform::Atomic as _;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Two threads take a pair of locks each; which pair, a word says that a third thread counts up. No execution has more
/// than two edges, and none a deadlock; the cycles are of all executions together.
fn pairs(launch: &mut Launch) {
    let word = Rc::new(<Sim as Kernel>::Atomic::new("word", 0));
    for names in [["a", "b", "c"], ["d", "e", "f"]] {
        let (word, locks) = (word.clone(), names.map(mutex));
        launch.actor(names[0], move || {
            let (outer, inner) = [(0, 1), (1, 2), (2, 0), (1, 0)][word.load() as usize];
            let _outer = locks[outer].lock();
            let _inner = locks[inner].lock();
        });
    }
    launch.actor("counter", move || {
        for _ in 0..3 {
            word.inc_return();
        }
    });
}

fn program() -> Box<dyn Program> {
    Box::new(Small(pairs))
}

fn cycles(reports: &[LockReport]) -> Vec<String> {
    reports.iter().map(LockReport::cycle).collect()
}

#[test]
fn threads_predict_what_one_thread_predicts() {
    let config = Config::default();
    let alone = explore(program().as_ref(), &config, None, None);
    assert_eq!(alone.end, End::Exhausted);
    assert_eq!(cycles(&alone.predicted).len(), 4, "{:#?}", cycles(&alone.predicted));
    for report in &alone.predicted {
        let seen_in: std::collections::BTreeSet<_> = report.dependencies.iter().map(|d| &d.schedule.choices).collect();
        assert!(seen_in.len() > 1, "one execution has it all: {report}");
    }
    for (threads, eager) in [(1, false), (1, true), (2, true), (3, true), (2, false)] {
        let split = explore_split(&program, &config, Crew { threads, eager, ..Crew::default() });
        assert_eq!((split.end, split.stats), (alone.end, alone.stats));
        assert_eq!(split.predicted, alone.predicted, "{threads} threads");
    }
}

/// Sets the flag after so many executions.
struct Stopping {
    seen: Rc<AtomicU64>,
    most: u64,
    stop: std::sync::Arc<AtomicBool>,
}

impl Program for Stopping {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        if self.seen.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.stop.store(true, Ordering::Relaxed);
        }
        program().start(launch)
    }
}

#[test]
fn a_search_that_was_interrupted_predicts_what_it_would_have_predicted() {
    let config = Config::default();
    let alone = explore(program().as_ref(), &config, None, None);
    let header = serde_json::json!({ "program": "pairs" });
    let mut shorter = 0;
    for most in 1..alone.stats.executions {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let stopping = move || Box::new(Stopping { seen: Rc::default(), most, stop: flag.clone() }) as Box<dyn Program>;
        let text = RefCell::new(String::new());
        let mut save = |checkpoint: &Checkpoint| *text.borrow_mut() = checkpoint.to_text(&header);
        let save: (Duration, &mut dyn FnMut(&Checkpoint)) = (Duration::ZERO, &mut save);
        let eager = most % 2 == 0;
        let crew = Crew { stop: Some(&stop), save: Some(save), eager, ..Crew::default() };
        let first = explore_split(&stopping, &config, crew);
        shorter += u32::from(first.predicted.len() < alone.predicted.len());
        let checkpoint = Checkpoint::parse(&text.into_inner(), &header).expect("what was saved can be read");
        let crew = Crew { resume: Some(checkpoint), threads: 1 + most as usize % 2, ..Crew::default() };
        assert_eq!(explore_split(&program, &config, crew).predicted, alone.predicted, "after {most} executions");
    }
    assert!(shorter > 3, "{shorter}: nothing was left to be learned");
}

#[test]
fn the_tasks_of_a_plan_predict_the_same_cycles_together_and_not_alone() {
    let config = Config::default();
    let alone = explore(program().as_ref(), &config, None, None);
    let plan = Plan::new(program().as_ref(), &config, 8);
    let results: Vec<_> = (0..plan.len())
        .map(|task| plan.explore(task, &program, &config, Crew::default()).expect("nobody stops it"))
        .collect();
    let mut all = Lessons::default();
    for result in &results {
        let read: Lessons = serde_json::from_str(&serde_json::to_string(&result.lessons).unwrap()).unwrap();
        assert_eq!(read, result.lessons);
        all.add(read);
    }
    let count = |lessons: &Lessons| lessons.predict().len();
    assert_eq!(count(&all), alone.predicted.len(), "{:#?}", cycles(&all.predict()));
    assert!(results.iter().any(|result| count(&result.lessons) < count(&all)));
}
