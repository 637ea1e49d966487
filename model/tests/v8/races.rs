//! The races that `poc-v8` has by being a faithful port, each found by exploration; and the control that what looks alike
//! and is none is not found.

use crate::machine::*;
use interleave::lab::{Invariant, Lab, Violation};
use interleave::{Config, End, Execution, Launch, Limits, Outcome, Program, Sim, Strategy, explore};
use model::attr::v4::AttrTypeV4;
use model::platform::{Completion, FaultTime};
use std::rc::Rc;

type Act = fn(&Machine);

/// `setup` with nobody else running, then one thread for each of `actors`, and the GC.
struct Race {
    setup: Act,
    actors: Vec<Act>,
    /// Looks at the machine at rest, before fini.
    check: Act,
    fini: bool,
}

struct AtRest(Rc<Machine>, Act, bool);
impl Execution for AtRest {
    fn at_rest(&self) {
        self.0.svm().inspect().check();
        (self.1)(&self.0);
        if self.2 {
            self.0.svm().fini();
        }
        self.0.mm.clear_hooks();
    }
}

impl Program for Race {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let m = Machine::new(0x10, false);
        let worker = Rc::downgrade(&m);
        launch.on_work(move |client, func| {
            if let Some(m) = worker.upgrade() {
                m.work(client, func);
            }
        });
        (self.setup)(&m);
        for (i, act) in self.actors.iter().enumerate() {
            let (m, act) = (m.clone(), *act);
            launch.actor(&format!("actor{i}"), move || act(&m));
        }
        Box::new(AtRest(m, self.check, self.fini))
    }
}

fn search(race: &Race, preemptions: u32) -> Outcome {
    let config = Config {
        strategy: Strategy::FewestPreemptions { most: Some(preemptions) },
        limits: Limits { executions: Some(200_000), ..Limits::default() },
        ..Config::default()
    };
    explore(race, &config, None, None)
}

/// What falls first.
fn falls(race: &Race, preemptions: u32) -> Violation {
    let outcome = search(race, preemptions);
    assert_eq!(outcome.end, End::Violated, "{:?}", outcome.stats);
    outcome.failure.expect("a violation").violation
}

fn holds(race: &Race, preemptions: u32) {
    let outcome = search(race, preemptions);
    let fell = outcome.failure.map(|failure| failure.violation);
    assert_eq!((fell, outcome.end), (None, End::Exhausted), "{:?}", outcome.stats);
    assert!(race.actors.len() == 1 || outcome.stats.executions > 1, "nothing was interleaved");
}

fn nothing(_: &Machine) {}

/// One range of 16 pages, mapped.
fn map(m: &Machine) {
    m.fault(BASE).expect("a fault");
}
/// A second fault would be a duplicate for as long as the clock stands still, so these map nothing before.
fn fault(m: &Machine) {
    m.fault(BASE).expect("a fault");
}
fn unmap_first(m: &Machine) {
    m.mm.munmap(bytes(BASE, 1)).expect("munmap");
}
fn unmap_two(m: &Machine) {
    m.mm.munmap(bytes(BASE, 1)).expect("munmap");
    m.mm.munmap(bytes(BASE + 1, 1)).expect("munmap");
}
fn dontneed(m: &Machine) {
    m.mm.madvise_dontneed(bytes(BASE, 0x10)).expect("madvise");
}
fn dontneed_halves(m: &Machine) {
    m.mm.madvise_dontneed(bytes(BASE, 8)).expect("madvise");
    m.mm.madvise_dontneed(bytes(BASE + 8, 8)).expect("madvise");
}
fn attributes(m: &Machine) {
    m.set(bytes(BASE, 0x10), &[AttrTypeV4::GpuExec.with(1)]).expect("set");
}

/// At rest no valid entry leads to a frame that the CPU has given up.
fn entries_are_sound(m: &Machine) {
    for page in m.mapped() {
        if !m.gpu.vm.reaches(page).is_some_and(|reach| reach.sound()) {
            let what = format!("at rest the entry of page {page:#x} leads to a mapping that was revoked");
            Sim::fail(Violation::new(Invariant::I1, what, None));
        }
    }
}

/// L1: while the GC processes a range, a second munmap puts it on the list, and the GC puts it there once more.
#[test]
fn l1_a_range_is_put_on_the_gc_s_list_twice() {
    let race = Race { setup: map, actors: vec![unmap_two], check: nothing, fini: true };
    let violation = falls(&race, 2);
    assert_eq!(violation.invariant, Invariant::I9, "{violation:?}");
    assert!(violation.what.contains("is added but is on a list already"), "{violation:?}");
    // One munmap cannot do it.
    holds(&Race { setup: map, actors: vec![unmap_first], check: nothing, fini: true }, 2);
}

/// R25: a notifier between the PTEs and `gpu_mapped = true` takes the range for not mapped, and leaves the PTEs.
#[test]
fn r25_entries_written_just_before_the_notifier_stay() {
    let race = Race { setup: nothing, actors: vec![fault, dontneed], check: entries_are_sound, fini: true };
    let violation = falls(&race, 2);
    assert_eq!(violation.invariant, Invariant::I1, "{violation:?}");
}

