//! Workqueues: each item has a worker actor that the scheduler starts when the item is due.

use super::Sim;
use crate::engine::exec::{Mode, fail, visible, with};
use crate::engine::op::{Kind, Op};
use crate::engine::work::{ItemId, QueueId};
use crate::lab::{Invariant, Span, Violation};
use model::Errno;
use model::platform::{ClientId, DelayedWork, QueueKind, Work, WorkFunc, WorkQueue};
use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

type Runner = Rc<dyn Fn(ClientId, WorkFunc)>;

thread_local! {
    static RUNNER: RefCell<Option<Runner>> = const { RefCell::new(None) };
}

pub(crate) fn set_work_runner(runner: Option<Runner>) {
    let old = RUNNER.with(|slot| std::mem::replace(&mut *slot.borrow_mut(), runner));
    drop(old);
}

pub(crate) fn run_item(client: ClientId, func: WorkFunc) {
    let runner = RUNNER.with(|slot| slot.borrow().clone());
    match runner {
        Some(run) => run(client, func),
        None => panic!("a work item is due, and nobody said what it runs"),
    }
}

impl Sim {
    /// What work items run outside of executions, for unit tests. [`Launch::on_work`](crate::Launch::on_work) does it
    /// for an execution.
    pub fn on_work(run: impl Fn(ClientId, WorkFunc) + 'static) {
        set_work_runner(Some(Rc::new(run)));
    }

    /// In sequential context: runs what is pending, timers cut short, until nothing is.
    pub fn run_pending() {
        while let Some(id) = with(|exec| {
            exec.items.iter().position(|i| i.running.is_none() && (i.pending.is_some() || i.timer.is_some()))
        }) {
            run_inline(id);
        }
    }
}

/// Sequential context: the item runs now, on the caller.
fn run_inline(id: ItemId) {
    let (client, func) = with(|exec| {
        exec.start_item(id);
        (exec.items[id].client, exec.items[id].func)
    });
    run_item(client, func);
    with(|exec| exec.end_item(id));
}

#[derive(Clone, Copy)]
struct Item(ItemId);

impl Item {
    /// A scheduling point on the item; then its state may be changed.
    fn touch(self, place: &'static Location<'static>) {
        let object = with(|exec| exec.items[self.0].object);
        visible(Op::with_arg(Kind::Work, object, self.0 as u64), place);
    }

    fn refuse_if_destroyed(self) {
        let dead = with(|exec| {
            let item = &exec.items[self.0];
            (exec.mode != Mode::Ending && exec.queues[item.queue].destroyed).then(|| item.name())
        });
        if let Some(name) = dead {
            fail(Violation::new(Invariant::I12, format!("{name} is queued on a workqueue that was destroyed"), None));
        }
    }

    /// Waits for instance `target` and all before it.
    fn wait(self, target: u64, place: &'static Location<'static>) {
        let (sequential, own, object) = with(|exec| {
            let item = &exec.items[self.0];
            (exec.mode == Mode::Sequential, exec.mode == Mode::Running && item.actor == exec.current, item.object)
        });
        if sequential {
            while !with(|exec| exec.items[self.0].is_done(target)) {
                run_inline(self.0);
            }
            return;
        }
        if own && !with(|exec| exec.items[self.0].is_done(target)) {
            let name = with(|exec| exec.items[self.0].name());
            fail(Violation::new(Invariant::I8, format!("{name} waits for its own end"), None));
        }
        visible(Op::with_span(Kind::Flush, object, Span::new(target, self.0 as u64)), place);
    }

    fn flush(self, cut_timer: bool, place: &'static Location<'static>) {
        self.touch(place);
        let target = with(|exec| {
            if cut_timer {
                exec.expire_item(self.0);
            }
            let item = &exec.items[self.0];
            item.pending.or(item.running)
        });
        if let Some(target) = target {
            self.wait(target, place);
        }
    }

    fn cancel_sync(self, place: &'static Location<'static>) -> bool {
        self.touch(place);
        let (was, running) = with(|exec| (exec.cancel_item(self.0), exec.items[self.0].running));
        if let Some(target) = running {
            self.wait(target, place);
        }
        was
    }
}

/// A workqueue.
pub struct SimWorkQueue {
    queue: QueueId,
}

impl SimWorkQueue {
    pub(super) fn new(name: &'static str, kind: QueueKind) -> Self {
        SimWorkQueue { queue: with(|exec| exec.add_queue(name, kind)) }
    }

    fn items(&self) -> Vec<Item> {
        with(|exec| {
            let mine = exec.items.iter().enumerate().filter(|(_, item)| item.queue == self.queue);
            mine.map(|(id, _)| Item(id)).collect()
        })
    }
}

impl WorkQueue<Sim> for SimWorkQueue {
    fn work(&self, client: ClientId, func: WorkFunc) -> Result<SimWork, Errno> {
        Ok(SimWork(Item(with(|exec| exec.add_item(self.queue, client, func)))))
    }
    fn delayed_work(&self, client: ClientId, func: WorkFunc) -> Result<SimDelayedWork, Errno> {
        Ok(SimDelayedWork(Item(with(|exec| exec.add_item(self.queue, client, func)))))
    }
    #[track_caller]
    fn flush(&self) {
        let place = Location::caller();
        for item in self.items() {
            item.flush(false, place);
        }
    }
    #[track_caller]
    fn destroy(&self) {
        let place = Location::caller();
        loop {
            for item in self.items() {
                item.flush(false, place);
            }
            if self.items().iter().all(|item| with(|exec| exec.items[item.0].pending.is_none())) {
                break;
            }
        }
        let armed = with(|exec| {
            exec.queues[self.queue].destroyed = true;
            exec.items.iter().find(|i| i.queue == self.queue && i.timer.is_some()).map(|i| i.name())
        });
        if let Some(name) = armed {
            let queue = with(|exec| exec.queues[self.queue].name);
            let what = format!("{queue} is destroyed while the timer of {name} runs");
            fail(Violation::new(Invariant::I12, what, None));
        }
    }
}

/// `struct work_struct`.
pub struct SimWork(Item);

impl Work for SimWork {
    #[track_caller]
    fn queue(&self) -> bool {
        self.0.touch(Location::caller());
        self.0.refuse_if_destroyed();
        with(|exec| exec.queue_item(self.0.0))
    }
    #[track_caller]
    fn flush(&self) {
        self.0.flush(true, Location::caller());
    }
    #[track_caller]
    fn cancel_sync(&self) -> bool {
        self.0.cancel_sync(Location::caller())
    }
}

/// `struct delayed_work`.
pub struct SimDelayedWork(Item);

impl DelayedWork for SimDelayedWork {
    #[track_caller]
    fn queue(&self, delay_ms: u64) -> bool {
        self.0.touch(Location::caller());
        self.0.refuse_if_destroyed();
        with(|exec| exec.arm_item(self.0.0, delay_ms))
    }
    #[track_caller]
    fn flush(&self) {
        self.0.flush(true, Location::caller());
    }
    #[track_caller]
    fn cancel_sync(&self) -> bool {
        self.0.cancel_sync(Location::caller())
    }
}
