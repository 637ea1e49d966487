//! Scenarios with hugetlbfs memory, and lockdep.
//!
//! hmm_range_fault takes the lock of a hugetlbfs VMA for reading in `__walk_page_range`, and holds it when it faults in what
//! it finds no entry for (`hmm_vma_walk_hole`); hugetlb_fault takes it for reading again. lockdep says so, rightly: a writer
//! that comes in between would wait for the first, and the second for the writer. It is the kernel's own, and after one
//! report lockdep is off. So on a kernel with lockdep these scenarios have a boot of their own (`vm/deep`), in which
//! `vm/lib/known-reports` knows that report.

use crate::lab::lockdep;
use crate::suite::Args;
use scenarios::lang::{RegionKind, Scenario};

/// Whether they are run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hugetlb {
    With,
    Without,
    Only,
}

impl Hugetlb {
    /// As the argument says; without one, as the kernel can bear.
    ///
    /// # Panics
    /// The argument is something else.
    pub(super) fn wanted(args: &Args) -> Hugetlb {
        match args.get("hugetlb") {
            Some("with") => Hugetlb::With,
            Some("without") => Hugetlb::Without,
            Some("only") => Hugetlb::Only,
            Some(other) => panic!("hugetlb={other}: with, without or only"),
            None if lockdep().is_some() => Hugetlb::Without,
            None => Hugetlb::With,
        }
    }

    pub(super) fn has(self, scenario: &Scenario) -> bool {
        let uses = scenario.regions.iter().any(|region| region.kind == RegionKind::Hugetlb);
        match self {
            Hugetlb::With => true,
            Hugetlb::Without => !uses,
            Hugetlb::Only => uses,
        }
    }

    /// What is to be said of those that are left out.
    pub(super) fn remark(self, left_out: usize) -> String {
        match self {
            Hugetlb::Without if left_out > 0 => format!(
                "; {left_out} with hugetlbfs memory are left out, which makes the kernel's own code trip lockdep (hugetlb=only runs them)"
            ),
            Hugetlb::With | Hugetlb::Without | Hugetlb::Only => String::new(),
        }
    }
}
