//! `svmlab check`: scenarios to designs, verdicts to the reader, traces to files.

use super::args::{CheckArgs, EngineArg};
use super::long::Long;
use super::progress::Progress;
use super::select::select;
use super::terminal::Terminal;
use super::{BadInput, FINE, INTERRUPTED, VIOLATION};
use crate::lang::{Answer, Design, Scenario};
use crate::minimise::Minimal;
use crate::report::{Page, ResultJson, Row, Story, reached_text, story, summary};
use crate::run::{
    CheckOptions, CheckResult, CheckVerdict, Finding, Minimised, Question, check_by_crew, check_scenario,
};
use interleave::Stats;
use interleave::search::{Crew, can_be_split};
use model::platform::Plant;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// The scenario whose race is told when the whole corpus is checked: the one the README speaks of.
const EXAMPLE: &str = "set-attr-vs-partial-munmap";

/// One scenario to one design.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) design: Design,
}

impl Job<'_> {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.scenario.name, self.design)
    }
    pub(super) fn expected(&self) -> Option<&Answer> {
        self.scenario.verdict(self.design).map(|v| &v.answer)
    }
}

/// A job with what came of it.
pub(super) struct Done<'a> {
    pub(super) job: Job<'a>,
    pub(super) result: Option<CheckResult>,
    /// None: there is nothing to compare, or nothing to compare with.
    pub(super) as_expected: Option<bool>,
    /// Where the finding was saved.
    pub(super) saved: Option<Saved>,
    /// Whether the story was told already.
    pub(super) told: bool,
}

/// Paths of what was saved of a finding.
pub(super) struct Saved {
    trace: String,
    /// Of the scenario made smaller: its text and its trace.
    minimal: Option<(String, String)>,
}

