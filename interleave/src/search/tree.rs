//! The parts of a search: who runs, who waits for whom, and how results go together.

use super::segment::{Fork, Segment, Tally};
use crate::explore::Stats;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of a part.
pub(super) type Id = u32;

/// See the module documentation.
#[derive(Serialize, Deserialize)]
pub(super) struct Tree {
    nodes: BTreeMap<Id, Node>,
    next: Id,
    /// Parts that nobody runs.
    #[serde(skip)]
    ready: VecDeque<Id>,
    /// What came of everything, once it is there.
    result: Option<Tally>,
}

#[derive(Serialize, Deserialize)]
struct Node {
    /// Who waits for this, and the how-manyth child this is.
    parent: Option<(Id, usize)>,
    state: State,
    /// Tells whoever runs it that nobody wants it any more.
    #[serde(skip)]
    dropped: Arc<AtomicBool>,
}

#[derive(Serialize, Deserialize)]
enum State {
    /// Runs or could run: as it was when it was last handed in.
    Part(Segment),
    /// Waits for its children.
    Join { rest: Segment, children: Vec<Child> },
}

#[derive(Serialize, Deserialize)]
enum Child {
    At(Id),
    Over(Box<Tally>),
    /// An earlier sibling ended the search.
    Dropped,
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survey {
    /// What was explored so far, over all parts. `distinct` is counted only if the configuration asks for it.
    pub stats: Stats,
    /// How much of what is known to have to be tried is done, from 0 to 1, if all children of a place were equally big.
    /// An estimate: more may have to be tried yet, and siblings differ.
    pub share_done: f64,
    /// Parts that run or wait.
    pub parts: usize,
}

impl Survey {
    /// Distinct executions of a search under reduction: no two complete ones are equivalent.
    pub fn distinct(&self) -> u64 {
        self.stats.executions - self.stats.cut
    }
    /// Executions that are left, estimated from [`Survey::share_done`]; None while it says nothing.
    pub fn left(&self) -> Option<u64> {
        let whole = self.stats.executions as f64 / self.share_done;
        (self.share_done > 0.0 && whole < 1e18).then(|| (whole as u64).saturating_sub(self.stats.executions))
    }
}

impl Tree {
    /// A search that begins with `root`.
    pub(super) fn new(root: Segment) -> Self {
        let node = Node { parent: None, state: State::Part(root), dropped: Arc::default() };
        Tree { nodes: BTreeMap::from([(0, node)]), next: 1, ready: VecDeque::from([0]), result: None }
    }

    /// Whether numbers fit each other: a file may say anything.
    pub(super) fn is_sound(&self) -> bool {
        let child_of = |id: &Id, node: &Node| match node.parent {
            None => true,
            Some((parent, nth)) => match self.nodes.get(&parent).map(|p| &p.state) {
                Some(State::Join { children, .. }) => matches!(children.get(nth), Some(Child::At(at)) if at == id),
                _ => false,
            },
        };
        let roots = self.nodes.values().filter(|node| node.parent.is_none()).count();
        self.nodes.iter().all(|(id, node)| *id < self.next && child_of(id, node))
            && roots == usize::from(self.result.is_none())
    }

    /// After loading: everything that can run is ready.
    pub(super) fn wake(&mut self) {
        let parts = self.nodes.iter().filter(|(_, node)| matches!(node.state, State::Part(_)));
        self.ready = parts.map(|(id, _)| *id).collect();
    }

