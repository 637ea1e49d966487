//! What this project wants to reach, and whether a run reached it.

use crate::jobs::{LOOM, MODELS, OURS, SCENARIO};
use crate::report::{Report, SearchRow, Target};

fn target(what: &str, wanted: &str, measured: String, met: Option<bool>) -> Target {
    Target { what: what.into(), wanted: wanted.into(), measured, met }
}

/// All targets that this benchmark can judge.
pub(crate) fn judge(report: &Report) -> Vec<Target> {
    let find = |engine: &str, model: &str, method: &str| -> Option<&SearchRow> {
        report.exhaust.iter().find(|row| row.engine == engine && row.model == model && row.method == method)
    };
    vec![
        minimum(report),
        instructions(find(OURS, "m3", "reduced")),
        faster(
            "m1 to exhaustion, against loom in its usual form",
            30_000.0,
            find(OURS, "m1", "reduced"),
            find(LOOM, "m1", "full"),
        ),
        faster(
            "m1 to exhaustion, against loom in its leanest form",
            1_000.0,
            find(OURS, "m1", "reduced"),
            find(LOOM, "m1", "lean"),
        ),
        finished("m6, eight actors, exhausted", find(OURS, "m6", "reduced")),
        random(report),
        finished("svm, hardened, exhausted without a bound", find(OURS, SCENARIO, "hardened, reduced")),
    ]
}

/// Executions over distinct schedules on the micro-models: both as counted here, the latter as known as well.
fn minimum(report: &Report) -> Target {
    let rows: Vec<&SearchRow> =
        report.exhaust.iter().filter(|row| row.engine == OURS && row.method == "reduced").collect();
    let (mut said, mut met) = (Vec::new(), true);
    for (model, _, minimum) in MODELS {
        let row = rows.iter().find(|row| row.model == model && row.unfinished.is_none());
        let Some((row, distinct)) = row.and_then(|row| Some((row, row.distinct?))) else {
            said.push(format!("{model} not finished"));
            met = false;
            continue;
        };
        met &= row.executions == minimum && distinct == minimum;
        if distinct == minimum {
            said.push(format!("{:.2}", row.executions as f64 / minimum as f64));
        } else {
            said.push(format!("{model}: {distinct} distinct schedules where {minimum} exist"));
        }
    }
    target("executions over the minimum, m1 to m6", "1.00", said.join(", "), Some(met))
}

fn instructions(row: Option<&SearchRow>) -> Target {
    let measured = row.and_then(|row| row.instructions_per_event);
    let said = measured.map_or("not counted".into(), |n| format!("{n:.0}"));
    target("instructions an event with reduction, m3", "at most 200", said, measured.map(|n| n <= 200.0))
}

fn faster(what: &str, wanted: f64, ours: Option<&SearchRow>, theirs: Option<&SearchRow>) -> Target {
    let ratio = match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.unfinished.is_none() && theirs.unfinished.is_none() => {
            Some(theirs.seconds / ours.seconds)
        }
        _ => None,
    };
    let said = ratio.map_or("one of the two did not finish".into(), |ratio| format!("{ratio:.0}x"));
    target(what, &format!("at least {wanted:.0}x faster"), said, ratio.map(|ratio| ratio >= wanted))
}

fn finished(what: &str, row: Option<&SearchRow>) -> Target {
    let said = match row {
        Some(SearchRow { unfinished: Some(why), executions, .. }) => format!("{why}, {executions} executions"),
        Some(row) => format!("{} executions in {:.3} s", row.executions, row.seconds),
        None => "not run".into(),
    };
    target(what, "finished", said, row.map(|row| row.unfinished.is_none()))
}

fn random(report: &Report) -> Target {
    let row = report.sampling.iter().find(|row| row.engine == OURS && row.model == "m1" && row.method == "random");
    let ratio = row.and_then(|row| row.over_shuttle);
    let said = ratio.map_or("not run".into(), |ratio| format!("{ratio:.1}x"));
    target("random executions per second, against shuttle, m1", "at least 25x", said, ratio.map(|r| r >= 25.0))
}
