//! The address space: its parts, its locks, and the small steps that every operation is made of.
//!
//! Answers to `struct mm_struct`.
//!
//! # Locks, outermost first
//! | lock | protects |
//! |---|---|
//! | `mmap_lock` | the VMA tree and VMA fields |
//! | per-VMA lock | one VMA against its own changes; taken for read without mmap_lock by CPU faults and MADV_DONTNEED |
//! | `anon_vma` | rmap walks (page migration) against the first interval notifier |
//! | callbacks | whatever the driver takes |
//! | `mn_lock` | the interval notifiers |
//!
//! # Scheduling points besides the locks
//! "vma tree" (indexed by page): lookups that hold no mmap_lock read it, changes of the tree write it. "cpu page table"
//! (indexed by page): walks read it, changes write it, one operation for all pages that change together. Folio locks and
//! references are in "memory" (indexed by frame), see [`Memory`]; "free frames" orders who takes destinations of device
//! migrations from the allocator.
//! What stands between two scheduling points happens at once; no `RefCell` borrow may live across one.

use crate::costs::{MmCosts, Tally};
use crate::device::{AsyncPutFn, DeviceFaultFn, ReleaseFn};
use crate::file::FIRST_FILE;
use crate::interval::{InvalidateFn, ReturnedFn, Subscriptions, event};
use crate::memory::Memory;
use crate::pagetable::{Gather, PageTable, Prot, block_of};
use crate::plant::Fault;
use crate::vma::{VMA_LOCK, VmaNode, VmaTree};
use interleave::lab::{Gate, Hold, Invariant, Lab, Span, Stamp, Violation, Visible};
use model::Errno;
use model::platform::{Atomic, EventKind, RwSem, Shared, VmaFlags};
use model::units::{Bytes, PAGE_SIZE, Pages};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// mmap_lock held for read.
pub type MmapRead<'a, L> = <<L as model::platform::Kernel>::RwSem<()> as RwSem<()>>::ReadGuard<'a>;
/// mmap_lock held for write.
pub type MmapWrite<'a, L> = <<L as model::platform::Kernel>::RwSem<()> as RwSem<()>>::WriteGuard<'a>;

/// The highest user address, one past (47 bits).
pub const TASK_SIZE: u64 = 1 << 47;

/// How an address space behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Transparent huge pages "always": a first touch of an empty, aligned 2 MiB block inside one VMA maps all of it
    /// with one entry.
    pub thp: bool,
    /// The process outlives everything that runs: nothing exits, so its counts cannot reach zero. Taking and dropping
    /// references then commutes and is no scheduling point, which spares the search most of its work. A put too many is
    /// still seen (I5).
    pub immortal: bool,
    /// Pages may have several mappings or move: the process forks, moves mappings, shares or maps files. Whoever looks
    /// for the mappings of a page then looks at all page tables, which costs the search more; without this the calls
    /// that would make it so panic.
    pub shares: bool,
    /// Neighbouring VMAs that say the same become one, as in the kernel. Without it they stay apart: whoever looks at
    /// VMAs must cope with neighbours anyway, and unmerged ones show more.
    /// Also decides whether a cut VMA tells of every 2 MiB where a huge entry could have been, as in the kernel, or only
    /// of those where one is.
    pub merge: bool,
    /// A fault that is planted in the operations. For who looks whether faults are found.
    pub fault: Option<Fault>,
}

/// A process address space. A cheap handle; cloning copies the pointer and takes no reference.
pub struct AddressSpace<L: Lab> {
    pub(crate) inner: Rc<Inner<L>>,
}

