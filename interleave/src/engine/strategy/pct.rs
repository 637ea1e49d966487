//! Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010).
//!
//! Every actor has a random priority, the highest that can run does; at `depth - 1` random events of an execution the
//! actor that had the event drops to the lowest priorities. What that guarantees is in [`crate::coverage`].

use crate::engine::clock::{Actors, MAX_ACTORS};
use crate::engine::frame::Frame;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Executions are taken to be at least this long, in events, until a longer one was seen.
pub(crate) const SHORTEST: u32 = 16;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Pct {
    pub(super) rng: Box<ChaCha8Rng>,
    priorities: [u64; MAX_ACTORS],
    /// How many events have happened when the how-manyth drop comes.
    drops: Vec<u64>,
    depth: u32,
    /// Events of the running execution whose drops were made.
    upto: u64,
}

impl Pct {
    pub(super) fn new(seed: u64, depth: u32) -> Self {
        let rng = Box::new(ChaCha8Rng::seed_from_u64(seed));
        Pct { rng, priorities: [0; MAX_ACTORS], drops: Vec::new(), depth, upto: 0 }
    }

    /// Before each execution; `longest` is the length of the longest so far.
    pub(super) fn begin(&mut self, longest: u32) {
        let length = u64::from(longest.max(SHORTEST));
        for priority in &mut self.priorities {
            *priority = self.rng.next_u64() | 1 << 63;
        }
        self.drops.clear();
        for _ in 1..self.depth {
            self.drops.push(1 + self.rng.next_u64() % length);
        }
        self.upto = 0;
    }

    /// One of `runnable`, after the events of `path`. Last resorts among them were nobody's choice, but count.
    pub(super) fn choose(&mut self, runnable: Actors, path: &[Frame]) -> Option<u8> {
        let now = path.len() as u64;
        for (priority, &drop) in self.drops.iter().enumerate() {
            if self.upto < drop && drop <= now {
                // Whether it can run now does not matter: it will be low when it can.
                self.priorities[path[drop as usize - 1].actor as usize] = priority as u64;
            }
        }
        self.upto = now;
        highest(runnable, &self.priorities)
    }
}

/// Who of `runnable` has the highest priority.
pub(super) fn highest(runnable: Actors, priorities: &[u64; MAX_ACTORS]) -> Option<u8> {
    (0..MAX_ACTORS as u8).filter(|&a| runnable & (1 << a) != 0).max_by_key(|&a| priorities[a as usize])
}
