//! The restore work (XNACK off): maps what was hit again, then lets the queues run.
//!
//! Answers to `svm_range_restore_work`. Spec kfd-svm 6.1; the step numbers are the spec's. mmap_lock is held for write over
//! all page faults and page-table updates of a pass, and the list is walked while ranges before the failing one stay
//! restored.

use super::mmap::Mmap;
use super::{RESTORE_DELAY_MS, Svms};
use crate::note;
use crate::platform::{Atomic, DelayedWork, Gpu, Kernel, Mm, Plant, Platform};

impl<P: Platform> Svms<P> {
    /// The work item `WorkFunc::Restore`. Nothing held.
    pub fn restore_work(&self) {
        // 1.
        if self.evicted_ranges.load() == 0 {
            return;
        }
        // 2.
        if !self.mm.mmget_not_zero() {
            return;
        }
        let again = {
            // 3.
            let _process_info = self.lock_process_info();
            let mmap = self.lock_and_flush_work();
            let svms = self.lock_svms();
            // 4 to 7.
            let done = self.restore_pass(&svms, Mmap::Write(&mmap));
            drop(svms);
            drop(mmap);
            !done
        };
        // 8.
        if again {
            note!(P::Kernel, "restore: not done, again in {RESTORE_DELAY_MS} ms");
            P::Kernel::retry_point("restore work: rescheduled");
            self.restore_work.queue(RESTORE_DELAY_MS);
        }
        self.mm.mmput();
    }

    /// True when the queues run.
    fn restore_pass(&self, svms: &super::locks::SvmsLocked<'_, P>, mmap: Mmap<'_, '_, P>) -> bool {
        // 4.
        let evicted = self.evicted_ranges.load();
        // 5.
        let mut next = self.list.front();
        while let Some(handle) = next {
            let range = self.range(handle);
            let invalid = range.invalid.load();
            if invalid != 0 {
                let mapped = {
                    let _migration = range.lock_migration();
                    self.validate_and_map(svms, mmap, handle, range.pages(), None, true, false)
                };
                if let Err(error) = mapped {
                    let own = range.pages();
                    note!(P::Kernel, "restore: {own} gives {error}");
                    if P::Kernel::planted(Plant::ResumeEarly) {
                        next = self.list.next(&self.ranges, handle);
                        continue;
                    }
                    return false;
                }
                if range.invalid.cmpxchg(invalid, 0) != invalid {
                    return false;
                }
            }
            next = self.list.next(&self.ranges, handle);
        }
        // 6.
        if self.evicted_ranges.cmpxchg(evicted, 0) != evicted {
            return false;
        }
        // 7.
        note!(P::Kernel, "restore: evicted_ranges {evicted}->0, queues resume");
        if let Some(gpu) = self.gpu(0)
            && let Err(error) = gpu.resume_mm(&self.mm)
        {
            note!(P::Kernel, "resume failed with {error}: no recovery");
        }
        true
    }
}
