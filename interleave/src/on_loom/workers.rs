//! `kworker`s: threads that run work items, as far as loom's threads go.
//!
//! A worker looks without a scheduling point whether one of its items is due, and takes it up in one. In between it is
//! parked, so a worker that has nothing to do adds nothing to the search. With a thread for each item this is what the
//! controlled scheduler does; with fewer, items that share a thread do not race with each other, and with none they
//! run in sequence when all actors have ended, or on the stack of who flushes them.
//!
//! A timer may expire at any moment, [`FREE_TIMERS`] times; later on only when nothing else can go on.

use super::context;
use super::work::{Due, Queue};
use loom::thread::Thread;
use model::platform::WorkFunc;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Expiries of a timer that may come at any moment, as in the controlled scheduler.
pub(super) const FREE_TIMERS: u32 = 2;

/// The workers of an execution, and what of them is idle.
#[derive(Debug)]
pub(super) struct Crew {
    size: usize,
    alive: Cell<usize>,
    idle: RefCell<Vec<(usize, Thread)>>,
    /// Actors whose body has not ended.
    pub(super) actors: Cell<usize>,
    closing: Cell<bool>,
}

impl Crew {
    /// `size` workers beside `actors` actors.
    pub(super) fn new(size: usize, actors: usize) -> Rc<Crew> {
        let crew = Rc::new(Crew {
            size,
            alive: Cell::new(size),
            idle: RefCell::default(),
            actors: Cell::new(actors),
            closing: Cell::new(false),
        });
        context::set_crew(crew.clone());
        crew
    }

    /// The items of worker `index`: item n is the worker's whose number is n modulo their number.
    fn items(&self, index: usize) -> impl Iterator<Item = (Rc<Queue>, usize)> {
        items().skip(index).step_by(self.size)
    }

    fn due(&self, index: usize) -> Option<(Rc<Queue>, usize, Due)> {
        let due = self.items(index).filter_map(|(queue, item)| {
            let due = queue.due(item)?;
            // What a timer that re-arms itself for ever does when all have ended is looked at in sequence.
            (due != Due::Late || self.actors.get() > 0).then_some((queue, item, due))
        });
        due.min_by_key(|(.., due)| *due)
    }

    /// Whether no worker runs, or is going to.
    pub(super) fn is_quiet(&self) -> bool {
        let idle = self.idle.borrow();
        idle.len() == self.alive.get() && idle.iter().all(|(index, _)| self.due(*index).is_none())
    }

    /// Wakes the workers that have something to do.
    fn wake(&self) {
        for (index, thread) in self.idle.borrow().iter() {
            if self.due(*index).is_some() {
                thread.unpark();
            }
        }
    }

    /// Sends the workers home. They must be quiet.
    pub(super) fn close(&self) {
        self.closing.set(true);
        for (_, thread) in self.idle.borrow().iter() {
            thread.unpark();
        }
    }

    /// Whether all have gone.
    pub(super) fn has_gone(&self) -> bool {
        self.alive.get() == 0
    }

    /// What the thread is called that runs the items of worker `index`.
    fn name(&self, index: usize) -> String {
        let mut mine = self.items(index);
        match (mine.next(), mine.next()) {
            (Some((queue, item)), None) => queue.worker_name(item),
            _ if self.size == 1 => "worker".to_owned(),
            _ => format!("worker {index}"),
        }
    }

    /// The body of worker `index`; `first` is told when there is nothing left to do for anybody, and at the end.
    pub(super) fn serve(&self, index: usize, first: &Thread) {
        context::name_thread(&self.name(index));
        while !self.closing.get() {
            match self.due(index) {
                Some((queue, item, due)) => {
                    if due == Due::Late {
                        loom::thread::yield_now();
                    }
                    queue.take_up(item);
                }
                None => {
                    self.idle.borrow_mut().push((index, loom::thread::current()));
                    // Our clock is passed on by this. While an actor runs, that would hide data races.
                    if self.actors.get() == 0 && self.is_quiet() {
                        first.unpark();
                    }
                    loom::thread::park();
                    self.idle.borrow_mut().retain(|(other, _)| *other != index);
                }
            }
        }
        self.alive.set(self.alive.get() - 1);
        first.unpark();
    }
}

/// All work items of this execution, in order of creation.
fn items() -> impl Iterator<Item = (Rc<Queue>, usize)> {
    context::queues().into_iter().flat_map(|queue| (0..queue.len()).map(move |item| (queue.clone(), item)))
}

/// How many work items there are.
pub(super) fn count() -> usize {
    items().count()
}

/// Something became due, or is no longer.
pub(super) fn wake() {
    if let Some(crew) = context::crew() {
        crew.wake();
    }
}

/// Items that could run and that nobody runs. For the panic hook: never blocks or panics.
pub(super) fn unserved() -> Vec<String> {
    let Some(queues) = context::queues_if_free() else { return Vec::new() };
    queues.iter().flat_map(|queue| queue.unserved()).collect()
}

/// What the kernel calls an item's function.
pub(super) fn func_name(func: WorkFunc) -> &'static str {
    func.name()
}
