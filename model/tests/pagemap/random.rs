//! Random programs of migrations, CPU accesses, evictions, ranges and failures against a map from page to contents: wherever
//! a page is moved, and whatever goes wrong on the way, it holds what was written last.

use super::gpusvm_script::*;
use super::machine::*;
use model::Errno;
use model::gpusvm::Ctx;
use model::pagemap::MigrateDetails;
use model::platform::EventKind;
use model::units::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BASE: u64 = 0x200000;
const PAGES: u64 = 48;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// To the own GPU or the peer, `1 << order` pages.
    Populate {
        peer: bool,
        page: u64,
        order: u64,
        details: MigrateDetails,
    },
    Write {
        page: u64,
    },
    Read {
        page: u64,
    },
    /// MADV_DONTNEED.
    Drop {
        page: u64,
        pages: u64,
    },
    Evict {
        peer: bool,
        which: usize,
    },
    /// Somebody takes a reference to the page, and drops the one taken before.
    Hold {
        page: u64,
    },
    Get {
        page: u64,
        mixed: bool,
        foreign: bool,
    },
    RangeEvict {
        page: u64,
    },
    Scan {
        page: u64,
    },
    /// For the operation that follows.
    FailAlloc {
        after: usize,
    },
    FailCopy,
    FailMap {
        after: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let page = 0..PAGES;
    prop_oneof![
        6 => (any::<bool>(), page.clone(), 0..5_u64, any::<bool>(), 0..2_u64).prop_map(
            |(peer, page, order, can_migrate_same_pagemap, slice)| {
                let details = MigrateDetails { timeslice_ms: slice * 3, can_migrate_same_pagemap };
                Op::Populate { peer, page, order, details }
            }
        ),
        4 => page.clone().prop_map(|page| Op::Write { page }),
        2 => page.clone().prop_map(|page| Op::Read { page }),
        1 => (page.clone(), 1..9_u64).prop_map(|(page, pages)| Op::Drop { page, pages }),
        2 => (any::<bool>(), 0..4_usize).prop_map(|(peer, which)| Op::Evict { peer, which }),
        1 => page.clone().prop_map(|page| Op::Hold { page }),
        3 => (page.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(page, mixed, foreign)| Op::Get { page, mixed, foreign }),
        1 => page.clone().prop_map(|page| Op::RangeEvict { page }),
        1 => page.prop_map(|page| Op::Scan { page }),
        1 => (0..12_usize).prop_map(|after| Op::FailAlloc { after }),
        1 => Just(Op::FailCopy),
        1 => (0..12_usize).prop_map(|after| Op::FailMap { after }),
    ]
}

struct Run {
    m: Machine,
    /// By page, what it has to hold; nothing where nobody has written or looked.
    wanted: BTreeMap<u64, u64>,
    held: Option<u64>,
    writes: u64,
}

fn at(page: u64) -> u64 {
    BASE + page * K4
}

impl Run {
    fn new() -> Self {
        let m = Machine::new(32);
        m.w.mm.map(BASE, at(PAGES), RW);
        Run { m, wanted: BTreeMap::new(), held: None, writes: 0 }
    }

    fn release(&mut self) {
        if let Some(pfn) = self.held.take() {
            self.m.w.mm.frames.put(pfn);
        }
    }

