//! What holds in every interleaving, and what a driver that breaks the protocol gets.

use crate::common::{AtRest, BASE, RW, World, always, must, pages, sometimes, world};
use interleave::lab::{Gate, Invariant, Lab};
use interleave::{Launch, Sim};
use model::Errno;
use model::platform::{HmmPfn, HmmRange, HmmRequest, Kernel, Mm, Mutex, NotifierEntry, Owner};
use model::units::{Bytes, PAGE_SIZE};
use sim_mm::{Options, SubId};
use std::cell::Cell;
use std::rc::Rc;

const PAGE: u64 = PAGE_SIZE;

fn nothing_more() -> AtRest {
    Box::new(|_| {})
}

/// A region of written pages, nobody listening.
fn region(count: u64) -> World {
    let world = world(Options::default());
    world.region(pages(0, count));
    world
}

// ---- the protocol ---------------------------------------------------------------------------------------------------

/// The smallest driver there is: mirrors one page, under one lock.
struct Device {
    world: World,
    sub: SubId,
    /// The frame that is mapped for DMA.
    mapped: <Sim as Kernel>::Mutex<Option<u64>>,
    /// Whether it asks `read_retry`.
    asks: bool,
}

impl Device {
    fn new(count: u64, asks: bool) -> Rc<Self> {
        let memory = sim_mm::Memory::new();
        let mm = crate::common::Space::new(&memory, 0, Options::default()).unwrap();
        let world = World { memory, mm, calls: Rc::default(), inside: Rc::default() };
        world.region(pages(0, count));
        let sub = world.listen(0, pages(0, count));
        let device = Rc::new(Device { world, sub, mapped: Mutex::new("driver_lock", None).unwrap(), asks });
        let called = Rc::downgrade(&device);
        device.world.mm.on_invalidate(Rc::new(move |_: NotifierEntry, _, seq| {
            let device = called.upgrade().expect("alive");
            let mut mapped = device.mapped.lock();
            device.world.mm.interval_set_seq(device.sub, seq);
            if let Some(pfn) = mapped.take() {
                device.world.memory.dma_unmap(pfn, 0);
            }
            true
        }));
        device
    }

    /// Maps the first page for DMA, if it can be had.
    fn map(&self) {
        let mm = &self.world.mm;
        loop {
            let seq = mm.read_begin(self.sub);
            let mut pfns = [HmmPfn::default()];
            let held = mm.mmap_read_lock();
            let result = mm.hmm_range_fault(
                &held,
                &HmmRange {
                    notifier: self.sub,
                    notifier_seq: seq,
                    start: BASE,
                    request: HmmRequest::Write,
                    owner: Owner::NONE,
                },
                &mut pfns,
            );
            drop(held);
            match result {
                Err(Errno::EBUSY) => {
                    Sim::retry_point("hmm collided");
                    continue;
                }
                Err(_) => return,
                Ok(()) => {}
            }
            let mut mapped = self.mapped.lock();
            if self.asks && mm.read_retry(self.sub, seq) {
                drop(mapped);
                Sim::retry_point("invalidated");
                continue;
            }
            self.world.memory.dma_map(pfns[0].pfn, 0);
            *mapped = Some(pfns[0].pfn);
            return;
        }
    }

    /// At rest: what is mapped is what the CPU maps.
    fn right(self: &Rc<Self>) -> AtRest {
        let device = self.clone();
        Box::new(move |world| {
            if let Some(pfn) = *device.mapped.lock() {
                must(world.mm.peek_mapped(BASE / PAGE) == Some((pfn, true)), "the device maps what the CPU maps");
            }
        })
    }
}

fn device_against(change: fn(&World), asks: bool) -> impl Fn(&mut Launch) -> (World, AtRest) {
    move |launch: &mut Launch| {
        let device = Device::new(1, asks);
        let (actor, world) = (device.clone(), device.world.clone());
        launch.actor("driver", move || actor.map());
        launch.actor("app", move || change(&world));
        (device.world.clone(), device.right())
    }
}

fn munmap(world: &World) {
    world.mm.munmap(pages(0, 1)).unwrap();
}

fn dontneed(world: &World) {
    world.mm.madvise_dontneed(pages(0, 1)).unwrap();
}

fn migrate(world: &World) {
    world.mm.migrate_pages(pages(0, 1)).unwrap();
}

fn remap(world: &World) {
    world.mm.mmap(pages(0, 1), RW).unwrap();
}

#[test]
fn a_driver_that_asks_read_retry_is_right_whatever_the_app_does() {
    for change in [munmap, dontneed, migrate, remap] {
        always(device_against(change, true));
    }
}

