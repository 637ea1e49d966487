//! Caches, arrays, allocations that fail.

use super::{Outcome, Test, ensure, made};
use crate::ffi;
use crate::kernel::{Cache, LinuxKernel, Mutex, RwSem, SpinLock};
use crate::registry::Registration;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use model::Errno;
use model::platform::{self, Cache as _, Kernel, Objects as _, QueueKind, WorkFunc, WorkQueue as _};

pub(super) const TESTS: &[Test] = &[
    Test { name: "a cache's objects are apart, aligned, and dropped when they are freed", run: cache },
    Test { name: "an array is filled; one too large is refused", run: array },
    Test { name: "every allocation can fail, and what it was for is refused with ENOMEM", run: failing },
    Test { name: "an object whose allocation fails is dropped", run: failing_drops },
    Test { name: "noreclaim is of the task, and ends with its scope", run: noreclaim },
];

/// Its drops are counted. The size is one that no other object has.
struct Object {
    words: [u64; 11],
}

static DROPPED: AtomicU32 = AtomicU32::new(0);

impl Drop for Object {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn object(number: u64) -> Object {
    Object { words: [number; 11] }
}

fn cache() -> Outcome {
    const OBJECTS: usize = 200;
    let cache: Cache<Object> = made(platform::Cache::new("selftest"))?;
    let mut handles = made(LinuxKernel::alloc_array(OBJECTS, None::<platform::Handle<Object>>))?;
    DROPPED.store(0, Ordering::Relaxed);
    for (number, handle) in handles.iter_mut().enumerate() {
        *handle = Some(made(cache.alloc(object(number as u64)))?);
    }
    for (number, handle) in handles.iter().flatten().enumerate() {
        let object = cache.get(*handle);
        let address = core::ptr::from_ref(object) as usize;
        let words = object.words;
        ensure!(words == [number as u64; 11], "object {number} holds {words:?}");
        ensure!(address.is_multiple_of(align_of::<Object>()), "object {number} is at {address:#x}");
    }
    ensure!(DROPPED.load(Ordering::Relaxed) == 0, "objects were dropped before they were freed");
    for handle in handles.iter().flatten() {
        cache.free(*handle);
    }
    let dropped = DROPPED.load(Ordering::Relaxed);
    ensure!(dropped == OBJECTS as u32, "of {OBJECTS} objects {dropped} were dropped");
    Ok(())
}

fn array() -> Outcome {
    let mut array = made(LinuxKernel::alloc_array(100_000, 7_u64))?;
    ensure!(array.len() == 100_000 && array.iter().all(|word| *word == 7), "it is not filled");
    array[99_999] = 8;
    ensure!(array[99_998..] == [7, 8], "it does not keep what is written");
    ensure!(made(LinuxKernel::alloc_array(0, 7_u64))?.is_empty(), "one without elements has some");
    for len in [1 << 32, usize::MAX / 8, usize::MAX] {
        let refused = LinuxKernel::alloc_array(len, 7_u64).err();
        ensure!(refused == Some(Errno::ENOMEM), "one of {len} words: {refused:?}");
    }
    Ok(())
}

/// Until dropped, the nth allocation of the running task fails.
struct Failing;

impl Failing {
    fn nth(n: u32) -> Self {
        // SAFETY: no precondition.
        unsafe { ffi::svmlab_c_fail_allocation(n) };
        Failing
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // SAFETY: no precondition.
        unsafe { ffi::svmlab_c_fail_allocation(0) };
    }
}

/// A bit of everything that allocates.
fn everything(made: &Cell<u32>) -> Result<(), Errno> {
    let count = |()| made.set(made.get() + 1);
    let _mutex: Mutex<u32> = platform::Mutex::new("selftest_mutex", 1)?;
    count(());
    let _spinlock: SpinLock<u32> = platform::SpinLock::new("selftest_spinlock", 1)?;
    count(());
    let _rwsem: RwSem<u32> = platform::RwSem::new("selftest_rwsem", 1)?;
    count(());
    let cache: Cache<u64> = platform::Cache::new("selftest_word")?;
    count(());
    let handle = cache.alloc(1)?;
    cache.free(handle);
    count(());
    let _array = LinuxKernel::alloc_array(10, 1_u64)?;
    count(());
    let registration = Registration::new()?;
    count(());
    let queue = LinuxKernel::alloc_workqueue("selftest", QueueKind::Unbound)?;
    count(());
    let _work = queue.work(registration.id(), WorkFunc::Gc)?;
    count(());
    let _delayed = queue.delayed_work(registration.id(), WorkFunc::Gc)?;
    count(());
    Ok(())
}

fn failing() -> Outcome {
    const ALLOCATIONS: u32 = 10;
    for nth in 1..=ALLOCATIONS {
        let reached = Cell::new(0);
        let failing = Failing::nth(nth);
        let result = everything(&reached);
        drop(failing);
        ensure!(
            result == Err(Errno::ENOMEM) && reached.get() == nth - 1,
            "allocation {nth} fails: {result:?} after {} things were made",
            reached.get()
        );
    }
    let result = everything(&Cell::new(0));
    ensure!(result == Ok(()), "without a failure: {result:?}");
    Ok(())
}

fn failing_drops() -> Outcome {
    let cache: Cache<Object> = made(platform::Cache::new("selftest"))?;
    DROPPED.store(0, Ordering::Relaxed);
    let failing = Failing::nth(1);
    let refused = cache.alloc(object(1)).err();
    drop(failing);
    let dropped = DROPPED.load(Ordering::Relaxed);
    ensure!(refused == Some(Errno::ENOMEM) && dropped == 1, "refused with {refused:?}, {dropped} dropped");
    Ok(())
}

fn noreclaim() -> Outcome {
    // SAFETY: no precondition.
    let set = || unsafe { ffi::svmlab_c_is_noreclaim() };
    let before = set();
    let outer = LinuxKernel::noreclaim();
    let inner = LinuxKernel::noreclaim();
    let twice = set();
    drop(inner);
    let once = set();
    drop(outer);
    let after = set();
    ensure!(!before && twice && once && !after, "before, twice, once, after: {before} {twice} {once} {after}");
    Ok(())
}