pub(crate) struct Inner<L: Lab> {
    pub(crate) id: u32,
    pub(crate) options: Options,
    pub(crate) memory: Memory<L>,
    pub(crate) mmap_lock: L::RwSem<()>,
    /// Under `mmap_lock`; looked at without it through `tree_accesses`.
    pub(crate) vmas: RefCell<VmaTree<L>>,
    pub(crate) tree_accesses: L::Visible,
    /// One for all processes that fork from each other (`anon_vma->root->rwsem`).
    pub(crate) anon_vma: Rc<L::RwSem<()>>,
    pub(crate) table: RefCell<PageTable>,
    /// One for all processes that fork from each other: fork changes two page tables at once.
    pub(crate) walks: Rc<L::Visible>,
    /// The id of the process that the others of its family were forked from.
    pub(crate) family: u32,
    pub(crate) notifiers: Subscriptions<L>,
    pub(crate) mm_users: L::Atomic,
    pub(crate) mm_count: L::Atomic,
    /// `mm->notifier_subscriptions` as an insertion looks at it, without a lock (`smp_load_acquire`).
    pub(crate) registered: L::Shared<bool>,
    /// What `mm_users` and `mm_count` hold, for checks.
    pub(crate) counts: Cell<(u64, u64)>,
    /// When the struct was freed.
    pub(crate) freed_at: Cell<Option<Stamp>>,
    /// MMF_UNSTABLE: the OOM reaper was here, anonymous memory must not be faulted in any more.
    pub(crate) unstable: Cell<bool>,
    /// Shared with the subscriptions, which see the events.
    pub(crate) costs: Rc<Tally>,
    /// `migrate_to_ram` of the pagemaps, for faults in this address space.
    pub(crate) device_fault: RefCell<Option<DeviceFaultFn<L>>>,
    /// `schedule_work(&mm->async_put_work)`.
    pub(crate) async_put: RefCell<Option<AsyncPutFn>>,
    /// `mmu_notifier_ops.release`.
    pub(crate) release: RefCell<Option<ReleaseFn>>,
}

/// What processes that fork from each other have in common.
pub(crate) struct Family<L: Lab> {
    pub(crate) id: u32,
    pub(crate) walks: Rc<L::Visible>,
    pub(crate) anon_vma: Rc<L::RwSem<()>>,
}

impl<L: Lab> Clone for AddressSpace<L> {
    fn clone(&self) -> Self {
        AddressSpace { inner: self.inner.clone() }
    }
}

impl<L: Lab> PartialEq for AddressSpace<L> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }
}

impl<L: Lab> Eq for AddressSpace<L> {}

impl<L: Lab> fmt::Debug for AddressSpace<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mm{}", self.inner.id)
    }
}

/// An access that the process is not allowed: SIGSEGV, or SIGBUS where the kernel would rather say that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sigsegv {
    /// Byte address.
    pub addr: u64,
    /// Whether it was a store.
    pub write: bool,
    /// Whether it is SIGBUS: the page is in device memory and cannot be brought back.
    pub bus: bool,
}

impl<L: Lab> AddressSpace<L> {
    /// An empty address space with one user, the process. `id` (below 8) names its frames and must be unique among the
    /// address spaces of one [`Memory`].
    ///
    /// # Errors
    /// `ENOMEM` from the locks.
    pub fn new(memory: &Memory<L>, id: u32, options: Options) -> Result<Self, Errno> {
        let family = Family {
            id,
            walks: Rc::new(L::Visible::new("cpu page table")),
            anon_vma: Rc::new(RwSem::new("anon_vma", ())?),
        };
        let space = Self::in_family(memory, id, options, family)?;
        memory.register(id, &space.inner);
        Ok(space)
    }

    /// An empty address space among its relatives, to whom it is not known yet.
    pub(crate) fn in_family(memory: &Memory<L>, id: u32, options: Options, family: Family<L>) -> Result<Self, Errno> {
        assert!(id < FIRST_FILE, "address spaces are numbered from 0 to {}", FIRST_FILE - 1);
        let costs = Rc::new(Tally::default());
        Ok(AddressSpace {
            inner: Rc::new(Inner {
                id,
                options,
                memory: memory.clone(),
                mmap_lock: RwSem::new("mmap_lock", ())?,
                vmas: RefCell::new(VmaTree::new()),
                tree_accesses: L::Visible::new("vma tree"),
                anon_vma: family.anon_vma,
                table: RefCell::default(),
                walks: family.walks,
                family: family.id,
                notifiers: Subscriptions::new(costs.clone())?,
                mm_users: Atomic::new("mm_users", 1),
                mm_count: Atomic::new("mm_count", 1),
                registered: Shared::new("notifier_subscriptions", false),
                counts: Cell::new((1, 1)),
                freed_at: Cell::new(None),
                unstable: Cell::new(false),
                costs,
                device_fault: RefCell::default(),
                async_put: RefCell::default(),
                release: RefCell::default(),
            }),
        })
    }

    /// The id given at creation.
    pub fn id(&self) -> u32 {
        self.inner.id
    }

