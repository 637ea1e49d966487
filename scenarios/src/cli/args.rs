//! What the command line takes.

use crate::lang::{Design, Explore, StrategyHint};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use interleave::selftest::Flavour;
use model::platform::Plant;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Explores the interleavings of a GPU shared-virtual-memory driver.
///
/// svmlab runs small scenarios (a few threads, a GPU wave, the driver's own workers) on a simulated Linux mm and a
/// simulated GPU, in every order in which their steps can interleave, and checks twelve invariants after each step.
#[derive(Parser, Debug)]
#[command(name = "svmlab", version = crate::run::VERSION, max_term_width = 100, disable_help_subcommand = true)]
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
    /// `svmlab replay` runs again, bit for bit. A token, short enough for a mail, does the same for everybody who has the
    /// scenario.
    #[command(after_help = EXIT_CODES)]
    Check(Box<CheckArgs>),
    /// Runs the same scenario under several designs and counts what each asks of the mm and the GPUs.
    ///
    /// The sample is the search of `svmlab check`: a number means that every execution counted has it, 2..5 that they
    /// differ. Nothing is timed.
    Compare(CompareArgs),
    /// Puts the reports of shards together: one verdict, if they cover everything exactly once.
    #[command(after_help = EXIT_CODES)]
    Merge(MergeArgs),
    /// Runs the interleaving of a trace file or of a token again and tells it.
    ///
    /// A trace file holds its scenario. A token (two-holes:1yLs..., as `svmlab check` prints it) only names it: the
    /// scenario comes with svmlab, or from the file that --scenario names, and must be the one the token was made from.
    Replay(ReplayArgs),
    /// Plants known races one by one, and looks for each with scenarios that were not written for it.
    ///
    /// The corpus first, then generated scenarios, with the same budget for every bug. A find counts when the scenario
    /// holds without the bug. Exit code 1 says that one was missed.
    Museum(MuseumArgs),
    /// Prints scenarios that a grammar makes of seeds; `svmlab check --generated` checks them.
    Generate(GenerateArgs),
    /// Lists the scenarios that come with svmlab.
    List(ListArgs),
    /// Shows a scenario: what it asks, what each design answers, its text.
    Show(ShowArgs),
    /// Tests svmlab itself.
    Selftest(SelftestArgs),
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
    /// Checks the scenarios that the seeds from 0 to N-1 make, too; alone when no other is named.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) generated: u64,
    /// Who searches. loom shares nothing with svmlab's own engine but the model: a second opinion, beside the first.
    #[arg(long, value_enum, default_value_t = EngineArg::Own)]
    pub(super) engine: EngineArg,
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
    /// How many failures each actor may meet (allocations that fail, waits that time out); all of them are explored.
    #[arg(long, value_name = "N")]
    pub(super) failures: Option<u32>,
    /// Switches on a planted bug, to see it found; may be repeated. `svmlab museum --list` names them.
    #[arg(long, value_name = "NAME", value_parser = plants(), hide_possible_values = true)]
    pub(super) plant: Vec<Plant>,
    /// Makes a scenario that falls smaller before it is told: leaves out threads, operations, GPUs, pages, and keeps
    /// what still violates the same invariant in as few context switches. Saves it as a .kdl file beside the trace.
    #[arg(long)]
    pub(super) minimise: bool,
    /// Where traces of violations are saved.
    #[arg(long, value_name = "DIR", default_value = "traces")]
    pub(super) traces: PathBuf,
    /// How many scenarios are explored at the same time; as many as there are processors when left out. Changes
    /// nothing about the results.
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<std::num::NonZeroUsize>,
    /// How many threads explore each scenario. Changes nothing about the results.
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Long searches")]
    pub(super) threads: std::num::NonZeroUsize,
    /// Saves the state of each search in a file in DIR now and then, on Ctrl-C and at its end.
    #[arg(long, value_name = "DIR", help_heading = "Long searches")]
    pub(super) checkpoint: Option<PathBuf>,
    /// How often it is saved.
    #[arg(long, value_name = "SECONDS", default_value = "5", help_heading = "Long searches")]
    #[arg(value_parser = seconds)]
    pub(super) checkpoint_every: Duration,
    /// Goes on where the checkpoints in DIR are, and saves there. The result is that of a search that was never
    /// interrupted. A search that has no checkpoint there begins.
    #[arg(long, value_name = "DIR", conflicts_with = "checkpoint", help_heading = "Long searches")]
    pub(super) resume: Option<PathBuf>,
    /// Explores part I of N (from 1) of one scenario under one design, and writes a report for `svmlab merge`; exit
    /// code 0 whatever is found. If the report is there already, goes on with the tasks it lacks.
    #[arg(long, value_name = "I/N", conflicts_with_all = ["checkpoint", "resume"], help_heading = "Long searches")]
    pub(super) shard: Option<Shard>,
    /// Where a shard writes its report.
    #[arg(long, value_name = "DIR", default_value = "shards", help_heading = "Long searches")]
    pub(super) reports: PathBuf,
    /// Prints JSON; with --full, timelines too.
    #[arg(long)]
    pub(super) json: bool,
    /// Tells every operation, with its place in the code.
    #[arg(long)]
    pub(super) full: bool,
    /// Prints the table of verdicts only, and tells no interleaving.
    #[arg(long, conflicts_with_all = ["json", "full"])]
    pub(super) summary: bool,
}

