//! XNACK on: what becomes of a fault, in which order, and what the driver can know of it.

use crate::common::*;
use interleave::Sim;
use interleave::lab::{Invariant, Lab, Violation};
use model::platform::{DmaAddr, FaultTime, Mutex, PteFlags, PteUpdate, RetryFault};
use sim_gpu::{FaultKind, FaultVerdict, RetryConfig};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

const PLAIN: RetryConfig = RetryConfig { cam: false, clock: FaultTime(0) };
const CAM: RetryConfig = RetryConfig { cam: true, clock: FaultTime(0) };
/// `AMDGPU_GMC_FAULT_TIMEOUT`.
const TIMEOUT: u64 = 5000;

fn retrying(pages: u64, retry: RetryConfig) -> Machine {
    machine_with(pages, |config| config.retry = Some(retry))
}

/// What the handler was asked, in order.
type Log = Rc<RefCell<Vec<RetryFault>>>;

/// The hook is `answer`, and what it is asked is written down.
fn answer(m: &Machine, answer: impl Fn(&Machine, RetryFault) -> FaultVerdict + 'static) -> Log {
    let log = Log::default();
    let (mine, machine) = (Rc::clone(&log), m.clone());
    m.gpu.on_retry_fault(Rc::new(move |fault| {
        mine.borrow_mut().push(fault);
        answer(&machine, fault)
    }));
    log
}

/// A driver that maps whatever page the CPU has, without a flush, and else says that the fault is fatal.
fn map_or_refuse(m: &Machine, fault: RetryFault) -> FaultVerdict {
    let page = fault.addr >> 12;
    if m.mm.peek_mapped(page).is_none() {
        return FaultVerdict::NoRetry;
    }
    if !m.gpu.pte(page).is_valid() {
        let root = m.gpu.reserve_root().unwrap();
        m.gpu.update_range(&set(page, 1, RW, m.dma_map(page))).unwrap();
        m.gpu.update_pdes(&root).unwrap();
    }
    FaultVerdict::Handled
}

fn at(page: u64, write: bool, time: u64) -> RetryFault {
    RetryFault { addr: page << 12, write, time: FaultTime(time) }
}

#[test]
fn an_access_waits_for_its_answer_and_goes_on() {
    for retry in [PLAIN, CAM] {
        let m = retrying(2, retry);
        let log = answer(&m, map_or_refuse);
        assert_eq!(m.read(BASE), Ok(BASE));
        assert_eq!(m.read(BASE), Ok(BASE), "mapped");
        assert_eq!(m.write(BASE + 1, 7), Ok(7));
        assert_eq!(*log.borrow(), [at(BASE, false, 1), at(BASE + 1, true, 2)]);
        assert_eq!((m.gpu.faults_pending(), m.gpu.in_flight()), (0, 0));
    }
}

#[test]
fn a_fault_that_nobody_handles_becomes_a_real_one_until_the_page_is_mapped() {
    for retry in [PLAIN, CAM] {
        let m = retrying(1, retry);
        let log = answer(&m, map_or_refuse);
        for _ in 0..2 {
            assert_eq!(m.read(BASE + 7).unwrap_err().kind, FaultKind::NoRetry);
        }
        assert_eq!(log.borrow().len(), 1, "the entry answers the second access");
        assert!(m.gpu.pte(BASE + 7).is_no_retry() && !m.gpu.pte(BASE + 7).is_valid());
        m.gpu.update_range(&clear(BASE + 7, 1)).unwrap();
        assert!(!m.gpu.pte(BASE + 7).is_no_retry());
        m.update(&PteUpdate { flags: PteFlags::NORETRY, ..clear_locked(BASE + 7, 1) });
        assert_eq!(m.read(BASE + 7).unwrap_err().kind, FaultKind::NoRetry);
        let addr = m.dma_map(BASE);
        m.update(&set(BASE + 7, 1, RW, addr));
        assert_eq!(m.read(BASE + 7), Ok(BASE));
    }
}

#[test]
fn without_a_hook_every_fault_is_real() {
    let m = retrying(1, PLAIN);
    assert_eq!(m.read(BASE).unwrap_err().kind, FaultKind::NoRetry);
}

#[test]
fn a_retry_walks_although_the_refusing_entry_is_cached() {
    for retry in [PLAIN, CAM] {
        let m = retrying(1, retry);
        let addr = m.map(BASE, RO);
        m.read(BASE).unwrap();
        let log = answer(&m, move |m, _| {
            let root = m.gpu.reserve_root().unwrap();
            m.gpu.update_range(&set(BASE, 1, RW, addr)).unwrap();
            m.gpu.update_pdes(&root).unwrap();
            FaultVerdict::Handled
        });
        assert_eq!(m.write(BASE, 7), Ok(7), "nobody flushed");
        assert_eq!(*log.borrow(), [at(BASE, true, 1)]);
    }
}

