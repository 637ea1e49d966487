//! The story of one execution, told so that a kernel reviewer believes it.

use super::blocks::{Marks, blocks};
use super::lanes::Lanes;
use super::page::{Page, beside, thousands};
use crate::lang::{Design, Scenario};
use interleave::Timeline;
use interleave::lab::Stamp;

/// What is told.
pub struct Story<'a> {
    /// What was run.
    pub scenario: &'a Scenario,
    /// On which design.
    pub design: Design,
    /// Names of planted bugs.
    pub plants: &'a [String],
    /// The execution.
    pub timeline: &'a Timeline,
    /// How it was found, one line; empty when it was replayed.
    pub found: String,
    /// From what the scenario was made smaller, one line; empty when it was not.
    pub reduced: String,
    /// The trace file, if there is one.
    pub trace: Option<&'a str>,
    /// The token, with whatever `svmlab replay` takes beside it.
    pub token: Option<&'a str>,
}

/// Column in which the text beside a label starts.
const LABELS: usize = 13;

/// Tells it: what fell, who did what in which order, the two events that contradict each other, how to see it again.
pub fn story(story: &Story<'_>, page: &Page) -> String {
    let Story { scenario, design, timeline, .. } = story;
    let columns = page.columns();
    let mut out = String::new();
    let what = match &timeline.violation {
        Some(v) => page.bad(&format!("{} falls", v.invariant)),
        None => page.good("nothing falls"),
    };
    out.push_str(&format!(
        "{what}: {} under {}\n\n",
        page.bold(&format!("scenario {}", scenario.name)),
        page.bold(&format!("design {design}"))
    ));
    let mut label = |name: &str, text: &str| out.push_str(&beside(name, LABELS, text, columns));
    label("  question", &scenario.about);
    if let Some(v) = &timeline.violation {
        label("  invariant", &format!("{}: {}", v.invariant, v.invariant.sentence()));
        label("  but", &v.what);
    }
    if !story.plants.is_empty() {
        label("  planted", &story.plants.join(", "));
    }
    if !story.found.is_empty() {
        label("  found", &story.found);
    }
    if !story.reduced.is_empty() {
        label("  reduced", &story.reduced);
    }

    let marks = Marks::of(timeline);
    let blocks = blocks(timeline, marks, page.full);
    let lanes = Lanes::new(page, &timeline.actors, &blocks);
    out.push('\n');
    out.push_str(&lanes.header());
    out.push_str(&format!("{}\n", "─".repeat(columns)));
    for (i, block) in blocks.iter().enumerate() {
        out.push_str(&lanes.block(i, block));
        if i + 1 < blocks.len() {
            out.push_str(&lanes.gap(i));
        }
    }
    out.push_str(&format!("{}\n", "─".repeat(columns)));

    for (mark, stamp) in [('①', marks.earlier), ('②', marks.later)] {
        if let Some(stamp) = stamp {
            out.push_str(&event(timeline, mark, stamp, page));
        }
    }
    if let Some(v) = &timeline.violation
        && marks.earlier.is_none()
        && v.earlier.is_some_and(|e| Some(e) != marks.later)
    {
        out.push_str("   the fact it contradicts was made before the race began\n");
    }
    out.push_str(&format!(
        "\n{} events, event hash {:016x}\n",
        thousands(timeline.steps.len() as u64),
        timeline.event_hash
    ));
    if let Some(trace) = story.trace {
        out.push_str(&format!("replay with: svmlab replay {trace}\n"));
    }
    if let Some(token) = story.token {
        let label = if story.trace.is_some() { "   by token" } else { "replay with" };
        out.push_str(&format!("{label}: svmlab replay {token}\n"));
    }
    out
}

/// One of the two events: what came of it in the code's own words, then the operation and its place.
fn event(timeline: &Timeline, mark: char, stamp: Stamp, page: &Page) -> String {
    let Some(step) = timeline.steps.iter().find(|s| s.stamp == stamp) else { return String::new() };
    let actor = timeline.actors.get(step.actor).map_or("?", String::as_str);
    let op = format!("{} at {}:{}", step.op, step.file, step.line);
    let text = match step.notes.last() {
        Some(note) => format!("{actor}: {note} (event {}, {op})", stamp.0),
        None => format!("{actor}: {op} (event {})", stamp.0),
    };
    let line = beside(&format!("{mark} "), 2, &text, page.columns());
    line.replacen(mark, &page.bad(&mark.to_string()), 1)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::lang::{Access, Attr, ScenarioBuilder};

    fn told(page: &Page) -> String {
        let scenario = ScenarioBuilder::new(
            "munmap-vs-set-attr",
            "A partial munmap lands between range lookup and page collection: can a wave reach the old pages after the \
             callback returned?",
        )
        .region("buf", 0x20_0000, 2 << 20)
        .thread("ioctl", |t| t.set_attr("buf", 0, None, &[Attr::Access(Access::Enable)]))
        .build()
        .unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
        story(
            &Story {
                scenario: &scenario,
                design: Design::PocV1,
                plants: &["skip-tlb-flush".to_owned()],
                timeline: &sample::timeline(),
                found: "in execution 7, with 17 context switches; shrunk to 5 context switches".to_owned(),
                reduced: "from all-of-it: context switches 5, operations 9 → 3, pages 512".to_owned(),
                trace: Some("traces/munmap-vs-set-attr.poc-v1.trace"),
                token: Some("munmap-vs-set-attr:1AbCd"),
            },
            page,
        )
    }

    #[test]
    fn a_story_says_who_did_what_holding_what_and_which_two_events_contradict() {
        let text = told(&Page::default());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_full_story_leaves_nothing_out() {
        let text = told(&Page { full: true, ..Page::default() });
        for step in &sample::timeline().steps {
            assert!(text.contains(&format!("map.rs:{}", step.line)), "event {:?} is told", step.stamp);
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_story_keeps_to_the_page() {
        for width in [80, 100, 120, 160] {
            for line in told(&Page { width, ..Page::default() }).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = told(&Page::default());
        let painted = told(&Page { colours: true, ..Page::default() });
        assert_ne!(painted, plain);
        let mut stripped = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\x1b') {
            stripped.push_str(before);
            rest = after.split_once('m').expect("an escape sequence ends").1;
        }
        stripped.push_str(rest);
        assert_eq!(stripped, plain);
    }

    #[test]
    fn an_execution_without_violation_is_told_too() {
        let mut timeline = sample::timeline();
        timeline.violation = None;
        assert_eq!(Marks::of(&timeline), Marks::default());
    }
}
