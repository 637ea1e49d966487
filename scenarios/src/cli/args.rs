//! What the command line takes.

use crate::lang::{Design, Explore, StrategyHint};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use model::platform::Plant;
use std::path::PathBuf;

/// Explores the interleavings of a GPU shared-virtual-memory driver.
///
/// svmlab runs small scenarios (a few threads, a GPU wave, the driver's own workers) on a simulated Linux mm and a
/// simulated GPU, in every order in which their steps can interleave, and checks twelve invariants after each step.
#[derive(Parser, Debug)]
#[command(name = "svmlab", version, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// What to do; without it, svmlab says what to try first.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// Says more on standard error; repeat for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

/// See [`Cli`].
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Explores scenarios and says whether an invariant falls.
    ///
    /// Without --design every scenario is put to the designs it names, and the exit code says whether each answers as
    /// the scenario says it must. Whatever falls is shrunk to few context switches, told, and saved as a trace that
    /// `svmlab replay` runs again, bit for bit.
    #[command(after_help = EXIT_CODES)]
    Check(CheckArgs),
    /// Runs the interleaving of a trace file again and tells it.
    Replay(ReplayArgs),
    /// Lists the scenarios that come with svmlab.
    List(ListArgs),
    /// Shows a scenario: what it asks, what each design answers, its text.
    Show(ShowArgs),
}

const EXIT_CODES: &str = "Exit codes:
  0    every verdict is what the scenario says
  1    another verdict; with --design or --plant: a violation was found
  2    bad input, with the place in the file
  130  interrupted; what was found so far is printed and saved";

/// See [`Command::Check`].
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Names of scenarios that come with svmlab, .kdl files, or folders of them; all that come with it when left out.
    #[arg(value_name = "SCENARIO")]
    pub(super) what: Vec<String>,
    /// Puts the scenarios to this design only; may be repeated.
    #[arg(long, value_parser = designs())]
    pub(super) design: Vec<Design>,
    /// Explores only interleavings with at most N preemptions: points at which another thread, wave or worker goes on
    /// although the one that runs could.
    #[arg(long, value_name = "N")]
    pub(super) preemptions: Option<u32>,
    /// How to search; the scenario's own way when left out.
    #[arg(long, value_enum)]
    pub(super) strategy: Option<StrategyArg>,
    /// Where the generator of a random, pct or pos search starts.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Depth of the bug that a pct search looks for.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) depth: u32,
    /// Stops after N executions of each scenario; random, pct and pos need it and take 10000 when it is left
    /// out.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) executions: Option<u64>,
    /// Switches on a planted bug, to see it found; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = plants())]
    pub(super) plant: Vec<Plant>,
    /// Where traces of violations are saved.
    #[arg(long, value_name = "DIR", default_value = "traces")]
    pub(super) traces: PathBuf,
    /// How many scenarios are explored at the same time; as many as there are processors when left out. Changes
    /// nothing about the results.
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<std::num::NonZeroUsize>,
    /// Prints JSON; with --full, timelines too.
    #[arg(long)]
    pub(super) json: bool,
    /// Tells every operation, with its place in the code.
    #[arg(long)]
    pub(super) full: bool,
}

impl CheckArgs {
    /// How to search, as far as the user says.
    pub(super) fn explore(&self) -> Explore {
        let strategy = match self.strategy {
            None | Some(StrategyArg::Exhaustive) => StrategyHint::Exhaustive,
            Some(StrategyArg::Cached) => StrategyHint::Cached,
            Some(StrategyArg::FewestPreemptions) => StrategyHint::FewestPreemptions,
            Some(StrategyArg::Pos) => StrategyHint::Pos { seed: self.seed },
            Some(StrategyArg::Random) => StrategyHint::Random { seed: self.seed },
            Some(StrategyArg::Pct) => StrategyHint::Pct { seed: self.seed, depth: self.depth },
        };
        // a random search does not end by itself
        let executions = self.executions.or((!strategy.ends()).then_some(10_000));
        Explore { strategy, preemptions: self.preemptions, executions, ..Explore::default() }
    }
}

/// See [`CheckArgs::strategy`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum StrategyArg {
    /// Every interleaving, equivalent ones once.
    Exhaustive,
    /// Every interleaving too, by remembering how they begin; needs memory, and seldom less time.
    Cached,
    /// Every interleaving without a preemption, then those with at most one, and so on: what is found first needs the
    /// fewest.
    FewestPreemptions,
    /// Random walks.
    Random,
    /// Probabilistic concurrency testing: random priorities, few changes; says with which probability it finds a bug of
    /// --depth.
    Pct,
    /// Partial order sampling: random priorities of steps; sees more different interleavings than random walks.
    Pos,
}

/// See [`Command::Replay`].
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// The trace file.
    pub(super) trace: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Tells every operation, with its place in the code.
    #[arg(long)]
    pub(super) full: bool,
}

/// See [`Command::List`].
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// See [`Command::Show`].
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Name of a scenario that comes with svmlab, or a .kdl file.
    pub(super) scenario: String,
}

fn designs() -> impl TypedValueParser<Value = Design> {
    PossibleValuesParser::new(Design::ALL.iter().map(|d| d.name()))
        .try_map(|name| Design::named(&name).ok_or_else(|| format!("no design is called {name}")))
}

fn plants() -> impl TypedValueParser<Value = Plant> {
    PossibleValuesParser::new(Plant::ALL.iter().map(|p| p.name())).try_map(|name| {
        Plant::ALL.iter().copied().find(|p| p.name() == name).ok_or_else(|| format!("no plant is called {name}"))
    })
}

/// The command line as clap knows it, for help pages.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_random_search_always_has_an_end() {
        let args = |list: &[&str]| match Cli::parse_from([&["svmlab", "check"], list].concat()).command {
            Some(Command::Check(args)) => args.explore(),
            other => panic!("{other:?}"),
        };
        assert_eq!(args(&[]), Explore::default());
        assert_eq!(args(&["--strategy", "random"]).executions, Some(10_000));
        let pct = args(&["--strategy", "pct", "--seed", "7", "--depth", "2", "--executions", "5"]);
        assert_eq!((pct.strategy, pct.executions), (StrategyHint::Pct { seed: 7, depth: 2 }, Some(5)));
    }
}
