//! Device pages in ranges: get_pages, range_evict, scan_mm, check_pages (spec drm-gpusvm 7, 9, 13, 14).

use super::gpusvm_script::*;
use super::machine::*;
use super::{END, START, counted};
use model::Errno;
use model::gpusvm::{Ctx, ScanResult};
use model::pagemap::MigrateDetails;
use model::platform::{DevicePage, EventKind, Interconnect, Owner, PagemapId};
use model::units::Bytes;

/// The driver's: its own device pages stay where they are.
const DRIVER: Ctx = Ctx { read_only: false, owner: OWNER, ..READ_ONLY };
const MIXED: Ctx = Ctx { allow_mixed: true, ..DRIVER };

/// Sixteen pages of system memory with a range over them.
fn machine() -> (Machine, R) {
    with(Machine::new(32))
}

fn with(m: Machine) -> (Machine, R) {
    m.populated(START, END);
    let range = m.w.insert(START).unwrap();
    assert_eq!(m.w.bytes(range), (START, END));
    m.w.log();
    (m, range)
}

fn to(m: &Machine, id: PagemapId, start: u64, end: u64) {
    let pagemap = if id == OWN { &m.pagemap } else { &m.peer };
    pagemap.populate_mm(&m.w.mm, Bytes::new(start, end), &MigrateDetails::default()).unwrap();
}

fn get(m: &Machine, range: R, ctx: &Ctx) -> Result<(), Errno> {
    m.w.svm.get_pages(locked(), range, ctx)
}

fn protos(m: &Machine, range: R) -> Vec<Interconnect> {
    let nl = m.w.svm.notifier_lock();
    let mut all = Vec::new();
    let walk = m.w.svm.for_each_dma(nl.held(), range, |_, entry| {
        all.push(entry.proto);
        Ok(())
    });
    walk.unwrap();
    all
}

fn dpagemap(m: &Machine, range: R) -> Option<PagemapId> {
    let nl = m.w.svm.notifier_lock();
    m.w.svm.pages_pagemap(nl.held(), range)
}

fn agrees_with_cpu(m: &Machine, range: R) {
    for (page, pfn, order) in m.w.mappings(range) {
        for i in 0..1 << order {
            assert_eq!(m.w.mm.pfn(START + (page + i) * K4), Some(pfn + i), "page {}", page + i);
        }
    }
}

#[test]
fn own_device_pages_are_mapped_where_they_are() {
    let (m, range) = machine();
    to(&m, OWN, START, END);
    assert_eq!(get(&m, range, &DRIVER), Ok(()));
    assert_eq!(m.places(START, END), vec![Some(OWN); 16]);
    agrees_with_cpu(&m, range);
    assert_eq!(protos(&m, range), vec![Interconnect::Vram; 16]);
    let flags = m.w.svm.range(range).flags();
    assert!(flags.has_devmem_pages && flags.has_dma_mapping);
    assert_eq!(dpagemap(&m, range), Some(OWN));

    m.w.svm.unmap_pages(range);
    let flags = m.w.svm.range(range).flags();
    assert!(!flags.has_devmem_pages && !flags.has_dma_mapping);
    assert_eq!((dpagemap(&m, range), m.w.gpu.live()), (None, 0));
}

#[test]
fn system_pages_leave_no_trace_of_a_device() {
    let (m, range) = machine();
    assert_eq!(get(&m, range, &DRIVER), Ok(()));
    assert!(!m.w.svm.range(range).flags().has_devmem_pages);
    assert_eq!(dpagemap(&m, range), None);
}

#[test]
fn a_peers_pages_are_mapped_over_the_link() {
    let (m, range) = machine();
    to(&m, PEER, START, END);
    assert_eq!(get(&m, range, &DRIVER), Ok(()));
    assert_eq!(protos(&m, range), vec![Interconnect::PeerVram; 16]);
    assert_eq!(dpagemap(&m, range), Some(PEER));
}

#[test]
fn without_an_owner_and_for_strangers_they_come_back_first() {
    for ctx in [Ctx::default(), Ctx { owner: Owner(8), ..Ctx::default() }] {
        let (m, range) = machine();
        to(&m, OWN, START, END);
        assert_eq!(get(&m, range, &ctx), Ok(()));
        assert_eq!(m.places(START, END), vec![None; 16]);
        assert_eq!(m.contents(START, END), counted());
        assert_eq!(protos(&m, range), vec![Interconnect::System; 16]);
        assert!(!m.w.svm.range(range).flags().has_devmem_pages);
        m.assert_no_devmem();
    }
}

