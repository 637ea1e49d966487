//! Allocations that may reclaim, reclaim itself, and mmu notifier callbacks.

use super::{assert_is, clean, mutex, predicted};
use interleave::lab::{Hold, Lab, NOTIFIER_MAP};
use interleave::lockdep::Pattern;
use interleave::{Launch, Sim};
use model::platform::{Cache as _, Kernel, Mutex as _};

/// A callback takes the notifier lock; a thread allocates while it has that lock. The callback never comes from reclaim
/// here, and the two run one after the other.
fn allocation_under_the_notifier_lock(array: bool, noreclaim: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let lock = mutex("notifier_lock");
        let cache = <Sim as Kernel>::Cache::<u64>::new("range").unwrap();
        let its = lock.clone();
        launch.actor("munmap", move || {
            Sim::acquire_map(NOTIFIER_MAP, Hold::Exclusive);
            drop(its.lock());
            Sim::release_map(NOTIFIER_MAP, Hold::Exclusive);
        });
        launch.actor("ioctl", move || {
            let _held = lock.lock();
            let _noreclaim = noreclaim.then(Sim::noreclaim);
            if array {
                drop(Sim::alloc_array(4, 0_u8).unwrap());
            } else {
                cache.alloc(1).unwrap();
            }
        });
    }
}

#[test]
fn allocating_under_a_lock_that_a_callback_takes() {
    for array in [false, true] {
        let report = predicted(allocation_under_the_notifier_lock(array, false));
        let cycle = format!("notifier_lock -> {NOTIFIER_MAP} -> notifier_lock");
        assert_is(&report, Pattern::Circular, &cycle);
        assert!(report.to_string().contains("ioctl allocates, which may wait for"), "{report}");
        clean(allocation_under_the_notifier_lock(array, true));
    }
}

#[test]
fn noreclaim_ends_where_its_guard_does() {
    let report = predicted(|launch| {
        let lock = mutex("notifier_lock");
        let its = lock.clone();
        launch.actor("munmap", move || {
            Sim::acquire_map(NOTIFIER_MAP, Hold::Exclusive);
            drop(its.lock());
            Sim::release_map(NOTIFIER_MAP, Hold::Exclusive);
        });
        launch.actor("ioctl", move || {
            let _held = lock.lock();
            {
                let (_outer, inner) = (Sim::noreclaim(), Sim::noreclaim());
                drop(inner);
                drop(Sim::alloc_array(4, 0_u8).unwrap());
            }
            drop(Sim::alloc_array(4, 0_u8).unwrap());
        });
    });
    assert_eq!(report.dependencies[0].actor, "ioctl");
}

/// Reclaim takes a lock; a thread allocates under it.
fn reclaim_takes_it(allocate: bool) -> impl Fn(&mut Launch) {
    move |launch| {
        let lock = mutex("rmap");
        let its = lock.clone();
        launch.actor("kswapd", move || {
            Sim::reclaim(|| {
                let _held = its.lock();
                // Its own allocations do not reclaim.
                drop(Sim::alloc_array(4, 0_u8).unwrap());
            });
        });
        launch.actor("ioctl", move || {
            let _held = lock.lock();
            if allocate {
                drop(Sim::alloc_array(4, 0_u8).unwrap());
            }
        });
    }
}

#[test]
fn allocating_under_a_lock_that_reclaim_takes() {
    assert_is(&predicted(reclaim_takes_it(true)), Pattern::Circular, "rmap -> fs_reclaim -> rmap");
    clean(reclaim_takes_it(false));
}
