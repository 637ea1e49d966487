//! Retry faults: the interrupt rings they come through, and how the driver tells a stale one.
//!
//! Answers to `amdgpu_ih.c`, `amdgpu_gmc.c` (fault filter, checkpoint) and `amdgpu_vm_handle_fault`. Source: spec
//! amdgpu-svm.md 7.4, kfd-svm.md 7, 8.

use super::Kernel;

/// A timestamp of the interrupt handler: 48 bits, wraps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FaultTime(pub u64);

impl FaultTime {
    /// How many bits count.
    pub const BITS: u32 = 48;

    /// `amdgpu_ih_ts_after`: whether `self` is strictly later than `other`, wrapping.
    pub const fn is_after(self, other: FaultTime) -> bool {
        let shift = 64 - Self::BITS;
        (self.0.wrapping_sub(other.0) << shift) as i64 > 0
    }
}

/// One retry fault as the driver gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryFault {
    /// Faulting byte address, page aligned.
    pub addr: u64,
    /// Whether it was a store.
    pub write: bool,
    /// When the GPU raised it.
    pub time: FaultTime,
}

/// The retry fault machinery of one GPU. What is not implemented is that of a GPU without retry faults.
pub trait RetryFaults<K: Kernel> {
    /// The checkpoint that an UNMAP event takes: the time of the newest entry of the retry ring (ih1 without a retry CAM,
    /// the soft ring with one); None when that ring is empty.
    #[track_caller]
    fn fault_checkpoint(&self) -> Option<FaultTime> {
        None
    }
    /// Waits until the interrupt handler has passed everything that is in the ring now (`svm_range_drain_retry_fault`,
    /// up to a second). Nothing while the GPU is being reset. Sleeps.
    #[track_caller]
    fn drain_retry_faults(&self) {}
    /// `amdgpu_gmc_filter_faults_remove`: the next fault at this address is not taken for a duplicate.
    #[track_caller]
    fn filter_remove(&self, _addr: u64) {}
    /// `amdgpu_in_reset`.
    fn in_reset(&self) -> bool {
        false
    }
}
