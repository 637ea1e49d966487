//! The threads of a program, and what is looked at when all have ended.
//!
//! Spawning and joining by hand is what hurts loom most: each join conflicts with the end of its thread, and a look
//! at the state afterwards conflicts with everything. Here the first actor runs on loom's main thread, the others tell
//! it that they have ended without a scheduling point, and what follows is sequential and explores nothing.

use super::Loom;
use super::context;
use super::stack::roomy;
use super::workers::{self, Crew};
use loom::thread::Thread;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// A thread of a program.
pub struct Actor {
    name: String,
    body: Box<dyn FnOnce()>,
}

impl Actor {
    /// `name` is for messages.
    pub fn new(name: impl Into<String>, body: impl FnOnce() + 'static) -> Self {
        Actor { name: name.into(), body: Box::new(body) }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Actor({})", self.name)
    }
}

/// Who has ended.
struct Ends {
    running: Cell<usize>,
    first_ended: Cell<bool>,
    /// Actors that ended while the first one was still running.
    waiting: RefCell<Vec<Thread>>,
}

impl Loom {
    /// Runs up to five actors in parallel, and `at_rest` when all have ended. Call it last in the closure given to
    /// [`Loom::check`]. At rest everything has happened before, no operation is a scheduling point,
    /// [`Loom::run_pending`] runs what no worker took, and a lock that is not free is a violation of I8.
    pub fn actors(actors: impl IntoIterator<Item = Actor>, at_rest: impl FnOnce()) {
        Loom::actors_beside(0, actors, at_rest);
    }

    /// [`Loom::actors`], beside threads that run work items, as many as loom has left but no more than there are items
    /// at this moment.
    pub fn actors_and_workers(actors: impl IntoIterator<Item = Actor>, at_rest: impl FnOnce()) {
        let actors: Vec<Actor> = actors.into_iter().collect();
        let workers = Loom::workers_beside(actors.len(), Loom::work_items());
        Loom::actors_beside(workers, actors, at_rest);
    }

    /// How many threads run work items beside so many actors when there are so many items.
    pub fn workers_beside(actors: usize, items: usize) -> usize {
        loom::MAX_THREADS.saturating_sub(actors.max(1)).min(items)
    }

    /// How many work items the running execution has.
    pub fn work_items() -> usize {
        workers::count()
    }

    fn actors_beside(workers: usize, actors: impl IntoIterator<Item = Actor>, at_rest: impl FnOnce()) {
        let mut actors = actors.into_iter().collect::<Vec<_>>().into_iter();
        let crew = Crew::new(workers, actors.len());
        let first = actors.next();
        let ends = Rc::new(Ends {
            running: Cell::new(actors.len()),
            first_ended: Cell::new(false),
            waiting: RefCell::new(Vec::new()),
        });
        let main = loom::thread::current();
        for actor in actors {
            let (ends, main, crew) = (ends.clone(), main.clone(), crew.clone());
            let body = move || {
                context::name_thread(&actor.name);
                (actor.body)();
                crew.actors.set(crew.actors.get() - 1);
                // Waking the first actor passes our clock to it. Before its end that would hide its data races.
                if !ends.first_ended.get() {
                    ends.waiting.borrow_mut().push(loom::thread::current());
                }
                while !ends.first_ended.get() {
                    loom::thread::park();
                }
                ends.running.set(ends.running.get() - 1);
                main.unpark();
            };
            loom::thread::spawn(move || roomy(body));
        }
        for index in 0..workers {
            let (crew, main) = (crew.clone(), main.clone());
            loom::thread::spawn(move || roomy(|| crew.serve(index, &main)));
        }
        if let Some(first) = first {
            context::name_thread(&first.name);
            (first.body)();
            crew.actors.set(crew.actors.get() - 1);
        }
        ends.first_ended.set(true);
        for ended in ends.waiting.take() {
            ended.unpark();
        }
        while ends.running.get() > 0 || !crew.is_quiet() {
            loom::thread::park();
        }
        crew.close();
        while !crew.has_gone() {
            loom::thread::park();
        }
        context::become_sequential();
        at_rest();
    }
}
