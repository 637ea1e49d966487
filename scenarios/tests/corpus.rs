//! The corpus answers as it says it does.

use rayon::prelude::*;
use scenarios::cli::load_corpus;
use scenarios::lang::{Design, Explore, parse};
use scenarios::run::{CheckOptions, CheckVerdict, check_scenario, replay_trace};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Executions for each question. Two questions need more to be exhausted; `svmlab check` does that.
const BUDGET: u64 = 15_000;

#[test]
fn every_verdict_is_the_expected_one_and_every_trace_replays() {
    // The first wrong answer ends all other searches: what comes after it is not worth the wait.
    let wrong = Arc::new(AtomicBool::new(false));
    let corpus = load_corpus().expect("the corpus parses");
    let questions: Vec<_> = corpus.iter().flat_map(|s| s.verdicts.iter().map(move |expected| (s, expected))).collect();
    let answers: Vec<CheckVerdict> = questions
        .par_iter()
        .map(|(scenario, expected)| {
            let executions = Some(scenario.explore.executions.map_or(BUDGET, |most| most.min(BUDGET)));
            let explore = Explore { executions, ..Explore::default() };
            let options = CheckOptions { explore, ..CheckOptions::default() };
            let result = check_scenario(scenario, expected.design, &options, &wrong, None);
            let what = format!("{} under {}", scenario.name, expected.design);
            if matches!(result.verdict, CheckVerdict::Interrupted) {
                return result.verdict;
            }
            let right = result.verdict.is_expected(&expected.answer);
            wrong.fetch_or(!right, Ordering::Relaxed);
            assert!(right, "{what}: expected {:?}", expected.answer);
            if let CheckVerdict::Violated(finding) = &result.verdict {
                assert_ne!(expected.design, Design::Hardened, "{what}: ours has no races");
                assert!(finding.failure.context_switches <= finding.switches_before_shrinking);
                let (_, _, again) = replay_trace(&finding.trace).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(again.event_hash, finding.timeline.event_hash, "{what}");
                assert_eq!(again.violation.as_ref(), Some(&finding.failure.violation), "{what}");
            }
            result.verdict
        })
        .collect();
    let asked = answers.len();
    let (mut fallen, mut found, mut exhausted) = (0, BTreeSet::new(), 0);
    for ((scenario, _), verdict) in questions.iter().zip(&answers) {
        match verdict {
            CheckVerdict::Violated(_) => {
                fallen += 1;
                found.insert(scenario.name.clone());
            }
            CheckVerdict::Holds { exhausted: all } => exhausted += usize::from(*all),
            CheckVerdict::Predicted { .. } => {}
            CheckVerdict::Interrupted => unreachable!("only a wrong answer interrupts, and it has ended this test"),
        }
    }
    for scenario in &corpus {
        assert!(!scenario.verdicts.is_empty(), "{}: nobody says what must come out", scenario.name);
    }
    assert!(found.len() >= 30, "races of the posted drivers and of kfd: {found:?}");
    assert!(
        exhausted * 10 >= (asked - fallen) * 8,
        "most of what holds is proved within the budget: {exhausted} of {asked}"
    );
}

#[test]
fn the_example_in_the_book_answers_as_it_says() {
    let book = include_str!("../../docs/scenario-language.md");
    let (_, text) = book.split_once("```kdl\n").expect("an example");
    let (text, _) = text.split_once("```").expect("its end");
    let scenario = parse("scenario-language.md", text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    assert!(!scenario.verdicts.is_empty());
    let never = Arc::new(AtomicBool::new(false));
    for expected in &scenario.verdicts {
        let result = check_scenario(&scenario, expected.design, &CheckOptions::default(), &never, None);
        assert!(result.verdict.is_expected(&expected.answer), "{}: expected {:?}", expected.design, expected.answer);
    }
}
