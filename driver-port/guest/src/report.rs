//! What the guest says, on a serial port of its own so that no kernel message cuts into it.
//!
//! Lines are for people, except those that begin with `@`, which the host reads: `@start CHECK`, so that it knows what ran
//! when the machine died; `@result SUITE PASSED FAILED MILLISECONDS`; and `@end`, without which nothing counts.

use std::io::Write;
use std::time::Duration;

/// Where the lines go.
pub(crate) struct Report {
    out: Box<dyn Write>,
}

impl Report {
    /// A report to `out`, which passes bytes as they are.
    pub(crate) fn to(out: impl Write + 'static) -> Report {
        Report { out: Box::new(out) }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Nobody is left to be told that the report cannot be written; the host misses its end.
        let _ = self.out.write_all(format!("{text}\n").as_bytes());
    }

    /// A suite begins.
    pub(crate) fn suite(&mut self, name: &str, about: &str) {
        self.line(format_args!("\nsuite {name}: {about}"));
    }

    /// A line for people.
    pub(crate) fn say(&mut self, text: &str) {
        self.line(format_args!("  {text}"));
    }

    /// A check begins.
    pub(crate) fn start(&mut self, name: &str) {
        self.line(format_args!("@start {name}"));
    }

    /// A check is over: a remark, or what was wrong.
    pub(crate) fn check(&mut self, name: &str, took: Duration, outcome: &Result<String, String>) {
        let (word, text) = match outcome {
            Ok(text) => ("PASS", text),
            Err(text) => ("FAIL", text),
        };
        let took = took.as_secs_f64();
        match outcome {
            Ok(remark) if remark.is_empty() => self.line(format_args!("  {word} [{took:7.3} s] {name}")),
            Ok(remark) => self.line(format_args!("  {word} [{took:7.3} s] {name}: {remark}")),
            Err(_) => {
                self.line(format_args!("  {word} [{took:7.3} s] {name}"));
                for line in text.lines() {
                    self.line(format_args!("       | {line}"));
                }
            }
        }
    }

    /// A suite is over.
    pub(crate) fn result(&mut self, name: &str, passed: u32, failed: u32, took: Duration) {
        self.line(format_args!("@result {name} {passed} {failed} {}", took.as_millis()));
    }

    /// Everything is over, in order.
    pub(crate) fn end(&mut self) {
        self.line(format_args!("@end"));
    }
}
