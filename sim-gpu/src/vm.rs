//! A GPU and one VM on it: page-table updates, the TLB flush, the locks around both.
//!
//! Answers to `amdgpu_vm.c` (spec amdgpu-svm, appendix B). Differences that are meant:
//!
//! - Unless [`GpuConfig::sdma_updates`] says otherwise, update jobs are done when `update_range` returns: fences are born
//!   signalled and `wait_fence` does not wait. So no unlocked update is ever outstanding for a locked one to attach.
//! - If it does, updates and PDE writes are jobs of the [copy engine](crate::sdma), done in the order in which they were
//!   queued, some time later; the flush an update asks for is due from then on, as the kernel's fence callback has it.
//!   Who forgets to wait finds the entries of before. A locked update first waits for queued ones that may take away a
//!   table in its blocks, which the kernel does not need to, because it keeps two views of its tables.
//! - `amdgpu_vm_flush_compute_tlb` compares two sequence numbers, `tlb_seq` and the last one flushed. Here one word
//!   says whether they differ. It is taken before the flush, as in the kernel, **so two flushes at a time can miss each
//!   other**: the second finds nothing to do and returns while the first has not flushed yet.
//! - The evicting mark is set with the eviction lock taken, not by trylock.

use crate::costs::{GpuCosts, Tally};
use crate::frames::Frames;
use crate::inject::{Injected, Point};
use crate::iommu::Iommu;
use crate::kfd::Kfd;
use crate::page_table::PageTable;
use crate::queues::Queues;
use crate::retry::{RetryConfig, RetryRings};
use crate::sdma::Engine;
use crate::tlb::Tlb;
use crate::vram::{VramConfig, VramManager};
use interleave::lab::{Lab, Span, Visible};
use model::Errno;
use model::note;
use model::platform::{
    Atomic, ClientId, DmaAddr, DmaDirection, Fence, GpuProperties, Mutex, PteFlags, PteUpdate, WorkFunc,
};
use model::units::Pages;
use sim_mm::Memory;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a GPU is made from.
#[derive(Clone, Copy, Debug)]
pub struct GpuConfig {
    /// For notes and violations; unique in the machine.
    pub name: &'static str,
    /// Number of its IOMMU domain, below [`DOMAINS`](crate::iommu::DOMAINS); unique in the machine.
    pub domain: u8,
    /// What the hardware is.
    pub properties: GpuProperties,
    /// XNACK on: how retry faults are raised. None: off, every fault ends the access.
    pub retry: Option<RetryConfig>,
    /// Its own memory, which comes with the copy engine.
    pub vram: Option<VramConfig>,
    /// Whether page-table updates are jobs of the copy engine that run later.
    pub sdma_updates: bool,
}

impl GpuConfig {
    /// A GPU with XNACK off, without memory of its own, whose page-table updates are done at once. What runs its work
    /// items is told of them as those of the client that has the number of the domain ([`GpuVm::run_work`]).
    pub const fn new(name: &'static str, domain: u8, properties: GpuProperties) -> Self {
        GpuConfig { name, domain, properties, retry: None, vram: None, sdma_updates: false }
    }
}

/// Under the eviction lock.
struct Eviction {
    /// TTM is evicting the page tables.
    evicting: bool,
    /// `drm_dev_unplug` was called.
    unplugged: bool,
}

pub(crate) struct Inner<L: Lab> {
    pub(crate) config: GpuConfig,
    pub(crate) table: PageTable<L>,
    pub(crate) tlb: Rc<RefCell<Tlb>>,
    pub(crate) iommu: Iommu<L>,
    pub(crate) queues: Rc<Queues<L>>,
    kfd: Kfd<L>,
    root: L::Mutex<()>,
    /// Whether somebody holds `root`.
    root_held: Cell<bool>,
    eviction: L::Mutex<Eviction>,
    /// 1: an update asked for a flush since the last one.
    tlb_seq: L::Atomic,
    unplugged: Cell<bool>,
    fences: Cell<u64>,
    pub(crate) costs: Tally,
    pub(crate) retry: Option<RetryRings<L>>,
    pub(crate) vram: Option<VramManager<L>>,
    pub(crate) engine: Option<Engine<L>>,
}

impl<L: Lab> Inner<L> {
    /// The engine that does page-table updates, if one does.
    pub(crate) fn update_engine(&self) -> Option<&Engine<L>> {
        self.engine.as_ref().filter(|_| self.config.sdma_updates)
    }
}

/// A GPU and the VM on it. A cheap handle; cloning copies the pointer.
pub struct GpuVm<L: Lab>(pub(crate) Rc<Inner<L>>);

