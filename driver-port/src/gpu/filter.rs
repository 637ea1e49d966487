//! Which retry faults are duplicates of one that was seen already, for a GPU without a retry CAM.
//!
//! Answers to `amdgpu_gmc_filter_faults` and `amdgpu_gmc_filter_faults_remove` (spec amdgpu-svm 7.4, kfd-svm 7). A wave that
//! waits raises its fault over and over; the driver handles the first and drops the rest, until [`FAULT_TIMEOUT`] has
//! passed or somebody says that the next one is new. It remembers [`FAULTS`] faults, as the kernel's ring does; the oldest
//! makes room.

use model::Errno;
use model::platform::{FaultTime, Kernel};

/// Ticks for which a fault hides later ones at its address (`AMDGPU_GMC_FAULT_TIMEOUT`).
pub const FAULT_TIMEOUT: u64 = 5000;
/// How many faults it remembers (`AMDGPU_GMC_FAULT_RING_SIZE`).
pub const FAULTS: usize = 256;

/// A fault that was let through.
#[derive(Clone, Copy)]
struct Seen {
    addr: u64,
    time: FaultTime,
    /// Faults after this are new (`timestamp_expiry`).
    expiry: Option<FaultTime>,
}

/// The faults seen.
pub struct Filter<K: Kernel> {
    seen: K::Array<Option<Seen>>,
    next: usize,
}

/// Ticks from `early` to `late`, on a clock that wraps.
pub const fn ticks(early: FaultTime, late: FaultTime) -> u64 {
    late.0.wrapping_sub(early.0) & ((1 << FaultTime::BITS) - 1)
}

impl<K: Kernel> Filter<K> {
    /// Nothing seen.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Filter { seen: K::alloc_array(FAULTS, None)?, next: 0 })
    }

    fn find(&mut self, addr: u64) -> Option<&mut Seen> {
        self.seen.iter_mut().flatten().find(|seen| seen.addr == addr)
    }

    /// Whether the fault at `addr` is a duplicate; if not, it hides those that come.
    pub fn is_duplicate(&mut self, addr: u64, time: FaultTime) -> bool {
        let new = Seen { addr, time, expiry: None };
        if let Some(seen) = self.find(addr) {
            let fresh = ticks(seen.time, time) <= FAULT_TIMEOUT;
            let expired = seen.expiry.is_some_and(|expiry| time.is_after(expiry));
            if fresh && !expired {
                return true;
            }
            *seen = new;
            return false;
        }
        self.seen[self.next] = Some(new);
        self.next = (self.next + 1) % FAULTS;
        false
    }

    /// Faults at `addr` after `newest`, the newest in the ring, are new.
    pub fn remove(&mut self, addr: u64, newest: FaultTime) {
        if let Some(seen) = self.find(addr) {
            seen.expiry = Some(newest);
        }
    }
}
