//! The suites there are, in the order in which they run. A new one is a module and a line here.

use crate::suite::Suite;
use crate::{gpu, platform};

pub(crate) const ALL: &[Suite] = &[platform::SUITE, gpu::SUITE, gpu::DRM_SUITE];
