//! Sizes, offsets and intervals as people write them: `4096`, `0x1000`, `"4K"`, `"2M"`, `"1M+4K"`.

/// Reads a number of bytes: decimal or `0x` hexadecimal, with an optional suffix K, M, G or T (powers of 1024).
///
/// # Errors
/// One line that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let shift = match text.chars().last() {
        Some('K' | 'k') => 10,
        Some('M' | 'm') => 20,
        Some('G' | 'g') => 30,
        Some('T' | 't') => 40,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        // from_str_radix takes a sign, which nobody means here
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => u64::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if digits.starts_with(|c: char| c.is_ascii_digit()) => digits.parse().ok(),
        None => None,
    };
    number
        .and_then(|n| n.checked_shl(shift).filter(|s| s >> shift == n))
        .ok_or_else(|| format!("`{text}` is not a size; write \"4K\", \"2M\", \"0x1000\" or a number of bytes"))
}

/// Reads `offset+size`.
pub(super) fn parse_span(text: &str) -> Result<(u64, u64), String> {
    let (offset, size) = text
        .split_once('+')
        .ok_or_else(|| format!("`{text}` is not an interval; write offset+size, as in \"1M+4K\""))?;
    Ok((parse_size(offset)?, parse_size(size)?))
}

/// Writes a number of bytes with the largest suffix that divides it, so that [`parse_size`] reads the same back.
pub fn human(bytes: u64) -> String {
    for (shift, suffix) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{suffix}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_size_is_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("4K", 4096),
            ("2M", 2 << 20),
            ("1G", 1 << 30),
            ("0x10K", 16384),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "K", "-1", "+1", "4KB", "0x", "0x-1", "1.5M", "16777216T", "99999999999999999999"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for bytes in [0, 1, 512, 1024, 4096, 4097, 3 << 20, 5 << 30, 1 << 63, u64::MAX] {
            assert_eq!(parse_size(&human(bytes)), Ok(bytes));
        }
    }
}
