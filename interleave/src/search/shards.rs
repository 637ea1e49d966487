//! The same search cut into parts that need not talk to each other, for machines that do not.
//!
//! The top of the tree is laid out before anything is explored: at each place there *everybody* who can run and is not
//! asleep is tried, so that no race further down can want anything there that is not planned already. Sleep sets alone
//! keep that from exploring anything twice. The plan depends on the program and the configuration only; every machine
//! makes it anew and takes its tasks from it. What it costs is executions that are cut, because what is asleep is found
//! out later than it would be wanted.

use super::crew::{Crew, run};
use super::segment::Segment;
use super::tree::Tree;
use crate::engine::clock::mix;
use crate::engine::exec::with;
use crate::engine::frame::Frame;
use crate::engine::op::Kind;
use crate::engine::part::Place;
use crate::explore::{Config, End, Failure, Program, Stats, Strategy, chooser, prepare, run_once};
use crate::lockdep::Lessons;
use serde::{Deserialize, Serialize};

/// Places looked at for a plan, at most: a program whose executions are short has no more tasks, however many are asked
/// for.
const MOST_LOOKS: usize = 10_000;

/// What has to be explored, task by task, in depth-first order.
pub struct Plan {
    tasks: Vec<Task>,
}

#[derive(Clone)]
struct Task {
    /// The last place is cut to one actor.
    frames: Vec<Frame>,
    /// Whether the value of the program's choice at the last place is cut too.
    fixed: bool,
    /// Whether it can be cut further.
    open: bool,
}

/// How a task ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskEnd {
    /// Everything was covered.
    Exhausted,
    /// An invariant fell.
    Violated,
}

/// What came of a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskResult {
    /// Its number in the plan, from 0.
    pub task: usize,
    /// How it ended.
    pub end: TaskEnd,
    /// How much was explored.
    pub stats: Stats,
    /// The first violation in depth-first order.
    pub failure: Option<Failure>,
    /// The happens-before classes seen, when counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<(u64, bool)>,
    /// What was learned about locks. All tasks together predict ([`Lessons::predict`]) what one search would, though
    /// perhaps from other executions.
    pub lessons: Lessons,
}

impl Plan {
    /// Whether a search can be planned: exhaustive, reduced, without bound and limit.
    pub fn is_possible(config: &Config) -> bool {
        matches!(config.strategy, Strategy::Exhaustive { preemptions: None, reduction: true })
            && config.limits.executions.is_none()
    }

    /// Cuts the search into `at_least` tasks, or as many as there are.
    ///
    /// # Panics
    /// The search cannot be planned ([`Plan::is_possible`]).
    pub fn new(program: &dyn Program, config: &Config, at_least: usize) -> Plan {
        assert!(Plan::is_possible(config), "only an exhaustive search under reduction can be planned");
        let mut tasks = vec![Task { frames: Vec::new(), fixed: false, open: true }];
        let mut looks = 0;
        while tasks.len() < at_least && looks < MOST_LOOKS {
            let open = tasks.iter().enumerate().filter(|(_, task)| task.open);
            let Some((at, _)) = open.min_by_key(|(_, task)| task.frames.len()) else { break };
            looks += 1;
            let parts = tasks[at].cut(program, config);
            tasks.splice(at..=at, parts);
        }
        Plan { tasks }
    }

    /// How many tasks there are; never 0.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Names the plan: two machines with the same number mean the same tasks.
    pub fn hash(&self) -> u64 {
        self.tasks.iter().fold(self.tasks.len() as u64, |hash, task| {
            let path = task.frames.iter().fold(mix(hash, task.frames.len() as u64), |hash, frame| {
                mix(hash, u64::from(frame.actor) | u64::from(frame.value) << 8 | u64::from(frame.sleep) << 32)
            });
            mix(path, u64::from(task.fixed))
        })
    }

    /// Explores task `task`; None if it was stopped. `crew.resume` is not looked at.
    ///
    /// # Panics
    /// There is no such task.
    pub fn explore(
        &self,
        task: usize,
        program: &(dyn Fn() -> Box<dyn Program> + Sync),
        config: &Config,
        crew: Crew<'_>,
    ) -> Option<TaskResult> {
        let (outcome, escapes, lessons) = run(program, config, Tree::new(self.tasks[task].segment()), crew);
        assert!(escapes.is_empty(), "task {task} wants something tried that no task has: {escapes:?}");
        let end = match outcome.end {
            End::Exhausted => TaskEnd::Exhausted,
            End::Violated => TaskEnd::Violated,
            End::LimitReached | End::Interrupted => return None,
        };
        Some(TaskResult {
            task,
            end,
            stats: outcome.stats,
            failure: outcome.failure,
            classes: outcome.classes,
            lessons,
        })
    }
}

impl Task {
    fn segment(&self) -> Segment {
        let mut segment = Segment::below(self.frames.clone());
        if self.fixed {
            segment.stop = segment.own;
        }
        segment
    }

    /// The tasks that together are this one: itself if it cannot be cut, none if siblings cover it.
    fn cut(&self, program: &dyn Program, config: &Config) -> Vec<Task> {
        let length = self.frames.len();
        prepare(config, chooser(&config.strategy));
        with(|exec| {
            exec.frames = self.frames.clone();
            exec.replayed = length;
            exec.part.own = length;
            exec.part.look = length;
        });
        run_once(program);
        let (seen, frames) = with(|exec| (exec.part.seen, exec.frames.get(..length).map(<[Frame]>::to_vec)));
        let whole = || vec![Task { open: false, ..self.clone() }];
        // A path that ends before this place, or cannot go on, or only as a last resort.
        let (Some(Place { runnable, sleep, alone }), Some(frames)) = (seen, frames) else { return whole() };
        if let Some(last) = frames.last()
            && last.op.kind == Kind::Choose
            && !self.fixed
        {
            let values = 0..last.op.arg() as u8;
            let fixed = values.map(|value| {
                let mut frames = frames.clone();
                frames[length - 1].value = value;
                Task { frames, fixed: true, open: true }
            });
            return fixed.collect();
        }
        let available = runnable & !sleep;
        if available == 0 {
            return Vec::new();
        }
        // What depends on nothing can as well go first, and alone: it would sleep for ever.
        let wanted = match available & alone {
            0 => available,
            alone => alone & alone.wrapping_neg(),
        };
        let mut place = Frame::default();
        place.actor = wanted.trailing_zeros() as u8;
        place.begin(runnable, sleep, place.actor);
        place.want_all(wanted);
        let child = |nth| {
            let mut frames = frames.clone();
            frames.push(place.only(nth));
            Task { frames, fixed: false, open: true }
        };
        (0..=place.untried()).map(child).collect()
    }
}
