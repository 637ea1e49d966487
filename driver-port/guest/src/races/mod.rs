//! Races that the simulator found, taken by real threads and real workers of a real kernel: each is held at the places
//! where its counterpart in the simulator was, until it is its turn, and what fell there must be seen to have fallen here.
//!
//! Arguments: `race=NAME` takes only that one; `falls=1` those of poc-v1 under KASAN, too, `falls=0` none of them; `log=1`
//! tells the module's event log with a failure.
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
use crate::lab::kasan;
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
/// What [`counterexamples`] said when the initramfs was made.
const COUNTEREXAMPLES: &str = "/counterexamples";

fn run(checks: &mut Checks<'_>, args: &Args) {
    if !checks.check("the machine is prepared", prepare) {
        return;
    }
    let log = args.number("log", 0) != 0;
    let corpus = load_corpus().unwrap_or_default();
    let mut races: Vec<(String, Result<Race, String>)> = Vec::new();
    if let Ok(folder) = fs::read_dir(TRACES) {
        let mut files: Vec<_> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).map_err(|error| error.to_string());
            races.push((name, text.and_then(|text| given(&text, &corpus))));
        }
    } else {
        let only = args.get("race").map(str::to_owned);
        let tokens = fs::read_to_string(COUNTEREXAMPLES).unwrap_or_default();
        for name in RACES.iter().filter(|name| only.as_ref().is_none_or(|only| only == *name)) {
            let is_it = |token: &&str| token.split(':').next() == Some(name);
            let token = tokens.lines().find(is_it).ok_or_else(|| format!("{COUNTEREXAMPLES} has none of it"));
            races.push(((*name).to_owned(), token.and_then(|token| given(token, &corpus))));
        }
    }
    let falls = args.number("falls", u64::from(!kasan())) != 0;
    if !falls {
        checks.check("what falls is left out", || {
            Ok::<_, String>(
                "a GPU reads freed pages there, and KASAN says so; falls=1 takes it all the same".to_owned(),
            )
        });
    }
    for (name, race) in &races {
        let race = || race.as_ref().map_err(Clone::clone);
        for framework in Framework::ALL {
            if falls || race().is_err() {
                checks.check(&format!("{name} falls on {framework}"), || race()?.falls(framework, log));
            }
            if race().is_ok_and(|race| race.design != Design::Hardened) {
                let name = format!("{name} does no harm under hardened on {framework}");
                checks.check(&name, || race()?.is_harmless(framework));
            }
        }
    }
}

/// The counterexamples that the suite takes when it is given none, as tokens, one a line. The machine that builds the guest
/// searches for them: the virtual one would take half a minute.
///
/// # Errors
/// A scenario is not in the corpus, or nothing falls in it; in words.
pub(crate) fn counterexamples() -> Result<String, String> {
    let corpus = load_corpus().map_err(|error| error.to_string())?;
    let mut tokens = String::new();
    for name in RACES {
        let scenario = corpus.iter().find(|s| s.name == *name).ok_or_else(|| format!("{name} is not in the corpus"))?;
        let result = check_scenario(scenario, Design::PocV1, &CheckOptions::default(), &Arc::default(), None);
        let CheckVerdict::Violated(finding) = result.verdict else {
            return Err(format!("nothing falls in {name} in the simulator"));
        };
        tokens += &format!("{}\n", finding.token.to_text());
    }
    Ok(tokens)
}

/// A counterexample.
#[derive(Clone)]
struct Race {
    scenario: Scenario,
    design: Design,
    violation: Violation,
    script: GateScript,
}

/// The one that was given: a trace, or a token of a scenario of the corpus.
fn given(text: &str, corpus: &[Scenario]) -> Result<Race, String> {
    if looks_like_token(text.trim()) {
        let token = Token::parse(text).map_err(|error| error.to_string())?;
        let scenario = corpus.iter().find(|s| s.name == token.scenario);
        let scenario = scenario.ok_or_else(|| format!("there is no {} in the corpus", token.scenario))?;
        let again = token.replay(scenario).map_err(|error| error.to_string())?;
        return Race::new(scenario.clone(), again.design, &again.timeline);
    }
    // As it stands: its checksum is over every byte.
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
        let patience = if design == self.design { 5000 } else { 200 };
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
        // The places of the mm are not held, nor those inside of the kernel's framework: something is left to chance.
        let tries = if framework == Framework::Port { 3 } else { 5 };
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
