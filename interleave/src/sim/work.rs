//! Workqueues: each item has a worker actor that the scheduler starts when the item is due.

use super::Sim;
use crate::engine::exec::{Mode, fail, visible, with};
use crate::engine::op::{Kind, Op};
use crate::engine::work::{Door, ItemId, QueueId};
use crate::lab::{Invariant, Span, Violation};
use crate::lockdep::{How, Wait};
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
    // As `process_one_work` does: the item runs under the maps that those who wait for it touch.
    let maps = with(|exec| {
        let id = exec.items.iter().position(|item| item.running.is_some() && item.actor == exec.current)?;
        let (queue, item) = exec.maps_of(id);
        let place = Location::caller();
        exec.lock_taken(queue, How::Write, Wait::May, place);
        exec.lock_taken(item, How::Write, Wait::May, place);
        Some((queue, item))
    });
    match runner {
        Some(run) => run(client, func),
        None => panic!("a work item is due, and nobody said what it runs"),
    }
    if let Some((queue, item)) = maps {
        with(|exec| {
            exec.lock_released(item, How::Write);
            exec.lock_released(queue, How::Write);
        });
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
    fn touch(self, kind: Kind, place: &'static Location<'static>) {
        let object = with(|exec| exec.items[self.0].object);
        visible(Op::with_arg(kind, object, self.0 as u64), place);
    }

    fn refuse_if_closed(self) {
        if let Some((name, why)) = with(|exec| Some((exec.items[self.0].name(), exec.refuses(self.0)?))) {
            fail(Violation::new(Invariant::I12, format!("{name} {why}"), None));
        }
    }

    fn might_sleep(self, place: &'static Location<'static>) {
        if let Some(violation) = with(|exec| exec.might_sleep(exec.items[self.0].name(), place)) {
            fail(violation);
        }
    }

    /// Waits for instance `target` and all before it. An event even when they are done with, because the end of a run is
    /// none: whether there is something to wait for must not be asked outside of an event.
    fn wait(self, kind: Kind, target: u64, place: &'static Location<'static>) {
        if target == 0 {
            return;
        }
        let (sequential, own, object) = with(|exec| {
            let item = &exec.items[self.0];
            let sequential = exec.mode == Mode::Sequential;
            let own = item.running.is_some() && (sequential || item.actor == exec.current);
            (sequential, own && exec.mode != Mode::Ending, item.object)
        });
        if own {
            let name = with(|exec| exec.items[self.0].name());
            fail(Violation::new(Invariant::I8, format!("{name} waits for its own end"), None));
        }
        if sequential {
            while !with(|exec| exec.items[self.0].is_done(target)) {
                run_inline(self.0);
            }
            return;
        }
        visible(Op::with_span(kind, object, Span::new(target, self.0 as u64)), place);
    }

    /// Begins to wait for what is queued or runs; the instance to [`wait`](Self::wait) for, 0 for none.
    fn begin_flush(self, kind: Kind, cut_timer: bool, place: &'static Location<'static>) -> u64 {
        self.might_sleep(place);
        let delayed = with(|exec| exec.items[self.0].delayed);
        self.touch(if delayed { Kind::Unqueue } else { kind }, place);
        with(|exec| {
            if cut_timer {
                exec.expire_item(self.0);
            }
            let item = &exec.items[self.0];
            item.timer.map_or(item.queued, |(armed, _)| armed - 1)
        })
    }

    fn flush(self, place: &'static Location<'static>) {
        with(|exec| {
            let (queue, item) = exec.maps_of(self.0);
            exec.lock_synced(item, place);
            // Items of an ordered queue wait for each other.
            if exec.queues[exec.items[self.0].queue].kind == QueueKind::Ordered {
                exec.lock_synced(queue, place);
            }
        });
        let target = self.begin_flush(Kind::Instance, true, place);
        self.wait(Kind::Flush, target, place);
    }

    fn cancel_sync(self, place: &'static Location<'static>) -> bool {
        self.might_sleep(place);
        with(|exec| {
            let (_, item) = exec.maps_of(self.0);
            exec.lock_synced(item, place);
        });
        self.touch(Kind::Unqueue, place);
        let (was, target) = with(|exec| {
            let was = exec.cancel_item(self.0);
            exec.items[self.0].cancelling += 1;
            (was, exec.items[self.0].queued)
        });
        self.wait(Kind::CancelEnd, target, place);
        with(|exec| exec.items[self.0].cancelling -= 1);
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
        Ok(SimDelayedWork(Item(with(|exec| {
            let id = exec.add_item(self.queue, client, func);
            exec.items[id].delayed = true;
            id
        }))))
    }
    #[track_caller]
    fn flush(&self) {
        let place = Location::caller();
        self.sync(place);
        let begin = |item: Item| (item, item.begin_flush(Kind::Instance, false, place));
        let targets: Vec<_> = self.items().into_iter().map(begin).collect();
        for (item, target) in targets {
            item.wait(Kind::Flush, target, place);
        }
    }
    /// Drains in rounds, as long as items of the queue queue each other; a round in which nothing was queued since the
    /// one before is the last.
    #[track_caller]
    fn destroy(&self) {
        let place = Location::caller();
        self.sync(place);
        let items = self.items();
        let mut before = None;
        loop {
            let round: Vec<u64> = items.iter().map(|item| self.drain(*item, place)).collect();
            for (item, target) in items.iter().zip(&round) {
                item.wait(Kind::Flush, *target, place);
            }
            let quiet = before.as_ref() == Some(&round) || round.iter().all(|target| *target == 0);
            before = Some(round);
            if quiet {
                break;
            }
        }
        with(|exec| items.iter().for_each(|item| exec.items[item.0].door = Door::Closed));
    }
}

impl SimWorkQueue {
    /// Tells the validator that everything on the queue is waited for.
    fn sync(&self, place: &'static Location<'static>) {
        with(|exec| {
            let class = exec.map_of_queue(self.queue);
            exec.lock_synced(class, place);
        });
    }

    /// One item in one round of draining: from here on only items of the queue itself may queue it. The instance to wait
    /// for.
    fn drain(&self, item: Item, place: &'static Location<'static>) -> u64 {
        let target = item.begin_flush(Kind::Unqueue, false, place);
        let armed = with(|exec| {
            let state = &mut exec.items[item.0];
            state.door = Door::Draining;
            let armed = exec.mode != Mode::Ending && exec.items[item.0].timer.is_some();
            armed.then(|| (exec.queues[self.queue].name, exec.items[item.0].name()))
        });
        if let Some((queue, name)) = armed {
            // It expires on a queue that is being drained, or that is gone.
            let what = format!("{queue} is destroyed while the timer of {name} runs");
            fail(Violation::new(Invariant::I12, what, None));
        }
        target
    }
}

/// `struct work_struct`.
pub struct SimWork(Item);

impl Work for SimWork {
    #[track_caller]
    fn queue(&self) -> bool {
        self.0.touch(Kind::Queue, Location::caller());
        self.0.refuse_if_closed();
        with(|exec| exec.queue_item(self.0.0))
    }
    #[track_caller]
    fn flush(&self) {
        self.0.flush(Location::caller());
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
        self.0.touch(Kind::Queue, Location::caller());
        self.0.refuse_if_closed();
        with(|exec| exec.arm_item(self.0.0, delay_ms))
    }
    #[track_caller]
    fn flush(&self) {
        self.0.flush(Location::caller());
    }
    #[track_caller]
    fn cancel_sync(&self) -> bool {
        self.0.cancel_sync(Location::caller())
    }
}
