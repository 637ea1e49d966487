//! Two engines beside each other: a table, what stands behind its words, and the same for machines.

use super::page::{Page, beside, thousands, width};
use super::summary::{answer_text, verdict_text};
use crate::agreement::Agreement;
use crate::lang::{Answer, Design};
use crate::run::{CheckResult, CheckVerdict};
use crate::world::Opinion;
use interleave::on_loom::{Halt, LoomOutcome};
use serde::Serialize;

/// A scenario under a design, and what both engines say.
pub struct OpinionRow<'a> {
    /// Name of the scenario.
    pub scenario: &'a str,
    /// The design.
    pub design: Design,
    /// What the scenario says, where it speaks about what was run.
    pub expected: Option<&'a Answer>,
    /// Our engine, loom, and whether they agree; None when they were not asked any more.
    pub both: Option<(&'a CheckResult, &'a Opinion, &'a Agreement)>,
}

/// What loom says, in few words.
fn loom_text(loom: &Opinion) -> String {
    match &loom.outcome {
        LoomOutcome::Holds { .. } => match loom.preemptions {
            Some(1) => "found nothing with at most 1 preemption".to_owned(),
            Some(n) => format!("found nothing with at most {n} preemptions"),
            None => "holds".to_owned(),
        },
        LoomOutcome::Violated { .. } => match loom.outcome.invariant() {
            Some(invariant) => format!("violates {invariant}"),
            None => "violates".to_owned(),
        },
        LoomOutcome::Unfinished { halt: Halt::Loom, .. } => "loom cannot".to_owned(),
        LoomOutcome::Unfinished { halt: Halt::Budget, .. } => match loom.nothing_within {
            Some(n) => format!("unfinished, nothing within {n} preemption{}", if n == 1 { "" } else { "s" }),
            None => "unfinished".to_owned(),
        },
        LoomOutcome::Unfinished { halt: Halt::Stopped, .. } => "interrupted".to_owned(),
    }
}

