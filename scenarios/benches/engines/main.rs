//! Our engine, loom and shuttle on the same models, in one run.
//!
//! ```text
//! cargo bench -p scenarios --bench engines                               # some minutes; the tables
//! cargo bench -p scenarios --bench engines -- --quick --json bench.json  # under 20 s; also for machines
//! cargo bench -p scenarios --bench engines -- --markdown docs/performance.md
//! ```
//!
//! It lives here and not in `interleave/`, whose engine it measures, because one of the models is a real scenario: the
//! engine must not know any, not even to be measured, and ratios mean something only within one process.

mod checkers;
mod instructions;
mod jobs;
mod markdown;
mod measure;
#[path = "../../../interleave/tests/micro/mod.rs"]
mod micro;
mod report;
mod search;
mod table;
mod targets;

use clap::Parser;
use instructions::Valgrind;
use measure::Plan;
use report::Report;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Measures our engine, loom and shuttle on the same models.
#[derive(Parser)]
#[command(name = "engines", bin_name = "cargo bench -p scenarios --bench engines --")]
struct Args {
    /// Rough numbers in under 20 s: one round, low caps, few instructions counted
    #[arg(long)]
    quick: bool,
    /// Also writes everything measured to FILE (from the root of the workspace)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also replaces the tables between the markers of FILE, a page such as
    /// docs/performance.md
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Seconds before a search that does not finish is given up [default: 10, quick 1]
    #[arg(long, value_name = "SECONDS")]
    cap: Option<u64>,
    /// Seconds for the real scenario [default: 60, quick 2]
    #[arg(long, value_name = "SECONDS")]
    scenario_cap: Option<u64>,
    /// Given by cargo bench, and not by cargo test, which must not measure anything
    #[arg(long, hide = true)]
    bench: bool,
    /// One job, to be counted under valgrind
    #[arg(long, hide = true, requires = "times")]
    count: Option<String>,
    #[arg(long, hide = true, requires = "count")]
    times: Option<u32>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        println!("nothing is measured outside of `cargo bench`");
        return ExitCode::SUCCESS;
    }
    search::hush();
    let done = match (&args.count, args.times) {
        (Some(name), Some(times)) => instructions::be_counted(name, times),
        _ => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let page = args.markdown.as_deref().map(from_the_root);
    let mut page = page.map(|path| markdown::Page::read(&path)).transpose()?;
    let mut json = args.json.as_deref().map(create).transpose()?;
    let default = if args.quick {
        Plan { rounds: 1, slice: ms(20), cap: ms(1_000), chance_cap: ms(100), scenario_cap: ms(2_000), seeds: 10 }
    } else {
        Plan { rounds: 7, slice: ms(100), cap: ms(10_000), chance_cap: ms(2_000), scenario_cap: ms(60_000), seeds: 20 }
    };
    let plan = Plan {
        cap: args.cap.map_or(default.cap, Duration::from_secs),
        scenario_cap: args.scenario_cap.map_or(default.scenario_cap, Duration::from_secs),
        ..default
    };
    let few = ["interleave m1 reduced", "interleave m3 reduced", "shuttle m1 random"];
    let valgrind = Valgrind::count(|name| !args.quick || few.contains(&name));
    let mut report = Report {
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        machine: machine(),
        quick: args.quick,
        rounds: plan.rounds,
        no_instructions: valgrind.missing.clone(),
        exhaust: measure::exhaust(&plan, &valgrind),
        sampling: measure::sampling(&plan, &valgrind),
        first_bug: measure::hunt(&plan),
        targets: Vec::new(),
    };
    report.targets = targets::judge(&report);
    measure::tell("");
    println!("{}; {}; medians of {} rounds", report.date, report.machine, report.rounds);
    for table in table::tables(&report) {
        println!("\n{}", table.plain());
    }
    if let Some((path, file)) = &mut json {
        let text = serde_json::to_string_pretty(&report).expect("plain data serialises");
        writeln!(file, "{text}").map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if let Some(page) = &mut page {
        page.put("when", &format!("{}, {}. Medians of {} rounds.", &report.date[..10], report.machine, report.rounds))?;
        for table in table::tables(&report) {
            let name = table.name;
            page.put(name, &table.markdown())?;
        }
        page.write()?;
    }
    Ok(())
}

/// A file that can be written: better known now than after all the work.
fn create(path: &Path) -> Result<(PathBuf, File), String> {
    let path = from_the_root(path);
    let file = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok((path, file))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Cargo runs a benchmark in the folder of its package; paths are meant from the root.
fn from_the_root(path: &Path) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string());
    let virt =
        if field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")) { " VM" } else { "" };
    format!("{cores}-core{virt}, {model}")
}
