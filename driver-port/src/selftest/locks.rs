//! Mutexes, spinlocks, rwsems, completions.

use super::thread::{Flag, beside, grace};
use super::{Outcome, Test, ensure, made};
use crate::ffi;
use crate::kernel::{Completion, Mutex, RwSem, SpinLock};
use core::hint::{black_box, spin_loop};
use core::ops::DerefMut;
use model::platform::{self, Completion as _};

pub(super) const TESTS: &[Test] = &[
    Test { name: "a mutex lets one task in at a time", run: mutex_excludes },
    Test { name: "a mutex makes the next one wait until it is released", run: mutex_waits },
    Test { name: "a mutex can be locked inside another of its class", run: mutex_nests },
    Test { name: "a spinlock lets one task in at a time", run: spinlock_excludes },
    Test { name: "the holder of a spinlock is in atomic context", run: spinlock_is_atomic },
    Test { name: "a rwsem lets one writer in at a time", run: rwsem_excludes },
    Test { name: "a rwsem lets readers in together", run: readers_share },
    Test { name: "a rwsem keeps readers out while a writer is in", run: writer_is_alone },
    Test { name: "a rwsem makes a reader wait behind a waiting writer", run: reader_queues_behind_writer },
    Test { name: "downgrading a rwsem lets readers in and keeps writers out", run: downgrade },
    Test { name: "a completion holds every waiter until it is done, and none after", run: completion },
];

const ROUNDS: u64 = 3000;

/// Two tasks add to a number by reading it, dawdling and writing it back: how many are not lost.
fn tally<G: DerefMut<Target = u64>>(enter: impl Fn() -> G + Sync) -> Result<u64, super::Failure> {
    let add = || {
        for _ in 0..ROUNDS {
            let mut guard = enter();
            let seen = black_box(*guard);
            for _ in 0..200 {
                spin_loop();
            }
            *black_box(&mut *guard) = seen + 1;
        }
    };
    beside(add, add)?;
    Ok(*enter())
}

fn mutex_excludes() -> Outcome {
    let lock: Mutex<u64> = made(platform::Mutex::new("selftest_mutex", 0))?;
    let counted = tally(|| platform::Mutex::lock(&lock))?;
    ensure!(counted == 2 * ROUNDS, "of {} additions {counted} are left", 2 * ROUNDS);
    Ok(())
}

fn mutex_waits() -> Outcome {
    let lock: Mutex<()> = made(platform::Mutex::new("selftest_mutex", ()))?;
    let (coming, inside) = (Flag::new(), Flag::new());
    let guard = platform::Mutex::lock(&lock);
    let too_early = beside(
        || {
            coming.set();
            let _guard = platform::Mutex::lock(&lock);
            inside.set();
        },
        || {
            let came = coming.wait();
            grace();
            let too_early = !came || inside.is_set();
            drop(guard);
            too_early
        },
    )?;
    ensure!(!too_early, "another came in before it was released");
    ensure!(inside.is_set(), "the other never came in");
    Ok(())
}

fn mutex_nests() -> Outcome {
    let outer: Mutex<u32> = made(platform::Mutex::new("selftest_nested", 1))?;
    let inner: Mutex<u32> = made(platform::Mutex::new("selftest_nested", 2))?;
    let one = platform::Mutex::lock(&outer);
    let two = platform::Mutex::lock_nested(&inner, 1);
    ensure!(*one + *two == 3, "they hold {} and {}", *one, *two);
    Ok(())
}

fn spinlock_excludes() -> Outcome {
    let lock: SpinLock<u64> = made(platform::SpinLock::new("selftest_spinlock", 0))?;
    let counted = tally(|| platform::SpinLock::lock(&lock))?;
    ensure!(counted == 2 * ROUNDS, "of {} additions {counted} are left", 2 * ROUNDS);
    Ok(())
}

fn spinlock_is_atomic() -> Outcome {
    let lock: SpinLock<()> = made(platform::SpinLock::new("selftest_spinlock", ()))?;
    // SAFETY: no precondition.
    let atomic = || unsafe { ffi::svmlab_c_in_atomic() };
    let before = atomic();
    let guard = platform::SpinLock::lock(&lock);
    let inside = atomic();
    drop(guard);
    ensure!(!before && inside && !atomic(), "atomic before, inside, after: {before}, {inside}, {}", atomic());
    Ok(())
}

