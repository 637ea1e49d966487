//! A bug that only a weakly ordered machine has, in one text for both engines: ours, which is sequentially consistent,
//! proves that it is not there; loom shows it, and that it is weak memory which takes it.

use interleave::lab::{Invariant, Lab, Violation};
use interleave::on_loom::{Actor, LoomBounds, LoomOutcome, Memory};
use interleave::{Config, Execution, Launch, Loom, Program, Sim, explore};
use model::platform::{Mutex, Shared};
use std::rc::Rc;

/// A page table entry is written, then a word says that it is there; whoever reads the word goes through the entry.
struct Publisher<L: Lab> {
    entry: L::Shared<u64>,
    valid: L::Shared<bool>,
    /// Taken by both sides around `valid`, unless that is the planted bug: no `smp_store_release`, no lock.
    lock: L::Mutex<()>,
    planted: bool,
}

const FRAME: u64 = 7;

impl<L: Lab> Publisher<L> {
    fn new(planted: bool) -> Rc<Self> {
        Rc::new(Publisher {
            entry: L::Shared::new("entry", 0),
            valid: L::Shared::new("valid", false),
            lock: <L::Mutex<()> as Mutex<()>>::new("lock", ()).expect("nothing fails in setup"),
            planted,
        })
    }

    fn publish(&self) {
        self.entry.write_once(FRAME);
        let _ordered = (!self.planted).then(|| self.lock.lock());
        self.valid.write_once(true);
    }

    fn follow(&self) {
        let valid = {
            let _ordered = (!self.planted).then(|| self.lock.lock());
            self.valid.read_once()
        };
        if valid && self.entry.read_once() != FRAME {
            L::fail(Violation::new(Invariant::I2, "a valid entry names no frame", None));
        }
    }
}

/// For our engine.
struct OnSim {
    planted: bool,
}

struct Nothing;

impl Execution for Nothing {
    fn at_rest(&self) {}
}

impl Program for OnSim {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let publisher = Publisher::<Sim>::new(self.planted);
        let p = publisher.clone();
        launch.actor("cpu", move || p.publish());
        launch.actor("gpu", move || publisher.follow());
        Box::new(Nothing)
    }
}

fn on_loom(planted: bool, memory: Memory) -> LoomOutcome {
    Loom::check_within(LoomBounds { memory, ..LoomBounds::default() }, move || {
        let publisher = Publisher::<Loom>::new(planted);
        let p = publisher.clone();
        let actors = [Actor::new("cpu", move || p.publish()), Actor::new("gpu", move || publisher.follow())];
        Loom::actors(actors, || ());
    })
}

#[test]
fn a_word_read_without_ordering_is_found_by_loom_alone_and_needs_weak_memory() {
    for planted in [true, false] {
        let ours = explore(&OnSim { planted }, &Config::default(), None, None);
        assert!(ours.failure.is_none(), "sequentially consistent: {:?}", ours.failure);
        assert_eq!(ours.end, interleave::End::Exhausted);
        assert!(on_loom(planted, Memory::Sequential).holds());
        assert_eq!(on_loom(planted, Memory::Weak).invariant(), planted.then_some(Invariant::I2));
    }
}
