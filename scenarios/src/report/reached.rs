//! What a search knows about what it has covered, in sentences: beyond "everything" and "not everything".

use super::page::thousands;
use crate::run::{CheckResult, CheckVerdict};
use interleave::{Bound, Coverage, Guarantee};

/// The sentences; none for a search of which the verdict says it all.
pub fn reached_text(result: &CheckResult) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(bound) = &result.reached.bound {
        said.extend(bound_text(bound, result));
    }
    if result.reached.cached.is_some_and(|cached| cached.full) {
        said.push(
            "more beginnings of interleavings than memory is allowed for: some were gone on from twice".to_owned(),
        );
    }
    if let Some(coverage) = &result.reached.coverage {
        said.push(coverage_text(coverage));
        said.extend(coverage.guarantee.as_ref().map(guarantee_text));
    }
    said
}

fn bound_text(bound: &Bound, result: &CheckResult) -> Option<String> {
    let (n, again) = (bound.preemptions, thousands(bound.again));
    let redone = if bound.again == 0 {
        String::new()
    } else {
        format!(
            "; {again} of {} executions did again what an earlier round had done",
            thousands(result.stats.executions)
        )
    };
    let within = |n: u32| match n {
        0 => "without a preemption".to_owned(),
        n => format!("with at most {}", preemptions(n)),
    };
    match &result.verdict {
        _ if bound.complete => Some(format!("more than {} lead to nothing new{redone}", preemptions(n))),
        CheckVerdict::Violated(_) if result.reached.rounds => {
            let proved = if n == 0 { String::new() } else { ", and nothing falls with fewer".to_owned() };
            Some(format!("found with {}{proved}{redone}", preemptions(n)))
        }
        CheckVerdict::Holds { exhausted: false } | CheckVerdict::Interrupted if result.reached.rounds && n > 0 => {
            Some(format!("all interleavings {} were covered{redone}", within(n - 1)))
        }
        CheckVerdict::Holds { exhausted: false } | CheckVerdict::Interrupted if result.reached.rounds => {
            Some(format!("not even the interleavings without a preemption were all covered{redone}"))
        }
        _ if result.reached.rounds && bound.again > 0 => {
            Some(format!("all interleavings {} were covered{redone}", within(n)))
        }
        _ => None,
    }
}

fn coverage_text(coverage: &Coverage) -> String {
    let distinct = thousands(coverage.distinct);
    let so_far = if coverage.full {
        format!(
            "{distinct} distinct schedules in the first {} executions, and then no memory to count more",
            thousands(coverage.counted)
        )
    } else {
        format!("{distinct} distinct schedules in {} executions", thousands(coverage.counted))
    };
    let next = match coverage.seen_once {
        0 => format!("below 1 in {}", thousands(coverage.counted.max(1))),
        _ => format!("about {}", chance(coverage.unseen)),
    };
    let once = thousands(coverage.seen_once);
    format!(
        "{so_far}, {once} of them seen once: the chance that the next is a new one is {next} (Good-Turing estimate)"
    )
}

fn guarantee_text(g: &Guarantee) -> String {
    format!(
        "a bug of depth {} is met with a chance of at least {} in each execution, {} in {} ({} actors, {} events)",
        g.depth,
        chance(g.each),
        chance(g.reached),
        thousands(g.executions),
        g.actors,
        thousands(g.events.into())
    )
}

fn preemptions(n: u32) -> String {
    format!("{n} preemption{}", if n == 1 { "" } else { "s" })
}

/// A probability as a person says it. Rounded down where it is near to certain: it never becomes 100 % by rounding.
fn chance(p: f64) -> String {
    if p >= 1.0 {
        "100 %".to_owned()
    } else if p >= 0.01 {
        format!("{:.1} %", (p * 1000.0).floor() / 10.0)
    } else if p > 0.0 {
        format!("1 in {}", thousands((1.0 / p).ceil().min(1e18) as u64))
    } else {
        "0".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Reached;
    use interleave::Stats;

    fn said(reached: Reached, exhausted: bool) -> Vec<String> {
        let stats = Stats { executions: 12_345, ..Stats::default() };
        let verdict = CheckVerdict::Holds { exhausted };
        reached_text(&CheckResult { verdict, predicted: Vec::new(), stats, preemptions: None, reached })
    }

    #[test]
    fn what_was_reached_is_said_and_no_more() {
        let bound = |preemptions, complete, again| Some(Bound { preemptions, complete, again });
        let rounds = |bound| Reached { bound, rounds: true, ..Reached::default() };
        assert_eq!(said(Reached::default(), true), [""; 0]);
        assert_eq!(said(Reached { bound: bound(2, false, 0), ..Reached::default() }, true), [""; 0]);
        assert_eq!(
            said(rounds(bound(4, true, 1_200)), true),
            [format!(
                "more than 4 preemptions lead to nothing new; {} of {} executions did again what an earlier round had done",
                thousands(1_200),
                thousands(12_345)
            )]
        );
        assert!(said(rounds(bound(2, false, 0)), false)[0].contains("with at most 1 preemption were covered"));
        assert!(said(rounds(bound(0, false, 0)), false)[0].contains("without a preemption"));
    }

    #[test]
    fn chances_are_never_rounded_to_certainty() {
        let said: Vec<String> = [1.0, 0.99999, 0.5, 0.0099, 1e-9, 0.0].into_iter().map(chance).collect();
        assert_eq!(said[..3], ["100 %", "99.9 %", "50.0 %"]);
        assert_eq!(said[3], "1 in 102");
        assert_eq!(said[4], format!("1 in {}", thousands(1_000_000_000)));
        assert_eq!(said[5], "0");
    }
}
