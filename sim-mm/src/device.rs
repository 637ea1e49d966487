//! Device-private pages: the frames of a GPU's memory, their folios, and the CPU fault on them.
//!
//! Answers to `include/linux/memremap.h` and `mm/memremap.c` (`zone_device_folio_init`, `free_zone_device_folio`) and to
//! the device-private branch of `do_swap_page` in `mm/memory.c` (spec mm-events 2.3). A device frame is a [`Memory`]
//! frame like any other: contents, generation, reference and map counts. The allocator never hands one out; a driver
//! brings it to life with `zone_device_folio_init`.
//!
//! # Folio locks
//! A lock bit per frame; a folio's pages are locked together. Whoever migrates only ever tries ("memory", in the step
//! that also takes the reference); a CPU fault that finds a device page locked sleeps on a gate that the unlock opens.
//! The gate exists only when somebody waits.
//!
//! A fault looks at its entry again in the step that takes the lock, which is one on "memory": a zap in between is
//! followed by a put of the frame, and the fault that lost goes round as if the zap had come first.
//!
//! # Simplified
//! A fault on a huge entry has all its pages locked; a `migrate_vma_setup` that splits the mapping under it (without
//! `compound`) collects the faulting page alone. `populate` asks for a device page once and goes on (get_user_pages goes
//! round until it is there). A destination in system memory is zeroed, not undefined.
//!
//! A device folio is never split: page by page it is mapped, locked and migrated by itself when its huge mapping was
//! split, but `folio_free` is called once, when its last page is free (the kernel splits it, and the driver counts one
//! reference more for each piece). A fault on a huge device entry that finds the folio locked waits, as one on a small
//! entry does (in the kernel it goes round).

use crate::fault::FaultError;
use crate::memory::Memory;
use crate::migrate::FOLIO_LOCK;
use crate::pagetable::Pte;
use crate::space::{self, AddressSpace, Inner, MmapRead};
use interleave::lab::{Gate, Hold, Invariant, Lab, Span, Violation, Visible};
use model::platform::{DevicePage, Owner, PagemapId};
use model::units::PAGE_SIZE;
use model::{Errno, note};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The map of device pages that a CPU fault holds locked: only who faults on a device page waits for one.
const DEVICE_FOLIO_LOCK: &str = "device folio lock";

const AREA_SHIFT: u32 = 40;
const PAGEMAP_SHIFT: u32 = 28;
/// First frame of the destinations in system memory; frames of address spaces lie below.
const POOL: u64 = 1 << 52;

/// The frame number of page `index` of the pagemap's memory.
pub const fn device_pfn(id: PagemapId, index: u64) -> u64 {
    (1 << AREA_SHIFT) + ((id.0 as u64) << PAGEMAP_SHIFT) + index
}

/// Whether the number is one that only a device can have.
pub(crate) const fn is_device_pfn(pfn: u64) -> bool {
    pfn >> AREA_SHIFT == 1
}

/// Called when the last page of a device folio is free (`dev_pagemap_ops.folio_free`), with its word. In whatever context
/// puts the page: must not sleep.
pub type FolioFreeFn = Rc<dyn Fn(PagemapId, u64)>;
/// `dev_pagemap_ops.migrate_to_ram`: the address space that faults, which may be a child of the driver's; its mmap_lock
/// (None: held for write), the byte address, the frame, which is locked and referenced. Ok: fault again; Err: SIGBUS.
pub type DeviceFaultFn<L> =
    Rc<dyn Fn(PagemapId, &AddressSpace<L>, Option<&MmapRead<'_, L>>, u64, u64) -> Result<(), Errno>>;
/// Has [`AddressSpace::finish_async_put`] called somewhere else, soon. Any context.
pub type AsyncPutFn = Rc<dyn Fn()>;
/// A classic notifier's `release`: the address space is about to go, on whatever thread put the last user.
pub type ReleaseFn = Rc<dyn Fn()>;

/// Pages that are locked, mapped and moved as one: where they are mapped, and their frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folio {
    /// First page.
    pub(crate) page: u64,
    /// First frame.
    pub(crate) pfn: u64,
    /// 1, or 512.
    pub(crate) count: u64,
}

