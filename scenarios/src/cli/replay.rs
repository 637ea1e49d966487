//! `svmlab replay`: a trace file, run again and told.

use super::args::ReplayArgs;
use super::list::to_json;
use super::terminal::Terminal;
use super::{BadInput, FINE};
use crate::report::{Story, TimelineJson, story};
use crate::run::{TraceHeader, replay_trace};
use interleave::trace::TraceFile;
use std::fs;

/// Runs it; the exit code.
pub(super) fn replay(args: &ReplayArgs, terminal: &Terminal) -> Result<u8, BadInput> {
    let path = args.trace.display().to_string();
    let in_file = |why: &dyn std::fmt::Display| BadInput::new(format!("{path}: {why}"));
    let text = fs::read_to_string(&args.trace).map_err(|e| in_file(&e))?;
    let trace = TraceFile::parse(&text).map_err(|e| in_file(&e))?;
    let (scenario, design, timeline) = replay_trace(&trace).map_err(|e| in_file(&e))?;
    let header: TraceHeader = serde_json::from_value(trace.header.clone()).map_err(|e| in_file(&e))?;
    terminal.print(&if args.json {
        to_json(&serde_json::json!({
            "scenario": scenario.name,
            "design": design.name(),
            "plants": header.plants,
            "timeline": TimelineJson::new(&timeline),
        }))
    } else {
        let told = Story {
            scenario: &scenario,
            design,
            plants: &header.plants,
            timeline: &timeline,
            found: String::new(),
            trace: Some(&path),
        };
        story(&told, &terminal.page(args.full))
    });
    Ok(FINE)
}