/// See [`CheckArgs::shard`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shard {
    /// From 1.
    pub(super) number: usize,
    pub(super) of: usize,
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
            _ => Err(String::from("expected I/N with I from 1 to N, as in 3/8")),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    number.ok_or_else(|| String::from("expected a number of seconds, as in 5 or 0.5"))
}

/// See [`Command::Merge`].
#[derive(Args, Debug)]
pub(super) struct MergeArgs {
    /// Reports that `svmlab check --shard` has written.
    #[arg(value_name = "REPORT", required = true)]
    pub(super) reports: Vec<PathBuf>,
    /// Where the trace of a violation is saved.
    #[arg(long, value_name = "DIR", default_value = "traces")]
    pub(super) traces: PathBuf,
    /// Prints JSON; with --full, timelines too.
    #[arg(long)]
    pub(super) json: bool,
    /// Tells every operation, with its place in the code.
    #[arg(long)]
    pub(super) full: bool,
}

impl CheckArgs {
    /// How many scenarios are explored at the same time.
    pub(super) fn workers(&self) -> usize {
        self.jobs.or(std::thread::available_parallelism().ok()).map_or(1, usize::from)
    }

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
        let (preemptions, failures) = (self.preemptions, self.failures);
        Explore { strategy, preemptions, executions, failures, ..Explore::default() }
    }
}

/// See [`CheckArgs::engine`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum EngineArg {
    /// svmlab's own: every scenario, traces, replay.
    Own,
    /// The loom crate: five threads at most, weak memory, no traces; takes 4000 executions when --executions is left
    /// out. Exit code 1 says that the engines disagree.
    Loom,
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

/// See [`Command::Museum`].
#[derive(Args, Debug)]
pub(super) struct MuseumArgs {
    /// Names of planted bugs or of entries of the museum; all of them when left out.
    #[arg(value_name = "ENTRY")]
    pub(super) entry: Vec<String>,
    /// Lists what can be planted, and plants nothing.
    #[arg(long)]
    pub(super) list: bool,
    /// How many generated scenarios there are after the corpus.
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(super) generated: u64,
    /// How many bugs are looked for at the same time; as many as there are processors when left out. Changes nothing about
    /// the results.
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<std::num::NonZeroUsize>,
    /// Where traces are saved.
    #[arg(long, value_name = "DIR", default_value = "traces/museum")]
    pub(super) traces: PathBuf,
    /// Says how long each took, too, which is another time each time.
    #[arg(long)]
    pub(super) time: bool,
    /// Prints the chapter docs/museum.md.
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// See [`Command::Generate`].
#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    /// The seed; the first one, if there are several.
    #[arg(value_name = "SEED", default_value_t = 0)]
    pub(super) seed: u64,
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) count: u64,
}

