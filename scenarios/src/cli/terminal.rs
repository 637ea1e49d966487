//! Where output goes, and what it can do.

use crate::report::Page;
use std::io::{IsTerminal, Write};

/// Standard output and standard error.
pub(super) struct Terminal {
    out_is_terminal: bool,
    err_is_terminal: bool,
    no_color: bool,
}

impl Terminal {
    /// Those of this process.
    pub(super) fn here() -> Self {
        Terminal {
            out_is_terminal: std::io::stdout().is_terminal(),
            err_is_terminal: std::io::stderr().is_terminal(),
            // no-color.org: set and not empty
            no_color: std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()),
        }
    }

    /// The page for results. As wide as a terminal says it is; elsewhere always the same.
    pub(super) fn page(&self, full: bool) -> Page {
        let width = if self.out_is_terminal { self.columns().unwrap_or(120) } else { 120 };
        Page { width, colours: self.out_is_terminal && !self.no_color, full }
    }
    /// Columns for error messages.
    pub(super) fn error_width(&self) -> usize {
        100
    }
    /// Whether error messages may be coloured.
    pub(super) fn error_colours(&self) -> bool {
        self.err_is_terminal && !self.no_color
    }
    /// Whether somebody watches standard error.
    pub(super) fn is_watched(&self) -> bool {
        self.err_is_terminal
    }
    /// Columns for the progress line.
    pub(super) fn line_width(&self) -> usize {
        self.columns().unwrap_or(120)
    }
    /// What the terminal says, through `COLUMNS`.
    fn columns(&self) -> Option<usize> {
        std::env::var("COLUMNS").ok()?.parse().ok()
    }

    /// Results. A reader who went away is no error of ours.
    pub(super) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
    /// Anything else.
    pub(super) fn complain(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}
