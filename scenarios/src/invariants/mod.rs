//! The invariants that need to see the whole world, one file each. The others are seen where they fall: I3 and I4 in the
//! frames and object caches, I5 underflows in the counters, I8 and I9 in the scheduler.
//!
//! Checks are no scheduling points: while actors run they take no locks, and at rest nothing contends for those they take.
//! Each is a claim about the world at one moment.

pub mod i1;
pub mod i12;
pub mod i2;
pub mod i5;
pub mod i6;
pub mod i7;
pub mod i9;

mod finals;

use crate::world::World;
use interleave::lab::{Invariant, Lab, Stamp, Violation};

/// Everything that must hold when nothing runs any more. The order decides which of several violations is told: first
/// what corrupts, then what is lost, then what is merely wrong.
pub fn at_rest<L: Lab>(world: &World<L>) {
    i12::nobody_keeps_the_mm(world);
    for device in &world.gpus {
        i12::nothing_is_left_of_a_process(world, device);
        if device.exists() {
            i9::structures_are_well_formed(device);
            i5::references_balance(device);
        }
        // When the process has ended its queues are destroyed: nobody waits for them, counts their stops, or uses entries.
        // What a worker would have needed the mm for waits for fini, and every promise was taken back.
        if device.exists() && !world.ended() {
            i6::nothing_is_left(world, device);
            i5::evictions_balance(device);
        }
        if device.is_finished() {
            i5::nothing_is_mapped_after_fini(device);
        }
        if device.is_open() && !world.ended() {
            i7::promises_are_kept(world, device);
            i2::entries_are_right(world, device);
        }
    }
    if !world.ended() {
        i5::stops_balance(world);
    }
    finals::check(world);
}

fn fail<L: Lab>(invariant: Invariant, what: String, earlier: Option<Stamp>) -> ! {
    L::fail(Violation::new(invariant, what, earlier))
}
