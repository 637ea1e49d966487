//! What is thrown to make a program: the same for the same seed, on every machine.

use super::stmt::ITEMS;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A generator, and where the statement it is asked for will stand.
pub(super) struct Dice {
    rng: ChaCha8Rng,
    /// The work item whose body is written; None in a thread.
    pub(super) body: Option<u8>,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice { rng: ChaCha8Rng::seed_from_u64(seed), body: None }
    }
    /// Less than `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }
    /// Less than `n`.
    pub(super) fn of(&mut self, n: u8) -> u8 {
        self.below(u64::from(n)) as u8
    }
    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
    pub(super) fn in_thread(&self) -> bool {
        self.body.is_none()
    }
    /// A work item that may be named here. Items do not wait for themselves, nor queue themselves or each other round
    /// and round: they name only later ones. One that waits for a later one of the same ordered queue waits for ever,
    /// in any schedule.
    pub(super) fn item(&mut self) -> Option<u8> {
        match self.body {
            Some(own) if own + 1 < ITEMS => Some(own + 1 + self.of(ITEMS - own - 1)),
            Some(_) => None,
            None => Some(self.of(ITEMS)),
        }
    }
}
