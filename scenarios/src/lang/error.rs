//! What is wrong with a scenario file, shown in place.

use super::ast::{Place, Source};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What, in one line.
    pub message: String,
    /// Where, the main place first, each with what is to be seen there.
    pub labels: Vec<(Place, String)>,
    /// What was expected, or what to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at one place.
    pub(super) fn new(message: impl Into<String>, at: Place, label: impl Into<String>) -> Self {
        Problem { message: message.into(), labels: vec![(at, label.into())], help: None }
    }
    /// With another place that has to do with it.
    pub(super) fn and(mut self, at: Place, label: impl Into<String>) -> Self {
        self.labels.push((at, label.into()));
        self
    }
    /// With advice.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A scenario file that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct BadScenario {
    /// The file.
    pub source: Source,
    /// What is wrong, in the order of the text; never empty.
    pub problems: Vec<Problem>,
    shown: Vec<Shown>,
}

impl BadScenario {
    /// Sorts `problems` by place.
    pub(super) fn new(source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| p.labels.first().map_or(0, |(at, _)| at.offset));
        let text = NamedSource::new(&source.path, source.text.to_string());
        let shown = problems.iter().map(|p| Shown { problem: p.clone(), text: text.clone() }).collect();
        BadScenario { source, problems, shown }
    }

    /// Everything as text, every problem with its piece of the file. `width` in columns; colours only if asked.
    pub fn render(&self, width: usize, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
        let mut out = String::new();
        for shown in &self.shown {
            // writing into a String cannot fail
            let _ = handler.render_report(&mut out, shown);
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
        out.push_str(&self.to_string());
        out.push('\n');
        out
    }

    /// 1-based line and column (in characters) of a place.
    pub fn line_and_column(&self, at: Place) -> (usize, usize) {
        let before = &self.source.text[..at.offset.min(self.source.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

impl fmt::Display for BadScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "{}: 1 problem", self.source.path),
            n => write!(f, "{}: {n} problems", self.source.path),
        }
    }
}
impl std::error::Error for BadScenario {}

impl Diagnostic for BadScenario {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.shown.iter().map(|s| s as &dyn Diagnostic)))
    }
}

/// A problem that carries its text, as miette wants it.
#[derive(Clone, Debug)]
struct Shown {
    problem: Problem,
    text: NamedSource<String>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}
impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.problem.labels.iter().enumerate().map(|(i, (at, label))| {
            let span = (at.offset, at.len);
            // the primary label is the one whose line:column stands in the header
            if i == 0 {
                LabeledSpan::new_primary_with_span(Some(label.clone()), span)
            } else {
                LabeledSpan::new_with_span(Some(label.clone()), span)
            }
        })))
    }
}