/// `struct dev_pagemap`s and the folios in them.
#[derive(Default)]
pub(crate) struct Devices {
    /// Owner and pages, by id.
    pagemaps: BTreeMap<u32, (Owner, u64)>,
    /// By first frame.
    folios: BTreeMap<u64, DeviceFolio>,
    folio_free: Option<FolioFreeFn>,
}

struct DeviceFolio {
    count: u64,
    /// Pages that are not free yet.
    live: u64,
    /// `zone_device_data`.
    data: u64,
}

impl Devices {
    fn page(&self, pfn: u64) -> Option<DevicePage> {
        if !is_device_pfn(pfn) {
            return None;
        }
        let within = pfn - (1 << AREA_SHIFT);
        let id = (within >> PAGEMAP_SHIFT) as u32;
        let &(owner, pages) = self.pagemaps.get(&id)?;
        (within & ((1 << PAGEMAP_SHIFT) - 1) < pages).then_some(DevicePage { pagemap: PagemapId(id), owner })
    }

    fn folio(&mut self, pfn: u64) -> Option<(u64, &mut DeviceFolio)> {
        let (&first, folio) = self.folios.range_mut(..=pfn).next_back()?;
        (pfn < first + folio.count).then_some((first, folio))
    }

    /// The frame is free: if that was its folio's last one, whom to tell.
    pub(crate) fn frame_freed(&mut self, pfn: u64) -> Option<(PagemapId, u64)> {
        let pagemap = self.page(pfn)?.pagemap;
        let (first, folio) = self.folio(pfn)?;
        folio.live -= 1;
        if folio.live > 0 {
            return None;
        }
        self.folios.remove(&first).map(|folio| (pagemap, folio.data))
    }
}

impl<L: Lab> Memory<L> {
    // ---- pagemaps and their folios ---------------------------------------------------------------------------------

    /// Declares `pages` pages of device-private memory (`memremap_pages`); their frame numbers begin at
    /// [`device_pfn`]`(id, 0)`.
    ///
    /// # Panics
    /// `id` is declared already or not below 4096, or there are more than 2^28 pages, or the owner is nobody.
    pub fn add_pagemap(&self, id: PagemapId, owner: Owner, pages: u64) {
        assert!(
            u64::from(id.0) < 1 << (AREA_SHIFT - PAGEMAP_SHIFT) && pages <= 1 << PAGEMAP_SHIFT,
            "{id:?} has no room"
        );
        assert!(owner != Owner::NONE, "{id:?} needs an owner");
        let old = self.inner.devices.borrow_mut().pagemaps.insert(id.0, (owner, pages));
        assert!(old.is_none(), "{id:?} is declared twice");
    }

    /// Sets whom the end of a device folio is told to. Once.
    pub fn on_folio_free(&self, call: FolioFreeFn) {
        let old = self.inner.devices.borrow_mut().folio_free.replace(call);
        assert!(old.is_none(), "folio_free is set once");
    }

    pub(crate) fn clear_hooks(&self) {
        // Dropped after the borrow.
        let _old = self.inner.devices.borrow_mut().folio_free.take();
    }

    /// Whose memory the frame is in; None for system memory. No scheduling point.
    pub fn device_page(&self, pfn: u64) -> Option<DevicePage> {
        self.inner.devices.borrow().page(pfn)
    }

    /// As [`Memory::device_page`], of a frame that a device entry names.
    pub(crate) fn device_of(&self, pfn: u64) -> DevicePage {
        self.device_page(pfn).expect("a device entry names a page of a pagemap")
    }

