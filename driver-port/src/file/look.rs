//! `SVMLAB_SETTLE`, `STATE`, `RANGES`, `NODES`, `MAPPED`: how the driver and its GPU stand.

use super::OpenVm;
use super::wave::timeout;
use crate::gpu::Pte;
use crate::mm::decode_hmm_pfn;
use crate::{LinuxKernel, OnLinux, errno, ffi, uapi};
use model::Errno;
use model::amdgpu::inspect::RangeView;
use model::attr::Segment;
use model::platform::{HmmPfn, Kernel, Mm};
use model::units::PAGE_SHIFT;

/// The bits whose condition holds.
fn bits<const N: usize>(which: [(bool, u32); N]) -> u32 {
    which.into_iter().fold(0, |all, (holds, bit)| if holds { all | bit } else { all })
}

fn range(view: &RangeView) -> uapi::Range {
    let flags = bits([
        (view.gpu_mapped, uapi::SVMLAB_RANGE_GPU_MAPPED),
        (view.in_queue, uapi::SVMLAB_RANGE_IN_QUEUE),
        (view.flags.migrate_devmem, uapi::SVMLAB_RANGE_MIGRATE_DEVMEM),
        (view.flags.unmapped, uapi::SVMLAB_RANGE_UNMAPPED),
        (view.flags.partial_unmap, uapi::SVMLAB_RANGE_PARTIAL_UNMAP),
        (view.flags.has_devmem_pages, uapi::SVMLAB_RANGE_HAS_DEVMEM),
        (view.flags.has_dma_mapping, uapi::SVMLAB_RANGE_HAS_DMA),
    ]);
    uapi::Range {
        start: view.bytes.start,
        end: view.bytes.end,
        pte_flags: view.pte_flags.0,
        attr_flags: view.attr_flags.0,
        flags,
        references: view.references,
    }
}

fn node(segment: &Segment) -> uapi::Node {
    let attrs = &segment.attrs;
    uapi::Node {
        first: segment.pages.first,
        last: segment.pages.last,
        preferred_loc: attrs.preferred_loc.0,
        prefetch_loc: attrs.prefetch_loc.0,
        flags: attrs.flags.0,
        granularity: attrs.granularity,
        access: attrs.access as u32,
        pad: 0,
    }
}

/// Puts things into a room, and counts those that find none too.
struct Filling<'a, T> {
    room: &'a mut [T],
    count: u32,
}

impl<T> Filling<'_, T> {
    fn push(&mut self, thing: impl FnOnce() -> T) {
        if let Some(place) = self.room.get_mut(self.count as usize) {
            *place = thing();
        }
        self.count += 1;
    }
}

impl<P: OnLinux> OpenVm<P> {
    /// Whether work or a retry fault waits.
    fn is_busy(&self) -> bool {
        self.gpu.faults_pending() != 0 || self.with_svm(|svm| svm.look(|at| at.has_pending_work())).unwrap_or(false)
    }

    pub(super) fn come_to_rest(&self, args: &mut uapi::Settle) -> Result<(), Errno> {
        let until = LinuxKernel::now_ms() + timeout(args.timeout_ms)?;
        // A worker can queue another, and that is not told by what waits: twice nothing is rest.
        let mut quiet = 0;
        args.rounds = 0;
        while quiet < 2 {
            let busy = self.is_busy();
            self.gpu.flush_fault_work();
            self.with_svm(|svm| svm.flush_work());
            if busy {
                (quiet, args.rounds) = (0, args.rounds + 1);
            } else {
                quiet += 1;
            }
            if LinuxKernel::now_ms() > until {
                return Err(Errno::ETIME);
            }
        }
        Ok(())
    }