#[test]
fn a_move_takes_the_mapping_down() {
    let (m, range) = machine();
    get(&m, range, &DRIVER).unwrap();
    to(&m, OWN, START, END);
    assert!(!m.w.valid(range), "to the device");
    get(&m, range, &DRIVER).unwrap();
    assert_eq!(m.w.mm.cpu_read(START), Ok(1));
    assert!(!m.w.valid(range), "and back");
    get(&m, range, &DRIVER).unwrap();
    to(&m, OWN, START, END);
    get(&m, range, &DRIVER).unwrap();
    m.pagemap.evict(m.w.gpu.blocks()[0]).unwrap();
    assert!(!m.w.valid(range), "and by eviction");
    assert_eq!((m.w.gpu.live(), dpagemap(&m, range)), (0, None));
    m.assert_no_devmem();
}

#[test]
fn m5_device_and_system_pages_do_not_mix_unless_allowed() {
    // Device first, system first.
    for (start, end) in [(START, START + 8 * K4), (START + 8 * K4, END)] {
        let (m, range) = machine();
        to(&m, OWN, start, end);
        assert_eq!(get(&m, range, &DRIVER), Err(Errno::EOPNOTSUPP));
        assert_eq!((m.w.gpu.live(), dpagemap(&m, range)), (0, None), "what was mapped is unmapped");
        assert!(!m.w.valid(range));
        assert_eq!(get(&m, range, &MIXED), Ok(()));
        agrees_with_cpu(&m, range);
        assert_eq!(protos(&m, range).iter().filter(|p| **p == Interconnect::Vram).count(), 8);
        assert_eq!(dpagemap(&m, range), Some(OWN));
        m.assert_settled();
    }
}

#[test]
fn m5_two_migrations_do_not_mix_unless_allowed() {
    let (m, range) = machine();
    to(&m, OWN, START, START + 8 * K4);
    to(&m, OWN, START + 8 * K4, END);
    assert_eq!(get(&m, range, &DRIVER), Err(Errno::EOPNOTSUPP));
    assert_eq!(m.w.gpu.live(), 0);
    assert_eq!(get(&m, range, &MIXED), Ok(()));
    assert_eq!(protos(&m, range), vec![Interconnect::Vram; 16]);
}

#[test]
fn m5_two_devices_never_mix() {
    let (m, range) = machine();
    to(&m, OWN, START, START + 8 * K4);
    to(&m, PEER, START + 8 * K4, END);
    for ctx in [DRIVER, MIXED] {
        assert_eq!(get(&m, range, &ctx), Err(Errno::EOPNOTSUPP));
        assert_eq!((m.w.gpu.live(), dpagemap(&m, range)), (0, None));
    }
    // Also with system memory between the two.
    m.w.mm.cpu_read(START + 8 * K4).unwrap();
    to(&m, PEER, START + 12 * K4, END);
    assert_eq!(get(&m, range, &MIXED), Err(Errno::EOPNOTSUPP));
}

#[test]
fn m5_equal_words_of_two_devices_are_not_one_migration() {
    let (m, range) = machine();
    to(&m, PEER, START, START + 8 * K4);
    to(&m, OWN, START + 8 * K4, END);
    let word = |addr| m.w.mm.frames.folio(m.w.mm.pfn(addr).unwrap()).unwrap().data;
    assert_eq!(word(START), word(END - K4));
    assert_eq!(get(&m, range, &DRIVER), Err(Errno::EOPNOTSUPP));
}

#[test]
fn m5_devmem_only_refuses_system_pages() {
    let only = Ctx { devmem_only: true, ..DRIVER };
    let (m, range) = machine();
    assert_eq!(get(&m, range, &only), Err(Errno::EFAULT));
    to(&m, OWN, START, END);
    assert_eq!(get(&m, range, &only), Ok(()));
    // A mixture is refused for being one before it is looked at what it is a mixture of.
    let (m, range) = machine();
    to(&m, OWN, START, START + 8 * K4);
    assert_eq!(get(&m, range, &only), Err(Errno::EOPNOTSUPP));
    assert_eq!(get(&m, range, &Ctx { allow_mixed: true, ..only }), Err(Errno::EFAULT));
}

#[test]
fn m5_a_mapping_that_fails_is_undone_the_first_one_included() {
    for n in [0, 1, 15] {
        let (m, range) = machine();
        to(&m, OWN, START, END);
        m.w.gpu.fail_in(n);
        assert_eq!(get(&m, range, &DRIVER), Err(Errno::EFAULT));
        assert_eq!((m.w.gpu.live(), dpagemap(&m, range)), (0, None), "mapping {n}");
        assert!(!m.w.valid(range));
    }
}

