//! Names that the language knows, and what somebody who misspelt one probably meant.

use interleave::lab::Invariant;
use model::Errno;

/// Every errno a scenario can name.
pub(super) const ERRNOS: &[Errno] = &[
    Errno::EPERM,
    Errno::ENOENT,
    Errno::ESRCH,
    Errno::EINTR,
    Errno::EIO,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EFAULT,
    Errno::EBUSY,
    Errno::EEXIST,
    Errno::ENODEV,
    Errno::EINVAL,
    Errno::ENOSPC,
    Errno::ETIME,
    Errno::EOVERFLOW,
    Errno::EOPNOTSUPP,
    Errno::EADDRINUSE,
];

/// The errno called `name`.
pub(super) fn errno(name: &str) -> Option<Errno> {
    ERRNOS.iter().copied().find(|e| e.to_string() == name)
}

/// The invariant called `name`, `I1` to `I12`.
pub(super) fn invariant(name: &str) -> Option<Invariant> {
    Invariant::ALL.iter().copied().find(|i| i.to_string() == name)
}

/// The candidate that `word` is most likely a misspelling of, if one is close enough to be worth saying.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tidy = |s: &str| s.to_lowercase().replace(['_', ' '], "-");
    let word = tidy(word);
    candidates
        .into_iter()
        .map(|c| (distance(&word, &tidy(c)), c))
        // one slip in a short word, one more for every three letters; nothing resembles a single letter
        .filter(|(d, c)| *d <= c.chars().count().max(word.chars().count()) / 3)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// How many letters must be changed, added, dropped or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let mut best = (rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1)
                    .min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

/// The help line under an unknown name: what was probably meant, else what there is.
pub(super) fn did_you_mean(word: &str, what: &str, candidates: &[&str]) -> String {
    match closest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if candidates.is_empty() => format!("there is no {what} in this scenario"),
        None => format!("{what}: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let keys = ["populate", "prot", "size", "at", "gpu-ro"];
        assert_eq!(closest("popluate", keys), Some("populate"));
        assert_eq!(closest("sise", keys), Some("size"));
        assert_eq!(closest("gpu_ro", keys), Some("gpu-ro"));
        assert_eq!(closest("SIZE", keys), Some("size"));
    }

    #[test]
    fn a_word_that_resembles_nothing_gets_no_suggestion() {
        assert_eq!(closest("banana", ["populate", "prot", "size"]), None);
        assert_eq!(closest("xy", ["at", "size"]), None);
        assert_eq!(closest("c", ["a", "b"]), None);
    }

    #[test]
    fn every_errno_and_invariant_is_found_by_its_name() {
        for e in ERRNOS {
            assert_eq!(errno(&e.to_string()), Some(*e));
        }
        for i in Invariant::ALL {
            assert_eq!(invariant(&i.to_string()), Some(i));
        }
        assert_eq!(invariant("I13"), None);
    }
}