    pub(super) fn result(&self) -> Option<&Tally> {
        self.result.as_ref()
    }
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A part to run, with the flag that says that nobody wants it any more.
    pub(super) fn take(&mut self) -> Option<(Id, Segment, Arc<AtomicBool>)> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(Node { state: State::Part(segment), dropped, .. }) = self.nodes.get(&id) {
                return Some((id, segment.clone(), dropped.clone()));
            }
        }
        None
    }

    /// How far `id` is, which goes on running.
    pub(super) fn hand_in(&mut self, id: Id, segment: Segment) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state = State::Part(segment);
        }
    }

    /// `id` is split; its children are ready, the first of them first.
    pub(super) fn split(&mut self, id: Id, fork: Fork) {
        if !self.nodes.contains_key(&id) {
            return;
        }
        let mut children = Vec::with_capacity(fork.children.len());
        for (nth, segment) in fork.children.into_iter().enumerate() {
            let child = self.next;
            self.next += 1;
            let node = Node { parent: Some((id, nth)), state: State::Part(segment), dropped: Arc::default() };
            self.nodes.insert(child, node);
            children.push(Child::At(child));
        }
        for child in children.iter().rev() {
            if let Child::At(child) = child {
                self.ready.push_front(*child);
            }
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state = State::Join { rest: fork.rest, children };
        }
    }

    /// `id` is done, or has ended the search.
    pub(super) fn finish(&mut self, id: Id, tally: Tally) {
        let Some(node) = self.nodes.remove(&id) else { return };
        let Some((parent, nth)) = node.parent else {
            self.result = Some(tally);
            return;
        };
        let Some(Node { state: State::Join { children, .. }, .. }) = self.nodes.get_mut(&parent) else { return };
        let fatal = tally.fatal;
        children[nth] = Child::Over(Box::new(tally));
        if fatal {
            let later: Vec<Id> = children[nth + 1..]
                .iter_mut()
                .filter_map(|child| match std::mem::replace(child, Child::Dropped) {
                    Child::At(id) => Some(id),
                    _ => None,
                })
                .collect();
            for id in later {
                self.forget(id);
            }
        }
        self.join(parent);
    }

    /// Goes on with `id` if all its children are done.
    fn join(&mut self, id: Id) {
        let Some(Node { state: State::Join { rest, children }, .. }) = self.nodes.get_mut(&id) else { return };
        if children.iter().any(|child| matches!(child, Child::At(_))) {
            return;
        }
        for child in std::mem::take(children) {
            if let Child::Over(tally) = child {
                rest.absorb(*tally);
            }
        }
        let mut rest = std::mem::replace(rest, Segment::whole());
        if !rest.tally.fatal && rest.advance() {
            self.hand_in(id, rest);
            self.ready.push_back(id);
        } else {
            self.finish(id, rest.tally);
        }
    }

    fn forget(&mut self, id: Id) {
        let Some(node) = self.nodes.remove(&id) else { return };
        node.dropped.store(true, Ordering::Relaxed);
        if let State::Join { children, .. } = node.state {
            for child in children {
                if let Child::At(id) = child {
                    self.forget(id);
                }
            }
        }
    }

    /// Everything found so far, in depth-first order.
    pub(super) fn so_far(&self) -> Tally {
        match &self.result {
            Some(tally) => tally.clone(),
            None => {
                let mut sum = Tally::default();
                self.add_up(self.root(), &mut sum);
                sum
            }
        }
    }

    fn root(&self) -> Id {
        self.nodes.iter().find(|(_, node)| node.parent.is_none()).map_or(0, |(id, _)| *id)
    }

    fn add_up(&self, id: Id, sum: &mut Tally) -> f64 {
        match self.nodes.get(&id).map(|node| &node.state) {
            None => 0.0,
            Some(State::Part(segment)) => {
                sum.add(segment.tally.clone());
                segment.share_done()
            }
            Some(State::Join { rest, children }) => {
                sum.add(rest.tally.clone());
                let mut shares = Vec::with_capacity(children.len());
                for child in children {
                    shares.push(match child {
                        Child::At(id) => self.add_up(*id, sum),
                        Child::Over(tally) => {
                            sum.add((**tally).clone());
                            1.0
                        }
                        Child::Dropped => 1.0,
                    });
                }
                rest.share_done_with(&shares)
            }
        }
    }

    /// How far it is.
    pub(super) fn survey(&self) -> Survey {
        let mut sum = Tally::default();
        let share_done = match &self.result {
            Some(tally) => {
                sum.add(tally.clone());
                1.0
            }
            None => self.add_up(self.root(), &mut sum),
        };
        Survey { stats: sum.stats(), share_done, parts: self.nodes.len() }
    }
}
