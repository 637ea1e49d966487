//! A GPU and one VM on it: page-table updates, the TLB flush, the locks around both.
//!
//! Answers to `amdgpu_vm.c` (spec amdgpu-svm, appendix B). As in the simulator, update jobs are done when `update_range`
//! returns: fences are born signalled. `amdgpu_vm_flush_compute_tlb` compares two sequence numbers; here one word says
//! whether they differ. It is taken before the flush, as in the kernel, **so two flushes at a time can miss each other**.

use super::board::Board;
use super::costs::{GpuCosts, Tally};
use super::inject::{Injected, Point};
use super::kfd::{Kfd, Membership};
use super::page_table::{Leaf, Missing, PageTable};
use super::queues::Queues;
use super::retry::{FaultVerdict, RetryConfig, RetryRings};
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use model::platform::{
    Atomic, ClientId, DmaAddr, DmaDirection, FaultTime, Fence, GpuProperties, Kernel, Mutex, PteFlags, PteUpdate,
    RetryFault, SpinLock,
};
use model::units::{PAGE_SHIFT, Pages};
use model::{Errno, note};

/// What a GPU is made from.
#[derive(Clone, Copy, Debug)]
pub struct GpuConfig {
    /// Which of the process's GPUs it is, below [`DEVICES`](super::kfd::DEVICES).
    pub number: u8,
    /// What the hardware is.
    pub properties: GpuProperties,
    /// XNACK on: how retry faults are raised. None: off, every fault ends the access.
    pub retry: Option<RetryConfig>,
    /// Whose work item the fault handler is.
    pub client: ClientId,
}

/// Under the eviction lock.
struct Eviction {
    /// TTM is evicting the page tables.
    evicting: bool,
    /// `drm_dev_unplug` was called.
    unplugged: bool,
}

/// The GPU and the VM on it.
pub struct Inner<K: Kernel, B: Board> {
    pub(super) config: GpuConfig,
    pub(super) board: B,
    pub(super) table: PageTable<K>,
    pub(super) kfd: &'static Kfd<K, B>,
    membership: Membership<K, B>,
    root: K::Mutex<()>,
    /// Whether somebody holds `root`.
    root_held: AtomicBool,
    eviction: K::Mutex<Eviction>,
    /// 1: an update asked for a flush since the last one.
    tlb_seq: K::Atomic,
    /// How many flushes will be left out.
    skip_flushes: AtomicU32,
    fences: AtomicU64,
    pub(super) costs: Tally,
    pub(super) retry: Option<RetryRings<K, B>>,
}

/// A GPU and the VM on it. A cheap handle; cloning copies the pointer.
pub struct SwGpu<K: Kernel, B: Board>(NonNull<Inner<K, B>>);

impl<K: Kernel, B: Board> Clone for SwGpu<K, B> {
    fn clone(&self) -> Self {
        SwGpu(self.0)
    }
}

impl<K: Kernel, B: Board> Deref for SwGpu<K, B> {
    type Target = Inner<K, B>;
    fn deref(&self) -> &Inner<K, B> {
        // SAFETY: by the promise of `SwGpu::new` it is alive, where it was, and never borrowed mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<K: Kernel, B: Board> SwGpu<K, B> {
    /// A handle of `gpu`.
    ///
    /// # Safety
    /// `gpu` stays alive, where it is and without a mutable borrow as long as this handle and its clones are used.
    pub unsafe fn new(gpu: &Inner<K, B>) -> Self {
        SwGpu(NonNull::from(gpu))
    }
}

/// The root page directory is reserved until this is dropped.
pub struct RootReserved<'a, K: Kernel> {
    held: &'a AtomicBool,
    _guard: <K::Mutex<()> as Mutex<()>>::Guard<'a>,
}

impl<K: Kernel> Drop for RootReserved<'_, K> {
    fn drop(&mut self) {
        self.held.store(false, Ordering::Relaxed);
    }
}

/// The eviction lock, and no direct reclaim while it is held. Fields drop in order: reclaim first.
struct EvictionGuard<'a, K: Kernel> {
    _noreclaim: K::NoReclaim,
    state: <K::Mutex<Eviction> as Mutex<Eviction>>::Guard<'a>,
}

