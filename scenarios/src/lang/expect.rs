//! The `expect` block: what each design answers, and what must be so when everything is at rest.

use super::ast::*;
use super::error::Problem;
use super::names::invariant;
use super::node::{Reader, unknown_node, value_place};
use super::ops::{Alignment, Scope, Shape};
use super::size::parse_span;
use interleave::lab::Invariant;
use kdl::{KdlNode, KdlValue};

/// What an `expect` block can say.
const NODES: &[&str] = &["holds", "violates", "mapped", "unmapped", "value", "attr", "queues"];

impl Scope<'_> {
    /// Reads the nodes of an `expect` block.
    pub(super) fn expect(&self, nodes: &[KdlNode], verdicts: &mut Vec<Verdict>, finals: &mut Vec<Final>) {
        for node in nodes {
            let mut r = Reader::new(node, self.sink);
            let at = r.head_place();
            let kind = match r.name() {
                "holds" => {
                    self.holds(&mut r, verdicts);
                    None
                }
                "violates" => {
                    verdicts.extend(self.violates(&mut r));
                    None
                }
                "mapped" => self.mapped(&mut r),
                "unmapped" => {
                    let gpu = self.gpu(&mut r);
                    let area = self.area(&mut r, Shape::Part, Alignment::Must);
                    gpu.zip(area).map(|(gpu, area)| FinalKind::Unmapped { gpu, area })
                }
                "value" => self.value(&mut r),
                "attr" => {
                    let gpu = self.gpu(&mut r);
                    let area = self.area(&mut r, Shape::Part, Alignment::Must);
                    let checks = self.attrs(&mut r, gpu.as_deref(), "attr \"buf\" access=\"enable\"");
                    gpu.zip(area).zip(checks).map(|((gpu, area), checks)| FinalKind::Attr { gpu, area, checks })
                }
                "queues" => {
                    let gpu = self.gpu(&mut r);
                    let state = r.string_arg("\"running\" or \"stopped\"", "queues \"running\"");
                    let running = state.and_then(|s| {
                        let found = [("running", true), ("stopped", false)].into_iter().find(|(n, _)| *n == s.0);
                        r.known(s, "state", &["running", "stopped"], found.map(|(_, v)| v))
                    });
                    gpu.zip(running).map(|(gpu, running)| FinalKind::Queues { gpu, running })
                }
                _ => {
                    unknown_node(node, self.sink, "expect", NODES);
                    continue;
                }
            };
            r.finish_without_block();
            finals.extend(kind.map(|kind| Final { kind, at }));
        }
    }

    fn holds(&self, r: &mut Reader<'_>, verdicts: &mut Vec<Verdict>) {
        let at = r.head_place();
        let first = r.string_arg("the name of a design", "holds \"hardened\"");
        for name in first.into_iter().chain(r.string_args("the name of a design")) {
            let found = r.known(name, "design", &design_names(), Design::named(name.0));
            verdicts.extend(found.map(|design| Verdict { design, answer: Answer::Holds, at }));
        }
    }

    fn violates(&self, r: &mut Reader<'_>) -> Option<Verdict> {
        const EXAMPLE: &str = "violates \"poc-v1\" \"I1\"";
        let at = r.head_place();
        let design = r.string_arg("the name of a design", EXAMPLE);
        let design = design.and_then(|d| r.known(d, "design", &design_names(), Design::named(d.0)));
        let mut list: Vec<Invariant> = Vec::new();
        let first = r.string_arg("an invariant", EXAMPLE)?;
        let mut good = true;
        for name in std::iter::once(first).chain(r.string_args("an invariant")) {
            let names: Vec<String> = Invariant::ALL.iter().map(Invariant::to_string).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // every wrong number resembles a right one, so no guess: say them all
            let found = invariant(name.0);
            if found.is_none() {
                self.sink.push(
                    Problem::new(format!("unknown invariant `{}`", name.0), name.1, "no such invariant")
                        .help(format!("known invariants: {}", names.join(", "))),
                );
            }
            match found {
                Some(i) if list.contains(&i) => {
                    self.sink.push(Problem::new(format!("`{i}` is given twice"), name.1, "here again"));
                }
                Some(i) => list.push(i),
                None => good = false,
            }
        }
        design.filter(|_| good).map(|design| Verdict { design, answer: Answer::Violates(list), at })
    }

    fn mapped(&self, r: &mut Reader<'_>) -> Option<FinalKind> {
        let gpu = self.gpu(r);
        let spans = r.string_prop("except");
        let area = self.area(r, Shape::Part, Alignment::Must);
        let (gpu, area) = gpu.zip(area)?;
        let region = self.regions.iter().find(|g| g.name == area.region)?;
        let mut except = Vec::new();
        for text in spans.iter().flat_map(|(text, _)| text.split(',')) {
            let at = spans?.1;
            match parse_span(text.trim()) {
                Ok((offset, size)) => {
                    let bytes = self.within(region, (offset, at), Some((size, at)), Alignment::Must)?;
                    if !area.bytes.covers(&bytes) {
                        self.sink.push(Problem::new(
                            format!("`{}` is excepted from an interval that it is not in", text.trim()),
                            at,
                            "outside",
                        ));
                        return None;
                    }
                    except.push(Area { region: region.name.clone(), bytes });
                }
                Err(why) => {
                    self.sink.push(
                        Problem::new(why, at, "the value of `except`")
                            .help("offsets count from the start of the region; several are separated by commas"),
                    );
                    return None;
                }
            }
        }
        Some(FinalKind::Mapped { gpu, area, except })
    }

    fn value(&self, r: &mut Reader<'_>) -> Option<FinalKind> {
        let entry = r.prop("is");
        let entry = r.require("is", entry, "value \"buf\" offset=0 is=7");
        let area = self.area(r, Shape::Page, Alignment::Must);
        let entry = entry?;
        match self.alternatives(entry, |word| word.parse().ok(), Some(|n| n)) {
            Ok(one_of) => area.map(|area| FinalKind::Value { area, one_of }),
            Err(wrong) => {
                let what = if matches!(entry.value(), KdlValue::String(_)) { "in here" } else { "this" };
                self.sink.push(
                    Problem::new(format!("`{wrong}` is not a value"), value_place(entry), what)
                        .help("expected a number, as in is=7, or several, as in is=\"0|7\""),
                );
                None
            }
        }
    }
}

/// The names of all designs.
pub(super) fn design_names() -> Vec<&'static str> {
    Design::ALL.iter().map(|d| d.name()).collect()
}
