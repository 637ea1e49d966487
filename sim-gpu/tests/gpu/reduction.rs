//! Retry faults, VRAM and the copy engine declare what they depend on. If a declaration is missing, partial-order
//! reduction leaves out interleavings that matter: the reduced search must come to every outcome of schedules drawn at
//! random, and of as much of the full search as there is time for.

use crate::common::*;
use interleave::{Config, End, Execution, Launch, Limits, Program, Strategy, explore};
use model::platform::{CopyJob, DeviceMemory, FaultTime, PagemapId, RetryFault};
use sim_gpu::{FaultVerdict, RetryConfig, VramConfig};
use sim_mm::device_pfn;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// How many executions of a full search there is time for.
const FULL: u64 = 50;
/// How many schedules are drawn.
const DRAWN: u64 = 150;
/// And of a reduced one; a pair that has more is left out.
const REDUCED: u64 = 1_500;

type Act = fn(&Machine) -> String;

fn read(m: &Machine) -> String {
    format!("{:?}", m.read(BASE).map_err(|fault| fault.kind))
}
fn write(m: &Machine) -> String {
    format!("{:?}", m.write(BASE, 7).map_err(|fault| fault.kind))
}
fn read_next_door(m: &Machine) -> String {
    format!("{:?}", m.read(BASE + 1).map_err(|fault| fault.kind))
}
fn read_nothing(m: &Machine) -> String {
    format!("{:?}", m.read(BASE + 9).map_err(|fault| fault.kind))
}
fn clear_and_flush(m: &Machine) -> String {
    let fence = m.gpu.update_range(&clear(BASE, 1)).unwrap().unwrap();
    m.gpu.wait_fence(fence);
    m.gpu.flush_tlb();
    String::new()
}
fn map_read_only(m: &Machine) -> String {
    let addr = m.dma_map(BASE);
    let root = m.gpu.reserve_root().unwrap();
    m.gpu.update_range(&set(BASE, 1, RO, addr)).unwrap();
    m.gpu.update_pdes(&root).unwrap();
    String::new()
}
fn checkpoint(m: &Machine) -> String {
    format!("{:?}", m.gpu.fault_checkpoint())
}
fn drain(m: &Machine) -> String {
    m.gpu.drain_retry_faults();
    m.gpu.faults_pending().to_string()
}
fn filter_remove(m: &Machine) -> String {
    m.gpu.filter_remove(BASE << 12);
    String::new()
}
fn reset(m: &Machine) -> String {
    m.gpu.set_in_reset(true);
    m.gpu.set_in_reset(false);
    String::new()
}
fn release(m: &Machine) -> String {
    m.kfd.release();
    String::new()
}
fn copy_in(m: &Machine) -> String {
    let job = CopyJob { from: m.pfn(BASE), to: device_pfn(PagemapId(0), 0), pages: 2 };
    m.gpu.wait_fence(m.gpu.copy(&[job]).unwrap());
    String::new()
}
fn copy_out_without_waiting(m: &Machine) -> String {
    let job = CopyJob { from: device_pfn(PagemapId(0), 0), to: m.pfn(BASE + 1), pages: 1 };
    format!("{:?}", m.gpu.copy(&[job]).is_ok())
}
fn alloc_and_free(m: &Machine) -> String {
    let block = m.gpu.vram_alloc(3);
    if let Ok(block) = block {
        m.gpu.vram_free(block);
    }
    format!("{block:?}")
}
fn cpu_store(m: &Machine) -> String {
    format!("{:?}", m.mm.store(BASE << 12, 9))
}

/// A GPU that has everything.
fn everything(cam: bool, sdma_updates: bool) -> Machine {
    let m = machine_with(2, |config| {
        config.retry = Some(RetryConfig { cam, clock: FaultTime(0) });
        config.vram = Some(VramConfig::new(PagemapId(0), 8));
        config.sdma_updates = sdma_updates;
    });
    let block = m.gpu.vram_alloc(2).unwrap();
    (block.pfn..block.pfn + 2).for_each(|pfn| m.mm.zone_device_folio_init(pfn, 0, 0));
    m
}

/// What came of an execution.
#[derive(Default)]
struct Story {
    results: [String; 2],
    faults: Vec<RetryFault>,
}

struct Pair {
    acts: [Act; 2],
    cam: bool,
    sdma_updates: bool,
    seen: Rc<RefCell<BTreeSet<String>>>,
}

/// How to search, and how many executions.
type Search = (Strategy, u64);

struct Played {
    machine: Machine,
    story: Rc<RefCell<Story>>,
    seen: Rc<RefCell<BTreeSet<String>>>,
}