#[test]
fn a_move_in_the_middle_of_get_pages_is_seen() {
    let (m, range) = machine();
    let (pagemap, mm) = (m.pagemap.clone(), m.w.mm.clone());
    m.w.at(Point::Mmput, move || {
        pagemap.populate_mm(&mm, Bytes::new(START, END), &MigrateDetails::default()).unwrap();
    });
    assert_eq!(get(&m, range, &DRIVER), Ok(()));
    assert_eq!(protos(&m, range), vec![Interconnect::Vram; 16]);
    agrees_with_cpu(&m, range);
    assert_eq!(shared(|s| s.retries.clone()), ["get_pages: the sequence moved"]);
}

#[test]
fn the_evicting_walk_brings_everything_back() {
    let (m, range) = machine();
    to(&m, OWN, START, START + 8 * K4);
    to(&m, PEER, START + 8 * K4, END);
    get(&m, range, &MIXED).unwrap_err();
    m.w.log();
    assert_eq!(m.w.svm.range_evict(locked(), range), Ok(()));
    assert_eq!(m.places(START, END), vec![None; 16]);
    assert_eq!(m.contents(START, END), counted());
    assert_eq!(
        m.w.log().iter().filter(|line| *line == "hmm Read").count(),
        3,
        "once for each migration, and once more"
    );
    m.assert_no_devmem();
}

#[test]
fn the_evicting_walk_fills_holes() {
    let m = Machine::new(32);
    m.w.mm.map(START, END, RO);
    let range = m.w.insert_in(START, Bytes::new(0, u64::MAX), &READ_ONLY).unwrap();
    assert_eq!(m.w.svm.range_evict(locked(), range), Ok(()), "reading needs no right to write");
    assert!(m.places(START, END).iter().all(Option::is_none) && m.w.mm.pfn(END - K4).is_some());
}

#[test]
fn the_evicting_walk_ends_at_a_hole_between_vmas() {
    let (m, range) = machine();
    to(&m, OWN, START, START + 8 * K4);
    m.w.mm.unmap(START + 8 * K4, START + 9 * K4);
    assert_eq!(m.w.svm.range_evict(locked(), range), Err(Errno::EFAULT));
    assert_eq!(m.place(START), None, "what came before has moved");
    m.assert_settled();
}

#[test]
fn the_evicting_walk_and_its_errors() {
    let (m, range) = machine();
    m.w.mm.kill();
    assert_eq!(m.w.svm.range_evict(locked(), range), Err(Errno::EFAULT));

    let (m, range) = machine();
    shared(|s| s.fail_alloc_in = Some(0));
    assert_eq!(m.w.svm.range_evict(locked(), range), Err(Errno::ENOMEM));
    m.assert_settled();

    // Time passes while it waits for an invalidation: seen before the walk. While it walks: after it.
    let (m, range) = machine();
    m.w.at(Point::ReadBegun, || shared(|s| s.now_ms += 1001));
    assert_eq!(m.w.svm.range_evict(locked(), range), Err(Errno::ETIME));
    let (m, range) = machine();
    m.w.mm.fail_walks(&[Errno::EBUSY, Errno::EBUSY]);
    m.w.at(Point::Walk, || ());
    m.w.at(Point::Walk, || shared(|s| s.now_ms += 1001));
    assert_eq!(m.w.svm.range_evict(locked(), range), Err(Errno::EBUSY));
    m.assert_settled();

    // A page that cannot be brought back.
    let (m, range) = machine();
    to(&m, OWN, START, END);
    m.w.gpu.fail_copy(Errno::ENODEV);
    assert_eq!(m.w.svm.range_evict(locked(), range), Err(Errno::EFAULT));
    assert_eq!(m.places(START, END), vec![Some(OWN); 16]);
    m.assert_settled();
}

#[test]
fn the_evicting_walk_sits_out_a_timeslice() {
    let (m, range) = machine();
    let details = MigrateDetails { timeslice_ms: 20, ..MigrateDetails::default() };
    m.pagemap.populate_mm(&m.w.mm, Bytes::new(START, END), &details).unwrap();
    assert_eq!(m.w.svm.range_evict(locked(), range), Ok(()));
    assert!(shared(|s| s.now_ms) >= 20);
    m.assert_no_devmem();
}

fn scan(m: &Machine, range: R) -> ScanResult {
    m.w.svm.scan_mm(locked(), range, OWNER, Some(OWN))
}