#[test]
fn a_driver_that_does_not_ask_is_caught_whatever_the_app_does() {
    for change in [munmap, dontneed, migrate, remap] {
        let violation = sometimes(device_against(change, false));
        assert!(violation.invariant == Invariant::I3 || violation.what.contains("the device maps"), "{violation:?}");
    }
}

#[test]
fn two_invalidations_at_once_are_one_epoch_and_the_driver_is_right() {
    always(|launch| {
        let device = Device::new(2, true);
        let (actor, one, two) = (device.clone(), device.world.clone(), device.world.clone());
        launch.actor("driver", move || {
            let seq = actor.world.mm.read_begin(actor.sub);
            let before = !actor.world.mm.read_retry(actor.sub, seq);
            // Whatever read_begin waited for has ended: a sequence that is still current is that of no running epoch.
            let (now, _) = actor.world.mm.invalidation_epoch();
            must(!before || now % 2 == 0 || seq < now, "read_begin returns no sequence of a running epoch");
        });
        launch.actor("one", move || one.mm.madvise_dontneed(pages(0, 1)).unwrap());
        launch.actor("two", move || two.mm.madvise_dontneed(pages(1, 2)).unwrap());
        (device.world.clone(), device.right())
    });
}

#[test]
fn removal_returns_only_when_no_callback_runs_and_none_comes() {
    always(|launch| {
        let world = region(1);
        let sub = world.listen(0, pages(0, 1));
        let running = Rc::new(<Sim as Lab>::Gate::new("callback runs", 0));
        let removed = Rc::new(Cell::new(false));
        let (runs, gone) = (running.clone(), removed.clone());
        world.inside(move |_| {
            must(!gone.get(), "no callback after the removal");
            runs.store(1);
            runs.store(0);
            true
        });
        let (app, remover) = (world.clone(), world.clone());
        launch.actor("app", move || dontneed(&app));
        launch.actor("driver", move || {
            remover.mm.interval_remove(sub);
            must(running.load() == 0, "no callback runs after the removal");
            removed.set(true);
        });
        (world, nothing_more())
    });
}

#[test]
fn a_reader_that_outlives_the_removal_is_caught() {
    let violation = sometimes(|launch| {
        let world = region(1);
        let sub = world.listen(0, pages(0, 1));
        let (reader, remover) = (world.clone(), world.clone());
        launch.actor("reader", move || {
            reader.mm.read_begin(sub);
        });
        launch.actor("driver", move || remover.mm.interval_remove(sub));
        (world, nothing_more())
    });
    assert_eq!(violation.invariant, Invariant::I4);
}

#[test]
fn insertion_and_invalidation_meet_in_every_order_and_end_in_the_tree() {
    always(|launch| {
        let world = region(2);
        world.listen(0, pages(0, 1));
        let (app, driver) = (world.clone(), world.clone());
        launch.actor("app", move || dontneed(&app));
        launch.actor("driver", move || {
            let sub = driver.listen(7, pages(0, 1));
            let seq = driver.mm.read_begin(sub);
            let _ = driver.mm.read_retry(sub, seq);
        });
        let in_tree: AtRest = Box::new(|world| {
            let states: Vec<_> = world.mm.notifiers().iter().map(|view| view.state).collect();
            must(states == [sim_mm::SubState::InTree; 2], "both are in the tree");
        });
        (world, in_tree)
    });
}

#[test]
fn the_first_insertion_waits_for_running_operations() {
    always(|launch| {
        let world = region(1);
        let (app, driver) = (world.clone(), world.clone());
        launch.actor("app", move || {
            dontneed(&app);
            migrate(&app);
        });
        launch.actor("driver", move || {
            driver.listen(7, pages(0, 1));
        });
        (world, nothing_more())
    });
}

// ---- locks around callbacks -----------------------------------------------------------------------------------------

/// A callback that waits for another thread, which does `other` meanwhile.
fn callback_waits_for(change: fn(&World), other: fn(&World)) -> impl Fn(&mut Launch) -> (World, AtRest) {
    move |launch: &mut Launch| {
        let world = region(2);
        world.listen(0, pages(0, 1));
        let done = Rc::new(<Sim as Lab>::Gate::new("other thread done", 0));
        let wait = done.clone();
        world.inside(move |_| {
            wait.wait_until(1);
            true
        });
        let (app, thread) = (world.clone(), world.clone());
        launch.actor("app", move || change(&app));
        launch.actor("thread", move || {
            other(&thread);
            done.store(1);
        });
        (world, nothing_more())
    }
}

fn map_elsewhere(world: &World) {
    world.mm.mmap(Bytes::new(1 << 30, (1 << 30) + PAGE), RW).unwrap();
}

