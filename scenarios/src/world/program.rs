//! A scenario as something that the controlled scheduler can explore.

use super::World;
use crate::lang::{Design, Scenario};
use interleave::{Execution, Launch, Program, Sim};
use std::rc::Rc;

/// One scenario under one design.
pub struct ScenarioProgram {
    scenario: Rc<Scenario>,
    design: Design,
    watch: Option<Watch>,
}

/// Looks at the world of each execution that came to rest.
type Watch = Rc<dyn Fn(&World<Sim>)>;

impl ScenarioProgram {
    /// The question `scenario` asks, put to `design`.
    pub fn new(scenario: &Scenario, design: Design) -> Self {
        ScenarioProgram { scenario: Rc::new(scenario.clone()), design, watch: None }
    }

    /// The same, and `watch` sees the world of each execution when it has come to rest.
    pub fn watched(scenario: &Scenario, design: Design, watch: impl Fn(&World<Sim>) + 'static) -> Self {
        ScenarioProgram { watch: Some(Rc::new(watch)), ..Self::new(scenario, design) }
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
        Box::new(Running { world, watch: self.watch.clone() })
    }
}

struct Running {
    world: Rc<World<Sim>>,
    watch: Option<Watch>,
}

impl Execution for Running {
    fn at_rest(&self) {
        self.world.at_rest();
        if let Some(watch) = &self.watch {
            watch(&self.world);
        }
    }
}
