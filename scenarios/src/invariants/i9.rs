//! I9: trees and lists are well formed.

use crate::world::Device;
use interleave::lab::Lab;

/// At rest: attribute intervals, notifiers and ranges are disjoint and in order. The model's own `check` warns, and a
/// warning is a violation of I9.
pub fn structures_are_well_formed<L: Lab>(device: &Device<L>) {
    device.view().check();
}
