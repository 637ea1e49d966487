//! Whether what a smaller scenario expects still makes sense.
//!
//! Leave out the store, and the value that the scenario expects at rest will not be there: an invariant falls, but not
//! because of a race. So a smaller scenario is put to a design that is said to hold, for a few executions; when that
//! falls as well, the scenario is to blame. Where nobody is said to hold, a scenario that could come out well must still
//! be able to.

use super::Task;
use crate::lang::{Answer, Design, Scenario};
use crate::run::limits;
use crate::world::ScenarioProgram;
use interleave::{Config, Stats, Strategy, explore};
use model::platform::Plant;

/// Executions with few preemptions, and as many random ones, that must be without violation.
const EXECUTIONS: u64 = 60;

/// What a smaller scenario is held against.
pub(super) enum Control {
    /// This design holds, without these bugs.
    Holds(Design, Vec<Plant>),
    /// Some execution of this design is without violation.
    SometimesFine(Design),
    /// Nothing is known that speaks for the scenario.
    Nothing,
}

impl Control {
    /// For a task; `scenario` is what it begins with. Counts `left` down.
    pub(super) fn new(task: &Task<'_>, scenario: &Scenario, left: &mut u64) -> Control {
        let added: Vec<Plant> = task.plants.iter().filter(|p| !task.scenario.plants.contains(p)).copied().collect();
        let holds = |design: Design| task.scenario.verdict(design).is_some_and(|v| v.answer == Answer::Holds);
        let others = Design::ALL.iter().copied().filter(|d| *d != task.design || !added.is_empty());
        let candidates = others.filter(|d| holds(*d)).map(|d| Control::Holds(d, added.clone()));
        candidates
            .chain([Control::SometimesFine(task.design)])
            .find(|control| control.agrees(scenario, left))
            .unwrap_or(Control::Nothing)
    }

    /// Whether nothing speaks against `scenario`. Counts `left` down.
    pub(super) fn agrees(&self, scenario: &Scenario, left: &mut u64) -> bool {
        match self {
            Control::Holds(design, without) => {
                let plants: Vec<Plant> = scenario.plants.iter().filter(|p| !without.contains(p)).copied().collect();
                runs(scenario, *design, &plants, false, left).iter().all(|stats| stats.violations == 0)
            }
            Control::SometimesFine(design) => {
                let stats = runs(scenario, *design, &scenario.plants, true, left);
                stats.iter().any(|stats| stats.violations < stats.executions)
            }
            Control::Nothing => true,
        }
    }
}

/// A search with few preemptions and a random one.
fn runs(scenario: &Scenario, design: Design, plants: &[Plant], keep_going: bool, left: &mut u64) -> [Stats; 2] {
    let program = ScenarioProgram::new(scenario, design);
    [Strategy::Exhaustive { preemptions: Some(0), reduction: false }, Strategy::Random { seed: 1 }].map(|strategy| {
        let mut config = Config { strategy, keep_going, ..limits(&scenario.explore, plants) };
        config.limits.executions = Some(EXECUTIONS);
        let stats = explore(&program, &config, None, None).stats;
        *left = left.saturating_sub(stats.executions);
        stats
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load_corpus;

    #[test]
    fn a_scenario_that_expects_what_it_does_not_do_is_refused() {
        let corpus = load_corpus().expect("the corpus parses");
        let mut scenario = corpus.into_iter().find(|s| s.name == "map-fixed-over").expect("in the corpus");
        for control in [Control::Holds(Design::Hardened, Vec::new()), Control::SometimesFine(Design::PocV1)] {
            assert!(control.agrees(&scenario, &mut 1_000));
        }
        // the store whose value is expected at rest
        scenario.threads[0].ops.pop();
        for control in [Control::Holds(Design::Hardened, Vec::new()), Control::SometimesFine(Design::PocV1)] {
            assert!(!control.agrees(&scenario, &mut 1_000));
        }
    }
}
