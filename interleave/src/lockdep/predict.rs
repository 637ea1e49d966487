//! What follows from lessons: an order graph, and the cycles that close in it.

use super::actor::How;
use super::class::{ClassId, Name};
use super::graph::{Dep, Graph, Origin, Step};
use super::lesson::{Lesson, Scene};
use super::report::{LockReport, Pattern};
use std::rc::Rc;

/// How a class was taken with interrupts on, and how in a handler: the first time each.
#[derive(Debug, Default)]
struct Use {
    class: ClassId,
    on: [Option<Rc<Scene>>; 3],
    handler: [Option<Rc<Scene>>; 3],
}

/// By class, in first-seen order.
#[derive(Debug, Default)]
struct Uses(Vec<Use>);

impl Uses {
    fn of(&mut self, class: ClassId) -> &mut Use {
        let at = self.0.iter().position(|u| u.class == class).unwrap_or_else(|| {
            self.0.push(Use { class, ..Use::default() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

/// An edge to be.
struct New {
    from: ClassId,
    to: ClassId,
    dep: Dep,
    origin: Origin,
}

/// Hears one lesson after the other.
#[derive(Debug, Default)]
pub(super) struct Predictor {
    /// Number them.
    names: Vec<Name>,
    graph: Graph,
    uses: Uses,
    pub(super) reports: Vec<LockReport>,
}

impl Predictor {
    pub(super) fn hear(&mut self, lesson: &Lesson) {
        let scene = Rc::new(lesson.scene.clone());
        if lesson.in_handler {
            self.learn_use(&scene, true);
        }
        if lesson.irqs_on {
            self.learn_use(&scene, false);
        }
        if !lesson.orders {
            return;
        }
        let to = self.number(&scene.taken.class);
        let mut new = Vec::new();
        for (at, outer) in scene.held.iter().enumerate().rev() {
            let (from, dep) = (self.number(&outer.class), Dep::of(outer.how, scene.taken.how));
            if !self.graph.knows(from, to, dep) {
                new.push(New { from, to, dep, origin: Origin::Order { scene: scene.clone(), at } });
            }
        }
        self.learn_edges(new);
    }

    fn number(&mut self, name: &Name) -> ClassId {
        let at = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        });
        at as ClassId
    }

    /// A class is taken in a handler, or with interrupts on: every class of the other kind is one side of an edge.
    fn learn_use(&mut self, scene: &Rc<Scene>, handler: bool) {
        let (class, how) = (self.number(&scene.taken.class), scene.taken.how);
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
            self.reports.push(LockReport::new(pattern, origins));
        }
    }
}
