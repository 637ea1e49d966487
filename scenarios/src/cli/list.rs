//! `svmlab list`, `svmlab show`, and what `svmlab` says to somebody who does not know it yet.

use super::args::{ListArgs, ShowArgs};
use super::select::{all, select};
use super::terminal::Terminal;
use super::{BadInput, FINE};
use crate::lang::{Answer, Scenario};
use crate::report::{answer_text, beside};

/// A JSON document as it is printed.
pub(super) fn to_json(value: &serde_json::Value) -> String {
    // alternate formatting is serde_json's pretty form
    format!("{value:#}\n")
}

/// What the designs answer, as (design, answer) in words.
fn answers(s: &Scenario) -> Vec<(&'static str, String)> {
    s.verdicts.iter().map(|v| (v.design.name(), answer_text(Some(&v.answer)))).collect()
}

/// Lists the corpus.
pub(super) fn list(args: &ListArgs, terminal: &Terminal) -> Result<u8, BadInput> {
    let corpus = all(terminal)?;
    if args.json {
        let list: Vec<serde_json::Value> = corpus
            .iter()
            .map(|s| {
                let answers: serde_json::Map<String, serde_json::Value> =
                    answers(s).into_iter().map(|(design, answer)| (design.to_owned(), answer.into())).collect();
                serde_json::json!({ "name": s.name, "about": s.about, "path": s.source.path, "expected": answers })
            })
            .collect();
        terminal.print(&to_json(&serde_json::json!({ "scenarios": list })));
        return Ok(FINE);
    }
    let page = terminal.page(false);
    let column = corpus.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for s in &corpus {
        let line = beside(&s.name, column + 2, &s.about, page.columns());
        out += &line.replacen(&s.name, &page.bold(&s.name), 1);
    }
    terminal.print(&out);
    Ok(FINE)
}

/// Shows one scenario.
pub(super) fn show(args: &ShowArgs, terminal: &Terminal) -> Result<u8, BadInput> {
    let page = terminal.page(false);
    for s in select(std::slice::from_ref(&args.scenario), terminal)? {
        let mut out = format!("{}\n\n{}\n", page.bold(&s.name), beside("", 0, &s.about, page.columns()));
        let actors: Vec<&str> = s.actors().collect();
        out += &format!("races:    {}\n", actors.join(", "));
        for (design, answer) in answers(&s) {
            out += &format!("expected: {design} {answer}\n");
        }
        out += &format!("\n{}\n", page.dim(&format!("-- {}", s.source.path)));
        out += s.source.text.trim_end();
        out.push('\n');
        terminal.print(&out);
    }
    Ok(FINE)
}

/// What to try first.
pub(super) fn welcome(terminal: &Terminal) -> u8 {
    let page = terminal.page(false);
    // the best first look: one design falls, another holds
    let corpus = super::corpus::load_corpus().unwrap_or_default();
    let holds = |s: &Scenario| s.verdicts.iter().any(|v| v.answer == Answer::Holds);
    let falls = |s: &Scenario| s.verdicts.iter().find(|v| matches!(v.answer, Answer::Violates(_))).map(|v| v.design);
    let first = corpus.iter().find(|s| holds(s) && falls(s).is_some()).or_else(|| corpus.first());
    let mut lines = vec![("svmlab list".to_owned(), "the questions it can answer".to_owned())];
    if let Some(s) = first {
        let what = match falls(s) {
            Some(design) => format!("finds a race of {design}, tells it, saves its trace"),
            None => "explores one of them".to_owned(),
        };
        lines.push((format!("svmlab show {}", s.name), "one of them, in its own words".to_owned()));
        lines.push((format!("svmlab check {}", s.name), what));
        if let Some(design) = falls(s) {
            let again = format!("svmlab replay traces/{}.{design}.trace", s.name);
            lines.push((again, "the same interleaving again, bit for bit".to_owned()));
        }
    }
    lines.push(("svmlab check".to_owned(), "all of them, all designs".to_owned()));
    let column = lines.iter().map(|(c, _)| c.chars().count()).max().unwrap_or(0);
    let mut out = "svmlab explores the interleavings of a GPU shared-virtual-memory driver.\n\nTry first:\n".to_owned();
    for (command, what) in &lines {
        let fill = column - command.chars().count();
        out += &format!("  {}{:fill$}  {what}\n", page.bold(command), "");
    }
    out += "\nsvmlab --help says what else there is.\n";
    terminal.print(&out);
    FINE
}
