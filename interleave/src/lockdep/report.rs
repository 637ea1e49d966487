//! A prediction in words.

use super::actor::How;
use super::class::ClassId;
use super::graph::Origin;
use super::lesson::{Scene, Stacked, Waits};
use crate::explore::Schedule;
use crate::lab::{Invariant, Violation};
use std::borrow::Cow;
use std::fmt;

/// What was predicted, named as the kernel's lockdep names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// A class is taken while it is held.
    Recursion,
    /// Classes are taken in orders that make a cycle.
    Circular,
    /// A class is taken in a handler, and held elsewhere with interrupts on.
    InconsistentState,
    /// A class that a handler takes depends on one that is held with interrupts on.
    SafeToUnsafe,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pattern::Recursion => "possible recursive locking",
            Pattern::Circular => "possible circular locking dependency",
            Pattern::InconsistentState => "inconsistent lock state",
            Pattern::SafeToUnsafe => "hardirq-safe -> hardirq-unsafe lock order",
        })
    }
}

/// A lock that somebody has or takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Its class, with subclass if any: `"mmap_lock/1"`.
    pub lock: String,
    /// Whether others may have it at the same time: `""` for exclusively, `"(r)"` for read, `"(rr)"` for recursive read,
    /// `" (begun)"` for something that others wait for.
    pub how: &'static str,
    /// Source file, from the crate's folder.
    pub file: Cow<'static, str>,
    /// Line in it.
    pub line: u32,
}

impl Taken {
    fn new(stacked: &Stacked) -> Taken {
        Taken {
            lock: stacked.class.to_string(),
            how: match stacked.how {
                How::Write => "",
                How::Read => "(r)",
                How::Recursive if stacked.begun => " (begun)",
                How::Recursive => "(rr)",
            },
            file: stacked.file.clone(),
            line: stacked.line,
        }
    }
    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.lock, self.how)
    }
}

/// One edge of a cycle: an actor has `outer` and wants `inner`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// Who.
    pub actor: String,
    /// What it has.
    pub outer: Taken,
    /// What it wants.
    pub inner: Taken,
    /// How it wants it: `"takes"`, `"waits for"`, or `"allocates, which may wait for"`.
    pub wants: &'static str,
    /// Everything it has then, outermost first.
    pub held: Vec<Taken>,
    /// Who took `inner` in an interrupt handler, when that could come while `actor` has `outer`.
    pub handler: Option<String>,
    /// An execution up to the moment in which this was seen (the handler's, if there is one), for
    /// [`replay_until`](crate::replay_until).
    pub schedule: Schedule,
}

/// A deadlock that no execution had, predicted from the order in which classes of locks are taken.
///
/// It says itself what it is made of. Each of its dependencies comes with an execution that shows it; the first is the one
/// that was seen last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockReport {
    /// What kind of mistake it is.
    pub pattern: Pattern,
    /// The cycle: the inner lock of each dependency is the outer one of the next, and that of the last is the outer one of
    /// the first.
    pub dependencies: Vec<Dependency>,
}

impl LockReport {
    pub(super) fn new<'a>(pattern: Pattern, origins: impl Iterator<Item = (ClassId, ClassId, &'a Origin)>) -> Self {
        let dependencies = origins.map(|(_, _, origin)| Dependency::new(origin)).collect();
        LockReport { pattern, dependencies }
    }

    /// The cycle as `"a -> b -> a"`, from what the last one seen has.
    pub fn cycle(&self) -> String {
        let mut text = String::new();
        for dependency in &self.dependencies {
            text += &format!("{} -> ", dependency.outer.lock);
        }
        text + &self.dependencies[0].outer.lock
    }

    /// As a violation of I8, in one line.
    pub fn violation(&self) -> Violation {
        let steps: Vec<String> = self.dependencies.iter().map(Dependency::sentence).collect();
        let what = format!("{}: {} ({})", self.pattern, self.cycle(), steps.join("; "));
        Violation::new(Invariant::I8, what, None)
    }
}

impl Dependency {
    fn new(origin: &Origin) -> Self {
        let held = |scene: &Scene| scene.held.iter().map(Taken::new).collect();
        let wants = |scene: &Scene| match scene.waits {
            Waits::Takes => "takes",
            Waits::Syncs => "waits for",
            Waits::Allocates => "allocates, which may wait for",
        };
        match origin {
            Origin::Order { scene, at } => Dependency {
                actor: scene.actor.clone(),
                outer: Taken::new(&scene.held[*at]),
                inner: Taken::new(&scene.taken),
                wants: wants(scene),
                held: held(scene),
                handler: None,
                schedule: scene.schedule.clone(),
            },
            Origin::Interrupt { holds, handler } => Dependency {
                actor: holds.actor.clone(),
                outer: Taken::new(&holds.taken),
                inner: Taken::new(&handler.taken),
                wants: wants(handler),
                held: held(holds),
                handler: Some(handler.actor.clone()),
                schedule: handler.schedule.clone(),
            },
        }
    }

    fn sentence(&self) -> String {
        let (outer, inner) = (&self.outer, &self.inner);
        match &self.handler {
            Some(handler) => format!(
                "{} has {outer} from {} with interrupts on, and {handler} {} {inner} in a handler at {}",
                self.actor,
                outer.place(),
                self.wants,
                inner.place()
            ),
            None => format!(
                "{} {} {inner} at {} while it has {outer} from {}",
                self.actor,
                self.wants,
                inner.place(),
                outer.place()
            ),
        }
    }
}

impl fmt::Display for LockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.pattern, self.cycle())?;
        for (n, dependency) in self.dependencies.iter().enumerate() {
            writeln!(f, "  #{n} {}", dependency.sentence())?;
            if dependency.held.len() > 1 {
                let held: Vec<String> =
                    dependency.held.iter().map(|taken| format!("{taken} from {}", taken.place())).collect();
                writeln!(f, "     it has {}", held.join(", then "))?;
            }
        }
        writeln!(f, "  how it can happen, one CPU for each of the above:")?;
        let column = |n: usize, text: &str| format!("    {}{text}", " ".repeat(n * 24));
        for (n, dependency) in self.dependencies.iter().enumerate() {
            writeln!(f, "{}", column(n, &format!("#{n} has {}", dependency.outer.lock)))?;
        }
        for (n, dependency) in self.dependencies.iter().enumerate() {
            let interrupted = if dependency.handler.is_some() { "interrupt: " } else { "" };
            writeln!(f, "{}", column(n, &format!("#{n} {interrupted}wants {}", dependency.inner.lock)))?;
        }
        write!(f, "    *** DEADLOCK ***")
    }
}
