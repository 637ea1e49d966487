//! The suites there are, in the order in which they run. A new one is a module and a line here.

use crate::gpu;
use crate::suite::Suite;

pub(crate) const ALL: &[Suite] = &[gpu::SUITE];
