//! One program under the reduced and the unreduced search, and under a bound on preemptions.

use super::generate::RandomProgram;
use super::observe::{Observed, Seen};
use crate::{End, Outcome, Strategy, explore};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

/// Programs whose unreduced search is longer are left out: there are enough others.
pub const MOST_EXECUTIONS: u64 = 12_000;
/// The same for the enumeration that the bounded searches are held against.
const MOST_FOR_BOUNDS: u64 = 4_000;
/// The bounds on preemptions that are tried.
const BOUNDS: u32 = 2;

/// What the searches of one program came to.
#[derive(Debug)]
pub struct Compared {
    /// Executions of the reduced search, those cut short included.
    pub executions: u64,
    /// Those cut short.
    pub cut: u64,
    /// Happens-before classes, told by the unreduced search.
    pub classes: u64,
    /// Whether some execution violates something.
    pub fails: bool,
    /// Whether the first violation is a deadlock.
    pub deadlocks: bool,
    /// Whether all classes were compared: not when a violation in the middle ended both searches.
    pub whole: bool,
    /// Whether the bounded searches were compared too: not when the program is too big for it.
    pub bounded: bool,
    /// Operations that happened, by the engine's names for them.
    pub kinds: BTreeSet<String>,
    /// Whether a writer was queued on a rwsem while somebody else went on.
    pub writer_waited: bool,
    /// What is wrong with the reduced or a bounded search.
    pub verdict: Result<(), String>,
}

/// Why a program was not compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skipped {
    /// Its unreduced search has more than [`MOST_EXECUTIONS`].
    TooBig,
    /// The stop flag was set.
    Stopped,
}

struct Found {
    outcome: Outcome,
    seen: Seen,
}

fn search(program: &RandomProgram, strategy: Strategy, most: u64, paths: bool, stop: Option<&AtomicBool>) -> Found {
    let observed = if paths { Observed::with_paths(program) } else { Observed::new(program) };
    let outcome = explore(&observed, &observed.config(strategy, most), stop, None);
    Found { outcome, seen: observed.take() }
}

/// Searches `program` in all ways and says whether they agree.
///
/// # Errors
/// The program is too big, or `stop` was set.
pub fn compare(program: &RandomProgram, stop: Option<&AtomicBool>) -> Result<Compared, Skipped> {
    let everything = |reduction| Strategy::Exhaustive { preemptions: None, reduction };
    let full = search(program, everything(false), MOST_EXECUTIONS, false, stop);
    match full.outcome.end {
        End::LimitReached => return Err(Skipped::TooBig),
        End::Interrupted => return Err(Skipped::Stopped),
        End::Exhausted | End::Violated => {}
    }
    let reduced = search(program, everything(true), MOST_EXECUTIONS, true, stop);
    if reduced.outcome.end == End::Interrupted {
        return Err(Skipped::Stopped);
    }
    let whole = program.runs_to_the_end || full.outcome.failure.is_none();
    let mut verdict = agree(&full, &reduced, whole);
    let mut bounded = false;
    if verdict.is_ok() && program.runs_to_the_end {
        match bounds(program, stop)? {
            Bounds::TooBig => {}
            Bounds::Agree => bounded = true,
            Bounds::Differ(what) => verdict = Err(what),
        }
    }
    let Found { outcome, seen } = reduced;
    let failure = full.outcome.failure.as_ref();
    Ok(Compared {
        executions: outcome.stats.executions,
        cut: outcome.stats.cut,
        classes: full.outcome.stats.distinct,
        fails: failure.is_some(),
        deadlocks: failure.is_some_and(|failure| failure.violation.what.starts_with("deadlock")),
        whole,
        bounded,
        kinds: seen.kinds,
        writer_waited: seen.writer_waited,
        verdict,
    })
}

/// What is wrong with `program`, if anything.
pub(super) fn difference(program: &RandomProgram) -> Option<String> {
    compare(program, None).ok().and_then(|compared| compared.verdict.err())
}

fn told(outcome: &Outcome) -> String {
    outcome.failure.as_ref().map_or(String::from("nothing"), |failure| format!("\"{}\"", failure.violation.what))
}

/// The reduced search has the classes, the verdicts and the outlooks of the full one, in no more executions.
fn agree(full: &Found, reduced: &Found, whole: bool) -> Result<(), String> {
    let (a, b) = (&full.outcome, &reduced.outcome);
    if a.failure.is_some() != b.failure.is_some() {
        return Err(format!(
            "the verdicts differ: the unreduced search finds {}, the reduced one {}",
            told(a),
            told(b)
        ));
    }
    if b.end == End::LimitReached {
        return Err(format!("{} executions unreduced, more than that reduced", a.stats.executions));
    }
    if !whole {
        // A violation in the middle ends both searches at the first.
        return Ok(());
    }
    if a.classes != b.classes {
        let missing = a.classes.iter().filter(|class| !b.classes.contains(class)).count();
        let extra = b.classes.iter().filter(|class| !a.classes.contains(class)).count();
        return Err(format!(
            "of {} classes the reduced search misses {missing}, and it has {extra} that do not exist",
            a.classes.len()
        ));
    }
    if full.seen.ambiguous {
        return Err("executions of one happens-before class show the actors different things".into());
    }
    let (a, b) = (full.seen.outlooks.len(), reduced.seen.outlooks.len());
    if full.seen.outlooks != reduced.seen.outlooks {
        return Err(format!("the actors can see {a} different things, in the reduced search {b}"));
    }
    Ok(())
}

enum Bounds {
    Agree,
    Differ(String),
    TooBig,
}

/// A search under a bound has exactly what a full enumeration reaches with so few preemptions, and the first bound under
/// which something falls is the fewest preemptions of any failing execution. The enumeration counts preemptions from the
/// paths, by itself.
fn bounds(program: &RandomProgram, stop: Option<&AtomicBool>) -> Result<Bounds, Skipped> {
    let under = |bound, reduction, most, paths| {
        let strategy = Strategy::Exhaustive { preemptions: Some(bound), reduction };
        let found = search(program, strategy, most, paths, stop);
        if found.outcome.end == End::Interrupted { Err(Skipped::Stopped) } else { Ok(found) }
    };
    let all = under(u32::from(u16::MAX), false, MOST_FOR_BOUNDS, true)?;
    if all.outcome.end == End::LimitReached {
        return Ok(Bounds::TooBig);
    }
    let fewest = all.seen.preemptions.iter().filter(|((_, fails), _)| *fails).map(|(_, fewest)| *fewest).min();
    let mut first = None;
    for bound in 0..=BOUNDS {
        let found = under(bound, true, u64::MAX, false)?;
        let within = all.seen.preemptions.iter().filter(|(_, fewest)| **fewest <= bound).map(|(class, _)| *class);
        let wanted: Vec<(u64, bool)> = within.collect();
        if found.outcome.classes != wanted {
            let missing = wanted.iter().filter(|class| !found.outcome.classes.contains(class)).count();
            let extra = found.outcome.classes.iter().filter(|class| !wanted.contains(class)).count();
            return Ok(Bounds::Differ(format!(
                "with at most {bound} preemptions there are {} classes; the bounded search misses {missing} and has \
                 {extra} others",
                wanted.len()
            )));
        }
        if first.is_none() && found.outcome.failure.is_some() {
            first = Some(bound);
        }
    }
    if first != fewest.filter(|fewest| *fewest <= BOUNDS) {
        return Ok(Bounds::Differ(format!(
            "the first failure has {first:?} preemptions, the fewest possible are {fewest:?}"
        )));
    }
    Ok(Bounds::Agree)
}
