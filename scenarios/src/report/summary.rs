//! One line for each scenario and design.

use super::page::{Page, thousands, width};
use crate::lang::{Answer, Design};
use crate::run::{CheckResult, CheckVerdict};

/// A line of the summary.
pub struct Row<'a> {
    /// Name of the scenario.
    pub scenario: &'a str,
    /// The design.
    pub design: Design,
    /// What came of it; None when it was not run any more.
    pub result: Option<&'a CheckResult>,
    /// What the scenario says.
    pub expected: Option<&'a Answer>,
    /// Whether that was what came; None when the scenario does not speak about what was run.
    pub as_expected: Option<bool>,
}

/// The verdict in words.
pub fn verdict_text(result: Option<&CheckResult>) -> String {
    let Some(result) = result else { return "not run".to_owned() };
    match &result.verdict {
        CheckVerdict::Holds { exhausted: true } => match result.preemptions {
            Some(1) => "holds with at most 1 preemption".to_owned(),
            Some(n) => format!("holds with at most {n} preemptions"),
            None => "holds in every interleaving".to_owned(),
        },
        CheckVerdict::Holds { exhausted: false } => "nothing found, search not exhausted".to_owned(),
        CheckVerdict::Violated(finding) => {
            let n = finding.failure.context_switches;
            let switches = if n == 1 { "switch" } else { "switches" };
            format!("violates {} in {n} context {switches}", finding.failure.violation.invariant)
        }
        CheckVerdict::Predicted { exhausted: true } => "violates I8 (predicted, not reached)".to_owned(),
        CheckVerdict::Predicted { exhausted: false } => "violates I8 (predicted)".to_owned(),
        CheckVerdict::Interrupted => "interrupted".to_owned(),
    }
}

/// What was expected, in words.
pub fn answer_text(answer: Option<&Answer>) -> String {
    match answer {
        None => "nothing said".to_owned(),
        Some(Answer::Holds) => "holds".to_owned(),
        Some(Answer::Violates(list)) => {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            format!("violates {}", list.join(" or "))
        }
    }
}

/// The table.
pub fn summary(rows: &[Row<'_>], page: &Page) -> String {
    let mut table: Vec<[String; 6]> =
        vec![["scenario", "design", "verdict", "expected", "executions", "distinct"].map(str::to_owned)];
    let mut last = "";
    for row in rows {
        let expected = match (row.as_expected, row.result) {
            (None, _) | (_, None) => "-".to_owned(),
            (Some(true), Some(CheckResult { verdict: CheckVerdict::Holds { exhausted: false }, .. })) => {
                "not refuted".to_owned()
            }
            (Some(true), _) => "yes".to_owned(),
            (Some(false), _) => format!("NO: {}", answer_text(row.expected)),
        };
        table.push([
            if row.scenario == last { String::new() } else { row.scenario.to_owned() },
            row.design.name().to_owned(),
            verdict_text(row.result),
            expected,
            row.result.map_or("-".to_owned(), |r| thousands(r.stats.executions)),
            match row.result.map(|r| r.stats.distinct) {
                None | Some(0) => "-".to_owned(),
                Some(n) => thousands(n),
            },
        ]);
        last = row.scenario;
    }
    // distinct executions are counted only on demand
    let columns = if table.iter().skip(1).all(|row| row[5] == "-") { 5 } else { 6 };
    let mut widths = [0; 6];
    for row in &table {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let mut out = String::new();
    for (i, row) in table.iter().enumerate() {
        let mut line = String::new();
        for (j, (cell, w)) in row.iter().zip(widths).enumerate().take(columns) {
            // numbers to the right, words to the left
            let fill = " ".repeat(w - width(cell));
            let painted = match (i, j) {
                (0, _) => page.bold(cell),
                (_, 3) if cell.starts_with("NO") => page.bad(cell),
                _ => cell.clone(),
            };
            line += &if j >= 4 { format!("{fill}{painted}") } else { format!("{painted}{fill}") };
            line += "  ";
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use interleave::Stats;
    use interleave::lab::Invariant;

    fn result(verdict: CheckVerdict, preemptions: Option<u32>, executions: u64) -> CheckResult {
        CheckResult {
            verdict,
            predicted: Vec::new(),
            stats: Stats { executions, distinct: executions / 2, ..Stats::default() },
            preemptions,
            reached: crate::run::Reached::default(),
        }
    }

    #[test]
    fn the_summary_says_what_was_proved_and_what_was_only_not_found() {
        let proved = result(CheckVerdict::Holds { exhausted: true }, None, 1_234_567);
        let bounded = result(CheckVerdict::Holds { exhausted: true }, Some(2), 5000);
        let cut_short = result(CheckVerdict::Holds { exhausted: false }, None, 100);
        let stopped = result(CheckVerdict::Interrupted, None, 12);
        let falls = Answer::Violates(vec![Invariant::I1, Invariant::I7]);
        let row =
            |scenario, design, result, expected, as_expected| Row { scenario, design, result, expected, as_expected };
        let rows = [
            row("one", Design::PocV1, Some(&bounded), Some(&falls), Some(false)),
            row("one", Design::Hardened, Some(&proved), Some(&Answer::Holds), Some(true)),
            row("another-one", Design::Hardened, Some(&cut_short), None, Some(true)),
            row("planted", Design::Hardened, Some(&bounded), Some(&Answer::Holds), None),
            row("stopped", Design::PocV1, Some(&stopped), Some(&falls), None),
            row("stopped", Design::Hardened, None, Some(&Answer::Holds), None),
        ];
        insta::assert_snapshot!(summary(&rows, &Page::default()));
    }
}
