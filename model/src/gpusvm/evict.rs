//! `drm_gpusvm_range_evict`: everything of a range back to system memory. Spec drm-gpusvm 13.

use super::{GpuSvm, HMM_TIMEOUT_MS, Ported};
use crate::Errno;
use crate::framework::{DriverLocked, RangeHandle};
use crate::note;
use crate::platform::{HmmPfn, HmmRange, HmmRequest, Kernel, Mm, Owner, Plant};

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// Faults the whole of `range` in for reading and for nobody's device, so that every device page in it, of whatever
    /// GPU, takes the way of a CPU fault. Every allocation that moves sends a MIGRATE event to the range's own notifier, so
    /// the walk starts over once for each.
    ///
    /// Fills holes with zero pages and reads swapped-out pages in, device pages or not. Ends at the first address that has no
    /// VMA, and what came before it has moved by then. A page inside its timeslice is waited for, with mmap_lock held for
    /// read. Takes mmap_lock for read; waits for running invalidations; may run the last `mmput`.
    ///
    /// # Errors
    /// `EFAULT` (the process is gone, hole between VMAs, no read access, or a page could not be brought back), `ENOMEM`,
    /// `ETIME` (one second has passed, found after waiting for an invalidation), `EBUSY` (it has passed, found after a walk).
    pub fn range_evict(&self, _locked: DriverLocked<'_>, range: RangeHandle<P, R>) -> Result<(), Errno> {
        let deadline = P::Kernel::now_ms() + HMM_TIMEOUT_MS;
        if !self.mm.mmget_not_zero() {
            return Err(Errno::EFAULT);
        }
        let result = self.evict_alive(range, deadline);
        if !P::Kernel::planted(Plant::GpusvmEvictMmLeak) || result != Err(Errno::ENOMEM) {
            self.mm.mmput();
        }
        note!(P::Kernel, "range_evict: range {} gives {result:?}", self.range(range).bytes());
        result
    }

    /// The walk, with the address space kept alive.
    fn evict_alive(&self, range: RangeHandle<P, R>, deadline: u64) -> Result<(), Errno> {
        let object = self.range(range);
        let mut pfns = P::Kernel::alloc_array(object.npages(), HmmPfn::default())?;
        let sub = self.notifier(object.base().notifier).sub();
        loop {
            let seq = self.mm.read_begin(sub);
            if P::Kernel::now_ms() > deadline {
                return Err(Errno::ETIME);
            }
            let walk = HmmRange {
                notifier: sub,
                notifier_seq: seq,
                start: object.bytes().start,
                request: HmmRequest::Read,
                owner: Owner::NONE,
            };
            let mmap = self.mm.mmap_read_lock();
            let walked = self.mm.hmm_range_fault(&mmap, &walk, &mut pfns);
            drop(mmap);
            match walked {
                Err(Errno::EBUSY) if P::Kernel::now_ms() <= deadline => {
                    P::Kernel::retry_point("range_evict: hmm_range_fault says EBUSY");
                }
                other => return other,
            }
        }
    }
}
