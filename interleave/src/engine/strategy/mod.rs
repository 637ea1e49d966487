//! Who goes next, where the search has a choice.
//!
//! | file | trade |
//! |---|---|
//! | `bounded` | the bound on preemptions, and raising it |
//! | `cache` | prefixes after which the search has been |
//! | `pct`, `pos` | random searches that are better than a walk |
//!
//! The search over everything with reduction is in [`super::reduce`].

mod bounded;
mod cache;
mod pct;
mod pos;

pub use bounded::Bound;
pub(crate) use bounded::Bounded;
pub use cache::Cached;
pub(crate) use cache::{ByHash, Cache};
use pct::Pct;
pub(crate) use pct::SHORTEST;
use pos::Pos;

use super::clock::Actors;
use super::exec::Exec;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The strategy at work, with its state.
#[derive(Debug)]
pub(crate) enum Chooser {
    /// The lowest that can run, staying with the one that runs.
    First,
    /// Depth first over everything; see [`super::reduce`].
    Exhaustive { reduce: bool, bound: Option<u16> },
    /// A uniform choice at each step.
    Random(Box<ChaCha8Rng>),
    /// Probabilistic concurrency testing.
    Pct(Pct),
    /// Partial order sampling.
    Pos(Pos),
    /// Exactly these actors, and these values of [`Kind::Choose`](super::op::Kind::Choose); anything else is an error.
    Exactly { wanted: Vec<u8>, values: Vec<u8>, chosen: usize },
    /// These actors as far as they can run, then [`Chooser::First`]; these values as far as they go, then 0.
    Roughly { wanted: Vec<u8>, at: usize, values: Vec<u8>, chosen: usize },
}

impl Chooser {
    pub(crate) fn random(seed: u64) -> Self {
        Chooser::Random(Box::new(ChaCha8Rng::seed_from_u64(seed)))
    }
    pub(crate) fn pct(seed: u64, depth: u32) -> Self {
        Chooser::Pct(Pct::new(seed, depth))
    }
    pub(crate) fn pos(seed: u64) -> Self {
        Chooser::Pos(Pos::new(seed))
    }
    /// Whether races have to be looked up.
    #[inline]
    pub(crate) fn reduces(&self) -> bool {
        matches!(self, Chooser::Exhaustive { reduce: true, .. })
    }
    /// A last resort is not chosen, but a schedule names it. Whether the schedule that is followed, if one is, goes on
    /// with `actor`.
    pub(super) fn allows_late(&mut self, actor: u8, depth: usize) -> bool {
        match self {
            Chooser::Exactly { wanted, .. } => wanted.get(depth) == Some(&actor),
            Chooser::Roughly { wanted, at, .. } => {
                *at += usize::from(wanted.get(*at) == Some(&actor));
                true
            }
            _ => true,
        }
    }
    /// Which of `alternatives` values a choice of the program comes to; None where the search keeps count itself.
    pub(super) fn value(&mut self, alternatives: u8) -> Option<u8> {
        match self {
            Chooser::Exhaustive { .. } => None,
            Chooser::First => Some(0),
            Chooser::Random(rng) | Chooser::Pct(Pct { rng, .. }) | Chooser::Pos(Pos { rng, .. }) => {
                Some((rng.next_u64() % u64::from(alternatives)) as u8)
            }
            Chooser::Exactly { values, chosen, .. } | Chooser::Roughly { values, chosen, .. } => {
                let value = values.get(*chosen).copied().unwrap_or(0);
                *chosen += 1;
                Some(value.min(alternatives - 1))
            }
        }
    }
    /// Before each execution; `longest` is the length of the longest so far.
    pub(crate) fn begin(&mut self, longest: u32) {
        match self {
            Chooser::Pct(pct) => pct.begin(longest),
            Chooser::Pos(pos) => pos.begin(),
            Chooser::Roughly { at, chosen, .. } => (*at, *chosen) = (0, 0),
            _ => {}
        }
    }
}

fn nth(set: Actors, n: u32) -> u8 {
    let mut set = set;
    for _ in 0..n {
        set &= set - 1;
    }
    set.trailing_zeros() as u8
}

impl Exec {
    /// One of `runnable`. None: the rest of this execution is not wanted.
    pub(super) fn choose(&mut self, runnable: Actors) -> Option<u8> {
        let depth = self.depth;
        let stay = |current: u8| current < 32 && runnable & (1 << current) != 0;
        let first = if stay(self.current) { self.current } else { runnable.trailing_zeros() as u8 };
        match &mut self.chooser {
            Chooser::First => Some(first),
            Chooser::Exhaustive { reduce, bound } => {
                let (reduce, bound) = (*reduce, *bound);
                self.choose_exhaustively(runnable, reduce, bound)
            }
            Chooser::Random(rng) => Some(nth(runnable, (rng.next_u64() % u64::from(runnable.count_ones())) as u32)),
            Chooser::Pct(pct) => pct.choose(runnable, &self.frames[..depth]),
            Chooser::Pos(pos) => pos.choose(runnable, &self.frames[..depth], &self.pending),
            Chooser::Exactly { wanted, .. } => match wanted.get(depth).copied() {
                Some(actor) if actor < 32 && runnable & (1 << actor) != 0 => Some(actor),
                _ => None,
            },
            Chooser::Roughly { wanted, at, .. } => {
                while let Some(&actor) = wanted.get(*at) {
                    *at += 1;
                    if actor < 32 && runnable & (1 << actor) != 0 {
                        return Some(actor);
                    }
                }
                Some(first)
            }
        }
    }
}
