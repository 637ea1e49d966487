//! The same world under loom: an independent search over the same model, weak memory included.

use super::World;
use crate::lang::{Design, Scenario};
use interleave::Loom;
use interleave::on_loom::{Actor, Halt, LoomBounds, LoomOutcome, MAX_THREADS};
use model::platform::Plant;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is put to loom.
pub struct LoomQuestion<'a> {
    /// The scenario; the bugs it switches on itself are on.
    pub scenario: &'a Scenario,
    /// The design.
    pub design: Design,
    /// Further bugs to switch on.
    pub plants: &'a [Plant],
    /// How much to explore.
    pub bounds: LoomBounds,
}

/// What loom says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opinion {
    /// What came of the search.
    pub outcome: LoomOutcome,
    /// The bound on preemptions under which this came, if there was one.
    pub preemptions: Option<u8>,
    /// The largest bound on preemptions under which a search before this one ended without a finding.
    pub nothing_within: Option<u8>,
    /// The driver's work items.
    pub items: usize,
    /// The threads that ran them.
    pub workers: usize,
}

impl Opinion {
    /// Why "holds" is not the last word even when the search has ended; None when it is, as far as loom goes.
    pub fn reservation(&self) -> Option<String> {
        if let Some(bound) = self.preemptions {
            return Some(format!("a bound of {bound} preemptions loses more in loom than it says"));
        }
        (self.workers < self.items).then(|| match self.workers {
            0 => "the workers had no threads and ran in sequence at the end".to_owned(),
            n => format!("{} work items shared {n} thread{}", self.items, if n == 1 { "" } else { "s" }),
        })
    }
}

/// The bounds on preemptions that are tried before the search without one. Most violations need no more, and loom
/// meets them hundreds of times sooner there.
const STEPS: [u8; 2] = [1, 2];

/// Puts a scenario to loom. What the driver leaves to work items gets the threads that the scenario's actors leave of
/// loom's five; without one an item runs when all others have ended. Unless the question has a bound on preemptions,
/// small ones are tried first, each with a quarter of the executions. `stop` ends the search before its next
/// execution; `progress` is told the number of executions before each.
pub fn ask_loom(
    question: &LoomQuestion<'_>,
    stop: &Arc<AtomicBool>,
    progress: impl Fn(u64) + Clone + Send + Sync + 'static,
) -> Opinion {
    let (mut spent, mut nothing_within) = (0, None);
    let steps = STEPS.iter().map(|bound| Some(*bound)).filter(|_| question.bounds.preemptions.is_none());
    for preemptions in steps {
        let executions = question.bounds.executions.map(|all| all / 4);
        let bounds = LoomBounds { preemptions, executions, ..question.bounds };
        let opinion = ask_once(&LoomQuestion { bounds, ..*question }, spent, stop, progress.clone());
        match opinion.outcome {
            LoomOutcome::Holds { .. } => nothing_within = preemptions,
            LoomOutcome::Unfinished { halt: Halt::Budget, .. } => {}
            _ => return opinion,
        }
        spent = opinion.outcome.executions();
    }
    let executions = question.bounds.executions.map(|all| all.saturating_sub(spent));
    let bounds = LoomBounds { executions, ..question.bounds };
    let opinion = ask_once(&LoomQuestion { bounds, ..*question }, spent, stop, progress);
    Opinion { nothing_within, ..opinion }
}

/// One search; the executions that were `spent` before are counted in.
fn ask_once(
    question: &LoomQuestion<'_>,
    spent: u64,
    stop: &Arc<AtomicBool>,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> Opinion {
    let LoomQuestion { scenario, design, plants, bounds } = *question;
    let opinion = |outcome, items, workers| Opinion {
        outcome,
        preemptions: bounds.preemptions,
        nothing_within: None,
        items,
        workers,
    };
    let actors = scenario.threads.len() + scenario.waves.len();
    if actors > MAX_THREADS {
        let reason = format!("{actors} actors, loom runs at most {MAX_THREADS} threads");
        return opinion(LoomOutcome::Unfinished { halt: Halt::Loom, reason, executions: 0 }, 0, 0);
    }
    let plants: Vec<Plant> = scenario.plants.iter().chain(plants).copied().collect();
    Loom::plant(&plants);
    let items = Arc::new(AtomicUsize::new(0));
    let (scenario, counted) = (scenario.clone(), items.clone());
    let told = move |executions| progress(spent + executions);
    let mut outcome = Loom::check_watched(bounds, stop.clone(), told, move || {
        let world = World::<Loom>::build(Rc::new(scenario.clone()), design);
        let workers = Rc::downgrade(&world);
        Loom::on_work(Rc::new(move |client, func| {
            if let Some(world) = workers.upgrade() {
                world.run_work(client, func);
            }
        }));
        counted.store(Loom::work_items(), Ordering::Relaxed);
        world.prepare();
        let mut actors = Vec::new();
        for (index, thread) in world.scenario.threads.iter().enumerate() {
            let world = world.clone();
            actors.push(Actor::new(&thread.name, move || world.run_thread(index)));
        }
        for (index, wave) in world.scenario.waves.iter().enumerate() {
            let world = world.clone();
            actors.push(Actor::new(&wave.name, move || world.run_wave(index)));
        }
        Loom::actors_and_workers(actors, move || {
            Loom::run_all_pending();
            world.at_rest();
        });
    });
    Loom::plant(&[]);
    let (LoomOutcome::Holds { executions }
    | LoomOutcome::Violated { executions, .. }
    | LoomOutcome::Unfinished { executions, .. }) = &mut outcome;
    *executions += spent;
    let items = items.load(Ordering::Relaxed);
    opinion(outcome, items, Loom::workers_beside(actors, items))
}
