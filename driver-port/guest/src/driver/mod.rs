//! The driver's conformance: every scenario of the corpus in which nothing happens at once is run by the simulator and by
//! the module in the kernel that runs, and after each operation both must have come to the same.
//!
//! Arguments: `share=1` makes every run, and holds the page against what came out; `scenario=TEXT` those whose path has
//! the text in it; `hugetlb=with|without|only` those with hugetlbfs memory among them; `log=1` tells with a difference what
//! each world did.
//!
//! | file | trade |
//! |---|---|
//! | `fit` | what of a scenario the machine can run |
//! | `run` | a run in the kernel, step by step |
//! | `process` | the processes that do the steps |
//! | `calls` | operations as system calls, loads and stores |
//! | `vm` | a VM on the software GPU in the words of scenarios |
//! | `parallel` | both CPUs at work |
//! | `known` | differences that are explained |
//! | `page` | docs/kernel-conformance.md |

mod calls;
mod fit;
mod hugetlb;
mod known;
mod machine;
mod page;
mod parallel;
mod process;
mod run;
mod vm;

pub(crate) use calls::pages_of;
pub(crate) use machine::{on_cpus, prepare};
pub(crate) use parallel::on_both_cpus;
pub(crate) use process::{Caller, in_child};
pub(crate) use vm::{Access, Framework, Vm};

use crate::suite::{Args, Checks, Suite};
use fit::{Fit, Machine, asks};
use hugetlb::Hugetlb;
use known::{KNOWN, Known};
use process::Job;
use scenarios::cli::load_corpus;
use scenarios::conform::{Difference, PageRun, Run, Step, compare, program_order, simulate};
use scenarios::lang::{Design, RegionKind, Scenario};
use serde::{Deserialize, Serialize};

/// The suite.
pub(crate) const SUITE: Suite =
    Suite { name: "driver", about: "the driver in simulator and kernel, scenario by scenario", run };

/// What came of one scenario in one design on one framework.
#[derive(Serialize, Deserialize)]
enum Came {
    Agrees,
    /// With the explanation of that number in [`KNOWN`].
    Explained(usize),
    /// In words.
    Differs(String),
}

impl Came {
    fn difference(&self) -> Option<&str> {
        if let Came::Differs(how) = self { Some(how) } else { None }
    }
}

/// One scenario that was run.
#[derive(Serialize, Deserialize)]
struct Tried {
    path: String,
    without_vram: bool,
    /// Which of [`DESIGNS`] and [`Framework::ALL`].
    came: Vec<(usize, usize, Came)>,
}

/// What there is to say about a scenario.
#[derive(Serialize, Deserialize)]
enum Said {
    /// Things happen at once in it.
    AtOnce,
    /// It is not run: which, and why.
    Skipped(String, String),
    Tried(Tried),
}

/// What there is to say about the corpus.
struct Tally(Vec<Said>);

impl Tally {
    fn tried(&self) -> impl Iterator<Item = &Tried> {
        self.0.iter().filter_map(|said| if let Said::Tried(tried) = said { Some(tried) } else { None })
    }

    fn came(&self, design: usize, framework: usize) -> impl Iterator<Item = &Came> {
        let all = self.tried().flat_map(|tried| &tried.came);
        all.filter(move |(d, f, _)| (*d, *f) == (design, framework)).map(|(_, _, came)| came)
    }

    fn count(&self, design: usize, framework: usize, which: fn(&Came) -> bool) -> usize {
        self.came(design, framework).filter(|came| which(came)).count()
    }
}

/// The designs of the module.
const DESIGNS: [Design; 3] = [Design::PocV1, Design::PocV8, Design::Hardened];

/// One run in so many, unless somebody says otherwise: what the machine does in a quarter of a minute.
const SHARE: u64 = 8;

/// What is to be run.
struct Wanted {
    machine: Machine,
    /// Numbers in [`Framework::ALL`].
    frameworks: Vec<usize>,
    /// Whether the module's event log is told with a difference.
    log: bool,
    /// One run in so many is made, evenly spread.
    share: usize,
}

fn run(checks: &mut Checks<'_>, args: &Args) {
    let only = args.get("scenario").map(str::to_owned);
    let log = args.number("log", 0) != 0;
    if !checks.check("the machine is prepared", prepare) {
        return;
    }
    let share = args.number("share", if only.is_some() { 1 } else { SHARE }).max(1) as usize;
    let mut wanted = Wanted { machine: Machine::look(), frameworks: Vec::new(), log, share };
    let hugetlb = Hugetlb::wanted(args);
    for (number, framework) in Framework::ALL.into_iter().enumerate() {
        if checks.check(&format!("a VM is made on {framework}"), || run::can_create(framework)) {
            wanted.frameworks.push(number);
        }
    }
    let chosen = |scenario: &Scenario| only.as_ref().is_none_or(|part| scenario.source.path.contains(part.as_str()));
    let (mut tally, mut left_out) = (Tally(Vec::new()), 0);
    checks.check("every scenario of the corpus is gone through", || {
        let corpus = load_corpus().map_err(|error| error.to_string())?;
        let corpus: Vec<Scenario> = corpus.into_iter().filter(chosen).collect();
        let all = corpus.len();
        let corpus: Vec<Scenario> = corpus.into_iter().filter(|scenario| hugetlb.has(scenario)).collect();
        left_out = all - corpus.len();
        tally.0 = on_both_cpus(corpus.len(), |index| attempt(&corpus[index], index, &wanted))?;
        Ok::<_, String>(format!(
            "{} are run, the others are told of in docs/kernel-conformance.md{}",
            tally.tried().count(),
            hugetlb.remark(left_out)
        ))
    });
    for &framework in &wanted.frameworks {
        for (number, design) in DESIGNS.iter().enumerate() {
            let name = format!("{design} does the same on {} as in the simulator", Framework::ALL[framework]);
            checks.check(&name, || judge(&tally, number, framework));
        }
    }
    if only.is_none() && left_out == 0 && wanted.share == 1 {
        checks.check("what is explained still differs", || stale(&tally, &wanted));
        checks.check("docs/kernel-conformance.md says what came out", || page::check(&tally));
    }
}

