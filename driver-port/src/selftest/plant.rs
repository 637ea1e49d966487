//! Bugs on purpose, for a kernel that looks for such: each is what its name says, and reported as that.

use super::thread::{beside, sleep};
use super::{Outcome, Test, made};
use crate::kernel::{Cache, Mutex, Plain};
use core::hint::black_box;
use model::platform::{self, Cache as _, Objects as _, Plain as _};

pub(super) const PLANTS: &[Test] = &[
    Test { name: "use-after-free", run: use_after_free },
    Test { name: "lock-inversion", run: lock_inversion },
    Test { name: "data-race", run: data_race },
];

/// An object is looked at after it was freed (KASAN).
fn use_after_free() -> Outcome {
    let cache: Cache<[u64; 8]> = made(platform::Cache::new("planted"))?;
    let handle = made(cache.alloc([1; 8]))?;
    cache.free(handle);
    black_box(cache.get(handle)[black_box(3)]);
    Ok(())
}

/// Two locks are taken in one order and then in the other, by one task, which does not block (lockdep).
fn lock_inversion() -> Outcome {
    let first: Mutex<()> = made(platform::Mutex::new("planted_first", ()))?;
    let second: Mutex<()> = made(platform::Mutex::new("planted_second", ()))?;
    let both = |one: &Mutex<()>, other: &Mutex<()>| {
        let _one = platform::Mutex::lock(one);
        let _other = platform::Mutex::lock(other);
    };
    both(&first, &second);
    both(&second, &first);
    Ok(())
}

/// Two tasks add to a plain number without the lock that it says it has (KCSAN).
fn data_race() -> Outcome {
    let number = Plain::new(0_u64);
    let add = || {
        for _ in 0..200 {
            for _ in 0..20_000 {
                number.with_mut(|number| *number = black_box(*number) + 1);
            }
            sleep(1);
        }
    };
    beside(add, add)?;
    black_box(number.get());
    Ok(())
}
