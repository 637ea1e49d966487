//! Runs the jobs, all of them in each round, so that whatever slows the machine down meets every engine.

use crate::instructions::{Instructions, Valgrind};
use crate::jobs::{self, FOREVER, Job, MODELS, OURS, SCENARIO, SHUTTLE};
use crate::micro::Micro;
use crate::report::{BugRow, SamplingRow, SearchRow, Spread, median};
use crate::search::{Budget, Ended, Sample, distinct};
use cpu_time::ThreadTime;
use interleave::Sim;
use std::collections::BTreeMap;
use std::time::Duration;

/// How much time is spent.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Least time a job gets in a round, by repetition.
    pub(crate) slice: Duration,
    /// Most time for one search.
    pub(crate) cap: Duration,
    /// Most time for one search by chance.
    pub(crate) chance_cap: Duration,
    /// Most time for the real scenario to exhaustion.
    pub(crate) scenario_cap: Duration,
    /// Searches by chance of each kind.
    pub(crate) seeds: u64,
}

/// What a job did in one round.
#[derive(Clone, Copy)]
struct Round {
    searches: f64,
    executions: f64,
    operations: f64,
    nanos: f64,
    ended: Ended,
}

fn round(run: &dyn Fn(Budget) -> Sample, budget: Budget, slice: Duration) -> Round {
    let mut sum = Round { searches: 0.0, executions: 0.0, operations: 0.0, nanos: 0.0, ended: Ended::Exhausted };
    let clock = ThreadTime::now();
    while sum.searches == 0.0 || clock.elapsed() < slice {
        let sample = run(budget);
        sum.searches += 1.0;
        sum.executions += sample.executions as f64;
        sum.operations += sample.operations as f64;
        sum.nanos += sample.time.as_nanos() as f64;
        sum.ended = sample.ended;
    }
    sum
}

/// All rounds of all jobs that can start. A search that takes long is done once.
fn rounds(jobs: &[Job], plan: &Plan, slice: Duration, cap: Duration) -> Vec<Vec<Round>> {
    let mut all: Vec<Vec<Round>> = jobs.iter().map(|_| Vec::new()).collect();
    for number in 0..plan.rounds {
        for (job, its) in jobs.iter().zip(&mut all) {
            let Ok(run) = &job.run else { continue };
            if number > 0 && its[0].nanos / its[0].searches > 1e9 {
                continue;
            }
            tell(&format!("round {} of {}: {}", number + 1, plan.rounds, job.name()));
            its.push(round(run, Budget { time: cap, executions: job.executions }, slice));
        }
    }
    all
}

fn over(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(value).collect())
}

/// Says what is going on, on a line that the next one replaces.
pub(crate) fn tell(what: &str) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{what}");
    }
}

/// Covers everything, or tries to.
pub(crate) fn exhaust(plan: &Plan, valgrind: &Valgrind) -> Vec<SearchRow> {
    let mut all: Vec<SearchRow> = Vec::new();
    let mut jobs = jobs::exhausting();
    let mut rounds_of = rounds(&jobs, plan, plan.slice, plan.cap);
    // The scenario once: it is long, and its budget is its own. Not cut short as under valgrind.
    let scenario = Job { executions: None, ..jobs::scenario_exhausting() };
    let once = Plan { rounds: 1, ..*plan };
    rounds_of.append(&mut rounds(std::slice::from_ref(&scenario), &once, Duration::ZERO, plan.scenario_cap));
    jobs.push(scenario);
    for (job, rounds) in jobs.iter().zip(&rounds_of) {
        let minimum = MODELS.iter().find(|(name, ..)| *name == job.model).map(|(.., minimum)| *minimum);
        let cap = if job.model == SCENARIO { plan.scenario_cap } else { plan.cap };
        let unfinished = match &job.run {
            Err(why) => Some((*why).to_string()),
            Ok(_) if rounds[0].ended == Ended::Stopped => Some(format!("not finished in {} s", cap.as_secs())),
            Ok(_) => {
                assert_eq!(rounds[0].ended, Ended::Exhausted, "{} has no bug", job.name());
                None
            }
        };
        let executions = over(rounds, |r| r.executions / r.searches);
        let instructions = valgrind.of(&job.name());
        all.push(SearchRow {
            engine: job.engine.into(),
            model: job.model.clone(),
            method: job.method.clone(),
            distinct: None,
            over_minimum: minimum.filter(|_| unfinished.is_none()).map(|minimum| executions / minimum as f64),
            unfinished,
            executions: executions as u64,
            us_per_execution: over(rounds, |r| r.nanos / r.executions / 1e3),
            ns_per_event: over(rounds, |r| r.nanos / r.operations),
            instructions_per_event: instructions.map(Instructions::per_operation),
            instructions_per_execution: instructions.map(Instructions::per_execution),
            seconds: over(rounds, |r| r.nanos / r.searches / 1e9),
        });
    }
    // Engines beside each other; the sort is stable.
    all.sort_by_key(|row| MODELS.iter().position(|(name, ..)| *name == row.model).unwrap_or(usize::MAX));
    for (model, shape, _) in MODELS {
        tell(&format!("counting the distinct schedules of {model}"));
        let counted = distinct(&Micro::<Sim>::new(shape));
        for row in all.iter_mut().filter(|row| row.engine == OURS && row.model == model) {
            row.distinct = Some(counted);
        }
    }
    all
}

