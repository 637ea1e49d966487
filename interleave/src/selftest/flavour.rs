//! What a random program is about.

use super::dice::Dice;
use super::stmt::{DRAWN, Group, Stmt};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Which statements a program is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Mutexes, rwsems, a spinlock: nested, recursive, released in any order.
    Locks,
    /// Locks that are tried, and read-side sections with their grace periods.
    Tries,
    /// Atomics and lockless words.
    Words,
    /// A word that is waited on, and retry loops.
    Gates,
    /// Overlapping spans of memory behind a cache.
    Spans,
    /// Work items on an unbound and an ordered queue, plain and delayed.
    Work,
    /// Choices of the environment, and allocations that fail.
    Chance,
    /// All of it.
    Everything,
    /// With data races and workqueues that are destroyed: violations may end an execution in the middle.
    Dangerous,
}

impl Flavour {
    /// All of them, in the order in which seeds take turns.
    pub const ALL: [Flavour; 9] = {
        use Flavour::*;
        [Locks, Tries, Words, Gates, Spans, Work, Chance, Everything, Dangerous]
    };

    /// What it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Flavour::Locks => "locks",
            Flavour::Tries => "tries",
            Flavour::Words => "words",
            Flavour::Gates => "gates",
            Flavour::Spans => "spans",
            Flavour::Work => "work",
            Flavour::Chance => "chance",
            Flavour::Everything => "everything",
            Flavour::Dangerous => "dangerous",
        }
    }

    /// The groups that statements are taken from, each as often as it is named.
    const fn groups(self) -> &'static [Group] {
        use Group::*;
        match self {
            Flavour::Locks => &[Locks, Locks, Locks, Words],
            Flavour::Tries => &[Tries, Tries, Rcu, Locks, Words],
            Flavour::Words => &[Words, Words, Words, Locks],
            Flavour::Gates => &[Gates, Gates, Words, Locks],
            Flavour::Spans => &[Spans, Spans, Spans, Locks],
            Flavour::Work => &[Work, Work, Work, Words, Locks],
            Flavour::Chance => &[Chance, Chance, Words, Gates, Locks],
            Flavour::Everything => &[Locks, Tries, Rcu, Words, Gates, Spans, Work, Chance],
            Flavour::Dangerous => &[Locks, Words, Gates, Work, Plain, Plain],
        }
    }

    /// A statement for the body that `dice` is at.
    pub(super) fn draw(self, dice: &mut Dice) -> Stmt {
        loop {
            let groups = self.groups();
            let group = groups[dice.below(groups.len() as u64) as usize];
            let rows = || DRAWN.iter().filter(|(its, ..)| *its == group);
            let mut at = dice.below(rows().map(|(_, weight, _)| weight).sum());
            let draw = rows().find_map(|(_, weight, draw)| {
                let hit = at < *weight;
                at = at.wrapping_sub(*weight);
                hit.then_some(draw)
            });
            if let Some(stmt) = draw.and_then(|draw| draw(dice)) {
                return stmt;
            }
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Flavour {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let found = Flavour::ALL.into_iter().find(|flavour| flavour.name() == name);
        found.ok_or_else(|| format!("no flavour is called {name}"))
    }
}