/// R27: the second half of a range is not cleared, because the first half has made it count as not mapped. Needs no race.
#[test]
fn r27_the_second_of_two_partial_events_clears_nothing() {
    let race = Race { setup: map, actors: vec![dontneed_halves], check: entries_are_sound, fini: true };
    assert_eq!(falls(&race, 0).invariant, Invariant::I1);
    // One event over all of it is fine.
    holds(&Race { setup: map, actors: vec![dontneed], check: entries_are_sound, fini: true }, 2);
}

/// RESET_ATTR takes no SL: it frees the node that a fault handler is using.
#[test]
fn a_reset_frees_the_attributes_of_a_running_fault() {
    fn reset(m: &Machine) {
        m.reset(bytes(BASE, 0x10)).expect("reset");
    }
    let race = Race { setup: attributes, actors: vec![fault, reset], check: nothing, fini: true };
    let violation = falls(&race, 2);
    assert_eq!(violation.invariant, Invariant::I4, "{violation:?}");
}

/// Closing makes the notifier look away, and pages are freed under DMA mappings and entries.
#[test]
fn pages_are_freed_under_a_closing_instance() {
    fn close(m: &Machine) {
        m.svm().close();
    }
    let race = Race { setup: map, actors: vec![close, dontneed], check: entries_are_sound, fini: true };
    let violation = falls(&race, 1);
    assert!([Invariant::I1, Invariant::I3].contains(&violation.invariant), "{violation:?}");
}

/// A notifier that has passed the looks at `exiting` queues a range after close has waited for the GC; fini removes all
/// ranges, and the GC removes this one once more.
#[test]
fn the_gc_removes_a_range_that_fini_has_removed() {
    fn announced(m: &Machine) {
        map(m);
        assert!(m.script.notified.set(Completion::new("notified")).is_ok());
    }
    fn fini(m: &Machine) {
        // Not before the notifier is past its first look: pages would be freed under the instance (see above).
        m.script.notified.get().expect("set up").wait();
        m.svm().fini();
    }
    let race = Race { setup: announced, actors: vec![fini, unmap_first], check: nothing, fini: false };
    let violation = falls(&race, 3);
    assert_eq!(violation.invariant, Invariant::I9, "{violation:?}");
    assert!(violation.what.contains("range_remove: no notifier at range"), "{violation:?}");
}

/// A fault that is newer than the checkpoint clears it, with whatever a notifier has put there since it looked: a stale
/// fault passes.
#[test]
fn a_checkpoint_is_lost_to_a_fault_that_clears_the_one_before() {
    const STALE: u64 = BASE + 5;
    fn one_checkpoint(m: &Machine) {
        // Single pages, so that the second munmap hits a range that the first has not.
        m.set(bytes(BASE, 1), &[AttrTypeV4::GpuExec.with(1)]).expect("set");
        m.set(bytes(BASE + 9, 1), &[AttrTypeV4::GpuExec.with(1)]).expect("set");
        m.fault(BASE).expect("a fault");
        m.fault(BASE + 9).expect("a fault");
        m.script.checkpoint.set(Some(FaultTime(10)));
        m.mm.munmap(bytes(BASE, 1)).expect("munmap");
        m.script.checkpoint.set(Some(FaultTime(20)));
    }
    fn newer_than_the_first(m: &Machine) {
        m.fault_at(BASE + 3, false, 15).expect("a fault");
    }
    fn older_than_the_second(m: &Machine) {
        m.mm.munmap(bytes(BASE + 9, 1)).expect("munmap");
        m.fault_at(STALE, false, 12).expect("a fault");
        if !m.filter_removed().contains(&(STALE << 12)) {
            Sim::fail(Violation::new(Invariant::I11, "a fault older than the checkpoint was handled", None));
        }
    }
    let actors: Vec<Act> = vec![newer_than_the_first, older_than_the_second];
    let race = Race { setup: one_checkpoint, actors, check: nothing, fini: true };
    // One to get between the look and the clearing, one to get back in time.
    holds(&race, 1);
    let violation = falls(&race, 2);
    assert_eq!(violation.invariant, Invariant::I11, "{violation:?}");
}

/// Attributes and mapping change under one lock (R13 is gone): whoever comes last, entries say what the tree says.
#[test]
fn two_attribute_calls_and_a_fault_agree_in_the_end() {
    fn exec_on(m: &Machine) {
        m.set(bytes(BASE, 0x10), &[AttrTypeV4::GpuExec.with(1), AttrTypeV4::PrefetchLoc.with(1)]).expect("set");
    }
    fn exec_off(m: &Machine) {
        m.set(bytes(BASE, 0x10), &[AttrTypeV4::GpuExec.with(0), AttrTypeV4::PrefetchLoc.with(1)]).expect("set");
    }
    fn agree(m: &Machine) {
        let exec = m.nodes()[0].1.flags.has(model::attr::Flags::GPU_EXEC);
        for (page, entry) in m.gpu.vm.mapped() {
            if entry.flags.has(model::platform::PteFlags::EXECUTABLE) != exec {
                Sim::fail(Violation::new(Invariant::I2, format!("page {page:#x} is mapped by old attributes"), None));
            }
        }
    }
    holds(&Race { setup: nothing, actors: vec![exec_on, exec_off], check: agree, fini: true }, 2);
}
