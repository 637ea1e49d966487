//! Atomic words, reference counts, lockless words.

use super::thread::{Flag, beside, wait};
use super::{Outcome, Test, ensure};
use crate::kernel::{Atomic, LinuxKernel, Shared};
use core::sync::atomic::{AtomicU64, Ordering};
use model::platform::{Atomic as _, Kernel, Shared as _};

pub(super) const TESTS: &[Test] = &[
    Test { name: "additions of two tasks to an atomic word are not lost", run: counts },
    Test { name: "a reference that is counted to 0 is not taken again", run: kref },
    Test { name: "cmpxchg and swap exchange once", run: exchanges },
    Test { name: "a lockless value that is larger than a word is read whole", run: whole },
    Test { name: "a task has a number of its own, and time passes", run: task_and_time },
];

const ROUNDS: u64 = 20_000;

fn counts() -> Outcome {
    // Enough for the two to meet, also where two CPUs are threads on one.
    const ADDITIONS: u64 = 500_000;
    let word = Atomic::new("selftest", 0);
    let add = || {
        for _ in 0..ADDITIONS {
            word.inc_return();
        }
    };
    beside(add, add)?;
    ensure!(word.load() == 2 * ADDITIONS, "of {} additions {} are left", 2 * ADDITIONS, word.load());
    Ok(())
}

fn kref() -> Outcome {
    let (count, zeros) = (Atomic::new("selftest", 1), AtomicU64::new(0));
    let put = || {
        if count.dec_return() == 0 {
            zeros.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut taken = 0;
    beside(
        || {
            super::thread::sleep(5);
            put();
        },
        // It takes and gives back until there is nothing to be taken.
        || {
            while count.inc_unless_zero() && taken < 100_000_000 {
                put();
                taken += 1;
            }
        },
    )?;
    let zeros = zeros.load(Ordering::Relaxed);
    ensure!(taken > 0, "no reference could be taken while there was one");
    ensure!(count.load() == 0 && zeros == 1, "the count is {}, and came to 0 {zeros} times", count.load());
    Ok(())
}

fn exchanges() -> Outcome {
    let word = Atomic::new("selftest", 5);
    ensure!(word.cmpxchg(4, 6) == 5 && word.load() == 5, "cmpxchg of another value: now {}", word.load());
    ensure!(word.cmpxchg(5, 6) == 5 && word.load() == 6, "cmpxchg of its value: now {}", word.load());
    ensure!(word.swap(7) == 6 && word.load() == 7, "swap: now {}", word.load());
    word.store(8);
    ensure!(word.load() == 8, "store: now {}", word.load());
    // Of two that exchange the same value, one wins.
    let won = AtomicU64::new(0);
    let race = || {
        for round in 8..8 + ROUNDS {
            while word.load() < round {
                core::hint::spin_loop();
            }
            if word.cmpxchg(round, round + 1) == round {
                won.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    beside(race, race)?;
    ensure!(won.load(Ordering::Relaxed) == ROUNDS, "{} of {ROUNDS} races won", won.load(Ordering::Relaxed));
    Ok(())
}

fn whole() -> Outcome {
    const CHANGES: u64 = 1000;
    let value = Shared::new("selftest", [0_u64; 4]);
    let enough = Flag::new();
    let (torn, changes) = beside(
        || {
            let mut n = 0;
            while !enough.is_set() {
                n += 1;
                value.write_once([n; 4]);
            }
        },
        || {
            let (mut torn, mut changes, mut last) = (0_u64, 0, [0; 4]);
            // The two have a CPU each, or take turns on one: that it takes long is no fault of the value.
            wait(|| {
                for _ in 0..100_000 {
                    let seen = value.read_once();
                    torn += u64::from(seen.iter().any(|word| *word != seen[0]));
                    changes += u64::from(seen != last);
                    last = seen;
                }
                changes >= CHANGES
            });
            enough.set();
            (torn, changes)
        },
    )?;
    ensure!(torn == 0, "{torn} reads saw parts of two values");
    // Where the two CPUs are threads of a busy machine, they may seldom run at once.
    ensure!(changes > 1, "the reader saw {changes} changes: nothing raced");
    value.write_once([7; 4]);
    ensure!(value.read_once() == [7; 4], "the last write is lost");
    Ok(())
}

fn task_and_time() -> Outcome {
    let (mine, theirs) = (LinuxKernel::current_task(), AtomicU64::new(0));
    let before = LinuxKernel::now_ms();
    beside(
        || {
            theirs.store(LinuxKernel::current_task(), Ordering::Relaxed);
            super::thread::sleep(60);
        },
        || (),
    )?;
    let (theirs, took) = (theirs.load(Ordering::Relaxed), LinuxKernel::now_ms() - before);
    ensure!(mine != 0 && theirs != 0 && mine != theirs, "two tasks are {mine:#x} and {theirs:#x}");
    ensure!(mine == LinuxKernel::current_task(), "a task has two numbers");
    ensure!((50..60_000).contains(&took), "60 ms take {took} ms");
    Ok(())
}