/// See [`Command::Replay`].
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// A trace file, or a token.
    #[arg(value_name = "TRACE|TOKEN")]
    pub(super) trace: String,
    /// The scenario that a token is about, if it did not come with svmlab.
    #[arg(long, value_name = "FILE")]
    pub(super) scenario: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Tells every operation, with its place in the code.
    #[arg(long)]
    pub(super) full: bool,
    /// Replays it in a real kernel, in a virtual machine (driver-port/vm/test): the same must fall there, and nothing under
    /// `hardened` with the same script.
    #[arg(long, conflicts_with_all = ["json", "full", "scenario"])]
    pub(super) kernel: bool,
}

/// See [`Command::List`].
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// See [`Command::Compare`].
#[derive(Args, Debug)]
pub(super) struct CompareArgs {
    /// Names of scenarios that come with svmlab, .kdl files, or folders of them.
    #[arg(value_name = "SCENARIO", required = true)]
    pub(super) what: Vec<String>,
    /// Compares this design; may be repeated. All that the scenario allows when left out.
    #[arg(long, value_parser = designs())]
    pub(super) design: Vec<Design>,
    /// Counts over at most N executions of each design.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) executions: u64,
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

/// See [`Command::Selftest`].
#[derive(Args, Debug)]
pub(super) struct SelftestArgs {
    /// Which part.
    #[command(subcommand)]
    pub(super) part: SelftestPart,
}

/// See [`SelftestArgs`].
#[derive(Subcommand, Debug)]
pub(super) enum SelftestPart {
    /// Compares the reduced search with the unreduced one on random programs.
    ///
    /// Every verdict rests on the reduction leaving out nothing but repetitions. Here it is held, on small random
    /// programs over every primitive, against a search that leaves out nothing: same happens-before classes, same
    /// verdicts, same things seen by the threads. A search with bounded preemptions is held against an enumeration.
    /// The first program that makes a difference is shrunk and printed.
    #[command(after_help = SELFTEST_EXIT_CODES)]
    Engine(EngineArgs),
}

const SELFTEST_EXIT_CODES: &str = "Exit codes:
  0    no difference
  1    a difference; the smallest program that shows one is printed
  2    bad input
  130  interrupted; what was compared so far is printed";

/// See [`SelftestPart::Engine`].
#[derive(Args, Debug)]
pub(super) struct EngineArgs {
    /// How many programs to compare; those that are too big for the unreduced search do not count.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) programs: u64,
    /// The first seed; each program has the next one.
    #[arg(long, value_name = "S", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(..1 << 62))]
    pub(super) seed: u64,
    /// What the programs are about; may be repeated. All flavours in turn when left out.
    #[arg(long, value_name = "F", value_parser = flavours())]
    pub(super) flavour: Vec<Flavour>,
    /// How many threads search; as many as there are processors when left out. Changes nothing about the results.
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<std::num::NonZeroUsize>,
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
}

fn flavours() -> impl TypedValueParser<Value = Flavour> {
    PossibleValuesParser::new(Flavour::ALL.iter().map(|f| f.name())).try_map(|name| name.parse::<Flavour>())
}

fn designs() -> impl TypedValueParser<Value = Design> {
    PossibleValuesParser::new(Design::ALL.iter().map(|d| d.name()))
        .try_map(|name| Design::named(&name).ok_or_else(|| format!("no design is called {name}")))
}

fn plants() -> impl TypedValueParser<Value = Plant> {
    PossibleValuesParser::new(Plant::ALL.iter().map(|p| p.name()))
        .try_map(|name| Plant::named(&name).ok_or_else(|| format!("no plant is called {name}")))
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
