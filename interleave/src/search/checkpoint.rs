//! The state of a search as a file.
//!
//! A text file of three lines and a checksum:
//!
//! ```text
//! svmlab-checkpoint 2
//! header {...}            what is searched, in the words of whoever wrote it
//! state {...}             parts of the search: paths, what is left to try, counts
//! checksum 0123456789abcdef
//! ```
//!
//! It is written beside its place and moved there when it is on disk, so that a machine that stops at any moment leaves
//! the previous one or the new one. The checksum is over every byte before its line.

use super::tree::Tree;
use crate::trace::checksum;
use serde_json::Value;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The version this code writes and reads: of the file, of the frames in it, and of the order of the search.
const VERSION: u32 = 2;

/// The state of a search.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// JSON of a sound [`Tree`].
    state: String,
}

/// Why a checkpoint is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadCheckpoint(String);

impl fmt::Display for BadCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BadCheckpoint {}

impl Checkpoint {
    pub(super) fn of(tree: &Tree) -> Self {
        Checkpoint { state: serde_json::to_string(tree).expect("plain data serialises") }
    }
    pub(super) fn into_tree(self) -> Tree {
        serde_json::from_str(&self.state).expect("it was read before")
    }

    /// The file's text. `header` is whatever decides the search: program and configuration.
    pub fn to_text(&self, header: &Value) -> String {
        let mut text = format!("svmlab-checkpoint {VERSION}\nheader {header}\nstate {}\n", self.state);
        let sum = checksum(text.as_bytes());
        text += &format!("checksum {sum:016x}\n");
        text
    }

    /// Writes the file: beside its place first, then into it.
    ///
    /// # Errors
    /// Those of the file system; the previous file, if there is one, is still there.
    pub fn write(&self, path: &Path, header: &Value) -> io::Result<()> {
        let beside = path.with_extension("checkpoint-new");
        let mut file = File::create(&beside)?;
        file.write_all(self.to_text(header).as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(&beside, path)?;
        // the rename itself is on disk when the folder is
        match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Reads a file's text; its header has to be `header`.
    ///
    /// # Errors
    /// Another version, a file that was changed or cut off, or a checkpoint of another search, with what is different.
    pub fn parse(text: &str, header: &Value) -> Result<Checkpoint, BadCheckpoint> {
        let bad = |what: String| Err(BadCheckpoint(what));
        let first = text.lines().next().unwrap_or("");
        let expected = format!("svmlab-checkpoint {VERSION}");
        if first != expected {
            let found: String = first.chars().take(40).collect();
            return bad(format!("line 1: expected `{expected}`, found `{found}`"));
        }
        let damaged = |what: &str| bad(format!("the checkpoint is damaged: {what}"));
        let Some((body, stated)) = text.rfind("checksum ").map(|at| text.split_at(at)) else {
            return damaged("it ends before its checksum");
        };
        if stated != format!("checksum {:016x}\n", checksum(body.as_bytes())) {
            return damaged("the checksum does not fit its content");
        }
        let mut lines = body.lines().skip(1);
        let mut line = |key: &str| lines.next().and_then(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let (Some(its_header), Some(state)) = (line("header"), line("state")) else {
            return damaged("a line is missing");
        };
        let Ok(its_header) = serde_json::from_str::<Value>(its_header) else {
            return damaged("its header is no JSON");
        };
        if its_header != *header {
            return bad(format!("it is of another search: {}", differences(&its_header, header)));
        }
        match serde_json::from_str::<Tree>(state) {
            Ok(tree) if tree.is_sound() => Ok(Checkpoint { state: state.to_owned() }),
            Ok(_) => damaged("its parts do not fit together"),
            Err(why) => damaged(&why.to_string()),
        }
    }
}

/// Which entries differ, with both values where they are short.
pub(super) fn differences(its: &Value, ours: &Value) -> String {
    let (Some(its), Some(ours)) = (its.as_object(), ours.as_object()) else {
        return String::from("the headers differ");
    };
    let shown = |value: Option<&Value>| value.map_or(String::from("nothing"), Value::to_string);
    let mut told = Vec::new();
    let keys: std::collections::BTreeSet<&String> = its.keys().chain(ours.keys()).collect();
    for key in keys {
        let (a, b) = (its.get(key), ours.get(key));
        if a != b {
            let (a, b) = (shown(a), shown(b));
            told.push(if a.len() + b.len() > 80 {
                format!("`{key}` differs")
            } else {
                format!("`{key}` is {a} there and {b} here")
            });
        }
    }
    told.join(", ")
}