    fn step(&mut self, op: Op) {
        let (m, w) = (&self.m, &self.m.w);
        match op {
            Op::Populate { peer, page, order, details } => {
                let pagemap = if peer { &m.peer } else { &m.pagemap };
                let result = pagemap.populate_mm(&w.mm, Bytes::new(at(page), at(page + (1 << order))), &details);
                match result {
                    Ok(()) => {
                        let there = Some(if peer { PEER } else { OWN });
                        assert!(m.places(at(page), at(page + (1 << order))).iter().all(|place| *place == there));
                    }
                    // ENOENT and EINVAL: at the end of the VMA.
                    Err(e) => assert!(
                        matches!(e, Errno::EBUSY | Errno::ENOMEM | Errno::ENODEV | Errno::EFAULT | Errno::EINVAL),
                        "{e}"
                    ),
                }
            }
            Op::Write { page } => {
                // Copying to system memory may fail, and that is SIGBUS.
                if w.mm.cpu_read(at(page)).is_ok() {
                    self.writes += 1;
                    w.mm.frames.set_content(w.mm.pfn(at(page)).unwrap(), self.writes);
                    self.wanted.insert(page, self.writes);
                }
            }
            Op::Read { page } => {
                if let Ok(read) = w.mm.cpu_read(at(page)) {
                    assert_eq!(m.place(at(page)), None);
                    assert!(self.wanted.get(&page).is_none_or(|wanted| *wanted == read));
                }
            }
            Op::Drop { page, pages } => {
                w.mm.invalidate(&event(EventKind::Clear, at(page), at(page + pages)));
                self.wanted.retain(|its, _| !(page..page + pages).contains(its));
            }
            Op::Evict { peer, which } => {
                let (pagemap, gpu) = if peer { (&m.peer, &m.peer_gpu) } else { (&m.pagemap, &w.gpu) };
                let Some(block) = gpu.blocks().get(which).copied() else { return };
                match pagemap.evict(block) {
                    Ok(()) => assert!(!gpu.blocks().contains(&block)),
                    Err(e) => assert!(matches!(e, Errno::EBUSY | Errno::ENOMEM | Errno::ENODEV | Errno::EFAULT), "{e}"),
                }
            }
            Op::Hold { page } => {
                let pfn = w.mm.pfn(at(page)).filter(|&pfn| w.mm.frames.device(pfn).is_some());
                self.release();
                if let Some(pfn) = pfn.filter(|&pfn| self.m.w.mm.frames.head(pfn).is_some()) {
                    self.m.w.mm.frames.get(pfn);
                    self.held = Some(pfn);
                }
            }
            Op::Get { page, mixed, foreign } => {
                let Ok(range) = w.insert(at(page)) else { return };
                let owner = if foreign { model::platform::Owner(9) } else { OWNER };
                let ctx = Ctx { owner, allow_mixed: mixed, ..Ctx::default() };
                match w.svm.get_pages(locked(), range, &ctx) {
                    Ok(()) => assert!(w.valid(range)),
                    Err(e) => assert!(matches!(e, Errno::EOPNOTSUPP | Errno::EFAULT | Errno::ENOMEM), "{e}"),
                }
            }
            Op::RangeEvict { page } => {
                let Ok(range) = w.insert(at(page)) else { return };
                let (start, end) = w.bytes(range);
                match w.svm.range_evict(locked(), range) {
                    Ok(()) => assert!(m.places(start, end).iter().all(Option::is_none)),
                    Err(e) => assert!(matches!(e, Errno::EFAULT | Errno::ENOMEM), "{e}"),
                }
            }
            Op::Scan { page } => {
                let Ok(range) = w.insert(at(page)) else { return };
                let before = m.places(at(0), at(PAGES));
                w.svm.scan_mm(locked(), range, OWNER, Some(OWN));
                assert_eq!(m.places(at(0), at(PAGES)), before);
            }
            Op::FailAlloc { after } => shared(|s| s.fail_alloc_in = Some(after)),
            Op::FailCopy => w.gpu.fail_copy(Errno::ENODEV),
            Op::FailMap { after } => w.gpu.fail_in(after),
        }
        if !matches!(op, Op::FailAlloc { .. } | Op::FailCopy | Op::FailMap { .. }) {
            shared(|s| s.fail_alloc_in = None);
            self.m.w.gpu.fail_in(usize::MAX);
        }
    }

    /// Everything that has to hold between two operations.
    fn agree(&mut self) {
        let (m, w) = (&self.m, &self.m.w);
        m.assert_settled();
        assert_eq!(w.warns(), [""; 0]);
        for page in 0..PAGES {
            match (self.wanted.get(&page), w.mm.pfn(at(page))) {
                (Some(wanted), Some(_)) => assert_eq!(m.content(at(page)), *wanted, "page {page}"),
                (Some(_), None) => panic!("page {page} is lost"),
                (None, None) => (),
                (None, Some(pfn)) => {
                    // Came in as a hole. Copies of undefined memory would be 0xdead.
                    let content = w.mm.frames.content(pfn);
                    assert_ne!(content, 0xdead, "page {page}");
                    self.wanted.insert(page, content);
                }
            }
        }
        for (gpu, pagemap, id) in [(&w.gpu, &m.pagemap, OWN), (&m.peer_gpu, &m.peer, PEER)] {
            let blocks = gpu.blocks();
            assert_eq!(pagemap.allocations(), blocks.len());
            let folios = w.mm.frames.folio_heads(Some(id));
            for block in blocks {
                let used = folios.iter().any(|pfn| (block.pfn..block.pfn + block.pages).contains(pfn));
                assert!(used, "{block:?} is empty and not given back");
            }
        }
        let mut live = 0;
        for range in w.ranges().into_iter().filter(|&range| w.valid(range)) {
            let start = w.bytes(range).0;
            for (page, pfn, _) in w.mappings(range) {
                assert_eq!(w.mm.pfn(start + page * K4), Some(pfn), "the GPU and the CPU name different pages");
                live += 1;
            }
        }
        assert_eq!(w.gpu.live(), live, "only valid ranges are mapped");
    }

    fn end(mut self) {
        self.release();
        self.m.w.mm.unmap(at(0), at(PAGES));
        self.m.w.svm.fini(locked());
        self.m.assert_no_devmem();
        self.m.w.assert_nothing_left();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_page_holds_what_was_written_last_wherever_it_is(ops in prop::collection::vec(op(), 1..60)) {
        let mut run = Run::new();
        for op in ops {
            run.step(op);
            run.agree();
        }
        run.end();
    }
}
