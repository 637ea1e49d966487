//! A platform that is as small as one can be and still link: single-threaded, fixed-size, core only. It is here to
//! be instantiated by the driver, so that the linker sees every symbol the driver would pull into a kernel.

use core::cell::{Cell, OnceCell, RefCell, RefMut};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use model::Errno;
use model::gpusvm::Port;
use model::platform::*;
use model::units::Bytes;

/// The stub as a [`Platform`].
pub struct Stub;
impl Platform for Stub {
    type Kernel = Stub;
    type Framework = Port;
    type Mm = StubMm;
    type Gpu = StubGpu;
}

/// Every lock of the stub.
pub struct Lock<T>(RefCell<T>);

impl<T: 'static> Mutex<T> for Lock<T> {
    type Guard<'a> = RefMut<'a, T>;
    fn new(_: &'static str, value: T) -> Result<Self, Errno> {
        Ok(Lock(RefCell::new(value)))
    }
    fn lock(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}
impl<T: 'static> SpinLock<T> for Lock<T> {
    type Guard<'a> = RefMut<'a, T>;
    fn new(_: &'static str, value: T) -> Result<Self, Errno> {
        Ok(Lock(RefCell::new(value)))
    }
    fn lock(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}
impl<T: 'static> RwSem<T> for Lock<T> {
    type ReadGuard<'a> = RefMut<'a, T>;
    type WriteGuard<'a> = RefMut<'a, T>;
    fn new(_: &'static str, value: T) -> Result<Self, Errno> {
        Ok(Lock(RefCell::new(value)))
    }
    fn read(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
    fn write(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
    fn downgrade<'a>(guard: RefMut<'a, T>) -> RefMut<'a, T>
    where
        Self: 'a,
    {
        guard
    }
}

/// Atomic word.
pub struct Word(Cell<u64>);
impl Word {
    fn change(&self, f: impl FnOnce(u64) -> u64) -> u64 {
        let old = self.0.get();
        self.0.set(f(old));
        old
    }
}
impl Atomic for Word {
    fn new(_: &'static str, value: u64) -> Self {
        Word(Cell::new(value))
    }
    fn load(&self) -> u64 {
        self.0.get()
    }
    fn store(&self, value: u64) {
        self.0.set(value);
    }
    fn swap(&self, value: u64) -> u64 {
        self.change(|_| value)
    }
    fn cmpxchg(&self, old: u64, new: u64) -> u64 {
        self.change(|v| if v == old { new } else { v })
    }
    fn inc_return(&self) -> u64 {
        self.change(|v| v.wrapping_add(1)).wrapping_add(1)
    }
    fn dec_return(&self) -> u64 {
        self.change(|v| v.wrapping_sub(1)).wrapping_sub(1)
    }
    fn inc_unless_zero(&self) -> bool {
        self.change(|v| if v == 0 { 0 } else { v + 1 }) != 0
    }
}

/// Lockless word and lock-protected data alike.
pub struct Datum<T>(RefCell<T>);
impl<T: Copy + PartialEq + fmt::Debug + 'static> Shared<T> for Datum<T> {
    fn new(_: &'static str, value: T) -> Self {
        Datum(RefCell::new(value))
    }
    fn read_once(&self) -> T {
        *self.0.borrow()
    }
    fn write_once(&self, value: T) {
        *self.0.borrow_mut() = value;
    }
}
impl<T: 'static> Plain<T> for Datum<T> {
    fn new(value: T) -> Self {
        Datum(RefCell::new(value))
    }
    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.0.borrow())
    }
    fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

const SLOTS: usize = 8;

/// A cache of a few objects, never reused.
pub struct Slots<T> {
    used: Cell<u32>,
    objects: [OnceCell<T>; SLOTS],
}
impl<T: 'static> Objects<T> for Slots<T> {
    fn get(&self, handle: Handle<T>) -> &T {
        match self.objects.get(handle.index as usize).and_then(OnceCell::get) {
            Some(object) => object,
            None => panic!("no such object"),
        }
    }
}
impl<T: 'static> Cache<T> for Slots<T> {
    fn new(_: &'static str) -> Result<Self, Errno> {
        Ok(Slots { used: Cell::new(0), objects: [const { OnceCell::new() }; SLOTS] })
    }
    fn alloc_or(&self, value: T, undo: impl FnOnce(&T)) -> Result<Handle<T>, Errno> {
        let index = self.used.get();
        let Some(slot) = self.objects.get(index as usize) else {
            undo(&value);
            return Err(Errno::ENOMEM);
        };
        slot.set(value).map_err(|_| Errno::ENOMEM)?;
        self.used.set(index + 1);
        Ok(Handle::from_parts(index, 0))
    }
    fn free(&self, _: Handle<T>) {}
}

