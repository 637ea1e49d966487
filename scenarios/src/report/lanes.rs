//! A column for each actor.
//!
//! Only one actor acts at a time, so its text may run on over the columns to its right; a column is as wide as its
//! distance from the next, and what is on the left is drawn as a bar while that actor still has something to do. So
//! six actors fit into 120 columns and a line still holds a sentence.

use super::blocks::{Block, Line};
use super::page::{Page, width, wrap};

/// Columns for the mark and the number of the event.
const MARGIN: usize = 8;
/// What the last column gets at least.
const TEXT: usize = 44;

/// Where each actor's column is.
pub(super) struct Lanes<'a> {
    page: &'a Page,
    /// Actors that have a column, with its position, and the first and last of their blocks.
    lanes: Vec<Lane<'a>>,
}

struct Lane<'a> {
    actor: usize,
    name: &'a str,
    at: usize,
    first: usize,
    last: usize,
}

impl<'a> Lanes<'a> {
    /// Columns for everybody who acts in `blocks`, in the order of `actors`.
    pub(super) fn new(page: &'a Page, actors: &'a [String], blocks: &[Block]) -> Self {
        let mut lanes: Vec<Lane<'_>> = Vec::new();
        for (actor, name) in actors.iter().enumerate() {
            let first = blocks.iter().position(|b| b.actor == actor);
            let last = blocks.iter().rposition(|b| b.actor == actor);
            if let Some((first, last)) = first.zip(last) {
                lanes.push(Lane { actor, name, at: 0, first, last });
            }
        }
        let room = page.columns() - MARGIN - TEXT;
        let gaps = lanes.len().saturating_sub(1).max(1);
        for (i, lane) in lanes.iter_mut().enumerate() {
            lane.at = (room * i / gaps).min(30 * i);
        }
        Lanes { page, lanes }
    }

    /// The names over the columns.
    pub(super) fn header(&self) -> String {
        let mut line = String::new();
        for (i, lane) in self.lanes.iter().enumerate() {
            let room = self.lanes.get(i + 1).map_or(usize::MAX, |next| next.at - lane.at - 1);
            let name: String = match width(lane.name) > room {
                true => lane.name.chars().take(room - 1).chain(['…']).collect(),
                false => lane.name.to_owned(),
            };
            pad(&mut line, lane.at);
            line.push_str(&name);
        }
        format!("{:MARGIN$}{}\n", " event", self.page.bold(&line))
    }

    /// One block; `index` is its number.
    pub(super) fn block(&self, index: usize, block: &Block) -> String {
        let mut out = String::new();
        for line in &block.lines {
            out.push_str(&self.line(index, block.actor, line));
        }
        out
    }

    /// The bars alone, between two blocks.
    pub(super) fn gap(&self, index: usize) -> String {
        let bars = self.bars(index, None, "");
        format!("{:MARGIN$}{bars}", "").trim_end().to_owned() + "\n"
    }

    fn line(&self, index: usize, actor: usize, line: &Line) -> String {
        let at = self.lanes.iter().find(|l| l.actor == actor).map_or(0, |l| l.at);
        let room = self.page.columns() - MARGIN - at - 2;
        let held = if line.held.is_empty() { String::new() } else { format!("[{}]", line.held) };
        let lead = if line.note { "" } else { "  " };
        let mut text: Vec<String> = wrap(&line.text, room - width(lead) - 2)
            .into_iter()
            .enumerate()
            .map(|(i, l)| format!("{}{lead}{l}", if i == 0 { "" } else { "  " }))
            .collect();
        // Locks stand behind the text when they fit there, else below it.
        let mut locks = vec![String::new(); text.len()];
        if !held.is_empty() {
            let last = text.len() - 1;
            if width(&text[last]) + 2 + width(&held) <= room {
                locks[last] = format!("  {held}");
            } else {
                for piece in wrap(&held, room - 4) {
                    text.push("    ".to_owned());
                    locks.push(piece);
                }
            }
        }
        let mut out = String::new();
        for (i, (text, locks)) in text.iter().zip(&locks).enumerate() {
            let mark = line.mark.filter(|_| i == 0).map_or(" ".to_owned(), |m| self.page.bad(&m.to_string()));
            let number = line.stamp.filter(|_| i == 0).map_or(String::new(), |s| s.0.to_string());
            let body = self.bars(index, Some(actor), &format!("{text}{locks}"));
            // bars() knows nothing of colours, so what is dim is painted afterwards, at its known place
            let body = match body.find(locks.as_str()).filter(|_| !locks.is_empty()) {
                Some(j) => format!("{}{}{}", &body[..j], self.page.dim(locks), &body[j + locks.len()..]),
                None => body,
            };
            out.push_str(format!("{mark}{number:>6} {body}").trim_end());
            out.push('\n');
        }
        out
    }

    /// The bars of everybody who is under way at block `index`, with `text` in the column of `actor` over them.
    fn bars(&self, index: usize, actor: Option<usize>, text: &str) -> String {
        let mut line = String::new();
        for lane in &self.lanes {
            if Some(lane.actor) == actor {
                pad(&mut line, lane.at);
                line.push_str("┃ ");
                line.push_str(text);
            } else if lane.first < index && index < lane.last
                || actor.is_none() && lane.first <= index && index < lane.last
            {
                // text that has come this far covers the bar
                if width(&line) < lane.at || lane.at == 0 {
                    pad(&mut line, lane.at);
                    line.push('│');
                }
            }
        }
        line
    }
}

/// Fills `line` with blanks up to column `at`.
fn pad(line: &mut String, at: usize) {
    while width(line) < at {
        line.push(' ');
    }
}
