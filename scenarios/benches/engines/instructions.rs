//! Instructions, by valgrind: they do not depend on who else is at work.
//!
//! The benchmark runs itself under callgrind, one job once and the same job twice; the difference of the two is the job
//! without start-up. What the kernel does is not in it: loom spends more than half of its time there.

use crate::jobs::{self, FOREVER};
use crate::measure::tell;
use crate::search::Budget;
use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Output};

/// What one search of a job costs.
#[derive(Clone, Copy)]
pub(crate) struct Instructions {
    instructions: u64,
    executions: u64,
    operations: u64,
}

impl Instructions {
    pub(crate) fn per_operation(self) -> f64 {
        self.instructions as f64 / self.operations as f64
    }
    pub(crate) fn per_execution(self) -> f64 {
        self.instructions as f64 / self.executions as f64
    }
}

/// What valgrind counted.
#[derive(Default)]
pub(crate) struct Valgrind {
    counted: BTreeMap<String, Instructions>,
    /// Why there is nothing.
    pub(crate) missing: Option<String>,
}

impl Valgrind {
    /// Runs the jobs that `wanted` picks by name.
    pub(crate) fn count(wanted: impl Fn(&str) -> bool) -> Self {
        let mut all = Valgrind::default();
        for name in jobs::counted().iter().map(jobs::Job::name).filter(|name| wanted(name)) {
            tell(&format!("under valgrind: {name}"));
            match both(&name) {
                Ok(counted) => {
                    all.counted.insert(name, counted);
                }
                Err(why) => {
                    all.missing = Some(why);
                    break;
                }
            }
        }
        all
    }

    /// Of the job of this name, if it was counted.
    pub(crate) fn of(&self, name: &str) -> Option<Instructions> {
        self.counted.get(name).copied()
    }
}

fn both(name: &str) -> Result<Instructions, String> {
    let ((once, _), (twice, done)) = (under_valgrind(name, 1)?, under_valgrind(name, 2)?);
    let (executions, operations) = done;
    Ok(Instructions { instructions: twice - once, executions: executions / 2, operations: operations / 2 })
}

/// Instructions of the whole process; executions and operations it says it did.
fn under_valgrind(name: &str, times: u32) -> Result<(u64, (u64, u64)), String> {
    let me = std::env::current_exe().map_err(|e| format!("the benchmark does not find itself: {e}"))?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(me)
        .args(["--bench", "--count", name, "--times", &times.to_string()])
        .output();
    let Output { status, stdout, stderr } = match run {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err("valgrind not found".into()),
        other => other.map_err(|e| format!("valgrind does not start: {e}"))?,
    };
    let (said, told) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let collected = told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    let done = said.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.trim().parse().ok()?)));
    match (status.success(), collected, done) {
        (true, Some(collected), Some(done)) => Ok((collected, done)),
        _ => Err(format!("{name} under valgrind ended with {status}: {}", told.lines().last().unwrap_or_default())),
    }
}

/// The other side: one job, so many times. Prints executions and operations.
///
/// # Errors
/// No job has this name.
pub(crate) fn be_counted(name: &str, times: u32) -> Result<(), String> {
    let jobs = jobs::counted();
    let job = jobs.iter().find(|job| job.name() == name).ok_or_else(|| format!("no job is called {name:?}"))?;
    let run = job.run.as_ref().map_err(|why| why.to_string())?;
    let (mut executions, mut operations) = (0, 0);
    for _ in 0..times {
        let sample = run(Budget { time: FOREVER, executions: job.executions });
        executions += sample.executions;
        operations += sample.operations;
    }
    println!("{executions} {operations}");
    Ok(())
}
