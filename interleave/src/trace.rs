//! Trace files: one failing execution, to be run again bit for bit.
//!
//! A text file of five lines and a checksum:
//!
//! ```text
//! svmlab-trace 1
//! header {...}            what was run, in the words of whoever wrote it
//! violation I7 @41 queues resume, and page 0x200 ...
//! events 97 hash 0123456789abcdef
//! schedule 0x5 1x3 0x2    actor x events, in order; then, if there are any, ` | 0x4 1x1`: value x choices, in order
//! checksum 0123456789abcdef
//! ```
//!
//! The checksum is over every byte before its line; a file that was changed anywhere is refused.

use crate::explore::{Failure, Schedule};
use crate::lab::{Invariant, Stamp, Violation};
use crate::pack::{MOST_ELEMENTS, runs};
use serde_json::Value;
use std::fmt;

/// The version this code writes and reads.
pub const VERSION: u32 = 1;

/// A trace file's content.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceFile {
    /// What was run: everything that decides an execution besides the schedule. The caller's.
    pub header: Value,
    /// What fell.
    pub violation: Violation,
    /// Events of the execution.
    pub events: u32,
    /// Hash over them.
    pub event_hash: u64,
    /// Who goes, event by event, and what each choice that is not about who goes came to.
    pub schedule: Schedule,
}

/// Why a trace is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong there, and what was expected.
    pub what: String,
}

impl TraceError {
    /// An error at `line`.
    pub fn new(line: usize, what: impl Into<String>) -> Self {
        TraceError { line, what: what.into() }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}
impl std::error::Error for TraceError {}

/// What files of the laboratory are kept whole by: FNV-1a over bytes, finished so that every bit of the input reaches every
/// bit of the sum. Against damage, not against malice.
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    crate::engine::clock::mix(sum, bytes.len() as u64)
}

