//! The KFD design against an address space that changes under it: every interleaving.

use crate::support::{BASE, World, pages};
use interleave::lab::{Invariant, Violation};
use interleave::{Config, End, Execution, Launch, Program, explore};
use model::attr::{AttrType::*, Flags, UapiAttr};
use model::platform::{FaultTime, Plant, RetryFault};
use model::units::PAGE_SIZE;
use std::rc::Rc;

type Act = fn(&World);

/// A buffer of two pages, then threads.
struct Threads {
    /// Whether it is mapped before they start, which with XNACK on takes access in place.
    mapped: bool,
    xnack: bool,
    acts: &'static [Act],
}

impl Program for Threads {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = World::new(1, self.xnack, 2);
        let access = if self.xnack && self.mapped { AccessInPlace } else { Access };
        let flags = UapiAttr::new(SetFlags, Flags::GPU_READ_MOSTLY.0);
        world.set(pages(0, 1), &[UapiAttr::new(access, 1), flags]).expect("SET_ATTR");
        let runs = Rc::downgrade(&world);
        launch.on_work(move |client, func| runs.upgrade().expect("the world outlives its work").work(client, func));
        for (at, act) in self.acts.iter().enumerate() {
            let (world, act) = (world.clone(), *act);
            launch.actor(&format!("thread{at}"), move || act(&world));
        }
        Box::new(AtRest(world))
    }
}

struct AtRest(Rc<World>);
impl Execution for AtRest {
    fn at_rest(&self) {
        let world = &self.0;
        world.svms.inspect().check();
        assert!(!world.svms.inspect().has_pending_work(), "nothing is left for a worker");
        assert!(world.gpus[0].vm.running(), "the queues run");
        world.check_entries();
        world.end();
    }
}

fn search(mapped: bool, xnack: bool, acts: &'static [Act], planted: &[Plant]) -> Result<u64, Violation> {
    let limits = interleave::Limits { executions: Some(20_000), ..Default::default() };
    let config = Config { planted: planted.to_vec(), limits, ..Config::default() };
    let outcome = explore(&Threads { mapped, xnack, acts }, &config, None, None);
    match outcome.failure {
        Some(failure) => Err(failure.violation),
        None => {
            assert!(matches!(outcome.end, End::Exhausted | End::LimitReached), "{:?}", outcome.end);
            Ok(outcome.stats.executions)
        }
    }
}

fn set(world: &World) {
    let _ = world.set(pages(0, 1), &[UapiAttr::new(SetFlags, Flags::GPU_RO.0)]);
}
fn migrate(world: &World) {
    world.mm.migrate_pages(pages(1, 1).bytes()).expect("migration");
}
fn unmap_half(world: &World) {
    world.mm.munmap(pages(0, 0).bytes()).expect("munmap");
}
fn fault(world: &World) {
    let at = RetryFault { addr: (BASE + 1) * PAGE_SIZE, write: false, time: FaultTime(1) };
    let _ = world.svms.handle_fault(0, at);
}

#[test]
fn mapping_against_migration_holds() {
    assert!(search(true, false, &[set, migrate], &[]).expect("no violation") > 10);
    assert!(search(false, true, &[fault, migrate], &[]).expect("no violation") > 10);
}

#[test]
fn without_the_sequence_check_a_page_that_moved_is_mapped() {
    let violation = search(false, true, &[fault, migrate], &[Plant::SkipReadRetry]).expect_err("a violation");
    assert_eq!(violation.invariant, Invariant::I2, "{}", violation.what);
}

/// Mapping anew revokes the old bus address before the entry names the new one; an event in between gives EAGAIN, and
/// nothing takes the entry back. With XNACK off the restore work mends it.
#[test]
fn a_set_attr_that_ends_with_eagain_leaves_entries_that_lead_to_revoked_addresses() {
    let violation = search(true, true, &[set, migrate], &[]).expect_err("a violation");
    assert!(violation.invariant == Invariant::I2 && violation.what.contains("None"), "{}", violation.what);
}

#[test]
fn munmap_holds_against_munmap_set_attr_and_faults() {
    let other_half: Act = |world| world.mm.munmap(pages(1, 1).bytes()).expect("munmap");
    for (xnack, acts) in [(false, [unmap_half, other_half]), (false, [set, unmap_half]), (true, [fault, unmap_half])] {
        let acts: &'static [Act] = Box::leak(Box::new(acts));
        assert!(search(true, xnack, acts, &[]).expect("no violation") > 1);
    }
}

/// The deferred work takes children off the list with `svms->lock` and `migrate_mutex` held, not `prange->lock`, under
/// which a callback that comes without mmap_lock walks it: in the kernel the walk then goes round for ever.
#[test]
fn the_deferred_work_takes_a_child_off_under_the_walk_of_a_callback() {
    for xnack in [false, true] {
        let violation = search(true, xnack, &[unmap_half, migrate], &[]).expect_err("a violation");
        assert_eq!(violation.invariant, Invariant::I9);
        assert!(violation.what.contains("child_list"), "{}", violation.what);
    }
}
