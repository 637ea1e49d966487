//! Where bugs are looked for.

use super::Round;
use crate::generate::generated;
use crate::lang::{Answer, Design, Explore, Scenario, StrategyHint};
use crate::run::{CheckOptions, Question};
use interleave::{End, Outcome};
use model::platform::Plant;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Executions of each scenario for the survey; half of them with a failure allowed.
const SURVEY: u64 = 32;

/// A scenario under a design.
pub struct Spot {
    /// Position of the scenario in [`Ground::scenarios`].
    pub scenario: usize,
    /// The design.
    pub design: Design,
    /// Whether the scenario is written, not generated.
    pub written: bool,
    /// Bugs whose place it comes by.
    pub asked: Vec<Plant>,
    /// Events of its longest execution in the survey.
    pub events: u32,
}

/// Everything that was surveyed.
pub struct Ground {
    /// The scenarios, written ones first.
    pub scenarios: Vec<Scenario>,
    /// Those that hold as far as the survey says, short ones first; generated ones after all others.
    pub spots: Vec<Spot>,
    /// What searches without a bug came to: whether something falls. By spot, executions and failures.
    clean: Mutex<Vec<((usize, Round), bool)>>,
}

/// How a spot is searched.
pub(super) fn question<'a>(scenario: &'a Scenario, design: Design, plants: &[Plant], round: &Round) -> Question<'a> {
    let explore = Explore {
        strategy: round.strategy,
        executions: Some(round.executions),
        failures: (round.failures > 0).then_some(round.failures),
        ..Explore::default()
    };
    let options = CheckOptions { explore, strategy_given: true, plants: plants.to_vec(), minimise: false };
    Question::new(scenario, design, &options)
}

/// Runs a search.
pub(super) fn search(question: &Question<'_>, stop: &AtomicBool) -> Outcome {
    interleave::explore(&question.program(), &question.search(), Some(stop), None)
}

/// Whether a search says that something is wrong.
pub(super) fn falls(outcome: &Outcome) -> bool {
    outcome.end == End::Violated || !outcome.predicted.is_empty()
}

impl Ground {
    /// Surveys `scenarios` and as many generated ones as `seeds` says, on `workers` threads.
    pub fn survey(mut scenarios: Vec<Scenario>, seeds: u64, workers: usize, stop: &AtomicBool) -> Self {
        let written = scenarios.len();
        scenarios.extend((0..seeds).map(generated));
        let mut jobs = Vec::new();
        for (at, scenario) in scenarios.iter().enumerate() {
            for &design in Design::ALL {
                let said_to_fall = matches!(scenario.verdict(design).map(|v| &v.answer), Some(Answer::Violates(_)));
                // Of what is written, only what somebody said to hold; nobody has said anything about what is generated.
                let asked = at >= written || scenario.verdict(design).is_some();
                if asked && !said_to_fall && scenario.plants.is_empty() && scenario.refusal(design).is_none() {
                    jobs.push((at, design));
                }
            }
        }
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(&(at, design)) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        if let Some(spot) = spot(&scenarios[at], at, design, at < written, stop) {
                            found.lock().unwrap_or_else(|e| e.into_inner()).push(spot);
                        }
                    }
                });
            }
        });
        let mut spots = found.into_inner().unwrap_or_else(|e| e.into_inner());
        spots.sort_by_key(|spot| (!spot.written, spot.events, spot.scenario, spot.design));
        Ground { scenarios, spots, clean: Mutex::default() }
    }

    /// The scenario of a spot.
    pub fn scenario(&self, spot: &Spot) -> &Scenario {
        &self.scenarios[spot.scenario]
    }

    /// Whether nothing falls there without a bug under the same search.
    pub(super) fn is_clean(&self, nth: usize, round: &Round, stop: &AtomicBool) -> bool {
        let key = (nth, *round);
        let known =
            self.clean.lock().unwrap_or_else(|e| e.into_inner()).iter().find(|(of, _)| *of == key).map(|(_, c)| *c);
        known.unwrap_or_else(|| {
            let spot = &self.spots[nth];
            let asked = question(self.scenario(spot), spot.design, &[], round);
            let clean = !falls(&search(&asked, stop));
            self.clean.lock().unwrap_or_else(|e| e.into_inner()).push((key, clean));
            clean
        })
    }
}

/// None: it falls.
fn spot(scenario: &Scenario, at: usize, design: Design, written: bool, stop: &AtomicBool) -> Option<Spot> {
    let round = |failures| Round { executions: SURVEY / 2, failures, strategy: StrategyHint::FewestPreemptions };
    let plain = search(&question(scenario, design, &[], &round(0)), stop);
    if falls(&plain) {
        return None;
    }
    // Where a failure makes it fall it still can be searched without one.
    let failing = search(&question(scenario, design, &[], &round(1)), stop);
    let mut asked = plain.asked;
    asked.extend(failing.asked);
    asked.sort_unstable();
    asked.dedup();
    Some(Spot { scenario: at, design, written, asked, events: plain.stats.longest })
}
