//! Random programs over the drm_gpusvm port, with invalidations landing inside its calls. After every step the world
//! has to agree with itself: what is valid names the CPU's pages, what is not valid is not mapped, and nothing leaks.

use crate::script::*;
use model::Errno;
use model::gpusvm::{Config, Ctx, TreeAccess};
use model::platform::{EventKind, MmuEvent};
use model::units::Bytes;

/// Numerical Recipes' generator: the same numbers everywhere.
struct Dice(u64);
impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
    /// One to `most` pages somewhere in the arena.
    fn bytes(&mut self, most: u64) -> Bytes {
        let first = FIRST + self.roll(PAGES) * K4;
        let pages = 1 + self.roll(most);
        Bytes::new(first, (first + pages * K4).min(FIRST + PAGES * K4))
    }
}

const FIRST: u64 = 0x1f0000;
const PAGES: u64 = 0x60;

/// Everything that has to hold between two calls.
fn agree(w: &World) {
    w.svm.check(locked());
    assert_eq!(w.warns(), [""; 0]);
    let mut live = 0;
    for range in w.ranges() {
        let object = w.svm.range(range);
        assert_eq!(object.refcount(), 1);
        if !w.valid(range) {
            continue;
        }
        assert!(!object.flags().unmapped, "valid although unmapped");
        let mut next = 0;
        for (page, pfn, order) in w.mappings(range) {
            assert_eq!(page, next, "mappings tile the range");
            next = page + (1 << order);
            for i in 0..1 << order {
                let addr = object.bytes().start + (page + i) * K4;
                assert_eq!(w.mm.pfn(addr), Some(pfn + i), "the GPU and the CPU name different pages at {addr:#x}");
            }
            live += 1;
        }
        assert_eq!(next, object.npages() as u64);
    }
    assert_eq!(w.gpu.live(), live, "only valid ranges are DMA mapped");
    let mut notifiers = 0;
    let everything = Bytes::new(0, u64::MAX);
    let mut next = w.svm.first_notifier(locked(), everything);
    while let Some(notifier) = next {
        notifiers += 1;
        next = w.svm.next_notifier(locked(), notifier, u64::MAX);
    }
    assert_eq!(w.mm.subscriptions(), notifiers, "every registered notifier is linked");
    assert_eq!(w.mm.users(), 1);
    assert_eq!(shared(|s| s.held.clone()), [""; 0]);
}

fn some_event(dice: &mut Dice) -> MmuEvent {
    let kind = [EventKind::Clear, EventKind::Unmap, EventKind::ProtectionVma][dice.roll(3) as usize];
    let bytes = dice.bytes(20);
    event(kind, bytes.start, bytes.end)
}

fn step(w: &World, dice: &mut Dice) -> &'static str {
    let ranges = w.ranges();
    let some_range = |dice: &mut Dice| ranges.get(dice.roll(ranges.len().max(1) as u64) as usize).copied();
    let ctx = Ctx {
        read_only: dice.roll(4) == 0,
        check_pages_threshold: [0, K64, M2][dice.roll(3) as usize],
        ..Ctx::default()
    };
    match dice.roll(10) {
        0 => {
            let bytes = dice.bytes(40);
            w.mm.erase_vmas(bytes.start, bytes.end);
            w.mm.invalidate(&event(EventKind::Unmap, bytes.start, bytes.end));
            w.mm.map(bytes.start, bytes.end, if dice.roll(4) == 0 { RO } else { RW });
            "map"
        }
        1 => {
            let bytes = dice.bytes(10);
            w.mm.unmap(bytes.start, bytes.end);
            "munmap"
        }
        2 => {
            w.mm.invalidate(&some_event(dice));
            "event"
        }
        3 => {
            let refused = MmuEvent { blockable: false, ..some_event(dice) };
            w.mm.invalidate(&refused);
            "non-blockable event"
        }
        4 => {
            if let Some(range) = some_range(dice) {
                w.svm.range_remove(locked(), range);
            }
            "remove"
        }
        5 | 6 => {
            if dice.roll(3) == 0 {
                w.invalidate_at(Point::Inserted, some_event(dice));
            }
            let (fault, window) = (FIRST + dice.roll(PAGES) * K4, dice.bytes(PAGES));
            let window = if dice.roll(2) == 0 { window } else { Bytes::new(0, u64::MAX) };
            match w.insert_in(fault, window, &ctx) {
                Ok(range) => assert!(w.svm.range(range).bytes().contains(fault)),
                Err(e) => assert!(matches!(e, Errno::ENOENT | Errno::EPERM | Errno::EINVAL | Errno::ENOMEM), "{e}"),
            }
            "find_or_insert"
        }
        _ => {
            let Some(range) = some_range(dice) else { return "nothing" };
            for _ in 0..dice.roll(3) {
                let point = [Point::ReadBegun, Point::Walk, Point::Walked, Point::Mmput][dice.roll(4) as usize];
                w.invalidate_at(point, some_event(dice));
            }
            if dice.roll(8) == 0 {
                w.gpu.fail_in(dice.roll(20) as usize);
            }
            match w.svm.get_pages(locked(), range, &ctx) {
                Ok(()) => assert!(w.valid(range), "all events of this thread came before the mapping"),
                Err(e) => assert!(matches!(e, Errno::EFAULT | Errno::EPERM | Errno::ENOMEM), "{e}"),
            }
            w.gpu.fail_in(usize::MAX);
            "get_pages"
        }
    }
}

#[test]
fn random_programs_keep_the_world_consistent() {
    for seed in 0..300 {
        let w = World::with(Config { notifier_size: 0x40000, ..CONFIG });
        let mut dice = Dice(seed);
        for _ in 0..60 {
            if dice.roll(12) == 0 {
                shared(|s| s.fail_alloc_in = Some(dice.roll(4) as usize));
            }
            step(&w, &mut dice);
            shared(|s| {
                s.fail_alloc_in = None;
                s.forget_hooks();
            });
            agree(&w);
        }
        w.svm.fini(locked());
        w.assert_nothing_left();
        assert_eq!(w.mm.grabs(), 0);
    }
}

/// The programs above mean something only if they get somewhere.
#[test]
fn random_programs_reach_the_interesting_states() {
    let (mut mapped, mut retried, mut unmapped, mut partial, mut several) = (0, 0, 0, 0, 0);
    for seed in 0..100 {
        let w = World::with(Config { notifier_size: 0x40000, ..CONFIG });
        let mut dice = Dice(seed);
        for _ in 0..60 {
            step(&w, &mut dice);
            shared(|s| s.forget_hooks());
            for range in w.ranges() {
                let flags = w.svm.range(range).flags();
                mapped += u32::from(flags.has_dma_mapping);
                unmapped += u32::from(flags.unmapped);
                partial += u32::from(flags.partial_unmap);
                several += u32::from(w.svm.next_range(range, u64::MAX, TreeAccess::Driver(locked())).is_some());
            }
        }
        retried += shared(|s| s.retries.len());
    }
    let least = [mapped, retried as u32, unmapped, partial, several].into_iter().min();
    assert!(least > Some(50), "{mapped} {retried} {unmapped} {partial} {several}");
}
