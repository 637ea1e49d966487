//! The `svmlab` command: arguments in, reports out. What is found is the library's business; here is who is asked what,
//! what is printed where, and which exit code says what.
//!
//! Standard output carries results and is the same for the same inputs; progress and times go to standard error.

mod args;
mod check;
mod compare;
mod corpus;
mod kernel;
mod list;
mod long;
mod loom;
mod merge;
mod museum;
mod progress;
mod replay;
mod select;
mod selftest;
mod shard;
mod terminal;

pub use args::command;
pub use corpus::{corpus, load_corpus};

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use terminal::Terminal;

/// Every verdict is what the corpus says.
const FINE: u8 = 0;
/// A violation was found, or a verdict that was not expected.
const VIOLATION: u8 = 1;
/// An argument, a scenario or a trace is wrong.
const BAD_INPUT: u8 = 2;
/// Ctrl-C; 128 + SIGINT as shells have it.
const INTERRUPTED: u8 = 130;

/// Why the command cannot do what it was asked, as it is to be shown.
struct BadInput(String);

impl BadInput {
    fn new(why: impl std::fmt::Display) -> Self {
        BadInput(format!("error: {why}\n"))
    }
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    listen(cli.verbose);
    let terminal = Terminal::here();
    let stop = Arc::new(AtomicBool::new(false));
    let done = match &cli.command {
        None => Ok(list::welcome(&terminal)),
        Some(Command::Check(args)) => {
            on_interrupt(&stop);
            match args.shard {
                Some(shard) => shard::explore(args, shard, &terminal, &stop),
                None => check::check(args, &terminal, &stop),
            }
        }
        Some(Command::Compare(args)) => {
            on_interrupt(&stop);
            compare::compare(args, &terminal, &stop)
        }
        Some(Command::Merge(args)) => merge::merge(args, &terminal),
        Some(Command::Museum(args)) => {
            on_interrupt(&stop);
            museum::museum(args, &terminal, &stop)
        }
        Some(Command::Generate(args)) => Ok(museum::generate(args, &terminal)),
        Some(Command::Replay(args)) => replay::replay(args, &terminal),
        Some(Command::List(args)) => list::list(args, &terminal),
        Some(Command::Show(args)) => list::show(args, &terminal),
        Some(Command::Selftest(args)) => {
            on_interrupt(&stop);
            Ok(selftest::selftest(args, &terminal, &stop))
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(BadInput(why)) => {
            terminal.complain(&why);
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// The first Ctrl-C asks the search to stop and keep what it has; the second ends the process.
fn on_interrupt(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    let set = ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
    });
    if let Err(why) = set {
        tracing::warn!("Ctrl-C will not keep results: {why}");
    }
}

/// Sends what the program says about itself to standard error.
fn listen(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    // loom tells of each execution, and its coroutines take a violation for an error of theirs
    let filter = format!("{level},generator=off,loom=off");
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
}
