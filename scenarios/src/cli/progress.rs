//! The line that says what is going on, on a terminal only.

use super::terminal::Terminal;
use interleave::search::Survey;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often the line changes.
const PACE: Duration = Duration::from_millis(100);

/// What is being explored; shared by the threads that explore.
pub(super) struct Progress {
    watched: bool,
    columns: usize,
    state: Mutex<State>,
}

struct State {
    done: usize,
    total: usize,
    /// What runs, by the name shown.
    running: BTreeMap<String, Running>,
    /// What else there is to say.
    said: String,
    shown: Option<Instant>,
    length: usize,
}

struct Running {
    since: Instant,
    /// Executions when it was first told of, which are another run's if it was resumed.
    from: u64,
    executions: u64,
    /// The rest of the line when there is room for it.
    more: String,
}

impl Progress {
    pub(super) fn new(terminal: &Terminal, total: usize) -> Self {
        let state = State { done: 0, total, running: BTreeMap::new(), said: String::new(), shown: None, length: 0 };
        Progress { watched: terminal.is_watched(), columns: terminal.line_width(), state: Mutex::new(state) }
    }

    /// Whether anybody looks; if not, telling is a waste.
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// `name` has explored so many executions.
    pub(super) fn tell_count(&self, name: &str, executions: u64) {
        self.note(name, executions, String::new());
    }

    /// `name` is so far.
    pub(super) fn tell(&self, name: &str, survey: &Survey) {
        self.note(name, survey.stats.executions, details(survey));
    }

    /// `done` are done; `what` says more about them.
    pub(super) fn so_many(&self, done: usize, what: &str) {
        self.change(|state| {
            state.done = done;
            state.said = what.to_owned();
        });
    }

    fn note(&self, name: &str, executions: u64, more: String) {
        self.change(|state| {
            let fresh = || Running { since: Instant::now(), from: executions, executions, more: String::new() };
            let running = state.running.entry(name.to_owned()).or_insert_with(fresh);
            (running.executions, running.more) = (executions, more);
        });
    }

    /// `name` is done.
    pub(super) fn done(&self, name: &str) {
        self.change(|state| {
            state.running.remove(name);
            state.done += 1;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // a thread that panicked elsewhere is no reason to stop telling
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        change(&mut state);
        if self.watched && state.shown.is_none_or(|at| at.elapsed() >= PACE) {
            state.shown = Some(Instant::now());
            let line = line(state.done, state.total, &state.running) + &state.said;
            let line: String = line.chars().take(self.columns.saturating_sub(1)).collect();
            let length = line.chars().count();
            eprint!("\r{line}{:fill$}", "", fill = state.length.saturating_sub(length));
            state.length = length;
        }
    }

    /// Makes room for other output.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if self.watched && state.length > 0 {
            eprint!("\r{:fill$}\r", "", fill = state.length);
            state.length = 0;
        }
    }
}

/// One search in full; of several, how many executions each.
fn line(done: usize, total: usize, running: &BTreeMap<String, Running>) -> String {
    let mut line = if total > 1 { format!("{done} of {total} done  ") } else { String::new() };
    let one = running.len() == 1;
    let told = running.iter().map(|(name, r)| {
        if !one {
            return format!("{name} {}", r.executions);
        }
        let seconds = r.since.elapsed().as_secs_f64();
        let rate = if seconds >= 0.5 {
            format!(" ({}/s)", ((r.executions - r.from) as f64 / seconds).round())
        } else {
            String::new()
        };
        format!("{name}: {} executions{rate}{}", r.executions, r.more)
    });
    line += &told.collect::<Vec<String>>().join(", ");
    line
}

/// Distinct schedules, depth, and what is left. The estimate takes all children of a place of the tree for equally big
/// and knows only of those that are wanted so far, so it moves.
fn details(survey: &Survey) -> String {
    let left = match survey.left() {
        Some(left) => format!("estimated {:.3} % done, {} left", survey.share_done * 100.0, rough(left)),
        None => String::from("no estimate yet"),
    };
    format!(", {} distinct, deepest {}; {left}", survey.distinct(), survey.stats.longest)
}

/// Two digits and a power of ten: an estimate is no better than that.
fn rough(n: u64) -> String {
    if n < 1000 { format!("{n}") } else { format!("{:.1e}", n as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interleave::Stats;

    #[test]
    fn a_search_is_told_with_its_estimate() {
        let stats = Stats { executions: 500, cut: 20, longest: 77, ..Stats::default() };
        let survey = Survey { stats, share_done: 0.01, parts: 1 };
        assert_eq!(details(&survey), ", 480 distinct, deepest 77; estimated 1.000 % done, 5.0e4 left");
        assert_eq!(survey.left(), Some(49_500));
        let survey = Survey { share_done: 0.0, ..survey };
        assert_eq!(details(&survey), ", 480 distinct, deepest 77; no estimate yet");
    }
}
