//! Chunk choice and mapping orders of the drm_gpusvm port as pure functions (spec drm-gpusvm 7, 8).

use model::Errno;
use model::gpusvm::ChunkSizes;
use model::gpusvm::chunk::{aligned_block, choose};
use model::gpusvm::pages::pfn_order;
use model::platform::HmmPfn;
use model::units::Bytes;

const K4: u64 = 4 << 10;
const K64: u64 = 64 << 10;
const M2: u64 = 2 << 20;
const ALL: Bytes = Bytes::new(0, u64::MAX);

fn inside(fault: u64, bounds: &[Bytes]) -> Option<u64> {
    choose(&ChunkSizes::DEFAULT, fault, bounds, 0, |_| true, |_| true).map(|block| block.len())
}

#[test]
fn the_largest_block_inside_all_bounds_is_chosen() {
    let table = [
        // fault, VMA, window, size
        (0x200000, ALL, ALL, Some(M2)),
        (0x3fffff, ALL, ALL, Some(M2)),
        // One page short of 2 MiB at the end, then at the start.
        (0x200000, Bytes::new(0x200000, 0x3ff000), ALL, Some(K64)),
        (0x3f0000, Bytes::new(0x201000, 0x400000), ALL, Some(K64)),
        // Exactly 2 MiB.
        (0x2ab000, Bytes::new(0x200000, 0x400000), ALL, Some(M2)),
        // The driver's window cuts as the VMA does.
        (0x200000, ALL, Bytes::new(0x200000, 0x210000), Some(K64)),
        (0x200000, ALL, Bytes::new(0x200000, 0x20f000), Some(K4)),
        // A window that begins above the fault address.
        (0x200000, ALL, Bytes::new(0x201000, 0x400000), None),
        (0x200000, ALL, Bytes::new(0x200000, 0x200000), None),
    ];
    for (fault, vma, window, size) in table {
        assert_eq!(inside(fault, &[vma, window]), size, "{fault:#x} in VMA {vma}, window {window}");
    }
}

#[test]
fn a_block_never_reaches_out_of_a_notifier_smaller_than_the_chunk() {
    assert_eq!(inside(0x201000, &[ALL, Bytes::new(0x200000, 0x280000)]), Some(K64));
}

/// Spec amdgpu-svm, worked example D5.
#[test]
fn an_unaligned_vma_is_cut_into_the_ranges_of_d5() {
    let vma = Bytes::new(0x1ff000, 0x602000);
    let (mut at, mut cut) = (vma.start, Vec::new());
    while at < vma.end {
        let block = choose(&ChunkSizes::DEFAULT, at, &[vma, vma], 0, |_| true, |_| true).expect("a page always fits");
        cut.push((block.start, block.len()));
        at = block.end;
    }
    assert_eq!(cut, [(0x1ff000, K4), (0x200000, M2), (0x400000, M2), (0x600000, K4), (0x601000, K4)]);
}

#[test]
fn an_overlapped_block_gives_way_to_a_smaller_one_and_a_page_is_not_asked() {
    let taken = Bytes::new(0x208000, 0x209000);
    let mut asked = Vec::new();
    let free = |block: Bytes| {
        asked.push(block.len());
        !block.overlaps(&taken)
    };
    let block = choose(&ChunkSizes::DEFAULT, 0x201000, &[ALL], 0, free, |_| true);
    assert_eq!(block, Some(Bytes::new(0x201000, 0x202000)));
    assert_eq!(asked, [M2, K64]);
}

#[test]
fn population_matters_only_up_to_the_threshold_and_only_for_free_blocks() {
    let ask = |threshold, free: bool| {
        let mut asked = Vec::new();
        let block = choose(
            &ChunkSizes::DEFAULT,
            0x200000,
            &[ALL],
            threshold,
            |_| free,
            |block| {
                asked.push(block.len());
                false
            },
        );
        (block.map(|block| block.len()), asked)
    };
    assert_eq!(ask(0, true), (Some(M2), vec![]));
    assert_eq!(ask(K64, true), (Some(M2), vec![]), "2 MiB is above the threshold");
    assert_eq!(ask(M2 - 1, true), (Some(M2), vec![]));
    assert_eq!(ask(M2, true), (Some(K4), vec![M2, K64]), "a page is not asked");
    assert_eq!(ask(M2, false), (Some(K4), vec![]), "overlapped blocks are out before");
}

#[test]
fn a_list_of_sizes_is_descending_powers_of_two_down_to_a_page() {
    assert_eq!(ChunkSizes::new(&[]), Ok(ChunkSizes::EMPTY));
    assert_eq!(ChunkSizes::new(&[K4]).map(|s| s.as_slice().to_vec()), Ok(vec![K4]));
    for bad in [&[M2, K64][..], &[K64, M2, K4], &[K4, K4], &[3 * K4, K4], &[0], &[K4, 2048], &[K4; 9]] {
        assert_eq!(ChunkSizes::new(bad), Err(Errno::EINVAL), "{bad:x?}");
    }
}

#[test]
fn a_block_without_an_end_address_does_not_exist() {
    assert_eq!(aligned_block(u64::MAX, K4), None);
    assert_eq!(aligned_block(u64::MAX - K4, K4), Some(Bytes::new(u64::MAX - 2 * K4 + 1, u64::MAX - K4 + 1)));
}

fn pfn(pfn: u64, order: u8) -> HmmPfn {
    HmmPfn { valid: true, write: true, error: false, order, pfn }
}

#[test]
fn a_mapping_order_is_what_is_left_of_the_cpu_mapping_and_of_the_array() {
    let table = [
        // pfn, CPU order, slot, slots, order
        (0x1000, 0, 0, 1, 0),
        (0x1000, 9, 0, 512, 9),
        // In the middle of a huge page: the rest is 511, 384, 1 pages.
        (0x1001, 9, 0, 512, 8),
        (0x1080, 9, 0, 512, 8),
        (0x11ff, 9, 0, 512, 0),
        // The array ends before the huge page does.
        (0x1000, 9, 0, 16, 4),
        (0x1000, 9, 496, 512, 4),
        (0x1000, 9, 0, 511, 8),
        (0x1000, 9, 511, 512, 0),
        (0x1004, 4, 0, 16, 3),
    ];
    for (frame, cpu_order, slot, slots, order) in table {
        assert_eq!(
            pfn_order(&pfn(frame, cpu_order), slot, slots),
            order,
            "{frame:#x} order {cpu_order} {slot}/{slots}"
        );
    }
}

#[test]
fn the_pieces_tile_the_array_and_stay_inside_their_cpu_mapping() {
    for cpu_order in 0..6u8 {
        for offset in 0..1u64 << cpu_order {
            for slots in 1..80usize {
                let mut at = 0;
                while at < slots {
                    let frame = 0x1000 + offset + at as u64;
                    let pages = 1u64 << pfn_order(&pfn(frame, cpu_order), at, slots);
                    assert_eq!(frame >> cpu_order, (frame + pages - 1) >> cpu_order, "leaves the CPU mapping");
                    let rest = ((1 << cpu_order) - (frame & ((1 << cpu_order) - 1))).min((slots - at) as u64);
                    assert!(pages * 2 > rest, "a piece twice as large would fit");
                    at += pages as usize;
                }
                assert_eq!(at, slots, "the last piece ends with the array");
            }
        }
    }
}
