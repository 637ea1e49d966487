//! `svmlab merge`: the reports of shards, put together to one verdict.

use super::args::MergeArgs;
use super::check::{Done, Job, json, predictions, save, table, tell};
use super::shard::Report;
use super::terminal::Terminal;
use super::{BadInput, FINE, VIOLATION};
use crate::lang::parse;
use crate::run::{CheckVerdict, Question, VERSION};
use interleave::lockdep::Lessons;
use interleave::search::TaskResult;
use interleave::{End, Outcome, Stats};
use std::collections::BTreeMap;
use std::path::Path;

/// Runs it; the exit code.
pub(super) fn merge(args: &MergeArgs, terminal: &Terminal) -> Result<u8, BadInput> {
    let mut reports: Vec<(&Path, Report)> = Vec::with_capacity(args.reports.len());
    for path in &args.reports {
        reports.push((path, Report::read(path)?));
    }
    let Some((first_path, first)) = reports.first() else { return Err(BadInput::new("no reports")) };
    let header = &first.search;
    let in_file = |why: &dyn std::fmt::Display| BadInput::new(format!("{}: {why}", first_path.display()));
    if header.svmlab != VERSION {
        return Err(in_file(&format!("it is of another build: of svmlab {}, and this is {VERSION}", header.svmlab)));
    }
    let covered = cover(&reports)?;
    let scenario = parse(&format!("{}.kdl", header.scenario), &header.text)
        .map_err(|_| in_file(&"the scenario inside does not parse with this version"))?;
    let question = Question::again(&scenario, header).map_err(|e| in_file(&e))?;

    let mut stats = Stats::default();
    for (_, task) in covered.values() {
        let its = &task.stats;
        stats.executions += its.executions;
        stats.cut += its.cut;
        stats.events += its.events;
        stats.races += its.races;
        stats.violations += its.violations;
        stats.longest = stats.longest.max(its.longest);
    }
    // As far as a search that ends at the first violation would have come: what is learned later is of no use.
    let mut lessons = Lessons::default();
    for (_, task) in covered.values() {
        lessons.add(task.lessons.clone());
        if task.failure.is_some() {
            break;
        }
    }
    // the first in the order of the plan, whoever found it
    let failure = covered.values().find_map(|(path, task)| Some((*path, task.failure.as_ref()?)));
    if let Some((path, failure)) = failure {
        let again = interleave::replay(&question.program(), &question.search(), &failure.schedule);
        if again.ok().and_then(|timeline| timeline.violation).as_ref() != Some(&failure.violation) {
            let what = "its violation does not happen again: the report was changed, or is of another version";
            return Err(BadInput::new(format!("{}: {what}", path.display())));
        }
    }
    let end = if failure.is_some() { End::Violated } else { End::Exhausted };
    let failure = failure.map(|(_, failure)| failure.clone());
    let outcome = Outcome { stats, end, failure, predicted: lessons.predict(), ..Outcome::default() };
    let result = question.answer(outcome, None, &mut |_| ());

    let design = question.design();
    let job = Job { scenario: &scenario, design };
    // the scenario's own bugs are part of it; with others it is not what the scenario speaks of
    let planted: Vec<_> = question.plants().iter().copied().skip(scenario.plants.len()).collect();
    let expected = scenario.verdict(design).filter(|_| planted.is_empty());
    let as_expected = expected.map(|verdict| result.verdict.is_expected(&verdict.answer));
    let mut done = Done { job, result: Some(result), as_expected, saved: None, told: false };
    let page = terminal.page(args.full);
    let mut violated = false;
    if let Some(result) = &done.result
        && let CheckVerdict::Violated(finding) = &result.verdict
    {
        violated = true;
        done.saved = Some(save(&args.traces, &done.job, &planted, finding)?);
        if !args.json {
            terminal.print(&format!("{}\n", tell(&done, result, finding, &planted, &page)));
        }
        done.told = true;
    }
    if let Some(result) = done.result.as_ref().filter(|result| !args.json && !result.predicted.is_empty()) {
        violated |= matches!(result.verdict, CheckVerdict::Predicted { .. });
        let told = predictions(&done.job, result, &planted, &question, &args.traces)?;
        terminal.print(&format!("{told}\n"));
    }
    let done = [done];
    if args.json {
        terminal.print(&json(&done, args.full));
    } else {
        let (tasks, n) = (covered.len(), reports.len());
        let s = if n == 1 { "" } else { "s" };
        terminal.print(&table(&done, &page));
        terminal.print(&format!("{n} report{s}, {tasks} of {tasks} tasks, each explored once\n"));
    }
    let wrong = as_expected.map_or(violated, |as_expected| !as_expected);
    Ok(if wrong { VIOLATION } else { FINE })
}

