//! loom, which shares nothing with our scheduler but the model, comes to the same verdicts.

use interleave::on_loom::{Halt, LoomBounds, LoomOutcome};
use model::platform::Plant;
use scenarios::cli::load_corpus;
use scenarios::compare::{Agreement, compare};
use scenarios::lang::{Design, Explore, Scenario, parse};
use scenarios::run::{CheckOptions, CheckResult, CheckVerdict, check_scenario};
use scenarios::world::{LoomQuestion, Opinion, ask_loom};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// One page, 4 KiB chunks only: as small as the driver gets, because loom pays for every operation.
fn scenario(body: &str) -> Scenario {
    let text = format!(
        "scenario \"small\" {{ about \"?\"; gpu xnack=#false chunk-sizes=\"4K\"\n\
         region \"buf\" at=0x200000 size=\"4K\" populate=#true\n{body}\n}}"
    );
    parse("small.kdl", &text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)))
}

fn both(
    scenario: &Scenario,
    design: Design,
    plants: &[Plant],
    preemptions: Option<u8>,
    executions: u64,
) -> (CheckResult, Opinion) {
    let never = Arc::new(AtomicBool::new(false));
    let explore = Explore { executions: Some(20_000), ..Explore::default() };
    let options = CheckOptions { explore, strategy_given: false, plants: plants.to_vec() };
    let ours = check_scenario(scenario, design, &options, &never, None);
    let bounds = LoomBounds { preemptions, executions: Some(executions), ..LoomBounds::default() };
    let loom = ask_loom(&LoomQuestion { scenario, design, plants, bounds }, &never, |_| ());
    println!("{} under {design} with {plants:?}: loom {}", scenario.name, loom.outcome);
    (ours, loom)
}
