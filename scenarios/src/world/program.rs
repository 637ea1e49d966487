//! A scenario as something that the controlled scheduler can explore.

use super::World;
use crate::lang::{Design, Scenario};
use interleave::{Execution, Launch, Program, Sim};
use std::rc::Rc;

/// One scenario under one design.
pub struct ScenarioProgram {
    scenario: Rc<Scenario>,
    design: Design,
}

impl ScenarioProgram {
    /// The question `scenario` asks, put to `design`.
    pub fn new(scenario: &Scenario, design: Design) -> Self {
        ScenarioProgram { scenario: Rc::new(scenario.clone()), design }
    }
}

impl Program for ScenarioProgram {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = World::<Sim>::build(self.scenario.clone(), self.design);
        let workers = Rc::downgrade(&world);
        launch.on_work(move |client, func| {
            if let Some(world) = workers.upgrade() {
                world.run_work(client, func);
            }
        });
        world.prepare();
        for index in 0..self.scenario.threads.len() {
            let world = world.clone();
            launch.actor(&self.scenario.threads[index].name, move || world.run_thread(index));
        }
        for index in 0..self.scenario.waves.len() {
            let world = world.clone();
            launch.actor(&self.scenario.waves[index].name, move || world.run_wave(index));
        }
        Box::new(Running(world))
    }
}

struct Running(Rc<World<Sim>>);

impl Execution for Running {
    fn at_rest(&self) {
        self.0.at_rest();
    }
}
