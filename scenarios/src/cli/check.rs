//! `svmlab check`: scenarios to designs, verdicts to the reader, traces to files.

use super::args::CheckArgs;
use super::progress::Progress;
use super::select::select;
use super::terminal::Terminal;
use super::{BadInput, FINE, INTERRUPTED, VIOLATION};
use crate::lang::{Answer, Design, Scenario};
use crate::report::{Page, ResultJson, Row, Story, reached_text, story, summary};
use crate::run::{CheckOptions, CheckResult, CheckVerdict, Finding, check_scenario};
use interleave::Stats;
use model::platform::Plant;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// The scenario whose race is told when the whole corpus is checked: the one the README speaks of.
const EXAMPLE: &str = "set-attr-vs-partial-munmap";

/// One scenario to one design.
#[derive(Clone, Copy)]
struct Job<'a> {
    scenario: &'a Scenario,
    design: Design,
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.scenario.name, self.design)
    }
    fn expected(&self) -> Option<&Answer> {
        self.scenario.verdict(self.design).map(|v| &v.answer)
    }
}

/// A job with what came of it.
struct Done<'a> {
    job: Job<'a>,
    result: Option<CheckResult>,
    /// None: there is nothing to compare, or nothing to compare with.
    as_expected: Option<bool>,
    /// Path of the trace.
    trace: Option<String>,
    /// Whether the story was told already.
    told: bool,
}

/// Runs it; the exit code.
pub(super) fn check(args: &CheckArgs, terminal: &Terminal, stop: &Arc<AtomicBool>) -> Result<u8, BadInput> {
    if args.preemptions.is_some() && args.strategy.is_some() && !args.explore().strategy.ends() {
        return Err(BadInput::new(
            "--preemptions means nothing to a random search: it bounds searches that cover everything",
        ));
    }
    let scenarios = select(&args.what, terminal)?;
    let options =
        CheckOptions { explore: args.explore(), strategy_given: args.strategy.is_some(), plants: args.plant.clone() };
    let jobs = jobs(&scenarios, &args.design);
    let progress = Arc::new(Progress::new(terminal, jobs.len()));
    let page = terminal.page(args.full);
    let began = Instant::now();

    let mut done: Vec<Done<'_>> = Vec::new();
    let mut trouble: Option<BadInput> = None;
    let workers = args.jobs.or(std::thread::available_parallelism().ok()).map_or(1, usize::from);
    run_in_order(&jobs, workers, &options, stop, &progress, |job, result| {
        progress.clear();
        let mut one = Done { as_expected: None, trace: None, told: false, result, job };
        if let Some(result) = &one.result {
            // an interrupted search has not answered yet, and a planted bug is not what the scenario asks about
            if args.plant.is_empty() && !matches!(result.verdict, CheckVerdict::Interrupted) {
                one.as_expected = one.job.expected().map(|answer| result.verdict.is_expected(answer));
            }
            if let CheckVerdict::Violated(finding) = &result.verdict {
                match save(&args.traces, &one.job, &args.plant, finding) {
                    Ok(path) => one.trace = Some(path),
                    Err(why) => trouble = Some(why),
                }
                // Whoever asks for one thing wants to see it; of a whole corpus what nobody expected, and one example.
                if !args.json && (asked_for(args, &one.job) || one.as_expected == Some(false)) {
                    one.told = true;
                    terminal.print(&format!("{}\n", tell(&one, result, finding, &args.plant, &page)));
                }
            }
        }
        // A deadlock that nobody expected is told whatever else was found.
        let surprising = one.as_expected != Some(true) || asked_for(args, &one.job);
        if let Some(result) = one.result.as_ref().filter(|r| !args.json && !r.predicted.is_empty() && surprising) {
            terminal.print(&format!("{}\n", predictions(&one.job, result)));
        }
        done.push(one);
    });
    progress.clear();

    terminal.print(&if args.json { json(&done, args.full) } else { table(&done, &page) });
    if terminal.is_watched() {
        terminal.complain(&format!("{:.1} s\n", began.elapsed().as_secs_f64()));
    }
    match trouble {
        Some(why) => Err(why),
        None => Ok(exit_code(&done, !args.design.is_empty() || !args.plant.is_empty(), stop)),
    }
}

/// Whether the user named what is to be told.
fn asked_for(args: &CheckArgs, job: &Job<'_>) -> bool {
    let named = !args.what.is_empty() || !args.design.is_empty() || !args.plant.is_empty();
    named || job.scenario.name == EXAMPLE
}

fn exit_code(done: &[Done<'_>], one_design: bool, stop: &AtomicBool) -> u8 {
    let violated = |d: &Done<'_>| {
        let verdict = d.result.as_ref().map(|r| &r.verdict);
        matches!(verdict, Some(CheckVerdict::Violated(_) | CheckVerdict::Predicted { .. }))
    };
    // Where the scenario says what must come out, that is what counts; unless one design was asked for.
    let wrong = |d: &Done<'_>| match d.as_expected {
        Some(as_expected) if !one_design => !as_expected,
        _ => violated(d),
    };
    let wrong = done.iter().any(wrong);
    if stop.load(Ordering::SeqCst) {
        INTERRUPTED
    } else if wrong {
        VIOLATION
    } else {
        FINE
    }
}

