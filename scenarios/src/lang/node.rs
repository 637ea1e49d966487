//! Reading one KDL node: typed arguments and properties, and complaints about whatever nobody asked for.

use super::ast::Place;
use super::error::Problem;
use super::names::did_you_mean;
use super::size::parse_size;
use kdl::{KdlEntry, KdlNode, KdlValue};
use miette::SourceSpan;
use std::cell::RefCell;

/// Where problems go. Reading goes on after one, so that a file's problems are reported all at once.
#[derive(Default)]
pub(super) struct Sink(RefCell<Vec<Problem>>);

impl Sink {
    pub(super) fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }
    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }
    pub(super) fn into_inner(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A value and where it stands.
pub(super) type Placed<T> = (T, Place);

/// A node that is being read.
pub(super) struct Reader<'a> {
    pub(super) node: &'a KdlNode,
    pub(super) sink: &'a Sink,
    used: Vec<bool>,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(node: &'a KdlNode, sink: &'a Sink) -> Self {
        let used = vec![false; node.entries().len()];
        Reader { node, sink, used, asked: Vec::new() }
    }

    /// The node's name.
    pub(super) fn name(&self) -> &'a str {
        self.node.name().value()
    }
    /// Where the node stands, up to its block.
    pub(super) fn head_place(&self) -> Place {
        let start = place(self.node.name().span());
        let end = self.node.entries().last().map_or(start, |e| place(e.span()));
        Place { offset: start.offset, len: end.offset + end.len - start.offset }
    }

    /// The nodes in the block; complains when there is no block.
    pub(super) fn block(&self, example: &str) -> &'a [KdlNode] {
        match self.node.children() {
            Some(block) => block.nodes(),
            None => {
                self.sink.push(
                    Problem::new(format!("`{}` needs a block", self.name()), self.head_place(), "no { } here")
                        .help(format!("as in: {example}")),
                );
                &[]
            }
        }
    }

    /// The next argument, if there is one.
    fn next_arg(&mut self) -> Option<&'a KdlEntry> {
        let entries = self.node.entries();
        let i = (0..entries.len()).find(|i| !self.used[*i] && entries[*i].name().is_none())?;
        self.used[i] = true;
        Some(&entries[i])
    }

    /// The next argument as a string; complains when there is none.
    pub(super) fn string_arg(&mut self, what: &str, example: &str) -> Option<Placed<&'a str>> {
        match self.next_arg() {
            Some(entry) => self.string(entry, what),
            None => {
                self.sink.push(
                    Problem::new(
                        format!("`{}` needs {what}", self.name()),
                        self.head_place(),
                        format!("{what} is missing"),
                    )
                    .help(format!("as in: {example}")),
                );
                None
            }
        }
    }

    /// The next argument as a string, if there is one.
    pub(super) fn optional_string_arg(&mut self, what: &str) -> Option<Placed<&'a str>> {
        let entry = self.next_arg()?;
        self.string(entry, what)
    }

    /// All arguments that are left, as strings.
    pub(super) fn string_args(&mut self, what: &str) -> Vec<Placed<&'a str>> {
        let mut list = Vec::new();
        while let Some(entry) = self.next_arg() {
            list.extend(self.string(entry, what));
        }
        list
    }

    /// The property `key`, if it is there.
    pub(super) fn prop(&mut self, key: &'static str) -> Option<&'a KdlEntry> {
        self.asked.push(key);
        let entries = self.node.entries();
        let i = (0..entries.len()).find(|i| !self.used[*i] && entries[*i].name().is_some_and(|n| n.value() == key))?;
        self.used[i] = true;
        Some(&entries[i])
    }

    /// Every property that is left and that `known` knows, in the order written.
    pub(super) fn props_in_order(&mut self, known: &[&'static str]) -> Vec<(&'static str, &'a KdlEntry)> {
        self.asked.extend(known);
        let mut list = Vec::new();
        for (i, entry) in self.node.entries().iter().enumerate() {
            let Some(name) = entry.name().filter(|_| !self.used[i]) else { continue };
            let taken = list.iter().any(|(key, _)| *key == name.value());
            if let Some(key) = known.iter().find(|k| **k == name.value()).filter(|_| !taken) {
                self.used[i] = true;
                list.push((*key, entry));
            }
        }
        list
    }

    /// The property `key` as a string.
    pub(super) fn string_prop(&mut self, key: &'static str) -> Option<Placed<&'a str>> {
        let entry = self.prop(key)?;
        self.string(entry, &format!("`{key}`"))
    }

    /// The property `key` as a boolean, or `default`.
    pub(super) fn bool_prop(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.prop(key) else { return default };
        self.boolean(entry, key).unwrap_or(default)
    }

    /// The property `key` as a number of bytes. `Some(None)`: it is there and wrong, and that was said.
    pub(super) fn size_prop(&mut self, key: &'static str) -> Option<Option<Placed<u64>>> {
        let entry = self.prop(key)?;
        Some(self.size(entry, key))
    }

    /// The property `key` as a whole number up to `max`.
    pub(super) fn number_prop(&mut self, key: &'static str, max: u64) -> Option<Placed<u64>> {
        let entry = self.prop(key)?;
        self.number(entry, key, max)
    }

    /// A property that must be there.
    pub(super) fn require<T>(&self, key: &str, value: Option<T>, example: &str) -> Option<T> {
        if value.is_none() {
            self.sink.push(
                Problem::new(
                    format!("`{}` needs `{key}`", self.name()),
                    self.head_place(),
                    format!("`{key}` is missing"),
                )
                .help(format!("as in: {example}")),
            );
        }
        value
    }

    /// A string, else a complaint.
    pub(super) fn string(&self, entry: &'a KdlEntry, what: &str) -> Option<Placed<&'a str>> {
        match entry.value() {
            KdlValue::String(text) => Some((text, value_place(entry))),
            other => self.wrong_type(entry, what, "a string in quotes", other),
        }
    }

    /// A boolean, else a complaint.
    pub(super) fn boolean(&self, entry: &'a KdlEntry, key: &str) -> Option<bool> {
        match entry.value() {
            KdlValue::Bool(value) => Some(*value),
            other => self.wrong_type(entry, &format!("`{key}`"), "#true or #false", other),
        }
    }

    /// A whole number from 0 to `max`, else a complaint.
    pub(super) fn number(&self, entry: &'a KdlEntry, key: &str, max: u64) -> Option<Placed<u64>> {
        match entry.value() {
            KdlValue::Integer(n) => match u64::try_from(*n).ok().filter(|n| *n <= max) {
                Some(n) => Some((n, value_place(entry))),
                None => {
                    self.sink.push(
                        Problem::new(format!("`{key}` is out of range"), value_place(entry), "this number")
                            .help(format!("expected 0 to {max}")),
                    );
                    None
                }
            },
            other => self.wrong_type(entry, &format!("`{key}`"), "a whole number", other),
        }
    }

    /// A number of bytes, else a complaint.
    pub(super) fn size(&self, entry: &'a KdlEntry, key: &str) -> Option<Placed<u64>> {
        let at = value_place(entry);
        match entry.value() {
            KdlValue::Integer(_) => self.number(entry, key, u64::MAX),
            KdlValue::String(text) => match parse_size(text) {
                Ok(bytes) => Some((bytes, at)),
                Err(why) => {
                    self.sink.push(Problem::new(why, at, format!("the value of `{key}`")));
                    None
                }
            },
            other => self.wrong_type(entry, &format!("`{key}`"), "a size, such as \"4K\" or 0x1000", other),
        }
    }

    fn wrong_type<T>(&self, entry: &KdlEntry, what: &str, expected: &str, found: &KdlValue) -> Option<T> {
        let found = match found {
            KdlValue::String(_) => "a string",
            KdlValue::Integer(_) => "a number",
            KdlValue::Float(_) => "a number with a fraction",
            KdlValue::Bool(_) => "a boolean",
            KdlValue::Null => "#null",
        };
        self.sink.push(
            Problem::new(format!("{what} must be {expected}"), value_place(entry), format!("this is {found}"))
                .help(format!("expected {expected}")),
        );
        None
    }

    /// One of the names that `known` knows, else a complaint.
    pub(super) fn known<T>(&self, name: Placed<&str>, what: &str, names: &[&str], value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.sink.push(
                Problem::new(format!("unknown {what} `{}`", name.0), name.1, format!("no such {what}"))
                    .help(did_you_mean(name.0, &format!("known {what}s"), names)),
            );
        }
        value
    }

    /// Complains about everything that nobody asked for.
    pub(super) fn finish(self) {
        for (i, entry) in self.node.entries().iter().enumerate() {
            if self.used[i] {
                continue;
            }
            let same = |e: &&KdlEntry| e.name().zip(entry.name()).is_some_and(|(a, b)| a.value() == b.value());
            match entry.name() {
                // KDL lets the rightmost of several equal keys win; nobody who writes two means that
                Some(key) if self.node.entries()[..i].iter().any(|e| same(&e)) => {
                    let first = self.node.entries().iter().find(same).map_or(entry.span(), |e| e.span());
                    self.sink.push(
                        Problem::new(format!("`{}` is given twice", key.value()), place(entry.span()), "here again")
                            .and(place(first), "first here"),
                    );
                }
                Some(key) => self.sink.push(
                    Problem::new(
                        format!("`{}` does not take `{}`", self.name(), key.value()),
                        place(key.span()),
                        "unknown key",
                    )
                    .help(match self.asked.is_empty() {
                        true => format!("`{}` takes no keys", self.name()),
                        false => did_you_mean(key.value(), "known keys", &self.asked),
                    }),
                ),
                None => self.sink.push(
                    Problem::new(
                        format!("`{}` takes no further argument", self.name()),
                        place(entry.span()),
                        "one too many",
                    )
                    .help("more is said with keys, as in size=\"4K\""),
                ),
            }
        }
    }

    /// Like [`Reader::finish`], and complains about a block.
    pub(super) fn finish_without_block(self) {
        if let Some(block) = self.node.children() {
            self.sink.push(Problem::new(
                format!("`{}` takes no block", self.name()),
                place(block.span()),
                "this does not belong here",
            ));
        }
        self.finish();
    }
}

/// Where a KDL item stands.
pub(super) fn place(span: SourceSpan) -> Place {
    Place { offset: span.offset(), len: span.len() }
}

/// Where the value of an entry stands: behind the `=` of a property.
pub(super) fn value_place(entry: &KdlEntry) -> Place {
    let all = place(entry.span());
    match entry.name() {
        Some(name) => {
            let skip = (name.span().len() + 1).min(all.len);
            Place { offset: all.offset + skip, len: all.len - skip }
        }
        None => all,
    }
}

/// Complains about a node that does not belong where it stands.
pub(super) fn unknown_node(node: &KdlNode, sink: &Sink, inside: &str, known: &[&str]) {
    let name = node.name().value();
    sink.push(
        Problem::new(
            format!("unknown node `{name}` in {inside}"),
            place(node.name().span()),
            format!("not something {inside} can say"),
        )
        .help(did_you_mean(name, "known nodes", known)),
    );
}
