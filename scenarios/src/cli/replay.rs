//! `svmlab replay`: a trace file or a token, run again and told.

use super::args::ReplayArgs;
use super::list::to_json;
use super::select::{all, select};
use super::terminal::Terminal;
use super::{BadInput, FINE};
use crate::lang::{Design, Scenario};
use crate::report::{Story, TimelineJson, story};
use crate::run::{TraceHeader, replay_trace};
use crate::token::{Replayed, Token, looks_like_token};
use interleave::Timeline;
use interleave::trace::TraceFile;
use std::fs;
use std::path::Path;

/// An execution that was run again.
pub(super) struct Again {
    pub(super) scenario: Scenario,
    pub(super) design: Design,
    pub(super) plants: Vec<String>,
    pub(super) timeline: Timeline,
    /// What the trace is of, if it is not what falls in it.
    pub(super) found: String,
    /// How to do it once more.
    trace: Option<String>,
    token: Option<String>,
}

/// Runs it; the exit code.
pub(super) fn replay(args: &ReplayArgs, terminal: &Terminal) -> Result<u8, BadInput> {
    let is_file = Path::new(&args.trace).exists();
    let again = match !is_file && looks_like_token(&args.trace) {
        true => from_token(args, terminal)?,
        false => from_file(args)?,
    };
    if args.kernel {
        return super::kernel::replay(&args.trace, is_file, &again);
    }
    terminal.print(&if args.json {
        to_json(&serde_json::json!({
            "scenario": again.scenario.name,
            "design": again.design.name(),
            "plants": again.plants,
            "timeline": TimelineJson::new(&again.timeline),
        }))
    } else {
        let told = Story {
            scenario: &again.scenario,
            design: again.design,
            plants: &again.plants,
            timeline: &again.timeline,
            found: again.found,
            reduced: String::new(),
            trace: again.trace.as_deref(),
            token: again.token.as_deref(),
        };
        story(&told, &terminal.page(args.full))
    });
    Ok(FINE)
}

fn from_file(args: &ReplayArgs) -> Result<Again, BadInput> {
    let path = &args.trace;
    let in_file = |why: &dyn std::fmt::Display| BadInput::new(format!("{path}: {why}"));
    if args.scenario.is_some() {
        return Err(in_file(&"a trace file holds its scenario; --scenario is for tokens"));
    }
    if !Path::new(path).exists() {
        return Err(in_file(&"no such file, and not a token, which looks like two-holes:1sj0A..."));
    }
    let text = fs::read_to_string(path).map_err(|e| in_file(&e))?;
    let trace = TraceFile::parse(&text).map_err(|e| in_file(&e))?;
    let (scenario, design, timeline) = replay_trace(&trace).map_err(|e| in_file(&e))?;
    let header: TraceHeader = serde_json::from_value(trace.header.clone()).map_err(|e| in_file(&e))?;
    let found = match &timeline.violation {
        Some(_) => String::new(),
        None => format!("one side of what is predicted, no further: {}", trace.violation.what),
    };
    Ok(Again { scenario, design, plants: header.plants, timeline, found, trace: Some(path.clone()), token: None })
}

fn from_token(args: &ReplayArgs, terminal: &Terminal) -> Result<Again, BadInput> {
    let token = Token::parse(&args.trace).map_err(BadInput::new)?;
    let (scenario, file) = match &args.scenario {
        Some(file) => match <[Scenario; 1]>::try_from(select(std::slice::from_ref(file), terminal)?) {
            Ok([scenario]) => (scenario, format!(" --scenario {file}")),
            Err(several) => {
                return Err(BadInput::new(format!("{file}: {} scenarios, and a token is about one", several.len())));
            }
        },
        None => {
            let found = all(terminal)?.into_iter().find(|s| s.name == token.scenario);
            let unknown = || {
                let name = &token.scenario;
                BadInput::new(format!(
                    "the token is about `{name}`, which does not come with this svmlab; name its file: --scenario {name}.kdl"
                ))
            };
            (found.ok_or_else(unknown)?, String::new())
        }
    };
    let Replayed { design, plants, timeline } = token.replay(&scenario).map_err(BadInput::new)?;
    let plants = plants.iter().map(|p| p.name().to_owned()).collect();
    let token = Some(format!("{}{file}", token.to_text()));
    Ok(Again { scenario, design, plants, timeline, found: String::new(), trace: None, token })
}
