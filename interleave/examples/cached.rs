//! When a cache of prefixes is better than the reduction, and what the rounds do again: the micro-model in executions,
//! events and kept prefixes.
//!
//! ```text
//! cargo run --release -p interleave --example cached
//! ```

#[path = "../tests/micro/mod.rs"]
mod micro;

use interleave::{Config, Limits, Sim, Strategy, explore};
use micro::{M1, M2, M3, Micro};
use std::time::Instant;

/// Executions after which a search is given up.
const MOST: u64 = 2_000_000;

fn main() {
    let shape = |faults| micro::Shape { faults, ..M1 };
    let models = [("m1", M1), ("m2", M2), ("m3", M3), ("m4", shape(4)), ("m5", shape(5))];
    let exhaustive = |preemptions, reduction| Strategy::Exhaustive { preemptions, reduction };
    let searches = [
        ("reduced", exhaustive(None, true)),
        ("cached", Strategy::Cached),
        ("bound 2, plain", exhaustive(Some(2), false)),
        ("bound 2, cached", exhaustive(Some(2), true)),
        ("rounds", Strategy::FewestPreemptions { most: None }),
    ];
    for (name, shape) in models {
        for (how, strategy) in &searches {
            let limits = Limits { executions: Some(MOST), ..Limits::default() };
            let config = Config { strategy: strategy.clone(), limits, ..Config::default() };
            let begin = Instant::now();
            let outcome = explore(&Micro::<Sim>::new(shape), &config, None, None);
            let (stats, took) = (outcome.stats, begin.elapsed().as_secs_f64() * 1e3);
            let kept = outcome.cached.map_or(String::new(), |c| format!("{} kept", c.states));
            let bound = outcome.bound.map_or(String::new(), |b| format!("bound {} again {}", b.preemptions, b.again));
            println!(
                "{name} {how:<16} {:>9} executions {:>9} cut {:>10} events {took:>9.1} ms {:?} {kept} {bound}",
                stats.executions, stats.cut, stats.events, outcome.end
            );
        }
    }
}