/// Every task with what came of it and the report that says so.
///
/// # Errors
/// Reports of different searches, a task that is in two of them, a task that is in none.
fn cover<'a>(reports: &'a [(&'a Path, Report)]) -> Result<BTreeMap<usize, (&'a Path, &'a TaskResult)>, BadInput> {
    let Some((first_path, first)) = reports.first() else { return Err(BadInput::new("no reports")) };
    let mut covered: BTreeMap<usize, (&Path, &TaskResult)> = BTreeMap::new();
    for (path, report) in reports {
        let other = |what: &str, its: &dyn std::fmt::Display, firsts: &dyn std::fmt::Display| {
            let what = format!("{what} is {its}, in {} it is {firsts}", first_path.display());
            Err(BadInput::new(format!("{}: of another search: {what}", path.display())))
        };
        let (its, firsts) = (&report.search, &first.search);
        if its.svmlab != firsts.svmlab {
            return other("the version of svmlab", &its.svmlab, &firsts.svmlab);
        }
        if its.scenario != firsts.scenario {
            return other("the scenario", &its.scenario, &firsts.scenario);
        }
        if its.design != firsts.design {
            return other("the design", &its.design, &firsts.design);
        }
        if its.plants != firsts.plants {
            return other("the list of planted bugs", &its.plants.join(" "), &firsts.plants.join(" "));
        }
        if its != firsts {
            return other("the text or a limit", &"different", &"another");
        }
        if (report.tasks, &report.plan) != (first.tasks, &first.plan) {
            return other("the plan", &report.plan, &first.plan);
        }
        for task in &report.done {
            if let Some((earlier, _)) = covered.insert(task.task, (path, task)) {
                let what = format!("task {} is in {} already: it would count twice", task.task + 1, earlier.display());
                return Err(BadInput::new(format!("{}: {what}", path.display())));
            }
        }
    }
    let missing: Vec<usize> = (0..first.tasks).filter(|task| !covered.contains_key(task)).collect();
    if missing.is_empty() {
        return Ok(covered);
    }
    let numbers: Vec<String> = missing.iter().take(10).map(|task| (task + 1).to_string()).collect();
    let more = if missing.len() > 10 { format!(" and {} more", missing.len() - 10) } else { String::new() };
    // whoever has them did not finish, or did not report
    let mut why = Vec::new();
    for shard in 1..=first.of {
        let lacks = Report::its_tasks(first.tasks, shard, first.of).filter(|task| missing.contains(task)).count();
        let report = reports.iter().find(|(_, report)| (report.shard, report.of) == (shard, first.of));
        match report {
            _ if lacks == 0 => {}
            Some((path, _)) => why.push(format!("{} is not finished", path.display())),
            None => why.push(format!("there is no report of shard {shard}/{}", first.of)),
        }
    }
    Err(BadInput::new(format!(
        "{} of {} tasks are in no report: {}{more}; {}",
        missing.len(),
        first.tasks,
        numbers.join(", "),
        why.join(", ")
    )))
}
