//! Random programs of system calls and accesses against a naive page map, with a device mirror that follows the events.

use crate::common::device::{GPU, OWNER, SYSTEM, evict, to_device, with_gpus};
use crate::common::{BASE, RO, RW, World, world};
use model::platform::{HmmPfn, HmmRange, HmmRequest, MigrateSelect, Mm, Owner, VmaFlags};
use model::units::{Bytes, PAGE_SIZE};
use proptest::prelude::*;
use sim_mm::{AddressSpace, BLOCK_PAGES, Options, Prot, is_zero_pfn};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Where the programs play: two and a half blocks, of which only these pages are ever the end of a range.
const EDGES: [u64; 9] = [0, 1, 2, 300, 511, 512, 514, 1024, 1200];
/// Pages that are stored to and loaded from.
const SPOTS: [u64; 9] = [0, 1, 2, 299, 511, 512, 513, 900, 1100];

#[derive(Clone, Copy, Debug)]
enum Op {
    Mmap(Bytes, VmaFlags),
    Munmap(Bytes),
    Mprotect(Bytes, bool, bool),
    Populate(Bytes),
    Dontneed(Bytes),
    Migrate(Bytes),
    NumaScan(Bytes),
    Store(u64, u64),
    Load(u64),
    Mirror(Bytes, HmmRequest, Owner),
    /// To the GPU's memory, huge pages as one or page by page.
    ToDevice(Bytes, bool),
    /// The first so many pages of the GPU's memory are emptied.
    Evict(u64),
}

fn range() -> impl Strategy<Value = Bytes> {
    (0..EDGES.len() - 1)
        .prop_flat_map(|from| (Just(from), from + 1..EDGES.len()))
        .prop_map(|(from, to)| Bytes::new(BASE + EDGES[from] * PAGE_SIZE, BASE + EDGES[to] * PAGE_SIZE))
}

fn op() -> impl Strategy<Value = Op> {
    let spot = || prop::sample::select(&SPOTS).prop_map(|page| BASE + page * PAGE_SIZE + 8 * (page % 512));
    let request = prop::sample::select(&[HmmRequest::Snapshot, HmmRequest::Read, HmmRequest::Write]);
    let owner = prop::sample::select(&[Owner::NONE, OWNER]);
    let flags = prop::sample::select(&[RW, RW, RO]);
    prop_oneof![
        3 => (range(), flags).prop_map(|(bytes, flags)| Op::Mmap(bytes, flags)),
        2 => range().prop_map(Op::Munmap),
        2 => (range(), any::<bool>(), any::<bool>()).prop_map(|(bytes, r, w)| Op::Mprotect(bytes, r, w)),
        1 => range().prop_map(Op::Populate),
        1 => range().prop_map(Op::Dontneed),
        1 => range().prop_map(Op::Migrate),
        1 => range().prop_map(Op::NumaScan),
        5 => (spot(), 1..100u64).prop_map(|(addr, value)| Op::Store(addr, value)),
        3 => spot().prop_map(Op::Load),
        3 => (range(), request, owner).prop_map(|(bytes, request, owner)| Op::Mirror(bytes, request, owner)),
        2 => (range(), any::<bool>()).prop_map(|(bytes, compound)| Op::ToDevice(bytes, compound)),
        1 => prop::sample::select(&EDGES[1..]).prop_map(Op::Evict),
    ]
}

/// What a page is, naively: rights, and the words stored to it.
#[derive(Clone, Default, PartialEq, Debug)]
struct Page {
    read: bool,
    write: bool,
    words: BTreeMap<u64, u64>,
}

type Map = BTreeMap<u64, Page>;

fn pages_of(bytes: Bytes) -> std::ops::RangeInclusive<u64> {
    bytes.pages().first..=bytes.pages().last
}

