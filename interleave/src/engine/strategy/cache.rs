//! Happens-before caching (Musuvathi, Qadeer, PLDI 2007 and 2008): what comes after a prefix of an execution depends on
//! nothing but which events it has and in which order the dependent ones are. So of all prefixes that are one
//! happens-before class, the search goes on after the first only.
//!
//! Prefixes are known by a hash of 64 bits, so two that differ could be taken for one: with a million of them the chance
//! is below one in ten million that any two are, with ten million in 300 000. The reduction, which keeps nothing, has no
//! such chance. Sleep sets and source sets are not used beside it: what they leave out counts on siblings that a cut
//! prefix may not have.

use crate::engine::clock::mix;
use crate::engine::exec::Exec;
use crate::engine::object::NOBODY;
use serde::Serialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash that is the number itself: what is looked up here are hashes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A map from hashes. Only ever asked, never walked: its order decides nothing.
pub(crate) type ByHash<V> = HashMap<u64, V, BuildHasherDefault<Itself>>;

/// What a search with a cache kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Cached {
    /// Most classes of prefixes that were kept at a time.
    pub states: u64,
    /// Whether there were more than may be kept ([`Config::most_states`](crate::Config::most_states)). The search then
    /// does some of its work twice, and covers no less.
    pub full: bool,
}

/// Prefixes after which the search has been, each with the fewest preemptions that it took to get there.
#[derive(Debug)]
pub(crate) struct Cache {
    seen: ByHash<u16>,
    most: usize,
    kept: Cached,
}

impl Cache {
    pub(crate) fn new(most: usize) -> Self {
        Cache { seen: ByHash::default(), most, kept: Cached { states: 0, full: false } }
    }

    pub(crate) fn kept(&self) -> Cached {
        self.kept
    }

    /// Before a search within another bound.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Whether the search has been after this prefix with at most so many preemptions; if not, it is now.
    fn covers(&mut self, key: u64, preemptions: u16) -> bool {
        let full = self.seen.len() >= self.most;
        match self.seen.entry(key) {
            Entry::Occupied(seen) if *seen.get() <= preemptions => return true,
            Entry::Occupied(mut seen) => {
                seen.insert(preemptions);
            }
            Entry::Vacant(_) if full => self.kept.full = true,
            Entry::Vacant(new) => {
                new.insert(preemptions);
            }
        }
        self.kept.states = self.kept.states.max(self.seen.len() as u64);
        false
    }
}

impl Exec {
    /// Whether a prefix equivalent to the path so far has been gone on from. `bounded`: preemptions count; `runnable`:
    /// who can go on.
    pub(in crate::engine) fn is_covered(&mut self, bounded: bool, runnable: u32) -> bool {
        let Some(cache) = &mut self.bounded.cache else { return false };
        let Some(last) = self.depth.checked_sub(1).map(|last| &self.frames[last]) else { return false };
        // Virtual time is the one thing that the order of independent events (two timers) can change; so it is part of
        // the key, and so is who has seen what of it.
        let mut key = mix(mix(last.class, self.now_ms), self.bounded.times);
        for item in &self.items {
            key = mix(key, item.timer.map_or(0, |(_, when)| when));
        }
        if !bounded {
            return cache.covers(key, 0);
        }
        // Whether the next switch is a preemption is a matter of who went last, if that one could go on.
        let current = if runnable & (1 << last.actor) != 0 { last.actor } else { NOBODY };
        cache.covers(mix(key, current.into()), last.preemptions)
    }
}
