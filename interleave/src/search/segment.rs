//! A part of the depth-first search.

use crate::engine::frame::Frame;
use crate::engine::part::{Escape, push};
use crate::explore::{Failure, Stats};
use crate::lockdep::Lessons;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What came of a part.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// `distinct` is not kept here: classes of two parts may be the same.
    pub(super) stats: Stats,
    pub(super) classes: BTreeSet<(u64, bool)>,
    /// The first in depth-first order.
    pub(super) failure: Option<Failure>,
    /// Whether the search ends with this failure.
    pub(super) fatal: bool,
    /// What it wants tried in its prefix.
    pub(super) escapes: Vec<Escape>,
    /// What it has learned about locks.
    pub(super) lessons: Lessons,
}

impl Tally {
    /// Adds what comes after this in depth-first order; its escapes are the caller's to apply.
    pub(super) fn add(&mut self, later: Tally) {
        let (mine, theirs) = (&mut self.stats, later.stats);
        mine.executions += theirs.executions;
        mine.cut += theirs.cut;
        mine.events += theirs.events;
        mine.races += theirs.races;
        mine.longest = mine.longest.max(theirs.longest);
        mine.violations += theirs.violations;
        self.classes.extend(later.classes);
        self.fatal |= later.fatal;
        self.lessons.add(later.lessons);
        if self.failure.is_none() {
            self.failure = later.failure;
        }
    }
    /// The counts, distinct executions among them if they were counted.
    pub(super) fn stats(&self) -> Stats {
        Stats { distinct: self.classes.len() as u64, ..self.stats }
    }
}

/// A part that is not finished: the next path to run, and what is left to try on it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Segment {
    /// The path up to and including the place where it leaves the previous one. Empty at the very beginning.
    pub(super) frames: Vec<Frame>,
    /// See `Part`.
    pub(super) own: usize,
    pub(super) stop: usize,
    pub(super) tally: Tally,
}

/// A part split at one place.
pub(super) struct Fork {
    /// What is left when the children are done.
    pub(super) rest: Segment,
    /// In depth-first order.
    pub(super) children: Vec<Segment>,
}

impl Segment {
    /// Everything.
    pub(super) fn whole() -> Self {
        Segment { frames: Vec::new(), own: 0, stop: 0, tally: Tally::default() }
    }

    /// The part below a path whose last place is cut to one actor ([`Frame::only`]).
    pub(super) fn below(frames: Vec<Frame>) -> Self {
        let (own, stop) = (frames.len(), frames.len().saturating_sub(1));
        Segment { frames, own, stop, tally: Tally::default() }
    }

    /// Splits at the shallowest place where somebody is wanted and not tried yet: the current actor there is one child,
    /// each of the others another. None when there is nobody anywhere.
    pub(super) fn fork(&mut self) -> Option<Fork> {
        let at = (self.stop..self.frames.len()).find(|&at| self.frames[at].untried() > 0)?;
        let untried = self.frames[at].untried();
        let mut rest_frames = self.frames[..=at].to_vec();
        let mut current = std::mem::take(&mut self.frames);
        current[at] = rest_frames[at].only(0);
        let mut children = vec![Segment { frames: current, own: at + 1, stop: at, tally: Tally::default() }];
        for nth in 1..=untried {
            let mut frames = rest_frames.clone();
            frames[at] = rest_frames[at].only(nth);
            children.push(Segment::below(frames));
        }
        rest_frames[at].skip(untried);
        let rest =
            Segment { frames: rest_frames, own: self.own, stop: self.stop, tally: std::mem::take(&mut self.tally) };
        Some(Fork { rest, children })
    }

    /// Takes in what came of the next child.
    pub(super) fn absorb(&mut self, mut child: Tally) {
        for escape in std::mem::take(&mut child.escapes) {
            let frame = &mut self.frames[escape.at as usize];
            if frame.covers(escape.initials) {
                continue;
            }
            if (escape.at as usize) < self.own {
                push(&mut self.tally.escapes, escape);
            } else {
                frame.want(escape.first, escape.plan);
            }
        }
        self.tally.add(child);
    }

    /// Everything up to the last frame is explored: finds the next path. False when there is none.
    pub(super) fn advance(&mut self) -> bool {
        while self.frames.len() > self.stop {
            if self.frames.last_mut().is_some_and(Frame::advance) {
                return true;
            }
            self.frames.pop();
        }
        false
    }

    /// How much of what is known to be wanted is done, if every child of a place were as big as its siblings. From 0
    /// to 1.
    pub(super) fn share_done(&self) -> f64 {
        let (mut done, mut weight) = (0.0, 1.0);
        for frame in self.frames.get(self.own..).unwrap_or_default() {
            let (before, current) = frame.shares();
            done += weight * before;
            weight *= current;
        }
        done
    }

    /// The same for a part that waits for `children`, of which so many shares are done.
    pub(super) fn share_done_with(&self, children: &[f64]) -> f64 {
        let Some((last, above)) = self.frames.split_last() else { return 0.0 };
        let (mut done, mut weight) = (0.0, 1.0);
        for frame in above.get(self.own..).unwrap_or_default() {
            let (before, current) = frame.shares();
            done += weight * before;
            weight *= current;
        }
        // `last` stands at the last of the children
        let (before, current) = last.shares();
        let earlier = before - current * (children.len() as f64 - 1.0);
        done + weight * (earlier + current * children.iter().sum::<f64>())
    }
}