/// Maps at the second time it is asked; `removes` says whether it takes the first one out of the filter.
fn second_time(removes: bool) -> impl Fn(&Machine, RetryFault) -> FaultVerdict {
    let asked = Cell::new(0);
    move |m, fault| {
        asked.set(asked.get() + 1);
        if asked.get() > 1 {
            return map_or_refuse(m, fault);
        }
        if removes {
            m.gpu.filter_remove(fault.addr);
        }
        FaultVerdict::Handled
    }
}

#[test]
fn the_filter_drops_what_comes_again_until_it_is_told_or_forgets() {
    let times = |retry, removes| {
        let m = retrying(1, retry);
        let log = answer(&m, second_time(removes));
        assert_eq!(m.read(BASE), Ok(BASE));
        let times: Vec<u64> = log.borrow().iter().map(|fault| fault.time.0).collect();
        times
    };
    assert_eq!(times(PLAIN, true), [1, 2]);
    assert_eq!(times(PLAIN, false), [1, 2 + TIMEOUT + 1], "the one at time 2 was dropped");
    assert_eq!(times(CAM, false), [1, 2], "a CAM forgets with the answer");
}

#[test]
fn the_clock_wraps_at_48_bits() {
    let last = (1 << FaultTime::BITS) - 1;
    let m = retrying(2, RetryConfig { cam: false, clock: FaultTime(last - 1) });
    let log = answer(&m, map_or_refuse);
    m.read(BASE).unwrap();
    m.read(BASE + 1).unwrap();
    assert_eq!(*log.borrow(), [at(BASE, false, last), at(BASE + 1, false, 0)]);
    assert!(log.borrow()[1].time.is_after(log.borrow()[0].time));
}

#[test]
fn with_xnack_off_none_of_it_exists() {
    let m = machine(1);
    assert!(!m.gpu.retries() && !m.gpu.in_reset());
    assert_eq!(m.gpu.fault_checkpoint(), None);
    m.gpu.drain_retry_faults();
    m.gpu.filter_remove(BASE << 12);
    assert_eq!(m.read(BASE).unwrap_err().kind, FaultKind::Invalid);
}

// ---- interleavings -------------------------------------------------------------------------------------------------

fn fail(what: &str) -> ! {
    Sim::fail(Violation::new(Invariant::I11, what, None))
}

/// The outcomes of all interleavings: what each of them inserts.
type Seen = Rc<RefCell<BTreeSet<String>>>;

#[test]
fn two_waves_that_fault_on_one_page_ask_as_often_as_the_hardware_lets_through() {
    for (retry, expected) in [(PLAIN, &["1"][..]), (CAM, &["1", "2"])] {
        let seen = Seen::default();
        let outcomes = Rc::clone(&seen);
        holds(2, move |launch| {
            let m = retrying(1, retry);
            let log = answer(&m, map_or_refuse);
            let left = Rc::new(Cell::new(2));
            for name in ["one", "two"] {
                let (m, log, left, seen) = (m.clone(), Rc::clone(&log), Rc::clone(&left), Rc::clone(&seen));
                launch.actor(name, move || {
                    assert_eq!(m.read(BASE), Ok(BASE));
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        seen.borrow_mut().insert(log.borrow().len().to_string());
                    }
                });
            }
        });
        assert_eq!(*outcomes.borrow(), expected.iter().map(ToString::to_string).collect(), "{retry:?}");
    }
}

#[test]
fn answering_for_ever_is_no_progress() {
    for retry in [PLAIN, CAM] {
        for removes in [false, true] {
            let fallen = falls(move |launch| {
                let m = retrying(1, retry);
                answer(&m, move |m, fault| {
                    if removes {
                        m.gpu.filter_remove(fault.addr);
                    }
                    FaultVerdict::Handled
                });
                launch.actor("wave", move || _ = m.read(BASE));
            });
            assert_eq!(fallen.invariant, Invariant::I6);
            assert!(fallen.what.contains("retry faults are answered"), "{}", fallen.what);
        }
    }
}

#[test]
fn a_checkpoint_sees_what_is_in_the_ring_and_not_what_the_handler_has_taken() {
    for retry in [PLAIN, CAM] {
        let seen = Seen::default();
        let outcomes = Rc::clone(&seen);
        holds(3, move |launch| {
            let m = retrying(1, retry);
            let asked = Rc::new(Cell::new(false));
            let mine = Rc::clone(&asked);
            answer(&m, move |m, fault| {
                mine.set(true);
                map_or_refuse(m, fault)
            });
            let (wave, seen) = (m.clone(), Rc::clone(&seen));
            launch.actor("wave", move || assert_eq!(wave.read(BASE), Ok(BASE)));
            launch.actor("notifier", move || {
                let checkpoint = m.gpu.fault_checkpoint();
                let text = format!("{:?} asked {}", checkpoint.map(|time| time.0), asked.get());
                seen.borrow_mut().insert(text);
            });
        });
        let expected = ["None asked false", "None asked true", "Some(1) asked false"];
        assert_eq!(*outcomes.borrow(), expected.iter().map(ToString::to_string).collect(), "{retry:?}");
    }
}

