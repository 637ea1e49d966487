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
    /// Preemptions in one execution, or all.
    pub preemptions: Option<u8>,
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

/// Puts a scenario to loom. What the driver leaves to work items gets the threads that the scenario's actors leave of
/// loom's five; without one an item runs when all others have ended. `stop` ends the search before its next execution;
/// `progress` is told the number of executions before each.
pub fn ask_loom(
    question: &LoomQuestion<'_>,
    stop: &Arc<AtomicBool>,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> Opinion {
    let LoomQuestion { scenario, design, plants, bounds } = *question;
    let actors = scenario.threads.len() + scenario.waves.len();
    if actors > MAX_THREADS {
        let reason = format!("{actors} actors, loom runs at most {MAX_THREADS} threads");
        let outcome = LoomOutcome::Unfinished { halt: Halt::Loom, reason, executions: 0 };
        return Opinion { outcome, preemptions: bounds.preemptions, items: 0, workers: 0 };
    }
    let plants: Vec<Plant> = scenario.plants.iter().chain(plants).copied().collect();
    Loom::plant(&plants);
    let items = Arc::new(AtomicUsize::new(0));
    let (scenario, counted) = (scenario.clone(), items.clone());
    let outcome = Loom::check_watched(bounds, stop.clone(), progress, move || {
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
    let items = items.load(Ordering::Relaxed);
    Opinion { outcome, preemptions: bounds.preemptions, items, workers: Loom::workers_beside(actors, items) }
}
