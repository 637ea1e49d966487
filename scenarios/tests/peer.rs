//! The chapter on other people's tests says what the corpus has.

use scenarios::cli::load_corpus;
use scenarios::peer::{catalogue, chapter};

#[test]
fn the_chapter_is_made_from_the_corpus() {
    let corpus = load_corpus().expect("the corpus parses");
    let made = chapter(&corpus).unwrap_or_else(|why| panic!("{why}"));
    let written = include_str!("../../docs/peer-tests.md");
    assert!(
        made == written,
        "docs/peer-tests.md is old: cargo run -p scenarios --example peer-table > docs/peer-tests.md"
    );
}

#[test]
fn nine_in_ten_of_the_tests_that_concern_us_are_in() {
    let corpus = load_corpus().expect("the corpus parses");
    let tests = catalogue().unwrap_or_else(|why| panic!("{why}"));
    let ours: Vec<_> = tests.iter().filter(|t| t.out.is_none()).collect();
    let cited = |id: &str| corpus.iter().any(|s| s.peers.iter().any(|p| p == id));
    let missing: Vec<&str> = ours.iter().map(|t| t.id.as_str()).filter(|id| !cited(id)).collect();
    assert!(missing.len() * 10 <= ours.len(), "{} of {} are missing: {missing:?}", missing.len(), ours.len());
}
