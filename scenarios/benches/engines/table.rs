//! The tables, for a terminal and for docs/performance.md.

use crate::report::{BugRow, Report, SamplingRow, SearchRow, Target};
use comfy_table::{Cell, CellAlignment, Table, presets};

/// A table with the name of its place in docs/performance.md and its heading on a terminal.
pub(crate) struct Titled {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    table: Table,
}

impl Titled {
    fn new(name: &'static str, title: &'static str, words: usize, header: &[&str], rows: Vec<Vec<String>>) -> Self {
        let mut table = Table::new();
        table.set_header(header.iter().copied());
        for row in rows {
            table.add_row(row.into_iter().map(Cell::new));
        }
        // What comes after the words is numbers.
        for column in table.column_iter_mut().skip(words) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Titled { name, title, table }
    }

    /// As a terminal shows it.
    pub(crate) fn plain(mut self) -> String {
        self.table.load_preset(presets::UTF8_BORDERS_ONLY);
        format!("{}\n{}\n", self.title, self.table)
    }

    /// As a page shows it.
    pub(crate) fn markdown(mut self) -> String {
        self.table.load_preset(presets::ASCII_MARKDOWN);
        self.table.to_string()
    }
}

/// All tables of a report.
pub(crate) fn tables(report: &Report) -> [Titled; 4] {
    let none = report.no_instructions.as_deref().unwrap_or("-");
    [
        Titled::new(
            "exhaust",
            "To exhaustion (correct models; time of a whole search; svm: the scenario set-attr-vs-partial-munmap)",
            3,
            &[
                "model",
                "engine",
                "method",
                "executions",
                "distinct",
                "over minimum",
                "us/execution",
                "ns/event",
                "instr/event",
                "time",
            ],
            report.exhaust.iter().map(|row| searched(row, none)).collect(),
        ),
        Titled::new(
            "sampling",
            "Searches by chance (correct models)",
            3,
            &["model", "engine", "method", "executions/s", "over shuttle", "ns/event", "instr/event"],
            report.sampling.iter().map(|row| sampled(row, none)).collect(),
        ),
        Titled::new(
            "first-bug",
            "To the first failure (models with the bug in)",
            3,
            &["model", "engine", "method", "found", "executions (least..most)", "time", "otherwise"],
            report.first_bug.iter().map(hunted).collect(),
        ),
        Titled::new(
            "targets",
            "Targets",
            4,
            &["target", "wanted", "measured", "met"],
            report.targets.iter().map(judged).collect(),
        ),
    ]
}

fn searched(row: &SearchRow, none: &str) -> Vec<String> {
    let ran = row.executions > 0;
    let if_ran = |text: String| if ran { text } else { "-".into() };
    vec![
        row.model.clone(),
        row.engine.clone(),
        row.method.clone(),
        if_ran(if row.unfinished.is_some() {
            format!("> {}", grouped(row.executions))
        } else {
            grouped(row.executions)
        }),
        row.distinct.map_or("-".into(), grouped),
        row.over_minimum
            .map_or("-".into(), |over| if over < 100.0 { format!("{over:.2}") } else { grouped(over as u64) }),
        if_ran(format!("{:.2}", row.us_per_execution)),
        if_ran(format!("{:.1}", row.ns_per_event)),
        counted(row.instructions_per_event, none),
        row.unfinished.clone().unwrap_or_else(|| seconds(row.seconds)),
    ]
}

fn sampled(row: &SamplingRow, none: &str) -> Vec<String> {
    vec![
        row.model.clone(),
        row.engine.clone(),
        row.method.clone(),
        grouped(row.executions_per_second as u64),
        row.over_shuttle.map_or("1".into(), |over| format!("{over:.1}x")),
        format!("{:.1}", row.ns_per_event),
        counted(row.instructions_per_event, none),
    ]
}

fn hunted(row: &BugRow) -> Vec<String> {
    let executions = row.executions.map_or("-".into(), |spread| {
        if row.searches == 1 {
            grouped(spread.median)
        } else {
            format!("{} ({}..{})", grouped(spread.median), grouped(spread.least), grouped(spread.most))
        }
    });
    vec![
        row.model.clone(),
        row.engine.clone(),
        row.method.clone(),
        format!("{} of {}", row.found, row.searches),
        executions,
        row.seconds.map_or("-".into(), seconds),
        row.missed.clone().unwrap_or_default(),
    ]
}

fn judged(target: &Target) -> Vec<String> {
    let met = match target.met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not measured",
    };
    vec![target.what.clone(), target.wanted.clone(), target.measured.clone(), met.into()]
}

fn counted(value: Option<f64>, none: &str) -> String {
    value.map_or_else(|| none.to_string(), |value| grouped(value.round() as u64))
}

/// Thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    (!head.is_empty()).then(|| head.to_string()).into_iter().chain(groups).collect::<Vec<_>>().join(" ")
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}
