//! The names of places in a gate script: the module makes them, and whoever writes scripts.

/// FNV-1a over the text that names a place.
const fn hash(mut sum: u64, text: &[u8]) -> u64 {
    let mut at = 0;
    while at < text.len() {
        sum = (sum ^ text[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    sum
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The place that is line `line` of `file`. What comes before `model/` in the file's name does not count.
pub fn at(file: &str, line: u32) -> u64 {
    let from = file.rfind("model/").unwrap_or(0);
    hash(hash(SEED, &file.as_bytes()[from..]), &line.to_le_bytes())
}

/// The place where the work item of this name begins to run.
pub const fn work(name: &str) -> u64 {
    hash(hash(SEED, b"work "), name.as_bytes())
}

/// The place before operation `number` of a thread.
pub const fn begin(number: u32) -> u64 {
    hash(hash(SEED, b"begin "), &number.to_le_bytes())
}

/// The place after operation `number` of a thread.
pub const fn end(number: u32) -> u64 {
    hash(hash(SEED, b"end "), &number.to_le_bytes())
}
