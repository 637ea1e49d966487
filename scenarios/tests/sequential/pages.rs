//! What the reference knows: one record for each page, in an array. No intervals, no trees, no ranges.

use super::attrs::Attrs;
use super::program::{Machine, Place};
use scenarios::lang::Prot;
use std::collections::BTreeSet;
use std::ops::Range;

/// A page of a region.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The mapping it is in. None: a hole.
    pub vma: Option<Vma>,
    /// What the first word may hold: one value, or several where an access may have faulted.
    pub values: BTreeSet<u64>,
    /// Whether somebody has said something about it, where that matters ([`super::rules::Rule::HolesDoNotCount`]).
    pub registered: bool,
    /// For each GPU.
    pub gpus: Vec<OnGpu>,
}

/// The mapping a page is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vma {
    /// Pages next to each other with the same number are in the same VMA.
    pub id: u32,
    /// Rights.
    pub prot: Prot,
}

/// What there is to know about a page on one GPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnGpu {
    pub attrs: Attrs,
    /// XNACK off: a SET_ATTR has mapped it, and it was not unmapped since. The GPU's access does not fault.
    pub promised: bool,
    /// A fault on it was refused, so that there may be an entry that says so for good: an access may fault.
    pub refused: bool,
    /// The GPU may have an entry for it.
    pub may_be_mapped: bool,
}

impl Page {
    /// Nothing is known of a hole but its attributes.
    pub(crate) fn unmapped(&mut self) {
        self.vma = None;
        self.values = BTreeSet::new();
        for on in &mut self.gpus {
            (on.promised, on.may_be_mapped) = (false, false);
        }
    }
}

/// The pages of `place`: which region, and which pages of it.
pub(crate) fn pages_of(place: Place, machine: &Machine) -> (usize, Range<usize>) {
    let region = usize::from(place.region) % machine.regions.len();
    let pages = machine.regions[region] as usize;
    let first = usize::from(place.first) % pages;
    (region, first..(first + 1 + usize::from(place.more)).min(pages))
}

/// `pages`, widened to whole chunks of `chunk` pages.
pub(crate) fn whole_chunks(pages: Range<usize>, chunk: u64) -> Range<usize> {
    let chunk = chunk as usize;
    pages.start / chunk * chunk..pages.end.div_ceil(chunk) * chunk
}
