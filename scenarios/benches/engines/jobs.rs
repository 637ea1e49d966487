//! What is searched: every engine, model and way to search.

use crate::micro::{M1, M2, M3, M4, M5, M6, Micro, Shape};
use crate::search::{Budget, Form, Sample, Shuttle, loom, loom_can, ours, shuttle};
use interleave::{Sim, Strategy};
use scenarios::lang::{Design, parse};
use scenarios::world::ScenarioProgram;
use std::time::Duration;

/// The models, and how many distinct schedules each has: counted by hand and by three other checkers.
pub(crate) const MODELS: [(&str, Shape, u64); 6] =
    [("m1", M1, 14), ("m2", M2, 62), ("m3", M3, 318), ("m4", M4, 1_920), ("m5", M5, 13_440), ("m6", M6, 107_280)];

/// What tables call the real scenario, `set-attr-vs-partial-munmap`.
pub(crate) const SCENARIO: &str = "svm";
const SCENARIO_TEXT: &str = include_str!("../../corpus/unmap/set-attr-vs-partial-munmap.kdl");

pub(crate) const OURS: &str = "interleave";
pub(crate) const LOOM: &str = "loom";
pub(crate) const SHUTTLE: &str = "shuttle";

pub(crate) const REDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: true };
const UNREDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: false };
const BOUND_1: Strategy = Strategy::Exhaustive { preemptions: Some(1), reduction: true };

type Run = Box<dyn Fn(Budget) -> Sample>;
type RunSeed = Box<dyn Fn(u64, Budget) -> Sample>;

/// One engine on one model in one way.
pub(crate) struct Job<R = Run> {
    pub(crate) engine: &'static str,
    pub(crate) model: String,
    pub(crate) method: String,
    /// None: the engine cannot start it, for this reason.
    pub(crate) run: Result<R, &'static str>,
    /// For the search whose instructions are counted: None for all of it.
    pub(crate) executions: Option<u64>,
}

impl<R> Job<R> {
    fn new(engine: &'static str, model: &str, method: impl Into<String>, run: R) -> Self {
        Job { engine, model: model.into(), method: method.into(), run: Ok(run), executions: None }
    }

    fn executions(self, executions: u64) -> Self {
        Job { executions: Some(executions), ..self }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {} {}", self.engine, self.model, self.method)
    }
}

fn on_ours(model: &str, method: &str, shape: Shape, strategy: Strategy) -> Job {
    let run = move |budget| ours(&Micro::<Sim>::new(shape), strategy.clone(), budget);
    Job::new(OURS, model, method, Box::new(run))
}

fn on_loom(model: &str, shape: Shape, form: Form, bound: Option<usize>) -> Job {
    let form_name = if form == Form::Full { "full" } else { "lean" };
    let method = bound.map_or(form_name.to_string(), |bound| format!("{form_name}, bound {bound}"));
    let mut job: Job = Job::new(LOOM, model, method, Box::new(move |budget| loom(shape, form, bound, budget)));
    if !loom_can(shape, form) {
        job.run = Err("needs more than loom's 5 threads");
    }
    job
}

/// Searches that cover everything, or try to.
pub(crate) fn exhausting() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (model, shape, _) in MODELS {
        jobs.push(on_ours(model, "reduced", shape, REDUCED));
    }
    for (model, shape, _) in &MODELS[..3] {
        jobs.push(on_ours(model, "unreduced", *shape, UNREDUCED));
    }
    for (model, shape, _) in &MODELS[..2] {
        jobs.push(on_loom(model, *shape, Form::Full, None));
    }
    for (model, shape, _) in &MODELS[..3] {
        jobs.push(on_loom(model, *shape, Form::Lean, None));
    }
    jobs.push(on_loom("m6", M6, Form::Lean, None));
    let dfs = |budget| shuttle(M1, Shuttle::Dfs, budget);
    jobs.push(Job::new(SHUTTLE, "m1", "DFS", Box::new(dfs)));
    jobs
}

/// Searches that go on for as long as one lets them.
pub(crate) fn sampling() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (model, shape) in [("m1", M1), ("m3", M3)] {
        jobs.push(on_ours(model, "random", shape, Strategy::Random { seed: 1 }).executions(5_000));
        jobs.push(on_ours(model, "PCT d=3", shape, Strategy::Pct { seed: 1, depth: 3 }).executions(5_000));
        let random = move |budget| shuttle(shape, Shuttle::Random { seed: 1 }, budget);
        jobs.push(Job::new(SHUTTLE, model, "random", Box::new(random) as Run).executions(500));
        let pct = move |budget| shuttle(shape, Shuttle::Pct { seed: 1, depth: 3 }, budget);
        jobs.push(Job::new(SHUTTLE, model, "PCT d=3", Box::new(pct) as Run).executions(500));
    }
    jobs
}

