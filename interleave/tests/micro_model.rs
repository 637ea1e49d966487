//! The engine on the micro-model, whose distinct schedules were counted by hand and by three other checkers.

mod micro;

use interleave::lab::Invariant;
use interleave::{Config, End, Execution, Failure, Launch, Outcome, Program, Sim, Strategy, explore, replay, shrink};
use micro::{M1, M2, M3, Micro, N1, N1X, Shape};

fn search(shape: Shape, strategy: Strategy) -> Outcome {
    let config = Config { strategy, count_distinct: true, ..Config::default() };
    explore(&Micro::<Sim>::new(shape), &config, None, None)
}

const REDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: true };
const UNREDUCED: Strategy = Strategy::Exhaustive { preemptions: None, reduction: false };

#[test]
fn x() {
    for (name, shape) in [("n1x", N1X), ("n1", N1), ("m1", M1), ("m2", M2), ("m3", M3)] {
        let o = search(shape, REDUCED);
        println!("{name} {:?} {:?}", o.end, o.stats);
    }
    for (name, shape) in [("n1x", N1X), ("n1", N1), ("m1", M1)] {
        let o = search(shape, UNREDUCED);
        println!("{name} {:?} {:?}", o.end, o.stats);
    }
}