/// Runs it; the exit code.
pub(super) fn check(args: &CheckArgs, terminal: &Terminal, stop: &Arc<AtomicBool>) -> Result<u8, BadInput> {
    if args.engine == EngineArg::Loom {
        return super::loom::check(args, terminal, stop);
    }
    if args.preemptions.is_some() && args.strategy.is_some() && !args.explore().strategy.ends() {
        return Err(BadInput::new(
            "--preemptions means nothing to a random search: it bounds searches that cover everything",
        ));
    }
    let mut scenarios =
        if args.what.is_empty() && args.generated > 0 { Vec::new() } else { select(&args.what, terminal)? };
    scenarios.extend((0..args.generated).map(crate::generate::generated));
    let options = CheckOptions {
        explore: args.explore(),
        strategy_given: args.strategy.is_some(),
        plants: args.plant.clone(),
        minimise: args.minimise,
    };
    let jobs = jobs(&scenarios, &args.design)?;
    let long = Long::new(args, &jobs, &options)?;
    let progress = Arc::new(Progress::new(terminal, jobs.len()));
    let page = terminal.page(args.full);
    let began = Instant::now();

    let mut done: Vec<Done<'_>> = Vec::new();
    let mut trouble: Option<BadInput> = None;
    let search = |i: usize, job: &Job<'_>| run_long(i, job, &options, &long, stop, &progress);
    run_in_order(&jobs, args.workers(), stop, &progress, search, |job, result| {
        progress.clear();
        let mut one = Done { as_expected: None, saved: None, told: false, result, job };
        if let Some(result) = &one.result {
            // an interrupted search has not answered yet, and a planted bug is not what the scenario asks about
            if args.plant.is_empty() && !matches!(result.verdict, CheckVerdict::Interrupted) {
                one.as_expected = one.job.expected().map(|answer| result.verdict.is_expected(answer));
            }
            if let CheckVerdict::Violated(finding) = &result.verdict {
                match save(&args.traces, &one.job, &args.plant, finding) {
                    // a summary does not say where
                    Ok(saved) => one.saved = (!args.summary).then_some(saved),
                    Err(why) => trouble = Some(why),
                }
                // Whoever asks for one thing wants to see it; of a whole corpus what nobody expected, and one example.
                if !args.json && !args.summary && (asked_for(args, &one.job) || one.as_expected == Some(false)) {
                    one.told = true;
                    terminal.print(&format!("{}\n", tell(&one, result, finding, &args.plant, &page)));
                }
            }
        }
        // A deadlock that nobody expected is told whatever else was found.
        let surprising = one.as_expected != Some(true) || asked_for(args, &one.job);
        if let Some(result) =
            one.result.as_ref().filter(|r| !args.json && !args.summary && !r.predicted.is_empty() && surprising)
        {
            match predictions(
                &one.job,
                result,
                &args.plant,
                &Question::new(one.job.scenario, one.job.design, &options),
                &args.traces,
            ) {
                Ok(told) => terminal.print(&format!("{told}\n")),
                Err(why) => trouble = Some(why),
            }
        }
        done.push(one);
    });
    progress.clear();

    terminal.print(&if args.json { json(&done, args.full) } else { table(&done, &page) });
    if terminal.is_watched() {
        terminal.complain(&format!("{:.1} s\n", began.elapsed().as_secs_f64()));
    }
    match trouble.or_else(|| long.trouble()) {
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

/// Which designs each scenario is put to: those the user names, else those it has a verdict for, else all; but no design
/// that the scenario's machine or calls rule out ([`Scenario::refusal`]).
pub(super) fn jobs<'a>(scenarios: &'a [Scenario], designs: &[Design]) -> Result<Vec<Job<'a>>, BadInput> {
    let (mut jobs, mut refused) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        let said: Vec<Design> = Design::ALL
            .iter()
            .copied()
            .filter(|d| scenario.verdicts.is_empty() || scenario.verdict(*d).is_some())
            .collect();
        let of_this = if designs.is_empty() { &said } else { designs };
        for (i, design) in of_this.iter().enumerate() {
            match scenario.refusal(*design) {
                Some(why) => refused.push(format!("{} cannot be put to {design}: {why}", scenario.name)),
                None if !of_this[..i].contains(design) => jobs.push(Job { scenario, design: *design }),
                None => {}
            }
        }
    }
    match refused.first() {
        Some(why) if jobs.is_empty() => Err(BadInput::new(why)),
        _ => Ok(jobs),
    }
}