    /// The word of the device folio that has the frame; 0 when it has none (is free). No scheduling point.
    pub fn zone_device_data(&self, pfn: u64) -> u64 {
        self.inner.devices.borrow_mut().folio(pfn).map_or(0, |(_, folio)| folio.data)
    }

    pub(crate) fn set_zone_device_data(&self, pfn: u64, data: u64) {
        match self.inner.devices.borrow_mut().folio(pfn) {
            Some((_, folio)) => folio.data = data,
            None => L::fail(Violation::new(
                Invariant::I4,
                format!("the word of device page {pfn:#x} is set, but the page is free"),
                self.freed_at(pfn),
            )),
        }
    }

    /// `zone_device_folio_init`. A scheduling point.
    #[track_caller]
    pub(crate) fn zone_device_folio_init(&self, pfn: u64, order: u8, data: u64) {
        let count = 1 << order;
        self.inner.accesses.write(Span::new(pfn, pfn + count - 1));
        let known = self.device_page(pfn).is_some_and(|page| self.device_page(pfn + count - 1) == Some(page));
        assert!(known && pfn.is_multiple_of(count), "pfn {pfn:#x}, order {order}: not a folio of a pagemap");
        let in_use = self.inner.state.borrow_mut().each(pfn, count, |pfn, frame| (frame.refs > 0).then_some(pfn));
        if let Some(pfn) = in_use {
            L::fail(Violation::new(Invariant::I4, format!("device page {pfn:#x} is initialised while in use"), None));
        }
        self.inner.state.borrow_mut().bring_to_life(pfn, count, true);
        self.inner.devices.borrow_mut().folios.insert(pfn, DeviceFolio { count, live: count, data });
    }

    pub(crate) fn folios_freed(&self, gone: Vec<(PagemapId, u64)>) {
        for (pagemap, data) in gone {
            let call = self.inner.devices.borrow().folio_free.clone();
            note!(L, "folio_free: {pagemap:?}, data {data:#x}");
            call.expect("a device folio is free, but nobody is told: call on_folio_free first")(pagemap, data);
        }
    }

    /// A destination in system memory: locked, one reference each. Its number says who came first, so that is a
    /// scheduling point.
    #[track_caller]
    pub(crate) fn alloc_destination(&self, order: u8) -> u64 {
        self.inner.pool.write(Span::one(0));
        let mut state = self.inner.state.borrow_mut();
        let (count, used) = (1 << order, state.destinations);
        let first = used.next_multiple_of(count);
        state.destinations = first + count;
        state.bring_to_life(POOL + first, count, true);
        POOL + first
    }

    // ---- folio locks -----------------------------------------------------------------------------------------------

    /// What is to be opened when the frames are unlocked, taken out.
    pub(crate) fn waiters_of(&self, first: u64, count: u64) -> Vec<Rc<L::Gate>> {
        let mut waiters = self.inner.waiters.borrow_mut();
        let pfns: Vec<u64> = waiters.range(first..first + count).map(|(&pfn, _)| pfn).collect();
        pfns.iter().flat_map(|pfn| waiters.remove(pfn).unwrap_or_default()).collect()
    }

    /// The unlock of the frame, which the caller has locked, opens `gate` as well.
    pub(crate) fn open_on_unlock(&self, pfn: u64, gate: &Rc<L::Gate>) {
        self.inner.waiters.borrow_mut().entry(pfn).or_default().push(gate.clone());
    }

    /// Locks the folio for a CPU fault and takes a reference, if `still` holds at that moment. One scheduling point.
    #[track_caller]
    fn lock_for_fault(&self, pfn: u64, count: u64, still: impl FnOnce() -> bool) -> FaultLock<L> {
        self.inner.accesses.write(Span::new(pfn, pfn + count - 1));
        if !still() {
            return FaultLock::Gone;
        }
        let mut state = self.inner.state.borrow_mut();
        if let Some(locked) = state.each(pfn, count, |pfn, frame| frame.locked.then_some(pfn)) {
            let mut waiters = self.inner.waiters.borrow_mut();
            let gates = waiters.entry(locked).or_default();
            if gates.is_empty() {
                gates.push(Rc::new(L::Gate::new(FOLIO_LOCK, 0)));
            }
            return FaultLock::Busy(gates[0].clone());
        }
        state.each(pfn, count, |_, frame| {
            frame.locked = true;
            frame.refs += 1;
            None::<()>
        });
        FaultLock::Locked
    }

