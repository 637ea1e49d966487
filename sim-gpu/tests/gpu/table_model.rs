//! The page table against a naive one: a list of what every page translates to, and what the hardware sees of it.

use crate::common::*;
use model::platform::{DmaAddr, PteFlags, PteUpdate};
use model::units::Pages;
use proptest::prelude::*;

const BLOCKS: u64 = 3;
const PAGES: u64 = BLOCKS * 512;

/// One block as the hardware sees it and as the driver has prepared it.
#[derive(Clone)]
struct Naive {
    hardware: Vec<Option<(u64, u64)>>,
    huge: bool,
    /// The entries of a table that is not linked yet.
    prepared: Option<Vec<Option<(u64, u64)>>>,
}

#[derive(Clone, Debug)]
enum Op {
    Locked { first: u64, count: u64, flags: PteFlags, clear: bool },
    UnlockedClear { first: u64, count: u64 },
    Pdes,
}

fn op() -> impl Strategy<Value = Op> {
    let place = prop_oneof![
        (0..PAGES).prop_flat_map(|first| (Just(first), 1..=PAGES - first)),
        (0..PAGES).prop_flat_map(|first| (Just(first), 1..=(PAGES - first).min(8))),
        (0..BLOCKS).prop_flat_map(|block| (Just(block * 512), (1..=BLOCKS - block).prop_map(|n| n * 512))),
    ];
    let flags = prop_oneof![Just(RO), Just(RW)];
    (place, flags, 0..5).prop_map(|((first, count), flags, kind)| match kind {
        0 | 1 => Op::Locked { first, count, flags, clear: false },
        2 => Op::Locked { first, count, flags, clear: true },
        3 => Op::UnlockedClear { first, count },
        _ => Op::Pdes,
    })
}

fn apply(naive: &mut [Naive], op: &Op, round: u64) -> Option<PteUpdate> {
    let (first, count, unlocked) = match op {
        Op::Pdes => {
            for block in naive {
                if let Some(prepared) = block.prepared.take() {
                    block.hardware = prepared;
                    block.huge = false;
                }
            }
            return None;
        }
        Op::Locked { first, count, .. } => (*first, *count, false),
        Op::UnlockedClear { first, count } => (*first, *count, true),
    };
    let set = match op {
        Op::Locked { flags, clear: false, .. } => Some((*flags, round << 32)),
        _ => None,
    };
    let entry = |page: u64| set.map(|(flags, addr)| (addr + (page - first) * 0x1000, flags.0));
    for (number, block) in naive.iter_mut().enumerate() {
        let inside = |index: usize| (first..first + count).contains(&(number as u64 * 512 + index as u64));
        let touched: Vec<usize> = (0..512).filter(|index| inside(*index)).collect();
        let at = |index: usize| entry(number as u64 * 512 + index as u64);
        let has_table = block.prepared.is_some() || !block.huge && block.hardware.len() == 512;
        if touched.is_empty() {
            continue;
        }
        if unlocked {
            if let Some(prepared) = &mut block.prepared {
                touched.iter().for_each(|index| prepared[*index] = None);
            } else if has_table {
                touched.iter().for_each(|index| block.hardware[*index] = None);
            } else {
                *block = Naive { hardware: Vec::new(), huge: false, prepared: None };
            }
        } else if touched.len() == 512 {
            let hardware = if set.is_some() { (0..512).map(at).collect() } else { Vec::new() };
            *block = Naive { hardware, huge: set.is_some(), prepared: None };
        } else if has_table && block.prepared.is_none() {
            touched.iter().for_each(|index| block.hardware[*index] = at(*index));
        } else {
            let prepared = block.prepared.get_or_insert_with(|| vec![None; 512]);
            touched.iter().for_each(|index| prepared[*index] = at(*index));
        }
    }
    let (flags, addr) = set.map_or((PteFlags::NONE, None), |(flags, addr)| (flags, Some(DmaAddr(addr))));
    let pages = Pages::new(BASE + first, BASE + first + count - 1);
    Some(PteUpdate { unlocked, flush: true, allow_override: true, pages, flags, addr })
}

proptest! {
    #[test]
    fn the_page_table_translates_as_the_naive_one(ops in prop::collection::vec(op(), 1..24)) {
        let m = machine(0);
        // A block without a table has no hardware entries at all.
        let mut naive = vec![Naive { hardware: Vec::new(), huge: false, prepared: None }; BLOCKS as usize];
        let root = m.gpu.reserve_root().unwrap();
        for (round, op) in ops.iter().enumerate() {
            match apply(&mut naive, op, round as u64 + 1) {
                Some(update) => prop_assert!(m.gpu.update_range(&update).is_ok()),
                None => m.gpu.update_pdes(&root).unwrap(),
            }
            for (number, block) in naive.iter().enumerate() {
                for index in 0..512 {
                    let page = BASE + number as u64 * 512 + index as u64;
                    let pte = m.gpu.pte(page);
                    let found = pte.is_valid().then_some((pte.addr, pte.flags.0));
                    prop_assert_eq!(found, block.hardware.get(index).copied().flatten(), "{:?} page {:#x}", op, page);
                    prop_assert_eq!(m.gpu.leaf(page).huge, block.huge, "{:?} page {:#x}", op, page);
                }
            }
        }
        let mapped: Vec<u64> = m.gpu.mapped().into_iter().map(|(page, _)| page).collect();
        let expected = (BASE..BASE + PAGES).filter(|page| m.gpu.pte(*page).is_valid());
        prop_assert_eq!(mapped, expected.collect::<Vec<_>>());
    }
}
