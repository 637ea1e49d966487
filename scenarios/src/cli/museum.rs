//! `svmlab museum` and `svmlab generate`.

use super::args::{GenerateArgs, MuseumArgs};
use super::check::{Job, write};
use super::list::to_json;
use super::progress::Progress;
use super::select::all;
use super::terminal::Terminal;
use super::{BadInput, FINE, INTERRUPTED, VIOLATION};
use crate::generate;
use crate::museum::{BUDGET, Exhibit, Ground, hunt, markdown, median, summary, text};
use model::platform::Plant;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Prints what the seeds make.
pub(super) fn generate(args: &GenerateArgs, terminal: &Terminal) -> u8 {
    for seed in args.seed..args.seed.saturating_add(args.count) {
        terminal.print(&generate::text(seed));
    }
    FINE
}

/// Runs the museum; the exit code.
pub(super) fn museum(args: &MuseumArgs, terminal: &Terminal, stop: &Arc<AtomicBool>) -> Result<u8, BadInput> {
    let plants = plants(args)?;
    if args.list {
        let mut out = String::new();
        for plant in &plants {
            let m = plant.mutant();
            let falls: Vec<String> = m.falls.iter().map(|n| format!("I{n}")).collect();
            out += &format!("{}  {}; {}; {}; {}\n", m.name, m.class.name(), m.designs, falls.join(" "), m.actors);
        }
        terminal.print(&out);
        return Ok(FINE);
    }
    let began = Instant::now();
    let workers = args.jobs.or(std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let ground = Ground::survey(all(terminal)?, args.generated, workers, stop);
    let surveyed = began.elapsed();
    let progress = Progress::new(terminal, plants.len());
    let mut exhibits: Vec<Option<Exhibit>> = plants.iter().map(|_| None).collect();
    let mut trouble = None;
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..workers.min(plants.len()) {
            let (sender, next, plants, ground, progress) = (sender.clone(), &next, &plants, &ground, &progress);
            scope.spawn(move || {
                while let Some((at, plant)) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|at| Some((at, plants.get(at)?)))
                {
                    progress.tell_count(plant.name(), 0);
                    let found = hunt(ground, *plant, &BUDGET, stop);
                    progress.done(plant.name());
                    if sender.send((at, found)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // Each is saved as soon as it is there, so that nothing found is lost.
        for (at, hunt) in results {
            let saved = hunt.catch.as_ref().map(|catch| {
                let spot = &ground.spots[catch.spot];
                let job = Job { scenario: ground.scenario(spot), design: spot.design };
                let end = if catch.finding.is_some() { "trace" } else { "lockdep.trace" };
                write(&args.traces, &job, &[hunt.plant], end, &catch.trace.to_text())
            });
            let trace = match saved.transpose() {
                Ok(trace) => trace,
                Err(why) => {
                    trouble = Some(why);
                    None
                }
            };
            exhibits[at] = Some(Exhibit { hunt, trace });
        }
    });
    progress.clear();
    let exhibits: Vec<Exhibit> = exhibits.into_iter().flatten().collect();
    if args.markdown {
        terminal.print(&markdown(&exhibits, &ground, began.elapsed()));
    } else if args.json {
        terminal.print(&to_json(&json(&exhibits, &ground)));
    } else {
        terminal.print(&text(&exhibits, &ground, args.time));
        terminal.print(&format!("\n{}", summary(&exhibits)));
    }
    if args.time || terminal.is_watched() {
        let median = median(&exhibits).map_or(0.0, |median| median.as_secs_f64() * 1000.0);
        let (survey, whole) = (surveyed.as_secs_f64(), began.elapsed().as_secs_f64());
        terminal.complain(&format!("survey {survey:.1} s, all {whole:.1} s; median time to a find {median:.1} ms\n"));
    }
    match trouble {
        Some(why) => Err(why),
        None if stop.load(Ordering::SeqCst) => Ok(INTERRUPTED),
        None if exhibits.iter().all(|e| e.hunt.catch.is_some()) => Ok(FINE),
        None => Ok(VIOLATION),
    }
}

/// Those that are named, by plant or by entry; all when none is.
fn plants(args: &MuseumArgs) -> Result<Vec<Plant>, BadInput> {
    if args.entry.is_empty() {
        return Ok(Plant::ALL.to_vec());
    }
    let mut found = Vec::new();
    for name in &args.entry {
        let before = found.len();
        let meant = |plant: &&Plant| plant.name() == name || plant.mutant().entry == name;
        found.extend(Plant::ALL.iter().filter(meant).copied());
        if found.len() == before {
            return Err(BadInput::new(format!(
                "no planted bug is called `{name}`; `svmlab museum --list` lists what there is"
            )));
        }
    }
    Ok(found)
}

fn json(exhibits: &[Exhibit], ground: &Ground) -> serde_json::Value {
    let of = |exhibit: &Exhibit| {
        let (hunt, mutant) = (&exhibit.hunt, exhibit.hunt.plant.mutant());
        let spot = hunt.catch.as_ref().map(|catch| &ground.spots[catch.spot]);
        serde_json::json!({
            "plant": mutant.name,
            "entry": mutant.entry,
            "class": mutant.class.name(),
            "found": hunt.catch.is_some(),
            "interrupted": hunt.interrupted,
            "scenario": spot.map(|spot| ground.scenario(spot).name.clone()),
            "design": spot.map(|spot| spot.design.name()),
            "invariant": hunt.catch.as_ref().map(|catch| catch.invariant.to_string()),
            "what": hunt.catch.as_ref().map(|catch| catch.what.clone()),
            "executions": hunt.executions,
            "events": hunt.events,
            "scenarios_that_come_by": hunt.spots,
            "context_switches": hunt.catch.as_ref().and_then(|catch| catch.context_switches),
            "context_switches_at_least": mutant.context_switches(),
            "trace": exhibit.trace,
        })
    };
    serde_json::json!({ "museum": exhibits.iter().map(of).collect::<Vec<_>>() })
}