fn rwsem_excludes() -> Outcome {
    let sem: RwSem<u64> = made(platform::RwSem::new("selftest_rwsem", 0))?;
    let counted = tally(|| platform::RwSem::write(&sem))?;
    ensure!(counted == 2 * ROUNDS, "of {} additions {counted} are left", 2 * ROUNDS);
    Ok(())
}

fn readers_share() -> Outcome {
    let sem: RwSem<()> = made(platform::RwSem::new("selftest_rwsem", ()))?;
    let (mine, theirs) = (Flag::new(), Flag::new());
    let met = beside(
        || {
            let _guard = platform::RwSem::read(&sem);
            theirs.set();
            mine.wait();
        },
        || {
            let _guard = platform::RwSem::read(&sem);
            mine.set();
            theirs.wait()
        },
    )?;
    ensure!(met, "the second reader does not come in while the first is");
    Ok(())
}

fn writer_is_alone() -> Outcome {
    let sem: RwSem<u32> = made(platform::RwSem::new("selftest_rwsem", 0))?;
    let (coming, inside) = (Flag::new(), Flag::new());
    let mut guard = platform::RwSem::write(&sem);
    let too_early = beside(
        || {
            coming.set();
            let _guard = platform::RwSem::read(&sem);
            inside.set();
        },
        || {
            let came = coming.wait();
            grace();
            let too_early = !came || inside.is_set();
            *guard = 1;
            drop(guard);
            too_early
        },
    )?;
    ensure!(!too_early, "a reader came in while the writer was");
    ensure!(inside.is_set(), "the reader never came in");
    Ok(())
}

fn reader_queues_behind_writer() -> Outcome {
    let sem: RwSem<()> = made(platform::RwSem::new("selftest_rwsem", ()))?;
    let (writer_coming, reader_coming, reader_inside) = (Flag::new(), Flag::new(), Flag::new());
    let first = platform::RwSem::read(&sem);
    let writer = || {
        writer_coming.set();
        drop(platform::RwSem::write(&sem));
    };
    let reader = || {
        reader_coming.set();
        let _guard = platform::RwSem::read(&sem);
        reader_inside.set();
    };
    let too_early = beside(writer, || {
        let mut came = writer_coming.wait();
        grace();
        beside(reader, || {
            came &= reader_coming.wait();
            grace();
            let too_early = !came || reader_inside.is_set();
            drop(first);
            too_early
        })
    })??;
    ensure!(!too_early, "the second reader came in while a writer waited");
    ensure!(reader_inside.is_set(), "the second reader never came in");
    Ok(())
}

fn downgrade() -> Outcome {
    let sem: RwSem<()> = made(platform::RwSem::new("selftest_rwsem", ()))?;
    let (reader_inside, writer_coming, writer_inside) = (Flag::new(), Flag::new(), Flag::new());
    let guard = platform::RwSem::write(&sem);
    let guard = <RwSem<()> as platform::RwSem<()>>::downgrade(guard);
    let shared = beside(
        || {
            let _guard = platform::RwSem::read(&sem);
            reader_inside.set();
        },
        || reader_inside.wait(),
    )?;
    let alone = beside(
        || {
            writer_coming.set();
            let _guard = platform::RwSem::write(&sem);
            writer_inside.set();
        },
        || {
            let came = writer_coming.wait();
            grace();
            let alone = came && !writer_inside.is_set();
            drop(guard);
            alone
        },
    )?;
    ensure!(shared, "a reader does not come in");
    ensure!(alone, "a writer came in");
    Ok(())
}

fn completion() -> Outcome {
    let done = Completion::new("selftest");
    let (first, second) = (Flag::new(), Flag::new());
    let waiter = |over: &Flag| {
        done.wait();
        over.set();
    };
    ensure!(!done.is_done(), "it is done from the start");
    let too_early = beside(
        || waiter(&first),
        || {
            beside(
                || waiter(&second),
                || {
                    grace();
                    let too_early = first.is_set() || second.is_set();
                    done.complete_all();
                    too_early
                },
            )
        },
    )??;
    ensure!(!too_early, "a waiter went on before it was done");
    ensure!(first.is_set() && second.is_set() && done.is_done(), "it is not done after it was done");
    done.wait();
    Ok(())
}
