//! loom, which shares nothing with our scheduler but the model, comes to the same verdicts.

use interleave::on_loom::{LoomBounds, LoomOutcome};
use interleave::{Config, End, explore};
use model::platform::Plant;
use scenarios::lang::{Design, Scenario, parse};
use scenarios::world::{ScenarioProgram, check_with_loom};

/// One page, 4 KiB chunks only: as small as the driver gets, because loom pays for every operation.
fn scenario(body: &str) -> Scenario {
    let text = format!(
        "scenario \"small\" {{ about \"?\"; gpu xnack=#false chunk-sizes=\"4K\"\n\
         region \"buf\" at=0x200000 size=\"4K\" populate=#true\n{body}\n}}"
    );
    parse("small.kdl", &text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)))
}

/// The exhaustive search's verdict: whether everything holds.
fn exhaustive(scenario: &Scenario, design: Design, plants: &[Plant]) -> bool {
    let config = Config { planted: plants.to_vec(), ..Config::default() };
    let outcome = explore(&ScenarioProgram::new(scenario, design), &config, None, None);
    assert!(matches!(outcome.end, End::Exhausted | End::Violated), "{:?}", outcome.end);
    outcome.failure.is_none()
}

fn both(what: &str, scenario: &Scenario, design: Design, plants: &[Plant], worker: bool, holds: bool) {
    let ours = exhaustive(scenario, design, plants);
    let loom = check_with_loom(
        scenario,
        design,
        plants,
        worker,
        LoomBounds { preemptions: Some(3), executions: Some(100_000), ..LoomBounds::default() },
    );
    assert!(!matches!(loom, LoomOutcome::Unfinished { .. }), "{what}: {loom}");
    println!("{what} under {design}: loom {loom}");
    assert_eq!((ours, loom.holds()), (holds, holds), "{what} under {design} with {plants:?}: loom says {loom}");
}

#[test]
fn set_attr_against_migration_with_the_validity_check_planted_away() {
    let s = scenario(
        "thread \"ioctl\" { set-attr \"buf\" access=\"enable\" }\n\
         thread \"kernel\" { migrate \"buf\" }",
    );
    both("fixed", &s, Design::Hardened, &[], false, true);
    both("planted", &s, Design::Hardened, &[Plant::SkipPagesValid], false, false);
}

#[test]
fn two_set_attrs_race_on_tree_and_mapping() {
    let s = scenario(
        "prepare { set-attr \"buf\" access=\"enable\" }\n\
         thread \"a\" { set-attr \"buf\" gpu-ro=#true }\n\
         thread \"b\" { set-attr \"buf\" gpu-ro=#false gpu-exec=#true }",
    );
    both("posted", &s, Design::PocV1, &[], false, false);
    both("fixed", &s, Design::Hardened, &[], false, true);
}

#[test]
fn three_actors_set_attr_against_migration_and_a_worker() {
    let s = scenario(
        "thread \"ioctl\" { set-attr \"buf\" access=\"enable\" }\n\
         thread \"kernel\" { migrate \"buf\" }",
    );
    both("fixed", &s, Design::Hardened, &[], true, true);
    both("planted", &s, Design::Hardened, &[Plant::SkipPagesValid], true, false);
}

#[test]
fn three_actors_set_attr_against_munmap_and_a_worker() {
    let s = scenario(
        "thread \"ioctl\" { set-attr \"buf\" access=\"enable\" }\n\
         thread \"app\" { munmap \"buf\" }",
    );
    both("posted", &s, Design::PocV1, &[], true, true);
    both("fixed", &s, Design::Hardened, &[], true, true);
    // Without its check of the pages the driver is saved by `get_pages`, which looks at `unmapped` first.
    both("planted", &s, Design::Hardened, &[Plant::SkipPagesValid], true, true);
}
