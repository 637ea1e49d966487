//! Work items and workqueues as the scheduler sees them.

use super::clock::Clock;
use super::exec::{Exec, Mode};
use super::object::{NOBODY, Past};
use super::op::{Kind, ObjectId, Op};
use model::platform::{ClientId, QueueKind, WorkFunc};

/// Index of a work item.
pub(crate) type ItemId = usize;
/// Index of a workqueue.
pub(crate) type QueueId = usize;

/// A workqueue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) name: &'static str,
    pub(crate) kind: QueueKind,
    pub(crate) object: ObjectId,
    /// Items in queueing order (ordered queues only).
    pub(crate) order: Vec<ItemId>,
    /// Whether an item of an ordered queue runs.
    pub(crate) busy: bool,
}

/// How far `destroy_workqueue` has come with an item. A queue knows it item by item, because each item is an object of
/// its own to the scheduler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// Anybody may queue it.
    Open,
    /// The queue is being drained: only its own items may (the kernel's "chained" work).
    Draining,
    /// The queue is gone.
    Closed,
}

/// A work item, delayed or not.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) queue: QueueId,
    /// Its own object on an unbound queue, the queue's on an ordered one.
    pub(crate) object: ObjectId,
    pub(crate) client: ClientId,
    pub(crate) func: WorkFunc,
    pub(crate) actor: u8,
    /// Whether it has a timer.
    pub(crate) delayed: bool,
    /// How often it was queued.
    pub(crate) queued: u64,
    /// The clock of the last time that it was.
    since: Clock,
    /// The instance that waits to run.
    pub(crate) pending: Option<u64>,
    /// The instance that waits for its timer, and when that expires.
    pub(crate) timer: Option<(u64, u64)>,
    /// The instance that runs.
    pub(crate) running: Option<u64>,
    /// Timer expiries so far.
    pub(crate) expired: u32,
    /// `cancel_work_sync` calls that have not returned: queueing is refused meanwhile.
    pub(crate) cancelling: u32,
    /// Whether one of them took an instance off.
    cancelled: bool,
    pub(crate) door: Door,
    /// The instances that are done with or were cancelled, and the clock of that.
    ended: Vec<(u64, Clock)>,
}

impl Item {
    pub(crate) fn new(queue: QueueId, object: ObjectId, client: ClientId, func: WorkFunc, actor: u8) -> Self {
        Item {
            queue,
            object,
            client,
            func,
            actor,
            delayed: false,
            queued: 0,
            since: Clock::ZERO,
            pending: None,
            timer: None,
            running: None,
            expired: 0,
            cancelling: 0,
            cancelled: false,
            door: Door::Open,
            ended: Vec::new(),
        }
    }

    /// What happens before the end of a wait for instance `target` and all before it.
    pub(crate) fn order_after_end(&self, target: u64, clock: &mut Clock) {
        for (_, end) in self.ended.iter().filter(|(instance, _)| *instance <= target) {
            clock.join(end);
        }
    }

    /// Whether instance `target` and all before it are done with.
    pub(crate) fn is_done(&self, target: u64) -> bool {
        let waits = |instance: Option<u64>| instance.is_some_and(|i| i <= target);
        !waits(self.pending) && !waits(self.running) && !waits(self.timer.map(|(i, _)| i))
    }

    /// What the kernel calls it.
    pub(crate) fn name(&self) -> &'static str {
        self.func.name()
    }
}

impl Exec {
    pub(crate) fn add_queue(&mut self, name: &'static str, kind: QueueKind) -> QueueId {
        let object = self.add_object(name, 0);
        self.queues.push(Queue { name, kind, object, order: Vec::new(), busy: false });
        self.queues.len() - 1
    }

    /// Registers a work item and the worker that runs it.
    pub(crate) fn add_item(&mut self, queue: QueueId, client: ClientId, func: WorkFunc) -> ItemId {
        let name = Item::new(queue, 0, client, func, 0).name();
        let object = match self.queues[queue].kind {
            QueueKind::Unbound => self.add_object(name, 0),
            QueueKind::Ordered => self.queues[queue].object,
        };
        let suffix = if client.0 == 0 { String::new() } else { format!(".{}", client.0) };
        let id = self.items.len();
        // In setup the threads do not exist yet: the engine renumbers workers behind them when the race begins.
        let actor = if self.mode == Mode::Running { self.add_actor(&format!("{name}{suffix}"), true) } else { NOBODY };
        self.items.push(Item::new(queue, object, client, func, actor));
        if actor != NOBODY {
            self.comes(actor, Op::with_arg(Kind::WorkStart, object, id as u64));
        }
        id
    }

    /// Gives every item registered in setup its worker.
    pub(crate) fn add_workers(&mut self) {
        for id in 0..self.items.len() {
            let item = &self.items[id];
            let suffix = if item.client.0 == 0 { String::new() } else { format!(".{}", item.client.0) };
            let (name, object) = (format!("{}{suffix}", item.name()), item.object);
            let actor = self.add_actor(&name, true);
            self.items[id].actor = actor;
            self.comes(actor, Op::with_arg(Kind::WorkStart, object, id as u64));
        }
    }

    /// The coroutine of `actor` has returned: a thread is done, a worker waits for its item to be due again.
    pub(crate) fn finished(&mut self, actor: u8) {
        let next = match self.items.iter().position(|item| item.actor == actor) {
            Some(id) => Op::with_arg(Kind::WorkStart, self.items[id].object, id as u64),
            None => Op::DONE,
        };
        self.comes(actor, next);
    }

