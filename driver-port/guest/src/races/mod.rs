//! Races that the simulator found, taken by real threads and real workers of a real kernel: each is held at the places
//! where its counterpart in the simulator was, until it is its turn, and what fell there must be seen to have fallen here.
//!
//! | file | trade |
//! |---|---|
//! | `script` | the counterexample as steps of the module's gates |
//! | `stage` | the process and its threads, and who judges them when the script is at its end |
//! | `owed` | what the application may count on: the same ground truth as in the simulator |
//! | `judge` | what is wrong with the GPU's page table as it stands |

mod judge;
mod owed;
mod script;
mod stage;

use crate::driver::{Framework, prepare};
use crate::suite::{Args, Checks, Suite};
use interleave::Timeline;
use interleave::lab::Violation;
use interleave::trace::TraceFile;
use scenarios::cli::load_corpus;
use scenarios::gates::GateScript;
use scenarios::lang::{Answer, Design, Scenario};
use scenarios::run::{CheckOptions, CheckVerdict, check_scenario, replay_trace};
use scenarios::token::{Token, looks_like_token};
use stage::Stage;
use std::fs;
use std::sync::Arc;

/// The suite.
pub(crate) const SUITE: Suite =
    Suite { name: "races", about: "races of the simulator, step by step in the kernel that runs", run };

/// Races of poc-v1 that leave something behind that can be seen from outside.
const RACES: &[&str] = &[
    "two-holes",
    "set-attr-vs-partial-munmap",
    "evict-vs-restore",
    "munmap-after-close",
    "two-set-attrs",
    "read-only-and-back",
];

/// Where the virtual machine's traces are, when it was given any.
const TRACES: &str = "/traces";

fn run(checks: &mut Checks<'_>, args: &Args) {
    if !checks.check("the machine is prepared", prepare) {
        return;
    }
    let log = args.number("log", 0) != 0;
    if let Ok(folder) = fs::read_dir(TRACES) {
        let mut files: Vec<_> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let given = fs::read_to_string(&file).map_err(|error| error.to_string()).and_then(|text| given(&text));
            for framework in Framework::ALL {
                checks.check(&format!("{name} on {framework}"), || {
                    given.as_ref().map_err(Clone::clone)?.falls(framework, log)
                });
            }
        }
        return;
    }
    let only = args.get("race").map(str::to_owned);
    let corpus = load_corpus().unwrap_or_default();
    for name in RACES.iter().filter(|name| only.as_ref().is_none_or(|only| only == *name)) {
        let found = corpus.iter().find(|s| s.name == *name).ok_or("not in the corpus".to_owned()).and_then(found);
        for framework in Framework::ALL {
            checks.check(&format!("{name} falls on {framework}"), || {
                found.as_ref().map_err(Clone::clone)?.falls(framework, log)
            });
            checks.check(&format!("{name} does no harm under hardened on {framework}"), || {
                found.as_ref().map_err(Clone::clone)?.is_harmless(framework)
            });
        }
    }
}

/// A counterexample.
#[derive(Clone)]
struct Race {
    scenario: Scenario,
    design: Design,
    violation: Violation,
    script: GateScript,
}

/// Searched for here and now.
fn found(scenario: &Scenario) -> Result<Race, String> {
    let design = Design::PocV1;
    let result = check_scenario(scenario, design, &CheckOptions::default(), &Arc::default(), None);
    let CheckVerdict::Violated(finding) = result.verdict else { return Err("nothing falls in the simulator".into()) };
    Race::new(scenario.clone(), design, &finding.timeline)
}

/// The one that was given: a trace, or a token of a scenario of the corpus.
fn given(text: &str) -> Result<Race, String> {
    let text = text.trim();
    if looks_like_token(text) {
        let token = Token::parse(text).map_err(|error| error.to_string())?;
        let corpus = load_corpus().map_err(|error| error.to_string())?;
        let scenario = corpus.into_iter().find(|s| s.name == token.scenario);
        let scenario = scenario.ok_or_else(|| format!("there is no {} in the corpus", token.scenario))?;
        let again = token.replay(&scenario).map_err(|error| error.to_string())?;
        return Race::new(scenario, again.design, &again.timeline);
    }
    let trace = TraceFile::parse(text).map_err(|error| error.to_string())?;
    let (scenario, design, timeline) = replay_trace(&trace).map_err(|error| error.to_string())?;
    Race::new(scenario, design, &timeline)
}

impl Race {
    fn new(scenario: Scenario, design: Design, timeline: &Timeline) -> Result<Race, String> {
        let violation = timeline.violation.clone().ok_or("nothing falls in it")?;
        let script = GateScript::new(&scenario, timeline);
        Ok(Race { scenario, design, violation, script })
    }

    fn stage(&self, design: Design, framework: Framework, log: bool) -> Stage<'_> {
        // The design of the script may have a delayed work item to wait for; of another some actors never come.
        let patience = if design == self.design { 5000 } else { 500 };
        Stage { scenario: &self.scenario, design, framework, script: &self.script, patience, log }
    }

    /// It must be seen to fall, by an invariant that may fall there.
    fn falls(&self, framework: Framework, log: bool) -> Result<String, String> {
        // The simulator names what falls first; here the same may be seen a moment later, when another has fallen as well.
        let mut may_fall = vec![self.violation.invariant];
        if let Some(Answer::Violates(invariants)) = self.scenario.verdict(self.design).map(|verdict| &verdict.answer) {
            may_fall.extend(invariants);
        }
        let is_it = |wrong: &&judge::Wrong| may_fall.iter().any(|invariant| wrong.invariant == invariant.to_string());
        // Where places inside of the framework cannot be held, the rest of the script leaves something to chance.
        let tries = if framework == Framework::Port { 1 } else { 5 };
        let mut nothing = String::new();
        for number in 1..=tries {
            let seen = self.stage(self.design, framework, log).perform()?;
            if let Some(wrong) = seen.wrong().find(is_it) {
                let again = if number == 1 { String::new() } else { format!(", in try {number}") };
                return Ok(format!("{} {} ({}{again})", wrong.invariant, wrong.what, seen.gates));
            }
            nothing = seen.in_words();
        }
        let Violation { invariant, what, .. } = &self.violation;
        Err(format!("in the simulator {invariant}: {what}\nhere nothing of that\n{nothing}"))
    }

    /// Nothing may be seen to be wrong.
    fn is_harmless(&self, framework: Framework) -> Result<(), String> {
        let seen = self.stage(Design::Hardened, framework, false).perform()?;
        if seen.wrong().next().is_none() { Ok(()) } else { Err(seen.in_words()) }
    }
}