/// Does `op` to the page map and says whether it succeeds (for operations whose success the map decides). `in_device`: the
/// pages that are in the GPU's memory.
fn naive(map: &mut Map, in_device: &BTreeSet<u64>, op: Op) -> bool {
    match op {
        Op::Mmap(bytes, flags) => {
            for page in pages_of(bytes) {
                map.insert(page, Page { read: flags.read, write: flags.write, words: BTreeMap::new() });
            }
        }
        Op::Munmap(bytes) => map.retain(|page, _| !pages_of(bytes).contains(page)),
        Op::Mprotect(bytes, read, write) => {
            for page in pages_of(bytes) {
                let Some(page) = map.get_mut(&page) else { return false };
                (page.read, page.write) = (read, write);
            }
        }
        Op::Dontneed(bytes) => {
            let inside = |page: &u64| pages_of(bytes).contains(page);
            map.iter_mut().filter(|(page, _)| inside(page)).for_each(|(_, page)| page.words.clear());
            return pages_of(bytes).all(|page| map.contains_key(&page));
        }
        Op::Store(addr, value) => {
            let Some(page) = map.get_mut(&(addr / PAGE_SIZE)).filter(|page| page.write) else { return false };
            page.words.insert(addr % PAGE_SIZE, value);
        }
        Op::Load(addr) => return map.get(&(addr / PAGE_SIZE)).is_some_and(|page| page.read || page.write),
        Op::Populate(_) | Op::Migrate(_) | Op::NumaScan(_) | Op::ToDevice(..) | Op::Evict(_) => {}
        Op::Mirror(bytes, request, owner) => {
            // hmm never faults on what is in the caller's own memory, so that nobody asks whether it may be written to.
            let its = |page: u64| owner == OWNER && in_device.contains(&page);
            let writable = |page: u64, p: &Page| p.write || request != HmmRequest::Write || its(page);
            let ok = |page: u64| map.get(&page).is_some_and(|p| p.read && writable(page, p));
            return request == HmmRequest::Snapshot || pages_of(bytes).all(ok);
        }
    }
    true
}

/// A device that maps what hmm said and forgets what events say: (frame, writable) by page.
type Mirror = Rc<RefCell<BTreeMap<u64, (u64, bool)>>>;

fn mirror(world: &World, device: &Mirror, bytes: Bytes, request: HmmRequest, owner: Owner) -> bool {
    let sub = world.sub(0);
    for _ in 0..1000 {
        let seq = world.mm.read_begin(sub);
        let mut pfns = vec![HmmPfn::default(); (bytes.len() / PAGE_SIZE) as usize];
        let held = world.mm.mmap_read_lock();
        match world.mm.hmm_range_fault(
            &held,
            &HmmRange { notifier: sub, notifier_seq: seq, start: bytes.start, request, owner },
            &mut pfns,
        ) {
            Err(model::Errno::EBUSY) => continue,
            Err(_) => return false,
            Ok(()) => {}
        }
        assert!(!world.mm.read_retry(sub, seq));
        for (page, pfn) in pages_of(bytes).zip(pfns) {
            let its = world.mm.peek_device(page).filter(|_| owner == OWNER);
            let cpu = its.or(world.mm.peek_mapped(page)).filter(|_| !pfn.error);
            assert_eq!(cpu, pfn.valid.then_some((pfn.pfn, pfn.write)), "page {page:#x}");
            assert!(!pfn.valid || pfn.order == world.mm.peek_pte(page).order);
            assert!(request == HmmRequest::Snapshot || pfn.valid, "page {page:#x} was asked for");
            assert!(
                request != HmmRequest::Write || pfn.write || its.is_some(),
                "page {page:#x} was asked for writable"
            );
            if pfn.valid {
                device.borrow_mut().insert(page, (pfn.pfn, pfn.write));
            }
        }
        return true;
    }
    panic!("hmm_range_fault does not come to an end");
}

fn real(world: &World, device: &Mirror, op: Op) -> bool {
    let mm = &world.mm;
    match op {
        Op::Mmap(bytes, flags) => mm.mmap(bytes, flags).is_ok(),
        Op::Munmap(bytes) => mm.munmap(bytes).is_ok(),
        Op::Mprotect(bytes, read, write) => mm.mprotect(bytes, read, write).is_ok(),
        Op::Populate(bytes) => mm.populate(bytes).is_ok(),
        Op::Dontneed(bytes) => mm.madvise_dontneed(bytes).is_ok(),
        Op::Migrate(bytes) => mm.migrate_pages(bytes).is_ok(),
        Op::NumaScan(bytes) => mm.numa_scan(bytes).is_ok(),
        Op::Store(addr, value) => mm.store(addr, value).is_ok(),
        Op::Load(addr) => mm.load(addr).is_ok_and(|value| Some(value) == mm.peek_word(addr)),
        Op::Mirror(bytes, request, owner) => mirror(world, device, bytes, request, owner),
        Op::ToDevice(bytes, compound) => {
            let select = MigrateSelect { compound, ..SYSTEM };
            for vma in mm.peek_vmas() {
                let part = vma.bytes.clip(&bytes);
                // What is in use elsewhere is not collected, and nothing is: all that can be moved is.
                if !part.is_empty() {
                    let (collected, moved) = to_device(mm, part, GPU, select).expect("inside one VMA");
                    assert_eq!(collected, moved);
                }
            }
            true
        }
        Op::Evict(pages) => {
            // A folio that reaches further than asked for stays where it is (migrate_device_pfns).
            let last = |pfn: u64, order: u8| pfn | ((1 << order) - 1);
            let goes = |page: u64, order: u8| {
                mm.peek_device(page).is_some_and(|(pfn, _)| last(pfn, order) < sim_mm::device_pfn(GPU, pages))
            };
            let there = mm.peek_ptes().into_iter().filter(|(page, entry)| goes(*page, entry.order)).count() as u64;
            evict(mm, pages) == there
        }
    }
}

