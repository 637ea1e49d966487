//! An address space with a driver that writes down what it is told.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod device;

use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Execution, Launch, Outcome, Program, Sim, explore};
use model::platform::{ClientId, EventKind, Mm, MmuEvent, NotifierEntry, VmaFlags};
use model::units::{Bytes, PAGE_SIZE};
use sim_mm::{AddressSpace, Memory, Options, Pte, SubId, is_zero_pfn};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

pub type Space = AddressSpace<Sim>;

pub const BASE: u64 = 0x20_0000;
pub const MIB2: u64 = 0x20_0000;
pub const RW: VmaFlags =
    VmaFlags { read: true, write: true, io: false, pfnmap: false, mixedmap: false, anon: true, hugetlb: false };
pub const RO: VmaFlags = VmaFlags { write: false, ..RW };
pub const NONE: VmaFlags = VmaFlags { read: false, ..RO };

/// Runs inside a callback and gives its answer.
pub type Inside = Box<dyn Fn(&Call) -> bool>;

/// One callback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    pub cookie: u64,
    pub kind: EventKind,
    pub bytes: Bytes,
    pub blockable: bool,
    pub owner: u64,
    pub seq: u64,
}

/// An address space whose callbacks are recorded; each one sets the sequence of its subscription, then runs `inside`.
#[derive(Clone)]
pub struct World {
    pub memory: Memory<Sim>,
    pub mm: Space,
    pub calls: Rc<RefCell<Vec<Call>>>,
    /// Runs inside the callback.
    pub inside: Rc<RefCell<Option<Inside>>>,
}

/// The pages `[from, to)` counted from [`BASE`].
pub fn pages(from: u64, to: u64) -> Bytes {
    Bytes::new(BASE + from * PAGE_SIZE, BASE + to * PAGE_SIZE)
}

pub fn world(options: Options) -> World {
    let memory = Memory::new();
    let mm = Space::new(&memory, 0, options).unwrap();
    let world = World { memory, mm, calls: Rc::default(), inside: Rc::default() };
    // The mm must not own itself through its dispatcher: clear_hooks is called by nobody here, so a test leaks one
    // world.
    let hooked = world.clone();
    world.mm.on_invalidate(Rc::new(move |entry, event, seq| hooked.called(entry, event, seq)));
    world
}

impl World {
    fn called(&self, entry: NotifierEntry, event: &MmuEvent, seq: u64) -> bool {
        let sub = self.sub(entry.cookie);
        self.mm.interval_set_seq(sub, seq);
        let MmuEvent { kind, bytes, blockable, owner } = *event;
        let call = Call { cookie: entry.cookie, kind, bytes, blockable, owner, seq };
        self.calls.borrow_mut().push(call);
        let inside = self.inside.borrow_mut().take();
        let answer = inside.as_ref().is_none_or(|inside| inside(&call));
        if self.inside.borrow().is_none() {
            *self.inside.borrow_mut() = inside;
        }
        answer
    }

    pub fn sub(&self, cookie: u64) -> SubId {
        self.mm.notifiers().iter().find(|view| view.entry.cookie == cookie).expect("registered").sub
    }

    pub fn listen(&self, cookie: u64, bytes: Bytes) -> SubId {
        self.mm.interval_insert(NotifierEntry { client: ClientId(0), cookie }, bytes, |_| ()).unwrap()
    }

    /// What happens inside every callback from now on.
    pub fn inside(&self, f: impl Fn(&Call) -> bool + 'static) {
        *self.inside.borrow_mut() = Some(Box::new(f));
    }

    /// Kind and bytes of the callbacks since the last time.
    pub fn events(&self) -> Vec<(EventKind, Bytes)> {
        self.calls.borrow_mut().drain(..).map(|call| (call.kind, call.bytes)).collect()
    }

    /// A mapped, written region.
    pub fn region(&self, bytes: Bytes) {
        self.mm.mmap(bytes, RW).unwrap();
        self.mm.populate(bytes).unwrap();
    }

    pub fn pfn(&self, bytes: Bytes) -> u64 {
        self.mm.peek_mapped(bytes.start / PAGE_SIZE).expect("mapped").0
    }
}

/// A program that builds a world and launches actors in it, and what must hold of the world at rest besides what always
/// must: nothing leaks, no invalidation runs.
pub struct Play<F>(pub F);

/// The check of a [`Play`] at rest.
pub type AtRest = Box<dyn Fn(&World)>;

impl<F: Fn(&mut Launch) -> (World, AtRest)> Program for Play<F> {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let (world, check) = (self.0)(launch);
        Box::new(Playing { world, check })
    }
}

struct Playing {
    world: World,
    check: AtRest,
}

impl Execution for Playing {
    fn at_rest(&self) {
        let world = &self.world;
        let (mut frames, mut slots) = (BTreeSet::new(), 0);
        for (page, entry) in world.mm.peek_ptes() {
            match entry.pte {
                Pte::Present { pfn, .. } if is_zero_pfn(pfn) || frames.insert(pfn) => {}
                Pte::Device { pfn, .. } if frames.insert(pfn) => {}
                Pte::Swap { .. } => slots += 1,
                other => must(false, &format!("page {page:#x} is {other:x?} at rest")),
            }
            must(world.mm.peek_vma(page * PAGE_SIZE).is_some(), &format!("page {page:#x} is mapped, but in no VMA"));
        }
        must(world.memory.live_frames() == frames.len() as u64, "every live frame is mapped");
        must(world.memory.swap_slots() == slots, "every swap slot has an entry");
        let (seq, active) = world.mm.invalidation_epoch();
        must(seq % 2 == 0 && active == 0, "no invalidation runs at rest");
        (self.check)(world);
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.world.mm.clear_hooks();
    }
}

/// `assert!` for inside of executions.
#[track_caller]
pub fn must(holds: bool, what: &str) {
    if !holds {
        Sim::fail(Violation::new(Invariant::I9, what, None));
    }
}

/// Explores every interleaving.
pub fn all(play: impl Fn(&mut Launch) -> (World, AtRest)) -> Outcome {
    explore(&Play(play), &Config::default(), None, None)
}

/// Every interleaving is well.
#[track_caller]
pub fn always(play: impl Fn(&mut Launch) -> (World, AtRest)) {
    let outcome = all(play);
    assert_eq!(outcome.failure.map(|failure| failure.violation), None, "{:?}", outcome.stats);
    assert_eq!(outcome.end, End::Exhausted);
}

/// Some interleaving violates something: what.
#[track_caller]
pub fn sometimes(play: impl Fn(&mut Launch) -> (World, AtRest)) -> Violation {
    all(play).failure.expect("a violation").violation
}

/// What one actor alone violates.
#[track_caller]
pub fn falls(world: fn() -> World, body: fn(&World)) -> (Invariant, String) {
    let violation = sometimes(|launch| {
        let world = world();
        let actors = world.clone();
        launch.actor("thread", move || body(&actors));
        (world, Box::new(|_| {}))
    });
    (violation.invariant, violation.what)
}
