//! A scripted platform: one thread, everything in order, and a hook at every place where the world could move under
//! `drm_gpusvm`'s feet.
//!
//! An interleaving is written down by hand: [`World::at`] runs a piece of the other side (an invalidation, time
//! passing) at a named point inside a call. Every step is logged, every allocation can be made to fail, and the rules
//! about what may not be done under which lock are asserted always.

// Each test file uses a part of this.
#![allow(dead_code)]

mod device;
mod frames;
mod gpu;
mod kernel;
mod mm;

pub(crate) use frames::Frames;
pub(crate) use gpu::ScriptGpu;
pub(crate) use kernel::Seq;
pub(crate) use mm::ScriptMm;

use model::Errno;
use model::gpusvm::{
    ChunkSizes, Config, Ctx, DriverLocked, GpuSvm, NotifierHandle, NotifierWrite, Port, RangeHandle, TreeAccess,
};
use model::platform::{ClientId, EventKind, MmuEvent, Owner, Plant, Platform, VmaFlags};
use model::units::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// The platform.
pub(crate) struct Script;
impl Platform for Script {
    type Kernel = Seq;
    type Framework = Port;
    type Mm = ScriptMm;
    type Gpu = ScriptGpu;
}

pub(crate) type Svm = GpuSvm<Script, u32>;
pub(crate) type R = RangeHandle<Script, u32>;
pub(crate) type N = NotifierHandle<Script, u32>;

/// Where a script can step in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Point {
    /// In `interval_insert`, the subscription is visible, the call has not returned.
    Inserted,
    /// `read_begin` has taken its number.
    ReadBegun,
    /// `hmm_range_fault` is entered.
    Walk,
    /// `hmm_range_fault` has filled the array and is about to return.
    Walked,
    /// `mmput` is entered.
    Mmput,
    /// `mmput_async` is entered.
    MmputAsync,
    /// The MIGRATE event of a migration is over, nothing is collected yet.
    Collecting,
    /// Pages are collected.
    Collected,
    /// Copied, and about to change hands.
    HandOver,
}

type Hook = Box<dyn FnOnce()>;

/// What all parts share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) log: Vec<String>,
    pub(crate) warns: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) retries: Vec<&'static str>,
    pub(crate) held: Vec<&'static str>,
    pub(crate) now_ms: u64,
    pub(crate) plants: Vec<Plant>,
    /// Allocations until one fails.
    pub(crate) fail_alloc_in: Option<usize>,
    /// Between collecting and finalizing.
    pub(crate) migrating: bool,
    /// Copies that nobody has waited for.
    pub(crate) copies_pending: usize,
    /// Source frames that do not change hands, though collected: somebody took a reference meanwhile.
    pub(crate) raced: BTreeSet<u64>,
    /// There is no huge folio of system memory.
    pub(crate) no_huge: bool,
    /// The next answer of `migrate_vma_setup`.
    pub(crate) fail_setup: Option<Errno>,
    hooks: VecDeque<(Point, Hook)>,
}

impl Shared {
    /// Hooks whose point was not reached.
    pub(crate) fn forget_hooks(&mut self) {
        self.hooks.clear();
    }
}

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
}

/// Works on the shared state.
pub(crate) fn shared<T>(f: impl FnOnce(&mut Shared) -> T) -> T {
    SHARED.with_borrow_mut(f)
}

pub(crate) fn log(what: impl Into<String>) {
    shared(|s| s.log.push(what.into()));
}

/// Runs the next hook if it is for this point.
pub(crate) fn reached(point: Point) {
    let hook = shared(|s| match s.hooks.front() {
        Some((p, _)) if *p == point => s.hooks.pop_front(),
        _ => None,
    });
    if let Some((_, hook)) = hook {
        hook();
    }
}

pub(crate) fn holds(lock: &str) -> bool {
    shared(|s| s.held.contains(&lock))
}

/// Whether the next allocation works out. Asserts the reclaim rule.
pub(crate) fn allocate(what: &str) -> Result<(), Errno> {
    assert!(!holds("notifier_lock"), "{what} is allocated under the notifier lock");
    log(format!("alloc {what}"));
    shared(|s| match &mut s.fail_alloc_in {
        Some(0) => Err(Errno::ENOMEM),
        Some(n) => {
            *n -= 1;
            Ok(())
        }
        None => Ok(()),
    })
}

/// An address space, a GPU, and an instance with a callback that does its documented duty.
pub(crate) struct World {
    pub(crate) mm: ScriptMm,
    pub(crate) gpu: ScriptGpu,
    pub(crate) svm: Rc<Svm>,
}

pub(crate) const K4: u64 = 4 << 10;
pub(crate) const K64: u64 = 64 << 10;
pub(crate) const M2: u64 = 2 << 20;

pub(crate) const RW: VmaFlags =
    VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };
pub(crate) const RO: VmaFlags = VmaFlags { write: false, ..RW };

pub(crate) const CONFIG: Config = Config {
    name: "script",
    mm_start: 0,
    mm_range: 1 << 47,
    notifier_size: 512 << 20,
    chunk_sizes: ChunkSizes::DEFAULT,
    client: ClientId(0),
};

/// The GPU will only read.
pub(crate) const READ_ONLY: Ctx = Ctx {
    read_only: true,
    check_pages_threshold: 0,
    devmem_possible: false,
    devmem_only: false,
    owner: Owner::NONE,
    timeslice_ms: 0,
    allow_mixed: false,
};