/// Searches by chance, for their speed.
pub(crate) fn sampling(plan: &Plan, valgrind: &Valgrind) -> Vec<SamplingRow> {
    let jobs = jobs::sampling();
    let all = rounds(&jobs, plan, plan.slice, FOREVER);
    let rate = |r: &Round| r.executions / r.nanos * 1e9;
    let shuttles: BTreeMap<(&str, &str), &Vec<Round>> = (jobs.iter().zip(&all))
        .filter(|(job, _)| job.engine == SHUTTLE)
        .map(|(job, rounds)| ((job.model.as_str(), job.method.as_str()), rounds))
        .collect();
    let row = |(job, rounds): (&Job, &Vec<Round>)| {
        let theirs = shuttles[&(job.model.as_str(), job.method.as_str())];
        let ratios = rounds.iter().zip(theirs).map(|(ours, theirs)| rate(ours) / rate(theirs));
        SamplingRow {
            engine: job.engine.into(),
            model: job.model.clone(),
            method: job.method.clone(),
            executions_per_second: over(rounds, rate),
            ns_per_event: over(rounds, |r| r.nanos / r.operations),
            instructions_per_event: valgrind.of(&job.name()).map(Instructions::per_operation),
            over_shuttle: (job.engine != SHUTTLE).then(|| median(ratios.collect())),
        }
    };
    jobs.iter().zip(&all).map(row).collect()
}

/// Looks for the bugs.
pub(crate) fn hunt(plan: &Plan) -> Vec<BugRow> {
    let budget = Budget { time: plan.cap, executions: None };
    let short = Budget { time: plan.chance_cap, executions: None };
    let mut rows = Vec::new();
    let mut scenario = vec![jobs::scenario_hunting()];
    let mut jobs = jobs::hunting();
    jobs.append(&mut scenario);
    for job in &jobs {
        let Ok(run) = &job.run else { continue };
        tell(&format!("looking for the bug: {}", job.name()));
        let mut samples = vec![run(budget)];
        while samples.len() < plan.rounds && samples[0].time < Duration::from_secs(1) {
            samples.push(run(budget));
        }
        rows.push(bug_row(job, &samples, 1));
    }
    let mut by_chance = jobs::hunting_by_chance();
    by_chance.append(&mut jobs::scenario_hunting_by_chance());
    for job in &by_chance {
        let Ok(run) = &job.run else { continue };
        tell(&format!("looking for the bug, {} times: {}", plan.seeds, job.name()));
        let samples: Vec<Sample> = (0..plan.seeds).map(|seed| run(seed, short)).collect();
        rows.push(bug_row(job, &samples, samples.len()));
    }
    rows.sort_by_key(|row| (row.model == SCENARIO, row.model.clone()));
    rows
}

/// `different`: how many of the searches are not repetitions.
fn bug_row<R>(job: &Job<R>, samples: &[Sample], different: usize) -> BugRow {
    let found: Vec<&Sample> = samples.iter().filter(|sample| sample.ended == Ended::Found).collect();
    let missed = samples.iter().find_map(|sample| match sample.ended {
        Ended::Found => None,
        Ended::Exhausted => Some(format!("reports success after {} executions", sample.executions)),
        Ended::Stopped => Some(format!("not in {} executions", sample.executions)),
    });
    let mut executions: Vec<u64> = found.iter().map(|sample| sample.executions).collect();
    executions.sort_unstable();
    let spread = |executions: &[u64]| Spread {
        median: executions[executions.len() / 2],
        least: executions[0],
        most: executions[executions.len() - 1],
    };
    BugRow {
        engine: job.engine.into(),
        model: job.model.clone(),
        method: job.method.clone(),
        found: found.len().min(different),
        searches: different,
        missed,
        executions: (!executions.is_empty()).then(|| spread(&executions)),
        seconds: (!found.is_empty()).then(|| median(found.iter().map(|sample| sample.time.as_secs_f64()).collect())),
    }
}
