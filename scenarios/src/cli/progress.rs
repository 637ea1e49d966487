//! The line that says what is going on, on a terminal only.

use super::terminal::Terminal;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often the line changes.
const PACE: Duration = Duration::from_millis(100);

/// What is being explored; shared by the threads that explore.
pub(super) struct Progress {
    watched: bool,
    state: Mutex<State>,
}

struct State {
    done: usize,
    total: usize,
    /// Executions of what runs, by the name shown; None where the name says it all.
    running: BTreeMap<String, Option<u64>>,
    shown: Option<Instant>,
    length: usize,
}

impl Progress {
    pub(super) fn new(terminal: &Terminal, total: usize) -> Self {
        let state = State { done: 0, total, running: BTreeMap::new(), shown: None, length: 0 };
        Progress { watched: terminal.is_watched(), state: Mutex::new(state) }
    }

    /// Whether anybody looks; if not, telling is a waste.
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// `name` has explored so many executions.
    pub(super) fn tell(&self, name: &str, executions: u64) {
        self.change(|state| {
            state.running.insert(name.to_owned(), Some(executions));
        });
    }

    /// `name` is done.
    pub(super) fn done(&self, name: &str) {
        self.change(|state| {
            state.running.remove(name);
            state.done += 1;
        });
    }

    /// `done` are done; `what` says more about them.
    pub(super) fn so_many(&self, done: usize, what: &str) {
        self.change(|state| {
            state.done = done;
            state.running.clear();
            state.running.insert(what.to_owned(), None);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // a thread that panicked elsewhere is no reason to stop telling
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        change(&mut state);
        if self.watched && state.shown.is_none_or(|at| at.elapsed() >= PACE) {
            state.shown = Some(Instant::now());
            let told = |(name, n): (&String, &Option<u64>)| n.map_or_else(|| name.clone(), |n| format!("{name} {n}"));
            let running: Vec<String> = state.running.iter().map(told).collect();
            let line = format!("{} of {} done  {}", state.done, state.total, running.join(", "));
            let line: String = line.chars().take(100).collect();
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
