//! Partial order sampling (Yuan, Yang, Gu, CAV 2018).
//!
//! Not actors but pending events have random priorities, and the highest that can happen does. An event that was passed
//! over keeps its priority as long as what happens is independent of it, and draws a new one when its order with what
//! happened mattered. So an order of dependent events is as likely whatever the number of independent events around
//! it, which a walk that chooses among actors at each step does not give.

use super::pct::highest;
use crate::engine::clock::{Actors, MAX_ACTORS};
use crate::engine::frame::Frame;
use crate::engine::op::{Op, dependent};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// See the module documentation. An actor has one pending event at a time.
#[derive(Debug)]
pub(crate) struct Pos {
    pub(super) rng: Box<ChaCha8Rng>,
    priorities: [u64; MAX_ACTORS],
    /// Events of the running execution after which priorities were drawn again.
    upto: usize,
}

impl Pos {
    pub(super) fn new(seed: u64) -> Self {
        Pos { rng: Box::new(ChaCha8Rng::seed_from_u64(seed)), priorities: [0; MAX_ACTORS], upto: 0 }
    }

    /// Before each execution.
    pub(super) fn begin(&mut self) {
        for priority in &mut self.priorities {
            *priority = self.rng.next_u64();
        }
        self.upto = 0;
    }

    /// One of `runnable`, after the events of `path`. Last resorts among them were nobody's choice, but have changed
    /// what is pending.
    pub(super) fn choose(&mut self, runnable: Actors, path: &[Frame], pending: &[Op; MAX_ACTORS]) -> Option<u8> {
        for event in &path[self.upto..] {
            for (actor, op) in pending.iter().enumerate() {
                if actor == event.actor as usize || dependent(op, &event.op) {
                    self.priorities[actor] = self.rng.next_u64();
                }
            }
        }
        self.upto = path.len();
        highest(runnable, &self.priorities)
    }
}