impl<L: Lab> Clone for GpuVm<L> {
    fn clone(&self) -> Self {
        GpuVm(Rc::clone(&self.0))
    }
}

/// The root page directory is reserved until this is dropped.
pub struct RootReserved<'a, L: Lab> {
    held: &'a Cell<bool>,
    _guard: <L::Mutex<()> as Mutex<()>>::Guard<'a>,
}

impl<L: Lab> Drop for RootReserved<'_, L> {
    fn drop(&mut self) {
        self.held.set(false);
    }
}

/// The eviction lock, and no direct reclaim while it is held. Fields drop in order: reclaim first.
struct EvictionGuard<'a, L: Lab> {
    _noreclaim: L::NoReclaim,
    state: <L::Mutex<Eviction> as Mutex<Eviction>>::Guard<'a>,
}

impl<L: Lab> GpuVm<L> {
    /// A GPU with an empty page table and running queues, and makes it a device of the process `kfd`.
    ///
    /// # Errors
    /// `ENOMEM`.
    ///
    /// # Panics
    /// When there is no such domain, or another GPU has a memory of that number.
    pub fn new(config: GpuConfig, memory: &Memory<L>, kfd: &Kfd<L>) -> Result<Self, Errno> {
        let tlb = Rc::new(RefCell::default());
        let queues = Rc::new(Queues::new(config.name, Rc::clone(&tlb))?);
        let client = ClientId(u32::from(config.domain));
        let eviction = Eviction { evicting: false, unplugged: false };
        let inner = Inner {
            config,
            table: PageTable::new(),
            tlb,
            iommu: Iommu::new(config.domain, Frames::new(memory.clone())),
            queues: Rc::clone(&queues),
            kfd: kfd.clone(),
            root: <L::Mutex<()> as Mutex<()>>::new("root_pd", ())?,
            root_held: Cell::new(false),
            eviction: <L::Mutex<Eviction> as Mutex<Eviction>>::new("eviction_lock", eviction)?,
            tlb_seq: L::Atomic::new("tlb_seq", 0),
            unplugged: Cell::new(false),
            fences: Cell::new(0),
            costs: Tally::default(),
            retry: config.retry.map(|retry| RetryRings::new(retry, client)).transpose()?,
            vram: config.vram.map(VramManager::new).transpose()?,
            engine: (config.vram.is_some() || config.sdma_updates).then(|| Engine::new(client)).transpose()?,
        };
        kfd.add_device(queues);
        if let Some(vram) = config.vram {
            memory.add_pagemap(vram.pagemap, vram.owner, vram.pages);
            kfd.add_memory(vram);
        }
        Ok(GpuVm(Rc::new(inner)))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.config.name
    }
    /// What was asked of it so far.
    pub fn costs(&self) -> GpuCosts {
        self.0.costs.so_far()
    }
    /// What the hardware is.
    pub fn properties(&self) -> GpuProperties {
        self.0.config.properties
    }
    /// The process it is a device of.
    pub fn kfd(&self) -> &Kfd<L> {
        &self.0.kfd
    }
    /// Failures to come. Ask before the actors start.
    pub fn injected(&self) -> &Injected {
        self.0.queues.injected()
    }

    /// What a work item of the GPU does: [`WorkFunc::FaultInterrupt`], [`WorkFunc::CopyEngine`]. Others are not its.
    #[track_caller]
    pub fn run_work(&self, func: WorkFunc) {
        match func {
            WorkFunc::FaultInterrupt => self.handle_retry_faults(),
            WorkFunc::CopyEngine => self.run_copy_engine(),
            _ => {}
        }
    }

    pub(crate) fn next_fence(&self) -> Fence {
        self.0.fences.set(self.0.fences.get() + 1);
        Fence(self.0.fences.get())
    }

    /// Whether `drm_dev_unplug` was called. A scheduling point.
    #[track_caller]
    pub(crate) fn is_unplugged(&self) -> bool {
        self.lock_eviction().state.unplugged
    }

