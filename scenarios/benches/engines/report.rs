//! What a run of the benchmarks says, as `--json` writes it. Times are medians; everything is for one OS thread.

use serde::Serialize;

/// All of it.
#[derive(Serialize)]
pub(crate) struct Report {
    /// UTC.
    pub(crate) date: String,
    pub(crate) machine: String,
    /// Whether the run was a quick one: numbers are then rough.
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Why instructions are missing, if they are.
    pub(crate) no_instructions: Option<String>,
    pub(crate) exhaust: Vec<SearchRow>,
    pub(crate) sampling: Vec<SamplingRow>,
    pub(crate) first_bug: Vec<BugRow>,
    pub(crate) targets: Vec<Target>,
}

/// A search that covers everything, or tried to.
#[derive(Serialize)]
pub(crate) struct SearchRow {
    pub(crate) engine: String,
    pub(crate) model: String,
    pub(crate) method: String,
    /// Why it did not run or did not finish.
    pub(crate) unfinished: Option<String>,
    pub(crate) executions: u64,
    /// Distinct schedules, where the engine can tell.
    pub(crate) distinct: Option<u64>,
    /// Executions over distinct schedules the model has.
    pub(crate) over_minimum: Option<f64>,
    pub(crate) us_per_execution: f64,
    pub(crate) ns_per_event: f64,
    pub(crate) instructions_per_event: Option<f64>,
    pub(crate) instructions_per_execution: Option<f64>,
    /// Of the whole search; of what was done when it did not finish.
    pub(crate) seconds: f64,
}

/// A search by chance, on a model without a bug.
#[derive(Serialize)]
pub(crate) struct SamplingRow {
    pub(crate) engine: String,
    pub(crate) model: String,
    pub(crate) method: String,
    pub(crate) executions_per_second: f64,
    pub(crate) ns_per_event: f64,
    pub(crate) instructions_per_event: Option<f64>,
    /// Executions per second over those of shuttle by the same method on the same model, round by round.
    pub(crate) over_shuttle: Option<f64>,
}

/// A search for a bug.
#[derive(Serialize)]
pub(crate) struct BugRow {
    pub(crate) engine: String,
    pub(crate) model: String,
    pub(crate) method: String,
    /// Searches that found it, and searches.
    pub(crate) found: usize,
    pub(crate) searches: usize,
    /// Why the others did not.
    pub(crate) missed: Option<String>,
    /// Until it was found; least and most where there are several seeds.
    pub(crate) executions: Option<Spread>,
    /// Median seconds until it was found.
    pub(crate) seconds: Option<f64>,
}

/// Of several searches.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: u64,
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// Something this project wants to reach.
#[derive(Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    /// None: this run did not measure it.
    pub(crate) met: Option<bool>,
}

/// The median; NaN of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
