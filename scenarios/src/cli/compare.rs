//! `svmlab compare`: the same workload under several designs, and what each asks of the mm and the GPUs.

use super::args::CompareArgs;
use super::check::jobs;
use super::list::to_json;
use super::select::select;
use super::terminal::Terminal;
use super::{BadInput, FINE, INTERRUPTED};
use crate::costs::{Cost, Costs, measure};
use crate::lang::{Design, Scenario};
use crate::report::Page;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs it; the exit code.
pub(super) fn compare(args: &CompareArgs, terminal: &Terminal, stop: &Arc<AtomicBool>) -> Result<u8, BadInput> {
    let page = terminal.page(false);
    let mut reports = Vec::new();
    for scenario in select(&args.what, terminal)? {
        let designs: Vec<Design> = match args.design.as_slice() {
            [] => Design::ALL.iter().copied().filter(|d| scenario.refusal(*d).is_none()).collect(),
            named => jobs(std::slice::from_ref(&scenario), named)?.iter().map(|job| job.design).collect(),
        };
        let mut columns = Vec::new();
        for design in designs {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            columns.push((design, measure(&scenario, design, args.executions, stop)));
        }
        match args.json {
            true => reports.push(json(&scenario, &columns)),
            false => terminal.print(&table(&scenario, &columns, &page)),
        }
    }
    if args.json {
        terminal.print(&to_json(&serde_json::json!({ "comparisons": reports })));
    }
    Ok(if stop.load(Ordering::SeqCst) { INTERRUPTED } else { FINE })
}

fn in_words(cost: &Cost) -> String {
    if cost.least == cost.most { cost.least.to_string() } else { format!("{}..{}", cost.least, cost.most) }
}

fn table(scenario: &Scenario, columns: &[(Design, Costs)], page: &Page) -> String {
    let mut rows: Vec<Vec<String>> =
        vec![std::iter::once(String::new()).chain(columns.iter().map(|(d, _)| d.to_string())).collect()];
    let kinds = columns.first().map_or(0, |(_, costs)| costs.costs.len());
    for kind in 0..kinds {
        let of_each = columns.iter().map(|(_, costs)| costs.costs[kind]);
        if of_each.clone().any(|cost| cost.most > 0) {
            let name = of_each.clone().next().map_or("", |cost| cost.name).to_owned();
            rows.push(std::iter::once(name).chain(of_each.map(|cost| in_words(&cost))).collect());
        }
    }
    let counted = columns.iter().map(|(_, costs)| {
        let all = if costs.exhausted { "all " } else { "" };
        format!("{all}{}", costs.executions)
    });
    rows.push(std::iter::once("executions counted".to_owned()).chain(counted).collect());
    if columns.iter().any(|(_, costs)| costs.violated > 0) {
        let violated = columns.iter().map(|(_, costs)| costs.violated.to_string());
        rows.push(std::iter::once("executions that violate".to_owned()).chain(violated).collect());
    }
    let widths: Vec<usize> =
        (0..=columns.len()).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    let mut out = format!("{}\n{}\n\n", page.bold(&scenario.name), scenario.about);
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, width))| match c {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        out += &format!("  {}\n", cells.collect::<Vec<_>>().join("   "));
    }
    out.push('\n');
    out
}

fn json(scenario: &Scenario, columns: &[(Design, Costs)]) -> serde_json::Value {
    let designs: serde_json::Map<String, serde_json::Value> = columns
        .iter()
        .map(|(design, costs)| {
            let kinds: serde_json::Map<String, serde_json::Value> = costs
                .costs
                .iter()
                .map(|cost| (cost.name.to_owned(), serde_json::json!({ "least": cost.least, "most": cost.most })))
                .collect();
            let report = serde_json::json!({
                "costs": kinds,
                "executions": costs.executions,
                "exhausted": costs.exhausted,
                "violated": costs.violated,
            });
            (design.to_string(), report)
        })
        .collect();
    serde_json::json!({ "scenario": scenario.name, "designs": designs })
}
