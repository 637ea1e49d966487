//! The suites there are, in the order in which they run. A new one is a module and a line here.

use crate::suite::Suite;
use crate::{churn, driver, fuzz, gpu, hmm, mm, platform, races, wild};

pub(crate) const ALL: &[Suite] = &[
    platform::SUITE,
    gpu::SUITE,
    gpu::DRM_SUITE,
    driver::SUITE,
    fuzz::SUITE,
    churn::SUITE,
    races::SUITE,
    wild::SUITE,
    mm::SUITE,
];

/// Those that run only when they are asked for: what they need is not in every machine.
pub(crate) const ON_DEMAND: &[Suite] = &[hmm::SUITE];
