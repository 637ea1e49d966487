//! What a scenario costs under a design: how often the driver asked the mm and the GPUs for something, counted where it was
//! asked. The scheduler's own search is the sample: least and most over the executions it ran.

use crate::lang::{Design, Scenario};
use crate::run::{CheckOptions, Question};
use crate::world::{ScenarioProgram, World};
use interleave::{End, Sim, explore};
use sim_gpu::GpuCosts;
use sim_mm::MmCosts;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

/// One kind of cost, with what it is called and how to count it.
struct Kind {
    name: &'static str,
    of: fn(&MmCosts, &GpuCosts) -> u64,
}

const KINDS: &[Kind] = &[
    Kind { name: "interval notifiers inserted", of: |mm, _| mm.notifiers },
    Kind { name: "interval notifiers removed", of: |mm, _| mm.removals },
    Kind { name: "invalidations", of: |mm, _| mm.events },
    Kind { name: "driver callbacks", of: |mm, _| mm.callbacks },
    Kind { name: "hmm_range_fault calls", of: |mm, _| mm.hmm_calls },
    Kind { name: "pages hmm looked at", of: |mm, _| mm.hmm_pages },
    Kind { name: "DMA mappings made", of: |_, gpu| gpu.dma_maps },
    Kind { name: "DMA mappings taken back", of: |_, gpu| gpu.dma_unmaps },
    Kind { name: "page-table updates that write", of: |_, gpu| gpu.pte_writes },
    Kind { name: "pages written", of: |_, gpu| gpu.pages_written },
    Kind { name: "page-table updates that clear", of: |_, gpu| gpu.pte_clears },
    Kind { name: "TLB flushes", of: |_, gpu| gpu.tlb_flushes },
    Kind { name: "pages copied by the copy engines", of: |_, gpu| gpu.pages_copied },
    Kind { name: "queue stops", of: |_, gpu| gpu.quiesces },
    Kind { name: "queue resumes", of: |_, gpu| gpu.resumes },
];

/// What one kind of cost came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// What was counted.
    pub name: &'static str,
    /// In the execution in which it was least.
    pub least: u64,
    /// In the execution in which it was most.
    pub most: u64,
}

/// What a scenario costs under a design.
pub struct Costs {
    /// Each kind.
    pub costs: Vec<Cost>,
    /// How many executions came to rest and were counted.
    pub executions: u64,
    /// Whether these were all there are.
    pub exhausted: bool,
    /// How many executions violated an invariant and were not counted.
    pub violated: u64,
}

fn of_world(world: &World<Sim>) -> Vec<u64> {
    let mm = world.mm.costs();
    let gpus = world.gpus.iter().map(|device| device.vm.costs()).fold(GpuCosts::default(), GpuCosts::plus);
    KINDS.iter().map(|kind| (kind.of)(&mm, &gpus)).collect()
}

/// Counts over at most `executions` executions of the exhaustive search.
pub fn measure(scenario: &Scenario, design: Design, executions: u64, stop: &AtomicBool) -> Costs {
    let seen: Rc<RefCell<Vec<(u64, u64)>>> = Rc::new(RefCell::new(vec![(u64::MAX, 0); KINDS.len()]));
    let counted = Rc::new(RefCell::new(0));
    let (extremes, count) = (seen.clone(), counted.clone());
    let program = ScenarioProgram::watched(scenario, design, move |world| {
        *count.borrow_mut() += 1;
        for ((least, most), value) in extremes.borrow_mut().iter_mut().zip(of_world(world)) {
            *least = value.min(*least);
            *most = value.max(*most);
        }
    });
    let mut config = Question::new(scenario, design, &CheckOptions::default()).search();
    config.limits.executions = Some(executions);
    config.keep_going = true;
    let outcome = explore(&program, &config, Some(stop), None);
    let executions = *counted.borrow();
    let seen = seen.borrow();
    let costs = KINDS.iter().zip(seen.iter()).map(|(kind, (least, most))| Cost {
        name: kind.name,
        least: if executions == 0 { 0 } else { *least },
        most: *most,
    });
    Costs {
        costs: costs.collect(),
        executions,
        exhausted: outcome.end == End::Exhausted,
        violated: outcome.stats.violations,
    }
}
