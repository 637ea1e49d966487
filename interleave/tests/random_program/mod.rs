//! Small random programs over every primitive there is: generated from a seed, run under [`Sim`], and written so that
//! the order of any two dependent operations can be told from what the actors have seen.

mod run;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::fmt;

pub(crate) use run::Observed;

/// Mutexes 0 and 1; rwsems 0 and 1.
pub(crate) const LOCKS: u8 = 2;
/// Work items: 0 and 1 on an unbound queue, 2 and 3 on an ordered one; 1 and 3 are delayed.
pub(crate) const ITEMS: u8 = 4;

/// One statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stmt {
    Lock(u8),
    Spin,
    Read(u8),
    Write(u8),
    /// Makes a write lock that is held a read lock.
    Downgrade(u8),
    /// Releases the how-manyth lock that is held.
    Release(u8),
    Load(u8),
    Store(u8),
    Increment(u8),
    /// The next statement, unless it is about locks, happens only if the atomic has this parity.
    OnlyIf(u8, bool),
    ReadOnce,
    WriteOnce,
    GateLoad,
    GateStore(u8),
    GateAdd,
    WaitUntil(u8),
    WaitWhile(u8),
    /// Loads the gate until it has the value, going round a retry loop.
    RetryUntil(u8),
    Look(u8, u8),
    Change(u8, u8),
    Invalidate(u8, u8),
    Queue(u8),
    Flush(u8),
    Cancel(u8),
    FlushQueue(bool),
    DestroyQueue(bool),
    PlainRead,
    PlainWrite,
}

impl Stmt {
    fn takes(self) -> bool {
        matches!(self, Stmt::Lock(_) | Stmt::Spin | Stmt::Read(_) | Stmt::Write(_))
    }
    fn sleeps(self) -> bool {
        use Stmt::*;
        matches!(self, Lock(_) | Read(_) | Write(_) | WaitUntil(_) | WaitWhile(_) | RetryUntil(_))
            || matches!(self, Flush(_) | Cancel(_) | FlushQueue(_) | DestroyQueue(_))
    }
    /// Whether it changes which locks are held.
    fn is_lock(self) -> bool {
        self.takes() || matches!(self, Stmt::Downgrade(_) | Stmt::Release(_))
    }
    fn is_work(self) -> bool {
        matches!(self, Stmt::Queue(_) | Stmt::Flush(_) | Stmt::Cancel(_) | Stmt::FlushQueue(_) | Stmt::DestroyQueue(_))
    }
}

/// Which statements a program is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flavour {
    Locks,
    Words,
    Gates,
    Spans,
    Work,
    Everything,
    /// With data races and workqueues that are destroyed: violations may end an execution in the middle.
    Dangerous,
}

impl Flavour {
    pub(crate) const ALL: [Flavour; 7] = [
        Flavour::Locks,
        Flavour::Words,
        Flavour::Gates,
        Flavour::Spans,
        Flavour::Work,
        Flavour::Everything,
        Flavour::Dangerous,
    ];
}

/// A program: what each thread does, and what each work item does.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Random {
    pub(crate) threads: Vec<Vec<Stmt>>,
    pub(crate) items: Vec<Vec<Stmt>>,
    pub(crate) free_timers: u32,
    pub(crate) free_retries: u32,
    /// Whether nothing can end an execution in the middle.
    pub(crate) runs_to_the_end: bool,
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, body) in self.threads.iter().enumerate() {
            writeln!(f, "  thread {i}: {body:?}")?;
        }
        for (i, body) in self.items.iter().enumerate().filter(|_| self.uses_work()) {
            writeln!(f, "  item {i}: {body:?}")?;
        }
        write!(f, "  free timers {}, free retries {}", self.free_timers, self.free_retries)
    }
}

impl Random {
    pub(crate) fn uses_work(&self) -> bool {
        self.threads.iter().flatten().any(|s| s.is_work())
    }

    /// The program that `seed` stands for.
    pub(crate) fn generate(flavour: Flavour, seed: u64) -> Random {
        let mut rng = Dice(ChaCha8Rng::seed_from_u64(seed));
        let threads = 2 + rng.below(2 + u64::from(flavour != Flavour::Work));
        let most = match threads {
            2 => 6,
            3 => 4,
            _ => 3,
        };
        let threads = (0..threads).map(|_| body(&mut rng, flavour, most, None)).collect();
        let items = (0..ITEMS).map(|item| body(&mut rng, flavour, 3, Some(item))).collect();
        Random {
            threads,
            items,
            free_timers: rng.below(3) as u32,
            free_retries: rng.below(2) as u32,
            runs_to_the_end: flavour != Flavour::Dangerous,
        }
    }

