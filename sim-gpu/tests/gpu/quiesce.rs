//! Stopping and starting queues: nesting, several devices, errors, and accesses in flight.

use crate::common::*;
use interleave::Sim;
use interleave::lab::{Invariant, Lab, Violation};
use model::Errno;
use sim_gpu::inject::Point;
use sim_gpu::{FaultKind, Kfd};
use sim_mm::{AddressSpace, Options};
use std::cell::RefCell;
use std::rc::Rc;

fn two_gpus() -> (Machine, Gpu) {
    let m = machine(1);
    let other = gpu(&m.memory, &m.kfd, "gpu1", 1);
    (m, other)
}

#[test]
fn quiesce_nests_and_the_last_resume_starts() {
    let m = machine(1);
    assert!(m.gpu.running());
    assert_eq!(m.gpu.quiesce_mm(&m.mm), Ok(()));
    assert_eq!(m.gpu.quiesce_mm(&m.mm), Ok(()));
    assert_eq!((m.gpu.running(), m.gpu.quiesce_count()), (false, 2));
    assert_eq!(m.gpu.resume_mm(&m.mm), Ok(()));
    assert_eq!((m.gpu.running(), m.gpu.quiesce_count()), (false, 1));
    assert_eq!(m.gpu.resume_mm(&m.mm), Ok(()));
    assert_eq!((m.gpu.running(), m.gpu.quiesce_count()), (true, 0));
}

#[test]
fn a_resume_too_many_is_seen() {
    let act = |m: &Machine| {
        m.gpu.quiesce_mm(&m.mm).unwrap();
        m.gpu.resume_mm(&m.mm).unwrap();
        let _ = m.gpu.resume_mm(&m.mm);
    };
    let fallen = falls_alone(|| machine(1), act);
    assert_eq!(fallen.invariant, Invariant::I5);
    assert!(fallen.earlier.is_some(), "the resume that balanced is named");
}

#[test]
fn every_device_of_the_process_stops() {
    let (m, other) = two_gpus();
    m.gpu.quiesce_mm(&m.mm).unwrap();
    assert!(!m.gpu.running() && !other.running());
    other.resume_mm(&m.mm).unwrap();
    assert!(m.gpu.running() && other.running());
}

#[test]
fn a_process_that_is_unknown_or_gone_is_esrch() {
    let m = machine(1);
    let stranger: Mm = AddressSpace::new(&m.memory, 2, Options::default()).unwrap();
    assert_eq!(m.gpu.quiesce_mm(&stranger), Err(Errno::ESRCH));
    assert_eq!(m.gpu.quiesce_mm(&"no mm at all"), Err(Errno::ESRCH));
    m.kfd.release();
    assert_eq!(m.gpu.quiesce_mm(&m.mm), Err(Errno::ESRCH));
    assert_eq!(m.gpu.resume_mm(&m.mm), Err(Errno::ESRCH));
}

#[test]
fn a_hang_counts_as_stopped_and_only_the_last_device_reports_it() {
    let (m, other) = two_gpus();
    m.gpu.injected().add(Point::UnmapQueues, Errno::EIO);
    assert_eq!(m.gpu.quiesce_mm(&m.mm), Ok(()), "the first device's EIO is swallowed");
    assert!(!m.gpu.running() && !other.running());
    m.gpu.resume_mm(&m.mm).unwrap();
    other.injected().add(Point::UnmapQueues, Errno::EIO);
    assert_eq!(m.gpu.quiesce_mm(&m.mm), Err(Errno::EIO), "the last device's EIO comes back");
    assert_eq!((m.gpu.quiesce_count(), other.quiesce_count()), (1, 1), "though everything is stopped");
    assert!(!m.gpu.running() && !other.running());
}

#[test]
fn another_error_rolls_earlier_devices_back_and_keeps_the_count_of_the_one_that_failed() {
    let (m, other) = two_gpus();
    other.injected().add(Point::UnmapQueues, Errno::ETIME);
    assert_eq!(m.gpu.quiesce_mm(&m.mm), Err(Errno::ETIME));
    assert_eq!((m.gpu.quiesce_count(), other.quiesce_count()), (0, 1));
    assert!(m.gpu.running() && other.running());
    assert_eq!(m.gpu.quiesce_mm(&m.mm), Ok(()), "the next one takes the count for the fact");
    assert_eq!((m.gpu.running(), other.running()), (false, true));
}

