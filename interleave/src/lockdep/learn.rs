//! What a stack that was not seen before teaches: recursion, order, use in interrupts.
//!
//! Everything here happens once for each stack of classes in a search; it may be slow.

use super::Lockdep;
use super::actor::{How, Irq, Key};
use super::class::ClassId;
use super::graph::{Dep, Origin, Scene, Stacked, Step, Waits};
use super::report::{LockReport, Pattern};
use crate::engine::frame::Frame;
use crate::explore::Schedule;
use std::panic::Location;
use std::rc::Rc;

/// Who takes a lock, and when.
pub(super) struct Moment<'a> {
    pub(super) actor: u8,
    pub(super) name: &'a str,
    /// The events so far.
    pub(super) frames: &'a [Frame],
    pub(super) place: &'static Location<'static>,
}

/// How a class was taken with interrupts on, and how in a handler: the first time each.
#[derive(Debug, Default)]
struct Use {
    class: ClassId,
    on: [Option<Rc<Scene>>; 3],
    handler: [Option<Rc<Scene>>; 3],
}

/// By class, in first-seen order.
#[derive(Debug, Default)]
pub(super) struct Uses(Vec<Use>);

impl Uses {
    fn of(&mut self, class: ClassId) -> &mut Use {
        let at = self.0.iter().position(|u| u.class == class).unwrap_or_else(|| {
            self.0.push(Use { class, ..Use::default() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

fn stacked(key: Key, place: &'static Location<'static>) -> Stacked {
    Stacked { class: key.class(), how: key.how(), begun: !key.waits(), place }
}

/// An edge to be.
struct New {
    from: ClassId,
    to: ClassId,
    dep: Dep,
    origin: Origin,
}

impl Lockdep {
    /// `key` is taken on top of what the actor holds, for the first time.
    #[cold]
    pub(super) fn learn(&mut self, key: Key, waits: Waits, moment: &Moment<'_>) {
        let taken = stacked(key, moment.place);
        let scene = Rc::new(self.scene(taken, waits, moment));
        if key.irq() == Irq::Handler && key.waits() {
            self.learn_use(&scene, true);
        }
        if key.irq() == Irq::On && waits == Waits::Takes {
            self.learn_use(&scene, false);
        }
        if !key.waits() {
            return;
        }
        let mut new = Vec::new();
        for (at, outer) in scene.held.iter().enumerate().rev() {
            let dep = Dep::of(outer.how, key.how());
            if !self.graph.knows(outer.class, key.class(), dep) {
                let origin = Origin::Order { scene: scene.clone(), at };
                new.push(New { from: outer.class, to: key.class(), dep, origin });
            }
        }
        self.learn_edges(new);
    }

    /// What the actor holds has interrupts on from now.
    #[cold]
    pub(super) fn learn_irqs_on(&mut self, moment: &Moment<'_>) {
        for held in self.holders[moment.actor as usize].held.clone() {
            let taken = stacked(held.key, held.place);
            let scene = Rc::new(self.scene(taken, Waits::Takes, moment));
            self.learn_use(&scene, false);
        }
    }

    fn scene(&self, taken: Stacked, waits: Waits, moment: &Moment<'_>) -> Scene {
        let held = self.holders[moment.actor as usize].context().iter();
        Scene {
            actor: moment.name.to_string(),
            held: held.map(|held| stacked(held.key, held.place)).collect(),
            taken,
            waits,
            schedule: Schedule::of(moment.frames),
        }
    }

    /// A class is taken in a handler, or with interrupts on: every class of the other kind is one side of an edge.
    fn learn_use(&mut self, scene: &Rc<Scene>, handler: bool) {
        let Stacked { class, how, .. } = scene.taken;
        let mine = self.uses.of(class);
        let slot = if handler { &mut mine.handler[how as usize] } else { &mut mine.on[how as usize] };
        if slot.is_some() {
            return;
        }
        *slot = Some(scene.clone());
        let mut new = Vec::new();
        for other in &self.uses.0 {
            for other_how in How::ALL {
                let theirs = if handler { &other.on } else { &other.handler };
                let Some(theirs) = &theirs[other_how as usize] else { continue };
                let mine = scene.clone();
                let (from, to, dep, holds, handler) = if handler {
                    (other.class, class, Dep::of(other_how, how), theirs.clone(), mine)
                } else {
                    (class, other.class, Dep::of(how, other_how), mine, theirs.clone())
                };
                if !self.graph.knows(from, to, dep) {
                    new.push(New { from, to, dep, origin: Origin::Interrupt { holds, handler } });
                }
            }
        }
        self.learn_edges(new);
    }

    /// Adds edges that come at once. Of those that close a cycle, the one with the shortest is told: the others are the
    /// same mistake.
    fn learn_edges(&mut self, new: Vec<New>) {
        let mut worst: Option<(New, Vec<Step>)> = None;
        for edge in new {
            let New { from, to, dep, .. } = edge;
            match self.graph.closes(from, to, dep) {
                None => self.graph.add(from, to, dep, edge.origin),
                Some(path) => {
                    let told = self.graph.is_mistake(from, to);
                    self.graph.refuse(from, to, dep);
                    if !told && worst.as_ref().is_none_or(|(_, other)| path.len() < other.len()) {
                        worst = Some((edge, path));
                    }
                }
            }
        }
        if let Some((edge, path)) = worst {
            let pattern = if edge.from == edge.to && matches!(edge.origin, Origin::Order { .. }) {
                Pattern::Recursion
            } else {
                let before = path.iter().map(|step| &self.graph.origins[step.origin]);
                let interrupt = before.chain([&edge.origin]).any(|o| matches!(o, Origin::Interrupt { .. }));
                match (interrupt, path.is_empty()) {
                    (true, true) => Pattern::InconsistentState,
                    (true, false) => Pattern::SafeToUnsafe,
                    (false, _) => Pattern::Circular,
                }
            };
            let origins = std::iter::once((edge.from, edge.to, &edge.origin))
                .chain(path.iter().map(|step| (step.from, step.to, &self.graph.origins[step.origin])));
            self.reports.push(LockReport::new(pattern, &self.classes, origins));
        }
    }
}