    /// The effect of `queue_work`; false when it was pending, or is being cancelled.
    pub(crate) fn queue_item(&mut self, id: ItemId) -> bool {
        self.changed(self.items[id].object);
        let clock = self.clock_now();
        let item = &mut self.items[id];
        if item.pending.is_some() || item.timer.is_some() || item.cancelling > 0 {
            return false;
        }
        item.queued += 1;
        item.since = clock;
        item.pending = Some(item.queued);
        let queue = item.queue;
        if self.queues[queue].kind == QueueKind::Ordered {
            self.queues[queue].order.push(id);
        }
        true
    }

    /// The effect of `queue_delayed_work`; false when it was pending, or is being cancelled.
    pub(crate) fn arm_item(&mut self, id: ItemId, delay_ms: u64) -> bool {
        self.changed(self.items[id].object);
        let (when, clock) = (self.now_ms + delay_ms, self.clock_now());
        let item = &mut self.items[id];
        if item.pending.is_some() || item.timer.is_some() || item.cancelling > 0 {
            return false;
        }
        item.queued += 1;
        item.since = clock;
        item.timer = Some((item.queued, when));
        true
    }

    /// Cuts the timer short: the item is pending now.
    pub(crate) fn expire_item(&mut self, id: ItemId) {
        self.changed(self.items[id].object);
        let item = &mut self.items[id];
        if let Some((instance, _)) = item.timer.take() {
            item.pending = Some(instance);
            let queue = item.queue;
            if self.queues[queue].kind == QueueKind::Ordered {
                self.queues[queue].order.push(id);
            }
        }
    }

    /// Takes the item off its queue and stops its timer; whether there was anything.
    pub(crate) fn cancel_item(&mut self, id: ItemId) -> bool {
        self.changed(self.items[id].object);
        let clock = self.clock_now();
        let item = &mut self.items[id];
        let timer = item.timer.take().map(|(instance, _)| instance);
        let was = item.pending.take().or(timer);
        if let Some(instance) = was {
            item.ended.push((instance, clock));
            item.cancelled = true;
            if self.mode == Mode::Running {
                self.frames[self.depth - 1].unqueued = true;
            }
        }
        let queue = item.queue;
        self.queues[queue].order.retain(|&other| other != id);
        was.is_some()
    }

    fn clock_now(&self) -> Clock {
        if self.mode == Mode::Running { self.clocks[self.current as usize] } else { Clock::ZERO }
    }

    /// What happens before any start of the item from where it stands now, whatever the order of the rest; None when it
    /// is not due and nothing but a cancel that did not happen could make it so.
    pub(super) fn order_before_start(&self, id: ItemId) -> Option<Clock> {
        let item = &self.items[id];
        let mut clock = item.since;
        match (item.pending, item.timer) {
            (None, None) => return None,
            (Some(_), _) if self.queues[item.queue].kind == QueueKind::Ordered => {
                // Those that were queued before have run before.
                clock.join(&self.objects[item.object as usize].past[Past::Queued as usize]);
            }
            _ => {}
        }
        Some(clock)
    }

    /// Whether only a timer starts the item, and only as a last resort: what is before others by no order of events.
    pub(super) fn starts_late(&self, id: ItemId) -> bool {
        let item = &self.items[id];
        item.pending.is_none() && item.timer.is_some() && item.expired >= self.free_timers
    }

    pub(super) fn is_unbound(&self, id: ItemId) -> bool {
        self.queues[self.items[id].queue].kind == QueueKind::Unbound
    }

    /// Whether an instance of the item was cancelled before it could start.
    pub(super) fn was_cancelled(&self, id: ItemId) -> bool {
        self.items[id].cancelled
    }

    /// Whether the running actor may not queue `item`, and why.
    pub(crate) fn refuses(&self, id: ItemId) -> Option<&'static str> {
        if self.mode == Mode::Ending {
            return None;
        }
        let queue = self.items[id].queue;
        // A chained work item: one that an item of the same queue queues while it runs.
        let chained = || self.items.iter().any(|i| i.queue == queue && i.running.is_some() && i.actor == self.current);
        match self.items[id].door {
            Door::Open => None,
            Door::Draining if chained() => None,
            Door::Draining => Some("is queued on a workqueue that is being destroyed"),
            Door::Closed => Some("is queued on a workqueue that was destroyed"),
        }
    }

    /// The worker takes the item up; a timer that was running has expired.
    pub(crate) fn start_item(&mut self, id: ItemId) {
        let item = &mut self.items[id];
        item.running = match (item.pending.take(), item.timer.take()) {
            (Some(instance), timer) => {
                item.timer = timer;
                Some(instance)
            }
            (None, Some((instance, when))) => {
                item.expired += 1;
                self.now_ms = self.now_ms.max(when);
                Some(instance)
            }
            (None, None) => unreachable!("a worker starts only what is pending"),
        };
        let queue = &mut self.queues[item.queue];
        if queue.kind == QueueKind::Ordered {
            queue.order.retain(|&other| other != id);
            queue.busy = true;
        }
    }

    /// The worker has finished the item.
    pub(crate) fn end_item(&mut self, id: ItemId) {
        if self.mode == Mode::Ending {
            return;
        }
        let clock = self.hand_over();
        self.changed(self.items[id].object);
        let item = &mut self.items[id];
        if let Some(instance) = item.running.take() {
            item.ended.push((instance, clock));
        }
        self.objects[item.object as usize].past[Past::Queued as usize].join(&clock);
        let queue = &mut self.queues[item.queue];
        if queue.kind == QueueKind::Ordered {
            queue.busy = false;
        }
    }
}
