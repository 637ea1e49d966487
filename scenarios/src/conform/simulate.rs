//! One run in the simulator.

use super::order::{Step, Who};
use super::state::{Fall, GpuState, NodeState, PageRun, PageState, RangeBits, RangeState, Run, Turn};
use crate::lang::{Design, FinalKind, Scenario};
use crate::world::{Device, Part, Record, World};
use interleave::lab::Lab;
use interleave::{Config, Execution, Launch, Program, Sim, Timeline, run_in_turn};
use model::attr::{Access, Location};
use model::units::{PAGE_SHIFT, Pages};
use sim_mm::AddressSpace;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

/// Runs `steps` of `scenario` one after the other, the driver's workers to their end after each. What the scenario expects
/// is not judged, and neither are invariants over the whole world; what the engine and the simulators see by themselves ends
/// the run.
pub fn simulate(scenario: &Scenario, design: Design, steps: &[Step]) -> Run {
    let told = Rc::new(RefCell::new(Told::default()));
    let program = InOrder { scenario: Rc::new(scenario.clone()), design, steps: steps.to_vec(), told: told.clone() };
    // A retry loop that waits for somebody lets him go at once.
    let config = Config { free_retries: 0, planted: scenario.plants.clone(), ..Config::default() };
    let timeline = run_in_turn(&program, &config);
    finish(scenario, told.take(), steps, timeline)
}

/// What the running program tells.
#[derive(Default)]
struct Told {
    run: Run,
    /// The events of each turn, by number, of those that have ended.
    spans: Vec<Range<u32>>,
    /// What the operation under way has come to.
    record: Rc<Record>,
}

fn finish(scenario: &Scenario, told: Told, steps: &[Step], line: Timeline) -> Run {
    let Told { mut run, spans, record } = told;
    let events = |span: Range<u32>| {
        let within = line.steps.iter().filter(|step| span.contains(&step.stamp.0));
        let lines = within.flat_map(|step| {
            let who = line.actors.get(step.actor).map_or("?", String::as_str);
            let notes = step.notes.iter().map(|note| format!("    {note}"));
            std::iter::once(format!("{who}: {}", step.op)).chain(notes).collect::<Vec<_>>()
        });
        lines.collect::<Vec<_>>()
    };
    for (turn, span) in run.turns.iter_mut().zip(&spans) {
        turn.events = events(span.clone());
    }
    if let Some(violation) = line.violation {
        let step = steps[run.turns.len().min(steps.len() - 1)];
        let begin = spans.last().map_or(0, |span| span.end);
        let access = step.op(scenario).is_some_and(|op| op.kind.is_access() && op.kind.gpu().is_some());
        run.fell = Some(Fall { step, came: record.take(), access, violation, events: events(begin..u32::MAX) });
    }
    run
}

/// The steps as a program of one actor.
struct InOrder {
    scenario: Rc<Scenario>,
    design: Design,
    steps: Vec<Step>,
    told: Rc<RefCell<Told>>,
}

impl Program for InOrder {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = World::<Sim>::build_to_record(self.scenario.clone(), self.design);
        let workers = Rc::downgrade(&world);
        launch.on_work(move |client, func| {
            if let Some(world) = workers.upgrade() {
                world.run_work(client, func);
            }
        });
        let (steps, told) = (self.steps.clone(), self.told.clone());
        told.borrow_mut().record = world.record().expect("it was built to record").clone();
        launch.actor("program", move || {
            told.borrow_mut().run.before = states(&world);
            let mut dead = Vec::new();
            for step in steps {
                let begin = Sim::stamp().0;
                perform(&world, step, &mut dead);
                Sim::rest();
                let turn = Turn { step, came: record(&world), after: states(&world), events: Vec::new() };
                let mut told = told.borrow_mut();
                told.run.turns.push(turn);
                told.spans.push(begin..Sim::stamp().0);
            }
        });
        Box::new(Nothing)
    }
}

/// The final check: there is none.
struct Nothing;

impl Execution for Nothing {
    fn at_rest(&self) {}
}

fn record(world: &World<Sim>) -> Vec<Part> {
    world.record().expect("it was built to record").take()
}