#[test]
fn a_failed_resume_leaves_its_queues_stopped_and_tries_the_others() {
    let (m, other) = two_gpus();
    m.gpu.quiesce_mm(&m.mm).unwrap();
    m.gpu.injected().add(Point::MapQueues, Errno::EIO);
    assert_eq!(m.gpu.resume_mm(&m.mm), Err(Errno::EIO));
    assert_eq!((m.gpu.running(), other.running()), (false, true));
    assert_eq!((m.gpu.quiesce_count(), other.quiesce_count()), (0, 0));
    m.gpu.quiesce_mm(&m.mm).unwrap();
    m.gpu.resume_mm(&m.mm).unwrap();
    assert!(m.gpu.running() && other.running(), "the next round brings them back");
}

#[test]
fn the_observer_is_told_of_each_gpu_that_runs_again_and_of_nothing_else() {
    let (m, other) = two_gpus();
    let told = Rc::new(RefCell::new(Vec::new()));
    let seen = (Rc::clone(&told), m.gpu.clone());
    m.kfd.on_resumed(move |name| {
        let running = if name == seen.1.name() { seen.1.running() } else { other.running() };
        seen.0.borrow_mut().push((name, running));
    });
    m.gpu.quiesce_mm(&m.mm).unwrap();
    m.gpu.quiesce_mm(&m.mm).unwrap();
    m.gpu.resume_mm(&m.mm).unwrap();
    assert!(told.borrow().is_empty());
    m.gpu.resume_mm(&m.mm).unwrap();
    assert_eq!(*told.borrow(), [("gpu0", true), ("gpu1", true)]);
}

fn fail(what: &str) -> ! {
    Sim::fail(Violation::new(Invariant::I7, what, None))
}

#[test]
fn quiesce_returns_only_when_no_access_is_in_flight_and_none_starts_before_resume() {
    for waves in 1..=2 {
        holds(2, |launch| {
            let m = machine(2);
            m.map(BASE, RW);
            m.map(BASE + 1, RW);
            for wave in 0..waves {
                let m = m.clone();
                launch.actor(["wave", "other wave"][wave as usize], move || {
                    assert_eq!(m.write(BASE + wave, 7), Ok(7));
                });
            }
            launch.actor("driver", move || {
                let words = || [BASE, BASE + 1].map(|page| m.memory.peek(m.pfn(page), 0));
                m.gpu.quiesce_mm(&m.mm).unwrap();
                let before = words();
                // A step in which the waves may try.
                m.gpu.evict_page_tables();
                m.gpu.validate();
                if before != words() {
                    fail("an access arrived while the queues were stopped");
                }
                m.gpu.resume_mm(&m.mm).unwrap();
            });
        });
    }
}

#[test]
fn two_quiescers_and_a_wave_come_to_rest_with_everything_running() {
    holds(1, |launch| {
        let m = machine(1);
        m.map(BASE, RW);
        for name in ["one", "two"] {
            let m = m.clone();
            launch.actor(name, move || {
                m.gpu.quiesce_mm(&m.mm).unwrap();
                if m.gpu.running() {
                    fail("running while quiesced");
                }
                m.gpu.resume_mm(&m.mm).unwrap();
            });
        }
        launch.actor("wave", move || assert_eq!(m.read(BASE), Ok(BASE)));
    });
}

#[test]
fn a_release_ends_waves_that_wait_and_lets_those_in_flight_finish() {
    for stopped_before in [false, true] {
        holds(2, |launch| {
            let m = machine(1);
            m.map(BASE, RW);
            let wave = m.clone();
            launch.actor("wave", move || match wave.write(BASE, 7) {
                Ok(_) => {}
                Err(fault) if fault.kind == FaultKind::Destroyed => {}
                Err(fault) => fail(&fault.to_string()),
            });
            launch.actor("exit", move || {
                if stopped_before {
                    m.gpu.quiesce_mm(&m.mm).unwrap();
                }
                m.kfd.release();
                let word = || m.memory.peek(m.pfn(BASE), 0);
                let before = word();
                m.gpu.evict_page_tables();
                m.gpu.validate();
                if before != word() {
                    fail("an access arrived after the queues were destroyed");
                }
            });
        });
    }
}

#[test]
fn a_process_with_no_device_has_nothing_to_stop() {
    let kfd = Kfd::<Sim>::new(|_: &u32| true);
    assert_eq!(kfd.quiesce_mm(&7_u32), Ok(()));
    assert_eq!(kfd.resume_mm(&7_u32), Ok(()));
}
