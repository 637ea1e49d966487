//! What is written down when an execution is run to be looked at.

use super::exec::short;
use super::frame::Frame;
use super::object::Object;
use super::op::{Kind, NO_OBJECT};
use super::work::Item;
use crate::lab::{Stamp, Violation};
use std::panic::Location;

/// An execution, event by event.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Names, by number.
    pub actors: Vec<String>,
    /// The events in order.
    pub steps: Vec<Step>,
    /// Where the programs of the actors said they are, in order.
    pub marks: Vec<Mark>,
    /// What fell, if anything did.
    pub violation: Option<Violation>,
    /// Hash over every event: who, what, where.
    pub event_hash: u64,
}

/// One event and what the actor did until its next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number in the execution.
    pub stamp: Stamp,
    /// Who; an index into [`Timeline::actors`].
    pub actor: usize,
    /// What, in the kernel's words: "down_write mmap_lock".
    pub op: String,
    /// The object, as named when it was created; empty when there is none.
    pub object: String,
    /// Source file, from the workspace's root.
    pub file: &'static str,
    /// Line in it.
    pub line: u32,
    /// Locks the actor holds once the event has happened: `"svm_lock(w)"`.
    pub held: Vec<String>,
    /// What the code said about it before the actor's next event.
    pub notes: Vec<String>,
    /// Whether another actor had the event before.
    pub switch: bool,
}

/// An actor's program has come to a place that its author numbered ([`Lab::mark`](crate::lab::Lab::mark)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Who; an index into [`Timeline::actors`].
    pub actor: usize,
    /// How many events had happened, of all actors.
    pub after: usize,
    /// The number.
    pub place: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) steps: Vec<Step>,
    pub(crate) marks: Vec<Mark>,
}

impl Recorder {
    pub(super) fn event(
        &mut self,
        frame: &Frame,
        place: &'static Location<'static>,
        objects: &[Object],
        items: &[Item],
        index: usize,
    ) {
        let (actor, op, value) = (frame.actor, &frame.op, frame.value);
        let object = if op.object == NO_OBJECT { "" } else { objects[op.object as usize].name };
        let item = |id: u64| items[id as usize].name();
        let span = || {
            if op.span.first == 0 && op.span.last == u64::MAX {
                String::new()
            } else if op.span.first == op.span.last {
                format!(" {:#x}", op.span.first)
            } else {
                format!(" {:#x}-{:#x}", op.span.first, op.span.last)
            }
        };
        let text = match op.kind {
            Kind::Done => String::from("end"),
            Kind::Begin => String::from("begin"),
            Kind::Lock => format!("mutex_lock {object}"),
            Kind::SpinLock => format!("spin_lock {object}"),
            Kind::ReadLock => format!("down_read {object}"),
            Kind::WriteQueue => format!("queue for down_write {object}"),
            Kind::WriteLock => format!("down_write {object}"),
            Kind::Load => format!("read {object}"),
            Kind::Store => format!("write {object}"),
            Kind::WaitWhile => format!("wait while {object} is {}", op.arg()),
            Kind::WaitUntil => format!("wait until {object} is {}", op.arg()),
            Kind::Read => format!("look at {object}{}", span()),
            Kind::Write => format!("change {object}{}", span()),
            Kind::Invalidate => format!("flush {object}{}", span()),
            Kind::Queue => format!("queue {}", item(op.arg())),
            Kind::Unqueue => format!("unqueue {}", item(op.arg())),
            Kind::Instance => format!("begin to wait for {}", item(op.arg())),
            Kind::Flush => format!("wait for {}", item(op.span.last)),
            Kind::CancelEnd => format!("{} is cancelled", item(op.span.last)),
            Kind::WorkStart => format!("{} starts", item(op.arg())),
            Kind::Retry => String::from("retry, when nobody else can run"),
            Kind::Rest => String::from("everything is at rest"),
            Kind::TryLock | Kind::TryRead => {
                let (what, shared) = (if value == 1 { "succeeds" } else { "fails" }, op.kind == Kind::TryRead);
                format!("trylock {object}{} {what}", if shared { " for read" } else { "" })
            }
            Kind::Unlock | Kind::UnlockRead => format!("unlock {object}"),
            Kind::Take => format!("take one of {object}"),
            Kind::SpinUntil => format!("spin until {object} & {:#x} is {}", op.span.last, op.arg()),
            Kind::RcuRead => format!("{object}: read side begins"),
            Kind::GraceBegin => format!("{object}: wait for the readers"),
            Kind::GraceEnd => format!("{object}: grace period over"),
            Kind::Choose => format!("choose {value} of {}", op.arg()),
        };
        let mut held = Vec::new();
        for object in objects {
            if object.owner == actor {
                let write = if object.rwsem { "(w)" } else { "" };
                held.push(format!("{}{write}", object.name));
            } else if object.reader_set & (1 << actor) != 0 {
                held.push(format!("{}(r)", object.name));
            }
        }
        let switch = self.steps.last().is_some_and(|last| last.actor != actor as usize);
        self.steps.push(Step {
            stamp: Stamp(index as u32),
            actor: actor as usize,
            op: text,
            object: object.to_string(),
            file: short(place.file()),
            line: place.line(),
            held,
            notes: Vec::new(),
            switch,
        });
    }

    /// `actor`, which runs, is at `place` of its program.
    pub(crate) fn mark(&mut self, actor: u8, place: u32) {
        self.marks.push(Mark { actor: actor as usize, after: self.steps.len(), place });
    }

    /// A note of `actor`, which runs.
    pub(crate) fn note(&mut self, actor: u8, text: String) {
        if let Some(step) = self.steps.iter_mut().rev().find(|s| s.actor == actor as usize) {
            step.notes.push(text);
        }
    }
}
