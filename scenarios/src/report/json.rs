//! The same for machines. Field names are stable; new fields may come.

use super::summary::answer_text;
use crate::lang::{Answer, Design};
use crate::minimise::{Measure, Minimal};
use crate::run::{CheckResult, CheckVerdict, Reached};
use interleave::lab::Violation;
use interleave::lockdep::LockReport;
use interleave::{Stats, Timeline};
use serde::Serialize;

/// One scenario under one design, as `svmlab check --json` lists it.
#[derive(Serialize)]
pub struct ResultJson {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the design.
    pub design: &'static str,
    /// `holds`, `violates`, `interrupted` or `not-run`.
    pub verdict: &'static str,
    /// Whether every interleaving was covered.
    pub exhausted: bool,
    /// The bound on preemptions, if there was one.
    pub preemptions: Option<u32>,
    /// What the scenario says, in words.
    pub expected: String,
    /// Whether that was what came; null when the scenario does not speak about what was run.
    pub as_expected: Option<bool>,
    /// What fell.
    pub violation: Option<ViolationJson>,
    /// Deadlocks that the order of locks predicts.
    pub predicted: Vec<PredictionJson>,
    /// Context switches of the shrunk execution.
    pub context_switches: Option<u32>,
    /// Context switches of the execution in which it was first found.
    pub context_switches_before_shrinking: Option<u32>,
    /// Whether it is known that no execution with fewer violates the invariant.
    pub fewest_context_switches: Option<bool>,
    /// Path of the trace file.
    pub trace: Option<String>,
    /// The trace in a word, for whoever has the scenario.
    pub token: Option<String>,
    /// The scenario made smaller, when that was asked for.
    pub minimal: Option<MinimalJson>,
    /// How much was explored.
    pub stats: serde_json::Value,
    /// What is known of what was covered: by a bound on preemptions, a cache, a random search.
    pub reached: Option<Reached>,
    /// The execution, when it was asked for.
    pub timeline: Option<TimelineJson>,
}

impl ResultJson {
    /// The JSON form; `full` includes the timeline.
    pub fn new(
        scenario: &str,
        design: Design,
        result: Option<&CheckResult>,
        expected: Option<&Answer>,
        as_expected: Option<bool>,
        trace: Option<String>,
        full: bool,
    ) -> Self {
        let finding = result.and_then(|r| match &r.verdict {
            CheckVerdict::Violated(finding) => Some(finding),
            _ => None,
        });
        ResultJson {
            scenario: scenario.to_owned(),
            design: design.name(),
            verdict: match result.map(|r| &r.verdict) {
                Some(CheckVerdict::Holds { .. }) => "holds",
                Some(CheckVerdict::Violated(_) | CheckVerdict::Predicted { .. }) => "violates",
                Some(CheckVerdict::Interrupted) => "interrupted",
                None => "not-run",
            },
            exhausted: matches!(
                result.map(|r| &r.verdict),
                Some(CheckVerdict::Holds { exhausted: true } | CheckVerdict::Predicted { exhausted: true })
            ),
            preemptions: result.and_then(|r| r.preemptions),
            expected: answer_text(expected),
            as_expected,
            violation: finding.map(|f| ViolationJson::new(&f.failure.violation)),
            predicted: result.map_or(Vec::new(), |r| r.predicted.iter().map(PredictionJson::new).collect()),
            context_switches: finding.map(|f| f.failure.context_switches),
            context_switches_before_shrinking: finding.map(|f| f.switches_before_shrinking),
            fewest_context_switches: finding.map(|f| f.is_fewest),
            trace,
            token: finding.map(|f| f.token.to_text()),
            minimal: finding.and_then(|f| f.minimal.as_ref()).map(|m| MinimalJson::new(&m.minimal)),
            stats: result.map_or(serde_json::Value::Null, |r| stats_json(&r.stats)),
            reached: result.map(|r| r.reached),
            timeline: finding.filter(|_| full).map(|f| TimelineJson::new(&f.timeline)),
        }
    }
}