    // ---- who maps what ---------------------------------------------------------------------------------------------

    pub(crate) fn register(&self, id: u32, space: &Rc<space::Inner<L>>) {
        self.inner.spaces.borrow_mut().insert(id, Rc::downgrade(space));
    }

    /// One address space of each family.
    pub(crate) fn families(&self) -> Vec<Rc<space::Inner<L>>> {
        let mut all = self.spaces();
        all.sort_by_key(|mm| mm.family);
        all.dedup_by_key(|mm| mm.family);
        all
    }

    /// The address spaces there are, by id.
    pub(crate) fn spaces(&self) -> Vec<Rc<space::Inner<L>>> {
        self.inner.spaces.borrow().values().filter_map(|space| space.upgrade()).collect()
    }
}

/// What came of the attempt to lock a device folio.
enum FaultLock<L: Lab> {
    Locked,
    /// The entry is another one by now.
    Gone,
    Busy(Rc<L::Gate>),
}

impl<L: Lab> AddressSpace<L> {
    /// Sets who brings device pages back for CPU faults in this address space, and in what is forked from it. Once.
    pub fn on_device_fault(&self, call: DeviceFaultFn<L>) {
        let old = self.inner.device_fault.borrow_mut().replace(call);
        assert!(old.is_none(), "the device fault handler is set once");
    }
}

impl<L: Lab> Inner<L> {
    /// `do_swap_page` on a device-private entry, `do_huge_pmd_device_private`: locks the folio, asks the pagemap's owner
    /// to bring it back, unlocks. Ok: fault again, whatever happened.
    #[track_caller]
    pub(crate) fn device_fault(
        &self,
        held: Option<&MmapRead<'_, L>>,
        page: u64,
        folio: Folio,
    ) -> Result<(), FaultError> {
        let Folio { page: first, pfn, count } = folio;
        let still = || {
            let entry = self.table.borrow().get(first);
            matches!(entry.pte, Pte::Device { pfn: now, .. } if now == pfn) && (entry.order > 0) == (count > 1)
        };
        L::wait_map(DEVICE_FOLIO_LOCK);
        match self.memory.lock_for_fault(pfn, count, still) {
            FaultLock::Gone => return Ok(()),
            FaultLock::Busy(gate) => {
                note!(L, "fault on device page {page:#x}: waits for the folio lock of pfn {pfn:#x}");
                gate.wait_until(1);
                return Ok(());
            }
            FaultLock::Locked => {}
        }
        L::acquire_map(DEVICE_FOLIO_LOCK, Hold::Begin);
        let call = self.device_fault.borrow().clone();
        let call = call.expect("a device page faults, but nobody brings it back: call on_device_fault first");
        let (addr, its) = (page * PAGE_SIZE, pfn + (page - first));
        note!(L, "fault on device page {page:#x}: migrate_to_ram of pfn {its:#x}");
        let this = self.memory.spaces().into_iter().find(|mm| mm.id == self.id);
        let this = AddressSpace { inner: this.expect("an address space that faults is there") };
        let result = call(self.memory.device_of(pfn).pagemap, &this, held, addr, its);
        L::release_map(DEVICE_FOLIO_LOCK, Hold::Begin);
        self.memory.release(pfn, count, true);
        result.map_err(|error| {
            note!(L, "fault on device page {page:#x}: migrate_to_ram gives {error}");
            FaultError::Sigbus
        })
    }
}