/// Does one operation; `dead` are the waves that take no part any more.
fn perform(world: &World<Sim>, step: Step, dead: &mut Vec<usize>) {
    let op = || step.op(&world.scenario).expect("every step but the last looks is an operation");
    match step.who {
        Who::Prepare => world.perform(op()),
        Who::Thread(thread) => world.perform_in(&world.space_of_thread(thread), op()),
        Who::Wave(wave) if dead.contains(&wave) => {}
        Who::Wave(wave) => {
            if !world.perform_on_gpu(op()) {
                dead.push(wave);
            }
        }
        Who::Final => last_look(world, step),
    }
}

/// What the GPUs' states do not say already.
fn last_look(world: &World<Sim>, step: Step) {
    match step.last_look(&world.scenario).expect("a last look") {
        FinalKind::Value { area, .. } => {
            let word = world.mm.peek_word(area.bytes.start);
            world.keeps(|| word.map_or(Part::CpuFault, Part::Word));
        }
        FinalKind::Attr { gpu, area, checks } => {
            let (result, answers) = world.ask(gpu, area, checks);
            world.keeps(|| Part::returned(result));
            if result.is_ok() {
                world.keeps(|| Part::answered(&answers));
            }
        }
        FinalKind::Mapped { .. } | FinalKind::Unmapped { .. } | FinalKind::Queues { .. } => {}
    }
}

fn states(world: &World<Sim>) -> Vec<GpuState> {
    world.gpus.iter().map(|device| state(world, device)).collect()
}

fn state(world: &World<Sim>, device: &Device<Sim>) -> GpuState {
    let vm = &device.vm;
    let mut state = GpuState {
        running: vm.running(),
        quiesced: vm.quiesce_count(),
        dma_mappings: Some(vm.dma_mappings().len() as u64),
        pages: pages(world, device),
        ..GpuState::default()
    };
    // An instance whose VM is taken down may live on behind somebody's reference, where nobody can look at it.
    if device.is_finished() || !device.exists() {
        return state;
    }
    let inspect = device.svm().inspect();
    state.instance = true;
    state.exiting = inspect.exiting();
    state.stopped_by_us = inspect.queues_stopped();
    state.evicted_ranges = inspect.evicted_ranges();
    state.pending = inspect.has_pending_work();
    state.ranges = inspect
        .ranges()
        .map(|range| RangeState {
            start: range.bytes.start,
            end: range.bytes.end,
            gpu_mapped: range.gpu_mapped,
            in_queue: range.in_queue,
            flags: RangeBits::new(
                range.flags.migrate_devmem,
                range.flags.unmapped,
                range.flags.partial_unmap,
                range.flags.has_devmem_pages,
                range.flags.has_dma_mapping,
            ),
            pte_flags: range.pte_flags.0,
            attr_flags: range.attr_flags.0,
            references: range.references,
        })
        .collect();
    let mut nodes = Vec::new();
    inspect.for_each_node(|node| {
        nodes.push(NodeState {
            first: node.pages.first,
            last: node.pages.last,
            preferred_loc: location(node.attrs.preferred_loc),
            prefetch_loc: location(node.attrs.prefetch_loc),
            flags: node.attrs.flags.0,
            granularity: node.attrs.granularity,
            access: match node.attrs.access {
                Access::None => 0,
                Access::Enable => 1,
                Access::InPlace => 2,
            },
        });
    });
    state.nodes = nodes;
    state
}

fn location(location: Location) -> u32 {
    location.0 as u32
}

/// The valid entries of the GPU's page table in the scenario's regions.
fn pages(world: &World<Sim>, device: &Device<Sim>) -> Vec<PageRun> {
    let mut regions: Vec<Pages> = world.scenario.regions.iter().map(|region| region.bytes.pages()).collect();
    regions.sort_by_key(|pages| pages.first);
    let mut runs = Vec::new();
    for page in regions.into_iter().flat_map(|pages| pages.first..=pages.last) {
        let leaf = device.vm.leaf(page);
        if leaf.pte.is_valid() {
            let same = device.vm.reaches(page).is_some_and(|reach| Some(reach.pfn) == on_cpu(&world.mm, page));
            let state = PageState { pte_flags: leaf.pte.flags.0, huge: leaf.huge, same };
            PageRun::push(&mut runs, page, state);
        }
    }
    runs
}

/// The frame that the CPU's page table has.
fn on_cpu<L: Lab>(mm: &AddressSpace<L>, page: u64) -> Option<u64> {
    debug_assert!(page << PAGE_SHIFT >> PAGE_SHIFT == page);
    mm.peek_mapped(page).or_else(|| mm.peek_device(page)).map(|(pfn, _)| pfn)
}
