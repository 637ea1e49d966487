//! What `svmlab check` does for searches that take long: threads, checkpoints, going on.

use super::BadInput;
use super::args::CheckArgs;
use super::check::Job;
use crate::run::{CheckOptions, Question};
use interleave::search::{Checkpoint, can_be_split};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// What is asked for, and the checkpoints of all jobs.
pub(super) struct Long {
    threads: usize,
    pace: Option<Duration>,
    files: Vec<Option<ItsFile>>,
    /// The first time that saving failed.
    trouble: Mutex<Option<String>>,
}

/// The checkpoint of one job.
struct ItsFile {
    path: PathBuf,
    header: Value,
    found: Mutex<Option<Checkpoint>>,
}

impl Long {
    /// Reads what there is to go on from, before anything is explored.
    pub(super) fn new(args: &CheckArgs, jobs: &[Job<'_>], options: &CheckOptions) -> Result<Self, BadInput> {
        let dir = args.checkpoint.as_ref().or(args.resume.as_ref());
        let mut files = Vec::with_capacity(jobs.len());
        if let Some(dir) = dir {
            fs::create_dir_all(dir).map_err(|e| BadInput::new(format!("{}: {e}", dir.display())))?;
        }
        for job in jobs {
            files.push(match dir {
                Some(dir) => Some(its_file(dir, job, options, args.resume.is_some())?),
                None => None,
            });
        }
        let has_one = |file: &Option<ItsFile>| file.as_ref().is_some_and(|f| f.path.exists());
        if let Some(dir) = &args.resume
            && !files.iter().any(has_one)
        {
            let names: Vec<String> = files.iter().flatten().map(|f| file_name(&f.path)).collect();
            let names = if names.len() > 3 { String::from("any of these scenarios") } else { names.join(" or ") };
            return Err(BadInput::new(format!("{}: no checkpoint of {names} in this folder", dir.display())));
        }
        let pace = dir.map(|_| args.checkpoint_every);
        Ok(Long { threads: args.threads.get(), pace, files, trouble: Mutex::default() })
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.threads > 1 || self.pace.is_some()
    }
    pub(super) fn threads(&self) -> usize {
        self.threads
    }
    /// How often to save, if at all.
    pub(super) fn pace(&self) -> Option<Duration> {
        self.pace
    }

    /// Where job `nth` goes on.
    pub(super) fn resume(&self, nth: usize) -> Option<Checkpoint> {
        let file = self.files.get(nth)?.as_ref()?;
        file.found.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// Saves job `nth`.
    pub(super) fn save(&self, nth: usize, checkpoint: &Checkpoint) {
        let Some(Some(file)) = self.files.get(nth) else { return };
        if let Err(why) = checkpoint.write(&file.path, &file.header) {
            let mut trouble = self.trouble.lock().unwrap_or_else(|e| e.into_inner());
            trouble.get_or_insert_with(|| format!("{}: {why}", file.path.display()));
        }
    }

    /// Why something could not be saved.
    pub(super) fn trouble(&self) -> Option<BadInput> {
        self.trouble.lock().unwrap_or_else(|e| e.into_inner()).as_ref().map(BadInput::new)
    }
}

fn its_file(dir: &Path, job: &Job<'_>, options: &CheckOptions, resume: bool) -> Result<ItsFile, BadInput> {
    let question = Question::new(job.scenario, job.design, options);
    if !can_be_split(&question.search().strategy) {
        let what = "is searched at random, with a cache or under a bound; only an exhaustive search has checkpoints";
        return Err(BadInput::new(format!("{} {what}", job.name())));
    }
    let path = dir.join(format!("{}.{}.checkpoint", job.scenario.name, job.design));
    let header = serde_json::to_value(question.header()).expect("plain data serialises");
    let in_file = |why: &dyn std::fmt::Display| BadInput::new(format!("{}: {why}", path.display()));
    let found = match (resume, path.exists()) {
        (true, true) => {
            let text = fs::read_to_string(&path).map_err(|e| in_file(&e))?;
            Some(Checkpoint::parse(&text, &header).map_err(|e| in_file(&e))?)
        }
        (false, true) => {
            let what = format!("there is a checkpoint already; go on from it with --resume {}", dir.display());
            return Err(in_file(&format!("{what}, or remove it")));
        }
        (_, false) => None,
    };
    Ok(ItsFile { path, header, found: Mutex::new(found) })
}

fn file_name(path: &Path) -> String {
    path.file_stem().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}
