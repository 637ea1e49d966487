//! Random programs: from a seed, and smaller ones from one that matters.

use super::dice::Dice;
use super::flavour::Flavour;
use super::stmt::{ITEMS, Stmt};
use std::fmt;

/// A program: what each thread does, and what each work item does when it runs.
#[derive(Clone, PartialEq, Eq)]
pub struct RandomProgram {
    /// By thread.
    pub threads: Vec<Vec<Stmt>>,
    /// By work item: 0 and 1 on an unbound queue, 2 and 3 on an ordered one.
    pub items: Vec<Vec<Stmt>>,
    /// By work item: whether it has a timer.
    pub delayed: [bool; 4],
    /// [`Config::free_timers`](crate::Config::free_timers).
    pub free_timers: u32,
    /// [`Config::free_retries`](crate::Config::free_retries).
    pub free_retries: u32,
    /// [`Config::failures`](crate::Config::failures).
    pub failures: u32,
    /// Whether nothing can end an execution in the middle.
    pub runs_to_the_end: bool,
}

impl fmt::Display for RandomProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |body: &[Stmt]| {
            let mut text = String::new();
            for stmt in body {
                let glue = if text.is_empty() {
                    ""
                } else if text.ends_with(':') {
                    " "
                } else {
                    "; "
                };
                text += &format!("{glue}{stmt}");
            }
            if text.is_empty() { String::from("nothing") } else { text }
        };
        for (i, body) in self.threads.iter().enumerate() {
            writeln!(f, "  thread {i}: {}", told(body))?;
        }
        for (i, body) in self.items.iter().enumerate().filter(|_| self.uses_work()) {
            let queue = if i < 2 { "unbound_wq" } else { "ordered_wq" };
            let delayed = if self.delayed[i] { ", delayed" } else { "" };
            writeln!(f, "  item{i} ({queue}{delayed}): {}", told(body))?;
        }
        let Self { free_timers, free_retries, failures, .. } = self;
        write!(f, "  free timers {free_timers}, free retries {free_retries}, failures {failures}")
    }
}

/// As [`Display`](fmt::Display), for assertions.
impl fmt::Debug for RandomProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RandomProgram {
    /// The program that `seed` stands for.
    pub fn generate(flavour: Flavour, seed: u64) -> RandomProgram {
        let mut dice = Dice::new(seed);
        let threads = 2 + dice.below(2 + u64::from(flavour != Flavour::Work));
        let most = match threads {
            2 if flavour == Flavour::Work => 4,
            2 => 6,
            3 if flavour != Flavour::Work => 4,
            _ => 3,
        };
        let threads = (0..threads).map(|_| body(&mut dice, flavour, most)).collect();
        let item = |item| {
            dice.body = Some(item);
            body(&mut dice, flavour, if flavour == Flavour::Work { 2 } else { 3 })
        };
        let items = (0..ITEMS).map(item).collect();
        RandomProgram {
            threads,
            items,
            delayed: std::array::from_fn(|_| dice.coin()),
            free_timers: dice.below(3) as u32,
            free_retries: dice.below(2) as u32,
            failures: dice.below(3) as u32,
            runs_to_the_end: flavour != Flavour::Dangerous,
        }
    }

    /// Statements, those of work items included if there are any.
    pub fn statements(&self) -> impl Iterator<Item = Stmt> {
        let items = self.items.iter().flatten().filter(|_| self.uses_work());
        self.threads.iter().flatten().chain(items).copied()
    }

    /// Whether some actor takes a lock while it holds another one, and whether while it holds that same one.
    pub(super) fn nests(&self) -> (bool, bool) {
        let (mut nested, mut recursive) = (false, false);
        for body in self.threads.iter().chain(&self.items) {
            let mut held: Vec<Stmt> = Vec::new();
            for stmt in body {
                match *stmt {
                    Stmt::Release(which) => drop(held.remove(usize::from(which))),
                    Stmt::Downgrade(lock) => {
                        let at = held.iter_mut().find(|h| **h == Stmt::Write(lock));
                        at.into_iter().for_each(|h| *h = Stmt::Read(lock));
                    }
                    stmt if stmt.takes() => {
                        nested |= !held.is_empty();
                        recursive |= held.contains(&stmt);
                        held.push(stmt);
                    }
                    _ => {}
                }
            }
        }
        (nested, recursive)
    }

