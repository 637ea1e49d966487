//! Which tests of other people's suites the corpus answers to: `docs/peer-tests.md`, made from `scenarios/peer/catalogue.kdl`
//! and the `peer` lines of the corpus.

use crate::lang::{Answer, Scenario};
use kdl::{KdlDocument, KdlNode};
use std::fmt::Write;

/// The catalogue's text.
const CATALOGUE: &str = include_str!("../peer/catalogue.kdl");

/// One test of a suite.
pub struct PeerTest {
    /// Short name here.
    pub id: String,
    /// The suite.
    pub suite: String,
    /// Its name there.
    pub name: String,
    /// Why it has no place here, if it has none.
    pub out: Option<String>,
    /// Where several outcomes are right, or ours differs: which and why.
    pub note: Option<String>,
}

/// The catalogue, in its order.
///
/// # Errors
/// What is wrong with the catalogue, and where.
pub fn catalogue() -> Result<Vec<PeerTest>, String> {
    let document: KdlDocument = CATALOGUE.parse().map_err(|bad: kdl::KdlError| format!("catalogue.kdl: {bad}"))?;
    let mut tests: Vec<PeerTest> = Vec::new();
    for suite in document.nodes() {
        let name = word(suite, 0)?;
        for node in suite.iter_children() {
            let text = |key| node.get(key).and_then(|v| v.as_string()).map(str::to_owned);
            let test = PeerTest {
                id: word(node, 0)?,
                suite: name.clone(),
                name: word(node, 1)?,
                out: text("out"),
                note: text("note"),
            };
            if tests.iter().any(|t| t.id == test.id) {
                return Err(format!("catalogue.kdl: {} is there twice", test.id));
            }
            tests.push(test);
        }
    }
    Ok(tests)
}

fn word(node: &KdlNode, index: usize) -> Result<String, String> {
    let value = node.get(index).and_then(|v| v.as_string());
    value.map(str::to_owned).ok_or_else(|| format!("catalogue.kdl: `{node}` lacks a word"))
}

/// The chapter: each test with the scenarios that cite it, or with the reason why there is none.
///
/// # Errors
/// A scenario that cites what the catalogue does not have; a test that is out and yet cited.
pub fn chapter(corpus: &[Scenario]) -> Result<String, String> {
    let tests = catalogue()?;
    for scenario in corpus {
        if let Some(id) = scenario.peers.iter().find(|id| !tests.iter().any(|t| t.id == **id)) {
            return Err(format!("{} cites {id}, which the catalogue does not have", scenario.name));
        }
    }
    let citing = |id: &str| corpus.iter().filter(|s| s.peers.iter().any(|p| p == id)).collect::<Vec<_>>();
    let (mut rows, mut suites): (String, Vec<(String, [usize; 3])>) = Default::default();
    for test in &tests {
        let scenarios = citing(&test.id);
        let place = match (&test.out, scenarios.is_empty()) {
            (Some(_), false) => return Err(format!("{} is out, and {} cites it", test.id, scenarios[0].name)),
            (Some(_), true) => 1,
            (None, true) => 2,
            (None, false) => 0,
        };
        if suites.last().is_none_or(|(name, _)| *name != test.suite) {
            suites.push((test.suite.clone(), [0; 3]));
            let _ = write!(rows, "\n## {}\n\n| id | test | here |\n|---|---|---|\n", test.suite);
        }
        suites.last_mut().expect("pushed above").1[place] += 1;
        let mut here: Vec<String> = scenarios.iter().map(|s| in_words(s)).collect();
        here.extend(test.out.iter().map(|why| format!("out: {why}")));
        here.extend(test.note.clone());
        if place == 2 {
            here.push("**missing**".into());
        }
        let _ = writeln!(rows, "| {} | {} | {} |", test.id, test.name, here.join("; "));
    }
    let mut text = String::from(
        "# Other people's tests\n\nThe cases of kfdtest, IGT, the kernel's hmm-tests, HIP, rocrtst and the OpenCL conformance suite that concern shared\n\
         virtual memory, and the scenarios here that answer to them. A verdict of `svmlab check <scenario>` is compared with what\n\
         the scenario says, for each design named. This chapter is made by `cargo run -p scenarios --example peer-table` from\n\
         `scenarios/peer/catalogue.kdl` and the `peer` lines of the corpus; a test holds it to them.\n\n\
         | suite | in | out, with a reason | missing |\n|---|---|---|---|\n",
    );
    let mut all = [0; 3];
    for (name, counts) in &suites {
        let _ = writeln!(text, "| {name} | {} | {} | {} |", counts[0], counts[1], counts[2]);
        all.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    let _ = writeln!(text, "| all | {} | {} | {} |", all[0], all[1], all[2]);
    Ok(text + &rows)
}

/// A scenario by name, with what its designs answer.
fn in_words(scenario: &Scenario) -> String {
    let (mut holds, mut falls) = (Vec::new(), Vec::new());
    for verdict in &scenario.verdicts {
        match &verdict.answer {
            Answer::Holds => holds.push(verdict.design.name()),
            Answer::Violates(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                falls.push(format!("{} violates {}", verdict.design, list.join("/")));
            }
        }
    }
    let mut words = Vec::new();
    if !holds.is_empty() {
        words.push(format!("{} hold", holds.join(", ")));
    }
    words.extend(falls);
    format!("`{}` ({})", scenario.name, words.join("; "))
}