    /// What was asked of it so far.
    pub fn costs(&self) -> MmCosts {
        self.inner.costs.so_far()
    }

    /// The memory behind it.
    pub fn memory(&self) -> &Memory<L> {
        &self.inner.memory
    }

    /// Sets whom invalidations call. Once.
    pub fn on_invalidate(&self, call: InvalidateFn) {
        self.inner.notifiers.on_invalidate(call);
    }

    /// Sets an observer that is told what no device may reach any more: after each callback the part of the event that
    /// the subscription listens to, and at the end of every `start` the whole event. No scheduling point lies between
    /// the return of the callback and the observer.
    pub fn on_callback_returned(&self, call: ReturnedFn) {
        self.inner.notifiers.on_callback_returned(call);
    }

    /// Sets an observer that is told of the end of every invalidation that somebody was told of
    /// (`invalidate_range_end` of a classic notifier).
    pub fn on_invalidation_end(&self, call: ReturnedFn) {
        self.inner.notifiers.on_invalidation_end(call);
    }

    /// Drops dispatcher and observer and all other hooks, those of the [`Memory`] too, which usually own handles of this address space: a world that is taken down calls
    /// this to let the memory go.
    pub fn clear_hooks(&self) {
        self.inner.notifiers.clear_hooks();
        // Dropped after the borrows: a hook may own the last handle of something large.
        let _old = (self.inner.device_fault.take(), self.inner.async_put.take(), self.inner.release.take());
        self.inner.memory.clear_hooks();
    }

    /// The struct must not be freed.
    #[track_caller]
    pub(crate) fn check_alive(&self) {
        if let Some(at) = self.inner.freed_at.get() {
            L::fail(Violation::new(Invariant::I4, format!("{self:?} is used after its last mmdrop"), Some(at)));
        }
    }
}

