//! Whether a GPU retries faults: the rules of KFD's `kfd_process_xnack_mode` for one GPU. V1 detects it and then says
//! "off" all the same; what the driver does with the answer is its configuration's choice.
//!
//! Source: spec amdgpu-svm 3.2.

use crate::platform::{GcVersion, GpuProperties};

/// Whether XNACK is on, as far as hardware and module parameters say.
pub fn xnack_detected(gpu: &GpuProperties) -> bool {
    if gpu.gc < GcVersion(9, 0, 1) {
        return false;
    }
    if gpu.sriov_without_xnack {
        return false;
    }
    // These choose per process, so the module parameter does not matter.
    if matches!(gpu.gc, GcVersion(9, 4, 2..=4) | GcVersion(9, 5, 0)) {
        return true;
    }
    // GFX10 and later cannot preempt a wave that waits for a retry fault.
    if gpu.gc >= GcVersion(10, 1, 1) {
        return false;
    }
    !gpu.noretry
}