const LONGEST: usize = 512;

/// An array of at most one 2 MiB range of pages.
pub struct FixedArray<T> {
    len: usize,
    items: [T; LONGEST],
}
impl<T> Deref for FixedArray<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items[..self.len]
    }
}
impl<T> DerefMut for FixedArray<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.len]
    }
}

/// A workqueue that runs nothing.
pub struct Idle;
impl WorkQueue<Stub> for Idle {
    fn work(&self, _: ClientId, _: WorkFunc) -> Result<Idle, Errno> {
        Ok(Idle)
    }
    fn delayed_work(&self, _: ClientId, _: WorkFunc) -> Result<Idle, Errno> {
        Ok(Idle)
    }
    fn flush(&self) {}
    fn destroy(&self) {}
}
impl Work for Idle {
    fn queue(&self) -> bool {
        true
    }
    fn flush(&self) {}
    fn cancel_sync(&self) -> bool {
        false
    }
}
impl DelayedWork for Idle {
    fn queue(&self, _: u64) -> bool {
        true
    }
    fn flush(&self) {}
    fn cancel_sync(&self) -> bool {
        false
    }
}

/// A completion nobody can wait for.
pub struct Done(Cell<bool>);
impl Completion for Done {
    fn new(_: &'static str) -> Self {
        Done(Cell::new(false))
    }
    fn complete_all(&self) {
        self.0.set(true);
    }
    fn is_done(&self) -> bool {
        self.0.get()
    }
    fn wait(&self) {
        assert!(self.0.get(), "one thread would wait for itself");
    }
}

impl Kernel for Stub {
    type Mutex<T: 'static> = Lock<T>;
    type SpinLock<T: 'static> = Lock<T>;
    type RwSem<T: 'static> = Lock<T>;
    type Atomic = Word;
    type Shared<T: Copy + PartialEq + fmt::Debug + 'static> = Datum<T>;
    type Plain<T: 'static> = Datum<T>;
    type Cache<T: 'static> = Slots<T>;
    type Array<T: Copy + 'static> = FixedArray<T>;
    type WorkQueue = Idle;
    type Work = Idle;
    type DelayedWork = Idle;
    type Completion = Done;
    type NoReclaim = ();