fn attempt(scenario: &Scenario, index: usize, wanted: &Wanted) -> Said {
    let path = scenario.source.path.clone();
    let Ok(steps) = program_order(scenario) else { return Said::AtOnce };
    let Fit { scenario, without_vram } = match fit::fit(scenario, &steps, wanted.machine) {
        Ok(fit) => fit,
        Err(why) => return Said::Skipped(path, why),
    };
    let asked: Vec<usize> = (0..DESIGNS.len()).filter(|number| asks(&scenario, DESIGNS[*number])).collect();
    if asked.is_empty() {
        return Said::Skipped(path, "it asks nothing of a design that the module has".into());
    }
    let mut came = Vec::new();
    for number in asked {
        for &framework in &wanted.frameworks {
            if (index + number + framework).is_multiple_of(wanted.share) {
                let put = put_to(&scenario, &steps, DESIGNS[number], Framework::ALL[framework], wanted.log);
                came.push((number, framework, put));
            }
        }
    }
    Said::Tried(Tried { path, without_vram, came })
}

fn put_to(scenario: &Scenario, steps: &[Step], design: Design, framework: Framework, log: bool) -> Came {
    let path = &scenario.source.path;
    let difference = match differ(scenario, steps, design, framework, log) {
        Ok(None) => return Came::Agrees,
        Ok(Some(difference)) => difference,
        Err(error) => return Came::Differs(format!("{path}: {error}")),
    };
    let known = |known: &Known| known.covers(path, design, framework) && known.explains(&difference);
    match KNOWN.iter().position(known) {
        Some(number) => Came::Explained(number),
        None => Came::Differs(difference.in_words(scenario, ["simulator", "kernel"])),
    }
}

/// Runs a scenario in both worlds. Where they differ first, if they do.
///
/// # Errors
/// The kernel's half could not be run to its end; in words.
pub(crate) fn differ(
    scenario: &Scenario,
    steps: &[Step],
    design: Design,
    framework: Framework,
    log: bool,
) -> Result<Option<Difference>, String> {
    let mut ours = simulate(scenario, design, steps);
    let steps = &steps[..ours.steps_for_others().min(steps.len())];
    let mut theirs = run::run(&Job { scenario, design, framework, steps }, ours.turns.len(), log)?;
    if !scenario.regions.iter().any(|region| region.thp || region.kind == RegionKind::Hugetlb) {
        [&mut ours, &mut theirs].into_iter().for_each(forget_leaves);
    }
    Ok(compare(&ours, &theirs).map(|mut difference| {
        // What the simulator did is known to whoever reads this; what it is compared with is not.
        if !log {
            difference.events = Default::default();
        }
        difference
    }))
}

/// Which leaves of the GPU's page table are huge is luck where the CPU's pages are not: it says which frames happened to
/// lie side by side.
fn forget_leaves(run: &mut Run) {
    let after = run.turns.iter_mut().flat_map(|turn| &mut turn.after);
    for state in run.before.iter_mut().chain(after) {
        let mut runs: Vec<PageRun> = Vec::new();
        for mut pages in std::mem::take(&mut state.pages) {
            pages.state.huge = false;
            match runs.last_mut() {
                Some(last) if last.last + 1 == pages.first && last.state == pages.state => last.last = pages.last,
                _ => runs.push(pages),
            }
        }
        state.pages = runs;
    }
}

fn judge(tally: &Tally, design: usize, framework: usize) -> Result<String, String> {
    /// Differences that are written out; the rest is counted.
    const SHOWN: usize = 12;
    let differ: Vec<&str> = tally.came(design, framework).filter_map(Came::difference).collect();
    let agree = tally.count(design, framework, |came| matches!(came, Came::Agrees));
    let explained = tally.count(design, framework, |came| matches!(came, Came::Explained(_)));
    match differ.as_slice() {
        [] => Ok(format!("{agree} scenarios agree, {explained} differ for a known reason")),
        all => {
            let shown = all[..all.len().min(SHOWN)].join("\n");
            Err(format!(
                "{agree} scenarios agree, {explained} differ for a known reason, {} differ:\n{shown}",
                all.len()
            ))
        }
    }
}

/// Explanations that explain nothing any more, of what was run.
fn stale(tally: &Tally, wanted: &Wanted) -> Result<(), String> {
    let explains = |number: usize| {
        let mut all = tally.tried().flat_map(|tried| &tried.came);
        all.any(|(_, _, came)| matches!(came, Came::Explained(n) if *n == number))
    };
    let was_run = |known: &Known| {
        wanted.frameworks.iter().any(|f| known.frameworks.is_empty() || known.frameworks.contains(&Framework::ALL[*f]))
    };
    let idle = KNOWN.iter().enumerate().filter(|(number, known)| was_run(known) && !explains(*number));
    let idle: Vec<&str> = idle.map(|(_, known)| known.scenario).collect();
    if idle.is_empty() { Ok(()) } else { Err(format!("nothing differs any more in {}", idle.join(", "))) }
}