    pub(super) fn stand(&self, gpu_only: bool) -> uapi::State {
        let (queues, costs) = (self.gpu.queues(), self.gpu.costs());
        let mut state = uapi::State {
            flags: bits([
                (queues.is_running(), uapi::SVMLAB_STATE_RUNNING),
                (queues.is_destroyed(), uapi::SVMLAB_STATE_DESTROYED),
                (self.is_compute(), uapi::SVMLAB_STATE_COMPUTE),
            ]),
            quiesced: queues.evicted(),
            faults_pending: self.gpu.faults_pending() as u64,
            tlb_entries: self.gpu.tlb_entries(),
            mapped: self.gpu.count_mapped(),
            dma_live: costs.dma_maps.saturating_sub(costs.dma_unmaps),
            pte_writes: costs.pte_writes,
            pages_written: costs.pages_written,
            pte_clears: costs.pte_clears,
            tlb_flushes: costs.tlb_flushes,
            dma_maps: costs.dma_maps,
            dma_unmaps: costs.dma_unmaps,
            pages_copied: costs.pages_copied,
            quiesces: costs.quiesces,
            resumes: costs.resumes,
            accesses: costs.accesses,
            faults: costs.faults,
            retry_faults: costs.retry_faults,
            ..uapi::State::default()
        };
        if gpu_only {
            return state;
        }
        self.with_svm(|svm| {
            svm.look(|at| {
                state.flags |= uapi::SVMLAB_STATE_INSTANCE
                    | bits([
                        (at.queues_stopped(), uapi::SVMLAB_STATE_STOPPED_BY_US),
                        (at.exiting(), uapi::SVMLAB_STATE_EXITING),
                        (at.has_pending_work(), uapi::SVMLAB_STATE_PENDING),
                        (svm.xnack_enabled(), uapi::SVMLAB_STATE_XNACK),
                        (svm.xnack_detected(), uapi::SVMLAB_STATE_XNACK_DETECTED),
                    ]);
                state.evicted_ranges = at.evicted_ranges();
                state.references = at.references();
                state.ranges = at.ranges().count() as u64;
            });
        });
        state
    }

    pub(super) fn list_ranges(&self, room: &mut [uapi::Range]) -> u32 {
        let mut filling = Filling { room, count: 0 };
        self.with_svm(|svm| {
            svm.look(|at| at.ranges().for_each(|view| filling.push(|| range(&view))));
        });
        filling.count
    }

    pub(super) fn list_nodes(&self, room: &mut [uapi::Node]) -> u32 {
        let mut filling = Filling { room, count: 0 };
        self.with_svm(|svm| svm.inspect().for_each_node(|segment| filling.push(|| node(&segment))));
        filling.count
    }

    pub(super) fn list_pages(&self, start: u64, pages: &mut [uapi::Page]) -> Result<u32, Errno> {
        let mut cpu = LinuxKernel::alloc_array(pages.len(), 0u64)?;
        let mm = &self.mm.0;
        if mm.mmget_not_zero() {
            // SAFETY: the mm has users as long as we hold one, mmap_lock is not held, and there are as many words.
            let ret = unsafe { ffi::svmlab_c_mm_snapshot(mm.as_raw(), start, pages.len() as u64, cpu.as_mut_ptr()) };
            mm.mmput();
            errno::check(ret)?;
        }
        let mut valid = 0;
        for (page, (out, raw)) in (start >> PAGE_SHIFT..).zip(pages.iter_mut().zip(cpu.iter())) {
            *out = self.page(page, decode_hmm_pfn(*raw));
            valid += out.flags & uapi::SVMLAB_PAGE_VALID;
        }
        Ok(valid)
    }

    fn page(&self, page: u64, cpu: HmmPfn) -> uapi::Page {
        let (leaf, cached) = (self.gpu.leaf(page), self.gpu.cached(page));
        let has_page = cpu.valid && !cpu.error;
        let same = |pte: Pte| has_page && pte.is_valid() && self.board.frame(pte.addr()) == Some(cpu.pfn);
        let flags = bits([
            (leaf.pte.is_valid(), uapi::SVMLAB_PAGE_VALID),
            (leaf.pte.is_valid() && leaf.huge, uapi::SVMLAB_PAGE_HUGE),
            (leaf.pte.is_no_retry(), uapi::SVMLAB_PAGE_NORETRY),
            (same(leaf.pte), uapi::SVMLAB_PAGE_SAME),
            (cached.is_some(), uapi::SVMLAB_PAGE_CACHED),
            (cached.is_some_and(|cached| same(cached.pte)), uapi::SVMLAB_PAGE_CACHED_SAME),
            (has_page, uapi::SVMLAB_PAGE_CPU),
            (has_page && cpu.write, uapi::SVMLAB_PAGE_CPU_WRITE),
        ]);
        let cached_flags = cached.map_or(0, |cached| cached.pte.flags().0);
        uapi::Page { pte_flags: leaf.pte.flags().0, cached_flags, flags, pad: 0 }
    }
}
