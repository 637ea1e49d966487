//! The same world under loom: an independent search over the same model, weak memory included.

use super::World;
use crate::lang::{Design, Scenario};
use interleave::Loom;
use interleave::on_loom::{Actor, LoomBounds, LoomOutcome};
use model::platform::Plant;
use std::rc::Rc;

/// Puts `scenario` to `design` under loom. Loom runs at most five threads, so the driver's workers are one thread at
/// most: with `worker` they run whenever loom likes, once; otherwise, and for what is left, when all others have ended.
pub fn check_with_loom(
    scenario: &Scenario,
    design: Design,
    plants: &[Plant],
    worker: bool,
    bounds: LoomBounds,
) -> LoomOutcome {
    Loom::plant(plants);
    let scenario = scenario.clone();
    let outcome = Loom::check_within(bounds, move || {
        let world = World::<Loom>::build(Rc::new(scenario.clone()), design);
        let workers = Rc::downgrade(&world);
        Loom::on_work(Rc::new(move |client, func| {
            if let Some(world) = workers.upgrade() {
                world.run_work(client, func);
            }
        }));
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
        if worker {
            actors.push(Actor::new("worker", || {
                Loom::run_pending();
            }));
        }
        Loom::actors(actors, move || {
            while Loom::run_pending() {}
            world.at_rest();
        });
    });
    Loom::plant(&[]);
    outcome
}