    fn alloc_array<T: Copy + 'static>(len: usize, fill: T) -> Result<FixedArray<T>, Errno> {
        if len > LONGEST { Err(Errno::ENOMEM) } else { Ok(FixedArray { len, items: [fill; LONGEST] }) }
    }
    fn alloc_workqueue(_: &'static str, _: QueueKind) -> Result<Idle, Errno> {
        Ok(Idle)
    }
    fn noreclaim() {}
    fn now_ms() -> u64 {
        0
    }
    fn retry_point(_: &'static str) {}
    fn warn(_: fmt::Arguments<'_>) {}
}

/// An address space with one VMA.
#[derive(Clone)]
pub struct StubMm;
impl Mm<Stub> for StubMm {
    type ReadGuard<'a> = PhantomData<&'a ()>;
    type WriteGuard<'a> = PhantomData<&'a mut ()>;
    type Sub = u32;
    fn is_same(&self, _: &Self) -> bool {
        true
    }
    fn mmgrab(&self) {}
    fn mmdrop(&self) {}
    fn mmget_not_zero(&self) -> bool {
        true
    }
    fn mmput(&self) {}
    fn mmap_read_lock(&self) -> PhantomData<&()> {
        PhantomData
    }
    fn find_vma(&self, _: &PhantomData<&()>, addr: u64) -> Option<Vma> {
        let bytes = Bytes::new(0x20_0000, 0x40_0000);
        let flags = VmaFlags { read: true, write: true, anon: true, ..VmaFlags::default() };
        (addr < bytes.end).then_some(Vma { bytes, flags })
    }
    fn mmap_write_lock(&self) -> PhantomData<&mut ()> {
        PhantomData
    }
    fn mmap_write_downgrade<'a>(&'a self, _: PhantomData<&'a mut ()>) -> PhantomData<&'a ()> {
        PhantomData
    }
    fn find_vma_write_locked(&self, _: &PhantomData<&mut ()>, addr: u64) -> Option<Vma> {
        self.find_vma(&PhantomData, addr)
    }
    fn interval_insert_locked(
        &self,
        _: &PhantomData<&mut ()>,
        entry: NotifierEntry,
        bytes: Bytes,
        publish: impl FnOnce(u32),
    ) -> Result<u32, Errno> {
        self.interval_insert(entry, bytes, publish)
    }
    fn hmm_range_fault_write_locked(
        &self,
        _: &PhantomData<&mut ()>,
        range: &HmmRange<u32>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        self.hmm_range_fault(&PhantomData, range, pfns)
    }
    fn interval_insert(&self, _: NotifierEntry, _: Bytes, publish: impl FnOnce(u32)) -> Result<u32, Errno> {
        publish(0);
        Ok(0)
    }
    fn interval_remove(&self, _: u32) {}
    fn interval_set_seq(&self, _: u32, _: u64) {}
    fn read_begin(&self, _: u32) -> u64 {
        1
    }
    fn read_retry(&self, _: u32, _: u64) -> bool {
        false
    }
    fn hmm_range_fault(&self, _: &PhantomData<&()>, range: &HmmRange<u32>, pfns: &mut [HmmPfn]) -> Result<(), Errno> {
        for (i, slot) in pfns.iter_mut().enumerate() {
            *slot = HmmPfn { valid: true, write: true, error: false, order: 0, pfn: (range.start >> 12) + i as u64 };
        }
        Ok(())
    }
}

/// A GPU that takes every update.
#[derive(Clone)]
pub struct StubGpu;
impl StubGpu {
    /// First frame of its memory.
    const VRAM: u64 = 1 << 40;
}
impl Gpu<Stub, StubMm> for StubGpu {
    type RootReserved<'a> = PhantomData<&'a ()>;
    fn properties(&self) -> GpuProperties {
        GpuProperties {
            gc: GcVersion(9, 4, 3),
            apu: false,
            multi_node: false,
            mtype_local: 0,
            noretry: true,
            sriov_without_xnack: false,
            max_pfn: 1 << 36,
            default_granularity: 9,
        }
    }
    fn reserve_root(&self) -> Result<PhantomData<&()>, Errno> {
        Ok(PhantomData)
    }
    fn update_range(&self, update: &PteUpdate) -> Result<Option<Fence>, Errno> {
        Ok(Some(Fence(update.pages.count())))
    }
    fn update_pdes(&self, _: &PhantomData<&()>) -> Result<(), Errno> {
        Ok(())
    }
    fn wait_fence(&self, _: Fence) {}
    fn flush_tlb(&self) {}
    fn quiesce_mm(&self, _: &StubMm) -> Result<(), Errno> {
        Ok(())
    }
    fn resume_mm(&self, _: &StubMm) -> Result<(), Errno> {
        Ok(())
    }
    fn dma_map(&self, pfn: u64, _: u8, _: DmaDirection) -> Result<DmaAddr, Errno> {
        Ok(DmaAddr(pfn << 12))
    }
    fn dma_unmap(&self, _: DmaAddr, _: u8, _: DmaDirection) {}
}

/// A pagemap in which everything moves.
impl DeviceMemory<Stub> for StubMm {
    fn device_page(&self, pfn: u64) -> Option<DevicePage> {
        (pfn >= StubGpu::VRAM).then_some(DevicePage { pagemap: PagemapId(0), owner: Owner(1) })
    }
    fn migrate_vma_setup(
        &self,
        _: &PhantomData<&()>,
        args: &MigrateVma,
        src: &mut [MigratePfn],
    ) -> Result<u64, Errno> {
        let first = args.bytes.start >> 12;
        for (slot, pfn) in src.iter_mut().zip(first..) {
            *slot = MigratePfn { valid: true, migrate: true, pfn, ..MigratePfn::default() };
        }
        Ok(src.len() as u64)
    }
    fn alloc_folio(&self, order: u8) -> Result<u64, Errno> {
        Ok(1 << order)
    }
}

/// One block of memory and an engine that is always done.
impl Vram<Stub> for StubGpu {
    fn pagemap(&self) -> Option<PagemapId> {
        Some(PagemapId(0))
    }
    fn owner(&self) -> Owner {
        Owner(1)
    }
    fn vram_alloc(&self, pages: u64) -> Result<VramBlock, Errno> {
        Ok(VramBlock { pfn: Self::VRAM, pages })
    }
    fn copy(&self, copies: &[CopyJob]) -> Result<Fence, Errno> {
        Ok(Fence(copies.len() as u64))
    }
    fn device_map(&self, pfn: u64, _: u8) -> Result<(DmaAddr, Interconnect), Errno> {
        Ok((DmaAddr(pfn << 12), Interconnect::Vram))
    }
}
impl RetryFaults<Stub> for StubGpu {}
