//! A counterexample becomes a script for the gates of a real kernel.

use scenarios::gates::{GateActor, GateScript, Point};
use scenarios::lang::{Design, parse};
use scenarios::run::{CheckOptions, CheckVerdict, check_scenario};
use std::fs;
use std::sync::Arc;

/// The script of what falls in `file` under poc-v1.
fn script(file: &str) -> GateScript {
    let path = format!("{}/corpus/{file}", env!("CARGO_MANIFEST_DIR"));
    let scenario = parse(&path, &fs::read_to_string(&path).unwrap()).unwrap();
    let result = check_scenario(&scenario, Design::PocV1, &CheckOptions::default(), &Arc::default(), None);
    let CheckVerdict::Violated(finding) = result.verdict else { panic!("{file} holds") };
    GateScript::new(&scenario, &finding.timeline)
}

fn place(script: &GateScript, actor: &GateActor, point: &Point) -> usize {
    let found = script.steps.iter().position(|step| script.actors[step.actor] == *actor && step.point == *point);
    found.unwrap_or_else(|| panic!("{actor}: {point} is not in the script"))
}

#[test]
fn two_holes_are_made_before_the_worker_looks() {
    let script = script("unmap/two-holes.kdl");
    let worker = GateActor::Work("gc_work".into());
    let app = GateActor::Thread(0);
    let first_ends = place(&script, &app, &Point::End(0));
    let second_begins = place(&script, &app, &Point::Begin(1));
    let starts = place(&script, &worker, &Point::WorkStart);
    assert!(first_ends < second_begins && second_begins < starts);
}
