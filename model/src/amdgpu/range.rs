//! What the driver adds to a framework range: `struct amdgpu_svm_range`. Spec amdgpu-svm 2.3.

use super::hardened;
use super::poc;
use super::v8;
use crate::attr::Flags;
use crate::framework::{self, RangeHandle};
use crate::list::{ListLink, ListNode};
use crate::platform::{KPlain, KShared, Plain, Platform, PteFlags, Shared};

/// A range of this driver.
pub type Range<P> = framework::Range<P, SvmRange<P>>;
/// Handle of a range of this driver.
pub type Handle<P> = RangeHandle<P, SvmRange<P>>;

/// The driver's part of a range.
pub struct SvmRange<P: Platform> {
    /// `poc-v1`, `poc-v8`: the range is mapped on the GPU. Set true under SL and RESV but outside of NL; set false under NL
    /// (write in the notifier, read in the mapping loop) or SL. A lockless word (races R25 and its relatives).
    pub gpu_mapped: KShared<P, bool>,
    /// `poc-v1`: the last programmed PTE flags; written together with `gpu_mapped = true`.
    pub pte_flags: KShared<P, PteFlags>,
    /// `poc-v1`, `poc-v8`: the attribute flags at that time; `poc-v1`: also read by the notifier.
    pub attr_flags: KShared<P, Flags>,
    /// The one link for the worker queues. `poc-v1`, `poc-v8`: under GL. `hardened`: under NL (see [`super::locks`]).
    pub(crate) node: KPlain<P, ListLink<Range<P>>>,
    /// `poc-v1`: queue membership and pending work, under GL.
    pub(crate) queue: KPlain<P, poc::queue::RangeQueue>,
    /// `hardened`: what is on the GPU and whether work is pending, under NL.
    pub(crate) state: KPlain<P, hardened::RangeState>,
    /// `hardened`: what only holders of SL look at.
    pub(crate) owned: KPlain<P, hardened::RangeOwned>,
    /// `poc-v8`: queue membership and pending work, under GL.
    pub(crate) v8_queue: KPlain<P, v8::queue::RangeQueue>,
    /// `poc-v8`: what only holders of SL look at.
    pub(crate) v8_owned: KPlain<P, v8::RangeOwned>,
}

impl<P: Platform> SvmRange<P> {
    /// The `range_alloc` hook: zeroed, node initialised, nothing pending.
    pub fn new() -> Self {
        SvmRange {
            gpu_mapped: Shared::new("range.gpu_mapped", false),
            pte_flags: Shared::new("range.pte_flags", PteFlags::NONE),
            attr_flags: Shared::new("range.attr_flags", Flags::NONE),
            node: Plain::new(ListLink::default()),
            queue: Plain::new(poc::queue::RangeQueue::default()),
            state: Plain::new(hardened::RangeState::default()),
            owned: Plain::new(hardened::RangeOwned::default()),
            v8_queue: Plain::new(v8::queue::RangeQueue::default()),
            v8_owned: Plain::new(v8::RangeOwned::default()),
        }
    }
}

impl<P: Platform> Default for SvmRange<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Platform> ListNode<P::Kernel> for Range<P> {
    fn link(&self) -> &KPlain<P, ListLink<Self>> {
        &self.driver.node
    }
}