/// The table, then what loom found and where the engines disagree, then what has to be known to read it.
pub fn opinions(rows: &[OpinionRow<'_>], page: &Page) -> String {
    let mut table: Vec<[String; 6]> =
        vec![["scenario", "design", "loom", "executions", "our engine", "agree"].map(str::to_owned)];
    let mut last = "";
    for row in rows {
        let scenario = if row.scenario == last { String::new() } else { row.scenario.to_owned() };
        last = row.scenario;
        let design = row.design.name().to_owned();
        table.push(match row.both {
            None => [scenario, design, "not run".into(), "-".into(), "not run".into(), "-".into()],
            Some((ours, loom, agreement)) => [
                scenario,
                design,
                loom_text(loom),
                thousands(loom.outcome.executions()),
                verdict_text(Some(ours)),
                match agreement {
                    Agreement::Agree => "yes".to_owned(),
                    Agreement::Disagree(_) => "NO".to_owned(),
                    Agreement::Open(_) => "-".to_owned(),
                },
            ],
        });
    }
    format!("{}{}", lines(&table, page), behind(rows, page))
}

fn lines(table: &[[String; 6]], page: &Page) -> String {
    let mut widths = [0; 6];
    for row in table {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let mut out = String::new();
    for (i, row) in table.iter().enumerate() {
        let mut line = String::new();
        for (j, (cell, w)) in row.iter().zip(widths).enumerate() {
            let fill = " ".repeat(w - width(cell));
            let painted = match (i, j) {
                (0, _) => page.bold(cell),
                (_, 5) if cell == "NO" => page.bad(cell),
                _ => cell.clone(),
            };
            line += &if j == 3 { format!("{fill}{painted}  ") } else { format!("{painted}{fill}  ") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// The words behind the table.
fn behind(rows: &[OpinionRow<'_>], page: &Page) -> String {
    let mut out = String::new();
    for row in rows {
        let Some((ours, loom, agreement)) = row.both else { continue };
        let mut said: Vec<(&str, String)> = Vec::new();
        match &loom.outcome {
            LoomOutcome::Violated { message, .. } => said.push(("loom", message.clone())),
            LoomOutcome::Unfinished { halt: Halt::Loom, reason, .. } => said.push(("loom", reason.clone())),
            _ => {}
        }
        if let (CheckVerdict::Violated(finding), Agreement::Agree | Agreement::Disagree(_)) = (&ours.verdict, agreement)
        {
            let violation = &finding.failure.violation;
            said.push(("ours", format!("{}: {}", violation.invariant, violation.what)));
        }
        match agreement {
            Agreement::Disagree(why) => said.push(("NO", why.clone())),
            Agreement::Open(why) if matches!(loom.outcome, LoomOutcome::Holds { .. }) => said.push(("-", why.clone())),
            _ => {}
        }
        if said.is_empty() {
            continue;
        }
        out += &format!("\n{}\n", page.bold(&format!("{} under {}", row.scenario, row.design)));
        for (label, text) in said {
            out += &beside(&format!("  {label}"), 8, &text, page.columns());
        }
    }
    for note in notes(rows) {
        out.push('\n');
        out += &beside("", 0, &note, page.columns());
    }
    out
}

/// What has to be known to read the table.
fn notes(rows: &[OpinionRow<'_>]) -> Vec<String> {
    let both = || rows.iter().filter_map(|row| row.both);
    let mut notes = Vec::new();
    let disagree = both().filter(|(_, _, a)| matches!(a, Agreement::Disagree(_))).count();
    let agree = both().filter(|(_, _, a)| matches!(a, Agreement::Agree)).count();
    notes.push(match disagree {
        0 if agree == rows.len() => format!("The engines agree on {agree} of {agree} questions."),
        0 => format!("The engines agree on {agree} of {} questions; on the others one has no verdict.", rows.len()),
        n => format!("The engines DISAGREE on {n} of {} questions, and agree on {agree}.", rows.len()),
    });
    if both().any(|(_, loom, _)| matches!(loom.outcome, LoomOutcome::Unfinished { halt: Halt::Budget, .. })) {
        notes.push(
            "unfinished: the budget of executions ran out, which proves nothing; --executions N gives more. What loom \
             has found \"nothing within\" so many preemptions proves nothing either: its bound leaves out schedules that \
             are inside."
                .to_owned(),
        );
    }
    let alone = both().filter(|(_, loom, _)| loom.workers < loom.items).count();
    if alone > 0 {
        notes.push(format!(
            "In {alone} of them the actors left no thread of loom's five for each worker of the driver: these shared one, \
             or ran in sequence when all others had ended."
        ));
    }
    if both().any(|(_, loom, _)| matches!(loom.outcome, LoomOutcome::Violated { .. })) {
        notes.push(
            "loom's schedules are not ours, so it leaves no trace to replay; `svmlab check` without --engine saves one of \
             ours."
                .to_owned(),
        );
    }
    notes
}

/// An [`OpinionRow`] as `svmlab check --engine loom --json` lists it.
#[derive(Serialize)]
pub struct OpinionJson {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the design.
    pub design: &'static str,
    /// What the scenario says, in words.
    pub expected: String,
    /// What loom says; null when it was not asked.
    pub loom: Option<LoomJson>,
    /// What our engine says; null when it was not asked.
    pub own: Option<OwnJson>,
    /// Whether they agree; null when there is nothing to compare.
    pub agree: Option<bool>,
    /// Why they disagree, or why there is nothing to compare.
    pub why: Option<String>,
}

/// Loom's part.
#[derive(Serialize)]
pub struct LoomJson {
    /// `holds`, `violates`, `unfinished`, `interrupted` or `cannot`.
    pub verdict: &'static str,
    /// What fell: `I1` to `I12`.
    pub invariant: Option<String>,
    /// What is wrong, or why there is no verdict.
    pub message: Option<String>,
    /// Executions explored.
    pub executions: u64,
    /// The bound on preemptions under which this came.
    pub preemptions: Option<u8>,
    /// The largest bound on preemptions under which an earlier search ended without a finding.
    pub nothing_within: Option<u8>,
    /// Work items of the driver.
    pub work_items: usize,
    /// Threads that ran them.
    pub worker_threads: usize,
}

/// Our engine's part.
#[derive(Serialize)]
pub struct OwnJson {
    /// `holds`, `violates` or `interrupted`.
    pub verdict: &'static str,
    /// Whether every interleaving was covered.
    pub exhausted: bool,
    /// What fell.
    pub invariant: Option<String>,
    /// What is wrong.
    pub message: Option<String>,
    /// Executions explored.
    pub executions: u64,
}

impl OpinionJson {
    /// The JSON form.
    pub fn new(row: &OpinionRow<'_>) -> Self {
        let agreement = row.both.map(|(_, _, agreement)| agreement);
        OpinionJson {
            scenario: row.scenario.to_owned(),
            design: row.design.name(),
            expected: answer_text(row.expected),
            loom: row.both.map(|(_, loom, _)| LoomJson::new(loom)),
            own: row.both.map(|(ours, ..)| OwnJson::new(ours)),
            agree: match agreement {
                Some(Agreement::Agree) => Some(true),
                Some(Agreement::Disagree(_)) => Some(false),
                _ => None,
            },
            why: match agreement {
                Some(Agreement::Disagree(why) | Agreement::Open(why)) => Some(why.clone()),
                Some(Agreement::Agree) => None,
                None => Some("not run".to_owned()),
            },
        }
    }
}

impl LoomJson {
    fn new(loom: &Opinion) -> Self {
        LoomJson {
            verdict: match &loom.outcome {
                LoomOutcome::Holds { .. } => "holds",
                LoomOutcome::Violated { .. } => "violates",
                LoomOutcome::Unfinished { halt: Halt::Budget, .. } => "unfinished",
                LoomOutcome::Unfinished { halt: Halt::Stopped, .. } => "interrupted",
                LoomOutcome::Unfinished { halt: Halt::Loom, .. } => "cannot",
            },
            invariant: loom.outcome.invariant().map(|i| i.to_string()),
            message: match &loom.outcome {
                LoomOutcome::Holds { .. } => None,
                LoomOutcome::Violated { message, .. } => Some(message.clone()),
                LoomOutcome::Unfinished { reason, .. } => Some(reason.clone()),
            },
            executions: loom.outcome.executions(),
            preemptions: loom.preemptions,
            nothing_within: loom.nothing_within,
            work_items: loom.items,
            worker_threads: loom.workers,
        }
    }
}

impl OwnJson {
    fn new(ours: &CheckResult) -> Self {
        let violation = match &ours.verdict {
            CheckVerdict::Violated(finding) => Some(&finding.failure.violation),
            _ => None,
        };
        OwnJson {
            verdict: match &ours.verdict {
                CheckVerdict::Holds { .. } => "holds",
                CheckVerdict::Violated(_) => "violates",
                CheckVerdict::Predicted { .. } => "predicted",
                CheckVerdict::Interrupted => "interrupted",
            },
            exhausted: matches!(ours.verdict, CheckVerdict::Holds { exhausted: true }),
            invariant: violation.map(|v| v.invariant.to_string()),
            message: violation.map(|v| v.what.clone()),
            executions: ours.stats.executions,
        }
    }
}
