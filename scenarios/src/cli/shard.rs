//! `svmlab check --shard i/n`: a part of a search, for machines that do not talk to each other.

use super::args::{CheckArgs, Shard};
use super::check::jobs;
use super::progress::Progress;
use super::select::select;
use super::terminal::Terminal;
use super::{BadInput, FINE, INTERRUPTED};
use crate::run::{CheckOptions, Question, SearchHeader};
use interleave::Program;
use interleave::search::{Crew, Plan, TaskResult};
use interleave::trace::checksum;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Tasks that a search is cut into, if it is big enough. The same for any number of shards, so that it does not matter
/// to the result how many there are.
const TASKS: usize = 256;
/// What a report says it is.
pub(super) const FORMAT: &str = "svmlab-shard 2";
/// What stands before the checksum, which is over every byte before this, and ends the file.
const SUM: &str = ",\n  \"checksum\": \"";

/// What a shard writes.
#[derive(Serialize, Deserialize)]
pub(super) struct Report {
    /// [`FORMAT`].
    pub(super) format: String,
    /// What is searched.
    pub(super) search: SearchHeader,
    /// How many tasks the plan has, and a hash over them.
    pub(super) tasks: usize,
    pub(super) plan: String,
    /// Which part this is.
    pub(super) shard: usize,
    pub(super) of: usize,
    /// What came of each task, by number.
    pub(super) done: Vec<TaskResult>,
}

impl Report {
    /// Numbers, from 0, of the tasks that are this shard's.
    pub(super) fn its_tasks(tasks: usize, shard: usize, of: usize) -> impl Iterator<Item = usize> {
        (0..tasks).filter(move |task| task % of == shard - 1)
    }

    /// Reads a report.
    pub(super) fn read(path: &Path) -> Result<Report, BadInput> {
        let in_file = |why: &dyn std::fmt::Display| BadInput::new(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|e| in_file(&e))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| in_file(&format!("no report of a shard: {e}")))?;
        match json.get("format").and_then(|f| f.as_str()) {
            Some(FORMAT) => {}
            Some(other) => return Err(in_file(&format!("expected `{FORMAT}`, found `{other}`"))),
            None => return Err(in_file(&"no report of a shard: it has no `format`")),
        }
        if Report::signed(text.rfind(SUM).map_or("", |at| &text[..at])) != text {
            return Err(in_file(&"the report is damaged or was changed: its checksum does not fit"));
        }
        let report: Report = serde_json::from_value(json).map_err(|e| in_file(&e))?;
        match report.done.iter().find(|d| d.task >= report.tasks || !(1..=report.of).contains(&report.shard)) {
            Some(task) => Err(in_file(&format!("there is no task {} in {} tasks", task.task, report.tasks))),
            None => Ok(report),
        }
    }

    /// The text of a report whose JSON is `open`, but for its end, with a checksum for its end.
    fn signed(open: &str) -> String {
        format!("{open}{SUM}{:016x}\"\n}}\n", checksum(open.as_bytes()))
    }

    /// Writes it: beside its place first, then into it.
    fn write(&self, path: &Path) -> Result<(), BadInput> {
        let beside = path.with_extension("json-new");
        let json = serde_json::to_string_pretty(self).expect("plain data serialises");
        let text = Report::signed(json.trim_end_matches("\n}"));
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
        written.map_err(|e| BadInput::new(format!("{}: {e}", path.display())))
    }
}

/// Explores the tasks of one shard; the exit code.
pub(super) fn explore(
    args: &CheckArgs,
    shard: Shard,
    terminal: &Terminal,
    stop: &Arc<AtomicBool>,
) -> Result<u8, BadInput> {
    let scenarios = select(&args.what, terminal)?;
    let jobs = jobs(&scenarios, &args.design)?;
    let [job] = jobs.as_slice() else {
        let what = format!("--shard takes one scenario and one --design, and this is {} searches", jobs.len());
        return Err(BadInput::new(what));
    };
    let options = CheckOptions {
        explore: args.explore(),
        strategy_given: args.strategy.is_some(),
        plants: args.plant.clone(),
        minimise: false,
    };
    let question = Question::new(job.scenario, job.design, &options);
    let search = question.search();
    if !Plan::is_possible(&search) {
        let what = "--shard needs an exhaustive search without --preemptions and --executions";
        return Err(BadInput::new(format!("{what}; {} has another", job.name())));
    }
    let plan = Plan::new(&question.program(), &search, TASKS);
    fs::create_dir_all(&args.reports).map_err(|e| BadInput::new(format!("{}: {e}", args.reports.display())))?;
    let name = format!("{}.{}.{}-of-{}.json", job.scenario.name, job.design, shard.number, shard.of);
    let path = args.reports.join(name);
    let mut report = Report {
        format: FORMAT.to_owned(),
        search: question.header(),
        tasks: plan.len(),
        plan: format!("{:016x}", plan.hash()),
        shard: shard.number,
        of: shard.of,
        done: Vec::new(),
    };
    if path.exists() {
        let earlier = Report::read(&path)?;
        if (&earlier.search, earlier.tasks, &earlier.plan) != (&report.search, report.tasks, &report.plan) {
            let what = "there is a report of another search or version here; remove it";
            return Err(BadInput::new(format!("{}: {what}", path.display())));
        }
        report.done = earlier.done;
    }
    let its: Vec<usize> = Report::its_tasks(plan.len(), shard.number, shard.of).collect();
    report.done.retain(|done| its.contains(&done.task));
    let progress = Progress::new(terminal, its.len());
    let program = || Box::new(question.program()) as Box<dyn Program>;
    report.write(&path)?;
    for &task in &its {
        if report.done.iter().any(|done| done.task == task) {
            progress.done("");
            continue;
        }
        let name = format!("task {}", task + 1);
        let mut watch = |survey: &_| progress.tell(&name, survey);
        let crew = Crew {
            threads: args.threads.get(),
            stop: Some(stop),
            watch: progress.is_watched().then_some((Duration::from_millis(200), &mut watch as &mut dyn FnMut(&_))),
            ..Crew::default()
        };
        let Some(result) = plan.explore(task, &program, &search, crew) else { break };
        progress.done(&name);
        report.done.push(result);
        report.write(&path)?;
    }
    progress.clear();
    terminal.print(&told(&report, &its, &path));
    Ok(if stop.load(Ordering::SeqCst) { INTERRUPTED } else { FINE })
}

fn told(report: &Report, its: &[usize], path: &Path) -> String {
    let executions: u64 = report.done.iter().map(|done| done.stats.executions).sum();
    let violations = report.done.iter().filter(|done| done.failure.is_some()).count();
    let found = match violations {
        0 => String::from("nothing falls"),
        n => format!("something falls in {n} of them"),
    };
    format!(
        "shard {}/{} of {} under {}: {} of its {} tasks (of {} in all) explored, {executions} executions, {found}\n\
         report: {}\n",
        report.shard,
        report.of,
        report.search.scenario,
        report.search.design,
        report.done.len(),
        its.len(),
        report.tasks,
        path.display()
    )
}