    /// All programs with one statement less.
    pub(crate) fn smaller(&self) -> Vec<Random> {
        let mut all = Vec::new();
        for body in 0..self.threads.len() + self.items.len() {
            for at in 0.. {
                let mut less = self.clone();
                let body = less.threads.iter_mut().chain(&mut less.items).nth(body).expect("counted");
                if at >= body.len() {
                    break;
                }
                body.remove(at);
                if !sleeps_in_atomic(body) {
                    all.push(less);
                }
            }
        }
        all
    }
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }
    fn of(&mut self, n: u8) -> u8 {
        self.below(u64::from(n)) as u8
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

/// A body of 1 to `most` statements, releases not counted. `item`: whose body it is, if a work item's.
fn body(rng: &mut Dice, flavour: Flavour, most: u64, item: Option<u8>) -> Vec<Stmt> {
    let mut body = Vec::new();
    let mut held: Vec<Stmt> = Vec::new();
    let wanted = 1 + rng.below(most);
    let mut done = 0;
    while done < wanted {
        if !held.is_empty() && rng.below(10) < 3 {
            let which = rng.below(held.len() as u64) as usize;
            held.remove(which);
            body.push(Stmt::Release(which as u8));
            continue;
        }
        let stmt = stmt(rng, flavour, item);
        // Sleeping in atomic context ends an execution at once, and says little about the search.
        if stmt.sleeps() && held.contains(&Stmt::Spin) || stmt == Stmt::Spin && held.contains(&Stmt::Spin) {
            continue;
        }
        if let Stmt::Downgrade(lock) = stmt {
            let Some(at) = held.iter().position(|h| *h == Stmt::Write(lock)) else { continue };
            held[at] = Stmt::Read(lock);
        }
        // A lock that is taken again by its holder is a deadlock in every schedule: seldom.
        if stmt.takes() && held.contains(&stmt) && rng.below(8) > 0 {
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

fn stmt(rng: &mut Dice, flavour: Flavour, item: Option<u8>) -> Stmt {
    use Stmt::*;
    let group = match flavour {
        Flavour::Locks => [0, 0, 0, 1][rng.below(4) as usize],
        Flavour::Words => [1, 1, 1, 0][rng.below(4) as usize],
        Flavour::Gates => [2, 2, 1, 0][rng.below(4) as usize],
        Flavour::Spans => [3, 3, 3, 0][rng.below(4) as usize],
        Flavour::Work => [4, 4, 4, 1, 0][rng.below(5) as usize],
        Flavour::Everything => rng.below(5),
        Flavour::Dangerous => [0, 1, 2, 4, 5, 5][rng.below(6) as usize],
    };
    // Items do not wait for themselves, nor queue themselves or each other round and round.
    let other = |rng: &mut Dice| match item {
        Some(own) if own + 1 < ITEMS => own + 1 + rng.of(ITEMS - own - 1),
        Some(_) => u8::MAX,
        None => rng.of(ITEMS),
    };
    let chosen = match group {
        0 => match rng.below(6) {
            0 | 1 => Lock(rng.of(LOCKS)),
            2 => Read(rng.of(LOCKS)),
            3 => Write(rng.of(LOCKS)),
            4 => Downgrade(rng.of(LOCKS)),
            _ => Spin,
        },
        1 => match rng.below(7) {
            0 | 1 => Load(rng.of(2)),
            2 => Store(rng.of(2)),
            3 => Increment(rng.of(2)),
            4 => OnlyIf(rng.of(2), rng.below(2) == 0),
            5 => ReadOnce,
            _ => WriteOnce,
        },
        2 => match rng.below(9) {
            0 => GateLoad,
            1 | 2 => GateStore(rng.of(2)),
            3 | 4 => GateAdd,
            5 | 6 => WaitUntil(rng.of(2)),
            7 => WaitWhile(rng.of(2)),
            _ => RetryUntil(rng.of(2)),
        },
        3 => {
            let first = rng.of(3);
            let last = first + rng.of(3 - first);
            match rng.below(3) {
                0 => Look(first, last),
                1 => Change(first, last),
                _ => Invalidate(first, last),
            }
        }
        4 => match rng.below(8) {
            0..=3 => Queue(other(rng)),
            4 | 5 => Flush(other(rng)),
            6 => Cancel(other(rng)),
            _ if item.is_none() => FlushQueue(rng.below(2) == 0),
            _ => Load(0),
        },
        _ => match rng.below(6) {
            0 if item.is_none() => DestroyQueue(rng.below(2) == 0),
            0..=2 => PlainRead,
            _ => PlainWrite,
        },
    };
    match chosen {
        Queue(u8::MAX) | Flush(u8::MAX) | Cancel(u8::MAX) => Load(1),
        // An item that waits for a later one of the same ordered queue waits for ever, in any schedule.
        stmt => stmt,
    }
}
