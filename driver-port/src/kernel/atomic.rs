//! Atomic words: the processor's own, through `core`; `atomic64_t` is the same word.

use crate::gate::{self, Kind};
use crate::log;
use core::panic::Location;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use model::platform;

/// A word whose every access is fully ordered.
pub struct Atomic {
    word: AtomicU64,
    name: &'static str,
}

impl platform::Atomic for Atomic {
    fn new(name: &'static str, value: u64) -> Self {
        Atomic { word: AtomicU64::new(value), name }
    }

    #[track_caller]
    fn load(&self) -> u64 {
        gate::point(Kind::Load, Location::caller());
        self.word.load(SeqCst)
    }

    #[track_caller]
    fn store(&self, value: u64) {
        gate::point(Kind::Store, Location::caller());
        self.word.store(value, SeqCst);
    }

    #[track_caller]
    fn swap(&self, value: u64) -> u64 {
        gate::point(Kind::Store, Location::caller());
        self.word.swap(value, SeqCst)
    }

    #[track_caller]
    fn cmpxchg(&self, old: u64, new: u64) -> u64 {
        gate::point(Kind::Store, Location::caller());
        self.word.compare_exchange(old, new, SeqCst, SeqCst).unwrap_or_else(|found| found)
    }

    #[track_caller]
    fn inc_return(&self) -> u64 {
        gate::point(Kind::Store, Location::caller());
        self.word.fetch_add(1, SeqCst).wrapping_add(1)
    }

    #[track_caller]
    fn dec_return(&self) -> u64 {
        gate::point(Kind::Store, Location::caller());
        let old = self.word.fetch_sub(1, SeqCst);
        if old == 0 {
            log::warn_at(format_args!("{} is counted below 0", self.name), Location::caller());
        }
        old.wrapping_sub(1)
    }

    #[track_caller]
    fn inc_unless_zero(&self) -> bool {
        gate::point(Kind::Store, Location::caller());
        self.word.fetch_update(SeqCst, Relaxed, |old| (old != 0).then(|| old.wrapping_add(1))).is_ok()
    }
}