/// The driver lock: sequential code needs no more.
pub(crate) fn locked() -> DriverLocked<'static> {
    DriverLocked::at_rest()
}

pub(crate) fn event(kind: EventKind, start: u64, end: u64) -> MmuEvent {
    MmuEvent { kind, bytes: Bytes::new(start, end), blockable: true, owner: 0 }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(CONFIG)
    }

    pub(crate) fn with(config: Config) -> Self {
        shared(|s| *s = Shared::default());
        let frames = Frames::default();
        let (mm, gpu) = (ScriptMm::new(frames.clone()), ScriptGpu::new(frames));
        let svm = Rc::new(Svm::new(config, mm.clone(), gpu.clone()).expect("nothing fails yet"));
        let callback = Rc::downgrade(&svm);
        mm.on_invalidate(Rc::new(move |entry, event, seq| {
            let svm = callback.upgrade().expect("the instance outlives its notifiers");
            svm.notifier_invalidate(entry.cookie, event, seq, |nl, notifier| invalidate(&svm, nl, notifier, event))
        }));
        shared(|s| s.log.clear());
        World { mm, gpu, svm }
    }

    /// Runs `hook` when `point` is reached next. Hooks run in the order given here.
    pub(crate) fn at(&self, point: Point, hook: impl FnOnce() + 'static) {
        shared(|s| s.hooks.push_back((point, Box::new(hook))));
    }

    /// Runs an invalidation at `point`.
    pub(crate) fn invalidate_at(&self, point: Point, event: MmuEvent) {
        let mm = self.mm.clone();
        self.at(point, move || {
            mm.invalidate(&event);
        });
    }

    /// find_or_insert with the window wide open.
    pub(crate) fn insert(&self, fault: u64) -> Result<R, Errno> {
        self.insert_in(fault, Bytes::new(0, u64::MAX), &Ctx::default())
    }

    pub(crate) fn insert_in(&self, fault: u64, window: Bytes, ctx: &Ctx) -> Result<R, Errno> {
        self.svm.find_or_insert(locked(), fault, window, ctx, || 7)
    }

    pub(crate) fn get_pages(&self, range: R) -> Result<(), Errno> {
        self.svm.get_pages(locked(), range, &Ctx::default())
    }

    pub(crate) fn bytes(&self, range: R) -> (u64, u64) {
        let bytes = self.svm.range(range).bytes();
        (bytes.start, bytes.end)
    }

    pub(crate) fn valid(&self, range: R) -> bool {
        let nl = self.svm.notifier_lock();
        self.svm.pages_valid(nl.held(), range)
    }

    /// (page index, pfn that the bus address leads to, order) of each mapping.
    pub(crate) fn mappings(&self, range: R) -> Vec<(u64, u64, u8)> {
        let nl = self.svm.notifier_lock();
        let mut all = Vec::new();
        let walk = self.svm.for_each_dma(nl.held(), range, |page, entry| {
            all.push((page, self.gpu.pfn_at(entry.addr), entry.order));
            Ok(())
        });
        walk.expect("there is a DMA array");
        all
    }

    /// Every range there is, in address order.
    pub(crate) fn ranges(&self) -> Vec<R> {
        let everything = Bytes::new(0, u64::MAX);
        let mut all = Vec::new();
        let mut notifier = self.svm.first_notifier(locked(), everything);
        while let Some(n) = notifier {
            let mut range = self.svm.first_range(n, everything, TreeAccess::Driver(locked()));
            while let Some(r) = range {
                all.push(r);
                range = self.svm.next_range(r, u64::MAX, TreeAccess::Driver(locked()));
            }
            notifier = self.svm.next_notifier(locked(), n, u64::MAX);
        }
        all
    }

    /// The log since the last call.
    pub(crate) fn log(&self) -> Vec<String> {
        shared(|s| std::mem::take(&mut s.log))
    }

    pub(crate) fn warns(&self) -> Vec<String> {
        shared(|s| std::mem::take(&mut s.warns))
    }

    /// Nothing is left behind: no DMA mapping, no subscription, no user of the mm, no held lock.
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.gpu.live(), 0, "DMA mappings");
        assert_eq!(self.mm.subscriptions(), 0, "interval notifiers");
        assert_eq!(self.mm.users(), 1, "mm users");
        assert_eq!(Seq::objects("drm_gpusvm_range"), 0, "ranges");
        assert_eq!(Seq::objects("drm_gpusvm_notifier"), 0, "notifiers");
        assert_eq!(shared(|s| s.held.clone()), Vec::<&str>::new(), "locks");
    }
}

/// The callback a driver has to provide: PTEs would be cleared here; then the pages.
fn invalidate(svm: &Svm, nl: &NotifierWrite<'_, Script>, notifier: N, event: &MmuEvent) {
    let mut next = svm.first_range(notifier, event.bytes, TreeAccess::Callback(nl));
    while let Some(range) = next {
        svm.unmap_pages_in_notifier(nl, range);
        if event.kind == EventKind::Unmap {
            svm.set_unmapped(nl, range, event.bytes);
        }
        next = svm.next_range(range, event.bytes.end, TreeAccess::Callback(nl));
    }
}
