//! Which retry faults are duplicates of one that was seen already, for a GPU without a retry CAM.
//!
//! Answers to `amdgpu_gmc_filter_faults` and `amdgpu_gmc_filter_faults_remove` (spec amdgpu-svm 7.4, kfd-svm 7). A wave
//! that waits raises its fault over and over; the driver handles the first and drops the rest, until
//! [`FAULT_TIMEOUT`] has passed or somebody says that the next one is new. Two rules of the kernel's cannot apply
//! here and are left out: a ring in which time goes backward, and a table of 256 faults that is full.
//!
//! Pure data: the caller has made the access visible to the scheduler (`Visible` "retry fault rings").

use model::platform::FaultTime;
use std::collections::BTreeMap;

/// Ticks for which a fault hides later ones at its address (`AMDGPU_GMC_FAULT_TIMEOUT`).
pub(crate) const FAULT_TIMEOUT: u64 = 5000;

/// A fault that was let through.
#[derive(Clone, Copy)]
struct Seen {
    time: FaultTime,
    /// Faults after this are new (`timestamp_expiry`).
    expiry: Option<FaultTime>,
}

/// The faults seen, by address.
#[derive(Default)]
pub(crate) struct Filter(BTreeMap<u64, Seen>);

/// Ticks from `early` to `late`, on a clock that wraps.
pub(crate) const fn ticks(early: FaultTime, late: FaultTime) -> u64 {
    late.0.wrapping_sub(early.0) & ((1 << FaultTime::BITS) - 1)
}

impl Filter {
    /// Whether the fault at `addr` is a duplicate; if not, it hides those that come.
    pub(crate) fn is_duplicate(&mut self, addr: u64, time: FaultTime) -> bool {
        if let Some(seen) = self.0.get(&addr) {
            let fresh = ticks(seen.time, time) <= FAULT_TIMEOUT;
            let expired = seen.expiry.is_some_and(|expiry| time.is_after(expiry));
            if fresh && !expired {
                return true;
            }
        }
        self.0.insert(addr, Seen { time, expiry: None });
        false
    }

    /// Faults at `addr` after `newest`, the newest in the ring, are new.
    pub(crate) fn remove(&mut self, addr: u64, newest: FaultTime) {
        if let Some(seen) = self.0.get_mut(&addr) {
            seen.expiry = Some(newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u64 = (1 << FaultTime::BITS) - 1;

    #[test]
    fn the_first_of_an_address_passes_and_hides_the_rest_for_a_while() {
        let mut filter = Filter::default();
        assert!(!filter.is_duplicate(0x1000, FaultTime(10)));
        assert!(filter.is_duplicate(0x1000, FaultTime(11)));
        assert!(!filter.is_duplicate(0x2000, FaultTime(12)), "another address");
        assert!(filter.is_duplicate(0x1000, FaultTime(10 + FAULT_TIMEOUT)));
        assert!(!filter.is_duplicate(0x1000, FaultTime(11 + FAULT_TIMEOUT)), "long ago");
    }

    #[test]
    fn what_is_in_the_ring_when_the_entry_is_removed_stays_a_duplicate() {
        let mut filter = Filter::default();
        assert!(!filter.is_duplicate(0x1000, FaultTime(1)));
        filter.remove(0x1000, FaultTime(3));
        assert!(filter.is_duplicate(0x1000, FaultTime(3)), "raised before");
        assert!(!filter.is_duplicate(0x1000, FaultTime(4)));
        assert!(filter.is_duplicate(0x1000, FaultTime(5)), "and hides again");
    }

    #[test]
    fn the_clock_wraps() {
        let mut filter = Filter::default();
        assert!(!filter.is_duplicate(0x1000, FaultTime(LAST)));
        assert!(filter.is_duplicate(0x1000, FaultTime(0)), "one tick later");
        filter.remove(0x1000, FaultTime(0));
        assert!(!filter.is_duplicate(0x1000, FaultTime(1)));
        assert_eq!(ticks(FaultTime(LAST), FaultTime(2)), 3);
    }
}
