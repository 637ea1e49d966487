//! `drm_gpusvm_scan_mm`: where the pages of a range are. Spec drm-gpusvm 14.

use super::pages::pfn_order;
use super::{GpuSvm, HMM_TIMEOUT_MS, Ported};
use crate::framework::{DriverLocked, RangeHandle};
use crate::platform::{DeviceMemory, HmmPfn, HmmRange, HmmRequest, Kernel, Mm, Owner, PagemapId};

/// `enum drm_gpusvm_scan_result`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScanResult {
    /// At least one page is nowhere: never touched, swapped out, a stranger's. Also: it could not be found out.
    Unpopulated,
    /// All are in the pagemap that was asked for.
    Equal,
    /// All are in one other pagemap.
    Other,
    /// All are in system memory.
    System,
    /// On devices, more than one.
    MixedDevice,
    /// System memory and devices.
    Mixed,
}

impl ScanResult {
    /// What is known after a page of kind `next`.
    const fn and(self, next: ScanResult) -> ScanResult {
        use ScanResult::{Equal, Mixed, MixedDevice, Other, System};
        match (self, next) {
            (Equal, Equal) | (Other, Other) | (System, System) | (MixedDevice, MixedDevice) => self,
            (System, _) | (_, System) | (Mixed, _) => Mixed,
            _ => MixedDevice,
        }
    }
}

/// Turns frame numbers into kinds, one after the other.
struct Kinds {
    wanted: Option<PagemapId>,
    /// The first pagemap that is not `wanted`.
    other: Option<PagemapId>,
}

impl Kinds {
    fn of(&mut self, pagemap: Option<PagemapId>) -> ScanResult {
        if pagemap == self.wanted {
            return ScanResult::Equal;
        }
        if pagemap.is_none() {
            return ScanResult::System;
        }
        if self.other.is_some() && self.other != pagemap {
            return ScanResult::MixedDevice;
        }
        self.other = pagemap;
        ScanResult::Other
    }
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// Looks where the pages of `range` are, without bringing any in; device pages of `owner` are seen, others count as
    /// missing. The answer was true at one moment and is advice only. `wanted` None stands for system memory, and then
    /// [`ScanResult::Equal`] does.
    ///
    /// Takes mmap_lock for read (waiting for invalidations with it held), then NL for read. The caller keeps the address
    /// space alive. Goes round without end as long as invalidations get in between.
    pub fn scan_mm(
        &self,
        _locked: DriverLocked<'_>,
        range: RangeHandle<P, R>,
        owner: Owner,
        wanted: Option<PagemapId>,
    ) -> ScanResult {
        let deadline = P::Kernel::now_ms() + HMM_TIMEOUT_MS;
        let object = self.range(range);
        let Ok(mut pfns) = P::Kernel::alloc_array(object.npages(), HmmPfn::default()) else {
            return ScanResult::Unpopulated;
        };
        let sub = self.notifier(object.base().notifier).sub();
        loop {
            let walk = HmmRange {
                notifier: sub,
                notifier_seq: self.mm.read_begin(sub),
                start: object.bytes().start,
                request: HmmRequest::Snapshot,
                owner,
            };
            let mmap = self.mm.mmap_read_lock();
            let walked = self.snapshot(&mmap, walk, &mut pfns, deadline);
            drop(mmap);
            let Ok(seq) = walked else { return ScanResult::Unpopulated };
            let nl = self.notifier_lock();
            if !self.mm.read_retry(sub, seq) {
                return self.residency(&pfns, wanted);
            }
            drop(nl);
            P::Kernel::retry_point("scan_mm: the sequence moved");
        }
    }

    /// What the array says. NL is held, so the frames are still what the CPU has.
    fn residency(&self, pfns: &[HmmPfn], wanted: Option<PagemapId>) -> ScanResult {
        let mut kinds = Kinds { wanted, other: None };
        let mut state = None;
        let mut page = 0;
        while page < pfns.len() {
            if !pfns[page].valid {
                return ScanResult::Unpopulated;
            }
            let kind = kinds.of(self.mm.device_page(pfns[page].pfn).map(|device| device.pagemap));
            state = Some(state.map_or(kind, |so_far: ScanResult| so_far.and(kind)));
            page += 1 << pfn_order(&pfns[page], page, pfns.len());
        }
        state.unwrap_or(ScanResult::Unpopulated)
    }
}
