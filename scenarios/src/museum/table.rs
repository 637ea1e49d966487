//! What came of all hunts, as a table for terminals and as a chapter.

use super::catalogue::{ABSENT, ENTRIES, HOLES, NATIVE};
use super::{Ground, Hunt};
use model::platform::Plant;
use std::fmt::Write;
use std::time::Duration;

/// A hunt and where its trace was saved.
pub struct Exhibit {
    /// What came of it.
    pub hunt: Hunt,
    /// Path of the trace.
    pub trace: Option<String>,
}

impl Exhibit {
    /// Found, missed, or stopped.
    fn verdict(&self) -> &'static str {
        match (&self.hunt.catch, self.hunt.interrupted) {
            (Some(_), _) => "found",
            (None, true) => "interrupted",
            (None, false) => "MISSED",
        }
    }

    /// Context switches after shrinking and at least.
    fn switches(&self) -> String {
        let least = self.hunt.plant.mutant().context_switches();
        match self.hunt.catch.as_ref().map(|catch| catch.context_switches) {
            Some(Some(switches)) => format!("{switches}/{least}"),
            Some(None) => format!("predicted/{least}"),
            None => format!("-/{least}"),
        }
    }

    /// Whether it took no more than half as many again as it takes at least.
    fn is_short(&self) -> bool {
        let least = self.hunt.plant.mutant().context_switches();
        let switches = self.hunt.catch.as_ref().map(|catch| catch.context_switches);
        switches.is_some_and(|found| found.is_none_or(|found| 2 * found <= 3 * least))
    }
}

/// The cells of a row: entry, class, scenario, design, invariant, executions, steps, switches.
fn cells(exhibit: &Exhibit, ground: &Ground) -> [String; 8] {
    let (hunt, mutant) = (&exhibit.hunt, exhibit.hunt.plant.mutant());
    let spot = hunt.catch.as_ref().map(|catch| &ground.spots[catch.spot]);
    let expected =
        |number: u8| hunt.catch.as_ref().is_some_and(|catch| format!("I{number}") == catch.invariant.to_string());
    let invariant = match &hunt.catch {
        Some(catch) if mutant.falls.iter().any(|n| expected(*n)) => catch.invariant.to_string(),
        Some(catch) => format!("{} (not what was thought)", catch.invariant),
        None => exhibit.verdict().to_owned(),
    };
    let entry = if mutant.name == mutant.entry {
        mutant.name.to_owned()
    } else {
        format!("{} ({})", mutant.entry, mutant.name)
    };
    [
        entry,
        mutant.class.name().to_owned(),
        spot.map_or("-".to_owned(), |spot| ground.scenario(spot).name.clone()),
        spot.map_or(mutant.designs.to_owned(), |spot| spot.design.name().to_owned()),
        invariant,
        hunt.executions.to_string(),
        hunt.events.to_string(),
        exhibit.switches(),
    ]
}

const HEAD: [&str; 8] = ["entry", "class", "found by", "design", "falls", "executions", "steps", "switches"];

/// The table for a terminal; with the time that each took where that is asked for.
pub fn text(exhibits: &[Exhibit], ground: &Ground, time: bool) -> String {
    let mut rows: Vec<Vec<String>> = vec![HEAD.iter().map(|h| (*h).to_owned()).collect()];
    for exhibit in exhibits {
        rows.push(cells(exhibit, ground).to_vec());
    }
    if time {
        rows[0].push("ms".to_owned());
        for (row, exhibit) in rows[1..].iter_mut().zip(exhibits) {
            row.push(format!("{:.1}", exhibit.hunt.took.as_secs_f64() * 1000.0));
        }
    }
    rows[0].push("trace".to_owned());
    for (row, exhibit) in rows[1..].iter_mut().zip(exhibits) {
        row.push(exhibit.trace.clone().unwrap_or_else(|| "-".to_owned()));
    }
    let columns = rows[0].len();
    let widths: Vec<usize> =
        (0..columns).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out
}

/// What it comes to in a few lines.
pub fn summary(exhibits: &[Exhibit]) -> String {
    let placed = exhibits.len();
    let found = exhibits.iter().filter(|e| e.hunt.catch.is_some()).count();
    let short = exhibits.iter().filter(|e| e.is_short()).count();
    let open = open().len();
    format!(
        "{placed} bugs planted, {found} found, {} missed; {short} of the found in no more than half as many context switches \
         again as they take at least.\n{} entries of the museum have a place, {open} have none yet, {} cannot have one.\n",
        placed - found,
        ENTRIES.len() - open - ABSENT.len(),
        ABSENT.len(),
    )
}

/// The median of the times to a find.
pub fn median(exhibits: &[Exhibit]) -> Option<Duration> {
    let mut times: Vec<Duration> = exhibits.iter().filter(|e| e.hunt.catch.is_some()).map(|e| e.hunt.took).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Entries that are neither planted nor argued away.
fn open() -> Vec<&'static str> {
    let placed = |entry: &str| Plant::ALL.iter().any(|plant| plant.mutant().entry == entry);
    let absent = |entry: &str| ABSENT.iter().any(|absent| absent.entry == entry);
    let native = |entry: &str| NATIVE.iter().any(|native| native.entry == entry);
    ENTRIES.iter().copied().filter(|entry| !placed(entry) && !absent(entry) && !native(entry)).collect()
}

