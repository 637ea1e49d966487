//! The order graph, and the search for a strong path.

use super::actor::How;
use super::class::ClassId;
use super::lesson::Scene;
use std::collections::VecDeque;
use std::rc::Rc;

/// The kind of an edge A -> B, in lockdep's letters: how A is held (Shared, Exclusive), how B is taken (Recursive read,
/// Not).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Dep(usize);

impl Dep {
    pub(super) fn of(held: How, taken: How) -> Dep {
        Dep(usize::from(held == How::Write) | usize::from(taken != How::Recursive) << 1)
    }
    /// Whether A is held exclusively.
    fn exclusive(self) -> bool {
        self.0 & 1 != 0
    }
    /// Whether B is taken by a recursive reader.
    fn recursive(self) -> bool {
        self.0 & 2 == 0
    }
}

/// How an edge came to be.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The first of these locks was held when the scene's was taken; its place in `held`.
    Order { scene: Rc<Scene>, at: usize },
    /// The one lock is held with interrupts on, the other is taken in a handler.
    Interrupt { holds: Rc<Scene>, handler: Rc<Scene> },
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) from: ClassId,
    pub(super) to: ClassId,
    /// Index in [`Graph::origins`].
    pub(super) origin: usize,
}

#[derive(Clone, Debug)]
struct Edge {
    to: ClassId,
    /// By kind, the origin.
    kinds: [Option<usize>; 4],
}

/// See the module documentation. Acyclic, as far as strong paths go: an edge that would close a cycle is reported and
/// stays outside.
#[derive(Debug, Default)]
pub(super) struct Graph {
    from: Vec<Vec<Edge>>,
    /// Edges that closed a cycle.
    refused: Vec<(ClassId, ClassId, Dep)>,
    pub(super) origins: Vec<Origin>,
}

impl Graph {
    /// Whether there is nothing new about this edge.
    pub(super) fn knows(&self, from: ClassId, to: ClassId, dep: Dep) -> bool {
        let edges = self.from.get(from as usize).map_or(&[][..], |edges| edges);
        edges.iter().any(|edge| edge.to == to && edge.kinds[dep.0].is_some()) || self.refused.contains(&(from, to, dep))
    }

    pub(super) fn add(&mut self, from: ClassId, to: ClassId, dep: Dep, origin: Origin) {
        let number = self.origins.len();
        self.origins.push(origin);
        let most = from.max(to) as usize;
        if self.from.len() <= most {
            self.from.resize_with(most + 1, Vec::new);
        }
        let edges = &mut self.from[from as usize];
        let at = edges.iter().position(|edge| edge.to == to).unwrap_or_else(|| {
            edges.push(Edge { to, kinds: [None; 4] });
            edges.len() - 1
        });
        edges[at].kinds[dep.0] = Some(number);
    }

    /// The edge closes a cycle: it is known, and no part of the graph.
    pub(super) fn refuse(&mut self, from: ClassId, to: ClassId, dep: Dep) {
        self.refused.push((from, to, dep));
    }

    /// Whether an edge of any kind from `from` to `to` closed a cycle before.
    pub(super) fn is_mistake(&self, from: ClassId, to: ClassId) -> bool {
        self.refused.iter().any(|&(f, t, _)| (f, t) == (from, to))
    }

