//! The scenarios that come with the command; their text is part of the program.

use crate::lang::{BadScenario, Scenario, parse};

/// Path in the corpus and text of every scenario, sorted by path.
pub fn corpus() -> &'static [(&'static str, &'static str)] {
    include!(concat!(env!("OUT_DIR"), "/corpus.rs"))
}

/// The scenarios of the corpus, sorted by path.
///
/// # Errors
/// A file of the corpus is wrong, which the tests rule out.
pub fn load_corpus() -> Result<Vec<Scenario>, BadScenario> {
    corpus().iter().map(|(path, text)| parse(&format!("corpus/{path}"), text)).collect()
}