impl<L: Lab> Inner<L> {
    /// Whether the fault is planted.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.options.fault == Some(fault)
    }

    // ---- the per-VMA lock ------------------------------------------------------------------------------------------

    /// `lock_vma_under_rcu`: finds the VMA that contains `addr` and takes its lock for read, without mmap_lock. None
    /// when there is none or it is write-locked or detached: fall back to mmap_lock. One scheduling point.
    #[track_caller]
    pub(crate) fn vma_read_lock(&self, addr: u64) -> Option<VmaReadGuard<L>> {
        self.tree_accesses.read(Span::one(addr / PAGE_SIZE));
        let vma = self.vmas.borrow().lookup(addr)?;
        if vma.locked.get() || vma.detached.get() {
            return None;
        }
        vma.readers_begun.set(vma.readers_begun.get() + 1);
        // Never waits: the reader falls back to mmap_lock.
        L::acquire_map(VMA_LOCK, Hold::Begin);
        Some(VmaReadGuard { vma })
    }

    /// `vma_start_write` on all of `vmas`: waits for readers, keeps new ones out. Call before changing the tree or the
    /// VMAs; one scheduling point when there are no readers, and then what the caller does next, up to its next
    /// scheduling point, is the same step. Returns whether it waited.
    #[track_caller]
    pub(crate) fn vma_start_write(&self, _held: &MmapWrite<'_, L>, span: Span, vmas: &[Rc<VmaNode<L>>]) -> bool {
        L::wait_map(VMA_LOCK);
        self.tree_accesses.write(span);
        vmas.iter().for_each(|vma| vma.locked.set(true));
        let mut waited = false;
        for vma in vmas {
            let begun = vma.readers_begun.get();
            if vma.readers_seen.get() != begun {
                vma.readers_ended.wait_until(begun);
                vma.readers_seen.set(begun);
                waited = true;
            }
        }
        waited
    }

    /// The end of all VMA write locks (`vma_end_write_all`), a step of its own when other steps happened since they
    /// were taken.
    #[track_caller]
    pub(crate) fn vma_end_write(&self, span: Span, vmas: &[Rc<VmaNode<L>>], stepped: bool) {
        if stepped {
            self.tree_accesses.write(span);
        }
        vmas.iter().for_each(|vma| vma.locked.set(false));
    }

    // ---- page table steps ------------------------------------------------------------------------------------------

    /// `__split_huge_pmd`: CLEAR of the 2 MiB block, then 512 entries instead of one. Nothing happens when the block
    /// has no huge entry. The caller holds what keeps the VMA in place.
    #[track_caller]
    pub(crate) fn split_huge_pmd(&self, page: u64) {
        if self.table.borrow().block_leaf(page).is_some() {
            self.clear_and_split(block_of(page));
        }
    }

    /// CLEAR of a block, and inside it the end of its huge entry, if it has one.
    #[track_caller]
    pub(crate) fn clear_and_split(&self, block: Pages) {
        let clear = self.notifiers.start(event(EventKind::Clear, block.bytes())).expect("blockable events do not fail");
        self.walks.write(Span::new(block.first, block.last));
        // Somebody may have zapped or split it meanwhile: then nothing is left to do.
        self.table.borrow_mut().split_block(block.first);
        self.notifiers.end(clear);
    }

    /// Splits the huge entry that `at` (bytes) cuts, if any. Returns whether steps were taken.
    #[track_caller]
    pub(crate) fn split_huge_at(&self, at: u64) -> bool {
        let page = at / PAGE_SIZE;
        let cut = page != block_of(page).first && self.table.borrow().block_leaf(page).is_some();
        if cut {
            self.split_huge_pmd(page);
        }
        cut
    }

    /// Does `change` to the page table at one scheduling point, after splitting (with events nested in the caller's)
    /// the huge entries that the ends of `pages` cut.
    #[track_caller]
    pub(crate) fn change_entries(&self, pages: Pages, change: impl FnOnce(&mut PageTable)) {
        loop {
            self.walks.write(Span::new(pages.first, pages.last));
            // A fault may put a huge entry back between a split and this: hence the loop.
            if !self.split_huge_at(pages.first * PAGE_SIZE) && !self.split_huge_at(pages.bytes().end) {
                break;
            }
        }
        change(&mut self.table.borrow_mut());
    }

    /// Empties the entries in `pages` and collects their frames (`unmap_vmas`, `zap_page_range`).
    #[track_caller]
    pub(crate) fn zap(&self, pages: Pages, gather: &mut Gather) {
        let mut zapped = Gather::default();
        self.change_entries(pages, |table| table.zap(pages, &mut zapped));
        for &(first, count) in &zapped.runs {
            self.memory.remove_maps(first, count);
            self.memory.set_dirty_in(self.id, first, count, false);
        }
        gather.runs.append(&mut zapped.runs);
        zapped.slots.drain(..).for_each(|slot| self.memory.put_slot(slot));
    }

    /// `tlb_finish_mmu`: puts the frames. One scheduling point a run of contiguous frames.
    #[track_caller]
    pub(crate) fn free_pages(&self, gather: Gather) {
        for (first, count) in gather.runs {
            self.memory.put(first, count);
        }
    }

    /// `free_pgtables` of what the VMAs in the tree do not need.
    pub(crate) fn free_tables(&self, pages: Pages) {
        let vmas = self.vmas.borrow();
        self.table.borrow_mut().free_tables(pages, |span| vmas.any(span.bytes()));
    }
}

/// A VMA locked for read without mmap_lock. Give it back with [`VmaReadGuard::unlock`].
#[must_use]
pub(crate) struct VmaReadGuard<L: Lab> {
    pub(crate) vma: Rc<VmaNode<L>>,
}

impl<L: Lab> VmaReadGuard<L> {
    /// `vma_end_read`: wakes a writer. A scheduling point.
    #[track_caller]
    pub(crate) fn unlock(self) {
        self.vma.readers_ended.add(1);
        L::release_map(VMA_LOCK, Hold::Begin);
    }
}

/// What the flags of a VMA let a fresh or restored entry allow (`vm_page_prot`); x86 cannot write without reading.
pub(crate) fn prot_of(flags: VmaFlags) -> Prot {
    match (flags.read, flags.write) {
        (_, true) => Prot::Write,
        (true, false) => Prot::Read,
        (false, false) => Prot::None,
    }
}

/// Whether `bytes` can be an argument of a system call that takes an address range.
pub(crate) fn check_range(bytes: Bytes) -> Result<Pages, Errno> {
    let aligned = bytes.start.is_multiple_of(PAGE_SIZE) && bytes.end.is_multiple_of(PAGE_SIZE);
    if !aligned || bytes.is_empty() || bytes.end > TASK_SIZE {
        return Err(Errno::EINVAL);
    }
    Ok(bytes.pages())
}