#[test]
fn a_scan_says_where_the_pages_are() {
    const HALF: u64 = START + 8 * K4;
    const QUARTER: u64 = START + 4 * K4;
    type Moves = &'static [(PagemapId, u64, u64)];
    let cases: [(Moves, ScanResult); 7] = [
        (&[], ScanResult::System),
        (&[(OWN, START, END)], ScanResult::Equal),
        (&[(PEER, START, END)], ScanResult::Other),
        (&[(OWN, START, HALF)], ScanResult::Mixed),
        (&[(PEER, HALF, END)], ScanResult::Mixed),
        (&[(OWN, START, HALF), (PEER, HALF, END)], ScanResult::MixedDevice),
        (&[(OWN, START, QUARTER), (PEER, QUARTER, HALF)], ScanResult::Mixed),
    ];
    for (moves, says) in cases {
        let (m, range) = machine();
        for &(id, start, end) in moves {
            to(&m, id, start, end);
        }
        let before = m.places(START, END);
        assert_eq!(scan(&m, range), says, "{moves:?}");
        assert_eq!(m.places(START, END), before, "looking moves nothing");
        m.assert_settled();
    }
}

#[test]
fn a_scan_tells_two_others_apart() {
    let (m, range) = machine();
    to(&m, PEER, START, START + 8 * K4);
    let (third, its) = (DevicePage { pagemap: PagemapId(2), owner: OWNER }, 7 << 40);
    m.w.mm.frames.add_pagemap(its, 8, third);
    m.w.mm.populate(START + 8 * K4, END, its, 0);
    assert_eq!(scan(&m, range), ScanResult::MixedDevice);
}

#[test]
fn a_scan_misses_holes_strangers_and_what_it_cannot_find_out() {
    let (m, range) = machine();
    m.w.mm.invalidate(&event(EventKind::Clear, END - K4, END));
    assert_eq!(scan(&m, range), ScanResult::Unpopulated);
    assert_eq!(m.w.mm.pfn(END - K4), None, "and brings nothing in");

    let (m, range) = with(Machine::with_owners(32, OWNER, Owner(8)));
    to(&m, PEER, START, END);
    assert_eq!(scan(&m, range), ScanResult::Unpopulated, "a stranger's");

    let (m, range) = machine();
    shared(|s| s.fail_alloc_in = Some(0));
    assert_eq!(scan(&m, range), ScanResult::Unpopulated);
    let (m, range) = machine();
    m.w.mm.fail_walks(&[Errno::EFAULT]);
    assert_eq!(scan(&m, range), ScanResult::Unpopulated);
    let (m, range) = machine();
    m.w.mm.fail_walks(&[Errno::EBUSY, Errno::EBUSY]);
    assert_eq!(scan(&m, range), ScanResult::System, "an invalidation that collides is sat out");
    m.w.mm.fail_walks(&[Errno::EBUSY]);
    m.w.at(Point::Walk, || shared(|s| s.now_ms += 1001));
    assert_eq!(scan(&m, range), ScanResult::Unpopulated, "for a second");
}

#[test]
fn a_scan_starts_over_when_something_moved_meanwhile() {
    let (m, range) = machine();
    let (pagemap, mm) = (m.pagemap.clone(), m.w.mm.clone());
    m.w.at(Point::Walked, move || {
        // The other side has mmap_lock for read as well; one thread cannot take it twice.
        mm.invalidate(&event(EventKind::Clear, START, START + K4));
        let _ = pagemap;
    });
    assert_eq!(scan(&m, range), ScanResult::Unpopulated);
    assert_eq!(shared(|s| s.retries.clone()), ["scan_mm: the sequence moved"]);
}

#[test]
fn a_scan_for_system_memory_says_equal() {
    let (m, range) = machine();
    assert_eq!(m.w.svm.scan_mm(locked(), range, OWNER, None), ScanResult::Equal);
    to(&m, OWN, START, END);
    assert_eq!(m.w.svm.scan_mm(locked(), range, OWNER, None), ScanResult::Other);
}

#[test]
fn a_chunk_counts_pages_on_the_drivers_own_device_as_there() {
    let insert = |owner| {
        let m = Machine::new(32);
        m.populated(START, END);
        to(&m, OWN, START, END);
        let ctx = Ctx { check_pages_threshold: K64, owner, ..Ctx::default() };
        let range = m.w.insert_in(START, Bytes::new(0, u64::MAX), &ctx).unwrap();
        m.w.bytes(range)
    };
    assert_eq!(insert(OWNER), (START, END));
    assert_eq!(insert(Owner::NONE), (START, START + K4));
    assert_eq!(insert(Owner(8)), (START, START + K4));
}