/// What was aimed at, and what came of it; `whole` is how long the run took.
fn targets(exhibits: &[Exhibit], whole: Duration) -> String {
    let found = exhibits.iter().filter(|e| e.hunt.catch.is_some()).count();
    let short = exhibits.iter().filter(|e| e.is_short()).count();
    let median = median(exhibits).unwrap_or_default();
    let (open, absent, whole) = (open().len(), ABSENT.len(), whole.as_secs());
    let share = found as f64 * 100.0 / exhibits.len().max(1) as f64;
    let rows = [
        (
            "every entry has a place, or, at most 8, a reason why not",
            format!("{open} open, {absent} argued away"),
            open == 0,
        ),
        ("95 % of the planted are found", format!("{share:.0} %"), share >= 95.0),
        (
            "median time to a find at most 10 ms",
            format!("{:.1} ms", median.as_secs_f64() * 1000.0),
            median.as_millis() < 10,
        ),
        ("each find within 1.5 times the switches it takes at least", format!("{short} of {found}"), short == found),
        ("the whole run within 10 minutes", format!("{whole} s"), whole <= 600),
    ];
    let mut out = String::from("\n## What was aimed at\n\n| aim | here | met |\n|---|---|---|\n");
    for (aim, here, met) in rows {
        let _ = writeln!(out, "| {aim} | {here} | {} |", if met { "yes" } else { "no" });
    }
    out += "\nTimes are those of one run on one machine.\n";
    let missed = |hole: &&super::catalogue::Absent| {
        exhibits.iter().any(|e| e.hunt.catch.is_none() && e.hunt.plant.mutant().entry == hole.entry)
    };
    if HOLES.iter().any(|hole| missed(&hole)) {
        out += "\nWhy some are missed, as far as it is known:\n\n| entry | why |\n|---|---|\n";
        for hole in HOLES.iter().filter(missed) {
            let _ = writeln!(out, "| {} | {} |", hole.entry, hole.why);
        }
    }
    out
}

/// The chapter; `whole` is how long the run took.
pub fn markdown(exhibits: &[Exhibit], ground: &Ground, whole: Duration) -> String {
    let mut out = String::from(
        "# The museum\n\nReal races of GPU-SVM code and of its neighbours, and some that were made up, planted one by one and \
         looked for by\nscenarios that were not written for them: the corpus first, then generated ones, with one budget for \
         all. What each is stands\nin `model/src/plant/`. *Steps* are the events of all executions until the find; *switches* \
         are those of the find after\nshrinking, and how many it takes at least. This chapter is what `svmlab museum --markdown` prints.\n\n",
    );
    out += &summary(exhibits);
    let _ = writeln!(out, "\n| {} |\n|{}", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for exhibit in exhibits {
        let _ = writeln!(out, "| {} |", cells(exhibit, ground).join(" | "));
    }
    out += &targets(exhibits, whole);
    out += "\n## What nobody has to plant\n\nThese fall in a specimen as it is; `svmlab check` tells them.\n\n| entry | design | scenario |\n|---|---|---|\n";
    for native in NATIVE {
        let _ = writeln!(out, "| {} | {} | {} |", native.entry, native.design, native.scenario);
    }
    out += "\n## What has no place here\n\n| entry | why |\n|---|---|\n";
    for absent in ABSENT {
        let _ = writeln!(out, "| {} | {} |", absent.entry, absent.why);
    }
    let open = open();
    if !open.is_empty() {
        let _ = writeln!(out, "\n## What has no place yet\n\n{}.", open.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::{Answer, Design};
    use interleave::lab::Invariant;

    #[test]
    fn every_plant_is_of_an_entry_and_names_designs_and_invariants_that_exist() {
        for plant in Plant::ALL {
            let mutant = plant.mutant();
            assert!(ENTRIES.contains(&mutant.entry), "{} is no entry", mutant.entry);
            assert!(ABSENT.iter().all(|absent| absent.entry != mutant.entry), "{} has a place", mutant.entry);
            assert!(mutant.designs.split(' ').all(|name| Design::named(name).is_some()), "{}", mutant.designs);
            assert!(mutant.falls.iter().all(|&n| (1..=Invariant::ALL.len()).contains(&n.into())), "{}", mutant.name);
            assert!(mutant.threads > 0);
            assert_eq!(Plant::named(mutant.name), Some(*plant), "two are called {}", mutant.name);
        }
    }

    #[test]
    fn what_nobody_has_to_plant_falls_in_the_corpus() {
        let corpus = crate::cli::load_corpus().expect("the corpus parses");
        for native in NATIVE {
            let scenario = corpus.iter().find(|s| s.name == native.scenario).expect("in the corpus");
            let answer = scenario.verdict(native.design).map(|verdict| &verdict.answer);
            assert!(
                matches!(answer, Some(Answer::Violates(_))),
                "{} says nothing of {}",
                native.scenario,
                native.design
            );
            assert!(ENTRIES.contains(&native.entry));
        }
    }

    #[test]
    fn what_has_no_place_is_an_entry_and_they_are_few() {
        assert!(ABSENT.iter().chain(HOLES).all(|absent| ENTRIES.contains(&absent.entry)));
        assert!(ABSENT.len() <= 8);
        assert_eq!(ENTRIES.len(), 78 + 18);
    }
}
