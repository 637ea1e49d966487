//! Two engines, one question: what their verdicts are worth beside each other.

use crate::run::{CheckResult, CheckVerdict};
use crate::world::Opinion;
use interleave::on_loom::LoomOutcome;

/// Whether two engines agree about a scenario under a design.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Agreement {
    /// Both have finished and say the same.
    Agree,
    /// They contradict each other, and how: one of them is wrong, or the model behaves differently on them.
    Disagree(String),
    /// There is nothing to compare, and why.
    Open(String),
}

/// Compares what the controlled scheduler says with what loom says. Which invariant falls first depends on the order of
/// the search, so both finding a violation is agreement.
pub fn compare(ours: &CheckResult, loom: &Opinion) -> Agreement {
    let exhausted = match &ours.verdict {
        CheckVerdict::Interrupted => return Agreement::Open("interrupted".to_owned()),
        CheckVerdict::Holds { exhausted } => *exhausted && ours.preemptions.is_none(),
        CheckVerdict::Predicted { .. } => return Agreement::Open("loom predicts no deadlocks".to_owned()),
        CheckVerdict::Violated(finding) if !finding.failure.schedule.values.is_empty() => {
            return Agreement::Open("our violation needs a failure, and nothing fails on loom".to_owned());
        }
        CheckVerdict::Violated(_) => false,
    };
    let violated = matches!(ours.verdict, CheckVerdict::Violated(_));
    match &loom.outcome {
        LoomOutcome::Unfinished { .. } => Agreement::Open("loom has no verdict".to_owned()),
        LoomOutcome::Violated { .. } if violated => Agreement::Agree,
        LoomOutcome::Violated { .. } if exhausted => Agreement::Disagree(
            "loom finds a violation; our engine holds in every interleaving. Either the words without a lock \
             (READ_ONCE, WRITE_ONCE) need an order that only weak memory takes away, or one engine is wrong"
                .to_owned(),
        ),
        LoomOutcome::Violated { .. } => {
            Agreement::Disagree("loom finds a violation that our search, which has not finished, has not".to_owned())
        }
        LoomOutcome::Holds { .. } => match loom.reservation() {
            Some(why) => Agreement::Open(format!("loom found nothing, but {why}")),
            None if violated => Agreement::Disagree(
                "loom has finished without a violation; our engine has one, with a trace: one engine is wrong"
                    .to_owned(),
            ),
            None if exhausted => Agreement::Agree,
            None => Agreement::Open("our search has not finished".to_owned()),
        },
    }
}
