//! What the primitives on loom promise, each as a model that loom explores. Where a claim says that something is found,
//! the model has the bug; where it says that something holds, the same model has it not.

use interleave::Loom;
use interleave::lab::{Gate as _, Invariant, Lab, Span, Violation, Visible as _};
use interleave::on_loom::{Actor, Halt, LoomBounds, LoomOutcome, Memory};
use model::platform::{
    Atomic as _, Cache as _, ClientId, Completion, DelayedWork as _, Kernel, Mutex as _, Objects as _, Plain as _,
    Plant, QueueKind, RwSem as _, Shared as _, SpinLock as _, Work as _, WorkFunc, WorkQueue as _,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex as StdMutex};

type Mutex<T> = <Loom as Kernel>::Mutex<T>;
type SpinLock<T> = <Loom as Kernel>::SpinLock<T>;
type RwSem<T> = <Loom as Kernel>::RwSem<T>;
type Atomic = <Loom as Kernel>::Atomic;
type Shared<T> = <Loom as Kernel>::Shared<T>;
type Plain<T> = <Loom as Kernel>::Plain<T>;
type Cache<T> = <Loom as Kernel>::Cache<T>;
type Gate = <Loom as Lab>::Gate;
type Visible = <Loom as Lab>::Visible;

const CLIENT: ClientId = ClientId(0);

fn mutex<T: 'static>(name: &'static str, value: T) -> Rc<Mutex<T>> {
    Rc::new(Mutex::new(name, value).unwrap())
}
fn rwsem<T: 'static>(name: &'static str, value: T) -> Rc<RwSem<T>> {
    Rc::new(RwSem::new(name, value).unwrap())
}

/// An actor that owns clones of what it names.
macro_rules! actor {
    ($name:literal, [$($shared:ident),*], $body:block) => {{
        $(let $shared = $shared.clone();)*
        Actor::new($name, move || $body)
    }};
}

// After the macro, which is visible below its definition only.
mod locks;
mod objects;
mod running;
mod words;
mod work;
mod workers;

/// Explores everything.
fn check(model: impl Fn() + Send + Sync + 'static) -> LoomOutcome {
    Loom::check(None, model)
}

/// Explores everything and returns what the executions said.
fn collect<T: Ord + Send + 'static>(model: impl Fn(&dyn Fn(T)) + Send + Sync + 'static) -> BTreeSet<T> {
    let seen = Arc::new(StdMutex::new(BTreeSet::new()));
    let all = seen.clone();
    let outcome = check(move || {
        model(&|said| {
            all.lock().unwrap().insert(said);
        })
    });
    assert!(outcome.holds(), "{outcome}");
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

#[track_caller]
fn violates(invariant: Invariant, words: &[&str], outcome: &LoomOutcome) {
    assert_eq!(outcome.invariant(), Some(invariant), "{outcome}");
    let text = outcome.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}