fn read_lock(world: &World) {
    drop(world.mm.mmap_read_lock());
}

#[test]
fn callbacks_of_dontneed_and_migration_run_without_mmap_lock() {
    always(callback_waits_for(dontneed, map_elsewhere));
    always(callback_waits_for(migrate, map_elsewhere));
}

#[test]
fn callbacks_of_munmap_run_under_mmap_lock_for_read() {
    always(callback_waits_for(munmap, read_lock));
    assert_eq!(sometimes(callback_waits_for(munmap, map_elsewhere)).invariant, Invariant::I8);
}

#[test]
fn callbacks_of_mmap_and_mprotect_run_under_mmap_lock_for_write() {
    let mprotect = |world: &World| world.mm.mprotect(pages(0, 1), true, false).unwrap();
    assert_eq!(sometimes(callback_waits_for(remap, read_lock)).invariant, Invariant::I8);
    assert_eq!(sometimes(callback_waits_for(mprotect, read_lock)).invariant, Invariant::I8);
}

// ---- the mm itself --------------------------------------------------------------------------------------------------

#[test]
fn a_store_races_with_unmapping_and_either_lands_or_faults() {
    for change in [munmap, dontneed, remap] {
        always(move |launch| {
            let world = region(1);
            let (app, cpu) = (world.clone(), world.clone());
            launch.actor("app", move || change(&app));
            launch.actor("cpu", move || {
                if cpu.mm.store(BASE, 7).is_ok()
                    && let Ok(value) = cpu.mm.load(BASE)
                {
                    must(value == 7 || value == 0, "what was stored, or a fresh page");
                }
            });
            (world, nothing_more())
        });
    }
}

#[test]
fn a_fault_races_with_unmapping_and_leaves_no_page_outside_of_a_vma() {
    for change in [munmap, dontneed, remap] {
        always(move |launch| {
            let world = world(Options::default());
            world.mm.mmap(pages(0, 1), RW).unwrap();
            world.mm.load(BASE).unwrap();
            let (app, cpu) = (world.clone(), world.clone());
            launch.actor("app", move || change(&app));
            launch.actor("cpu", move || {
                let _ = cpu.mm.store(BASE, 7);
            });
            (world, nothing_more())
        });
    }
}

#[test]
fn no_store_lands_after_mprotect_returned() {
    always(|launch| {
        let world = region(1);
        let (app, cpu) = (world.clone(), world.clone());
        launch.actor("app", move || {
            app.mm.mprotect(pages(0, 1), true, false).unwrap();
            let first = app.mm.load(BASE);
            must(first == app.mm.load(BASE), "the page does not change");
        });
        launch.actor("cpu", move || {
            let _ = cpu.mm.store(BASE, 7);
        });
        (world, nothing_more())
    });
}

#[test]
fn no_store_is_lost_in_a_migration() {
    always(|launch| {
        let world = region(1);
        let (app, cpu) = (world.clone(), world.clone());
        launch.actor("app", move || migrate(&app));
        launch.actor("cpu", move || {
            cpu.mm.store(BASE, 7).unwrap();
            must(cpu.mm.load(BASE) == Ok(7), "a thread sees its own store");
        });
        (world, Box::new(|world| must(world.mm.peek_word(BASE) == Some(7), "the store survives")))
    });
}

#[test]
fn a_page_migrates_once_at_a_time_and_survives_unmapping_meanwhile() {
    always(|launch| {
        let world = region(1);
        let (one, two) = (world.clone(), world.clone());
        launch.actor("one", move || migrate(&one));
        launch.actor("two", move || migrate(&two));
        (world, nothing_more())
    });
    for change in [munmap, dontneed, remap] {
        always(move |launch| {
            let world = region(1);
            let (one, two) = (world.clone(), world.clone());
            launch.actor("compaction", move || migrate(&one));
            launch.actor("app", move || change(&two));
            (world, nothing_more())
        });
    }
}

#[test]
fn the_last_of_two_users_runs_exit_mmap() {
    always(|launch| {
        let world = region(1);
        let sub = world.listen(0, pages(0, 1));
        let (process, worker) = (world.clone(), world.clone());
        launch.actor("process", move || process.mm.exit());
        launch.actor("worker", move || {
            if worker.mm.mmget_not_zero() {
                must(worker.mm.peek_vmas().len() == 1, "who got a user reference has an address space");
                worker.mm.mmput();
            }
            worker.mm.interval_remove(sub);
        });
        (
            world,
            Box::new(|world| {
                must(world.mm.freed_at().is_some(), "nobody holds the struct");
                must(world.mm.peek_vmas().is_empty(), "the address space is gone");
            }),
        )
    });
}