    /// The shortest path that makes a strong cycle together with a new edge `dep` from `from` to `to`: from `to` to
    /// `from`. Empty when the edge is a cycle itself.
    pub(super) fn closes(&self, from: ClassId, to: ClassId, dep: Dep) -> Option<Vec<Step>> {
        // A place is a class and whether every way to it ends with a recursive read.
        let place = |class: ClassId, only_recursive: bool| class as usize * 2 + usize::from(only_recursive);
        if from == to {
            return (dep.exclusive() || !dep.recursive()).then(Vec::new);
        }
        let mut came: Vec<Option<(usize, Step)>> = vec![None; self.from.len().max(from.max(to) as usize + 1) * 2];
        let start = place(to, dep.recursive());
        let mut queue = VecDeque::from([start]);
        while let Some(here) = queue.pop_front() {
            let (class, only_recursive) = ((here / 2) as ClassId, here % 2 == 1);
            let Some(edges) = self.from.get(class as usize) else { continue };
            for edge in edges {
                // Exclusive first, and what is not recursive before what is: the strongest that is there.
                for kind in [3, 2, 1, 0].map(Dep) {
                    let Some(origin) = edge.kinds[kind.0] else { continue };
                    if only_recursive && !kind.exclusive() {
                        continue;
                    }
                    let there = place(edge.to, kind.recursive());
                    let ends = edge.to == from && (dep.exclusive() || !kind.recursive());
                    if there == start || came[there].is_some() {
                        continue;
                    }
                    came[there] = Some((here, Step { from: class, to: edge.to, origin }));
                    if ends {
                        let mut path = Vec::new();
                        let mut at = there;
                        while let Some((before, step)) = came[at] {
                            path.push(step);
                            at = before;
                        }
                        path.reverse();
                        return Some(path);
                    }
                    queue.push_back(there);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::Schedule;
    use crate::lockdep::class::{Name, Sort};
    use crate::lockdep::lesson::{Stacked, Waits};
    use How::{Read, Recursive, Write};

    fn graph(edges: &[(ClassId, How, How, ClassId)]) -> Graph {
        let mut graph = Graph::default();
        for &(from, held, taken, to) in edges {
            let stacked = |class: ClassId, how| Stacked {
                class: Name::new(Sort::Lock, class.to_string(), 0),
                how,
                begun: false,
                file: "".into(),
                line: 0,
            };
            let scene = Scene {
                actor: String::new(),
                held: vec![stacked(from, held)],
                taken: stacked(to, taken),
                waits: Waits::Takes,
                schedule: Schedule::default(),
            };
            graph.add(from, to, Dep::of(held, taken), Origin::Order { scene: Rc::new(scene), at: 0 });
        }
        graph
    }

    /// Whether two threads that hold the one lock and take the other, in turn, are a cycle.
    fn abba(a: (How, How), b: (How, How)) -> bool {
        // The first holds 1 as a.0 and takes 2 as b.1; the second holds 2 as b.0 and takes 1 as a.1.
        graph(&[(1, a.0, b.1, 2)]).closes(2, 1, Dep::of(b.0, a.1)).is_some()
    }

    #[test]
    fn two_locks_are_a_cycle_unless_the_readers_of_one_do_not_wait_for_each_other() {
        for held in How::ALL {
            for taken in How::ALL {
                // The kernel's rule: waiting needs a writer on one side, or a reader that is not recursive.
                let waits = held == Write || taken != Recursive;
                assert_eq!(abba((held, taken), (Write, Write)), waits, "{held:?} {taken:?}");
                assert_eq!(abba((Write, Write), (held, taken)), waits, "{held:?} {taken:?}");
                assert!(!abba((held, taken), (Read, Recursive)));
            }
        }
    }

    #[test]
    fn a_recursive_read_is_no_transfer_station() {
        // 1 -> 2 (recursive read), 2 (read) -> 3: whoever holds 1 does not wait for whoever holds 2.
        assert!(graph(&[(1, Write, Recursive, 2), (2, Read, Write, 3)]).closes(3, 1, Dep::of(Write, Write)).is_none());
        assert!(graph(&[(1, Write, Recursive, 2), (2, Write, Write, 3)]).closes(3, 1, Dep::of(Write, Write)).is_some());
        assert!(graph(&[(1, Write, Read, 2), (2, Read, Write, 3)]).closes(3, 1, Dep::of(Write, Write)).is_some());
        // The same class may be come to twice, once in each way: the stronger way must not be hidden by the weaker one.
        let both = [(1, Write, Recursive, 2), (1, Write, Write, 4), (4, Write, Write, 2), (2, Read, Write, 3)];
        let path = graph(&both).closes(3, 1, Dep::of(Write, Write)).expect("through 4");
        assert_eq!(path.iter().map(|step| step.to).collect::<Vec<_>>(), [4, 2, 3]);
    }

    #[test]
    fn the_shortest_cycle_is_told() {
        let edges = [(1, Write, Write, 2), (2, Write, Write, 3), (1, Write, Write, 3), (3, Write, Write, 4)];
        let path = graph(&edges).closes(4, 1, Dep::of(Write, Write)).expect("a cycle");
        assert_eq!(path.iter().map(|step| (step.from, step.to)).collect::<Vec<_>>(), [(1, 3), (3, 4)]);
    }
}
