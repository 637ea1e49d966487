//! Two runs of one scenario, the same steps in each, against each other.

use super::order::Step;
use super::state::{GpuState, Run, Turn};
use crate::lang::Scenario;
use crate::world::Part;
use interleave::lab::Invariant;
use std::fmt::{self, Display};

/// The first operation after which two runs differ, and in what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which; None when they differ before the first.
    pub step: Option<Step>,
    /// What differs: never empty.
    pub what: Vec<Unlike>,
    /// What happened during that operation, as each tells it.
    pub events: [Vec<String>; 2],
}

/// One thing that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unlike {
    /// What: `the operation`, or something of a GPU.
    pub what: String,
    /// In the first run, in words.
    pub left: String,
    /// In the second.
    pub right: String,
}

impl Difference {
    /// For people: the scenario, the operation with its place, what each world says, and what happened meanwhile.
    pub fn in_words(&self, scenario: &Scenario, names: [&str; 2]) -> String {
        let at = self.step.map_or("before the first operation".to_owned(), |step| step.in_words(scenario));
        let mut text = format!("{}:{at}\n", scenario.source.path);
        for Unlike { what, left, right } in &self.what {
            text += &format!("  {what}\n    {}: {left}\n    {}: {right}\n", names[0], names[1]);
        }
        for (name, events) in names.iter().zip(&self.events).filter(|(_, events)| !events.is_empty()) {
            text += &format!("  what happened, {name}:\n");
            events.iter().for_each(|event| text += &format!("    {event}\n"));
        }
        text
    }
}

impl Run {
    /// How many of the steps another world may be asked to do: all that ended here, and one that found no end because a GPU
    /// access is retried forever, which another world can show as well.
    pub fn steps_for_others(&self) -> usize {
        self.turns.len() + usize::from(self.endless().is_some())
    }

    /// What the last operation came to when it is an access that is retried forever.
    fn endless(&self) -> Option<Vec<Part>> {
        let fall = self.fell.as_ref()?;
        let access = matches!(fall.violation.invariant, Invariant::I6) && fall.access;
        access.then(|| fall.came.iter().cloned().chain([Part::NoProgress]).collect())
    }
}

/// Where `right` first differs from `left`; None when it nowhere does. What `left` did not come to is not compared.
pub fn compare(left: &Run, right: &Run) -> Option<Difference> {
    let mut what = Vec::new();
    compare_states(&left.before, &right.before, &mut what);
    if !what.is_empty() {
        return Some(Difference { step: None, what, events: Default::default() });
    }
    for (ours, theirs) in left.turns.iter().zip(&right.turns) {
        if ours.came != theirs.came {
            what.push(unlike("the operation", &ours.came, &theirs.came));
        }
        compare_states(&ours.after, &theirs.after, &mut what);
        if !what.is_empty() {
            let events = [ours.events.clone(), theirs.events.clone()];
            return Some(Difference { step: Some(theirs.step), what, events });
        }
    }
    compare_ends(left, right)
}

/// Both have come to the end of one of them.
fn compare_ends(left: &Run, right: &Run) -> Option<Difference> {
    let ended = |step, ours: &str, theirs: String, events| {
        let what = vec![Unlike { what: "the run".into(), left: ours.into(), right: theirs }];
        Some(Difference { step: Some(step), what, events })
    };
    match (left.turns.get(right.turns.len()), &right.fell, left.endless()) {
        (Some(turn), Some(fall), _) => {
            let events = [turn.events.clone(), fall.events.clone()];
            ended(turn.step, "goes on", fall.violation.what.clone(), events)
        }
        (Some(turn), None, _) => ended(turn.step, "goes on", "ends".into(), [turn.events.clone(), Vec::new()]),
        (None, _, Some(came)) => {
            let fall = left.fell.as_ref().expect("an endless run fell");
            let theirs: Option<&Turn> = right.turns.get(left.turns.len());
            match theirs {
                Some(turn) if turn.came == came => None,
                Some(turn) => Some(Difference {
                    step: Some(turn.step),
                    what: vec![unlike("the operation", &came, &turn.came)],
                    events: [fall.events.clone(), turn.events.clone()],
                }),
                None => ended(fall.step, "is retried forever", "ends".into(), [fall.events.clone(), Vec::new()]),
            }
        }
        _ => None,
    }
}

fn unlike<T: Display>(what: impl Into<String>, left: &[T], right: &[T]) -> Unlike {
    Unlike { what: what.into(), left: list(left), right: list(right) }
}

fn list<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".into();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn compare_states(left: &[GpuState], right: &[GpuState], into: &mut Vec<Unlike>) {
    if left.len() != right.len() {
        into.push(Unlike { what: "GPUs".into(), left: left.len().to_string(), right: right.len().to_string() });
    }
    for (gpu, (left, right)) in left.iter().zip(right).enumerate() {
        compare_gpu(&format!("GPU {gpu}"), left, right, into);
    }
}

fn compare_gpu(gpu: &str, left: &GpuState, right: &GpuState, into: &mut Vec<Unlike>) {
    let fields = |state: &GpuState| {
        [
            ("has an instance", state.instance.to_string()),
            ("close has begun", state.exiting.to_string()),
            ("queues run", state.running.to_string()),
            ("quiesces not undone", state.quiesced.to_string()),
            ("believes to hold one", state.stopped_by_us.to_string()),
            ("counts as evicted", state.evicted_ranges.to_string()),
            ("work waits", state.pending.to_string()),
        ]
    };
    for ((name, ours), (_, theirs)) in fields(left).into_iter().zip(fields(right)) {
        if ours != theirs {
            into.push(Unlike { what: format!("{gpu}: {name}"), left: ours, right: theirs });
        }
    }
    if let (Some(ours), Some(theirs)) = (left.dma_mappings, right.dma_mappings)
        && ours != theirs
    {
        let what = format!("{gpu}: DMA mappings");
        into.push(Unlike { what, left: ours.to_string(), right: theirs.to_string() });
    }
    compare_lists(format!("{gpu}: ranges"), &left.ranges, &right.ranges, into);
    compare_lists(format!("{gpu}: attributes"), &left.nodes, &right.nodes, into);
    compare_lists(format!("{gpu}: pages"), &left.pages, &right.pages, into);
}

/// Tells only what one of them has and the other has not.
fn compare_lists<T: PartialEq + Display + Clone>(what: String, left: &[T], right: &[T], into: &mut Vec<Unlike>) {
    if left != right {
        let only = |these: &[T], those: &[T]| these.iter().filter(|x| !those.contains(x)).cloned().collect::<Vec<_>>();
        into.push(unlike(what, &only(left, right), &only(right, left)));
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", list(&self.came))
    }
}