impl TraceFile {
    /// The trace of `failure`.
    pub fn new(header: Value, failure: &Failure) -> Self {
        TraceFile {
            header,
            violation: failure.violation.clone(),
            events: failure.events,
            event_hash: failure.event_hash,
            schedule: failure.schedule.clone(),
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let earlier = self.violation.earlier.map_or(String::from("-"), |s| s.0.to_string());
        let mut text = format!(
            "svmlab-trace {VERSION}\nheader {}\nviolation {} @{earlier} {}\nevents {} hash {:016x}\nschedule",
            self.header,
            self.violation.invariant,
            Value::from(self.violation.what.as_str()),
            self.events,
            self.event_hash,
        );
        for (actor, count) in runs(&self.schedule.choices) {
            text += &format!(" {actor}x{count}");
        }
        if !self.schedule.values.is_empty() {
            text += " |";
            for (value, count) in runs(&self.schedule.values) {
                text += &format!(" {value}x{count}");
            }
        }
        text.push('\n');
        let sum = checksum(text.as_bytes());
        text += &format!("checksum {sum:016x}\n");
        text
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// Another version, a line that is not as it must be, or a checksum that does not fit.
    pub fn parse(text: &str) -> Result<TraceFile, TraceError> {
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.first().copied().unwrap_or("");
        let expected = format!("svmlab-trace {VERSION}");
        if first != expected {
            return Err(TraceError::new(1, format!("expected `{expected}`, found `{}`", clip(first))));
        }
        let line = |n: usize, key: &str| -> Result<&str, TraceError> {
            let found = lines.get(n - 1).copied().unwrap_or("");
            found
                .strip_prefix(key)
                .and_then(|rest| rest.strip_prefix(' '))
                .ok_or_else(|| TraceError::new(n, format!("expected `{key} ...`, found `{}`", clip(found))))
        };
        let stated = line(6, "checksum")?;
        let body = text.rfind("checksum ").map_or(text, |at| &text[..at]);
        let sum = checksum(body.as_bytes());
        if stated != format!("{sum:016x}") || text != format!("{body}checksum {stated}\n") {
            let what =
                format!("the checksum does not fit: the file says {}, its content gives {sum:016x}", clip(stated));
            return Err(TraceError::new(6, what));
        }
        let header = serde_json::from_str(line(2, "header")?)
            .map_err(|e| TraceError::new(2, format!("expected a JSON header: {e}")))?;
        let violation = violation(line(3, "violation")?).map_err(|what| TraceError::new(3, what))?;
        let (events, event_hash) = line(4, "events")?
            .split_once(" hash ")
            .and_then(|(n, hash)| Some((n.parse().ok()?, u64::from_str_radix(hash, 16).ok()?)))
            .ok_or_else(|| TraceError::new(4, "expected `events <number> hash <16 hex digits>`"))?;
        let line = line(5, "schedule")?;
        let (actors, values) = line.split_once(" | ").map_or((line, None), |(a, v)| (a, Some(v)));
        let choices = listed::<u8>(actors, "actor", "events")?;
        let values = values.map_or(Ok(Vec::new()), |values| listed::<u8>(values, "value", "choices"))?;
        Ok(TraceFile { header, violation, events, event_hash, schedule: Schedule { choices, values } })
    }
}

fn violation(text: &str) -> Result<Violation, String> {
    let expected = || String::from("expected `violation <I1..I12> @<event or -> \"<text>\"`");
    let mut parts = text.splitn(3, ' ');
    let (Some(name), Some(earlier), Some(what)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(expected());
    };
    let invariant = Invariant::ALL.into_iter().find(|i| i.to_string() == name).ok_or_else(expected)?;
    let earlier = match earlier.strip_prefix('@') {
        Some("-") => None,
        Some(number) => Some(Stamp(number.parse().map_err(|_| expected())?)),
        None => return Err(expected()),
    };
    let what: String = serde_json::from_str(what).map_err(|_| expected())?;
    Ok(Violation { invariant, what, earlier })
}

/// Reads `1x3 0x2`.
fn listed<T: Copy + std::str::FromStr>(text: &str, what: &str, times: &str) -> Result<Vec<T>, TraceError> {
    let mut list = Vec::new();
    for run in text.split(' ') {
        let (value, count) = run
            .split_once('x')
            .and_then(|(a, n)| Some((a.parse::<T>().ok()?, n.parse::<usize>().ok()?)))
            .ok_or_else(|| TraceError::new(5, format!("expected `<{what}>x<{times}>`, found `{}`", clip(run))))?;
        if count > MOST_ELEMENTS - list.len() {
            return Err(TraceError::new(5, format!("expected at most {MOST_ELEMENTS} {times}")));
        }
        list.resize(list.len() + count, value);
    }
    Ok(list)
}

/// So that an error about a wrong file does not print the file.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TraceFile {
        TraceFile {
            header: serde_json::json!({"program": "p", "text": "line one\nline \"two\""}),
            violation: Violation::new(Invariant::I7, "page 0x200 \"gone\"", Some(Stamp(3))),
            events: 6,
            event_hash: 0xfeed,
            schedule: Schedule { choices: vec![0, 0, 1, 1, 1, 0], values: Vec::new() },
        }
    }

    fn with_values(values: Vec<u8>) -> TraceFile {
        let mut trace = sample();
        trace.schedule.values = values;
        trace
    }

    #[test]
    fn a_trace_survives_being_written() {
        let trace = sample();
        assert_eq!(TraceFile::parse(&trace.to_text()), Ok(trace));
    }

    #[test]
    fn what_choices_came_to_is_kept_beside_the_schedule() {
        let trace = with_values(vec![0, 0, 1, 70]);
        assert!(trace.to_text().contains("\nschedule 0x2 1x3 0x1 | 0x2 1x1 70x1\n"), "{}", trace.to_text());
        assert_eq!(TraceFile::parse(&trace.to_text()), Ok(trace));
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let text = with_values(vec![0, 1]).to_text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(TraceFile::parse(&changed).is_err(), "byte {at} was changed and nobody noticed");
            }
        }
        assert!(TraceFile::parse(&text[..text.len() - 1]).is_err(), "the last newline was cut off");
        assert!(TraceFile::parse(&format!("{text}\n")).is_err(), "something was added");
    }

    #[test]
    fn another_version_is_refused_with_both_versions_named() {
        let error = TraceFile::parse(&sample().to_text().replace("svmlab-trace 1", "svmlab-trace 2")).unwrap_err();
        assert_eq!(error.to_string(), "line 1: expected `svmlab-trace 1`, found `svmlab-trace 2`");
    }
}
