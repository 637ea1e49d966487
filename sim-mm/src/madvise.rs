//! MADV_DONTNEED and the OOM reaper: pages go, VMAs stay.
//!
//! Answers to `mm/madvise.c`, `zap_vma_range_batched` in `mm/memory.c`, and `mm/oom_kill.c` (spec mm-events 2).

use crate::interval::event;
use crate::memory::BLOCK_PAGES;
use crate::pagetable::Gather;
use crate::plant::Fault;
use crate::space::{AddressSpace, Inner, check_range};
use crate::vma::VmaNode;
use interleave::lab::{Lab, Span, Visible};
use model::platform::{EventKind, MmuEvent, RwSem};
use model::units::{Bytes, PAGE_SIZE};
use model::{Errno, note};

impl<L: Lab> AddressSpace<L> {
    /// `madvise(MADV_DONTNEED)`: CLEAR per VMA; the pages are freed at the end of the call. Inside one VMA it runs
    /// under that VMA's lock alone, so its callbacks run **without mmap_lock**; else under mmap_lock held for read.
    ///
    /// # Errors
    /// `EINVAL`: the range, or a PFNMAP or mlocked VMA. `ENOMEM`: holes; the VMAs around them were done.
    #[track_caller]
    pub fn madvise_dontneed(&self, bytes: Bytes) -> Result<(), Errno> {
        check_range(bytes)?;
        let mm = &*self.inner;
        if let Some(held) = mm.vma_read_lock(bytes.start) {
            let alone = held.vma.bytes().covers(&bytes).then(|| {
                let mut gather = Gather::default();
                let result = mm.dontneed(&held.vma, bytes, &mut gather);
                mm.free_pages(gather);
                result
            });
            held.unlock();
            if let Some(result) = alone {
                return result;
            }
        }
        let mut gather = Gather::default();
        let _held = mm.mmap_lock.read();
        let hit = mm.vmas.borrow().overlapping(bytes);
        let (mut at, mut result) = (bytes.start, Ok(()));
        for vma in hit {
            let part = vma.bytes().clip(&bytes);
            if part.start != at {
                result = Err(Errno::ENOMEM);
            }
            at = part.end;
            if let Err(error) = mm.dontneed(&vma, part, &mut gather) {
                mm.free_pages(gather);
                return Err(error);
            }
        }
        mm.free_pages(gather);
        if at < bytes.end { Err(Errno::ENOMEM) } else { result }
    }

    /// The OOM reaper's pass over the address space (`__oom_reap_task_mm`): non-blockable CLEARs, from the highest VMA
    /// down, under mmap_lock held for read (which the kernel only tries to take). A VMA that a callback refuses keeps
    /// its pages. From then on no memory can be faulted in. Returns whether everything was reaped.
    #[track_caller]
    pub fn oom_reap(&self) -> bool {
        let mm = &*self.inner;
        let _held = mm.mmap_lock.read();
        // set_bit(MMF_UNSTABLE): faults look at it where they look at the page table.
        mm.walks.write(Span::ALL);
        mm.unstable.set(true);
        let mut all = true;
        let vmas = mm.vmas.borrow().overlapping(Bytes::new(0, u64::MAX));
        for vma in vmas.iter().rev().filter(|vma| !vma.flags().hugetlb && !vma.flags().pfnmap) {
            let clear = MmuEvent { blockable: false, ..event(EventKind::Clear, vma.bytes()) };
            match mm.notifiers.start(clear) {
                Ok(clear) => {
                    let mut gather = Gather::default();
                    mm.zap(vma.bytes().pages(), &mut gather);
                    mm.notifiers.end(clear);
                    mm.free_pages(gather);
                }
                Err(_) => {
                    note!(L, "oom_reaper: {} refused, skipped", vma.bytes());
                    all = false;
                }
            }
        }
        all
    }
}

impl<L: Lab> Inner<L> {
    /// `madvise_dontneed_single_vma`; `part` lies inside the VMA.
    #[track_caller]
    fn dontneed(&self, vma: &VmaNode<L>, part: Bytes, gather: &mut Gather) -> Result<(), Errno> {
        // madvise_dontneed_free_valid_vma: a hugetlb VMA gives up whole huge pages only.
        let unaligned = !(part.start | part.end).is_multiple_of(BLOCK_PAGES * PAGE_SIZE);
        if vma.flags().pfnmap || vma.mlocked.get() || (vma.flags().hugetlb && unaligned) {
            return Err(Errno::EINVAL);
        }
        let clear = self.notifiers.start(event(EventKind::Clear, part)).expect("blockable events do not fail");
        if self.has(Fault::EarlyEnd) {
            self.notifiers.end(clear);
            self.zap(part.pages(), gather);
            return Ok(());
        }
        self.zap(part.pages(), gather);
        self.notifiers.end(clear);
        Ok(())
    }
}
