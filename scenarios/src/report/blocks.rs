//! A timeline cut into blocks: what one actor did between two context switches, and which of it is worth a line.

use interleave::lab::Stamp;
use interleave::{Step, Timeline};

/// What one actor did without another in between.
pub(super) struct Block {
    /// Index into the timeline's actors.
    pub(super) actor: usize,
    /// What is shown of it; never empty.
    pub(super) lines: Vec<Line>,
}

/// One entry of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// ① or ②.
    pub(super) mark: Option<char>,
    /// The event, for an operation.
    pub(super) stamp: Option<Stamp>,
    /// What.
    pub(super) text: String,
    /// Whether the driver said it (a note), rather than the scheduler.
    pub(super) note: bool,
    /// Locks held afterwards, where that is worth saying.
    pub(super) held: String,
}

/// The two events that contradict each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Marks {
    /// ①: the fact that stood.
    pub(super) earlier: Option<Stamp>,
    /// ②: the event that contradicts it.
    pub(super) later: Option<Stamp>,
}

impl Marks {
    /// Those of a timeline: the violation names the earlier one, the later one is where the execution ended.
    pub(super) fn of(timeline: &Timeline) -> Marks {
        let Some(violation) = &timeline.violation else { return Marks::default() };
        let later = timeline.steps.last().map(|s| s.stamp);
        // a stamp from before the first recorded event is of the setup, which has no line
        let known = |s: &Stamp| timeline.steps.iter().any(|step| step.stamp == *s);
        Marks { earlier: violation.earlier.filter(known).filter(|e| Some(*e) != later), later }
    }
    pub(super) fn mark(&self, stamp: Stamp) -> Option<char> {
        match stamp {
            s if Some(s) == self.earlier => Some('①'),
            s if Some(s) == self.later => Some('②'),
            _ => None,
        }
    }
}

/// Cuts `timeline` into blocks. Unless `full`, a step about which the driver says nothing is counted, not shown.
pub(super) fn blocks(timeline: &Timeline, marks: Marks, full: bool) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = timeline.steps.as_slice();
    while let Some(first) = rest.first() {
        let n = rest.iter().take_while(|s| s.actor == first.actor).count();
        let (steps, after) = rest.split_at(n);
        rest = after;
        blocks.push(Block { actor: first.actor, lines: lines(steps, marks, full) });
    }
    blocks
}

fn lines(steps: &[Step], marks: Marks, full: bool) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut elided: Vec<&Step> = Vec::new();
    let mut held_shown = String::new();
    // A block of which nothing would be left shows its first operation: that is where the actor was.
    let silent = !full && steps.iter().all(|s| s.notes.is_empty() && marks.mark(s.stamp).is_none());
    for (i, step) in steps.iter().enumerate() {
        let shown = full || marks.mark(step.stamp).is_some() || (silent && i == 0);
        if !shown && step.notes.is_empty() {
            elided.push(step);
            continue;
        }
        elide(&mut lines, &mut elided);
        let held = step.held.join(" ");
        let mut news = if held == held_shown { String::new() } else { held.clone() };
        held_shown = held;
        if shown {
            let place = if full { format!("  ({}:{})", short(step.file), step.line) } else { String::new() };
            lines.push(Line {
                mark: marks.mark(step.stamp),
                stamp: Some(step.stamp),
                text: format!("{}{place}", step.op),
                note: false,
                held: std::mem::take(&mut news),
            });
        }
        // What the driver said once the event had happened; the first of it stands for an event that is not shown.
        for (n, note) in step.notes.iter().enumerate() {
            let stamp = (n == 0 && !shown).then_some(step.stamp);
            lines.push(Line { mark: None, stamp, text: note.clone(), note: true, held: std::mem::take(&mut news) });
        }
    }
    elide(&mut lines, &mut elided);
    // Where the actor stops is where the next one comes in: say what it still holds.
    if let (Some(last), Some(step)) = (lines.last_mut(), steps.last()) {
        let held = step.held.join(" ");
        if held != held_shown {
            last.held = held;
        }
    }
    lines
}

/// Leaves a trace of operations that are not shown.
fn elide(lines: &mut Vec<Line>, elided: &mut Vec<&Step>) {
    if elided.is_empty() {
        return;
    }
    let n = elided.len();
    let text = match elided.as_slice() {
        [only] => only.op.clone(),
        _ => format!("· {n} steps"),
    };
    let stamp = (n == 1).then(|| elided[0].stamp);
    elided.clear();
    lines.push(Line { mark: None, stamp, text, note: false, held: String::new() });
}

/// The last two parts of a path.
pub(super) fn short(file: &str) -> &str {
    file.rmatch_indices(['/', '\\']).nth(1).map_or(file, |(i, _)| &file[i + 1..])
}

#[cfg(test)]
mod tests {
    use super::super::sample::{step, timeline_of};
    use super::*;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|l| l.text.as_str()).collect()
    }

    #[test]
    fn steps_without_a_word_are_counted() {
        let steps = [
            step(0, 0, "down_write svm_lock", &["svm_lock(w)"], &[]),
            step(1, 0, "down_read mmap_lock", &["svm_lock(w)", "mmap_lock(r)"], &[]),
            step(2, 0, "change gpu_pt 0x200", &["svm_lock(w)"], &["range mapped"]),
        ];
        let short = lines(&steps, Marks::default(), false);
        assert_eq!(texts(&short), ["· 2 steps", "range mapped"]);
        assert_eq!(short[1].held, "svm_lock(w)", "what is held where the driver speaks");
        assert_eq!(short[1].stamp, Some(Stamp(2)), "and which event it was");
        assert_eq!(lines(&steps, Marks::default(), true).len(), 4, "but not when everything is wanted");
    }

    #[test]
    fn a_marked_lock_operation_is_shown() {
        let steps = [step(0, 0, "mutex_lock a", &[], &[]), step(1, 0, "mutex_lock b", &[], &[])];
        let marks = Marks { earlier: Some(Stamp(0)), later: None };
        let lines = lines(&steps, marks, false);
        assert_eq!(texts(&lines), ["mutex_lock a", "mutex_lock b"]);
        assert_eq!(lines[0].mark, Some('①'));
    }

    #[test]
    fn a_block_of_locks_alone_says_where_the_actor_was() {
        let steps = [step(0, 0, "mutex_lock a", &["a"], &[]), step(1, 0, "read x", &["a"], &[])];
        assert_eq!(texts(&lines(&steps, Marks::default(), false)), ["mutex_lock a", "read x"]);
    }

    #[test]
    fn a_context_switch_begins_a_block() {
        let timeline = timeline_of(
            &["a", "b"],
            vec![
                step(0, 0, "x", &[], &[]),
                step(1, 1, "y", &[], &[]),
                step(2, 1, "z", &[], &[]),
                step(3, 0, "x", &[], &[]),
            ],
        );
        let actors: Vec<usize> = blocks(&timeline, Marks::default(), false).iter().map(|b| b.actor).collect();
        assert_eq!(actors, [0, 1, 0]);
    }

    #[test]
    fn a_path_keeps_its_last_two_parts() {
        assert_eq!(short("model/src/amdgpu/map.rs"), "amdgpu/map.rs");
        assert_eq!(short("map.rs"), "map.rs");
        assert_eq!(short("src/map.rs"), "src/map.rs");
    }
}