/// Runs all jobs on `workers` threads and hands the results to `finished` in the order of `jobs`, each as soon as it
/// and all before it are there. A job is one thread's alone, so the number of threads changes no result.
pub(super) fn run_in_order<'a, R: Send>(
    jobs: &[Job<'a>],
    workers: usize,
    stop: &AtomicBool,
    progress: &Progress,
    run: impl Fn(usize, &Job<'a>) -> R + Sync,
    mut finished: impl FnMut(Job<'a>, Option<R>),
) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..workers.min(jobs.len()) {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                while let Some((i, job)) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|i| Some((i, jobs.get(i)?)))
                {
                    let result = (!stop.load(Ordering::SeqCst)).then(|| run(i, job));
                    progress.done(&job.name());
                    if sender.send((i, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Option<Option<R>>> = jobs.iter().map(|_| None).collect();
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

/// The controlled scheduler's answer to a job.
pub(super) fn run(
    job: &Job<'_>,
    options: &CheckOptions,
    stop: &Arc<AtomicBool>,
    progress: &Arc<Progress>,
) -> CheckResult {
    let watch = progress.is_watched().then(|| {
        let (progress, name) = (Arc::clone(progress), job.name());
        Box::new(move |stats: &Stats| progress.tell_count(&name, stats.executions)) as Box<dyn FnMut(&Stats)>
    });
    check_scenario(job.scenario, job.design, options, stop, watch)
}

/// The same, over threads and in parts when that is asked for.
fn run_long(
    nth: usize,
    job: &Job<'_>,
    options: &CheckOptions,
    long: &Long,
    stop: &Arc<AtomicBool>,
    progress: &Arc<Progress>,
) -> CheckResult {
    let question = Question::new(job.scenario, job.design, options);
    let exhaustive = can_be_split(&question.search().strategy);
    if !exhaustive || !(long.is_asked_for() || progress.is_watched()) {
        return run(job, options, stop, progress);
    }
    let name = job.name();
    let mut watch = |survey: &_| progress.tell(&name, survey);
    let mut save = |checkpoint: &_| long.save(nth, checkpoint);
    let crew = Crew {
        threads: long.threads(),
        stop: Some(stop),
        resume: long.resume(nth),
        save: long.pace().map(|pace| (pace, &mut save as &mut dyn FnMut(&_))),
        watch: progress.is_watched().then_some((Duration::from_millis(200), &mut watch as &mut dyn FnMut(&_))),
        eager: false,
    };
    check_by_crew(&question, crew)
}

/// Writes the trace of a finding, and what it was made smaller to.
pub(super) fn save(dir: &Path, job: &Job<'_>, plants: &[Plant], finding: &Finding) -> Result<Saved, BadInput> {
    let write = |end: &str, text: &str| write(dir, job, plants, end, text);
    let trace = write("trace", &finding.trace.to_text())?;
    let minimal = match &finding.minimal {
        Some(small) => {
            let text = &small.minimal.scenario.source.text;
            Some((write("min.kdl", text)?, write("min.trace", &small.trace.to_text())?))
        }
        None => None,
    };
    Ok(Saved { trace, minimal })
}

/// Writes a file that is named after the search and ends with `end`; its path.
pub(super) fn write(dir: &Path, job: &Job<'_>, plants: &[Plant], end: &str, text: &str) -> Result<String, BadInput> {
    let mut name = format!("{}.{}", job.scenario.name, job.design);
    for plant in plants {
        name += &format!(".{}", plant.name());
    }
    let path = dir.join(format!("{name}.{end}"));
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|e| BadInput::new(format!("{}: {e}", path.display())))?;
    Ok(path.display().to_string())
}

fn switches(n: u32) -> String {
    format!("{n} context switch{}", if n == 1 { "" } else { "es" })
}

/// The token with what `svmlab replay` needs beside it.
fn token(job: &Job<'_>, finding: &Finding) -> String {
    let path = &job.scenario.source.path;
    let comes_with_svmlab = super::corpus::corpus().iter().any(|(_, text)| *text == &*job.scenario.source.text);
    let file = if comes_with_svmlab { String::new() } else { format!(" --scenario {path}") };
    format!("{}{file}", finding.token.to_text())
}

/// The deadlocks that the order of locks predicts, with the traces that show where they come from, which are saved.
pub(super) fn predictions(
    job: &Job<'_>,
    result: &CheckResult,
    plants: &[Plant],
    question: &Question<'_>,
    dir: &Path,
) -> Result<String, BadInput> {
    let reached = match result.verdict {
        CheckVerdict::Predicted { exhausted: true } => "; every execution of this scenario stays clear of it",
        CheckVerdict::Predicted { exhausted: false } => "; no execution so far has it",
        _ => "",
    };
    let mut out = format!("{}: violates I8, predicted from the order in which locks are taken{reached}\n", job.name());
    for (nth, report) in result.predicted.iter().enumerate() {
        out += &format!("\n{report}\n");
        for (step, trace) in question.witnesses(report).iter().enumerate() {
            let end = format!("lockdep-{}.{step}.trace", nth + 1);
            let path = write(dir, job, plants, &end, &trace.to_text())?;
            out += &format!("  #{step} until it wants its lock: svmlab replay {path}\n");
        }
    }
    Ok(out)
}

pub(super) fn tell(done: &Done<'_>, result: &CheckResult, finding: &Finding, plants: &[Plant], page: &Page) -> String {
    let job = &done.job;
    let mut found =
        format!("in execution {}, with {}", result.stats.executions, switches(finding.switches_before_shrinking));
    if finding.failure.context_switches < finding.switches_before_shrinking {
        found += &format!("; shrunk to {}", switches(finding.failure.context_switches));
    }
    if finding.is_fewest && finding.failure.context_switches > 0 {
        found += ", the fewest possible";
    }
    let names = |plants: &[Plant]| plants.iter().map(|p| p.name().to_owned()).collect::<Vec<String>>();
    let token = token(job, finding);
    let all_plants = [&job.scenario.plants, plants].concat();
    let mut told = Story {
        scenario: job.scenario,
        design: job.design,
        plants: &names(&all_plants),
        timeline: &finding.timeline,
        found,
        reduced: String::new(),
        trace: done.saved.as_ref().map(|s| s.trace.as_str()),
        token: Some(&token),
    };
    let Some(Minimised { minimal, .. }) = &finding.minimal else { return story(&told, page) };
    let (file, trace) = done.saved.as_ref().and_then(|s| s.minimal.as_ref()).map_or(("", ""), |(f, t)| (f, t));
    let small_plants = names(&minimal.scenario.plants);
    told.scenario = &minimal.scenario;
    told.plants = &small_plants;
    told.timeline = &minimal.timeline;
    told.reduced = reduced(&job.scenario.name, minimal);
    told.trace = Some(trace).filter(|path| !path.is_empty());
    told.token = None;
    let mut out = story(&told, page);
    if let Some(saved) = &done.saved {
        out += &format!("all of {}: svmlab replay {}\n", job.scenario.name, saved.trace);
        out += &format!("       by token: svmlab replay {token}\n");
    }
    out += &format!("\n{}\n{}", page.dim(&format!("-- {file}")), minimal.scenario.source.text);
    out
}

/// From what a scenario was reduced, and how far.
fn reduced(name: &str, minimal: &Minimal) -> String {
    let (before, after) = (&minimal.before, &minimal.after);
    let mut parts = Vec::new();
    let mut part = |what: &str, from: u64, to: u64| match from == to {
        true => parts.push(format!("{what} {to}")),
        false => parts.push(format!("{what} {from} → {to}")),
    };
    part("context switches", before.context_switches.into(), after.context_switches.into());
    part("operations", before.operations as u64, after.operations as u64);
    part("threads and waves", before.actors as u64, after.actors as u64);
    if before.gpus > 1 {
        part("GPUs", before.gpus as u64, after.gpus as u64);
    }
    if before.regions > 1 {
        part("regions", before.regions as u64, after.regions as u64);
    }
    part("pages", before.pages, after.pages);
    let end = if minimal.finished { "" } else { "; not finished, it may be smaller still" };
    format!("from {name}: {}{end}", parts.join(", "))
}

pub(super) fn table(done: &[Done<'_>], page: &Page) -> String {
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
        // a story ends with these lines
        let Some(saved) = d.saved.as_ref().filter(|_| !d.told) else { continue };
        out += &format!("replay with: svmlab replay {}\n", saved.trace);
        if let Some(CheckVerdict::Violated(finding)) = d.result.as_ref().map(|r| &r.verdict) {
            out += &format!("   by token: svmlab replay {}\n", token(&d.job, finding));
        }
        if let Some((file, _)) = &saved.minimal {
            out += &format!("  made small: {file}\n");
        }
    }
    out
}

pub(super) fn json(done: &[Done<'_>], full: bool) -> String {
    let results: Vec<ResultJson> = done
        .iter()
        .map(|d| {
            let (result, expected) = (d.result.as_ref(), d.job.expected());
            let trace = d.saved.as_ref().map(|s| s.trace.clone());
            let mut json =
                ResultJson::new(&d.job.scenario.name, d.job.design, result, expected, d.as_expected, trace, full);
            let files = d.saved.as_ref().and_then(|s| s.minimal.clone());
            if let Some((minimal, (file, trace))) = json.minimal.as_mut().zip(files) {
                (minimal.file, minimal.trace) = (Some(file), Some(trace));
            }
            json
        })
        .collect();
    super::list::to_json(&serde_json::json!({ "results": results }))
}
