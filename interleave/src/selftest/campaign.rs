//! Seed after seed, on as many threads as are wanted, with results that do not depend on how many.

use super::compare::{Compared, Skipped, compare, difference};
use super::flavour::Flavour;
use super::generate::RandomProgram;
use super::report::{Difference, Report};
use crate::panics;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

/// What to test.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many programs to compare; those that are too big do not count.
    pub programs: u64,
    /// The first seed.
    pub seed: u64,
    /// What the programs are about; seeds take turns.
    pub flavours: Vec<Flavour>,
    /// Threads that search. The report is the same for any number.
    pub threads: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Options { programs: 10_000, seed: 0, flavours: Flavour::ALL.to_vec(), threads: NonZeroUsize::MIN }
    }
}

/// How the program of one seed came out.
enum Result1 {
    Compared(Box<Compared>),
    TooBig,
    Stopped,
    Panicked(String),
}

/// The program of `seed`.
fn program(options: &Options, seed: u64) -> (Flavour, RandomProgram) {
    let flavour = options.flavours[(seed % options.flavours.len() as u64) as usize];
    (flavour, RandomProgram::generate(flavour, seed))
}

fn look_at(program: &RandomProgram, stop: &AtomicBool) -> Result1 {
    // A panic of the engine is a finding like any other.
    let quiet = panics::Quiet::new();
    let compared = catch_unwind(AssertUnwindSafe(|| compare(program, Some(stop))));
    drop(quiet);
    match compared {
        Ok(Ok(compared)) => Result1::Compared(Box::new(compared)),
        Ok(Err(Skipped::TooBig)) => Result1::TooBig,
        Ok(Err(Skipped::Stopped)) => Result1::Stopped,
        Err(payload) => Result1::Panicked(panics::describe(payload.as_ref())),
    }
}

/// Compares programs until there are enough, there is a difference, or `stop` is set. `progress` is told after each
/// seed, in their order.
///
/// # Panics
/// No flavour is given.
pub fn run(options: &Options, stop: &AtomicBool, mut progress: impl FnMut(&Report)) -> Report {
    assert!(!options.flavours.is_empty(), "a self-test needs a flavour");
    let mut report = Report::new(options.seed, &options.flavours);
    let next = AtomicU64::new(options.seed);
    // Searches end when the caller says so, and when there is enough.
    let enough = AtomicBool::new(false);
    let (sender, receiver) = mpsc::sync_channel::<(u64, Result1)>(64);
    std::thread::scope(|scope| {
        for _ in 0..options.threads.get() {
            let (sender, next, enough) = (sender.clone(), &next, &enough);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let (_, program) = program(options, seed);
                    if sender.send((seed, look_at(&program, enough))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early: BTreeMap<u64, Result1> = BTreeMap::new();
        let mut seed = options.seed;
        'merging: while report.programs < options.programs {
            let result = loop {
                if stop.load(Ordering::Relaxed) {
                    report.interrupted = true;
                    break 'merging;
                }
                if let Some(result) = early.remove(&seed) {
                    break result;
                }
                match receiver.recv_timeout(STOP_PACE) {
                    Ok((seed, result)) => drop(early.insert(seed, result)),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break 'merging,
                }
            };
            let (flavour, program) = program(options, seed);
            let what = match result {
                Result1::TooBig => {
                    report.too_big(flavour);
                    None
                }
                Result1::Compared(compared) => {
                    report.add(flavour, &program, &compared);
                    compared.verdict.err()
                }
                Result1::Panicked(what) => Some(format!("the engine panics: {what}")),
                Result1::Stopped => break 'merging,
            };
            if let Some(what) = what {
                enough.store(true, Ordering::Relaxed);
                report.difference = Some(shown(flavour, seed, what, &program));
                break 'merging;
            }
            seed += 1;
            progress(&report);
        }
        enough.store(true, Ordering::Relaxed);
        // Whoever still wants to send finds nobody there.
        drop(receiver);
    });
    report
}

/// How long a stop flag may go unseen.
const STOP_PACE: std::time::Duration = std::time::Duration::from_millis(50);

/// The difference that `program` shows, and the smallest program that shows one.
fn shown(flavour: Flavour, seed: u64, what: String, program: &RandomProgram) -> Difference {
    let smallest = program.shrunk(|less| wrong(less).is_some());
    let smallest_what = wrong(&smallest).unwrap_or_else(|| what.clone());
    Difference { flavour, seed, what, program: program.to_string(), smallest: smallest.to_string(), smallest_what }
}

/// What is wrong with `program`, panics included.
fn wrong(program: &RandomProgram) -> Option<String> {
    let quiet = panics::Quiet::new();
    let found = catch_unwind(AssertUnwindSafe(|| difference(program)));
    drop(quiet);
    found.unwrap_or_else(|payload| Some(format!("the engine panics: {}", panics::describe(payload.as_ref()))))
}
