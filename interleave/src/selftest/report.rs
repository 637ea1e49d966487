//! What a self-test came to.

use super::compare::Compared;
use super::flavour::Flavour;
use super::generate::RandomProgram;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a self-test came to; while it runs, so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The first seed.
    pub seed: u64,
    /// How many seeds were drawn; those whose programs were too big included.
    pub seeds: u64,
    /// Programs compared.
    pub programs: u64,
    /// By flavour, in the order of [`Flavour::ALL`].
    pub flavours: Vec<Tally>,
    /// In how many programs each operation of the engine happened, by the engine's names for them.
    pub operations: BTreeMap<String, u64>,
    /// In how many programs a writer was queued on a rwsem while somebody else went on.
    pub queued_writers: u64,
    /// In how many a lock was taken while another was held, and in how many one that the actor itself held.
    pub nested: u64,
    /// See [`Report::nested`].
    pub recursive: u64,
    /// Whether the stop flag ended it early.
    pub interrupted: bool,
    /// The first difference, in the order of seeds; nothing is compared after it.
    pub difference: Option<Difference>,
}

/// Counts over the programs of a flavour.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tally {
    /// Which.
    pub flavour: Flavour,
    /// Programs compared.
    pub programs: u64,
    /// Programs left out because their unreduced search is too long.
    pub too_big: u64,
    /// Programs of which some execution violates something.
    pub failing: u64,
    /// Those of them whose first violation is a deadlock.
    pub deadlocking: u64,
    /// Programs that were also compared under bounds on preemptions.
    pub bounded: u64,
    /// Happens-before classes of the programs that were searched to the end.
    pub classes: u64,
    /// Executions of the reduced search on these.
    pub executions: u64,
    /// How many of them were cut short.
    pub cut: u64,
}

/// Two searches do not agree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// With the seed, what names the program.
    pub flavour: Flavour,
    /// See [`Difference::flavour`].
    pub seed: u64,
    /// In which respect.
    pub what: String,
    /// The program, readable.
    pub program: String,
    /// The smallest program found that shows a difference.
    pub smallest: String,
    /// Which difference that is.
    pub smallest_what: String,
}

impl Tally {
    /// None of anything.
    pub fn new(flavour: Flavour) -> Self {
        Tally {
            flavour,
            programs: 0,
            too_big: 0,
            failing: 0,
            deadlocking: 0,
            bounded: 0,
            classes: 0,
            executions: 0,
            cut: 0,
        }
    }

    fn add(&mut self, compared: &Compared) {
        self.programs += 1;
        self.failing += u64::from(compared.fails);
        self.deadlocking += u64::from(compared.deadlocks);
        self.bounded += u64::from(compared.bounded);
        if compared.whole {
            self.classes += compared.classes;
            self.executions += compared.executions;
            self.cut += compared.cut;
        }
    }

    /// How many more executions than classes, as a share of the classes; 0 when there are none.
    pub fn excess(&self) -> f64 {
        if self.classes == 0 { 0.0 } else { self.executions as f64 / self.classes as f64 - 1.0 }
    }
}

impl Report {
    pub(super) fn new(seed: u64, flavours: &[Flavour]) -> Self {
        Report {
            seed,
            seeds: 0,
            programs: 0,
            flavours: flavours.iter().map(|flavour| Tally::new(*flavour)).collect(),
            operations: BTreeMap::new(),
            queued_writers: 0,
            nested: 0,
            recursive: 0,
            interrupted: false,
            difference: None,
        }
    }

    fn tally(&mut self, flavour: Flavour) -> &mut Tally {
        let at = self.flavours.iter().position(|tally| tally.flavour == flavour);
        &mut self.flavours[at.expect("only the flavours asked for are drawn")]
    }

    pub(super) fn too_big(&mut self, flavour: Flavour) {
        self.seeds += 1;
        self.tally(flavour).too_big += 1;
    }

    pub(super) fn add(&mut self, flavour: Flavour, program: &RandomProgram, compared: &Compared) {
        self.seeds += 1;
        self.programs += 1;
        self.tally(flavour).add(compared);
        for kind in &compared.kinds {
            *self.operations.entry(kind.clone()).or_default() += 1;
        }
        self.queued_writers += u64::from(compared.writer_waited);
        let (nested, recursive) = program.nests();
        self.nested += u64::from(nested);
        self.recursive += u64::from(recursive);
    }

    /// Everything in one line of counts.
    pub fn total(&self) -> Tally {
        let mut total = Tally::new(self.flavours.first().map_or(Flavour::Everything, |tally| tally.flavour));
        for tally in &self.flavours {
            total.programs += tally.programs;
            total.too_big += tally.too_big;
            total.failing += tally.failing;
            total.deadlocking += tally.deadlocking;
            total.bounded += tally.bounded;
            total.classes += tally.classes;
            total.executions += tally.executions;
            total.cut += tally.cut;
        }
        total
    }
}