/// Searches for the missing retry check that need no seed.
pub(crate) fn hunting() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (model, shape) in [("m1b", M1.buggy()), ("m2b", M2.buggy())] {
        jobs.push(on_ours(model, "reduced", shape, REDUCED));
        jobs.push(on_ours(model, "bound 1", shape, BOUND_1));
        for bound in [None, Some(1), Some(2), Some(3)] {
            jobs.push(on_loom(model, shape, Form::Full, bound));
        }
        jobs.push(on_loom(model, shape, Form::Lean, None));
    }
    jobs
}

/// Searches for it that start from a seed.
pub(crate) fn hunting_by_chance() -> Vec<Job<RunSeed>> {
    let mut jobs: Vec<Job<RunSeed>> = Vec::new();
    for (model, shape) in [("m1b", M1.buggy()), ("m2b", M2.buggy())] {
        for method in CHANCES {
            let by_us = move |seed, budget| ours(&Micro::<Sim>::new(shape), chance(method, seed), budget);
            jobs.push(Job::new(OURS, model, method, Box::new(by_us)));
        }
        for method in CHANCES {
            let by_shuttle = move |seed, budget| {
                let how = match chance(method, seed) {
                    Strategy::Pct { seed, depth } => Shuttle::Pct { seed, depth: depth as usize },
                    _ => Shuttle::Random { seed },
                };
                shuttle(shape, how, budget)
            };
            jobs.push(Job::new(SHUTTLE, model, method, Box::new(by_shuttle)));
        }
    }
    jobs
}

const CHANCES: [&str; 3] = ["random", "PCT d=2", "PCT d=3"];

fn chance(method: &str, seed: u64) -> Strategy {
    match method {
        "PCT d=2" => Strategy::Pct { seed, depth: 2 },
        "PCT d=3" => Strategy::Pct { seed, depth: 3 },
        _ => Strategy::Random { seed },
    }
}

fn scenario(design: Design) -> ScenarioProgram {
    let scenario = parse(SCENARIO, SCENARIO_TEXT).unwrap_or_else(|_| panic!("the scenario does not parse"));
    ScenarioProgram::new(&scenario, design)
}

/// The scenario under the design in which it holds.
pub(crate) fn scenario_exhausting() -> Job {
    let program = scenario(Design::Hardened);
    let run = move |budget| ours(&program, REDUCED, budget);
    Job::new(OURS, SCENARIO, "hardened, reduced", Box::new(run) as Run).executions(200)
}

/// The scenario under the design in which it does not.
pub(crate) fn scenario_hunting() -> Job {
    let program = scenario(Design::PocV1);
    Job::new(OURS, SCENARIO, "poc-v1, reduced", Box::new(move |budget| ours(&program, REDUCED, budget)))
}

/// The same by chance.
pub(crate) fn scenario_hunting_by_chance() -> Vec<Job<RunSeed>> {
    let job = |method| {
        let program = scenario(Design::PocV1);
        let run = move |seed, budget| ours(&program, chance(method, seed), budget);
        Job::new(OURS, SCENARIO, format!("poc-v1, {method}"), Box::new(run) as RunSeed)
    };
    CHANCES.map(job).into()
}

/// Searches whose instructions are counted. Small: they run under valgrind, some fifty times slower.
pub(crate) fn counted() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (model, shape, _) in &MODELS[..4] {
        jobs.push(on_ours(model, "reduced", *shape, REDUCED));
    }
    for (model, shape, _) in &MODELS[..3] {
        jobs.push(on_ours(model, "unreduced", *shape, UNREDUCED));
    }
    for (model, shape, _) in &MODELS[..2] {
        jobs.push(on_loom(model, *shape, Form::Full, None).executions(200));
        jobs.push(on_loom(model, *shape, Form::Lean, None).executions(150));
    }
    jobs.extend(sampling().into_iter().map(|job| {
        let executions = if job.engine == OURS { 1_000 } else { 200 };
        job.executions(executions)
    }));
    jobs.push(scenario_exhausting());
    jobs
}

/// Long enough not to matter.
pub(crate) const FOREVER: Duration = Duration::from_secs(3_600);
