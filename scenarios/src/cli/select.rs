//! Which scenarios the user means.

use super::BadInput;
use super::corpus::load_corpus;
use super::terminal::Terminal;
use crate::lang::{BadScenario, Scenario, closest, parse};
use std::fs;
use std::path::{Path, PathBuf};

/// The scenarios of the corpus, sorted by path.
pub(super) fn all(terminal: &Terminal) -> Result<Vec<Scenario>, BadInput> {
    load_corpus().map_err(|bad| shown(&[bad], terminal))
}

/// The scenarios that `what` names, in that order: names of the corpus, files, folders. All of the corpus when it
/// names none.
pub(super) fn select(what: &[String], terminal: &Terminal) -> Result<Vec<Scenario>, BadInput> {
    let corpus = all(terminal)?;
    if what.is_empty() {
        return Ok(corpus);
    }
    let mut found: Vec<Scenario> = Vec::new();
    let mut bad = Vec::new();
    for name in what {
        let files = match corpus.iter().find(|s| s.name == *name) {
            Some(scenario) => {
                found.push(scenario.clone());
                continue;
            }
            None if Path::new(name).exists() => files(Path::new(name))?,
            None => return Err(unknown(name, &corpus)),
        };
        for file in files {
            let text = fs::read_to_string(&file).map_err(|e| BadInput::new(format!("{}: {e}", file.display())))?;
            match parse(&file.display().to_string(), &text) {
                Ok(scenario) => found.push(scenario),
                Err(why) => bad.push(why),
            }
        }
    }
    if !bad.is_empty() {
        return Err(shown(&bad, terminal));
    }
    // Results and traces go by name, so a name must say which.
    for (i, scenario) in found.iter().enumerate() {
        if let Some(other) = found[..i].iter().find(|s| s.name == scenario.name) {
            return Err(BadInput::new(match other.source.path == scenario.source.path {
                true => format!("{} is given twice", scenario.source.path),
                false => format!(
                    "two scenarios are called {}: {} and {}",
                    scenario.name, other.source.path, scenario.source.path
                ),
            }));
        }
    }
    Ok(found)
}

/// A file, or the .kdl files of a folder and of the folders in it, sorted.
fn files(path: &Path) -> Result<Vec<PathBuf>, BadInput> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let unreadable = |e| BadInput::new(format!("{}: {e}", path.display()));
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            // an empty folder inside is nothing to complain about
            found.extend(files(&entry).unwrap_or_default());
        } else if entry.extension().is_some_and(|e| e == "kdl") {
            found.push(entry);
        }
    }
    if found.is_empty() {
        Err(BadInput::new(format!("{}: no .kdl file in this folder", path.display())))
    } else {
        Ok(found)
    }
}

fn unknown(name: &str, corpus: &[Scenario]) -> BadInput {
    let looks_like_a_file = name.ends_with(".kdl") || name.contains(std::path::MAIN_SEPARATOR);
    if looks_like_a_file {
        return BadInput::new(format!("{name}: no such file"));
    }
    BadInput::new(match closest(name, corpus.iter().map(|s| s.name.as_str())) {
        Some(near) => format!("no scenario is called `{name}`; did you mean `{near}`?"),
        None => format!("no scenario is called `{name}`, and there is no such file; `svmlab list` lists what there is"),
    })
}

fn shown(bad: &[BadScenario], terminal: &Terminal) -> BadInput {
    BadInput(bad.iter().map(|b| b.render(terminal.error_width(), terminal.error_colours())).collect())
}