#[test]
fn after_a_drain_nothing_is_left_of_what_was_raised_before_but_what_is_being_handled() {
    for retry in [PLAIN, CAM] {
        let seen = Seen::default();
        let outcomes = Rc::clone(&seen);
        holds(2, move |launch| {
            let m = retrying(1, retry);
            let handling = Rc::new(Cell::new(false));
            let mine = Rc::clone(&handling);
            answer(&m, move |m, fault| {
                mine.set(true);
                let verdict = map_or_refuse(m, fault);
                mine.set(false);
                verdict
            });
            let (wave, seen) = (m.clone(), Rc::clone(&seen));
            launch.actor("wave", move || _ = wave.read(BASE));
            launch.actor("close", move || {
                m.kfd.release();
                m.gpu.drain_retry_faults();
                if m.gpu.faults_pending() > 0 {
                    fail("a fault is in the ring after the drain, though no queue is left");
                }
                seen.borrow_mut().insert(format!("handling {}", handling.get()));
            });
        });
        let expected = ["handling false", "handling true"];
        assert_eq!(*outcomes.borrow(), expected.iter().map(ToString::to_string).collect(), "{retry:?}");
    }
}

#[test]
fn a_drain_in_a_reset_does_not_wait() {
    let seen = Seen::default();
    let outcomes = Rc::clone(&seen);
    holds(2, move |launch| {
        let m = retrying(1, PLAIN);
        answer(&m, map_or_refuse);
        m.gpu.set_in_reset(true);
        let (wave, seen) = (m.clone(), Rc::clone(&seen));
        launch.actor("wave", move || _ = wave.read(BASE));
        launch.actor("close", move || {
            m.gpu.drain_retry_faults();
            seen.borrow_mut().insert(m.gpu.faults_pending().to_string());
        });
    });
    assert!(outcomes.borrow().contains("1"), "{outcomes:?}");
}

/// A driver with a lock: the handler maps what the CPU has, the notifier takes it away. `checks` says whether the handler
/// looks at the CPU's page table, or goes by what it remembers.
fn fault_and_munmap(launch: &mut interleave::Launch, retry: RetryConfig, checks: bool) {
    let m = retrying(1, retry);
    let lock =
        Rc::new(<<Sim as model::platform::Kernel>::Mutex<Option<DmaAddr>> as Mutex<_>>::new("svm", None).unwrap());
    let (mine, remembered) = (Rc::clone(&lock), m.pfn(BASE));
    answer(&m, move |m, fault| {
        let mut held = mine.lock();
        let gone = m.mm.peek_mapped(fault.addr >> 12).is_none();
        if checks && gone {
            return FaultVerdict::NoRetry;
        }
        if held.is_none() {
            let direction = model::platform::DmaDirection::Bidirectional;
            let addr = m.gpu.dma_map(remembered, 0, direction).unwrap();
            m.update(&set(BASE, 1, RW, addr));
            *held = Some(addr);
        }
        FaultVerdict::Handled
    });
    let wave = m.clone();
    launch.actor("wave", move || match wave.read(BASE) {
        Ok(value) if value != BASE => fail("the wave read something else"),
        Err(fault) if fault.kind != FaultKind::NoRetry => fail("an odd fault"),
        _ => {}
    });
    launch.actor("munmap", move || {
        let mut held = lock.lock();
        if let Some(addr) = held.take() {
            m.invalidate(BASE, addr, true);
        }
        m.mm.munmap(bytes(BASE, 1)).unwrap();
    });
}

#[test]
fn a_fault_that_is_late_for_munmap_is_told_by_looking() {
    for retry in [PLAIN, CAM] {
        holds(2, |launch| fault_and_munmap(launch, retry, true));
        let fallen = falls(|launch| fault_and_munmap(launch, retry, false));
        assert_eq!(fallen.invariant, Invariant::I1);
    }
}

#[test]
fn a_wave_that_waits_for_its_answer_does_not_hold_up_a_quiesce() {
    holds(1, |launch| {
        let m = retrying(1, PLAIN);
        answer(&m, |m, fault| {
            m.gpu.quiesce_mm(&m.mm).unwrap();
            let verdict = map_or_refuse(m, fault);
            m.gpu.resume_mm(&m.mm).unwrap();
            verdict
        });
        let wave = m.clone();
        launch.actor("wave", move || assert_eq!(wave.read(BASE), Ok(BASE)));
        launch.actor("other", move || {
            m.gpu.quiesce_mm(&m.mm).unwrap();
            m.gpu.resume_mm(&m.mm).unwrap();
        });
    });
}
