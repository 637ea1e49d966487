//! `hmm_range_fault`, whose array of words is made in the memory of the model's array of structures.

use super::Sub;
use crate::{errno, ffi};
use model::Errno;
use model::platform::{HmmPfn, HmmRange, HmmRequest};

/// `HMM_PFN_VALID`. `mm.c` asserts this and the next ones.
const VALID: u64 = 1 << 63;
/// `HMM_PFN_WRITE`.
const WRITE: u64 = 1 << 62;
/// `HMM_PFN_ERROR`.
const ERROR: u64 = 1 << 61;
/// `HMM_PFN_ORDER_SHIFT`.
const ORDER_SHIFT: u32 = 53;
/// What is left of `HMM_PFN_FLAGS` in the order field: `hmm_pfn_to_map_order`.
const ORDER_MASK: u64 = 0x1f;

/// What a word of `hmm_pfns` says.
pub const fn decode(raw: u64) -> HmmPfn {
    HmmPfn {
        valid: raw & VALID != 0,
        write: raw & WRITE != 0,
        error: raw & ERROR != 0,
        order: (raw >> ORDER_SHIFT & ORDER_MASK) as u8,
        pfn: raw & ((1 << ORDER_SHIFT) - 1),
    }
}

/// The two fit as [`spread`] needs it.
const _: () = assert!(size_of::<HmmPfn>() >= 2 * size_of::<u64>() && align_of::<HmmPfn>() >= align_of::<u64>());

/// With mmap_lock held.
pub(super) fn range_fault(range: &HmmRange<Sub>, pfns: &mut [HmmPfn]) -> Result<(), Errno> {
    let request = match range.request {
        HmmRequest::Snapshot => 0,
        HmmRequest::Read => 1,
        HmmRequest::Write => 2,
    };
    let npages = pfns.len() as u64;
    spread(pfns, |words| {
        // SAFETY: the subscription is inserted, mmap_lock is held (the caller lent the guard), and there are as many words.
        let ret = unsafe {
            ffi::svmlab_c_hmm_range_fault(
                range.notifier.as_raw(),
                range.notifier_seq,
                range.start,
                npages,
                request,
                range.owner.0,
                words,
            )
        };
        errno::check(ret)
    })
}

/// Lets `f` fill as many words as there are slots, and spreads them over the slots.
///
/// The words are in the last half of the slots' memory, so that a word is read before a slot is written over it: slot `i`
/// ends at byte `16 (i + 1)`, and the first word that is still to be read is at `8 n + 8 (i + 1)` or above, which is not
/// below that while `i < n`.
fn spread<R>(slots: &mut [HmmPfn], f: impl FnOnce(*mut u64) -> R) -> R {
    let n = slots.len();
    let slot = slots.as_mut_ptr();
    // SAFETY: the end of the slots, and from there back half of their memory or less.
    let words = unsafe { slot.add(n).cast::<u64>().sub(n) };
    // The words count as input: no page has a request of its own.
    // SAFETY: `n` words, all inside of the slots' memory, aligned.
    unsafe { words.write_bytes(0, n) };
    let answer = f(words);
    for i in 0..n {
        // SAFETY: both are inside of the slots' memory, and no slot written before reached word `i`.
        unsafe { slot.add(i).write(decode(words.add(i).read())) };
    }
    answer
}