/// A scenario made smaller.
#[derive(Serialize)]
pub struct MinimalJson {
    /// Its text.
    pub text: String,
    /// How big it was.
    pub before: Measure,
    /// How big it is.
    pub after: Measure,
    /// Whether nothing makes it smaller.
    pub finished: bool,
    /// Executions spent on it.
    pub executions: u64,
    /// Path of the file with its text.
    pub file: Option<String>,
    /// Path of its trace file.
    pub trace: Option<String>,
}

impl MinimalJson {
    /// The JSON form.
    pub fn new(minimal: &Minimal) -> Self {
        MinimalJson {
            text: minimal.scenario.source.text.to_string(),
            before: minimal.before,
            after: minimal.after,
            finished: minimal.finished,
            executions: minimal.executions,
            file: None,
            trace: None,
        }
    }
}

/// The counts of a search.
pub fn stats_json(stats: &Stats) -> serde_json::Value {
    // numbers alone: this cannot fail
    serde_json::to_value(stats).unwrap_or_default()
}

/// An invariant that fell.
#[derive(Serialize)]
pub struct ViolationJson {
    /// `I1` to `I12`.
    pub invariant: String,
    /// The sentence that must hold.
    pub sentence: &'static str,
    /// What is wrong.
    pub what: String,
    /// The earlier of the two events that contradict each other.
    pub earlier_event: Option<u32>,
}

impl ViolationJson {
    /// The JSON form.
    pub fn new(v: &Violation) -> Self {
        ViolationJson {
            invariant: v.invariant.to_string(),
            sentence: v.invariant.sentence(),
            what: v.what.clone(),
            earlier_event: v.earlier.map(|s| s.0),
        }
    }
}

/// A deadlock that no execution had.
#[derive(Serialize)]
pub struct PredictionJson {
    /// What the kernel's lockdep calls it.
    pub pattern: String,
    /// The classes in a circle.
    pub cycle: String,
    /// Who makes each step of it, and where.
    pub what: String,
}

impl PredictionJson {
    /// The JSON form.
    pub fn new(report: &LockReport) -> Self {
        PredictionJson { pattern: report.pattern.to_string(), cycle: report.cycle(), what: report.violation().what }
    }
}

/// An execution, event by event.
#[derive(Serialize)]
pub struct TimelineJson {
    /// Hash over every event, hexadecimal.
    pub event_hash: String,
    /// What fell.
    pub violation: Option<ViolationJson>,
    /// Names of the actors.
    pub actors: Vec<String>,
    /// The events.
    pub events: Vec<EventJson>,
}

/// An event.
#[derive(Serialize)]
pub struct EventJson {
    /// Its index.
    pub event: u32,
    /// Name of the actor.
    pub actor: String,
    /// What it did.
    pub op: String,
    /// To what.
    pub object: String,
    /// Where in the code.
    pub at: String,
    /// Locks held afterwards.
    pub held: Vec<String>,
    /// What the driver said before the actor's next event.
    pub notes: Vec<String>,
}

impl TimelineJson {
    /// The JSON form.
    pub fn new(timeline: &Timeline) -> Self {
        TimelineJson {
            event_hash: format!("{:016x}", timeline.event_hash),
            violation: timeline.violation.as_ref().map(ViolationJson::new),
            actors: timeline.actors.clone(),
            events: timeline
                .steps
                .iter()
                .map(|s| EventJson {
                    event: s.stamp.0,
                    actor: timeline.actors.get(s.actor).cloned().unwrap_or_default(),
                    op: s.op.clone(),
                    object: s.object.clone(),
                    at: format!("{}:{}", s.file, s.line),
                    held: s.held.clone(),
                    notes: s.notes.clone(),
                })
                .collect(),
        }
    }
}
