//! The drm_pagemap port and the device-memory half of drm_gpusvm on the scripted platform (spec drm-gpusvm 9, 13, 14,
//! 16-19).
//!
//! One thread and a page map that does what migrate_vma does: every phase and every way out of it, in the order of the
//! kernel, with contents that are looked at. What this cannot show is what two threads do to each other between the steps; the
//! one other side there is steps in at named points.

#[path = "../gpusvm/script/mod.rs"]
mod gpusvm_script;

mod evict;
mod machine;
mod random;
mod ranges;
mod simulated;
mod to_device;
mod to_ram;

use gpusvm_script::*;

/// Sixteen pages.
const START: u64 = 0x200000;
const END: u64 = START + K64;

/// The numbers that [`Machine::populated`] writes into sixteen pages.
fn counted() -> Vec<u64> {
    (1..=16).collect()
}
