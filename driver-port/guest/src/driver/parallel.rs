//! The machine has two CPUs: a process for each.

use super::machine::on_cpus;
use super::process::{end, fork, reap};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read, Write, pipe};

/// CPUs of the machine.
const CPUS: usize = 2;

/// `each` of the numbers below `count`, every second one in a process on the other CPU; what came of them in order.
///
/// # Errors
/// A process died, or could not be had; in words.
pub(crate) fn on_both_cpus<T>(count: usize, each: impl Fn(usize) -> T) -> Result<Vec<T>, String>
where
    T: Serialize + DeserializeOwned,
{
    let words = |error: std::io::Error| error.to_string();
    let mut halves = Vec::new();
    for cpu in 0..CPUS {
        let (reads, mut writes) = pipe().map_err(words)?;
        let Some(child) = fork().map_err(words)? else {
            drop((reads, halves));
            let made: Result<Vec<T>, String> = on_cpus(&[cpu])
                .map(|()| (cpu..count).step_by(CPUS).map(&each).collect())
                .map_err(|error| format!("CPU {cpu}: {error}"));
            let text = serde_json::to_vec(&made).expect("what comes of it is plain data");
            let _ = writes.write_all(&text);
            end()
        };
        halves.push((child, reads));
    }
    let mut made = Vec::new();
    for (child, mut reads) in halves {
        let mut text = Vec::new();
        reads.read_to_end(&mut text).map_err(words)?;
        let status = child.wait().map_err(words)?;
        let half: Result<Vec<T>, String> = serde_json::from_slice(&text)
            .map_err(|_| format!("a process of the suite ended with status {status:#x}"))?;
        made.push(half?.into_iter());
    }
    // Processes that they left behind are process 1's.
    reap();
    let mut all = Vec::new();
    for index in 0..count {
        all.extend(made[index % CPUS].next());
    }
    if all.len() == count { Ok(all) } else { Err(format!("{} of {count} came to something", all.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: who reaps takes the other's processes, too.
    #[test]
    fn everything_comes_back_in_order_and_a_process_that_dies_is_told() {
        assert_eq!(on_both_cpus(5, |number| number * number), Ok(vec![0, 1, 4, 9, 16]));
        let died: Result<Vec<u32>, String> = on_both_cpus(2, |number| if number == 1 { end() } else { 7 });
        assert!(died.is_err_and(|error| error.contains("ended")));
    }
}