    /// Reserves the root page directory.
    ///
    /// # Errors
    /// What was injected at [`Point::ReserveRoot`].
    #[track_caller]
    pub fn reserve_root(&self) -> Result<RootReserved<'_, L>, Errno> {
        self.injected().check(Point::ReserveRoot)?;
        let guard = self.0.root.lock();
        self.0.root_held.set(true);
        Ok(RootReserved { held: &self.0.root_held, _guard: guard })
    }

    #[track_caller]
    fn lock_eviction(&self) -> EvictionGuard<'_, L> {
        let state = self.0.eviction.lock();
        EvictionGuard { _noreclaim: L::noreclaim(), state }
    }

    /// `amdgpu_vm_update_range`. Takes the eviction lock, and drops it around each table it allocates. A locked update
    /// needs the root reserved. One scheduling point on the affected pages, one more on `tlb_seq` if a flush is asked
    /// for, at once or when the copy engine comes to it. [`PteFlags::NORETRY`] without an address ends retry faults.
    ///
    /// # Errors
    /// `ENODEV` (unplugged), `EBUSY` (evicting), `ENOMEM` (page tables, or injected at [`Point::TableAlloc`]): nothing
    /// is written, though tables allocated stay. `ENOENT`: an unlocked write where there is no table.
    #[track_caller]
    pub fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno> {
        let gpu = &*self.0;
        let malformed = update.pages.is_empty() || update.flags.has(PteFlags::VALID) != update.addr.is_some();
        if malformed || !(update.unlocked || gpu.root_held.get()) {
            L::warn(format_args!("{}: {update:?} with root reserved: {}", self.name(), gpu.root_held.get()));
            return Err(Errno::EINVAL);
        }
        if !update.unlocked {
            self.settle_tables(update.pages);
        }
        let mut guard = self.lock_eviction();
        if guard.state.unplugged {
            return Err(Errno::ENODEV);
        }
        if guard.state.evicting {
            note!(L, "{}: page tables are being evicted, no update of {}", self.name(), update.pages);
            return Err(Errno::EBUSY);
        }
        if !update.unlocked {
            while let Some(block) = gpu.table.missing_table(update.pages) {
                drop(guard);
                let table = self.injected().check(Point::TableAlloc).and_then(|()| PageTable::<L>::alloc_table());
                guard = self.lock_eviction();
                gpu.table.add_table(block, table?);
            }
        }
        if let Some(engine) = gpu.update_engine() {
            return Ok(Some(self.submit_update(engine, update)));
        }
        self.write_entries(update)?;
        drop(guard);
        Ok(Some(self.next_fence()))
    }

    /// What an update does, when it does it.
    ///
    /// # Errors
    /// Of [`PageTable::write`].
    #[track_caller]
    pub(crate) fn write_entries(&self, update: &PteUpdate) -> Result<(), Errno> {
        let gpu = &*self.0;
        let affected = gpu.table.affected(update);
        gpu.table.write(update)?;
        gpu.costs.add(|costs| match update.addr {
            Some(_) => {
                costs.pte_writes += 1;
                costs.pages_written += update.pages.count();
            }
            None => costs.pte_clears += 1,
        });
        match update.addr {
            Some(addr) => {
                note!(L, "{}: PTE write {} -> bus {:#x} {:?}", self.name(), update.pages, addr.0, update.flags)
            }
            None if affected != update.pages => {
                note!(L, "{}: PTE clear {}, huge leaves whole: {affected}", self.name(), update.pages)
            }
            None if update.flags.has(PteFlags::NORETRY) => {
                note!(L, "{}: no-retry PTE {}", self.name(), update.pages);
            }
            None => note!(L, "{}: PTE clear {}", self.name(), update.pages),
        }
        if update.flush {
            gpu.tlb_seq.store(1);
        }
        Ok(())
    }

    /// The end of `amdgpu_vm_handle_fault` for a fault that nobody can deal with: from now on `pages` do not retry.
    /// Reserves the root.
    ///
    /// # Errors
    /// Of [`GpuVm::reserve_root`], [`GpuVm::update_range`], [`GpuVm::update_pdes`].
    #[track_caller]
    pub(crate) fn write_no_retry(&self, pages: Pages) -> Result<(), Errno> {
        let root = self.reserve_root()?;
        let (flags, addr) = (PteFlags::NORETRY, None);
        self.update_range(&PteUpdate { unlocked: false, flush: false, allow_override: false, pages, flags, addr })?;
        self.update_pdes(&root)
    }

    /// `amdgpu_vm_update_pdes`: from now on the hardware sees tables that locked updates allocated. A scheduling point
    /// if there are any. Does not ask for a TLB flush: new tables were not moved. Needs the root reserved.
    ///
    /// # Errors
    /// `ENODEV` (unplugged), when there is something to do.
    #[track_caller]
    pub fn update_pdes(&self, _root: &RootReserved<'_, L>) -> Result<(), Errno> {
        let blocks = self.0.table.unlinked();
        if blocks.is_empty() {
            return Ok(());
        }
        if let Some(engine) = self.0.update_engine() {
            if self.is_unplugged() {
                return Err(Errno::ENODEV);
            }
            self.submit_link(engine, blocks);
            return Ok(());
        }
        self.see_blocks(&blocks);
        if self.0.unplugged.get() {
            return Err(Errno::ENODEV);
        }
        self.link(&blocks);
        Ok(())
    }

    #[track_caller]
    fn see_blocks(&self, blocks: &[u64]) {
        let pages = PageTable::<L>::hull(blocks);
        self.0.table.seen().write(Span::new(pages.first, pages.last));
    }

    fn link(&self, blocks: &[u64]) {
        self.0.table.link(blocks);
        note!(L, "{}: PDEs updated", self.name());
    }

    /// What `update_pdes` does, when the copy engine does it.
    #[track_caller]
    pub(crate) fn write_pdes(&self, blocks: &[u64]) {
        self.see_blocks(blocks);
        self.link(blocks);
    }

    /// `dma_fence_wait`: waits for the job of the copy engine; other jobs are done when they are issued. A fence of nobody
    /// is a kernel warning. One scheduling point with a copy engine. Sleeps.
    #[track_caller]
    pub fn wait_fence(&self, fence: Fence) {
        self.wait_job(fence);
        if fence.0 == 0 || fence.0 > self.0.fences.get() {
            L::warn(format_args!("{}: wait for {fence:?}, but the last one is {}", self.name(), self.0.fences.get()));
        }
    }

    /// `amdgpu_vm_flush_compute_tlb`: nothing if no update asked for it since the last one; else drops all cached
    /// translations and waits for the accesses in flight that may have used them. Sleeps.
    #[track_caller]
    pub fn flush_tlb(&self) {
        if self.0.tlb_seq.swap(0) == 0 {
            note!(L, "{}: TLB flush skipped, no update since the last", self.name());
            return;
        }
        self.0.costs.add(|costs| costs.tlb_flushes += 1);
        self.0.table.seen().invalidate(Span::ALL);
        let dropped = self.0.tlb.borrow_mut().flush();
        note!(L, "{}: TLB flush ({dropped} entries), {} accesses in flight", self.name(), self.0.queues.in_flight());
        self.0.queues.drain();
    }

    /// `kgd2kfd_quiesce_mm`; see [`Kfd::quiesce_mm`].
    ///
    /// # Errors
    /// Of [`Kfd::quiesce_mm`].
    #[track_caller]
    pub fn quiesce_mm(&self, mm: &dyn Any) -> Result<(), Errno> {
        self.0.costs.add(|costs| costs.quiesces += 1);
        self.0.kfd.quiesce_mm(mm)
    }
    /// `kgd2kfd_resume_mm`; see [`Kfd::resume_mm`].
    ///
    /// # Errors
    /// Of [`Kfd::resume_mm`].
    #[track_caller]
    pub fn resume_mm(&self, mm: &dyn Any) -> Result<(), Errno> {
        self.0.costs.add(|costs| costs.resumes += 1);
        self.0.kfd.resume_mm(mm)
    }

    /// `dma_map_page`. A scheduling point.
    ///
    /// # Errors
    /// What was injected at [`Point::DmaMap`], `EFAULT` in the kernel.
    #[track_caller]
    pub fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        self.injected().check(Point::DmaMap)?;
        self.0.costs.add(|costs| costs.dma_maps += 1);
        Ok(self.0.iommu.map(pfn, order, direction))
    }
    /// `dma_unmap_page`. Two scheduling points. A second time is a violation of I5.
    #[track_caller]
    pub fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        self.0.costs.add(|costs| costs.dma_unmaps += 1);
        self.0.iommu.unmap(addr, order, direction);
    }

    /// TTM starts to evict the VM's page tables: updates get EBUSY until [`GpuVm::validate`]. Takes the eviction lock.
    #[track_caller]
    pub fn evict_page_tables(&self) {
        self.lock_eviction().state.evicting = true;
        note!(L, "{}: page tables are being evicted", self.name());
    }
    /// The VM's page tables are back (`amdgpu_vm_validate`). Takes the eviction lock.
    #[track_caller]
    pub fn validate(&self) {
        self.lock_eviction().state.evicting = false;
        note!(L, "{}: page tables validated", self.name());
    }
    /// `drm_dev_unplug`: waits for running updates; later ones get ENODEV. Waves are not the driver's to end here.
    #[track_caller]
    pub fn unplug(&self) {
        self.lock_eviction().state.unplugged = true;
        self.0.table.seen().write(Span::ALL);
        self.0.unplugged.set(true);
        note!(L, "{}: unplugged", self.name());
    }
}
