//! Differences between simulator and kernel that are explained.

use super::vm::Framework;
use scenarios::conform::Difference;
use scenarios::lang::Design;

/// One explanation, and what it covers: all runs that it names, no others.
pub(crate) struct Known {
    /// Path in the corpus; the end of it is enough.
    pub(crate) scenario: &'static str,
    /// Empty: every design.
    pub(crate) designs: &'static [Design],
    /// Empty: both.
    pub(crate) frameworks: &'static [Framework],
    /// How what differs first begins: `the operation`, `GPU 0: pages`.
    pub(crate) what: &'static str,
    /// The reason, for the page.
    pub(crate) why: &'static str,
}

/// All of them.
pub(crate) const KNOWN: &[Known] = &[Known {
    scenario: "unmap/partial-munmap-of-a-huge-entry.kdl",
    designs: &[Design::PocV1],
    frameworks: &[],
    what: "GPU 0",
    why: "Before the kernel cuts a VMA inside a 2 MiB block it announces a CLEAR of the block, whether the CPU has a huge\n\
          entry there or not; poc-v1 widens what its worker has to look at to the whole block, and so forgets the\n\
          attributes of the rest. And which entries of the GPU are huge depends on frames that lie side by side, which\n\
          they always do in the simulator, and in the kernel by luck.",
}];

impl Known {
    pub(crate) fn covers(&self, path: &str, design: Design, framework: Framework) -> bool {
        path.ends_with(self.scenario)
            && (self.designs.is_empty() || self.designs.contains(&design))
            && (self.frameworks.is_empty() || self.frameworks.contains(&framework))
    }

    pub(crate) fn explains(&self, difference: &Difference) -> bool {
        difference.what.iter().all(|unlike| unlike.what.starts_with(self.what))
    }
}
