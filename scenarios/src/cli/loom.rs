//! `svmlab check --engine loom`: the second opinion beside the first.

use super::args::CheckArgs;
use super::check::{Job, jobs, run, run_in_order};
use super::progress::Progress;
use super::select::select;
use super::terminal::Terminal;
use super::{BadInput, FINE, INTERRUPTED, VIOLATION};
use crate::agreement::{Agreement, compare};
use crate::lang::Explore;
use crate::report::{OpinionJson, OpinionRow, opinions};
use crate::run::{CheckOptions, CheckResult};
use crate::world::{LoomQuestion, Opinion, ask_loom};
use interleave::on_loom::LoomBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Executions that loom gets for a scenario and a design: a few seconds.
const LOOM_BUDGET: u64 = 4_000;
/// Executions that our engine gets for the verdict beside it.
const OWN_BUDGET: u64 = 200_000;

/// What both engines say.
struct Both {
    ours: CheckResult,
    loom: Opinion,
    agreement: Agreement,
}

/// Runs it; the exit code.
pub(super) fn check(args: &CheckArgs, terminal: &Terminal, stop: &Arc<AtomicBool>) -> Result<u8, BadInput> {
    let bounds = bounds(args)?;
    let scenarios = select(&args.what, terminal)?;
    // Our own verdict is worth most without a bound on preemptions; the user's bounds are for loom.
    let explore = Explore { executions: Some(OWN_BUDGET), ..Explore::default() };
    let options = CheckOptions { explore, strategy_given: false, plants: args.plant.clone(), minimise: false };
    let jobs = jobs(&scenarios, &args.design)?;
    let progress = Arc::new(Progress::new(terminal, jobs.len()));

    let ask = |_: usize, job: &Job<'_>| {
        let ours = run(job, &options, stop, &progress);
        let question = LoomQuestion { scenario: job.scenario, design: job.design, plants: &args.plant, bounds };
        tracing::info!("{}: our engine is done, loom begins", job.name());
        let (told, name) = (Arc::clone(&progress), job.name());
        let loom = ask_loom(&question, stop, move |executions| {
            if told.is_watched() {
                told.tell_count(&name, executions);
            }
        });
        let agreement = compare(&ours, &loom);
        Both { ours, loom, agreement }
    };
    let mut done: Vec<(Job<'_>, Option<Both>)> = Vec::new();
    run_in_order(&jobs, args.workers(), stop, &progress, ask, |job, both| done.push((job, both)));
    progress.clear();

    let rows: Vec<OpinionRow<'_>> = done
        .iter()
        .map(|(job, both)| OpinionRow {
            scenario: &job.scenario.name,
            design: job.design,
            expected: job.expected().filter(|_| args.plant.is_empty()),
            both: both.as_ref().map(|both| (&both.ours, &both.loom, &both.agreement)),
        })
        .collect();
    terminal.print(&if args.json {
        let results: Vec<OpinionJson> = rows.iter().map(OpinionJson::new).collect();
        super::list::to_json(&serde_json::json!({ "results": results }))
    } else {
        opinions(&rows, &terminal.page(false))
    });
    let disagree =
        done.iter().any(|(_, both)| both.as_ref().is_some_and(|b| matches!(b.agreement, Agreement::Disagree(_))));
    Ok(match (stop.load(Ordering::SeqCst), disagree) {
        (true, _) => INTERRUPTED,
        (false, true) => VIOLATION,
        (false, false) => FINE,
    })
}

/// How much loom explores.
fn bounds(args: &CheckArgs) -> Result<LoomBounds, BadInput> {
    if args.strategy.is_some() {
        return Err(BadInput::new("--strategy does not go with --engine loom, which has one way to search"));
    }
    if args.full {
        return Err(BadInput::new("--full does not go with --engine loom, which keeps no timeline"));
    }
    if args.minimise {
        return Err(BadInput::new("--minimise does not go with --engine loom, whose violations have no schedule"));
    }
    if args.failures.is_some() {
        return Err(BadInput::new("--failures does not go with --engine loom, on which nothing fails"));
    }
    let preemptions = match args.preemptions.map(u8::try_from) {
        None => None,
        Some(Ok(bound)) => Some(bound),
        Some(Err(_)) => return Err(BadInput::new("--preemptions: loom takes at most 255")),
    };
    Ok(LoomBounds { preemptions, executions: Some(args.executions.unwrap_or(LOOM_BUDGET)), ..LoomBounds::default() })
}
