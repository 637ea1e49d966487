//! A schedule in few bytes: a list of small numbers, most of them as the one before, run by run.
//!
//! ```text
//! head    varint   runs << 3 | width
//! run     varint   (length - 1) << width | value       for width 0..=6, the bits of the greatest value
//!         varints  value, length - 1                   for width 7: some value needs more bits
//! ```
//!
//! Varints are LEB128. An empty list is one byte. Nothing here finds out whether bytes were changed on their way; that
//! is for whoever keeps them.

use integer_encoding::VarInt;

/// Elements that a list may have: more are taken for damage, not for memory to be had.
pub const MOST_ELEMENTS: usize = 10_000_000;

/// The width that says that values stand by themselves.
const WIDE: u32 = 7;

/// Each value with how often it comes in a row.
pub fn runs<T: Copy + PartialEq>(list: &[T]) -> Vec<(T, usize)> {
    list.chunk_by(PartialEq::eq).map(|run| (run[0], run.len())).collect()
}

/// The bytes of `list`.
pub fn pack(list: &[u32]) -> Vec<u8> {
    let runs = runs(list);
    let widest = list.iter().max().map_or(0, |most| u32::BITS - most.leading_zeros());
    let width = widest.min(WIDE);
    let mut bytes = ((runs.len() as u64) << 3 | u64::from(width)).encode_var_vec();
    for (value, count) in runs {
        let (value, more) = (u64::from(value), count as u64 - 1);
        if width == WIDE {
            bytes.extend(value.encode_var_vec());
            bytes.extend(more.encode_var_vec());
        } else {
            bytes.extend((more << width | value).encode_var_vec());
        }
    }
    bytes
}

/// Takes a list off the front of `bytes`. None: these are not the bytes of a list.
pub fn unpack(bytes: &mut &[u8]) -> Option<Vec<u32>> {
    let head = varint(bytes)?;
    let width = (head & 7) as u32;
    let mut list: Vec<u32> = Vec::new();
    for _ in 0..head >> 3 {
        let (value, more) = match width {
            WIDE => (varint(bytes)?, varint(bytes)?),
            _ => {
                let run = varint(bytes)?;
                (run & ((1 << width) - 1), run >> width)
            }
        };
        let count = usize::try_from(more).ok()?.checked_add(1)?;
        if count > MOST_ELEMENTS - list.len() {
            return None;
        }
        list.resize(list.len() + count, u32::try_from(value).ok()?);
    }
    Some(list)
}

/// Takes a number off the front of `bytes`.
pub fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (number, used) = u64::decode_var(bytes)?;
    *bytes = &bytes[used..];
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lists() -> impl Strategy<Value = Vec<u32>> {
        let value = prop_oneof![8 => 0..5_u32, 2 => 0..24_u32, 1 => any::<u32>()];
        let run = (value, 1..200_usize);
        prop::collection::vec(run, 0..12)
            .prop_map(|runs| runs.into_iter().flat_map(|(v, n)| std::iter::repeat_n(v, n)).collect())
    }

    proptest! {
        #[test]
        fn a_list_survives_being_packed(list in lists(), after in any::<Vec<u8>>()) {
            let bytes = [pack(&list), after.clone()].concat();
            let mut rest = &bytes[..];
            prop_assert_eq!(unpack(&mut rest), Some(list));
            prop_assert_eq!(rest, &after[..]);
        }

        #[test]
        fn bytes_that_are_no_list_are_refused_or_read_and_never_too_big(bytes in any::<Vec<u8>>()) {
            if let Some(list) = unpack(&mut &bytes[..]) {
                prop_assert!(list.len() <= MOST_ELEMENTS);
            }
        }
    }

    #[test]
    fn a_schedule_of_four_blocks_takes_few_bytes() {
        let schedule: Vec<u32> = [(0, 46), (1, 62), (3, 46), (4, 12)]
            .into_iter()
            .flat_map(|(actor, events)| std::iter::repeat_n(actor, events))
            .collect();
        assert_eq!(pack(&schedule).len(), 8);
        assert_eq!(pack(&[]).len(), 1);
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_refused() {
        let bytes = pack(&[1, 1, 2, 900]);
        for end in 0..bytes.len() {
            assert_eq!(unpack(&mut &bytes[..end]), None, "{end}");
        }
        let much = [1_u64 << 3, (MOST_ELEMENTS as u64) << 1].map(VarInt::encode_var_vec).concat();
        assert_eq!(unpack(&mut &much[..]), None);
    }
}
