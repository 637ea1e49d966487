//! Vector clocks: one lane an actor, the lane counts the actor's events and releases. Lanes are signed because that is
//! what every x86-64 can compare eight at a time.

use serde::{Deserialize, Serialize};

/// Most actors of one execution, workers included.
pub const MAX_ACTORS: usize = 16;

/// A set of actors.
pub(crate) type Actors = u32;

/// What of every actor has happened before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Clock([i16; MAX_ACTORS]);

impl Clock {
    pub(crate) const ZERO: Clock = Clock([0; MAX_ACTORS]);

    /// Lane-wise maximum.
    #[inline]
    pub(crate) fn join(&mut self, other: &Clock) {
        // Read whole and written whole, so that the compiler sees two vectors and not sixteen numbers that may overlap.
        let (mine, theirs) = (self.0, other.0);
        self.0 = std::array::from_fn(|i| if mine[i] < theirs[i] { theirs[i] } else { mine[i] });
    }
    #[inline]
    pub(crate) fn lane(&self, actor: u8) -> u16 {
        self.0[actor as usize % MAX_ACTORS] as u16
    }
    #[inline]
    pub(crate) fn tick(&mut self, actor: u8) {
        self.0[actor as usize % MAX_ACTORS] += 1;
    }
    /// For hashing.
    pub(crate) fn fold(&self, mut hash: u64) -> u64 {
        for lane in self.0 {
            hash = mix(hash, u64::from(lane as u16));
        }
        hash
    }
}

/// One step of a 64-bit mixing function (the finaliser of splitmix64 over a running state). Portable.
#[inline]
pub(crate) fn mix(hash: u64, value: u64) -> u64 {
    let mut x = hash.rotate_left(23) ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}
