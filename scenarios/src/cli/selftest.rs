//! `svmlab selftest`: the engine held against itself, for people.

use super::args::{EngineArgs, SelftestArgs, SelftestPart};
use super::list::to_json;
use super::progress::Progress;
use super::terminal::Terminal;
use super::{FINE, INTERRUPTED, VIOLATION};
use interleave::selftest::{Difference, Flavour, Options, Report, Tally, run};
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

/// Runs the part that is asked for; the exit code.
pub(super) fn selftest(args: &SelftestArgs, terminal: &Terminal, stop: &AtomicBool) -> u8 {
    match &args.part {
        SelftestPart::Engine(args) => engine(args, terminal, stop),
    }
}

fn engine(args: &EngineArgs, terminal: &Terminal, stop: &AtomicBool) -> u8 {
    let processors = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut flavours = args.flavour.clone();
    flavours.sort_unstable();
    flavours.dedup();
    if flavours.is_empty() {
        flavours = Flavour::ALL.to_vec();
    }
    let options = Options {
        programs: args.programs,
        seed: args.seed,
        flavours,
        threads: args.threads.unwrap_or_else(processors),
    };
    let progress = Progress::new(terminal, args.programs as usize);
    let report = run(&options, stop, |report| progress.so_many(report.programs as usize, &so_far(report)));
    progress.clear();
    terminal.print(&if args.json { to_json(&json(&report)) } else { text(&report, &options) });
    match (&report.difference, report.interrupted) {
        (Some(_), _) => VIOLATION,
        (None, true) => INTERRUPTED,
        (None, false) => FINE,
    }
}

fn so_far(report: &Report) -> String {
    let total = report.total();
    format!("programs compared, {} with a violation, {} classes", total.failing, total.classes)
}

fn json(report: &Report) -> serde_json::Value {
    // plain data with text keys always has a JSON form
    let mut value = serde_json::to_value(report).unwrap_or_default();
    value["excess"] = report.total().excess().into();
    value
}

/// The table, and what is wrong if anything is.
fn text(report: &Report, options: &Options) -> String {
    let mut out = format!(
        "{:<12}{:>9}{:>9}{:>11}{:>11}{:>9}{:>10}{:>12}{:>9}\n",
        "flavour", "programs", "too big", "violation", "deadlock", "bounded", "classes", "executions", "excess"
    );
    for tally in &report.flavours {
        row(&mut out, tally.flavour.name(), tally);
    }
    let total = report.total();
    if report.flavours.len() > 1 {
        row(&mut out, "all", &total);
    }
    out.push('\n');
    let last = options.seed + report.seeds.saturating_sub(1);
    let seeds = if report.seeds == 0 { String::new() } else { format!(" (seeds {} to {last})", options.seed) };
    match &report.difference {
        Some(difference) => told(&mut out, difference),
        None => {
            let _ = writeln!(
                out,
                "no difference: reduced and unreduced search agree on {} programs{seeds},\n\
                 bounded search and enumeration on {} of them",
                report.programs, total.bounded
            );
        }
    }
    if report.interrupted {
        let _ = writeln!(out, "interrupted after {} of {} programs", report.programs, options.programs);
    }
    out
}

fn row(out: &mut String, name: &str, tally: &Tally) {
    let Tally { programs, too_big, failing, deadlocking, bounded, classes, executions, .. } = tally;
    let excess = format!("{:.2} %", tally.excess() * 100.0);
    let _ = writeln!(
        out,
        "{name:<12}{programs:>9}{too_big:>9}{failing:>11}{deadlocking:>11}{bounded:>9}{classes:>10}{executions:>12}{excess:>9}"
    );
}

fn told(out: &mut String, difference: &Difference) {
    let Difference { flavour, seed, what, program, smallest, smallest_what } = difference;
    let _ = write!(
        out,
        "a difference: {what}\n\n\
         smallest program ({smallest_what}):\n{smallest}\n\n\
         found in:\n{program}\n\n\
         again with: svmlab selftest engine --flavour {flavour} --seed {seed} --programs 1\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_with_the_way_to_see_it_again() {
        let options = Options { programs: 1, seed: 7, ..Options::default() };
        let mut report = run(&options, &AtomicBool::new(false), |_| {});
        assert!(text(&report, &options).contains("no difference"));
        report.difference = Some(Difference {
            flavour: Flavour::Work,
            seed: 7,
            what: "of 3 classes it misses 1".into(),
            program: "  thread 0: gate += 1".into(),
            smallest: "  thread 0: nothing".into(),
            smallest_what: "misses 1".into(),
        });
        let told = text(&report, &options);
        assert!(!told.contains("no difference"), "{told}");
        for part in ["--flavour work --seed 7 --programs 1", "thread 0: gate += 1", "thread 0: nothing"] {
            assert!(told.contains(part), "{told}");
        }
    }
}
