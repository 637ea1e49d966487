//! Bugs that can be planted: real races of GPU-SVM code and of its neighbours, retold, and mutants that somebody made up.
//!
//! A checker that finds nothing proves nothing, so the lab plants these one by one and looks whether it finds them. Each is
//! one question at one named place, `P::Kernel::planted(Plant::X)`, which is false in a kernel and known to be while it
//! is compiled: whoever reads the driver reads past it. What each one is stands here, a file for a family.

mod constructed;
mod framework;
mod kfd;
mod mm;
mod neighbours;
mod svm;

use core::fmt;

/// What kind of mistake it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Class {
    /// What must happen at once happens in two steps.
    Atomicity,
    /// Two steps are in the wrong order, or nothing orders them.
    Order,
    /// A thing is taken for what it was before.
    Aba,
    /// Something freed is used.
    UseAfterFree,
    /// A reference nobody drops.
    ReferenceLeak,
    /// Locks in two orders, waiting for work included.
    LockOrder,
    /// Somebody waits for itself.
    SelfDeadlock,
    /// Reclaim closes the circle.
    ReclaimDeadlock,
    /// What was queued never runs, or runs too late.
    LostWork,
    /// An entry, a TLB or a DMA mapping outlives its page.
    Stale,
    /// Two counts that must agree do not.
    Counter,
    /// Steps without end and without progress.
    Livelock,
    /// An exit on error leaves something behind.
    ErrorPath,
    /// One too many, or one too few.
    Bound,
    /// A wrong value, or wrong contents.
    WrongData,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 15] = [
        Class::Atomicity,
        Class::Order,
        Class::Aba,
        Class::UseAfterFree,
        Class::ReferenceLeak,
        Class::LockOrder,
        Class::SelfDeadlock,
        Class::ReclaimDeadlock,
        Class::LostWork,
        Class::Stale,
        Class::Counter,
        Class::Livelock,
        Class::ErrorPath,
        Class::Bound,
        Class::WrongData,
    ];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Atomicity => "atomicity violation",
            Class::Order => "order violation",
            Class::Aba => "ABA",
            Class::UseAfterFree => "use after free",
            Class::ReferenceLeak => "reference leak",
            Class::LockOrder => "deadlock, lock order",
            Class::SelfDeadlock => "deadlock, self",
            Class::ReclaimDeadlock => "deadlock, reclaim",
            Class::LostWork => "lost or late work",
            Class::Stale => "stale TLB, PTE or DMA mapping",
            Class::Counter => "counter imbalance",
            Class::Livelock => "livelock or starvation",
            Class::ErrorPath => "error path",
            Class::Bound => "wrong bound",
            Class::WrongData => "wrong data or state",
        }
    }
}

/// What is said of a planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// The name used on command lines and in traces.
    pub name: &'static str,
    /// The entry of the museum that it plants. An entry can be planted in several places.
    pub entry: &'static str,
    /// What kind of mistake it is.
    pub class: Class,
    /// Names of the designs that have the place, blanks between.
    pub designs: &'static str,
    /// Numbers of the invariants of which one must fall: 4 is I4.
    pub falls: &'static [u8],
    /// Who it takes.
    pub actors: &'static str,
    /// How many threads it takes, at least.
    pub threads: u32,
    /// How many preemptions it takes, at least.
    pub preemptions: u32,
}

impl Mutant {
    /// Context switches that it takes at least: each thread after the first has to come in, and each one that is preempted
    /// to come back.
    pub const fn context_switches(&self) -> u32 {
        self.threads - 1 + self.preemptions
    }
}

/// Makes constants of [`Plant`] and the list of what is said of them. A line reads: the constant, its name (`of` its entry
/// where that is called otherwise), the designs, the class, the invariants, the actors, how much it takes.
macro_rules! mutants {
    (@entry $name:literal $entry:literal) => { $entry };
    (@entry $name:literal) => { $name };
    ($family:literal: $($(#[$doc:meta])* $plant:ident($name:literal $(of $entry:literal)?) in $designs:literal:
        $class:ident, falls $($falls:literal)+, by $actors:literal, $threads:literal threads, $preemptions:literal preemptions;)*
    ) => {
        use super::{Mutant, Plant};

        #[repr(u8)]
        #[allow(dead_code)] // it only counts
        enum Nth { $($plant,)* End }

        const _: () = assert!(Nth::End as u8 <= Plant::PER_FAMILY, "a family is full");

        #[allow(non_upper_case_globals)] // they read as the variants of an enumeration that is written in several files
        impl Plant {
            $($(#[$doc])* pub const $plant: Plant = Plant($family * Plant::PER_FAMILY + Nth::$plant as u8);)*
        }

        pub(super) const MUTANTS: &[Mutant] = &[$(Mutant {
            name: $name,
            entry: super::mutants!(@entry $name $($entry)?),
            class: super::Class::$class,
            designs: $designs,
            falls: &[$($falls),+],
            actors: $actors,
            threads: $threads,
            preemptions: $preemptions,
        },)*];
    };
}
use mutants;

/// A bug that can be planted. Off unless the lab switches it on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plant(u8);

const FAMILIES: [&[Mutant]; 6] =
    [constructed::MUTANTS, kfd::MUTANTS, svm::MUTANTS, framework::MUTANTS, mm::MUTANTS, neighbours::MUTANTS];

const COUNT: usize = {
    let (mut count, mut family) = (0, 0);
    while family < FAMILIES.len() {
        count += FAMILIES[family].len();
        family += 1;
    }
    count
};

const ALL: [Plant; COUNT] = {
    let (mut all, mut at, mut family) = ([Plant(0); COUNT], 0, 0);
    while family < FAMILIES.len() {
        let mut nth = 0;
        while nth < FAMILIES[family].len() {
            all[at] = Plant(family as u8 * Plant::PER_FAMILY + nth as u8);
            at += 1;
            nth += 1;
        }
        family += 1;
    }
    all
};

impl Plant {
    /// Most mutants of a family.
    const PER_FAMILY: u8 = 40;
    /// Greater than any [`Plant::number`].
    pub const NUMBERS: usize = FAMILIES.len() * Plant::PER_FAMILY as usize;
    /// Every plant, family by family.
    pub const ALL: &'static [Plant] = &ALL;

    /// A number of its own, for sets.
    pub const fn number(self) -> usize {
        self.0 as usize
    }

    /// What is said of it.
    pub const fn mutant(self) -> &'static Mutant {
        &FAMILIES[(self.0 / Plant::PER_FAMILY) as usize][(self.0 % Plant::PER_FAMILY) as usize]
    }

    /// The name used on command lines and in traces.
    pub const fn name(self) -> &'static str {
        self.mutant().name
    }

    /// The plant with that name.
    pub fn named(name: &str) -> Option<Plant> {
        Plant::ALL.iter().copied().find(|plant| plant.name() == name)
    }
}

impl fmt::Debug for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