    pub(super) fn uses_work(&self) -> bool {
        self.threads.iter().flatten().any(|stmt| stmt.is_work())
    }

    /// Programs with a little less: a thread that does nothing, a statement, something free.
    pub(super) fn smaller(&self) -> Vec<RandomProgram> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut RandomProgram)| {
            let mut less = self.clone();
            change(&mut less);
            if less != *self {
                all.push(less);
            }
        };
        with(&|less| less.threads.retain(|body| !body.is_empty()));
        for body in 0..self.threads.len() + self.items.len() {
            let bodies = |less: &RandomProgram| less.threads.iter().chain(&less.items).nth(body).cloned();
            let length = bodies(self).map_or(0, |body| body.len());
            for at in 0..length {
                let mut shorter = bodies(self).unwrap_or_default();
                shorter.remove(at);
                if sleeps_in_atomic(&shorter) {
                    continue;
                }
                with(&|less| {
                    if let Some(body) = less.threads.iter_mut().chain(&mut less.items).nth(body) {
                        body.clone_from(&shorter);
                    }
                });
            }
        }
        for item in 0..self.delayed.len() {
            with(&|less| less.delayed[item] = false);
        }
        with(&|less| less.free_timers = 0);
        with(&|less| less.free_retries = 0);
        with(&|less| less.failures = less.failures.saturating_sub(1));
        all
    }

    /// The smallest program, a step at a time, of which `holds` still holds.
    pub fn shrunk(&self, holds: impl Fn(&RandomProgram) -> bool) -> RandomProgram {
        let mut best = self.clone();
        while let Some(less) = best.smaller().into_iter().find(&holds) {
            best = less;
        }
        best
    }
}

/// Whether something may sleep while the spinlock is held.
fn sleeps_in_atomic(body: &[Stmt]) -> bool {
    let mut held = Vec::new();
    body.iter().any(|stmt| match *stmt {
        Stmt::Release(which) => {
            if usize::from(which) < held.len() {
                held.remove(usize::from(which));
            }
            false
        }
        stmt => {
            let sleeps = (stmt.sleeps() || stmt == Stmt::Spin) && held.contains(&Stmt::Spin);
            held.extend(stmt.takes().then_some(stmt));
            sleeps
        }
    })
}

/// A body of 1 to `most` statements, releases not counted.
fn body(dice: &mut Dice, flavour: Flavour, most: u64) -> Vec<Stmt> {
    let mut body = Vec::new();
    let mut held: Vec<Stmt> = Vec::new();
    let wanted = 1 + dice.below(most);
    let mut done = 0;
    while done < wanted {
        if !held.is_empty() && dice.below(10) < 3 {
            let which = dice.below(held.len() as u64) as usize;
            held.remove(which);
            body.push(Stmt::Release(which as u8));
            continue;
        }
        let stmt = flavour.draw(dice);
        // Sleeping in atomic context ends an execution at once, and says little about the search.
        if (stmt.sleeps() || stmt == Stmt::Spin) && held.contains(&Stmt::Spin) {
            continue;
        }
        if let Stmt::Downgrade(lock) = stmt {
            let Some(at) = held.iter().position(|h| *h == Stmt::Write(lock)) else { continue };
            held[at] = Stmt::Read(lock);
        }
        // A lock that is taken again by its holder is a deadlock in every schedule, but for readers: seldom.
        if stmt.takes() && held.contains(&stmt) && dice.below(8) > 0 {
            continue;
        }
        if stmt.takes() {
            held.push(stmt);
        }
        body.push(stmt);
        done += 1;
    }
    body
}
