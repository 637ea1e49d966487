//! The counterexample as steps of the module's gates.

/// The names of places, as the module makes them.
#[allow(unreachable_pub)]
#[path = "../../../src/place.rs"]
mod place;

use crate::device::uapi::{GateStep, SVMLAB_GATE_ACTORS, SVMLAB_GATE_ANYWHERE};
use scenarios::gates::{GateActor, GateScript, Point};

pub(crate) use place::{begin, end};

/// What the judge does: it looks, once.
pub(crate) const LOOK: u64 = place::begin(u32::MAX);

/// The steps, and after them one of the judge's, before which no worker goes on. System calls and waves come to their end
/// meanwhile: what a call began is to be seen when it is done, and before somebody mends it.
pub(crate) struct Steps {
    pub(crate) steps: Vec<GateStep>,
    /// The judge's number.
    pub(crate) judge: u32,
}

/// The steps of a script.
///
/// # Errors
/// More actors than the module has room for.
pub(crate) fn steps(script: &GateScript) -> Result<Steps, String> {
    let judge = script.actors.len() as u32;
    if judge >= SVMLAB_GATE_ACTORS {
        return Err(format!("{judge} actors and a judge, the module has room for {SVMLAB_GATE_ACTORS}"));
    }
    let step = |actor: u32, place| GateStep { place, actor, pad: 0 };
    let mut steps: Vec<GateStep> =
        script.steps.iter().map(|at| step(at.actor as u32, place_of(&script.actors[at.actor], &at.point))).collect();
    steps.push(step(judge, LOOK));
    let is_work = |actor: &u32| matches!(script.actors[*actor as usize], GateActor::Work(_));
    steps.extend((0..judge).filter(is_work).map(|actor| step(actor, SVMLAB_GATE_ANYWHERE.into())));
    Ok(Steps { steps, judge })
}

fn place_of(actor: &GateActor, point: &Point) -> u64 {
    match (point, actor) {
        (Point::Begin(number), _) => place::begin(*number as u32),
        (Point::End(number), _) => place::end(*number as u32),
        (Point::At { file, line, .. }, _) => place::at(file, *line),
        (Point::WorkStart, GateActor::Work(name)) => place::work(name),
        (Point::WorkStart, GateActor::Thread(_) | GateActor::Wave(_)) => unreachable!("only work items start"),
    }
}
