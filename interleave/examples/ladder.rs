//! What an event costs: the micro-model, searched again and again.
//!
//! ```text
//! cargo run --release -p interleave --example ladder                     # events a second, by the clock
//! valgrind --tool=callgrind --toggle-collect='*Ladder*once*' target/release/examples/ladder m3 100
//! ```
//!
//! With a model and a number of searches, only these are done: instructions do not depend on who else is at work.

#[path = "../tests/micro/mod.rs"]
mod micro;

use interleave::{Config, Limits, Sim, Stats, Strategy, explore};
use micro::{M1, M2, M3, Micro, Shape};
use std::time::{Duration, Instant};

const REDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: true };
const UNREDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: false };

struct Ladder {
    shape: Shape,
    config: Config,
}

impl Ladder {
    fn new(shape: Shape, strategy: Strategy, executions: Option<u64>) -> Self {
        let limits = Limits { executions, ..Limits::default() };
        Ladder { shape, config: Config { strategy, limits, ..Config::default() } }
    }

    #[inline(never)]
    fn once(&self) -> Stats {
        let outcome = explore(&Micro::<Sim>::new(self.shape), &self.config, None, None);
        assert!(outcome.failure.is_none(), "the model is right");
        outcome.stats
    }

    /// Searches for half a second; the best of five such rounds, because others may be at work as well.
    fn measure(&self, name: &str) {
        self.once();
        let round = || {
            let begin = Instant::now();
            let (mut executions, mut events, mut searches) = (0, 0, 0);
            while begin.elapsed() < Duration::from_millis(500) {
                let stats = self.once();
                executions += stats.executions;
                events += stats.events;
                searches += 1;
            }
            let nanos = begin.elapsed().as_nanos() as f64;
            (nanos / events as f64, nanos / executions as f64, nanos / f64::from(searches))
        };
        let best = (0..5).map(|_| round()).min_by(|a, b| a.0.total_cmp(&b.0)).expect("five rounds");
        println!(
            "{name:<24} {:>7.1} ns/event {:>8.2} us/execution {:>10.1} us/search {:>10.0} events/s",
            best.0,
            best.1 / 1e3,
            best.2 / 1e3,
            1e9 / best.0
        );
    }
}

fn main() {
    let shapes = [("m1", M1), ("m2", M2), ("m3", M3)];
    let mut words = std::env::args().skip(1);
    if let (Some(model), Some(times)) = (words.next(), words.next()) {
        let shape = shapes.iter().find(|(name, _)| *name == model).expect("m1, m2 or m3").1;
        let ladder = Ladder::new(shape, REDUCED, None);
        let (mut executions, mut events) = (0, 0);
        for _ in 0..times.parse().expect("a number of searches") {
            let stats = ladder.once();
            executions += stats.executions;
            events += stats.events;
        }
        println!("{model}: {executions} executions, {events} events");
        return;
    }
    for (name, shape) in shapes {
        Ladder::new(shape, REDUCED, None).measure(&format!("{name} exhaustive"));
    }
    Ladder::new(M1, UNREDUCED, None).measure("m1 without reduction");
    Ladder::new(M3, Strategy::Random { seed: 1 }, Some(1000)).measure("m3 random");
    Ladder::new(M3, Strategy::Pct { seed: 1, depth: 3 }, Some(1000)).measure("m3 PCT");
}