impl Program for Pair {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let machine = everything(self.cam, self.sdma_updates);
        let story = Rc::new(RefCell::new(Story::default()));
        let (m, log) = (machine.clone(), Rc::clone(&story));
        machine.gpu.on_retry_fault(Rc::new(move |fault| {
            log.borrow_mut().faults.push(fault);
            let page = fault.addr >> 12;
            if m.mm.peek_mapped(page).is_none() {
                return FaultVerdict::NoRetry;
            }
            let root = m.gpu.reserve_root().unwrap();
            m.gpu.update_range(&set(page, 1, RW, m.dma_map(page))).unwrap();
            m.gpu.update_pdes(&root).unwrap();
            m.gpu.filter_remove(fault.addr);
            FaultVerdict::Handled
        }));
        for (number, act) in self.acts.into_iter().enumerate() {
            let (machine, story) = (machine.clone(), Rc::clone(&story));
            launch.actor(["first", "second"][number], move || {
                let result = act(&machine);
                story.borrow_mut().results[number] = result;
            });
        }
        Box::new(Played { machine, story, seen: Rc::clone(&self.seen) })
    }
}

impl Execution for Played {
    fn at_rest(&self) {
        let (m, story) = (&self.machine, self.story.borrow());
        let entries: Vec<_> = m.gpu.mapped().into_iter().map(|(page, pte)| (page, pte.flags)).collect();
        let no_retry = m.gpu.pte(BASE + 9).is_no_retry();
        let frames = [m.pfn(BASE), m.pfn(BASE + 1), device_pfn(PagemapId(0), 0), device_pfn(PagemapId(0), 1)];
        let words = frames.map(|pfn| m.memory.peek(pfn, 0));
        let faults: Vec<_> = story.faults.iter().map(|fault| (fault.addr, fault.write, fault.time.0)).collect();
        let text = format!("{:?} {faults:x?} {entries:?} {no_retry} {words:x?}", story.results);
        self.seen.borrow_mut().insert(text);
    }
}

fn outcomes(acts: [Act; 2], cam: bool, sdma_updates: bool, search: &Search) -> (BTreeSet<String>, End, u64) {
    let pair = Pair { acts, cam, sdma_updates, seen: Rc::default() };
    let config = Config {
        strategy: search.0.clone(),
        limits: Limits { executions: Some(search.1), ..Limits::default() },
        ..Config::default()
    };
    let outcome = explore(&pair, &config, None, None);
    assert_eq!(outcome.failure, None);
    (pair.seen.take(), outcome.end, outcome.stats.executions)
}

#[test]
fn the_reduced_search_comes_to_the_outcomes_of_the_full_one() {
    let waves: [Act; 4] = [read, write, read_next_door, read_nothing];
    let others: [Act; 11] = [
        clear_and_flush,
        map_read_only,
        checkpoint,
        drain,
        filter_remove,
        reset,
        release,
        copy_in,
        copy_out_without_waiting,
        alloc_and_free,
        cpu_store,
    ];
    let copies: [Act; 3] = [copy_in, copy_out_without_waiting, clear_and_flush];
    let of_waves = waves.into_iter().flat_map(|one| waves.into_iter().chain(others).map(move |other| [one, other]));
    let of_copies = copies.into_iter().flat_map(|one| others.into_iter().map(move |other| [one, other]));
    let search = |reduction| Strategy::Exhaustive { preemptions: None, reduction };
    let (reduced_search, full_search) = ((search(true), REDUCED), (search(false), FULL));
    let (mut exhausted, mut executions, mut several, mut large) = (0, 0, 0, 0);
    // Faults together with page-table updates that are jobs are too many executions.
    let of_waves = of_waves.flat_map(|acts| [(acts, false, false), (acts, true, false)]);
    let of_copies = of_copies.flat_map(|acts| [(acts, false, false), (acts, false, true)]);
    for (number, (acts, cam, sdma_updates)) in of_waves.chain(of_copies).enumerate() {
        let (reduced, end, count) = outcomes(acts, cam, sdma_updates, &reduced_search);
        executions += count;
        if end != End::Exhausted {
            large += 1;
            continue;
        }
        let (drawn, ..) = outcomes(acts, cam, sdma_updates, &(Strategy::Random { seed: number as u64 }, DRAWN));
        let left_out: Vec<_> = drawn.difference(&reduced).collect();
        assert!(left_out.is_empty(), "pair {number}, cam {cam}, jobs {sdma_updates}: left out {left_out:#?}");
        let (full, end, _) = outcomes(acts, cam, sdma_updates, &full_search);
        let left_out: Vec<_> = full.difference(&reduced).collect();
        assert!(left_out.is_empty(), "pair {number}, cam {cam}, jobs {sdma_updates}: left out {left_out:#?}");
        if end == End::Exhausted {
            assert_eq!(reduced, full);
            exhausted += 1;
        }
        several += usize::from(reduced.len() > 1);
    }
    println!(
        "{executions} executions, {exhausted} full searches exhausted, {several} with several outcomes, {large} too large"
    );
    assert!(exhausted > 30 && several > 50 && large < 20, "{exhausted} {several} {large}");
}