impl<K: Kernel, B: Board> Inner<K, B> {
    /// A GPU with an empty page table, which becomes a device of the process whose mm is `mm`. Sleeps.
    ///
    /// # Errors
    /// `ENOMEM`; those of [`Kfd::join`].
    pub fn new(config: GpuConfig, board: B, kfd: &'static Kfd<K, B>, mm: u64) -> Result<Self, Errno> {
        let table = PageTable::new()?;
        let root = Mutex::new("root_pd", ())?;
        let eviction = Mutex::new("eviction_lock", Eviction { evicting: false, unplugged: false })?;
        let retry = config.retry.map(|retry| RetryRings::new(retry, config.client)).transpose()?;
        // Comes last: it is undone by drop of the whole only.
        let membership = kfd.join(mm, usize::from(config.number))?;
        Ok(Inner {
            config,
            board,
            table,
            kfd,
            membership,
            root,
            root_held: AtomicBool::new(false),
            eviction,
            tlb_seq: Atomic::new("tlb_seq", 0),
            skip_flushes: AtomicU32::new(0),
            fences: AtomicU64::new(0),
            costs: Tally::default(),
            retry,
        })
    }

    /// What the hardware is.
    pub fn properties(&self) -> GpuProperties {
        self.config.properties
    }
    /// What was asked of it so far.
    pub fn costs(&self) -> GpuCosts {
        self.costs.so_far()
    }
    /// The process's queues on it.
    pub fn queues(&self) -> &Queues<K, B> {
        self.kfd.queues(&self.membership)
    }
    /// KFD, which stops and starts them.
    pub fn kfd(&self) -> &'static Kfd<K, B> {
        self.kfd
    }
    /// Failures to come.
    pub fn injected(&self) -> &Injected<K> {
        &self.queues().injected
    }
    /// The next `count` flushes of the TLB are left out: a planted bug.
    pub fn skip_flushes(&self, count: u32) {
        self.skip_flushes.store(count, Ordering::Relaxed);
    }
    /// What the page table says of `page`.
    pub fn leaf(&self, page: u64) -> Leaf {
        self.table.walk(page)
    }
    /// What the TLB has for `page`.
    pub fn cached(&self, page: u64) -> Option<Leaf> {
        self.queues().tlb.lock().lookup(page)
    }
    /// How many translations are cached.
    pub fn tlb_entries(&self) -> u64 {
        self.queues().tlb.lock().entries()
    }
    /// How many pages have a valid entry in the page table.
    pub fn count_mapped(&self) -> u64 {
        self.table.count_mapped()
    }

    fn next_fence(&self) -> Fence {
        Fence(self.fences.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Reserves the root page directory, inside of the reservations of `others` more. Sleeps.
    ///
    /// # Errors
    /// What was injected at [`Point::ReserveRoot`].
    pub fn reserve_root(&self, others: u8) -> Result<RootReserved<'_, K>, Errno> {
        self.injected().check(Point::ReserveRoot)?;
        let guard = if others == 0 { self.root.lock() } else { self.root.lock_nested(others) };
        self.root_held.store(true, Ordering::Relaxed);
        Ok(RootReserved { held: &self.root_held, _guard: guard })
    }

    fn lock_eviction(&self) -> EvictionGuard<'_, K> {
        let state = self.eviction.lock();
        EvictionGuard { _noreclaim: K::noreclaim(), state }
    }

    /// `amdgpu_vm_update_range`. Takes the eviction lock, and drops it around each table it allocates. A locked update needs
    /// the root reserved. [`PteFlags::NORETRY`] without an address ends retry faults.
    ///
    /// # Errors
    /// `ENODEV` (unplugged), `EBUSY` (evicting), `ENOMEM` (page tables, or injected at [`Point::TableAlloc`]): nothing is
    /// written, though tables allocated stay. `ENOENT`: an unlocked write where there is no table. `EINVAL`, with a warning:
    /// malformed.
    pub fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno> {
        let malformed = update.pages.is_empty() || update.flags.has(PteFlags::VALID) != update.addr.is_some();
        if malformed || !(update.unlocked || self.root_held.load(Ordering::Relaxed)) {
            K::warn(format_args!("{update:?}: malformed, or the root is not reserved"));
            return Err(Errno::EINVAL);
        }
        let mut guard = self.lock_eviction();
        if guard.state.unplugged {
            return Err(Errno::ENODEV);
        }
        if guard.state.evicting {
            note!(K, "page tables are being evicted, no update of {}", update.pages);
            return Err(Errno::EBUSY);
        }
        if !update.unlocked {
            while let Some(missing) = self.table.missing(update) {
                drop(guard);
                match missing {
                    Missing::Block(number) => self.table.add_block(self.table.alloc_block(number)?),
                    Missing::Table(number) => {
                        self.injected().check(Point::TableAlloc)?;
                        let table = PageTable::<K>::alloc_table()?;
                        guard = self.lock_eviction();
                        self.table.add_table(number, table);
                        continue;
                    }
                }
                guard = self.lock_eviction();
            }
        }
        let affected = self.table.affected(update);
        self.table.write(update)?;
        self.count(update, affected);
        if update.flush {
            self.tlb_seq.store(1);
        }
        drop(guard);
        Ok(Some(self.next_fence()))
    }

    fn count(&self, update: &PteUpdate, affected: Pages) {
        match update.addr {
            Some(addr) => {
                self.costs.pte_writes.add(1);
                self.costs.pages_written.add(update.pages.count());
                note!(K, "PTE write {} -> bus {:#x} {:?}", update.pages, addr.0, update.flags);
            }
            None => {
                self.costs.pte_clears.add(1);
                note!(K, "PTE clear {}, huge leaves whole: {affected}", update.pages);
            }
        }
    }

    /// The end of `amdgpu_vm_handle_fault` for a fault that nobody can deal with: from now on `pages` do not retry.
    /// Reserves the root. Sleeps.
    ///
    /// # Errors
    /// Of [`Inner::reserve_root`], [`Inner::update_range`], [`Inner::update_pdes`].
    fn write_no_retry(&self, pages: Pages) -> Result<(), Errno> {
        let root = self.reserve_root(0)?;
        let (flags, addr) = (PteFlags::NORETRY, None);
        self.update_range(&PteUpdate { unlocked: false, flush: false, allow_override: false, pages, flags, addr })?;
        self.update_pdes(&root)
    }

    /// `amdgpu_vm_update_pdes`: from now on the hardware sees tables that locked updates allocated. Does not ask for a TLB
    /// flush: new tables were not moved. Needs the root reserved.
    ///
    /// # Errors
    /// `ENODEV` (unplugged), when there is something to do.
    pub fn update_pdes(&self, _root: &RootReserved<'_, K>) -> Result<(), Errno> {
        if !self.table.has_unlinked() {
            return Ok(());
        }
        if self.lock_eviction().state.unplugged {
            return Err(Errno::ENODEV);
        }
        let linked = self.table.link_all();
        note!(K, "PDEs updated: {linked}");
        Ok(())
    }

    /// `dma_fence_wait`. Jobs are done when they are issued; a fence of nobody is a warning.
    pub fn wait_fence(&self, fence: Fence) {
        let last = self.fences.load(Ordering::Relaxed);
        if fence.0 == 0 || fence.0 > last {
            K::warn(format_args!("wait for {fence:?}, but the last one is {last}"));
        }
    }

    /// `amdgpu_vm_flush_compute_tlb`: nothing if no update asked for it since the last one; else drops all cached
    /// translations when no access is in flight that may have used them. Sleeps.
    pub fn flush_tlb(&self) {
        if self.tlb_seq.swap(0) == 0 {
            note!(K, "TLB flush skipped, no update since the last");
            return;
        }
        let skipped = self.skip_flushes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if skipped.is_ok() {
            note!(K, "TLB flush left out");
            return;
        }
        self.flush_tlb_now();
    }

    /// A flush, due or not. Sleeps.
    pub fn flush_tlb_now(&self) {
        self.costs.tlb_flushes.add(1);
        let dropped = self.queues().flush();
        note!(K, "TLB flush ({dropped} entries)");
    }

    /// `kgd2kfd_quiesce_mm`.
    ///
    /// # Errors
    /// Of [`Kfd::quiesce_mm`].
    pub fn quiesce_mm(&self, mm: u64) -> Result<(), Errno> {
        self.costs.quiesces.add(1);
        self.kfd.quiesce_mm(mm)
    }
    /// `kgd2kfd_resume_mm`.
    ///
    /// # Errors
    /// Of [`Kfd::resume_mm`].
    pub fn resume_mm(&self, mm: u64) -> Result<(), Errno> {
        self.costs.resumes.add(1);
        self.kfd.resume_mm(mm)
    }

    /// `dma_map_page`.
    ///
    /// # Errors
    /// What was injected at [`Point::DmaMap`]; `EFAULT`.
    pub fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        self.injected().check(Point::DmaMap)?;
        let addr = self.board.dma_map(pfn, order, direction)?;
        self.costs.dma_maps.add(1);
        Ok(addr)
    }
    /// `dma_unmap_page`.
    pub fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        self.costs.dma_unmaps.add(1);
        self.board.dma_unmap(addr, order, direction);
    }

    /// TTM starts to evict the VM's page tables (true): updates get EBUSY until they are validated (false).
    pub fn set_evicting(&self, evicting: bool) {
        self.lock_eviction().state.evicting = evicting;
    }
    /// `drm_dev_unplug`: waits for running updates; later ones get ENODEV.
    pub fn unplug(&self) {
        self.lock_eviction().state.unplugged = true;
    }

    /// Whether an access without translation is tried again (XNACK on).
    pub fn retries(&self) -> bool {
        self.retry.is_some()
    }

    /// The body of [`WorkFunc::FaultInterrupt`](model::platform::WorkFunc::FaultInterrupt): what is in the rings goes to
    /// `hook`, the VM layer. Sleeps.
    pub fn handle_retry_faults(&self, mut hook: impl FnMut(RetryFault) -> FaultVerdict) {
        let Some(retry) = &self.retry else { return };
        retry.handle(|fault| {
            let page = fault.addr >> PAGE_SHIFT;
            let verdict = hook(fault);
            note!(K, "fault at {:#x}, time {}: {verdict:?}", fault.addr, fault.time.0);
            if verdict == FaultVerdict::NoRetry
                && let Err(errno) = self.write_no_retry(Pages::new(page, page))
            {
                // The wave will fault again.
                note!(K, "cannot handle the fault at {:#x} ({errno})", fault.addr);
            }
        });
    }

    /// See [`RetryFaults::fault_checkpoint`](model::platform::RetryFaults::fault_checkpoint).
    pub fn fault_checkpoint(&self) -> Option<FaultTime> {
        self.retry.as_ref()?.checkpoint()
    }
    /// See [`RetryFaults::drain_retry_faults`](model::platform::RetryFaults::drain_retry_faults).
    pub fn drain_retry_faults(&self) {
        if let Some(retry) = &self.retry {
            retry.drain();
        }
    }
    /// See [`RetryFaults::filter_remove`](model::platform::RetryFaults::filter_remove).
    pub fn filter_remove(&self, addr: u64) {
        if let Some(retry) = &self.retry {
            retry.filter_remove(addr);
        }
    }
    /// `amdgpu_in_reset`.
    pub fn in_reset(&self) -> bool {
        self.retry.as_ref().is_some_and(RetryRings::in_reset)
    }
    /// A reset of the GPU begins or is over, as far as retry faults can tell.
    pub fn set_in_reset(&self, in_reset: bool) {
        if let Some(retry) = &self.retry {
            retry.set_in_reset(in_reset);
        }
    }
    /// How many faults are in the rings.
    pub fn faults_pending(&self) -> usize {
        self.retry.as_ref().map_or(0, RetryRings::pending)
    }
    /// Waits for a fault handler that is queued or runs. Sleeps.
    pub fn flush_fault_work(&self) {
        if let Some(retry) = &self.retry {
            retry.flush();
        }
    }
    /// Ends the fault handler for good; waves are gone by now. Once, before the GPU is dropped. Sleeps.
    pub fn shut_down(&self) {
        if let Some(retry) = &self.retry {
            retry.shut_down();
        }
    }
}

impl<K: Kernel, B: Board> Drop for Inner<K, B> {
    fn drop(&mut self) {
        self.kfd.leave(&self.membership);
    }
}