/// Which designs each scenario is put to: those the user names, else those it has a verdict for, else all.
fn jobs<'a>(scenarios: &'a [Scenario], designs: &[Design]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for scenario in scenarios {
        let said: Vec<Design> = Design::ALL
            .iter()
            .copied()
            .filter(|d| scenario.verdicts.is_empty() || scenario.verdict(*d).is_some())
            .collect();
        let of_this = if designs.is_empty() { &said } else { designs };
        for (i, design) in of_this.iter().enumerate() {
            if !of_this[..i].contains(design) {
                jobs.push(Job { scenario, design: *design });
            }
        }
    }
    jobs
}

/// Runs all jobs on `workers` threads and hands the results to `finished` in the order of `jobs`, each as soon as it
/// and all before it are there. A job is one thread's alone, so the number of threads changes no result.
fn run_in_order<'a>(
    jobs: &[Job<'a>],
    workers: usize,
    options: &CheckOptions,
    stop: &Arc<AtomicBool>,
    progress: &Arc<Progress>,
    mut finished: impl FnMut(Job<'a>, Option<CheckResult>),
) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..workers.min(jobs.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((i, job)) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|i| Some((i, jobs.get(i)?)))
                {
                    let result = (!stop.load(Ordering::SeqCst)).then(|| run(job, options, stop, progress));
                    progress.done(&job.name());
                    if sender.send((i, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Option<Option<CheckResult>>> = jobs.iter().map(|_| None).collect();
        let mut reported = 0;
        for (i, result) in results {
            waiting[i] = Some(result);
            while let Some(result) = waiting.get_mut(reported).and_then(Option::take) {
                finished(jobs[reported], result);
                reported += 1;
            }
        }
    });
}

fn run(job: &Job<'_>, options: &CheckOptions, stop: &Arc<AtomicBool>, progress: &Arc<Progress>) -> CheckResult {
    let watch = progress.is_watched().then(|| {
        let (progress, name) = (Arc::clone(progress), job.name());
        Box::new(move |stats: &Stats| progress.tell(&name, stats.executions)) as Box<dyn FnMut(&Stats)>
    });
    check_scenario(job.scenario, job.design, options, stop, watch)
}

/// Writes the trace of a finding; its path.
fn save(dir: &Path, job: &Job<'_>, plants: &[Plant], finding: &Finding) -> Result<String, BadInput> {
    let mut name = format!("{}.{}", job.scenario.name, job.design);
    for plant in plants {
        name += &format!(".{}", plant.name());
    }
    let path = dir.join(name + ".trace");
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, finding.trace.to_text()))
        .map_err(|e| BadInput::new(format!("{}: {e}", path.display())))?;
    Ok(path.display().to_string())
}

/// The deadlocks that the order of locks predicts.
fn predictions(job: &Job<'_>, result: &CheckResult) -> String {
    let reached = match result.verdict {
        CheckVerdict::Predicted { exhausted: true } => "; every execution of this scenario stays clear of it",
        CheckVerdict::Predicted { exhausted: false } => "; no execution so far has it",
        _ => "",
    };
    let mut out = format!("{}: violates I8, predicted from the order in which locks are taken{reached}\n", job.name());
    for report in &result.predicted {
        out += &format!("\n{report}\n");
    }
    out
}

fn tell(done: &Done<'_>, result: &CheckResult, finding: &Finding, plants: &[Plant], page: &Page) -> String {
    let switches = |n: u32| format!("{n} context switch{}", if n == 1 { "" } else { "es" });
    let mut found =
        format!("in execution {}, with {}", result.stats.executions, switches(finding.switches_before_shrinking));
    if finding.failure.context_switches < finding.switches_before_shrinking {
        found += &format!("; shrunk to {}", switches(finding.failure.context_switches));
    }
    let plants: Vec<String> = done.job.scenario.plants.iter().chain(plants).map(|p| p.name().to_owned()).collect();
    story(
        &Story {
            scenario: done.job.scenario,
            design: done.job.design,
            plants: &plants,
            timeline: &finding.timeline,
            found,
            trace: done.trace.as_deref(),
        },
        page,
    )
}

fn table(done: &[Done<'_>], page: &Page) -> String {
    let rows: Vec<Row<'_>> = done
        .iter()
        .map(|d| Row {
            scenario: &d.job.scenario.name,
            design: d.job.design,
            result: d.result.as_ref(),
            expected: d.job.expected(),
            as_expected: d.as_expected,
        })
        .collect();
    let mut out = summary(&rows, page);
    for d in done {
        for said in d.result.iter().flat_map(reached_text) {
            out += &format!("{}: {said}\n", d.job.name());
        }
    }
    for d in done {
        // a story ends with this line
        if let Some(trace) = d.trace.as_ref().filter(|_| !d.told) {
            out += &format!("replay with: svmlab replay {trace}\n");
        }
    }
    out
}

fn json(done: &[Done<'_>], full: bool) -> String {
    let results: Vec<ResultJson> = done
        .iter()
        .map(|d| {
            let (result, expected) = (d.result.as_ref(), d.job.expected());
            ResultJson::new(&d.job.scenario.name, d.job.design, result, expected, d.as_expected, d.trace.clone(), full)
        })
        .collect();
    super::list::to_json(&serde_json::json!({ "results": results }))
}