fn check(world: &World, map: &Map, device: &Mirror) {
    let mm: &AddressSpace<_> = &world.mm;
    // VMAs: disjoint, in order, and page by page what the map says.
    let vmas = mm.peek_vmas();
    assert!(vmas.windows(2).all(|pair| pair[0].bytes.end <= pair[1].bytes.start));
    let rights: BTreeMap<u64, (bool, bool)> =
        vmas.iter().flat_map(|vma| pages_of(vma.bytes).map(|page| (page, (vma.flags.read, vma.flags.write)))).collect();
    assert_eq!(rights, map.iter().map(|(&page, p)| (page, (p.read, p.write))).collect());
    // Contents.
    for spot in SPOTS {
        let (page, addr) = (BASE / PAGE_SIZE + spot, BASE + spot * PAGE_SIZE + 8 * (spot % 512));
        let expected = map.get(&page).map(|p| p.words.get(&(addr % PAGE_SIZE)).copied().unwrap_or(0));
        assert_eq!(mm.peek_word(addr), expected, "word at {addr:#x}");
    }
    // Entries: inside VMAs, with no more rights; every frame live and mapped once; no frame without an entry.
    let mut frames = BTreeSet::new();
    for (page, entry) in mm.peek_ptes() {
        let (pfn, write) = match entry.pte {
            sim_mm::Pte::Present { pfn, prot } => (pfn, prot == Prot::Write),
            sim_mm::Pte::Device { pfn, write } => (pfn, write),
            _ => panic!("page {page:#x}: {entry:?} at rest"),
        };
        assert!(!write || map[&page].write, "page {page:#x} is writable");
        if !is_zero_pfn(pfn) {
            assert!(frames.insert(pfn), "pfn {pfn:#x} is mapped twice");
            assert_eq!((world.memory.is_live(pfn), world.memory.map_count(pfn)), (true, 1));
        }
        if entry.order > 0 {
            assert_eq!(pfn % BLOCK_PAGES, page % BLOCK_PAGES, "a huge mapping is aligned");
        }
    }
    assert_eq!(world.memory.live_frames(), frames.len() as u64);
    // The device: nothing changed under it without an event.
    for (page, (pfn, write)) in &*device.borrow() {
        let cpu = mm.peek_device(*page).or(mm.peek_mapped(*page));
        let holds = cpu.is_some_and(|(cpu_pfn, cpu_write)| cpu_pfn == *pfn && cpu_write >= *write);
        assert!(holds, "page {page:#x}: the device has {pfn:#x} (write {write}), the CPU {cpu:x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn programs_do_what_a_page_map_does_and_events_keep_a_mirror_right(
        thp in any::<bool>(),
        program in prop::collection::vec(op(), 1..30),
    ) {
        let world = world(Options { thp, ..Options::default() });
        let gpus = with_gpus(&world);
        let sub = world.listen(0, Bytes::new(0, 1 << 46));
        let device = Mirror::default();
        let forget = device.clone();
        world.inside(move |call| {
            forget.borrow_mut().retain(|page, _| !call.bytes.contains(page * PAGE_SIZE));
            true
        });
        let mut map = Map::new();
        for op in program {
            let ptes = world.mm.peek_ptes();
            let in_device = ptes.iter().map(|&(page, _)| page).filter(|&page| world.mm.peek_device(page).is_some());
            let expected = naive(&mut map, &in_device.collect(), op);
            prop_assert_eq!(real(&world, &device, op), expected, "{:?}", op);
            check(&world, &map, &device);
        }
        world.mm.exit();
        prop_assert_eq!(world.memory.live_frames(), 0);
        prop_assert!(gpus.freed.borrow().iter().all(|&(gpu, _)| gpu == GPU));
        prop_assert!(device.borrow().is_empty());
        world.mm.interval_remove(sub);
        prop_assert!(world.mm.freed_at().is_some());
        world.mm.clear_hooks();
    }
}
