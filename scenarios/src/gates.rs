//! A counterexample as a script for gates: what must come before what, in words that mean the same in a real kernel.
//!
//! The driver is the same source in the simulator and in a kernel module, and so a visible operation of it has the same
//! file and line in both. A [`GateScript`] lists, in the order of one execution, the operations of the driver and where
//! system calls and work items begin and end; everything that happens inside of the simulated mm or GPU is left out, since
//! the real ones do it in their own way. Whoever holds each actor at its next operation until all earlier ones of other
//! actors are done makes the real thing take the same interleaving.

use crate::lang::{Design, OpKind, Scenario};
use interleave::Timeline;
use std::fmt;

/// The mark where operation `number` of a thread or wave begins.
pub(crate) const fn begin(number: usize) -> u32 {
    2 * number as u32
}

/// The mark where operation `number` of a thread or wave has ended.
pub(crate) const fn end(number: usize) -> u32 {
    2 * number as u32 + 1
}

/// Whether the machine of the laboratory, the kernel module and its GPU, can take an execution of `scenario` under `design`.
/// `plants` are the planted bugs that were switched on.
///
/// # Errors
/// What of it they have not; in words.
pub fn stageable(scenario: &Scenario, design: Design, plants: &[String]) -> Result<(), String> {
    if design == Design::Kfd {
        return Err("kfd is not in the kernel module; only the designs on drm_gpusvm are".into());
    }
    if let Some(plant) = plants.first().cloned().or_else(|| Some(scenario.plants.first()?.name().to_owned())) {
        return Err(format!("{plant} is a planted bug, and the kernel module has none of those"));
    }
    if scenario.gpus.len() != 1 {
        let count = scenario.gpus.len();
        return Err(format!("the scenario has {count} GPUs, and workers of several cannot be told apart in a kernel"));
    }
    if scenario.gpus[0].vram != 0 {
        return Err("the scenario's GPU has memory of its own, the kernel module's has none".into());
    }
    if !scenario.peers.is_empty() {
        return Err("another driver shares the scenario's memory, and is not in the kernel module".into());
    }
    let ops = scenario.threads.iter().flat_map(|t| &t.ops).chain(scenario.waves.iter().flat_map(|w| &w.ops));
    let strange = |kind: &&OpKind| {
        matches!(kind, OpKind::Fork { .. } | OpKind::Exit | OpKind::EvictVram { .. } | OpKind::Mremap { .. })
    };
    match ops.chain(&scenario.prepare).map(|op| &op.kind).find(strange) {
        Some(kind) => Err(format!("the scenario has an operation that is not staged in a kernel: {}", kind.name())),
        None => Ok(()),
    }
}

/// Where an actor can be held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Point {
    /// Before operation `.0` of a thread or wave.
    Begin(usize),
    /// After operation `.0` of a thread or wave.
    End(usize),
    /// Where the work item begins to run.
    WorkStart,
    /// Before a visible operation of the driver.
    At {
        /// Source file, from the root of the workspace.
        file: &'static str,
        /// Line in it.
        line: u32,
        /// What it is: "write range.gpu_mapped".
        op: String,
    },
}

/// Who can be held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GateActor {
    /// Thread `.0` of the scenario.
    Thread(usize),
    /// Wave `.0` of the scenario.
    Wave(usize),
    /// The worker that runs the work item of this name.
    Work(String),
}

/// An actor at a point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateStep {
    /// An index into [`GateScript::actors`].
    pub actor: usize,
    /// Where.
    pub point: Point,
}

/// What must come before what: each step before the next one of another actor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateScript {
    /// Who takes part, by number.
    pub actors: Vec<GateActor>,
    /// In order.
    pub steps: Vec<GateStep>,
}

impl GateScript {
    /// The script of `timeline`, an execution of `scenario`.
    pub fn new(scenario: &Scenario, timeline: &Timeline) -> Self {
        let actors = timeline.actors.iter().map(|name| {
            let thread = scenario.threads.iter().position(|t| t.name == *name).map(GateActor::Thread);
            let wave = || scenario.waves.iter().position(|w| w.name == *name).map(GateActor::Wave);
            thread.or_else(wave).unwrap_or_else(|| GateActor::Work(name.clone()))
        });
        // (before which event, what): ends come before begins, which come before the event.
        let mut placed: Vec<(usize, u8, GateStep)> = Vec::new();
        for mark in &timeline.marks {
            let (actor, number) = (mark.actor, mark.place as usize / 2);
            let is_end = mark.place % 2 == 1;
            let own = |at: &usize| timeline.steps[*at].actor == actor;
            if is_end {
                let last = (0..mark.after).rev().find(own);
                placed.push((last.map_or(0, |at| at + 1), 0, GateStep { actor, point: Point::End(number) }));
            } else if let Some(first) = (mark.after..timeline.steps.len()).find(own) {
                placed.push((first, 1, GateStep { actor, point: Point::Begin(number) }));
            }
        }
        for (at, step) in timeline.steps.iter().enumerate() {
            let point = if step.op.ends_with(" starts") {
                Point::WorkStart
            } else if step.file.starts_with("model/") && !passes_no_gate(&step.op) {
                Point::At { file: step.file, line: step.line, op: step.op.clone() }
            } else {
                continue;
            };
            placed.push((at, 2, GateStep { actor: step.actor, point }));
        }
        placed.sort_by_key(|(at, rank, _)| (*at, *rank));
        let mut steps: Vec<GateStep> = placed.into_iter().map(|(.., step)| step).collect();
        steps.dedup_by(|step, before| step.actor == before.actor && step.point.is_where(&before.point));
        GateScript { actors: actors.collect(), steps }
    }
}

/// What is an event of its own in the simulator only. A lock that has to be queued for, and work that has to be waited for,
/// are got later, at the same place; a gate is passed once, before both, and nobody may stand behind it who has to wait.
fn passes_no_gate(op: &str) -> bool {
    op == "begin" || ["unlock", "queue for ", "begin to wait for "].iter().any(|start| op.starts_with(start))
}

impl Point {
    /// Whether it is the same place: one line of the driver can be several operations, of the simulated mm and GPU even
    /// some that the real ones do not have.
    fn is_where(&self, other: &Point) -> bool {
        match (self, other) {
            (Point::At { file, line, .. }, Point::At { file: other_file, line: other_line, .. }) => {
                file == other_file && line == other_line
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Begin(number) => write!(f, "operation {number} begins"),
            Point::End(number) => write!(f, "operation {number} has ended"),
            Point::WorkStart => f.write_str("begins to run"),
            Point::At { file, line, op } => write!(f, "{op} at {file}:{line}"),
        }
    }
}

impl fmt::Display for GateActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateActor::Thread(number) => write!(f, "thread {number}"),
            GateActor::Wave(number) => write!(f, "wave {number}"),
            GateActor::Work(name) => write!(f, "work {name}"),
        }
    }
}
